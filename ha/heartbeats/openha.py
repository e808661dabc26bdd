"""The heartbeat of an original OpenHA node as bytes, and back: a C struct of fixed size, by media and codec alike.

Layout, little-endian, offset/size: nodename 0/128, up i32 128, srv_lock i32 132, port 136/5, addr 141/15, service_name
[128][64] 156/8192, service_state i32[128] 8348/512, service_lock i32[128] 8860/512, hostid u32 9372, elapsed u32 9376
(seconds since 1970 by the *sender's* clock), pid i32 9380; 9,384 in all. It names at most 128 services, and carries
neither checksum, sequence number nor acknowledgement: whoever reaches the network or the disk can forge it.

``decode`` lets nothing through that such a node could not have sent. Names are text to be looked up among those of the
configuration, never part of a path. What a message means is ``ha.fsm.original``'s matter.
"""

import struct
from dataclasses import dataclass

from ha.fsm.states import State
from ha.heartbeats.envelope import Buffer, CodecError

SIZE = 9_384
"""Bytes of every message: on a network seven IP fragments."""
BLOCKS = 19
"""Blocks of 512 bytes that one takes on a disk. What stands behind the struct in the last of them is undefined."""
MAX_SERVICES = 128
MAX_NODE_NAME = 127
"""Bytes, without the NUL."""
MAX_SERVICE_NAME = 63
"""Bytes, without the NUL."""
MAX_ADDRESS = 15
"""Bytes: an IPv4 address fills it, and then there is no NUL."""
MAX_PORT = 5
EZHA_HOSTID = int.from_bytes(b"ezha")
"""What a node of ezha says for its ``hostid``, which no node of OpenHA looks at: so that two of them that speak this
language know that they are no original ones."""

_STRUCT = struct.Struct("<128s ii 5s 15s 8192s 128i 128i IIi")
assert _STRUCT.size == SIZE
_NAME = 64
_WHERE = struct.Struct("5s15s")
_WHERE_AT = 136
_PID = struct.Struct("<i")
_PID_AT = 9_380
_NODE_ROOM = 128
_CLEARED_BY_ACCIDENT = 16
"""States of unused slots below this one read STOPPED, those above UNKNOWN: as the original leaves them."""
_STATES = {int(state): state for state in State if state.value <= State.UNKNOWN}
_U32 = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Beat:
    """One message of an original node, or to one."""

    node: str
    seconds: int
    """Of the sender's wall clock since 1970, 0 … 2**32-1."""
    services: tuple[tuple[str, State], ...]
    """In the order of the file ``services``: those in which the node has a part. A FROZEN_START goes out as 7, which
    comes back as START_READY: the original has one digit for both."""
    port: str = ""
    """net and unicast; empty on a disk."""
    address: str = ""
    up: bool = True
    """The original sets it where the node has a service at all."""
    hostid: int = 0
    pid: int = 0
    """Of the process that sent it."""


def encode(beat: Beat) -> bytes:
    """SIZE bytes. Raises CodecError where a field does not hold what the message says: nothing is ever cut."""
    if len(beat.services) > MAX_SERVICES:
        raise CodecError("too many services")
    names = bytearray(MAX_SERVICES * _NAME)
    states = [int(State.STOPPED)] * _CLEARED_BY_ACCIDENT + [int(State.UNKNOWN)] * (MAX_SERVICES - _CLEARED_BY_ACCIDENT)
    for slot, (name, state) in enumerate(beat.services):
        if state.openha_digit not in _STATES:
            raise CodecError("unknown state")
        raw = _bytes(name, MAX_SERVICE_NAME, "service name")
        names[slot * _NAME : slot * _NAME + len(raw)] = raw
        states[slot] = state.openha_digit
    if not (0 <= beat.seconds <= _U32 and 0 <= beat.hostid <= _U32 and 0 <= beat.pid < 2**31):
        raise CodecError("number out of range")
    return _STRUCT.pack(
        _bytes(beat.node, MAX_NODE_NAME, "node name"),
        int(beat.up),
        0,
        _bytes(beat.port, MAX_PORT, "port", empty=True),
        _bytes(beat.address, MAX_ADDRESS, "address", empty=True),
        bytes(names),
        *states,
        *([0] * MAX_SERVICES),
        beat.hostid,
        beat.seconds,
        beat.pid,
    )


def decode(data: Buffer) -> Beat:
    """The message in exactly SIZE bytes. Raises CodecError, and nothing else."""
    if len(data) != SIZE:
        raise CodecError("wrong length")
    node, up, _, port, address, names, *numbers = _STRUCT.unpack(data)
    states, (hostid, seconds, pid) = numbers[:MAX_SERVICES], numbers[2 * MAX_SERVICES :]
    services: dict[str, State] = {}
    for slot in range(MAX_SERVICES):
        raw = names[slot * _NAME : (slot + 1) * _NAME]
        if raw[0] == 0:
            continue
        name = _text(raw, "service name")
        state = _STATES.get(states[slot])
        if state is None:
            raise CodecError("unknown state")
        if name in services:
            raise CodecError("a service twice")
        services[name] = state
    if up not in (0, 1):
        raise CodecError("no message of OpenHA")
    if pid < 0:
        raise CodecError("number out of range")
    return Beat(
        node=_text(node, "node name"),
        seconds=seconds,
        services=tuple(services.items()),
        port=_text(port, "port", empty=True),
        address=_text(address, "address", empty=True),
        up=bool(up),
        hostid=hostid,
        pid=pid,
    )


def sender_of(data: Buffer) -> str:
    """Whose message this is, by its name alone. Raises CodecError where these bytes are too few or name nobody."""
    if len(data) < SIZE:
        raise CodecError("wrong length")
    return _text(bytes(data[:_NODE_ROOM]), "node name")


def struct_of(block: Buffer) -> bytes:
    """The message at the beginning of a slot; what stands behind it is undefined. Raises CodecError: too small."""
    if len(block) < SIZE:
        raise CodecError("too short")
    return bytes(block[:SIZE])


def stamped(data: bytes, port: str, address: str, pid: int) -> bytes:
    """The same message with what only the process that sends it knows: where to, and its pid.

    Raises CodecError for a port or an address that does not fit, and for what is no such message."""
    if len(data) != SIZE:
        raise CodecError("wrong length")
    where = _WHERE.pack(_bytes(port, MAX_PORT, "port", empty=True), _bytes(address, MAX_ADDRESS, "address", empty=True))
    return data[:_WHERE_AT] + where + data[_WHERE_AT + _WHERE.size : _PID_AT] + _PID.pack(pid)


def _bytes(text: str, most: int, what: str, *, empty: bool = False) -> bytes:
    raw = text.encode()
    if len(raw) > most:
        raise CodecError(f"{what} too long")
    _require_name(raw, what, empty)
    return raw


def _text(raw: bytes, what: str, *, empty: bool = False) -> str:
    """The field up to its first NUL, or whole where it has none."""
    raw = raw.partition(b"\0")[0]
    _require_name(raw, what, empty)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise CodecError(f"{what} is none") from None


def _require_name(raw: bytes, what: str, empty: bool) -> None:
    """A word of one of OpenHA's files: not empty, without blanks, control characters and slashes."""
    if (not raw and not empty) or raw in (b".", b"..") or any(c <= 32 or c == 127 or c == 47 for c in raw):
        raise CodecError(f"{what} is none")
