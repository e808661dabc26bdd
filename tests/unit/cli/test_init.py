"""``ezha.init`` with programs of ours in the place of ezha's: what it calls, and the exit codes that LSB asks for."""

import os
import subprocess
from pathlib import Path

import pytest

INIT = Path(__file__).parents[3] / "init" / "ezha.init"


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A prefix whose programs write down how they were called, and exit as a file of the name of the call says."""
    root = tmp_path / "cluster"
    (root / "bin").mkdir(parents=True)
    (root / "codes").mkdir()
    (root / "log").mkdir()
    (root / "log/nmond.log").write_text("the last line\n")
    (root / "ezha.init").write_text(INIT.read_text())
    (root / "ezha.init").chmod(0o755)
    for name in ("ezha", "nmond-supervisor", "id"):
        program = root / "bin" / name
        answer = "echo ${EZ_TEST_UID:-0}; exit" if name == "id" else ""
        program.write_text(
            f'#!/bin/sh\n{answer}\necho "{name} $*" | sed "s/ $//" >>{root}/calls\n'
            f'code={root}/codes/{name}-$1-$2\n[ -f "$code" ] || exit 0\n'
            'cat "$code.out" 2>/dev/null\nexit $(cat "$code")\n'
        )
        program.chmod(0o755)
    return root


def will(cluster: Path, call: str, code: int, out: str = "") -> None:
    (cluster / "codes" / call).write_text(str(code))
    (cluster / "codes" / f"{call}.out").write_text(out)


def run(cluster: Path, *argv: str, program: Path | None = None, uid: int = 0) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": f"{cluster}/bin:/usr/bin:/bin", "EZ_TEST_UID": str(uid)}
    return subprocess.run(
        [program or cluster / "ezha.init", *argv], env=environ, capture_output=True, text=True, timeout=30, check=False
    )


def calls(cluster: Path) -> list[str]:
    file = cluster / "calls"
    return file.read_text().splitlines() if file.exists() else []


def test_start_goes_by_the_unit_of_this_installation_and_of_no_other(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 3, "ezha is not running")
    systemctl = cluster / "bin/systemctl"
    systemctl.write_text((cluster / "bin/ezha").read_text().replace("ezha $*", "systemctl $*"))
    systemctl.write_text(systemctl.read_text().replace("codes/ezha", "codes/systemctl"))
    systemctl.chmod(0o755)
    asked = "systemctl show --property=ExecStart --value ezha.service"
    line = "{{ path={0} ; argv[]={0} --foreground ; ignore_errors=no ; }}\n"
    for program, started in (
        (f"{cluster}/bin/nmond", "systemctl start ezha.service"),
        ("/x/nmond", "nmond-supervisor"),
    ):
        will(cluster, "systemctl-show---property=ExecStart", 0, line.format(program))
        assert run(cluster, "start").returncode == 0
        assert calls(cluster)[-3:] == [asked, started, "ezha node wait --timeout 10"]
    will(cluster, "systemctl-show---property=ExecStart", 0, line.format(f"{cluster}/bin/nmond"))
    will(cluster, "systemctl-start-ezha.service", 1)
    assert run(cluster, "start").returncode == 1


def test_start_checks_starts_and_waits(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 3, "ezha is not running")
    done = run(cluster, "start")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert calls(cluster) == [
        "ezha node status",
        "ezha check --syntax",
        "nmond-supervisor",
        "ezha node wait --timeout 10",
    ]


def test_start_on_a_live_node_touches_nothing(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 0, "ezha is running on node1 (pid 7)")
    done = run(cluster, "start")
    assert (done.returncode, done.stderr) == (0, "ezha.init: ezha is running on node1 (pid 7) already\n")
    assert calls(cluster) == ["ezha node status"]


def test_start_beside_an_nmond_that_hangs_is_refused(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 4, "the state of ezha is not known: it hangs")
    assert run(cluster, "start").returncode == 1
    assert calls(cluster) == ["ezha node status"]


def test_start_after_a_crash_starts(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 1, "ezha is dead")
    assert run(cluster, "start").returncode == 0
    assert "nmond-supervisor" in calls(cluster)


def test_a_broken_configuration_is_not_started(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 3)
    will(cluster, "ezha-check---syntax", 1)
    assert run(cluster, "start").returncode == 6
    assert "nmond-supervisor" not in calls(cluster)


def test_a_start_that_does_not_come_up_shows_the_end_of_the_log(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 3)
    will(cluster, "ezha-node-wait", 1)
    done = run(cluster, "start")
    assert done.returncode == 1
    assert done.stderr.endswith("nmond.log:\nthe last line\n")


@pytest.mark.parametrize("name", ["S99cluster", "K01cluster"])
@pytest.mark.parametrize("relative", [False, True])
def test_links_of_the_boot_find_the_prefix(name: str, relative: bool, cluster: Path, tmp_path: Path) -> None:
    rc = tmp_path / "etc/rc.d/rc3.d"
    rc.mkdir(parents=True)
    target = os.path.relpath(cluster / "ezha.init", rc) if relative else str(cluster / "ezha.init")
    (rc / name).symlink_to(target)
    assert run(cluster, "stop", program=rc / name).returncode == 0
    assert calls(cluster) == ["ezha node stop --timeout 330"]


def test_restart_of_a_running_node_is_a_hand_over(cluster: Path) -> None:
    assert run(cluster, "restart").returncode == 0
    assert calls(cluster) == ["ezha node status", "ezha node restart"]


def test_restart_of_a_stopped_node_is_a_start(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 3)
    assert run(cluster, "restart").returncode == 0
    assert "nmond-supervisor" in calls(cluster)


def test_try_restart_leaves_a_stopped_node_alone(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 3)
    assert run(cluster, "try-restart").returncode == 0
    assert calls(cluster) == ["ezha node status"]


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_status_passes_the_lsb_code_on(code: int, cluster: Path) -> None:
    will(cluster, "ezha-node-status", code, "a sentence")
    done = run(cluster, "status", uid=1000)
    assert (done.returncode, done.stdout) == (code, "a sentence")


def test_a_status_that_cannot_be_asked_is_not_known(cluster: Path) -> None:
    will(cluster, "ezha-node-status", 126)
    assert run(cluster, "status").returncode == 4


def test_kill_and_its_failure(cluster: Path) -> None:
    assert run(cluster, "kill").returncode == 0
    assert calls(cluster) == ["ezha kill"]
    will(cluster, "ezha-kill-", 1)
    assert run(cluster, "kill").returncode == 1


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "kill"])
def test_only_root_may(verb: str, cluster: Path) -> None:
    done = run(cluster, verb, uid=1000)
    assert (done.returncode, done.stderr) == (4, f"ezha.init: only root may {verb} ezha\n")
    assert calls(cluster) == []


def test_without_programs_it_is_not_installed(cluster: Path) -> None:
    (cluster / "bin/ezha").unlink()
    assert run(cluster, "start").returncode == 5


@pytest.mark.parametrize("argv", [[], ["dance"]])
def test_usage(argv: list[str], cluster: Path) -> None:
    done = run(cluster, *argv)
    assert done.returncode == 2
    assert done.stderr.endswith("start|stop|restart|status|kill\n")
