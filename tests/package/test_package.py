"""The package in the life of a machine, in the order of this file: installed, started, upgraded, removed, purged.

A real Debian with its own systemd, apt and dpkg; see ``machine``.
"""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from ha import __version__
from ha.cli.launchers import PROGRAMS
from tests.package.conftest import NEXT, Built
from tests.package.machine import Machine, until
from tools.package.manpages import PAGES, aliases

pytestmark = pytest.mark.timeout(600)
"""The first one waits for a build and a Debian."""
NODES = "node1\nnode2\n"
PERIOD_S = 0.4
MONITOR = "node1 unicast lo 127.0.0.1 1234 2\nnode2 unicast lo 127.0.0.1 4321 2\n"
"""T is 2 s, a heartbeat comes every 0.4 s. node2 is off."""
CONTROLLER = """#!/bin/sh
WEB_INTERFACE=lo WEB_ADDRESS=127.0.0.9 WEB_PORT=8080 exec /usr/lib/openha/doc/examples/web.cluster "$@"
"""


def state(node: Machine) -> str:
    status = json.loads(node.done("ezha", "status", "--json"))
    return next(n["state"] for s in status["services"] for n in s["nodes"] if n["node"] == "node1")


def nmond(node: Machine) -> int:
    return int(node.done("systemctl", "show", "--property=MainPID", "--value", "ezha.service"))


def server(node: Machine) -> int:
    """The process of the service, where it runs."""
    told = node.run("cat", "/run/ezha-example-web.pid").stdout
    return int(told) if told and node.run("kill", "-0", told.strip()).returncode == 0 else 0


def active(node: Machine) -> str:
    return node.run("systemctl", "is-active", "ezha.service").stdout.strip()


@contextmanager
def drop_in(node: Machine, line: str) -> Iterator[None]:
    """Another setting of the unit's for a while."""
    folder = "/run/systemd/system/ezha.service.d"
    node.done("mkdir", "-p", folder)
    node.done("tee", f"{folder}/test.conf", stdin=f"[Service]\n{line}\n")
    node.done("systemctl", "daemon-reload")
    yield
    node.done("rm", "-r", folder)
    node.done("systemctl", "daemon-reload")


