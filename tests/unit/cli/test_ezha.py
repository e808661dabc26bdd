"""``ezha`` and ``openha``: the dispatcher, and the subcommands that only ask and print."""

import json
import re
from pathlib import Path

import pytest

import ha
from ha.cli import ezha
from ha.cli.commands import metrics, status
from ha.node.layout import node_name

from . import fake

WEB = fake.service("web", ("node1", "STARTED"), ("node2", "START_FAILED"), reason="the start script is done")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert ezha.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, (_, what) in ezha.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(what)}$", out, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(ezha.COMMANDS) - {"lab"}))
def test_every_command_has_a_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = ezha.main([name, "--help"])
    except SystemExit as end:  # argparse ends the process after its help
        code = int(end.code or 0)
    assert code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ezha.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ezha {ha.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "say what to do"),
        (["explode"], "there is no command explode"),
        (["--explode"], "there is no option --explode"),
        (["status", "--explode"], "unrecognized arguments: --explode"),
        (["switch"], "the following arguments are required: SERVICE"),
        (["why", "web", "--last", "0"], "argument --last: 0 is not a number from 1 to 10000"),
        (["node", "dance"], "argument status|wait|stop|restart: invalid choice: 'dance'"),
        (["metrics", "--serve", "0.0.0.0:9410"], "0.0.0.0 is not a loopback address"),
        (["metrics", "--serve", "localhost"], "localhost is not ADDRESS:PORT"),
        (["metrics", "--serve", "127.0.0.1:0"], "'0' is not a port, 1 to 65535"),
        (["install", "--prefix", "here"], "'here' cannot be a prefix"),
        (["install", "--prefix", "/a b"], "'/a b' cannot be a prefix"),
        (["install", "--prefix", "/x/.."], "/ cannot be a prefix"),
    ],
)
def test_a_wrong_command_line_is_told_and_exits_2(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ezha.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"ezha: {complaint}")
    assert "Traceback" not in err


def test_openha_wraps_what_it_always_wrapped(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, {"status": fake.final(node="node1", pid=1, services=[WEB])}):
        assert ezha.openha(["service", "-s"]) == 0
    assert capsys.readouterr().out.startswith("1 service(s) defined:\n")
    assert ezha.openha(["install"]) == 2
    assert capsys.readouterr().err.startswith("openha: there is no command install\n")


