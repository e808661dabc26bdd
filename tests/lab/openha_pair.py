"""Two nodes of which either may be an original OpenHA node (``openha_peer``), and services that bear witness.

States are read where agents read them, in the first byte of the ``STATE`` files; what ran, and whether it ever ran
twice, is told by the controllers: a service is a process that holds a lock, and both nodes share the lock.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ha.lab.lab import INSTALL, Lab
from ha.lab.plan import DISK, PREFIX
from tests.lab.conftest import wait_for

NODES = ("node1", "node2")
T = 2
PEER = Path(__file__).with_name("openha_peer.py")
STARTED, STOPPED, FROZEN_STOP, READY = b"2", b"0", b"6", b"7"
MONITOR = f"""node1 net eth0 239.131.50.10 1234 {T}
node1 dio {DISK} 0 {T}
node1 unicast eth0 192.168.100.12 2345 {T}
node2 net eth0 239.131.50.10 4321 {T}
node2 dio {DISK} 19 {T}
node2 unicast eth0 192.168.100.11 2345 {T}
"""
PATHS = len(MONITOR.splitlines())
_PROGRAMS = ("nmond", "service", *(f"heart{end}{kind}" for end in "cd" for kind in ("", "_dio", "_raw", "_unicast")))
_CONTROLLER = """\
#!/bin/sh
name=$(basename "$0" .cluster)
arena=$(dirname "$0")
runs() { pid=$(cat "/run/$name.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep ]; }
say() { echo "$(uname -n) $1 $2" >>"$arena/$name.log"; }
case $1 in
status)
	runs && exit 0
	exit 3
	;;
start)
	say start begin
	runs && exit 0
	exec 8>>"$arena/$name.running"
	flock -n 8 || say start TWICE
	sleep 1000000 >/dev/null 2>&1 &
	echo $! >"/run/$name.pid"
	;;
stop)
	say stop begin
	if runs; then
		kill "$pid"
		while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
	fi
	rm -f "/run/$name.pid"
	;;
esac
exit 0
"""


class Mixed:
    """Two nodes with OpenHA installed in the old layout, and nothing started."""

    def __init__(self, lab: Lab, services: Mapping[str, str]) -> None:
        """``services``: their names, and the primary of each."""
        self.lab = lab
        self.arena = Path(lab.folder).parent / "arena"
        self.arena.mkdir()
        lines = []
        for name, primary in services.items():
            script = self.arena / f"{name}.cluster"
            script.write_text(_CONTROLLER)
            script.chmod(0o755)
            secondary = next(node for node in NODES if node != primary)
            lines.append(f"{name} {script} {primary} {secondary} /bin/true\n")
        for node in NODES:
            self._lay_openha(node, "".join(lines))

    def _lay_openha(self, node: str, services: str) -> None:
        for folder in ("bin", "conf", "services", "log"):
            self.place(node, folder).mkdir(exist_ok=True)
        self.place(node, "conf", "nodes").write_text("node1\nnode2\n")
        self.place(node, "conf", "monitor").write_text(MONITOR)
        self.place(node, "conf", "services").write_text(services)
        for name in (*(f"bin/{program}" for program in _PROGRAMS), "ezha.init"):
            role = "" if name == "ezha.init" else f" {Path(name).name}"
            program = self.place(node, name)
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {PEER} {PREFIX}{role} "$@"\n')
            program.chmod(0o755)

    def place(self, node: str, *parts: str) -> Path:
        return Path(self.lab.files(node), "cluster", *parts)

    # ------------------------------------------------------------------------------------------- commands

    def run(self, node: str, *argv: str, timeout: float = 30.0) -> str:
        """A command of the prefix, which must succeed; what it prints."""
        done = self.lab.exec(node, [f"{PREFIX}/{argv[0]}", *argv[1:]], timeout)
        assert done.returncode == 0, (node, argv, done.stdout, done.stderr)
        return done.stdout

    def act(self, node: str, service: str, action: str) -> None:
        self.run(node, "bin/service", "-A", service, action)

    def begin(self, node: str, *argv: str) -> "subprocess.Popen[bytes]":
        """As ``run``, without waiting for its end."""
        return self.lab.popen(node, [f"{PREFIX}/{argv[0]}", *argv[1:]])

    def install(self, node: str, *words: str) -> str:
        """``ezha install``, over what lies there."""
        done = self.lab.exec(node, [*INSTALL, *words], 60.0)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    # --------------------------------------------------------------------------------------------- states

    def digit(self, node: str, service: str, of: str = "") -> bytes:
        """What ``node`` has on file of the state of a service on ``of`` (itself), as an agent reads it."""
        try:
            return self.place(node, "services", service, f"STATE.{of or node}").read_bytes()[:1]
        except FileNotFoundError:
            return b""

    def wait(self, service: str, *, timeout: float = 12.0, **states: bytes) -> None:
        """Until it is in these states, by node, in the eyes of both."""

        def agreed() -> bool:
            return all(self.digit(node, service, of) == digit for node in NODES for of, digit in states.items())

        try:
            wait_for(agreed, timeout)
        except AssertionError:
            seen = {f"{of} by {node}": self.digit(node, service, of) for node in NODES for of in NODES}
            raise AssertionError(
                f"{service} is not {states} within {timeout:g} s: {seen}, {self.story(service)}"
            ) from None

    def wait_on(self, node: str, service: str, state: bytes, *, of: str = "", timeout: float = 12.0) -> None:
        what = f"{service} is {state!r} of {of or node} on {node}"
        wait_for(lambda: self.digit(node, service, of) == state, timeout, what=what)

    def story(self, service: str) -> list[str]:
        """What its controllers were called for, on which node."""
        try:
            return (self.arena / f"{service}.log").read_text().splitlines()
        except FileNotFoundError:
            return []

    def runs(self, service: str) -> list[str]:
        """Nodes that live and on which it runs."""
        script = str(self.arena / f"{service}.cluster")
        on = [report.name for report in self.lab.report() if report.power == "on" and report.name in NODES]
        return [node for node in on if self.lab.exec(node, [script, "status"], 10.0).returncode == 0]

    def starts(self, service: str) -> list[str]:
        """The nodes on which it was started, in order; at no time on two."""
        story = self.story(service)
        assert not [line for line in story if line.endswith("TWICE")], story
        return [line.split()[0] for line in story if line.endswith("start begin")]


@contextmanager
def openha_pair(services: Mapping[str, str]) -> Iterator[Mixed]:
    """A lab of two such nodes; all of it is gone at the end."""
    place = tempfile.mkdtemp(prefix="ezha-lab-test-")
    lab = Lab(f"{place}/lab", install=None)
    try:
        lab.up(timeout_s=T)
        yield Mixed(lab, services)
    finally:
        lab.down()
        shutil.rmtree(place)
