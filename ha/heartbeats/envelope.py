"""The wrapping of a message: whose it is, how long it is, and that it arrived whole.

Layout, big-endian: magic (3 bytes), version (1), length of the whole message (2), key id (4, 0: no key), cluster (4),
node (4), body, integrity code (16) over all that stands before it. Without a key the code is a checksum, which finds
damage and not forgery; a message under a key carries a MAC of the same size in the same place.

On a wire a message is as long as the datagram; in a slot of a disk it is followed by zeros up to the end of the slot.
This module knows nothing of what a body says (``ha.heartbeats.codec``).
"""

import struct
from dataclasses import dataclass
from hashlib import blake2s

MAGIC = b"EZH"
VERSION = 1
TAG_SIZE = 16
_HEADER = struct.Struct("!3sBHIII")
HEADER_SIZE = _HEADER.size
OVERHEAD = HEADER_SIZE + TAG_SIZE
"""Bytes of a message that are not its body."""
MAX_SIZE = 65_507
"""Bytes of the largest message: what one UDP datagram over IPv4 can carry."""

Buffer = bytes | memoryview


class CodecError(ValueError):
    """These bytes are no message that can be accepted.

    ``reason`` is one of a small fixed set of texts, never made of the bytes refused: it serves as the key of a counter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose message it is, by what its header says."""

    cluster: int
    node: int


def seal(body: bytes, cluster: int, node: int) -> bytes:
    """The message around ``body``, without a key. Raises CodecError where it would exceed MAX_SIZE bytes."""
    length = OVERHEAD + len(body)
    if length > MAX_SIZE:
        raise CodecError("too large")
    message = _HEADER.pack(MAGIC, VERSION, length, 0, cluster, node) + body
    return message + _checksum(message)


def verify(data: Buffer) -> Origin:
    """Check the envelope of a message that is exactly as long as ``data``, cheaply, and say whose it is.

    Raises CodecError.
    """
    length, key, origin = _header(data)
    if length != len(data):
        raise CodecError("wrong length")
    if key != 0:
        raise CodecError("unknown key")
    if _checksum(data[:-TAG_SIZE]) != data[-TAG_SIZE:]:
        raise CodecError("damaged")
    return origin


def body_of(data: Buffer) -> Buffer:
    """The body of a message that ``verify`` accepted."""
    return data[HEADER_SIZE:-TAG_SIZE]


def leading(block: Buffer) -> tuple[bytes, bytes]:
    """What the header at the beginning of a slot says is the message, not verified yet, and what stands behind it.

    Raises CodecError where there is no such header, or the message would reach beyond the slot.
    """
    length, _, _ = _header(block)
    if length > len(block):
        raise CodecError("wrong length")
    return bytes(block[:length]), bytes(block[length:])


def decode_block(block: Buffer) -> bytes:
    """The message at the beginning of a slot, without the zeros behind it. It is not verified yet.

    Raises CodecError where there is none: the caller looks first whether the slot is all zero, which is no error.
    """
    message, rest = leading(block)
    if rest.count(0) != len(rest):
        raise CodecError("no zeros behind it")
    return message


def origin_of(data: Buffer) -> Origin:
    """Whose message this is by its header alone, damaged or not. Raises CodecError where there is no such header."""
    return _header(data)[2]


def _header(data: Buffer) -> tuple[int, int, Origin]:
    if len(data) < OVERHEAD:
        raise CodecError("too short")
    magic, version, length, key, cluster, node = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise CodecError("no message of ezha")
    if version != VERSION:
        raise CodecError("another version")
    if not OVERHEAD <= length <= MAX_SIZE:
        raise CodecError("wrong length")
    return length, key, Origin(cluster, node)


def _checksum(data: Buffer) -> bytes:
    return blake2s(data, digest_size=TAG_SIZE, person=b"ezha").digest()