@pytest.mark.parametrize("name", ["status", "metrics", "reload", "switch"])
def test_without_nmond_each_command_says_so(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ezha.main([name, "web"] if name == "switch" else [name]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ezha: nmond is not running on this node: ")
    assert err.count("\n") == 1


# -------------------------------------------------------------------------------------------- status


def answers() -> dict[str, fake.Answer]:
    shown = [
        fake.path("eth0:239.131.50.10:1234"),
        fake.path("/dev/sdb:2", "listener", node="node2", up=False, updated=None, trouble="no such device"),
    ]
    return {
        "status": fake.final(node="node1", pid=4711, services=[WEB]),
        "paths": fake.final(authentication="unauthenticated", paths=shown),
    }


def test_status_shows_node_services_and_paths(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, answers()):
        assert ezha.main(["status"]) == 0
    head, _, *rest = capsys.readouterr().out.splitlines()
    assert head == "node node1, nmond pid 4711, heartbeats are unauthenticated"
    assert rest[0].split("  ")[0] == "SERVICE"
    assert rest[1].startswith("web      node1 STARTED, node2 START_FAILED  ")
    assert rest[1].endswith("the start script is done")
    assert rest[4].startswith("node1 (sender)    net     eth0:239.131.50.10:1234  UP     ")
    assert rest[5].split() == ["node2", "(listener)", "dio", "/dev/sdb:2", "DOWN", "never", "no", "such", "device"]


def test_status_says_first_what_keeps_the_node_from_acting(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = answers()
    peers = [{"node": "node2", "heard": False, "left": True}]
    told["status"] |= {"trouble": "No space left on device", "leaving": True, "peers": peers}
    with fake.nmond(run_dir, told):
        assert ezha.main(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[1:5] == [
        "NOTHING IS STARTED OR STOPPED: the state of record cannot be written (No space left on device)",
        "this node leaves the cluster",
        "node2 left the cluster",
        "",
    ]


def test_status_as_json(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, answers()):
        assert ezha.main(["status", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"node", "pid", "services", "authentication", "paths"}


def test_a_failure_decides_the_colour_of_a_line() -> None:
    rows = status.service_rows([WEB], 1_010.0)
    assert rows[1][1] == ("node1 STARTED, node2 START_FAILED", "bold red")
    assert rows[1][2] == ("10 s ago", "default")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0.0 s ago"),
        (0.44, "0.4 s ago"),
        (12, "12 s ago"),
        (180, "3 min ago"),
        (7_300, "2 h ago"),
        (5e5, "6 d ago"),
    ],
)
def test_ages_are_coarse(seconds: float, said: str) -> None:
    assert status.service_rows([fake.service("web") | {"since": 1e9}], 1e9 + seconds)[1][2] == (said, "default")


# ------------------------------------------------------------------------------- switch, reload, why


def test_switch_names_the_node_that_is_to_take_it(run_dir: str) -> None:
    with fake.nmond(run_dir, {"action": fake.final(results=[])}) as nmond:
        assert ezha.main(["switch", "web", "node2", "--no-wait"]) == 0
    request = nmond.asked[0]
    assert (request["action"], request["service"], request["target"], request["wait"]) == (
        "switch",
        "web",
        "node2",
        False,
    )


def test_a_broken_configuration_is_told_whole(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    broken = fake.final(ok=False, text="the old configuration stays", errors=["conf/services:3: x", "conf/nodes:1: y"])
    with fake.nmond(run_dir, {"reload": broken}):
        assert ezha.main(["reload"]) == 1
    assert capsys.readouterr().err == (
        "conf/services:3: x\nconf/nodes:1: y\nezha reload: the old configuration stays\n"
    )


def test_why_has_nothing_to_tell_of_a_stranger(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ezha.main(["why", "web"]) == 1
    assert capsys.readouterr() == ("", f"ezha: nothing is told of service web in {prefix}/log/history.jsonl\n")


# --------------------------------------------------------------------------------------------- check


def test_check_tells_file_line_and_figures(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = node_name()
    (prefix / "conf/nodes").write_text(f"{node}\npeer\n")
    (prefix / "conf/monitor").write_text(f"{node} net lo 239.131.50.10 1234 10\npeer net lo 239.131.50.10 4321 10\n")
    (prefix / "conf/services").write_text(f"web\t/no/such/script\t{node}\tpeer\t/bin/true\n")
    assert ezha.main(["check", "--syntax"]) == 0
    assert capsys.readouterr() == ("", "")
    assert ezha.main(["check"]) == 1
    out, err = capsys.readouterr()
    assert "error: conf/services:1: script /no/such/script of service web cannot be run" in err
    assert f"{node}: silent after T = 10 s" in out


def test_check_refuses_what_nmond_refuses(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (prefix / "conf/nodes").write_text(f"{node_name()}\n")
    (prefix / "conf/monitor").write_text("stranger net lo 239.131.50.10 1234 10\n")
    (prefix / "conf/services").write_text("")
    assert ezha.main(["check", "--syntax"]) == 1
    assert "conf/monitor:1: " in capsys.readouterr().err
    assert ezha.main(["check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["line"] == 1


# ------------------------------------------------------------------------------------------- metrics


def test_metrics_are_in_the_text_format(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    figures = fake.final(
        counters={"heartbeats_made": 12, 'path_refused{path="eth0:1",why="wrong, checksum"}': 3},
        gauges={"services": 1, 'path_up{node="a",path="x"}': 1.0, 'path_up{node="b",path="y"}': 0.0},
    )
    with fake.nmond(run_dir, {"metrics": figures}):
        assert ezha.main(["metrics"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "ezha_up 1.0",
        "ezha_heartbeats_made_total 12.0",
        'ezha_path_refused_total{path="eth0:1",why="wrong, checksum"} 3.0',
        'ezha_path_up{node="a",path="x"} 1.0',
        'ezha_path_up{node="b",path="y"} 0.0',
        "ezha_services 1.0",
    ]
    assert "# TYPE ezha_path_refused_total counter" in lines


def test_the_server_says_that_nmond_is_down(prefix: Path) -> None:
    from ha.cli.place import layout

    (up,) = metrics.Node(layout()).collect()
    assert (up.name, up.samples[0].value) == ("ezha_up", 0)
