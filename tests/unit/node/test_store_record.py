"""The state of record as bytes: a torn, foreign or damaged record is refused, never taken for STOPPED (H9, H12)."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha.fsm.freshness import LastHeard
from ha.fsm.message import Incarnation
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import State
from ha.node import statefile
from ha.node.recordfile import MAX_BYTES, MAX_SERVICES, Encoder, RecordError, decode

BOOT = "04a7295a-82e7-4d4f-ac5a-c09b5c2918ab:25"
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", fullmatch=True)
GENERATIONS = st.integers(0, 2**28 - 1)
SERVICES = st.builds(
    ServiceRecord,
    name=NAMES,
    state=st.sampled_from([s for s in State if s is not State.FORCE_STOP]),
    generation=GENERATIONS,
    last_run=GENERATIONS,
    seen=GENERATIONS,
    unclean=st.booleans(),
    demoted=st.booleans(),
    freeze=st.booleans(),
    handover=st.one_of(st.just(""), NAMES),
)
INCARNATIONS = st.builds(Incarnation, st.integers(1, 2**40 - 1), st.integers(0, 2**32 - 1))
MANY = st.lists(NAMES, max_size=3, unique=True).map(tuple)
HEARD = st.builds(LastHeard, NAMES, INCARNATIONS, st.integers(1, 2**40 - 1), st.integers(0, 2**32 - 1), MANY, MANY)
RECORDS = st.builds(
    NodeRecord,
    incarnation=st.integers(0, 2**40 - 1),
    services=st.lists(SERVICES, max_size=5, unique_by=lambda s: s.name).map(tuple),
    heard=st.lists(HEARD, max_size=3).map(tuple),
)
WEB = ServiceRecord("web", State.STARTED, 3, 3, 3)
RECORD = NodeRecord(12, (WEB, ServiceRecord("db", State.START_FAILED, 4, 2, 9, unclean=True, handover="node2")))


def encoded(record: NodeRecord = RECORD, node: str = "node1", boot: str = BOOT) -> bytes:
    return Encoder(node).encode(record, boot)


def signed(*lines: str) -> bytes:
    """A record with a right checksum, whatever it holds."""
    text = "".join(line + "\n" for line in lines).encode()
    return text + b"sha256 " + sha256(text).hexdigest().encode() + b"\n"


@given(RECORDS, NAMES)
def test_what_was_saved_comes_back(record: NodeRecord, node: str) -> None:
    found = decode(encoded(record, node), node)
    assert found.record == record
    assert found.boot_id == BOOT


def test_a_person_can_read_it() -> None:
    assert encoded(NodeRecord(12, (WEB,))).decode().split("\n")[:3] == [
        "ezha record 1",
        f'{{"node":"node1","boot":"{BOOT}","incarnation":12,"heard":[],"lost":false,"shared":[],"down":[],"services":1}}',
        '{"name":"web","state":"STARTED","generation":3,"last_run":3,"seen":3,"unclean":false,"demoted":false,'
        '"freeze":false,"handover":""}',
    ]


def test_any_byte_that_changes_is_noticed() -> None:
    good = encoded()
    assert decode(good, "node1").record == RECORD
    for place, byte in enumerate(good):
        for other in {byte ^ 1, byte ^ 0x20, 0, 0xFF, byte ^ 0x80} - {byte}:
            with pytest.raises(RecordError):
                decode(good[:place] + bytes([other]) + good[place + 1 :], "node1")


def test_any_length_that_changes_is_noticed() -> None:
    good = encoded()
    for length in range(len(good)):
        with pytest.raises(RecordError):
            decode(good[:length], "node1")
    for tail in (b"\n", b"\0", good, b"\0" * 512):
        with pytest.raises(RecordError):
            decode(good + tail, "node1")


@given(st.data())
@settings(max_examples=300)
def test_any_damage_is_noticed(data: st.DataObject) -> None:
    good = encoded()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 64)))
    bad = good[:start] + data.draw(st.binary(max_size=64)) + good[end:]
    if bad != good:
        with pytest.raises(RecordError):
            decode(bad, "node1")


@given(st.binary(max_size=400))
def test_bytes_of_a_stranger_are_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        decode(data, "node1")


HEAD = f'{{"node":"node1","boot":"{BOOT}","incarnation":12,"heard":[],"lost":false,"services":%d}}'
LINE = (
    '{"name":"web","state":"STARTED","generation":3,"last_run":3,"seen":3,"unclean":false,"demoted":false,'
    '"freeze":false,"handover":""}'
)


def test_the_samples_below_are_records_but_for_what_they_change() -> None:
    assert decode(signed("ezha record 1", HEAD % 1, LINE), "node1").record == NodeRecord(12, (WEB,))


def test_a_record_of_an_ezha_that_kept_less_of_what_it_had_heard_is_read() -> None:
    head = HEAD.replace('"heard":[]', '"heard":[["node2",4,9,7]]') % 1
    found = decode(signed("ezha record 1", head, LINE), "node1").record
    assert found.heard == (LastHeard("node2", Incarnation(4, 9), 7),)


def test_a_record_of_an_ezha_that_did_not_know_of_lost_records_is_read() -> None:
    head = (HEAD % 1).replace('"lost":false,', "")
    assert head != HEAD % 1
    assert decode(signed("ezha record 1", head, LINE), "node1").record == NodeRecord(12, (WEB,))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["ezha record 2", HEAD % 1, LINE], "has version '2', this ezha reads 1"),
        (["ezha record 01", HEAD % 1, LINE], "has version '01'"),
        (["ezha record 1"], "not JSON"),
        (["ezha record 1", "[]"], "other keys"),
        (["ezha record 1", HEAD % 0, LINE], "holds 1 services, and says something else"),
        (["ezha record 1", HEAD % 2, LINE, LINE], "holds a service twice"),
        (["ezha record 1", HEAD.replace("node1", "node2") % 1, LINE], "is the record of node node2, this is node1"),
        (["ezha record 1", HEAD.replace("12", "-1") % 1, LINE], "has a wrong incarnation -1"),
        (["ezha record 1", HEAD.replace("12", "true") % 1, LINE], "has a wrong incarnation True"),
        (["ezha record 1", HEAD.replace(BOOT, "") % 1, LINE], "has no boot id"),
        (["ezha record 1", HEAD.replace("[]", '[["node2",4,9,7,-1,[],[]]]') % 1, LINE], "nodes that were heard"),
        (["ezha record 1", HEAD.replace("[]", '[["node2",4,9,7,0,["web"]]]') % 1, LINE], "nodes that were heard"),
        (["ezha record 1", HEAD.replace("[]", '[["node2",4,9]]') % 1, LINE], "wrong list of nodes that were heard"),
        (["ezha record 1", HEAD.replace("[]", '[["node2",4,9,7,0,["../web"],[]]]') % 1, LINE], "nodes that were heard"),
        (["ezha record 1", HEAD.replace("[]", '[["node2",4,9,7,0,[],[5]]]') % 1, LINE], "nodes that were heard"),
        (["ezha record 1", HEAD % 1, LINE.replace("STARTED", "FORCE_STOP")], "has a wrong state of service web"),
        (["ezha record 1", HEAD % 1, LINE.replace("STARTED", "RUNNING")], "holds an unknown state RUNNING"),
        (["ezha record 1", HEAD % 1, LINE.replace('"STARTED"', "2")], "holds an unknown state 2"),
        (["ezha record 1", HEAD % 1, LINE.replace('"web"', '"../web"')], "has a wrong service name ../web"),
        (["ezha record 1", HEAD % 1, LINE.replace('"web"', "null")], "has a wrong service name None"),
        (["ezha record 1", HEAD % 1, LINE.replace("false", "0")], "has a wrong flag of service web"),
        (["ezha record 1", HEAD % 1, LINE.replace('"seen":3', '"seen":268435456')], "has a wrong seen 268435456"),
        (["ezha record 1", HEAD % 1, LINE.replace('"seen":3', '"seen":3.0')], "has a wrong seen 3.0"),
        (["ezha record 1", HEAD % 1, LINE.replace('"handover":""', '"handover":0')], "has a wrong handover"),
        (["ezha record 1", HEAD % 1, LINE.replace('"seen":3,', "")], "other keys"),
        (["ezha record 1", HEAD % 1, LINE.replace("{", '{"x":1,')], "other keys"),
        (["ezha record 1", HEAD % 1, "[" * 50_000], "not JSON"),
        (["ezha record 1", HEAD % 1, LINE.replace("web", "wéb")], "not ASCII"),
    ],
)
def test_a_right_checksum_over_wrong_words_does_not_help(lines: list[str], says: str) -> None:
    with pytest.raises(RecordError, match=says.replace("[", r"\[")):
        decode(signed(*lines), "node1")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"2 STARTED\n", "is not a record of ezha"),
        (b"ezha record 1\n", "is torn"),
        (b"x" * (MAX_BYTES + 1), "is larger than"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, says: str) -> None:
    with pytest.raises(RecordError, match=says):
        decode(data, "node1")


@pytest.mark.parametrize(
    "record",
    [
        NodeRecord(-1),
        NodeRecord(2**40),
        NodeRecord(1, (WEB, WEB)),
        NodeRecord(1, (replace(WEB, name="../x"),)),
        NodeRecord(1, (replace(WEB, name='x"'),)),
        NodeRecord(1, (replace(WEB, state=State.FORCE_STOP),)),
        NodeRecord(1, (replace(WEB, generation=2**28),)),
        NodeRecord(1, (replace(WEB, handover="a\nb"),)),
        NodeRecord(1, tuple(ServiceRecord(f"s{i}") for i in range(MAX_SERVICES + 1))),
    ],
)
def test_a_record_that_could_not_be_read_again_is_not_written(record: NodeRecord) -> None:
    with pytest.raises(ValueError, match=r"."):
        encoded(record)


@pytest.mark.parametrize("boot", ["", "a b", 'x"', "x" * 129, "a\n"])
def test_a_boot_id_that_would_break_the_record_is_not_written(boot: str) -> None:
    with pytest.raises(ValueError, match="boot id"):
        encoded(boot=boot)


def test_remembered_lines_follow_every_change() -> None:
    encoder = Encoder("node1")
    record = RECORD
    for state in (State.STOPPING, State.STOPPED, State.STOPPED, State.STARTED):
        record = replace(record, services=(replace(record.services[0], state=state), *record.services[1:]))
        assert decode(encoder.encode(record, BOOT), "node1").record == record
    fewer = replace(record, services=record.services[1:])
    assert decode(encoder.encode(fewer, BOOT), "node1").record == fewer


def test_the_largest_record_that_is_written_is_read() -> None:
    names = [f"{i:04d}" + "x" * 60 for i in range(MAX_SERVICES)]
    big = 2**28 - 1
    services = tuple(ServiceRecord(n, State.START_FAILED, big, big, big, False, False, False, "y" * 64) for n in names)
    record = NodeRecord(2**40 - 1, services)
    assert decode(encoded(record), "node1").record == record


@pytest.mark.parametrize("state", [s for s in State if s is not State.FORCE_STOP])
def test_state_files_begin_with_openhas_digit(state: State) -> None:
    data = statefile.encode(state)
    assert data == f"{7 if state is State.FROZEN_START else int(state)} {state.name}\n".encode()
    assert statefile.decode(data) is state


def test_force_stop_is_never_stored() -> None:
    with pytest.raises(ValueError, match="never stored"):
        statefile.encode(State.FORCE_STOP)


def test_state_files_of_openha_are_read() -> None:
    found = [statefile.decode(b"%d\0" % digit) for digit in range(9)]
    # Its 7 is START_READY or frozen while started.
    assert found == [State.UNKNOWN if digit == 7 else State(digit) for digit in range(9)]
    assert statefile.decode(b"2") is statefile.decode(b"2\n") is State.STARTED


@given(st.binary(max_size=20))
def test_torn_or_foreign_state_files_tell_nothing(data: bytes) -> None:
    found = statefile.decode(data)
    if found is not None:
        assert data[:1] == b"%d" % found.openha_digit or (found is State.UNKNOWN and data[:1] == b"7")


@pytest.mark.parametrize("data", [b"", b"9\0", b"2 STOPPED\n", b"2 STARTED", b"22", b"2 ", b"x", b"\0", b"10"])
def test_a_state_file_that_is_not_whole_is_no_state(data: bytes) -> None:
    assert statefile.decode(data) is None


def test_the_lines_are_json() -> None:
    lines = encoded().decode().split("\n")[1:-2]
    assert [json.loads(line).get("name") for line in lines] == [None, "web", "db"]
