"""What is a heartbeat and what is not, byte by byte."""

from dataclasses import replace

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ha.fsm.message import Ack, Handover, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.states import Promise, State
from ha.heartbeats import codec, envelope
from ha.heartbeats.codec import CodecError

from .samples import heartbeat, services

U32 = 2**32 - 1
COUNTER = 2**40 - 1

incarnations = st.builds(Incarnation, st.integers(1, COUNTER), st.integers(0, U32))
entries = st.builds(
    ServiceEntry,
    id=st.integers(0, U32),
    state=st.sampled_from([s for s in State if s is not State.FORCE_STOP]),
    generation=st.integers(0, 2**28 - 1),
    unclean=st.booleans(),
    last_ran=st.booleans(),
    demoted=st.booleans(),
    lapsed=st.booleans(),
)
acks = st.builds(
    Ack,
    node=st.integers(0, U32),
    incarnation=incarnations,
    seqs=st.lists(st.integers(0, COUNTER), max_size=4).map(tuple),
)
heartbeats = st.builds(
    Heartbeat,
    cluster=st.integers(0, U32),
    node=st.integers(0, U32),
    incarnation=incarnations,
    seq=st.integers(1, COUNTER),
    promise=st.sampled_from(Promise),
    standing=st.booleans(),
    left=st.booleans(),
    timeout_ms=st.integers(1, U32),
    lease_ms=st.integers(0, U32),
    paths_digest=st.integers(0, U32),
    services=st.lists(entries, max_size=6, unique_by=lambda e: e.id).map(
        lambda found: tuple(sorted(found, key=lambda e: e.id))
    ),
    acks=st.lists(acks, max_size=3, unique_by=lambda a: a.node).map(
        lambda found: tuple(sorted(found, key=lambda a: a.node))
    ),
    handovers=st.lists(st.builds(Handover, st.integers(0, U32), st.integers(0, U32)), max_size=4).map(tuple),
)


def with_body(body: bytes) -> bytes:
    return envelope.seal(body, 1, 2)


def body_with(**changes: object) -> bytes:
    """A valid body, msgpack array and all, but for the fields named."""
    names = ["counter", "nonce", "seq", "promise", "flags", "timeout", "lease", "digest", "services", "acks"]
    names.append("handovers")
    fields: dict[str, object] = dict(zip(names, (1, 2, 3, 0, 1, 2000, 0, 7, b"", b"", b""), strict=True))
    assert changes.keys() <= fields.keys()
    return msgpack.packb(list({**fields, **changes}.values()))


def reason_of(data: bytes) -> str:
    with pytest.raises(CodecError) as caught:
        codec.decode(data)
    return caught.value.reason


@given(heartbeats)
def test_what_is_encoded_is_decoded_again(hb: Heartbeat) -> None:
    assert codec.decode(codec.encode(hb)) == hb


@given(heartbeats, st.integers(0, 3000))
def test_a_block_gives_the_message_before_its_padding(hb: Heartbeat, zeros: int) -> None:
    message = codec.encode(hb)
    assert codec.decode_block(message + bytes(zeros)) == message


def test_handovers_of_services_that_the_message_names_take_few_bytes() -> None:
    plain = heartbeat(services=services(100))
    many = heartbeat(services=services(100), handovers=tuple(Handover(e.id, 9) for e in services(100)))
    assert codec.decode(codec.encode(many)) == many
    assert len(codec.encode(many)) - len(codec.encode(plain)) <= 110


@pytest.mark.parametrize(("count", "limit"), [(1, 130), (128, 1_024), (1_000, 7_200)])
def test_worst_sizes(count: int, limit: int) -> None:
    """128 services, generations of 2 bytes, one peer with 2 paths: all in the 1,024 bytes of the tutorial's slots."""
    worst = heartbeat(
        services=services(count, generation=16_383),
        acks=(Ack(U32, Incarnation(COUNTER, U32), (COUNTER, COUNTER)),),
        incarnation=Incarnation(COUNTER, U32),
        seq=COUNTER,
        timeout_ms=U32,
        lease_ms=U32,
        paths_digest=U32,
        handovers=(Handover(services(count)[-1].id, U32),),
    )
    size = len(codec.encode(worst))
    assert size <= codec.max_size(count, [2]) <= limit
    assert codec.max_size(count, [2]) - size <= 8, "the bound is near the truth"
    assert codec.decode(codec.encode(worst)) == worst


