"""A pair of nodes with services whose controller bears witness: what was called, what ran, and what ran at once.

What happens is read where a person would look, and without asking nmond: the ``STATE`` files, the history, the
controller's own log, and the processes of the node as the machine sees them. Locks tell what must never be: two
scripts of a service at a time on a node, or two runs of it anywhere. They are the kernel's, and all nodes share one.
"""

import json
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ha.lab import process
from ha.lab.lab import INSTALL, Lab
from ha.lab.plan import PREFIX
from ha.lab.process import ProcessId
from tests.lab.conftest import wait_for

BIN = f"{PREFIX}/bin"
NODES = ("node1", "node2")

_CONTROLLER = """\
#!/bin/sh
# The service is a process that holds a lock. NAME.sh beside this file may put other functions in place of these two.
arena={arena}
name=$EZ_SERVICE
on_start() {{ :; }}
on_stop() {{ :; }}
say() {{ echo "$EZ_NODE $1 $2 $$" >>"$arena/$name.log"; }}
runs() {{ pid=$(cat "/run/$name.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep ]; }}
leave() {{ say "$EZ_ACTION" "exit-$1"; exit "$1"; }}
if [ -e "$arena/$name.sh" ]; then . "$arena/$name.sh"; fi

exec 9>>"$arena/$name.$EZ_NODE.lock"
flock -n 9 || say "$EZ_ACTION" OVERLAP
case $EZ_ACTION in
status)
	runs && exit 0
	exit 3
	;;
check)
	exit 0
	;;
start)
	say start begin
	on_start 9>&- || leave $?
	runs && leave 0
	exec 8>>"$arena/$name.running"
	flock -n 8 || say start TWICE
	sleep 1000000 9>&- >/dev/null 2>&1 &
	echo $! >"/run/$name.pid"
	leave 0
	;;
stop)
	say stop begin
	on_stop 9>&- || leave $?
	if runs; then
		kill "$pid"
		while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
	fi
	rm -f "/run/$name.pid"
	leave 0
	;;
esac
"""


def boottime() -> float:
    """The clock of the history's ``boottime``: all nodes share the machine's."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Called:
    """A line of a controller's log."""

    node: str
    action: str
    what: str
    """``begin``, ``exit-0``, …, or ``OVERLAP`` or ``TWICE``."""


GATE_SHELL = 'shut() { while [ ! -e "$arena/$1" ]; do sleep 0.01; done; }\n'
"""``shut GATE`` in a controller waits until the test calls ``Pair.open(GATE)``."""


@contextmanager
def standing(
    timeout_s: float, services: Iterable[str] = ("web",), options: str = "", start: bool = True, key: bool = True
) -> Iterator["Pair"]:
    """Two nodes that are up; with ``start`` ezha runs and each has heard the other. Every service is frozen on both.

    ``key``: heartbeats are signed. All of it is gone at the end.
    """
    place = tempfile.mkdtemp(prefix="ezha-lab-test-")
    lab = Lab(f"{place}/lab", install=INSTALL)
    try:
        lab.up(timeout_s=timeout_s, key=key)
        pair = Pair(lab, services, options)
        if start:
            pair.start()
        yield pair
    finally:
        lab.down()
        shutil.rmtree(place)


