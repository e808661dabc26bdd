"""What is signed, what is accepted under which ring, and that a rotation in three steps misses nothing."""

import hmac
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.heartbeats import codec, envelope, keys
from ha.heartbeats.envelope import CodecError
from ha.heartbeats.keys import NO_KEYS, Key, KeyRing, Mode
from tests.unit.heartbeats.samples import heartbeat

OLD, NEW = Key(bytes(range(32))), Key(bytes(range(32, 64)))
RECEIVES = KeyRing((OLD,))
SENDS = KeyRing((OLD,), OLD.id)
ENFORCES = KeyRing((OLD,), OLD.id, unsigned=False)
BODY = b"\x9ba body that is not looked at"


def sealed(ring: KeyRing) -> bytes:
    return envelope.seal(BODY, 0xC0FFEE, 0xBEEF, ring)


def refusal(data: bytes, ring: KeyRing) -> str:
    with pytest.raises(CodecError) as caught:
        envelope.verify(data, ring)
    return caught.value.reason


def test_the_code_is_hmac_sha256_cut_to_its_field() -> None:
    message = sealed(ENFORCES)
    assert message[-16:] == hmac.new(OLD.secret, message[:-16], sha256).digest()[:16]


def test_known_answer_of_rfc_4231() -> None:
    """Test case 4: a key of 25 bytes. The ring pads nothing itself, so one of 32 with zeros at its end is the same."""
    secret = bytes(range(1, 26)).ljust(32, b"\0")
    ring = KeyRing((Key(secret),), Key(secret).id)
    assert ring.code(ring.signs, b"\xcd" * 50, 16).hex() == "82558a389a443c0ea4cc819899f2083a"


def test_modes() -> None:
    assert [ring.mode for ring in (NO_KEYS, RECEIVES, SENDS, ENFORCES)] == [
        Mode.UNAUTHENTICATED,
        Mode.UNAUTHENTICATED,
        Mode.PERMISSIVE,
        Mode.ENFORCE,
    ]


def test_who_takes_what() -> None:
    """Rows: whose message; columns: who takes it."""
    rings = (NO_KEYS, RECEIVES, SENDS, ENFORCES)
    taken = []
    for ours in rings:
        row = ""
        for theirs in rings:
            try:
                envelope.verify(sealed(ours), theirs)
                row += "x"
            except CodecError:
                row += "-"
        taken.append(row)
    assert taken == ["xxx-", "xxx-", "-xxx", "-xxx"]


def steps(first: KeyRing, last: KeyRing) -> Iterator[tuple[KeyRing, KeyRing]]:
    """All pairs of rings that two nodes have at one time, while a rotation goes on one node after the other."""
    both = KeyRing((*first.keys, *(key for key in last.keys if key not in first.keys)), first.signs, unsigned=True)
    both = replace(both, unsigned=first.unsigned)
    path = [first, both, replace(both, signs=last.signs), last]
    for before, after in pairwise(path):
        yield from ((before, before), (before, after), (after, before), (after, after))


@pytest.mark.parametrize("ends", [(NO_KEYS, ENFORCES), (ENFORCES, KeyRing((NEW,), NEW.id, unsigned=False))])
def test_no_message_is_refused_while_keys_rotate(ends: tuple[KeyRing, KeyRing]) -> None:
    for ours, theirs in steps(*ends):
        assert envelope.verify(sealed(ours), theirs).node == 0xBEEF


def test_a_step_left_out_is_refused() -> None:
    """The twin of the one above: the middle of a rotation is needed."""
    assert refusal(sealed(NO_KEYS), ENFORCES) == "not signed"
    assert refusal(sealed(KeyRing((NEW,), NEW.id)), SENDS) == "unknown key"


def test_every_bit_is_signed() -> None:
    good = sealed(ENFORCES)
    for at in range(len(good) * 8):
        data = bytearray(good)
        data[at // 8] ^= 1 << at % 8
        refusal(bytes(data), ENFORCES)


def test_a_checksum_is_no_signature() -> None:
    """Whoever knows the format but not the key can repair a checksum, and only that."""
    forged = bytearray(sealed(NO_KEYS))
    assert refusal(bytes(forged), ENFORCES) == "not signed"
    forged[6:8] = OLD.id.to_bytes(2, "big")
    assert refusal(bytes(forged), ENFORCES) == "forged or damaged"


def test_the_header_tells_which_key_signs_and_which_is_the_newest() -> None:
    origin = envelope.verify(sealed(KeyRing((OLD, NEW), OLD.id, unsigned=False)), ENFORCES)
    assert (origin.key, origin.newest_key) == (OLD.id, NEW.id)


def test_a_whole_heartbeat_under_a_key() -> None:
    hb = heartbeat()
    assert codec.decode(codec.encode(hb, keys=ENFORCES), ENFORCES) == hb
    assert len(codec.encode(hb, keys=ENFORCES)) == len(codec.encode(hb))


def test_rings_that_cannot_be() -> None:
    for wrong in (
        lambda: KeyRing((OLD, OLD)),
        lambda: KeyRing((OLD,), NEW.id),
        lambda: KeyRing((OLD,), unsigned=False),
        lambda: Key(b"short"),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_a_secret_is_never_shown() -> None:
    assert OLD.secret.hex() not in repr(ENFORCES) and repr(OLD.secret) not in repr(ENFORCES)


@pytest.mark.parametrize("ring", [NO_KEYS, RECEIVES, SENDS, ENFORCES, KeyRing((OLD, NEW), NEW.id)])
def test_a_ring_reaches_a_worker(ring: KeyRing) -> None:
    assert keys.unpack(keys.pack(ring)) == ring


@given(st.binary(max_size=70))
def test_bytes_that_are_no_ring(raw: bytes) -> None:
    try:
        assert keys.unpack(raw).keys is not None
    except ValueError:
        pass
