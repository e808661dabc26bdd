"""What nodes of the original tell each other: who, the seconds of its wall clock, and a state a service, by name.

The bytes are the original's struct (``ha.heartbeats.openha``), made and read as carelessly as it does: any name goes
in, and whatever came out of a datagram that was cut short is believed. It knows nothing of paths.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from ha.heartbeats.openha import MAX_SERVICES, SIZE
from ha.heartbeats.openha import Beat as Sound
from ha.heartbeats.openha import encode as sound

__all__ = ["SIZE", "Beat", "decode", "encode", "is_zero"]

_NODE, _NAME, _NAMES_AT, _STATES_AT, _SECONDS_AT = 128, 64, 156, 8_348, 9_376
_BLANK = sound(Sound("-", 0, ()))


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat as its receiver understands it. Nothing in it can be trusted."""

    node: str
    seconds: int
    """Of the sender's wall clock."""
    states: tuple[tuple[str, int], ...]
    """By the name of the service, the digit."""


def encode(node: str, seconds: int, states: Iterable[tuple[str, int]]) -> bytes:
    """SIZE bytes: seven IP fragments (hazard H14)."""
    data = bytearray(_BLANK)
    data[:_NODE] = node.encode()[: _NODE - 1].ljust(_NODE, b"\0")
    for slot, (service, digit) in enumerate(states):
        begin = _NAMES_AT + slot * _NAME
        data[begin : begin + _NAME] = service.encode()[: _NAME - 1].ljust(_NAME, b"\0")
        struct.pack_into("<i", data, _STATES_AT + slot * 4, digit)
    struct.pack_into("<I", data, _SECONDS_AT, seconds % 2**32)
    return bytes(data)


def decode(data: bytes) -> Beat:
    """Whatever can be read from it; nothing is refused. All zeros, or no bytes: nobody's, of second 0."""
    whole = data.ljust(SIZE, b"\0")
    states = []
    for slot in range(MAX_SERVICES):
        begin, at = _NAMES_AT + slot * _NAME, _STATES_AT + slot * 4
        if whole[begin] == 0 or at + 4 > len(data):
            break
        (digit,) = struct.unpack_from("<i", whole, at)
        if 0 <= digit <= 9:
            states.append((_text(whole[begin : begin + _NAME]), digit))
    (seconds,) = struct.unpack_from("<I", whole, _SECONDS_AT)
    return Beat(_text(whole[:_NODE]), seconds, tuple(states))


def is_zero(data: bytes) -> bool:
    """A block that was never written."""
    return not data.strip(b"\0")


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="replace")
