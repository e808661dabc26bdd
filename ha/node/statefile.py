"""What stands in ``STATE.<node>``: a state, as OpenHA's tools and agents read it (spec: OpenHA, "States").

They read the first byte only. ezha writes ``2 STARTED`` and a newline; OpenHA wrote the digit and a NUL.
"""

from ha.fsm.states import State

MAX_BYTES = 64


def encode(state: State) -> bytes:
    """Raises ValueError for FORCE_STOP, which is never stored."""
    if state is State.FORCE_STOP:
        raise ValueError("FORCE_STOP is never stored")
    return f"{state.openha_digit} {state.name}\n".encode()


def decode(data: bytes) -> State | None:
    """The state in a file of ezha's or of OpenHA's; None where it holds neither, or is torn.

    OpenHA's 7 is START_READY or frozen while started: that cannot be told, so it is UNKNOWN.
    """
    if data in (b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"):
        data += b"\0"
    if len(data) == 2 and data[1:] in (b"\0", b"\n") and data[:1] in b"012345678":
        state = State(int(data[:1]))
        return State.UNKNOWN if state is State.START_READY else state
    return _OURS.get(data)


_OURS = {encode(state): state for state in State if state is not State.FORCE_STOP}
