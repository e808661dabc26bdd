"""A heartbeat as bytes, and back: ezha's own codec.

The body (``ha.heartbeats.envelope`` wraps it) is a msgpack array of whole numbers and three blobs: services, acks and
handovers. A service takes 4 bytes of id, 1 of state and flags, and 1 to 4 of generation, so that 128 of them fit in
the 1,024 bytes between the tutorial's two slots.

``decode`` lets through nothing that ``ha.fsm.message`` does not allow. This module knows nothing of how a message
travels, nor whether its sender is anybody we know.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

import msgpack

from ha.fsm.message import MAX_COUNTER, MAX_GENERATION, Ack, Handover, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.states import Promise, State
from ha.heartbeats import varint
from ha.heartbeats.envelope import MAX_SIZE, OVERHEAD, CodecError, Origin, body_of, decode_block, seal
from ha.heartbeats.envelope import verify as _verify
from ha.heartbeats.keys import NO_KEYS, KeyRing

__all__ = ["CodecError", "decode", "decode_block", "encode", "max_size", "stamp", "verify"]

MAX_SERVICES = 4_096
"""Services that one message may name: a limit on what a stranger can make us hold."""
MAX_NODES = 256
"""Nodes that one message may acknowledge."""
MAX_PATHS = 255
"""Lines of ``monitor`` of one node."""

_U32 = 2**32 - 1
_ID_STATE = struct.Struct("!IB")
_ACK = struct.Struct("!II")
_NODE = struct.Struct("!I")

_UNCLEAN, _LAST_RAN, _DEMOTED, _LAPSED = 1, 2, 4, 8
_STANDING, _LEFT = 1, 2
_STATES = {int(state): state for state in State if state is not State.FORCE_STOP}
_PROMISES = {int(promise): promise for promise in Promise}

_FIELDS = (
    ("counter", 1, MAX_COUNTER),
    ("nonce", 0, _U32),
    ("seq", 1, MAX_COUNTER),
    ("promise", 0, max(_PROMISES)),
    ("flags", 0, _STANDING | _LEFT),
    ("timeout", 1, _U32),
    ("lease", 0, _U32),
    ("digest", 0, _U32),
)
"""The numbers of the body in their order, with the smallest and largest value of each."""
_STAMP_FIELDS = 3
_STAMP_SIZE = 1 + 9 * _STAMP_FIELDS
"""Bytes at the beginning of a body in which the first of them stand."""
_BLOBS = 3
"""Services, acks, handovers: they follow the numbers."""


def encode(hb: Heartbeat, room: int = MAX_SIZE, keys: KeyRing = NO_KEYS) -> bytes:
    """The message, 1 to MAX_SIZE bytes. Raises CodecError for one that ``ha.fsm.message`` does not allow.

    ``keys``: what it is signed with. ``room``: bytes that every path can carry. Handovers that do not fit are left out:
    each only says who is to take a service, no safety rests on it, and it is told once those before it are done with.
    Nothing else is ever left out.
    """
    numbers = (
        hb.incarnation.counter,
        hb.incarnation.nonce,
        hb.seq,
        int(hb.promise),
        (_STANDING if hb.standing else 0) | (_LEFT if hb.left else 0),
        hb.timeout_ms,
        hb.lease_ms,
        hb.paths_digest,
    )
    _check_numbers(numbers)
    for value in (hb.cluster, hb.node):
        _check("origin", value, 0, _U32)
    services = _services_cache.blob(hb.services)
    acks, handovers = _pack_acks(hb.acks), hb.handovers
    body = msgpack.packb([*numbers, services, acks, _pack_handovers(handovers, hb.services)])
    while handovers and OVERHEAD + len(body) > room:
        handovers = handovers[: len(handovers) // 2]
        body = msgpack.packb([*numbers, services, acks, _pack_handovers(handovers, hb.services)])
    return seal(body, hb.cluster, hb.node, keys)


def verify(data: bytes | memoryview, keys: KeyRing = NO_KEYS) -> None:
    """Check the envelope alone (magic, version, length, integrity), in microseconds. Raises CodecError."""
    _verify(data, keys)


def stamp(data: bytes | memoryview) -> tuple[Incarnation, int]:
    """Life and sequence number of a message that ``verify`` accepted, without the rest of it. Raises CodecError."""
    body = msgpack.Unpacker(max_buffer_size=MAX_SIZE, max_bin_len=0, max_str_len=0, max_array_len=len(_FIELDS) + _BLOBS)
    body.feed(body_of(data)[:_STAMP_SIZE])
    try:
        body.read_array_header()
        numbers = [body.unpack() for _ in range(_STAMP_FIELDS)]
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
        raise CodecError("malformed body") from error
    for (name, low, high), value in zip(_FIELDS[:_STAMP_FIELDS], numbers, strict=True):
        _check(name, value, low, high)
    counter, nonce, seq = numbers
    return Incarnation(counter, nonce), seq


def decode(data: bytes | memoryview, keys: KeyRing = NO_KEYS) -> Heartbeat:
    """The heartbeat in a message that is exactly as long as ``data``. Raises CodecError, and nothing else."""
    return parse(data, _verify(data, keys))


def parse(data: bytes | memoryview, origin: Origin) -> Heartbeat:
    """What a message says, whoever sent it and whether or not it was verified: for people who look at one.

    ``origin``: of its header. Raises CodecError."""
    numbers, (service_blob, ack_blob, handover_blob) = _unpack(bytes(body_of(data)))
    _check_numbers(numbers)
    counter, nonce, seq, promise, flags, timeout_ms, lease_ms, digest = numbers
    services = _parse_services(service_blob)
    return Heartbeat(
        cluster=origin.cluster,
        node=origin.node,
        incarnation=Incarnation(counter, nonce),
        seq=seq,
        promise=_PROMISES[promise],
        standing=bool(flags & _STANDING),
        left=bool(flags & _LEFT),
        timeout_ms=timeout_ms,
        lease_ms=lease_ms,
        paths_digest=digest,
        services=services,
        acks=_parse_acks(ack_blob),
        handovers=_parse_handovers(handover_blob, services),
    )


def max_size(services: int, peer_paths: Sequence[int], handovers: int = 1, generation_bytes: int = 2) -> int:
    """Bytes of the largest message of a node.

    ``services``: how many it has. ``peer_paths``: for each other node of the cluster, how many lines of ``monitor`` are
    its own. ``handovers``: ``ezha switch`` under way at once. ``generation_bytes`` 1 … 4: generations up to 127,
    16,383, 2,097,151 and 2**28-1. Incarnations and sequence numbers are taken at their largest.
    """
    blobs = (
        services * (_ID_STATE.size + generation_bytes),
        sum(_ACK.size + 6 + 1 + 6 * paths for paths in peer_paths),
        handovers * (_NODE.size + 1 + (2 if services < 2**14 else 3)),
    )
    numbers = sum(1 if top < 128 else 5 if top <= _U32 else 9 for _, _, top in _FIELDS)
    return OVERHEAD + 1 + numbers + sum((2 if n < 256 else 3) + n for n in blobs)


# ------------------------------------------------------------------------------------------------ numbers


def _check(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise CodecError(f"{name} out of range")


def _check_numbers(numbers: Sequence[object]) -> None:
    for (name, low, high), value in zip(_FIELDS, numbers, strict=True):
        _check(name, value, low, high)


def _unpack(body: bytes) -> tuple[list[int], list[bytes]]:
    """The numbers and the blobs of the body, of the right types and count; ranges are checked by the caller."""
    try:
        fields = msgpack.unpackb(
            body,
            raw=True,
            max_array_len=len(_FIELDS) + _BLOBS,
            max_map_len=0,
            max_str_len=0,
            max_ext_len=0,
            max_bin_len=MAX_SIZE,
        )
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
        raise CodecError("malformed body") from error
    if type(fields) is not list or len(fields) != len(_FIELDS) + _BLOBS:
        raise CodecError("malformed body")
    numbers = [field for field in fields[: len(_FIELDS)] if type(field) is int]
    blobs = [field for field in fields[len(_FIELDS) :] if type(field) is bytes]
    if len(numbers) != len(_FIELDS) or len(blobs) != _BLOBS:
        raise CodecError("malformed body")
    return numbers, blobs


# ----------------------------------------------------------------------------------------------- services


class _ServicesCache:
    """The blob of the services encoded last: between two changes every message carries the same ones."""

    def __init__(self) -> None:
        self._services: tuple[ServiceEntry, ...] = ()
        self._blob = b""

    def blob(self, services: tuple[ServiceEntry, ...]) -> bytes:
        # The tuple is held, not its id(): an address is used again once its object is gone.
        if services is not self._services and services != self._services:
            self._blob = _pack_services(services)
        self._services = services
        return self._blob


_services_cache = _ServicesCache()


def _pack_services(services: tuple[ServiceEntry, ...]) -> bytes:
    if len(services) > MAX_SERVICES:
        raise CodecError("too many services")
    out = bytearray()
    previous = -1
    for entry in services:
        if not previous < entry.id <= _U32:
            raise CodecError("services not in ascending order")
        previous = entry.id
        if entry.state is State.FORCE_STOP:
            raise CodecError("unknown state")
        if not 0 <= entry.generation <= MAX_GENERATION:
            raise CodecError("generation out of range")
        flags = (
            (_UNCLEAN if entry.unclean else 0)
            | (_LAST_RAN if entry.last_ran else 0)
            | (_DEMOTED if entry.demoted else 0)
            | (_LAPSED if entry.lapsed else 0)
        )
        out += _ID_STATE.pack(entry.id, entry.state << 4 | flags)
        varint.put(out, entry.generation)
    return bytes(out)


@lru_cache(maxsize=16)
def _parse_services(blob: bytes) -> tuple[ServiceEntry, ...]:
    entries: list[ServiceEntry] = []
    pos, previous, end = 0, -1, len(blob)
    while pos < end:
        if end - pos < _ID_STATE.size:
            raise CodecError("cut services")
        if len(entries) == MAX_SERVICES:
            raise CodecError("too many services")
        ident, byte = _ID_STATE.unpack_from(blob, pos)
        if ident <= previous:
            raise CodecError("services not in ascending order")
        previous = ident
        state = _STATES.get(byte >> 4)
        if state is None:
            raise CodecError("unknown state")
        generation, pos = varint.take(blob, pos + _ID_STATE.size, MAX_GENERATION)
        entries.append(
            ServiceEntry(
                ident,
                state,
                generation,
                bool(byte & _UNCLEAN),
                bool(byte & _LAST_RAN),
                bool(byte & _DEMOTED),
                bool(byte & _LAPSED),
            )
        )
    return tuple(entries)


# --------------------------------------------------------------------------------------------------- acks


def _pack_acks(acks: tuple[Ack, ...]) -> bytes:
    if len(acks) > MAX_NODES:
        raise CodecError("too many acks")
    out = bytearray()
    previous = -1
    for ack in acks:
        if not previous < ack.node <= _U32:
            raise CodecError("acks not in ascending order")
        previous = ack.node
        _check("acknowledged counter", ack.incarnation.counter, 1, MAX_COUNTER)
        _check("acknowledged nonce", ack.incarnation.nonce, 0, _U32)
        if len(ack.seqs) > MAX_PATHS:
            raise CodecError("too many paths acknowledged")
        out += _ACK.pack(ack.node, ack.incarnation.nonce)
        varint.put(out, ack.incarnation.counter)
        out.append(len(ack.seqs))
        for seq in ack.seqs:
            _check("acknowledged seq", seq, 0, MAX_COUNTER)
            varint.put(out, seq)
    return bytes(out)


def _parse_acks(blob: bytes) -> tuple[Ack, ...]:
    acks: list[Ack] = []
    pos, previous, end = 0, -1, len(blob)
    while pos < end:
        if end - pos < _ACK.size:
            raise CodecError("cut acks")
        if len(acks) == MAX_NODES:
            raise CodecError("too many acks")
        node, nonce = _ACK.unpack_from(blob, pos)
        if node <= previous:
            raise CodecError("acks not in ascending order")
        previous = node
        counter, pos = varint.take(blob, pos + _ACK.size, MAX_COUNTER)
        if counter == 0:
            raise CodecError("acknowledged counter out of range")
        if pos >= end:
            raise CodecError("cut acks")
        paths, pos = blob[pos], pos + 1
        seqs: list[int] = []
        for _ in range(paths):
            seq, pos = varint.take(blob, pos, MAX_COUNTER)
            seqs.append(seq)
        acks.append(Ack(node, Incarnation(counter, nonce), tuple(seqs)))
    return tuple(acks)


# ---------------------------------------------------------------------------------------------- handovers
#
# Usually a handover is of a service that the message names, so it refers to it by its place (1 is the first): a place
# takes a byte or two where an id would take four. Place 0 says that the id itself follows. One run of entries for each
# stretch of handovers to the same node keeps their order.


def _pack_handovers(handovers: tuple[Handover, ...], services: tuple[ServiceEntry, ...]) -> bytes:
    if not handovers:
        return b""
    if len(handovers) > MAX_SERVICES:
        raise CodecError("too many handovers")
    places = {entry.id: place for place, entry in enumerate(services, 1)}
    runs: list[list[Handover]] = []
    for handover in handovers:
        _check("handover", handover.node, 0, _U32)
        _check("handover", handover.service, 0, _U32)
        if runs and runs[-1][0].node == handover.node:
            runs[-1].append(handover)
        else:
            runs.append([handover])
    out = bytearray()
    for run in runs:
        out += _NODE.pack(run[0].node)
        varint.put(out, len(run))
        for handover in run:
            place = places.get(handover.service, 0)
            varint.put(out, place)
            if place == 0:
                out += _NODE.pack(handover.service)
    return bytes(out)


def _parse_handovers(blob: bytes, services: tuple[ServiceEntry, ...]) -> tuple[Handover, ...]:
    handovers: list[Handover] = []
    pos = 0
    while pos < len(blob):
        node, pos = _take_u32(blob, pos)
        count, pos = varint.take(blob, pos, MAX_SERVICES)
        if count == 0 or len(handovers) + count > MAX_SERVICES:
            raise CodecError("malformed handovers")
        for _ in range(count):
            place, pos = varint.take(blob, pos, len(services))
            if place:
                service = services[place - 1].id
            else:
                service, pos = _take_u32(blob, pos)
            handovers.append(Handover(service, node))
    return tuple(handovers)


def _take_u32(blob: bytes, pos: int) -> tuple[int, int]:
    if len(blob) - pos < _NODE.size:
        raise CodecError("cut handovers")
    return _NODE.unpack_from(blob, pos)[0], pos + _NODE.size