class Pair:
    """Two nodes of a lab, and what can be seen of them."""

    def __init__(self, lab: Lab, services: Iterable[str] = ("web",), options: str = "") -> None:
        self.lab = lab
        self.arena = Path(lab.folder).parent / "arena"
        """A folder that both nodes see."""
        self.arena.mkdir()
        script = self.arena / "controller"
        script.write_text(_CONTROLLER.format(arena=self.arena))
        script.chmod(0o755)
        self.services = {name: Service(self, name) for name in services}
        for node in NODES:
            self.conf(node, "services").write_text("".join(f"{n} {script} node1 node2 {script}\n" for n in services))
            self.conf(node, "options.toml").write_text(options)

    def start(self) -> None:
        """``ezha.init start`` on both, and each has heard the other."""
        starting = [self.lab.popen(node, [f"{PREFIX}/ezha.init", "start"]) for node in NODES]
        assert [child.wait(30) for child in starting] == [0, 0]
        self.wait_all_up()

    def open(self, gate: str) -> None:
        """Let a script go on that waits with ``shut GATE``, which ``GATE_SHELL`` defines."""
        (self.arena / gate).touch()

    # ---- files of a node, as the machine sees them

    def cluster(self, node: str, *parts: str) -> Path:
        return Path(self.lab.files(node), "cluster", *parts)

    def conf(self, node: str, file: str) -> Path:
        return self.cluster(node, "conf", file)

    def history(self, node: str, service: str | None = None, since: float = 0.0) -> list[dict[str, Any]]:
        """Entries since a ``boottime``; of one service, or (``service`` empty) of the node as a whole, or all."""
        try:
            lines = self.cluster(node, "log", "history.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        entries = [json.loads(line) for line in lines]
        return [e for e in entries if e["boottime"] >= since and service in (None, e["service"])]

    def texts(self, node: str, service: str | None = None, since: float = 0.0) -> list[str]:
        return [entry["text"] for entry in self.history(node, service, since)]

    # ---- commands

    def run(self, node: str, *argv: str, timeout: float = 30.0) -> "subprocess.CompletedProcess[str]":
        """A command of $EZ_BIN, or ``ezha.init``."""
        path = f"{PREFIX}/{argv[0]}" if argv[0] == "ezha.init" else f"{BIN}/{argv[0]}"
        return self.lab.exec(node, [path, *argv[1:]], timeout)

    def paths(self, node: str) -> list[dict[str, Any]]:
        """``hb -s --json``."""
        done = self.run(node, "hb", "-s", "--json")
        assert done.returncode == 0, done.stderr
        paths: list[dict[str, Any]] = json.loads(done.stdout)["paths"]
        return paths

    def down(self, node: str) -> list[str]:
        """The paths that are DOWN, each as ``MEDIUM OWNER``."""
        return [f"{path['medium']} {path['node']}" for path in self.paths(node) if not path["up"]]

    def wait_all_up(self, *nodes: str, timeout: float = 10.0) -> None:
        for node in nodes or NODES:
            wait_for(lambda node=node: not self.down(node), timeout, what=f"all paths are UP on {node}")

    def wait_down(self, node: str, paths: list[str]) -> None:
        """Until these, and no others, are DOWN in the eyes of a node."""
        wait_for(lambda: self.down(node) == paths, what=f"DOWN on {node}: {paths}")

    # ---- processes, as the machine counts them

    def processes(self, node: str) -> dict[ProcessId, str]:
        """All of the node that live, with their titles."""
        first = next(report.pid for report in self.lab.report() if report.name == node)
        init = process.identify(first) if first else None
        assert init is not None, f"{node} is off"
        return {look.id: title for look in process.members(init) if (title := _title(look.id.pid))}

    def nmond(self, node: str) -> ProcessId | None:
        """Not a child that it has just forked, which has its title until it takes its own."""
        found = [each for each, title in self.processes(node).items() if title == f"{BIN}/nmond"]
        pids = {each.pid for each in found}
        return next((each for each in found if _parent(each.pid) not in pids), None)

    def need_nmond(self, node: str) -> ProcessId:
        return wait_for(lambda: self.nmond(node), what=f"nmond runs on {node}")

    def workers(self, node: str) -> dict[str, ProcessId]:
        """The path workers by title."""
        return {title: each for each, title in self.processes(node).items() if re.match(rf"{BIN}/heart[cd]", title)}

    def kill(self, who: ProcessId, number: int = signal.SIGKILL) -> None:
        assert process.send(who, number), f"{who} is gone already"

    def kill_nmond(self, node: str) -> ProcessId:
        """kill -9; returns the nmond that comes after it, once it answers."""
        old = self.need_nmond(node)
        self.kill(old)
        return self.next_nmond(node, old)

    def next_nmond(self, node: str, old: ProcessId) -> ProcessId:
        """The one after ``old``, once it answers."""
        new = wait_for(lambda: (now := self.nmond(node)) and now != old and now, what="a new nmond")
        wait_for(lambda: self.run(node, "ezha.init", "status").returncode == 0, what=f"nmond answers on {node}")
        return new


class Service:
    """A service of a pair: what the nodes have on file of it, and what its controllers saw."""

    def __init__(self, pair: Pair, name: str) -> None:
        self.pair = pair
        self.name = name

    def behave(self, text: str) -> None:
        """Shell functions of its controller, from the next call on."""
        (self.pair.arena / f"{self.name}.sh").write_text(text)

    def act(self, node: str, action: str, *words: str) -> None:
        """``service -A``, which must succeed."""
        done = self.pair.run(node, "service", "-A", self.name, action, *words)
        assert done.returncode == 0, (action, done.stdout, done.stderr)

    def take(self) -> None:
        """Bring it from frozen to STARTED on node1 and STOPPED on node2."""
        self.act("node1", "unfreeze")
        self.wait("node1", "STARTED")
        self.act("node2", "unfreeze")
        self.wait("node2", "STOPPED")

    def state(self, node: str, of: str = "") -> str:
        """What ``node`` has on file of the state on ``of`` (itself)."""
        try:
            text = self.pair.cluster(node, "services", self.name, f"STATE.{of or node}").read_text()
        except FileNotFoundError:
            return ""
        return text.split()[1]

    def wait(self, node: str, state: str, timeout: float = 10.0) -> None:
        try:
            wait_for(lambda: self.state(node) == state, timeout)
        except AssertionError:
            story = self.pair.texts(node, self.name)
            raise AssertionError(
                f"{self.name} is {self.state(node)} on {node}, not {state} within {timeout:g} s: {story}"
            ) from None

    def transitions(self, node: str, since: float = 0.0) -> list[str]:
        """The states that it came to, in order; one that stays is not told."""
        entries = self.pair.history(node, self.name, since)
        return [e["to"] for e in entries if e["kind"] == "transition" and e["from"] != e["to"]]

    def texts(self, node: str, since: float = 0.0) -> list[str]:
        """What was decided, in words."""
        return self.pair.texts(node, self.name, since)

    def log(self) -> list[Called]:
        try:
            lines = (self.pair.arena / f"{self.name}.log").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [Called(*line.split()[:3]) for line in lines]

    def calls(self, node: str = "", what: str = "begin") -> list[str]:
        """The starts and stops that were called, on one node or on all, in order."""
        return [c.action for c in self.log() if c.what == what and node in ("", c.node)]

    def holder(self, node: str) -> ProcessId | None:
        """The process that is the service, on a node."""
        lock = str(self.pair.arena / f"{self.name}.running")
        for each, title in self.pair.processes(node).items():
            if title.startswith("sleep 1000000") and lock in _open_files(each.pid):
                return each
        return None

    def running(self) -> list[str]:
        """Nodes on which it lives."""
        return [node for node in NODES if self.holder(node) is not None]

    def assert_nothing_twice(self) -> None:
        """At no time two scripts of it on a node, or two runs of it anywhere."""
        assert not [call for call in self.log() if call.what in ("OVERLAP", "TWICE")], self.log()

    def decision_times(self, node: str, times: int) -> list[float]:
        """Unfreeze and freeze it again and again where only ``node`` may start it.

        Each is the time from the unfreezing to the launch of the start script: a claim, the peer's answer, the check
        script, and a process to launch.
        """
        taken = []
        for _ in range(times):
            since = boottime()
            self.act(node, "unfreeze")
            self.wait(node, "STARTED")
            entries = self.pair.history(node, self.name, since)
            unfrozen = next(e["boottime"] for e in entries if e["to"] == "STOPPED")
            checked = next(e["boottime"] for e in entries if e["text"] == "the check script allows the start")
            taken.append(checked - unfrozen)
            self.act(node, "freeze-stop")
            self.wait(node, "FROZEN_STOP")
        return taken


def _title(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()


def _parent(pid: int) -> int:
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(raw[raw.rindex(b")") + 2 :].split()[1])


def _open_files(pid: int) -> set[str]:
    try:
        return {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    except (FileNotFoundError, ProcessLookupError):
        return set()
