"""``ezha node`` and ``ezha kill``: LSB's exit codes, the end of a node that cooperates, and of one that does not."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ha.cli import ending, ezha
from ha.cli.commands import node

from . import fake

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(prefix: Path) -> Iterator[Start]:
    """Processes that look like ezha's: right title, and a lock file held open in the run folder."""
    started: list[subprocess.Popen[bytes]] = []

    def one(program: str, lock: str, run: Path = prefix / "run") -> subprocess.Popen[bytes]:
        run.mkdir(exist_ok=True)
        with open(run / lock, "w") as file:
            made = subprocess.Popen(
                [f"{prefix}/bin/{program}", "600"], executable="/bin/sleep", pass_fds=[file.fileno()]
            )
        started.append(made)
        return made

    yield one
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_POLL_S", 0.001)
    monkeypatch.setattr(ending, "GONE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(node, "GONE_TIMEOUT_S", 0.05)


def running(**fields: object) -> fake.Answer:
    return fake.final(node="node1", pid=7, services=[], **fields)


def test_status_of_a_running_node(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, {"status": running()}):
        assert ezha.main(["node", "status"]) == 0
    assert capsys.readouterr().out == "ezha is running on node1 (pid 7)\n"


def test_status_of_a_stopped_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert ezha.main(["node", "status"]) == 3
    assert capsys.readouterr().out == "ezha is not running\n"


def test_status_of_a_dead_node(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (prefix / "run").mkdir()
    (prefix / "run/nmond.pid").write_text("7\n")
    assert ezha.main(["node", "status"]) == 1
    assert "is left over" in capsys.readouterr().out


def test_status_of_a_node_that_answers_nonsense(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, lambda request: [None]):
        assert ezha.main(["node", "status"]) == 4
    assert capsys.readouterr().out.startswith("the state of ezha is not known: ")


def test_wait_returns_at_the_first_answer(run_dir: str) -> None:
    with fake.nmond(run_dir, {"metrics": fake.final()}):
        assert ezha.main(["node", "wait"]) == 0


def test_stop_of_a_node_that_leaves(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    leaving = [{"final": False, "service": "web", "text": "STOPPING"}, fake.final(text="left")]
    with fake.nmond(run_dir, lambda request: leaving) as nmond:
        assert ezha.main(["node", "stop"]) == 0
    assert nmond.asked == [{"op": "stop"}]
    assert capsys.readouterr() == ("", "")


def test_a_stop_that_leaves_something_under_a_lease_says_what_comes_of_it(
    run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "web is STOP_FAILED and may still run here: this machine is rebooted in 8.4 s"
    with fake.nmond(run_dir, {"stop": fake.final(text="left", abandoned=text)}):
        assert ezha.main(["node", "stop"]) == 1
    assert capsys.readouterr() == ("", f"ezha node stop: {text}\n")


def test_stop_of_a_stopped_node_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert ezha.main(["node", "stop"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_refused_stop_fails_and_kills_nothing(run_dir: str, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    nmond = start("nmond", "nmond.lock")
    with fake.nmond(run_dir, {"stop": fake.final(ok=False, text="not now")}):
        assert ezha.main(["node", "stop"]) == 1
    assert capsys.readouterr().err == "ezha: not now\n"
    assert nmond.poll() is None


def test_a_stop_that_takes_too_long_names_what_is_in_the_way_and_ends_nmond(
    run_dir: str, start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nmond = start("nmond", "nmond.lock")
    stuck = fake.service("web", ("node1", "STOPPING"), ("node2", "STOPPED"), reason="its stop script is running")

    def late(*_: object, idle: Callable[[], None], **__: object) -> Iterator[fake.Answer]:
        idle()
        yield {}

    clock = iter([0.0, 331.0])
    monkeypatch.setattr(node, "converse", late)
    monkeypatch.setattr(node.time, "monotonic", lambda: next(clock, 331.0))
    monkeypatch.setattr(ending, "wait_until_gone", lambda *_: False)
    with fake.nmond(run_dir, {"status": {**running(), "services": [stuck]}, "kill": fake.final()}):
        assert node._stop(node.layout(), 330) == 1
    assert capsys.readouterr().err == (
        "ezha node stop: not everything was stopped within 330 s; nmond is ended all the same\n"
        "ezha node stop: web is STOPPING here: its stop script is running\n"
    )
    assert nmond.wait(5) == -9


def test_kill_ends_a_node_that_does_not_answer_with_all_that_belongs_to_it(run_dir: str, start: Start) -> None:
    processes = [
        start("nmond", "nmond.lock"),
        start("heartd", "worker-a-0.lock"),
        start("heartc_dio", "worker-b-0.lock"),
    ]
    with fake.nmond(run_dir, lambda request: [None]):
        assert ezha.main(["kill"]) == 0
    assert [process.wait(5) for process in processes] == [-9, -9, -9]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["node", "stop"], "ezha: only root may talk to nmond: permission denied on "),
        (["ps"], "ezha: only root sees the processes of ezha"),
    ],
)
def test_who_is_not_root_is_not_told_that_all_is_done(
    run_dir: str, capfd: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    """What cannot be seen is not what is not there."""
    with fake.nmond(run_dir, {"stop": fake.final()}):
        os.chmod(run_dir, 0o700)
        pid = os.fork()
        if pid == 0:
            os.setresuid(65534, 65534, 65534)
            os._exit(ezha.main(argv))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert capfd.readouterr().err.startswith(said)


def test_kill_of_what_cannot_be_seen_tells_why(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, {"kill": fake.final(ok=False, text="only root may do that")}):
        assert ezha.main(["kill"]) == 1
    assert capsys.readouterr().err == "ezha: only root may do that\n"


def test_kill_leaves_another_installation_alone(prefix: Path, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    other = start("nmond", "nmond.lock", run=prefix / "other")
    assert ezha.main(["kill"]) == 0
    assert capsys.readouterr().err == "ezha kill: ezha does not run on this node\n"
    assert other.poll() is None


@pytest.mark.parametrize(
    ("jobs", "restart"),
    [
        ("12 ezha.service restart running\n", True),
        ("12 ezha.service stop running\n13 other.service restart waiting\n", False),
        ("", False),
    ],
)
def test_a_restart_by_systemd_leaves_services_running(
    jobs: str, restart: bool, run_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(f"#!/bin/sh\ncat <<'JOBS'\n{jobs}JOBS\n")
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with fake.nmond(run_dir, {"stop": fake.final(), "kill": fake.final()}) as nmond:
        assert ezha.main(["node", "stop", "--systemd", "ezha.service"]) == 0
    assert [request["op"] for request in nmond.asked] == ["kill" if restart else "stop"]
