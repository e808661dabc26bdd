"""``service -a|-r`` and ``hb -a|-r`` with the outputs of the tutorial; what they refuse; that nmond is told."""

import os
from pathlib import Path

import pytest

from ha.cli import hb, service
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import State
from ha.node.boot import boot_identity
from ha.node.layout import Layout, node_name
from ha.node.store import Store

from . import fake

NODE = node_name()
ADD = ["-a", "p26.opensvc.com", "/etc/opensvc/p26.opensvc.com.cluster", NODE, "peer", "/bin/true"]
RELOADED = fake.final(text="")


@pytest.fixture(autouse=True)
def configured(prefix: Path) -> None:
    (prefix / "conf/nodes").write_text(f"{NODE}\npeer\n")
    (prefix / "conf/monitor").write_text(f"{NODE} net lo 239.131.50.10 1234 10\npeer net lo 239.131.50.10 4321 10\n")
    (prefix / "conf/services").write_text("")


def services(prefix: Path) -> str:
    return (prefix / "conf/services").read_text()


def monitor(prefix: Path) -> list[str]:
    return (prefix / "conf/monitor").read_text().splitlines()


# ------------------------------------------------------------------------------------------ services


def test_adding_a_service_says_what_the_tutorial_shows(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert service.main(ADD) == 0
    assert capsys.readouterr() == (
        "Creating service p26.opensvc.com :\nMake of services directory done\nDone.\n",
        "",
    )
    assert services(prefix) == "\t".join(ADD[1:]) + "\n"
    assert (prefix / "services/p26.opensvc.com").is_dir()


def test_a_running_nmond_is_told_of_a_new_service(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, {"reload": RELOADED}) as nmond:
        assert service.main(ADD) == 0
    assert [request["op"] for request in nmond.asked] == ["reload"]
    assert capsys.readouterr().out.endswith("Done.\n")


def test_what_nmond_does_not_take_over_is_said(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused = fake.final(ok=False, text="refused", errors=["conf/options.toml:3: what is x?"])
    with fake.nmond(run_dir, {"reload": refused}):
        assert service.main(ADD) == 1
    out, err = capsys.readouterr()
    assert "Done." not in out
    assert err == ("the file is changed, but nmond did not take it over: refused; conf/options.toml:3: what is x?\n")


def test_a_service_is_added_once(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert service.main(ADD) == 0
    capsys.readouterr()
    before = services(prefix)
    assert service.main(ADD) == 1
    out, err = capsys.readouterr()
    assert (out, services(prefix)) == ("", before)
    assert err.startswith("service: conf/services:1: service p26.opensvc.com is there already")


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "a/b", "-x", ".", "a b", ""])
def test_a_name_that_is_no_name_never_becomes_a_path(
    name: str, prefix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service.main(["-a", "--", name, *ADD[2:]]) == 1
    assert services(prefix) == ""
    assert os.listdir(prefix / "services") == []
    assert capsys.readouterr().err.count("\n") == 1


def test_removing_a_service_says_what_openha_says(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert service.main(ADD) == 0
    capsys.readouterr()
    assert service.main(["-r", "p26.opensvc.com"]) == 0
    assert capsys.readouterr() == ("Remove of service p26.opensvc.com done\nDone.\n", "")
    assert services(prefix) == ""
    assert not (prefix / "services/p26.opensvc.com").exists()


def test_a_removed_service_is_forgotten_and_begins_anew(prefix: Path) -> None:
    assert service.main(ADD) == 0
    assert service.main(["-A", "p26.opensvc.com", "unfreeze"]) == 0
    assert service.main(["-r", "p26.opensvc.com"]) == 0
    loaded = Store(Layout(str(prefix)), NODE).load(boot_identity())
    assert loaded.record == NodeRecord(0)


@pytest.mark.parametrize(("override", "code"), [([], 1), (["--i-know"], 0)])
@pytest.mark.parametrize(
    ("state", "unclean", "says"),
    [
        (State.STARTED, False, "STARTED here"),
        (State.UNKNOWN, False, "UNKNOWN here"),
        (State.START_FAILED, True, "START_FAILED, and parts may be up, here"),
    ],
)
def test_a_service_that_may_be_up_is_not_removed_unasked(
    state: State,
    unclean: bool,
    says: str,
    override: list[str],
    code: int,
    prefix: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert service.main(ADD) == 0
    record = NodeRecord(5, (ServiceRecord("p26.opensvc.com", state, unclean=unclean),))
    Store(Layout(str(prefix)), NODE).save(record, boot_identity())
    assert service.main(["-r", "p26.opensvc.com", *override]) == code
    assert (services(prefix) == "") is (code == 0)
    if code:
        assert f"p26.opensvc.com is {says}: freeze-stop it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "more", "says"),
    [
        ("STARTED", {}, "p26.opensvc.com is STARTED here: freeze-stop it first"),
        ("STOP_FAILED", {"unclean": True}, "p26.opensvc.com is STOP_FAILED here"),
        ("START_FAILED", {"unclean": True}, "parts of p26.opensvc.com may be up here: force-stop it first"),
        ("UNKNOWN", {}, "not known"),
        ("FROZEN_STOP", {"job": "status"}, "the status script of p26.opensvc.com is running"),
    ],
)
@pytest.mark.parametrize("override", [[], ["--i-know"]])
def test_what_a_running_nmond_looks_after_is_not_removed(
    state: str,
    more: dict[str, object],
    says: str,
    override: list[str],
    run_dir: str,
    prefix: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It would refuse the new file, and every later one, until the line is put back."""
    assert service.main(ADD) == 0
    before = services(prefix)
    up = fake.service("p26.opensvc.com", (NODE, state), ("peer", "STOPPED")) | more
    with fake.nmond(run_dir, {"status": fake.final(node=NODE, pid=1, services=[up]), "reload": RELOADED}) as nmond:
        assert service.main(["-r", "p26.opensvc.com", *override]) == 1
        assert [request["op"] for request in nmond.asked] == ["status"]
    assert says in capsys.readouterr().err
    assert services(prefix) == before


def test_what_is_down_is_removed_while_nmond_runs(run_dir: str, prefix: Path) -> None:
    assert service.main(ADD) == 0
    down = fake.service("p26.opensvc.com", (NODE, "FROZEN_STOP"), ("peer", "STARTED"))
    with fake.nmond(run_dir, {"status": fake.final(node=NODE, pid=1, services=[down]), "reload": RELOADED}) as nmond:
        assert service.main(["-r", "p26.opensvc.com"]) == 0
        assert [request["op"] for request in nmond.asked] == ["status", "reload"]
    assert services(prefix) == ""


def test_what_is_not_there_cannot_be_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert service.main(["-r", "nonesuch"]) == 1
    assert capsys.readouterr().err == ("service: conf/services: there is no service nonesuch; service -s lists them\n")


# --------------------------------------------------------------------------------------------- paths


def path(*more: str, node: str = NODE, kind: str = "dio", device: str, where: str = "0") -> list[str]:
    return ["-a", "-n", node, "-t", kind, "-i", device, "-d", where, *more]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    file = tmp_path / "disk"
    file.write_bytes(bytes(65_536))
    return file


def test_adding_and_removing_a_network_path(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = monitor(prefix)
    words = ["-n", "peer", "-t", "net", "-i", "lo", "-d", "239.131.50.11", "-p", "999"]
    assert hb.main(["-a", *words, "-T", "0.5"]) == 0
    assert monitor(prefix) == [*before, "peer net lo 239.131.50.11 999 0.5"]
    assert hb.main(["-r", *words]) == 0
    assert monitor(prefix) == before
    assert capsys.readouterr() == ("", "")


def test_adding_a_disk_path_looks_at_its_slot(prefix: Path, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hb.main(path(device=str(disk))) == 0
    assert monitor(prefix)[-1] == f"{NODE} dio {disk} 0 10"
    assert capsys.readouterr() == ("", "")


def test_a_foreign_slot_is_left_alone_without_force_and_cleared_with_it(
    prefix: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.write_bytes(b"somebody's data".ljust(65_536, b"."))
    assert hb.main(path(device=str(disk))) == 1
    assert disk.read_bytes().startswith(b"somebody's data")
    assert "is not written: the slot holds something that is not ezha's" in capsys.readouterr().err
    # The command that the message proposes, with the path in monitor by now.
    assert hb.main(path("--force", device=str(disk))) == 0
    assert not disk.read_bytes().startswith(b"some")
    assert disk.read_bytes().endswith(b"...")
    assert "the slot is cleared" in capsys.readouterr().out
    assert len(monitor(prefix)) == 3


def test_a_device_that_comes_late_can_be_configured(
    prefix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hb.main(path(device=str(tmp_path / "late"))) == 0
    assert len(monitor(prefix)) == 3
    late = f"{tmp_path}/late:0: No such file or directory"
    assert capsys.readouterr().err == f"hb: the path is added, and is DOWN until this is mended: {late}\n"


@pytest.mark.parametrize(
    ("argv", "code", "complaint"),
    [
        (["-a", "-t", "net"], 2, "hb: -n NODE is missing"),
        (["-a", "-n", NODE, "-t", "smoke", "-i", "lo", "-d", "1"], 2, "hb: -t smoke is none of net unicast disk dio"),
        (path(kind="net", device="lo", where="239.1.1.1"), 2, "hb: -p PORT is missing for a net path"),
        (path("-p", "1", device="/dev/sdb"), 2, "hb: -p is for net and unicast; a dio path has an offset (-d)"),
        (
            path("-p", "1", "--force", kind="net", device="lo", where="239.1.1.1"),
            2,
            "hb: --force clears a slot of a disk; there is none here",
        ),
        (path("--force", node="peer", device="/dev/sdb"), 1, "hb: --force clears the slot of this node only"),
        (path("-T", "500", device="/dev/sdb"), 1, "hb: conf/monitor:3: "),
        (path(device="/dev/sdb", where="first"), 1, "hb: conf/monitor:3: "),
        (path("-p", "1", kind="net", device="lo", where="10.0.0.1"), 1, "hb: conf/monitor:3: "),
        (path(node="stranger", device="/dev/sdb"), 1, "hb: conf/monitor:3: "),
    ],
)
def test_a_wrong_path_is_refused_and_nothing_is_written(
    argv: list[str], code: int, complaint: str, prefix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = monitor(prefix)
    assert hb.main(argv) == code
    assert capsys.readouterr().err.startswith(complaint)
    assert monitor(prefix) == before
