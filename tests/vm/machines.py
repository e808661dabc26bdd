"""Two machines with a service that bears witness, and what is seen of them from outside, by the host's clock.

The service mounts a file system of the shared disk and writes to it, each line forced to the disk. What it does it says
on a serial port, line by line, and qemu says what becomes of the machine: nothing here asks ezha who runs what.
"""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from ha.lab.errors import LabError
from ha.lab.vm import payload, snapshot
from ha.lab.vm.lab import MachineLab
from ha.lab.vm.machine import WITNESS_PORT
from ha.lab.vm.qmp import Monitor
from ha.lab.vm.seed import Seed

V = TypeVar("V")
NODES = ("node1", "node2")
OTHER = {"node1": "node2", "node2": "node1"}
SNAPSHOT = "running"
_STEP_S = 120.0

_CONTROLLER = f"""\
#!/bin/bash
# A file system of the shared disk, and a process that writes to it.
port=/dev/virtio-ports/{WITNESS_PORT}
disk=/dev/vdc
say() {{
	for _ in $(seq 100); do # one at a time may hold the port
		echo "$1" 2>/dev/null >$port && return
		sleep 0.05
	done
}}
mounted() {{ grep -q " /srv/$EZ_SERVICE " /proc/mounts; }}
writer() {{ kill -0 "$(cat /run/writer.pid 2>/dev/null)" 2>/dev/null; }}
case $1 in
status)
	writer && mounted && exit 0
	mounted && exit 1
	exit 3
	;;
start)
	mkdir -p "/srv/$EZ_SERVICE"
	if ! mounted; then
		say starting
		e2fsck -p $disk >/run/fsck.log 2>&1 || [ $? -le 1 ] || exit 1
		say mounting
		mount -t ext4 $disk "/srv/$EZ_SERVICE" || exit 1
	fi
	if ! writer; then
		setsid /srv/writer "/srv/$EZ_SERVICE/log" </dev/null >/dev/null 2>&1 &
		echo $! >/run/writer.pid
	fi
	;;
stop)
	while writer; do
		kill -KILL "$(cat /run/writer.pid)"
		sleep 0.02
	done
	if mounted; then
		umount "/srv/$EZ_SERVICE" || exit 1
		say unmounted
	fi
	;;
esac
exit 0
"""
_WRITER = f"""\
#!/bin/bash
# Lines with a number, each on the disk before it is told; forks as little as it can.
exec 3>/dev/virtio-ports/{WITNESS_PORT} 4<> <(:)
log=$1
number=$(grep -c . "$log")
while :; do
	number=$((number + 1))
	echo "$HOSTNAME $number" >>"$log" && sync -d "$log" && echo "wrote $number" >&3
	read -r -t 0.1 <&4
done
"""
_OPTIONS = """\
self_fence = "reboot"
start_timeout = 120
stop_timeout = 120
"""


def files(package: bool) -> Seed:
    """What both nodes get beside ezha's usual files."""
    conf = (payload.PACKAGE if package else payload.COPY).conf
    return Seed(
        files={
            "/srv/web.cluster": (_CONTROLLER, 0o755),
            "/srv/writer": (_WRITER, 0o755),
            "/srv/cold.cluster": ("#!/bin/sh\n[ $1 != status ] || exit 3\n", 0o755),
            f"{conf}/services": (
                "web /srv/web.cluster node1 node2 /srv/web.cluster\ncold /srv/cold.cluster node1 node2 /bin/true\n",
                0o644,
            ),
            f"{conf}/options.toml": (_OPTIONS, 0o644),
        }
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that was seen of a node; ``at`` is time.monotonic() of the host."""

    at: float
    node: str
    what: str
    """A line of its witness port, or an event of qemu in capitals; ENDED when its qemu is gone."""


def wait_for(condition: Callable[[], V], timeout_s: float, what: str, every: float = 0.1) -> V:
    """Poll until it is true, and return its value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}; last: {value!r}"
        time.sleep(every)


@dataclass(frozen=True, slots=True)
class Overlap:
    """The file system was mounted on both, and both machines ran, from ``begin`` to ``end`` (time.monotonic())."""

    begin: float
    end: float

    @property
    def length_s(self) -> float:
        return self.end - self.begin


def overlaps(seen: Iterable[Seen], holding: Iterable[str], begin: float, end: float) -> list[Overlap]:
    """A mount lasts from before it was asked for until after it was undone, or until the machine began anew.

    A machine that stands still does nothing; what it had mounted counts again from its resumption.
    """
    mounted, still = set(holding), set[str]()
    found, since = [], begin if len(mounted) > 1 else None
    for each in seen:
        match each.what:
            case "mounting":
                mounted.add(each.node)
            case "unmounted" | "RESET" | "SHUTDOWN" | "ENDED":
                mounted.discard(each.node)
                still.discard(each.node)
            case "STOP":
                still.add(each.node)
            case "RESUME":
                still.discard(each.node)
        both = len(mounted - still) > 1
        if both and since is None:
            since = each.at
        elif not both and since is not None:
            found.append(Overlap(since, each.at))
            since = None
    return found if since is None else [*found, Overlap(since, end)]