class Heartbeats:
    """Hears what node1 sends, as node2 would, and knows the longest silence."""

    _LISTEN = """
import select, socket, sys, time
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("127.0.0.1", 1234))
while heard in select.select([heard, sys.stdin], [], [])[0]:
    heard.recv(65536)
    print(time.monotonic(), flush=True)
"""
    """Until nobody wants to know any more: it ends with its standard input."""

    def __init__(self, node: Machine) -> None:
        self._process = subprocess.Popen(
            node.entered("python3", "-c", self._LISTEN), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def longest_silence(self) -> float:
        times = [float(line) for line in self._process.communicate(timeout=10)[0].splitlines()]
        return max(after - before for before, after in pairwise(times))


def typed(argv: list[str], ready: str, keys: str, expected: str) -> str:
    """What a terminal shows once ``keys`` were typed into an interactive program; waits for ``expected``."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    shown = ""
    try:
        os.write(terminal, ready.encode())
        sent, deadline = False, time.monotonic() + 20
        while time.monotonic() < deadline and expected not in shown:
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 65536).decode(errors="replace")
            if not sent and "READY-TO-TYPE" in shown:
                shown, sent = "", True
                os.write(terminal, keys.encode())
    except OSError:
        pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)
    # A shell that draws a line anew goes back and forth with blanks.
    return re.sub(r" +", " ", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x08|\r", "", shown))


@pytest.fixture(autouse=True)
def _in_order(request: pytest.FixtureRequest) -> Iterator[None]:
    """What comes after a failure stands on nothing."""
    failed = request.session.testsfailed
    if failed:
        pytest.fail("an earlier test failed")
    yield


# ------------------------------------------------------------------------------------------ built, installed


def test_the_same_files_give_the_same_bytes(built: Built) -> None:
    assert built.package.read_bytes() == built.again.read_bytes()


def test_lintian_finds_nothing(built: Built) -> None:
    assert built.lintian == ""


def test_it_is_installed_and_waits_for_a_configuration(node: Machine) -> None:
    assert node.done("ezha", "--version") == f"ezha {__version__}\n"
    assert node.done("systemctl", "is-enabled", "ezha.service") == "enabled\n"
    assert active(node) == "inactive"
    assert node.done("systemctl", "--failed", "--quiet", "--no-legend") == ""
    assert sorted(os.listdir(node.file("/usr/lib/openha"))) == [
        "bin", "conf", "doc", "env.sh", "ezha.init", "log", "services",
    ]  # fmt: skip
    assert sorted(os.listdir(node.file("/usr/lib/openha/bin"))) == sorted(PROGRAMS)
    assert sorted(os.listdir(node.file("/etc/openha"))) == ["logfacility", "monitor", "options.toml", "services"]
    assert node.file("/var/log/openha").stat().st_mode & 0o777 == 0o750
    assert sorted(path.name for path in node.file("/etc").glob("rc?.d/*ezha")) == ["K01ezha"] * 3 + ["S01ezha"] * 4
    # Debian's own service is Debian's.
    assert node.done("dpkg", "-S", "/usr/sbin/service") == "init-system-helpers: /usr/sbin/service\n"


def test_the_controllers_commands_are_alternatives_and_the_unit_is_sound(node: Machine) -> None:
    for command in ("svcmgr", "svcmon", "nodemgr"):
        assert node.done("readlink", "-f", f"/usr/bin/{command}") == f"/usr/lib/openha/bin/{command}\n"
    assert node.run("systemd-analyze", "verify", "ezha.service").stderr == ""


def test_an_unconfigured_node_says_what_is_missing(node: Machine) -> None:
    done = node.run("/etc/init.d/ezha", "restart")
    assert done.returncode == 6
    assert "/etc/openha/nodes" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_installation_by_hand_does_not_touch_it(node: Machine) -> None:
    done = node.run("ezha", "install", "--prefix", "/usr/lib/openha")
    assert done.returncode == 1
    assert done.stderr.startswith("ezha: /usr/lib/openha belongs to the package ezha")
    assert node.done("ezha", "install", "--prefix", "/opt/cluster").endswith("is installed in /opt/cluster\n")
    assert node.done("/opt/cluster/bin/ezha", "--version") == f"ezha {__version__}\n"


def test_every_command_has_a_page_that_shows_without_a_warning(node: Machine) -> None:
    names = [page.name for page in PAGES] + [alias.rpartition(".")[0] for alias in aliases()]
    assert len(node.done("man", "-w", *names).splitlines()) == len(names)
    look = """for page in "$@"; do
        man --warnings --encoding=UTF-8 -l "$page" 2>&1 >/dev/null
        zcat "$page" | mandoc -T lint -W warning
    done"""
    pages = [f"/usr/share/man/man{page.section}/{page.name}.{page.section}.gz" for page in PAGES]
    assert node.done("sh", "-c", look, "sh", *pages) == ""


# ------------------------------------------------------------------------------------------ configured, started


def test_it_is_configured_and_checked(node: Machine) -> None:
    node.file("/etc/openha/nodes").write_text(NODES)
    node.file("/etc/openha/monitor").write_text(MONITOR)
    node.file("/etc/web.cluster").write_text(CONTROLLER)
    node.file("/etc/web.cluster").chmod(0o755)
    node.done("ezha", "service", "-a", "web", "/etc/web.cluster", "node1", "node2", "/bin/true")
    options = node.file("/etc/openha/options.toml")
    options.write_text(options.read_text() + "# Changed by an administrator.\n")
    assert node.done("ezha", "check").startswith("cluster ezha: 2 nodes, 2 paths, 1 service\n")


def test_completion_in_bash(node: Machine) -> None:
    shell = node.entered("TERM=dumb", "bash", "--norc", "-i")
    ready = "PS1=; . /usr/share/bash-completion/bash_completion; echo READY-TO-''TYPE\n"
    assert "ezha switch web node2 " in typed(shell, ready, "ezha swi\tw\tnode2\t\t", "web node2 ")
    assert "ezha sim what-if " in typed(shell, ready, "ezha sim w\t", "what-if ")
    assert "ezha service -A web freeze-stop" in typed(shell, ready, "ezha service -A w\tfreeze-sto\t", "freeze-stop")
    assert "--syntax" in typed(shell, ready, "ezha check --s\t", "--syntax")


def test_completion_in_zsh(node: Machine) -> None:
    shell = node.entered("TERM=dumb", "zsh", "-f", "-i")
    ready = "PS1=; autoload -Uz compinit; compinit -u; echo READY-TO-''TYPE\n"
    assert "ezha switch web " in typed(shell, ready, "ezha swi\tw\t", "web ")
    assert "ezha check --syntax" in typed(shell, ready, "ezha check --s\t", "--syntax")


def test_whoever_starts_it_starts_the_unit(node: Machine) -> None:
    node.done("/usr/lib/openha/ezha.init", "start")
    assert active(node) == "active"
    assert node.done("ps", "-o", "args=", "-p", str(nmond(node))) == "/usr/lib/openha/bin/nmond\n"
    node.done("ezha", "service", "-A", "web", "unfreeze")
    until(lambda: state(node) == "STARTED")
    assert server(node)


def test_a_restart_of_the_unit_leaves_the_service_running(node: Machine) -> None:
    before, service = nmond(node), server(node)
    node.done("systemctl", "restart", "ezha.service")
    assert nmond(node) not in (0, before)
    until(lambda: state(node) == "STARTED")
    assert server(node) == service


def test_without_its_way_to_kill_a_restart_of_the_unit_would_end_the_service(node: Machine) -> None:
    """The twin of the test before: what ends a service there is looked at rightly."""
    with drop_in(node, "KillMode=control-group"):
        service = server(node)
        node.done("systemctl", "restart", "ezha.service")
        assert server(node) != service
    # Half of it is left, the address: that is adopted as running, and an operator's matter.
    node.done("ezha", "service", "-A", "web", "stop")
    until(lambda: state(node) == "STARTED" and server(node) != 0)


def test_a_killed_nmond_is_started_again_and_the_service_runs_on(node: Machine) -> None:
    before, service = nmond(node), server(node)
    node.done("kill", "-KILL", str(before))
    until(lambda: nmond(node) not in (0, before) and active(node) == "active")
    until(lambda: state(node) == "STARTED")
    assert server(node) == service


def test_a_hung_nmond_is_ended_by_systemd(node: Machine) -> None:
    """After a shorter time than the unit's, so that the test is short."""
    with drop_in(node, "WatchdogSec=2"):
        node.done("systemctl", "restart", "ezha.service")
        before, service = nmond(node), server(node)
        node.done("kill", "-STOP", str(before))
        until(lambda: nmond(node) not in (0, before) and active(node) == "active")
        until(lambda: state(node) == "STARTED")
        assert server(node) == service
    node.done("systemctl", "restart", "ezha.service")
    until(lambda: state(node) == "STARTED")


def test_the_service_controller_works_with_debians_libraries(node: Machine) -> None:
    node.done("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    node.done("ip", "link", "set", "eth0", "up")
    node.done("ip", "link", "set", "eth1", "up")
    node.done("svcmgr", "-s", "mail", "create")
    for key, value in (("ipname", "192.0.2.7"), ("ipdev", "eth0"), ("netmask", "24")):
        node.done("svcmgr", "-s", "mail", "set", "--param", f"ip#0.{key}", "--value", value)
    node.done("svcmgr", "-s", "mail", "start")
    assert "192.0.2.7/24" in node.done("ip", "address", "show", "eth0")
    node.done("svcmgr", "-s", "mail", "stop")
    assert "192.0.2.7" not in node.done("ip", "address", "show", "eth0")


# ------------------------------------------------------------------------------------------ upgraded


def test_an_upgrade_hands_over_without_a_missed_heartbeat(node: Machine, built: Built) -> None:
    before, service = nmond(node), server(node)
    heartbeats = Heartbeats(node)
    told = node.done("apt-get", "install", "--yes", f"/root/{built.next.name}")
    assert "ezha: nmond goes on with the new program; no service was stopped" in told
    assert heartbeats.longest_silence() < 2 * PERIOD_S
    assert (nmond(node), server(node)) == (before, service)
    assert json.loads(node.done("ezha", "status", "--json"))["version"] == NEXT
    assert state(node) == "STARTED"
    assert node.file("/etc/openha/options.toml").read_text().endswith("# Changed by an administrator.\n")
    assert node.file("/etc/openha/monitor").read_text() == MONITOR
    assert not list(node.file("/etc/openha").glob("*.dpkg-*"))


# ------------------------------------------------------------------------------------------ removed, back again


def test_it_is_not_removed_while_a_service_is_frozen_where_it_runs(node: Machine) -> None:
    node.done("ezha", "service", "-A", "web", "freeze-start")
    done = node.run("apt-get", "remove", "--yes", "ezha")
    assert done.returncode != 0
    assert "ezha: not removed: web is frozen where it runs" in done.stderr + done.stdout
    assert server(node)
    assert state(node) == "FROZEN_START"
    node.done("ezha", "service", "-A", "web", "unfreeze")


def test_it_is_not_removed_where_the_stop_of_a_service_fails(node: Machine) -> None:
    controller = node.file("/etc/web.cluster")
    controller.write_text(CONTROLLER.replace("WEB_", '[ "$1" = stop ] && exit 1\nWEB_', 1))
    done = node.run("apt-get", "remove", "--yes", "ezha")
    assert done.returncode != 0
    assert "ezha: not removed: the stop of web failed, so it may run here still" in done.stderr + done.stdout
    assert server(node)
    controller.write_text(CONTROLLER)


def test_a_removal_stops_what_runs_and_keeps_what_is_configured(node: Machine) -> None:
    node.done("/etc/web.cluster", "stop")
    node.done("/usr/lib/openha/ezha.init", "start")
    node.done("ezha", "service", "-A", "web", "force-stop")
    until(lambda: state(node) == "STARTED")
    node.done("apt-get", "remove", "--yes", "ezha")
    assert server(node) == 0
    assert not node.file("/usr/lib/openha/bin").exists()
    assert not os.path.lexists(node.file("/usr/bin/svcmgr"))
    assert node.file("/etc/openha/monitor").read_text() == MONITOR
    assert node.file("/var/lib/openha/services/.record").exists()
    assert node.done("systemctl", "--failed", "--quiet", "--no-legend") == ""


def test_it_comes_back_with_its_configuration_and_starts_when_it_is_told_to(node: Machine, built: Built) -> None:
    told = node.done("apt-get", "install", "--yes", f"/root/{built.next.name}")
    assert "ezha: it does not run, and is not started: systemctl start ezha" in told
    assert active(node) == "inactive"
    assert node.done("systemctl", "is-enabled", "ezha.service") == "enabled\n"
    assert node.file("/etc/openha/options.toml").read_text().endswith("# Changed by an administrator.\n")
    node.done("systemctl", "start", "ezha.service")
    until(lambda: state(node) == "STARTED")


# ------------------------------------------------------------------------------------------ purged


def test_a_purge_keeps_the_record_of_what_may_still_run(node: Machine) -> None:
    record = node.file("/var/lib/openha/services/web/STATE.node1")
    node.done("apt-get", "remove", "--yes", "ezha")
    assert record.read_text()[0] == "0"
    record.write_text("2 STARTED\n")
    done = node.run("apt-get", "purge", "--yes", "ezha")
    assert done.returncode == 0
    assert "this runs here still: web." in done.stderr + done.stdout
    assert record.exists()


def test_a_purge_leaves_nothing(node: Machine, built: Built) -> None:
    node.done("apt-get", "install", "--yes", f"/root/{built.package.name}")
    node.file("/var/lib/openha/services/web/STATE.node1").write_text("0 STOPPED\n")
    node.done("apt-get", "purge", "--yes", "ezha")
    left = [
        path
        for path in ("/etc", "/var/lib", "/var/log", "/usr/lib", "/usr/share")
        if node.file(f"{path}/openha").exists()
    ]
    assert left == []
    assert not list(node.file("/etc").glob("rc?.d/*ezha"))


def test_what_was_configured_before_is_not_started_at_the_first_boot(node: Machine, built: Built) -> None:
    """It may be OpenHA's configuration."""
    node.done("mkdir", "/etc/openha")
    node.file("/etc/openha/nodes").write_text(NODES)
    told = node.done("apt-get", "install", "--yes", f"/root/{built.package.name}")
    assert "ezha: /etc/openha is configured already, so ezha is not started at boot yet" in told
    assert node.run("systemctl", "is-enabled", "ezha.service").stdout == "disabled\n"
    assert not list(node.file("/etc").glob("rc?.d/S*ezha"))


# ------------------------------------------------------------------------------------------ without systemd


def test_without_systemd_the_boot_script_does_the_same(node: Machine) -> None:
    node.file("/etc/openha/monitor").write_text(MONITOR)
    node.file("/root/init").write_text("#!/bin/sh\nwhile :; do sleep 1000 & wait; done\n")
    node.file("/root/init").chmod(0o755)
    node.power_off()
    node.boot("/root/init")
    node.done("/etc/init.d/ezha", "start")
    assert "nmond-supervisor" in node.done("ezha", "ps")
    node.done("/etc/init.d/ezha", "restart")
    node.done("/etc/init.d/ezha", "stop")
    assert node.run("/etc/init.d/ezha", "status").returncode == 3
    node.done("apt-get", "remove", "--yes", "ezha")
    node.done("/etc/init.d/ezha", "start")  # The script outlives the package, and does nothing.


def test_nothing_of_the_project_was_changed() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(["git", "status", "--short", "debian"], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == ""