def test_handovers_that_do_not_fit_are_left_out_and_nothing_else_is() -> None:
    """Many services that are switched at once must not make the heartbeat too large: silence would follow."""
    named = services(128, generation=16_383)
    wanted = tuple(Handover(e.id, 9) for e in named)
    acks = (Ack(U32, Incarnation(COUNTER, U32), (COUNTER, COUNTER)),)
    many = heartbeat(services=named, acks=acks, handovers=wanted)
    assert len(codec.encode(many)) > 1_020
    told = codec.decode(codec.encode(many, 1_020))
    assert told == replace(many, handovers=wanted[: len(told.handovers)])
    assert len(codec.encode(many, 1_020)) <= 1_020
    few = replace(many, handovers=wanted[:1])
    assert codec.encode(few, 1_020) == codec.encode(few)
    assert codec.decode(codec.encode(many, 1)) == replace(many, handovers=())


def test_the_same_services_are_packed_and_parsed_once() -> None:
    first = codec.decode(codec.encode(heartbeat(services=services(50), seq=1)))
    second = codec.decode(codec.encode(heartbeat(services=services(50), seq=2)))
    assert first.services is second.services


def test_a_change_of_services_is_never_answered_from_the_cache() -> None:
    before, after = heartbeat(services=services(3, generation=1)), heartbeat(services=services(3, generation=2))
    assert [codec.decode(codec.encode(hb)) for hb in (before, after, before)] == [before, after, before]


class TestEnvelope:
    good = codec.encode(heartbeat())

    def changed(self, at: int, to: int) -> bytes:
        return self.good[:at] + bytes([to]) + self.good[at + 1 :]

    def test_accepts_its_own(self) -> None:
        codec.verify(self.good)
        codec.verify(memoryview(self.good))

    @pytest.mark.parametrize("size", range(envelope.OVERHEAD))
    def test_too_short(self, size: int) -> None:
        assert reason_of(self.good[:size]) == "too short"

    def test_foreign(self) -> None:
        assert reason_of(self.changed(0, 0)) == "no message of ezha"

    def test_another_version(self) -> None:
        assert reason_of(self.changed(3, 2)) == "another version"

    def test_truncated_and_prolonged(self) -> None:
        assert reason_of(self.good[:-1]) == "wrong length"
        assert reason_of(self.good + b"\0") == "wrong length"

    def test_a_key_that_we_do_not_have(self) -> None:
        assert reason_of(self.changed(7, 1)) == "unknown key"

    def test_every_other_changed_byte_is_damage(self) -> None:
        for at in range(8, len(self.good)):
            assert reason_of(self.changed(at, self.good[at] ^ 1)) == "damaged"

    def test_all_zero_is_no_message(self) -> None:
        assert reason_of(bytes(1024)) == "no message of ezha"

    def test_a_block_with_something_behind_the_message(self) -> None:
        with pytest.raises(CodecError, match="no zeros behind it"):
            codec.decode_block(self.good + bytes(100) + b"x")

    def test_a_block_that_ends_before_the_message(self) -> None:
        with pytest.raises(CodecError, match="wrong length"):
            codec.decode_block(self.good[:-5])

    def test_a_body_that_is_too_large_is_not_sealed(self) -> None:
        with pytest.raises(CodecError, match="too large"):
            envelope.seal(bytes(envelope.MAX_SIZE), 1, 2)


SERVICE = b"\0\0\0\7\x20\1"
ACK = b"\0\0\0\7\0\0\0\1\1\2\3\4"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed body"),
        (b"\xc1", "malformed body"),
        (msgpack.packb(1), "malformed body"),
        (msgpack.packb({}), "malformed body"),
        (msgpack.packb([1]), "malformed body"),
        (msgpack.packb([[[]]] * 11), "malformed body"),
        (body_with() + b"\0", "malformed body"),
        (body_with(counter=True), "malformed body"),
        (body_with(seq=3.0), "malformed body"),
        (body_with(seq=None), "malformed body"),
        (body_with(services="text"), "malformed body"),
        (body_with(services=[]), "malformed body"),
        (body_with(services={1: 2}), "malformed body"),
        (body_with(acks=7), "malformed body"),
        (body_with(counter=0), "counter out of range"),
        (body_with(counter=2**40), "counter out of range"),
        (body_with(nonce=-1), "nonce out of range"),
        (body_with(nonce=2**32), "nonce out of range"),
        (body_with(seq=0), "seq out of range"),
        (body_with(seq=2**40), "seq out of range"),
        (body_with(promise=5), "promise out of range"),
        (body_with(flags=4), "flags out of range"),
        (body_with(timeout=0), "timeout out of range"),
        (body_with(lease=-5), "lease out of range"),
        (body_with(digest=2**63), "digest out of range"),
        (body_with(services=SERVICE[:4]), "cut services"),
        (body_with(services=SERVICE[:5]), "cut number"),
        (body_with(services=SERVICE + b"\0"), "cut services"),
        (body_with(services=SERVICE[:5] + b"\x80"), "cut number"),
        (body_with(services=SERVICE[:5] + b"\x81\0"), "padded number"),
        (body_with(services=SERVICE[:5] + b"\xff\xff\xff\xff\1"), "number too large"),
        (body_with(services=SERVICE[:5] + b"\x80" * 40), "number too large"),
        (body_with(services=SERVICE + SERVICE), "services not in ascending order"),
        (body_with(services=b"\0\0\0\7\x90\1"), "unknown state"),
        (body_with(services=b"\0\0\0\7\xb0\1"), "unknown state"),
        (body_with(acks=ACK + ACK), "acks not in ascending order"),
        (body_with(acks=ACK[:7]), "cut acks"),
        (body_with(acks=ACK[:9]), "cut acks"),
        (body_with(acks=ACK[:-1]), "cut number"),
        (body_with(acks=ACK[:8] + b"\0" + ACK[9:]), "acknowledged counter out of range"),
        (body_with(handovers=b"\0\0\0"), "cut handovers"),
        (body_with(handovers=b"\0\0\0\1\0"), "malformed handovers"),
        (body_with(handovers=b"\0\0\0\1\1\1"), "number too large"),
        (body_with(handovers=b"\0\0\0\1\1\0\0\0\1"), "cut handovers"),
        (body_with(services=b"".join(i.to_bytes(4, "big") + b"\x20\1" for i in range(4097))), "too many services"),
        (body_with(acks=b"".join(i.to_bytes(4, "big") + b"\0\0\0\1\1\0" for i in range(257))), "too many acks"),
    ],
)
def test_a_body_that_is_refused(body: bytes, reason: str) -> None:
    assert reason_of(with_body(body)) == reason


