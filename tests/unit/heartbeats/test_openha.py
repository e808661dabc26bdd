"""OpenHA's own struct: byte for byte with what the original sent, and closed to what it could not have sent."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.fsm.states import State
from ha.heartbeats import openha
from ha.heartbeats.envelope import CodecError
from ha.heartbeats.openha import Beat

GOLDEN = Path(__file__).parents[2] / "golden"
NET = (GOLDEN / "net_heartbeat.bin").read_bytes()
NEXT = (GOLDEN / "net_heartbeat_next.bin").read_bytes()
BLOCK = (GOLDEN / "dio_block.bin").read_bytes()
CAPTURED = Beat(
    node="node1",
    seconds=1795335932,
    services=(
        ("web", State.STARTED),
        ("db", State.FROZEN_STOP),
        ("mail", State.STOPPED),
        ("last", State.START_READY),
    ),
    port="1234",
    address="239.131.50.10",
    hostid=0x630A0100,
    pid=21,
)
STATE_AT, NAME_AT, NODE_AT = 8348, 156, 0


def patched(offset: int, raw: bytes) -> bytes:
    return NET[:offset] + raw + NET[offset + len(raw) :]


# ------------------------------------------------------------------------------------------- the captures


def test_what_the_original_sent_is_read_and_made_again_byte_for_byte() -> None:
    assert openha.decode(NET) == CAPTURED
    assert openha.encode(CAPTURED) == NET
    assert openha.encode(replace(CAPTURED, seconds=CAPTURED.seconds + 1)) == NEXT


def test_a_block_holds_the_same_struct_without_port_and_address_and_what_follows_it_is_not_looked_at() -> None:
    on_disk = replace(CAPTURED, seconds=1795335934, port="", address="", pid=23)
    assert len(BLOCK) == openha.BLOCKS * 512
    assert openha.decode(openha.struct_of(BLOCK)) == on_disk
    assert openha.encode(on_disk) == BLOCK[: openha.SIZE]
    assert openha.struct_of(BLOCK[: openha.SIZE] + b"\xaa" * 344) == BLOCK[: openha.SIZE]


def test_only_the_services_in_which_the_node_has_a_part_are_in_its_message() -> None:
    listed = [line.split() for line in (GOLDEN / "services").read_text().splitlines()]
    own = [name for name, _, primary, secondary, _ in listed if "node1" in (primary, secondary)]
    assert [name for name, _ in openha.decode(NET).services] == own == ["web", "db", "mail", "last"]


def test_the_process_that_sends_fills_in_what_only_it_knows() -> None:
    blank = openha.encode(replace(CAPTURED, port="", address="", pid=0))
    assert openha.stamped(blank, CAPTURED.port, CAPTURED.address, CAPTURED.pid) == NET
    with pytest.raises(CodecError):
        openha.stamped(blank, "1234", "fd00:e24a::10:11:12", 0)
    assert openha.sender_of(BLOCK) == "node1"


# ---------------------------------------------------------------------------------------------- the limits


def test_a_frozen_running_service_goes_out_as_a_seven() -> None:
    data = openha.encode(replace(CAPTURED, services=(("web", State.FROZEN_START),)))
    assert struct.unpack_from("<i", data, STATE_AT) == (7,)
    assert openha.decode(data).services == (("web", State.START_READY),)


def test_a_five_digit_port_and_the_longest_address_have_no_nul() -> None:
    beat = replace(CAPTURED, port="65535", address="239.131.150.100")
    data = openha.encode(beat)
    assert data[136:156] == b"65535239.131.150.100"
    assert openha.decode(data) == beat


@pytest.mark.parametrize(
    "change",
    [
        {"node": "n" * 128},
        {"node": ""},
        {"node": "a\0b"},
        {"node": "../node1"},
        {"services": (("s" * 64, State.STOPPED),)},
        {"services": (("../../etc/passwd", State.STOPPED),)},
        {"services": (("", State.STOPPED),)},
        {"services": (("web", State.FORCE_STOP),)},
        {"services": tuple((f"s{number}", State.STOPPED) for number in range(129))},
        {"port": "123456"},
        {"address": "fd00:e24a::10:11:12"},
        {"seconds": 2**32},
        {"pid": 2**31},
        {"hostid": -1},
    ],
)
def test_a_field_that_does_not_hold_what_the_message_says_is_refused_never_cut(change: dict[str, object]) -> None:
    with pytest.raises(CodecError):
        openha.encode(replace(CAPTURED, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "wrong length"),
        (NET[:-1], "wrong length"),
        (NET + b"\0", "wrong length"),
        (bytes(openha.SIZE), "node name is none"),
        (patched(NODE_AT, b"../../x\0"), "node name is none"),
        (patched(NODE_AT, b"no de1\0"), "node name is none"),
        (patched(NODE_AT, b"\xff\xfe\0"), "node name is none"),
        (patched(NAME_AT, b"../web\0"), "service name is none"),
        (patched(NAME_AT, b"..\0"), "service name is none"),
        (patched(NAME_AT, b"we\nb\0"), "service name is none"),
        (patched(NAME_AT, b"db\0"), "a service twice"),
        (patched(STATE_AT, b"\x09\0\0\0"), "unknown state"),
        (patched(STATE_AT, b"\xff\xff\xff\xff"), "unknown state"),
        (patched(128, b"\x02"), "no message of OpenHA"),
        (patched(9380, b"\xff\xff\xff\xff"), "number out of range"),
    ],
)
def test_what_the_original_could_not_have_sent_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(CodecError) as caught:
        openha.decode(data)
    assert caught.value.reason == reason


def test_a_name_ends_at_its_first_nul_and_one_without_fills_its_field() -> None:
    assert openha.decode(patched(NAME_AT, b"web\0rubbish")).services[0] == ("web", State.STARTED)
    assert openha.decode(patched(NAME_AT, b"w" * 64)).services[0] == ("w" * 64, State.STARTED)


# ------------------------------------------------------------------------------------------- the round trip

_words = st.text("abcXYZ019._-", min_size=1, max_size=63).filter(lambda word: word not in (".", ".."))
_states = st.sampled_from([state for state in State if state.value <= State.UNKNOWN])
beats = st.builds(
    Beat,
    node=_words,
    seconds=st.integers(0, 2**32 - 1),
    services=st.dictionaries(_words, _states, max_size=128).map(lambda found: tuple(found.items())),
    port=st.integers(0, 65535).map(str),
    address=st.ip_addresses(v=4).map(str),
    up=st.booleans(),
    hostid=st.integers(0, 2**32 - 1),
    pid=st.integers(0, 2**31 - 1),
)


@given(beats)
def test_what_is_sent_is_what_is_read(beat: Beat) -> None:
    data = openha.encode(beat)
    assert len(data) == openha.SIZE
    assert openha.decode(data) == beat


@given(st.binary(max_size=openha.SIZE), st.integers(0, openha.SIZE))
def test_whatever_comes_is_read_or_refused_and_what_is_read_can_be_sent(patch: bytes, offset: int) -> None:
    data = patched(min(offset, openha.SIZE - len(patch)), patch)
    try:
        beat = openha.decode(data)
    except CodecError:
        return
    if all(len(name.encode()) <= openha.MAX_SERVICE_NAME for name, _ in beat.services) and len(beat.node) < 128:
        assert openha.decode(openha.encode(beat)) == beat
