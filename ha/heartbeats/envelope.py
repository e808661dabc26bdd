"""The wrapping of a message: whose it is, how long it is, and that it arrived whole.

Layout, big-endian: magic (3 bytes), version (1), length of the whole message (2), id of the key that signs it (2; 0:
none), id of the newest key that the sender accepts (2; 0: none), cluster (4), node (4), body, integrity code (16) over
all that stands before it. Without a key the code is a checksum, which finds damage and not forgery; a message under a
key carries a MAC of the same size in the same place (``ha.heartbeats.keys``).

On a wire a message is as long as the datagram; in a slot of a disk it is followed by zeros up to the end of the slot.
This module knows nothing of what a body says (``ha.heartbeats.codec``).
"""

import struct
from dataclasses import dataclass
from hashlib import blake2s

from ha.heartbeats.keys import NO_KEY, NO_KEYS, KeyRing

MAGIC = b"EZH"
VERSION = 1
TAG_SIZE = 16
_HEADER = struct.Struct("!3sBHHHII")
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
    key: int
    """The id of the key that it is signed with; 0: none."""
    newest_key: int
    """The id of the newest key that its sender accepts; 0: none."""


def seal(body: bytes, cluster: int, node: int, keys: KeyRing = NO_KEYS) -> bytes:
    """The message around ``body``, signed as ``keys`` says. Raises CodecError where it would exceed MAX_SIZE bytes."""
    length = OVERHEAD + len(body)
    if length > MAX_SIZE:
        raise CodecError("too large")
    message = _HEADER.pack(MAGIC, VERSION, length, keys.signs, keys.newest, cluster, node) + body
    return message + (_checksum(message) if keys.signs == NO_KEY else keys.code(keys.signs, message, TAG_SIZE))


def verify(data: Buffer, keys: KeyRing = NO_KEYS) -> Origin:
    """Check the envelope of a message that is exactly as long as ``data``, in microseconds, and say whose it is.

    Raises CodecError where it is not whole, or not signed as ``keys`` asks for.
    """
    length, origin = _header(data)
    if length != len(data):
        raise CodecError("wrong length")
    if origin.key == NO_KEY:
        if not keys.unsigned:
            raise CodecError("not signed")
        if _checksum(data[:-TAG_SIZE]) != data[-TAG_SIZE:]:
            raise CodecError("damaged")
    elif not keys.has(origin.key):
        raise CodecError("unknown key")
    elif not keys.matches(origin.key, data[:-TAG_SIZE], data[-TAG_SIZE:]):
        raise CodecError("forged or damaged")
    return origin


def body_of(data: Buffer) -> Buffer:
    """The body of a message that ``verify`` accepted."""
    return data[HEADER_SIZE:-TAG_SIZE]


def leading(block: Buffer) -> tuple[bytes, bytes]:
    """What the header at the beginning of a slot says is the message, not verified yet, and what stands behind it.

    Raises CodecError where there is no such header, or the message would reach beyond the slot.
    """
    length, _ = _header(block)
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
    return _header(data)[1]


def _header(data: Buffer) -> tuple[int, Origin]:
    if len(data) < OVERHEAD:
        raise CodecError("too short")
    magic, version, length, key, newest_key, cluster, node = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise CodecError("no message of ezha")
    if version != VERSION:
        raise CodecError("another version")
    if not OVERHEAD <= length <= MAX_SIZE:
        raise CodecError("wrong length")
    return length, Origin(cluster, node, key, newest_key)


def _checksum(data: Buffer) -> bytes:
    return blake2s(data, digest_size=TAG_SIZE, person=b"ezha").digest()