def test_the_bodies_above_are_refused_for_what_was_changed_in_them() -> None:
    assert codec.decode(with_body(body_with(services=SERVICE, acks=ACK))).seq == 3


@pytest.mark.parametrize(
    "wrong",
    [
        heartbeat(seq=0),
        heartbeat(node=-1),
        heartbeat(cluster=2**32),
        heartbeat(timeout_ms=0),
        heartbeat(incarnation=Incarnation(0, 1)),
        heartbeat(services=tuple(reversed(services(2)))),
        heartbeat(services=(ServiceEntry(1, State.FORCE_STOP, 0),)),
        heartbeat(services=(ServiceEntry(1, State.STOPPED, 2**28),)),
        heartbeat(services=(ServiceEntry(2**32, State.STOPPED, 0),)),
        heartbeat(services=services(4_097)),
        heartbeat(acks=(Ack(1, Incarnation(1, 1), (-1,)),)),
        heartbeat(acks=(Ack(1, Incarnation(1, 1), (1,) * 256),)),
        heartbeat(acks=(Ack(1, Incarnation(1, 1), ()),) * 2),
        heartbeat(handovers=(Handover(-1, 1),)),
    ],
)
def test_what_would_be_refused_is_not_sent(wrong: Heartbeat) -> None:
    with pytest.raises(CodecError):
        codec.encode(wrong)


def accepted_or_refused(data: bytes) -> None:
    """A decoder has two outcomes. What it accepts is within the ranges: the encoder, which checks them, takes it."""
    try:
        hb = codec.decode(data)
    except CodecError as error:
        assert 0 < len(error.reason) < 60
        return
    assert codec.decode(codec.encode(hb)) == hb


@given(st.binary(max_size=2_000))
def test_random_bytes(data: bytes) -> None:
    accepted_or_refused(data)


@given(st.binary(max_size=500))
@example(b"\x9b" * 5_000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\xd6\xff\0\0\0\0")
@example(b"\xd8\xff" + bytes(16))
@example(b"\x81\x90\1")
@example(b"\xa2\xff\xff")
def test_random_bodies_in_a_valid_envelope(body: bytes) -> None:
    accepted_or_refused(with_body(body))


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_random_blobs_in_a_valid_body(first: bytes, second: bytes, third: bytes) -> None:
    accepted_or_refused(with_body(body_with(services=first, acks=second, handovers=third)))


@given(heartbeats, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_mutated_messages_with_a_repaired_checksum(hb: Heartbeat, changes: list[tuple[int, int]]) -> None:
    body = bytearray(bytes(envelope.body_of(codec.encode(hb))))
    for at, to in changes:
        body[at % len(body)] = to
    accepted_or_refused(envelope.seal(bytes(body), hb.cluster, hb.node))


@given(heartbeats, st.integers(0, 10_000), st.integers(1, 255))
def test_mutated_messages_are_always_refused(hb: Heartbeat, at: int, flip: int) -> None:
    data = bytearray(codec.encode(hb))
    data[at % len(data)] ^= flip
    reason_of(bytes(data))


@given(heartbeats, st.integers(0, 10_000))
def test_truncated_messages_are_always_refused(hb: Heartbeat, at: int) -> None:
    data = codec.encode(hb)
    reason_of(data[: at % len(data)])


def test_huge_input_is_refused() -> None:
    reason_of(b"EZH\1" + bytes(10_000_000))
    reason_of(b"\xff" * 10_000_000)
