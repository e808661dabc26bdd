"""``ezha wire decode``: any message of either codec as JSON, and a line for what is none."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ha.cli import ezha
from ha.cli.commands import wire
from ha.fsm.identity import node_id, service_id
from ha.fsm.message import Ack, Handover, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.states import Promise, State
from ha.heartbeats import codec
from ha.heartbeats.keys import Key, KeyRing, shown

GOLDEN = Path(__file__).parents[2] / "golden"
WEB = service_id("web", ("node1", "node2"))
BEAT = Heartbeat(
    cluster=0xC1,
    node=node_id("node1"),
    incarnation=Incarnation(3, 0xBEEF),
    seq=17,
    promise=Promise.NONE,
    standing=True,
    left=False,
    timeout_ms=10_000,
    lease_ms=0,
    paths_digest=0xD1,
    services=(ServiceEntry(WEB, State.STARTED, 4, last_ran=True),),
    acks=(Ack(node_id("node2"), Incarnation(2, 1), (9, 0)),),
    handovers=(Handover(WEB, node_id("node2")),),
)


def decoded(path: Path | str, capsys: pytest.CaptureFixture[str]) -> Any:
    assert ezha.main(["wire", "decode", str(path)]) == 0
    return json.loads(capsys.readouterr().out)


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert ezha.main(["wire", "decode", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err.strip()


def test_a_datagram_of_the_original(capsys: pytest.CaptureFixture[str]) -> None:
    told = decoded(GOLDEN / "net_heartbeat.bin", capsys)
    assert told == {
        "codec": "openha",
        "node": "node1",
        "seconds": 1795335932,
        "port": "1234",
        "address": "239.131.50.10",
        "up": True,
        "hostid": "630a0100",
        "pid": 21,
        "services": [
            {"name": "web", "state": "STARTED"},
            {"name": "db", "state": "FROZEN_STOP"},
            {"name": "mail", "state": "STOPPED"},
            {"name": "last", "state": "START_READY"},
        ],
        "bytes": 9384,
        "bytes_behind": 0,
    }


def test_a_block_of_the_original_with_what_stands_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    told = decoded(GOLDEN / "dio_block.bin", capsys)
    assert (told["codec"], told["pid"], told["port"], told["bytes_behind"]) == ("openha", 23, "", 344)


def test_every_message_of_a_capture_is_put_together_from_its_fragments(capsys: pytest.CaptureFixture[str]) -> None:
    told = decoded(GOLDEN / "heartbeats.pcap", capsys)
    assert [(each["from"], each["to"], each["node"]) for each in told] == [
        ("10.99.0.1:1234", "239.131.50.10:1234", "node1")
    ] * 4
    assert [each["seconds"] - told[0]["seconds"] for each in told] == [0, 1, 2, 3]


def test_a_slot_of_ezha_with_names_where_the_configuration_has_them(
    prefix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slot = tmp_path / "slot"
    slot.write_bytes(codec.encode(BEAT).ljust(1024, b"\0"))
    told = decoded(slot, capsys)
    assert (told["codec"], told["node"], told["node_id"]) == ("ezha", None, f"{BEAT.node:08x}")
    assert (told["incarnation"], told["seq"], told["timeout"]) == (3, 17, 10.0)

    (prefix / "conf" / "nodes").write_text("node1\nnode2\n")
    (prefix / "conf" / "monitor").write_text("node1 net eth0 239.1.1.1 1 10\nnode2 net eth0 239.1.1.1 2 10\n")
    (prefix / "conf" / "services").write_text("web /bin/true node1 node2 /bin/true\n")
    told = decoded(slot, capsys)
    assert told["node"] == "node1"
    assert told["services"] == [
        {"name": "web", "id": f"{WEB:08x}", "state": "STARTED", "generation": 4, "flags": ["last_ran"]}
    ]
    assert told["acks"][0]["node"] == "node2"
    assert told["handovers"] == [{"service": "web", "node": "node2"}]


def test_a_signed_message_is_shown_with_whether_its_signature_holds(
    prefix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = Key(bytes(range(32)))
    ring = KeyRing((key,), key.id, unsigned=False)
    data = codec.encode(BEAT, keys=ring)
    file = tmp_path / "signed"
    file.write_bytes(data)
    told = decoded(file, capsys)
    assert (told["seq"], told["signed_with"], told["verified"]) == (17, shown(key.id), None)
    found = wire.message(data, wire.Names(ring=ring))
    assert found["verified"] is True
    forged = wire.message(data[:-1] + bytes([data[-1] ^ 1]), wire.Names(ring=ring))
    assert (forged["verified"], forged["why"]) == (False, "forged or damaged")


def test_a_slot_that_was_never_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slot = tmp_path / "slot"
    slot.write_bytes(bytes(512))
    assert decoded(slot, capsys) == {"codec": "", "empty": True, "bytes": 512, "claimed_by_force": False}


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(codec.encode(BEAT))))
    assert decoded("-", capsys)["seq"] == 17


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "there are no bytes"),
        (b"hello", "too short, and no message of ezha"),
        (b"x" * 9384, "unknown state"),
        (bytes(9383) + b"x", "node name is none"),
        (codec.encode(BEAT)[:-1], "wrong length"),
        (codec.encode(BEAT)[:-1] + b"?", "damaged"),
    ],
)
def test_what_is_no_message_is_refused_in_a_line(
    data: bytes, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    assert refused(file, capsys) == f"ezha: no heartbeat of ezha or OpenHA: {why}"


def test_a_capture_that_is_cut_short_is_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_bytes((GOLDEN / "heartbeats.pcap").read_bytes()[:3000])
    assert "capture" in refused(file, capsys)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(tmp_path / "none", capsys).endswith("/none cannot be read: No such file or directory")