class Witness:
    """Listens to both machines in a thread of its own, from now until ``close``."""

    def __init__(self, lab: MachineLab, holding: Iterable[str]) -> None:
        """``holding``: the nodes that have the file system mounted now."""
        self._lab = lab
        self._begin = time.monotonic()
        self._holding = tuple(holding)
        self._seen: list[Seen] = []
        self._done = threading.Event()
        self._files = {node: open(f"{lab.folder}/run/{node}.witness", "rb") for node in NODES}  # noqa: SIM115
        for file in self._files.values():
            file.seek(0, 2)
        self._monitors: dict[str, Monitor | None] = {node: lab.watch(node) for node in NODES}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> list["Overlap"]:
        """Ends it; whenever the file system was mounted on both."""
        self._done.set()
        self._thread.join()
        for file in self._files.values():
            file.close()
        for monitor in self._monitors.values():
            if monitor is not None:
                monitor.close()
        return self.overlaps()

    def overlaps(self) -> list["Overlap"]:
        """Until now."""
        return overlaps(list(self._seen), self._holding, self._begin, time.monotonic())

    def seen(self, node: str | None = None, what: str = "", since: float = 0.0) -> list[Seen]:
        """Of a node, or of both; those that match the pattern ``what`` from their beginning."""
        return [
            each
            for each in list(self._seen)
            if node in (None, each.node) and re.match(what, each.what) and each.at >= since
        ]

    def wait(self, node: str | None, what: str, timeout_s: float, since: float = 0.0) -> Seen:
        """The first one."""
        shown = f"{node or 'a node'}: {what}"
        return wait_for(lambda: self.seen(node, what, since), timeout_s, shown, every=0.02)[0]

    def written(self, node: str) -> int:
        """The highest number of a line that ``node`` has told to be on the disk."""
        return max((int(each.what.split()[1]) for each in self.seen(node, "wrote ")), default=0)

    def _listen(self) -> None:
        rest = dict.fromkeys(NODES, b"")
        while not self._done.is_set():
            time.sleep(0.004)
            now = time.monotonic()
            for node, file in self._files.items():
                *lines, rest[node] = (rest[node] + file.read()).split(b"\n")
                self._seen += [Seen(now, node, line.decode(errors="replace").strip()) for line in lines]
            for node in NODES:
                self._hear(node)

    def _hear(self, node: str) -> None:
        monitor = self._monitors[node]
        if monitor is None:
            try:
                self._monitors[node] = self._lab.watch(node)
            except LabError:  # it is off
                return
            self._seen.append(Seen(time.monotonic(), node, "POWERED"))
            return
        try:
            self._seen += [Seen(each.at, node, each.name) for each in monitor.take_events()]
        except LabError:
            monitor.close()
            self._monitors[node] = None
            self._seen.append(Seen(time.monotonic(), node, "ENDED"))


@dataclass(slots=True)
class Machines:
    """The pair. ``witness`` is that of the present test."""

    lab: MachineLab
    timeout_s: float
    witness: Witness = field(init=False)
    overlap_s: float = 0.0
    """How long the file system may be mounted on both in the present test, where that is what it measures."""

    def begin(self) -> None:
        """The service comes up on node1, and that moment is kept."""
        for node in NODES:
            wait_for(lambda node=node: self.up(node), _STEP_S, f"all paths are UP on {node}")  # type: ignore[misc]
        subprocess.run(["mkfs.ext4", "-q", "-F", f"{self.lab.folder}/volumes.img"], check=True)
        for node in NODES:
            self.must(node, "service", "-A", "web", "unfreeze")
            wait_for(lambda node=node: self.state("web", node) in ("STARTED", "STOPPED"), _STEP_S, "web is unfrozen")  # type: ignore[misc]
        wait_for(lambda: self.wrote("node1"), _STEP_S, "web writes on node1")
        snapshot.save(self.lab, SNAPSHOT)

    def restore(self) -> None:
        self.overlap_s = 0.0
        snapshot.restore(self.lab, SNAPSHOT)
        self.witness = Witness(self.lab, ["node1"])
        self.witness.wait("node1", "wrote ", 30)

    def wrote(self, node: str) -> bool:
        with open(f"{self.lab.folder}/run/{node}.witness", "rb") as file:
            return b"wrote" in file.read()

    def lines(self, node: str) -> dict[str, list[int]]:
        """What is in the file of the service, by the node that wrote it."""
        found: dict[str, list[int]] = {each: [] for each in NODES}
        for line in self.must(node, "cat", "/srv/web/log").splitlines():
            writer, number = line.split()
            found[writer].append(int(number))
        return found

    def check_file_system(self) -> None:
        """Nobody has it mounted: is it whole? Raises AssertionError with what e2fsck says."""
        done = subprocess.run(
            ["e2fsck", "-f", "-n", f"{self.lab.folder}/volumes.img"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    # ---- commands in the guests

    def run(self, node: str, *argv: str, timeout: float = _STEP_S) -> "subprocess.CompletedProcess[str]":
        return self.lab.exec(node, argv, timeout)

    def must(self, node: str, *argv: str, timeout: float = _STEP_S) -> str:
        done = self.run(node, *argv, timeout=timeout)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout

    def shell(self, node: str, text: str) -> str:
        return self.must(node, "/bin/sh", "-c", text)

    def up(self, node: str) -> bool:
        """Whether all its heartbeat paths are UP; also False while it cannot tell."""
        try:
            return self.run(node, "hb", "-s").stdout.count(" UP,") == 4
        except LabError:
            return False

    def state(self, service: str, node: str) -> str:
        """As the node itself has it, by its STATE file; empty where there is none."""
        var = "/var/lib/openha" if self.lab.payload is payload.PACKAGE else self.lab.payload.prefix
        try:
            text = self.run(node, "cat", f"{var}/services/{service}/STATE.{node}").stdout.strip()
        except LabError:
            return ""
        return text.split()[-1] if text else ""
