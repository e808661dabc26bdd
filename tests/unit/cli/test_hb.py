"""``hb -s`` byte for byte as the tutorial (0.3.6) and OpenHA 0.5 print it."""

import json
import time

import pytest

from ha.cli import hb

from . import fake

LUN = "/dev/mapper/14f504e46494c45526967724d32682d553243692d4f336a4c"


@pytest.fixture(autouse=True)
def utc(prefix: object) -> None:
    time.tzset()


def paths(*shown: fake.Answer) -> dict[str, fake.Answer]:
    return {"paths": fake.final(authentication="unauthenticated", paths=list(shown))}


def test_paths_are_those_of_the_tutorial(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    four = paths(
        fake.path("eth0:239.131.50.10:1234"),
        fake.path(f"{LUN}:0", pid=25636),
        fake.path("eth0:239.131.50.10:4321", "listener", pid=23801),
        fake.path(f"{LUN}:2", "listener", pid=23804, updated=1_392_843_595.9),
    )
    with fake.nmond(run_dir, four):
        assert hb.main(["-s"]) == 0
    assert capsys.readouterr() == (
        "interface eth0:239.131.50.10:1234 pid 25633 status UP, updated at Feb 19 20:59:57\n"
        f"interface {LUN}:0 pid 25636 status UP, updated at Feb 19 20:59:57\n"
        "interface eth0:239.131.50.10:4321 pid 23801 status UP, updated at Feb 19 20:59:57\n"
        f"interface {LUN}:2 pid 23804 status UP, updated at Feb 19 20:59:55\n",
        "",
    )


def test_a_path_that_is_down_keeps_its_last_date(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, paths(fake.path("eth0:239.131.50.10:1", up=False), fake.path("/dev/sdb:0", updated=None))):
        assert hb.main(["-s"]) == 0
    assert capsys.readouterr().out == (
        "interface eth0:239.131.50.10:1 pid 25633 status DOWN, updated at Feb 19 20:59:57\n"
        "interface /dev/sdb:0 pid 25633 status UP\n"
    )


def test_the_long_format_tells_what_guards_this_node_and_how_well_nmond_keeps_its_time(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    guard = {"guard": "guardian (pid 7), self_fence = reboot", "late_max": 0.01234}
    answer = fake.final(authentication="unauthenticated", paths=[fake.path("/dev/sdb:2")], **guard)
    with fake.nmond(run_dir, {"paths": answer}):
        assert hb.main(["-s", "--long"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "guarded by guardian (pid 7), self_fence = reboot; nmond was at most 12.3 ms late"
    )


def test_the_long_format_is_that_of_openha_0_5_and_tells_what_is_wrong(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = paths(
        fake.path("eth0:239.131.50.10:1234"),
        fake.path(
            "eth0:239.131.50.10:4321",
            "listener",
            up=False,
            trouble="eth0 has no carrier",
            refused={"wrong checksum": 3, "another cluster": 1},
        ),
        fake.path("/dev/sdb:2", "listener"),
    )
    with fake.nmond(run_dir, shown):
        assert hb.main(["-s", "--long"]) == 0
    assert capsys.readouterr().out == (
        "net sender eth0:239.131.50.10 pid 25633 status UP, updated at Feb 19 20:59:57\n"
        "net listener eth0:239.131.50.10 status DOWN\n"
        "        trouble: eth0 has no carrier\n"
        "        last updated at Feb 19 20:59:57, the timeout is 10 s\n"
        "        refused: 1 (another cluster)\n"
        "        refused: 3 (wrong checksum)\n"
        "dio listener /dev/sdb:2 pid 25633 status UP, updated at Feb 19 20:59:57\n"
        "heartbeats are unauthenticated\n"
    )


@pytest.mark.parametrize(("terminal", "said"), [(True, "heartbeats are unauthenticated\n"), (False, "")])
def test_a_person_is_told_that_heartbeats_are_unauthenticated(
    terminal: bool, said: str, run_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with fake.nmond(run_dir, paths(fake.path("/dev/sdb:0"))):
        assert hb.main(["-s"]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, said)


def test_a_path_that_speaks_as_openha_does_is_marked(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    two = paths(fake.path("eth0:239.131.50.10:1234", wire="openha"), fake.path("/dev/sdb:0", up=False, wire="openha"))
    with fake.nmond(run_dir, two):
        assert hb.main(["-s"]) == hb.main(["-s", "--long"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(", wire openha")]
    assert len(lines) == 4
    assert lines[-1] == "dio sender /dev/sdb:0 status DOWN, wire openha"


def test_json_holds_everything(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = paths(fake.path("/dev/sdb:0", trouble="I/O error"))
    with fake.nmond(run_dir, shown):
        assert hb.main(["-s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "authentication": "unauthenticated",
        "paths": shown["paths"]["paths"],
    }


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "say what to do: -s, -a or -r"),
        (["-s", "-n", "node1"], "-s has no option -n"),
        (["-s", "-a"], "-s and -a exclude one another"),
        (["-s", "--force"], "-s has no option --force"),
        (["-s", "--long", "--json"], "--long and --json exclude one another"),
        (["-s", "x"], "x is not understood"),
        (["-a", "-n"], "-n needs a value"),
        (["-a", "-n", "a", "-n", "b"], "-n is given twice"),
        (["-r", "--force"], "-r has no option --force"),
    ],
)
def test_a_wrong_command_line_is_told_and_exits_2(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hb.main(argv) == 2
    assert capsys.readouterr() == ("", f"hb: {complaint}\n{hb.USAGE}\n")
