"""Whole numbers in as few bytes as they need: seven bits a byte, the low ones first, the high bit says "more follows".

Only the shortest form of a number is accepted, so that a message has one form.
"""

from ha.heartbeats.envelope import CodecError


def put(out: bytearray, value: int) -> None:
    """Append ``value`` (0 or more)."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def take(data: bytes, pos: int, limit: int) -> tuple[int, int]:
    """The number at ``pos`` and the place behind it. Raises CodecError where it is cut, padded or above ``limit``."""
    value = shift = 0
    while True:
        if pos >= len(data):
            raise CodecError("cut number")
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if value > limit:
            raise CodecError("number too large")
        if byte < 0x80:
            if byte == 0 and shift:
                raise CodecError("padded number")
            return value, pos
        shift += 7
        if shift > 63:
            raise CodecError("number too large")
