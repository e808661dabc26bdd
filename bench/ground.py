"""Where it is measured: two nodes of a lab, with services whose controllers write down when they were called."""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from bench.shell import Shell
from bench.tap import Tap
from ha.lab.lab import INSTALL, Lab
from ha.lab.plan import DISK, MULTICAST, PREFIX, NodePlan

T = TypeVar("T")
NODES = ("node1", "node2")
CONTROLLER = """\
#!/bin/bash
now=$EPOCHREALTIME
up=/run/bench-$EZ_SERVICE
case $1 in
start)  echo "$EZ_SERVICE $now" >>/var/tmp/starts; : >"$up" ;;
stop)   if [ -e "$up" ]; then rm -f "$up"; echo "$EZ_SERVICE $EPOCHREALTIME" >>/var/tmp/stops; fi ;;
status) [ -e "$up" ] || exit 3 ;;
esac
"""
"""The first act of a start is to read the clock (microseconds, without another process); its own launch, 1.7 ms, counts
as ours."""
ADDRESS = "192.168.100.200"
ADDRESS_CONTROLLER = f"""\
#!/bin/sh
case $1 in
start)  ip address add {ADDRESS}/24 dev eth0 ;;
stop)   ip address del {ADDRESS}/24 dev eth0 2>/dev/null; exit 0 ;;
status) ip address show dev eth0 | grep -qF {ADDRESS}/ || exit 3 ;;
esac
"""


def wait_for(condition: Callable[[], T], timeout: float = 30.0, what: str = "", every: float = 0.05) -> T:
    """Poll until ``condition()`` is true, and return its value. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what or condition}")
        time.sleep(every)
    return value


def other(node: str) -> str:
    return NODES[1 - NODES.index(node)]


def address(node: str) -> str:
    return NodePlan(NODES.index(node) + 1).address


class Ground:
    """A lab that is gone when the context is left, whatever happened."""

    def __init__(
        self,
        timeout: float,
        *,
        services: int = 1,
        media: Sequence[str] = ("net", "dio"),
        slot_blocks: int = 2,
        controller: str = CONTROLLER,
        ezha: bool = True,
    ) -> None:
        self.timeout = timeout
        self.period = min(1.0, timeout / 5)
        self.services = tuple(f"svc{number:04d}" for number in range(services))
        self._media = media
        self._slot_blocks = slot_blocks
        self._controller = controller
        self._ezha = ezha
        self.place = Path(tempfile.mkdtemp(prefix="ezha-bench-"))
        self.lab = Lab(str(self.place / "lab"), install=INSTALL if ezha else None)
        self.shells: dict[str, Shell] = {}
        self.tap: Tap

    def __enter__(self) -> Self:
        try:
            self._up()
            self.tap = Tap(self.lab, self.place / "tap")
            for node in NODES:
                if self._ezha:
                    self._configure(node)
                self.shells[node] = Shell(self.lab, node)
            if self._ezha:
                for node in NODES:
                    self.shells[node].begin(f"{PREFIX}/ezha.init start")
                for node in NODES:
                    done = self.shells[node].end()
                    if done.code:
                        raise RuntimeError(f"{node}: ezha.init start: {done.output}")
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _up(self) -> None:
        """Have the nodes up, and nothing of ezha yet."""
        self.lab.up(timeout_s=self.timeout)

    def _leave(self) -> None:
        for shell in self.shells.values():
            shell.close()
        if hasattr(self, "tap"):
            self.tap.close()
        self.lab.down()
        shutil.rmtree(self.place, ignore_errors=True)

    def _configure(self, node: str) -> None:
        files = Path(self.lab.files(node))
        lines = []
        for plan in (NodePlan(1), NodePlan(2)):
            if "net" in self._media:
                lines.append(f"{plan.name} net eth0 {MULTICAST} {plan.port} {self.timeout:g}\n")
            if "dio" in self._media:
                offset = self._slot_blocks * (plan.number - 1)
                lines.append(f"{plan.name} dio {DISK} {offset} {self.timeout:g}\n")
        (files / "cluster/conf/monitor").write_text("".join(lines))
        controller = files / "etc/bench.cluster"
        controller.write_text(self._controller)
        controller.chmod(0o755)
        (files / "cluster/conf/services").write_text(
            "".join(f"{name}\t/etc/bench.cluster\tnode1\tnode2\t/bin/true\n" for name in self.services)
        )

    # ---- what is there to see

    def starts(self, node: str) -> list[tuple[str, float]]:
        """(service, seconds of CLOCK_REALTIME) of every call of a start script so far."""
        return self._noted(node, "starts")

    def stops(self, node: str) -> list[tuple[str, float]]:
        """The same of every stop script that stopped what ran, once it had."""
        return self._noted(node, "stops")

    def _noted(self, node: str, what: str) -> list[tuple[str, float]]:
        file = Path(self.lab.files(node)) / "var-tmp" / what
        if not file.exists():
            return []
        found = (line.split() for line in file.read_text().split("\n")[:-1])
        return [(name, float(at)) for name, at in found]

    def states(self, node: str) -> dict[str, set[str]]:
        """By node, the states that its services are in, as ``node`` sees them."""
        found: dict[str, set[str]] = {}
        for service in json.loads(self.shells[node].must("service -s --json"))["services"]:
            for each in service["nodes"]:
                found.setdefault(each["node"], set()).add(each["state"])
        return found

    def wait_states(self, wanted: dict[str, str], timeout: float = 60.0) -> None:
        """Until every service is in the wanted state on every node, in the eyes of both."""
        sets = {node: {state} for node, state in wanted.items()}
        wait_for(
            lambda: all(self.states(node) == sets for node in NODES),
            timeout,
            what=f"{wanted}; the nodes see {[self.states(node) for node in NODES]}",
            every=0.1,
        )

    def pids(self, node: str) -> list[int]:
        """Of ezha's processes on a node, all of them."""
        return [int(each["pid"]) for each in json.loads(self._pids(node))]

    def _pids(self, node: str) -> str:
        return self.shells[node].must("ezha ps --json")

    def gauge(self, node: str, name: str) -> float:
        for line in self.shells[node].must("ezha metrics").splitlines():
            if line.startswith(name) and line[len(name)] in " {":
                return float(line.rsplit(" ", 1)[1])
        raise KeyError(name)

    def total(self, node: str, name: str) -> float:
        """As ``gauge``, of a counter that there is only once it has counted something."""
        try:
            return self.gauge(node, name)
        except KeyError:
            return 0.0

    # ---- what can be done

    def run_on(self, node: str) -> None:
        """All services run on ``node``, the other stands by."""
        self.shells[node].must("service -A unfreeze")
        self.wait_states({node: "STARTED", other(node): "FROZEN_STOP"})
        self.shells[other(node)].must("service -A unfreeze")
        self.wait_states({node: "STARTED", other(node): "STOPPED"})

    def power_off(self, node: str) -> float:
        """At a moment that has nothing to do with the heartbeats. The time of it: seconds of CLOCK_REALTIME."""
        pid = next(each.pid for each in self.lab.report() if each.name == node)
        assert pid is not None
        time.sleep(random.uniform(0, self.period))
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        return at

    def power_on(self, node: str) -> None:
        self.shells.pop(node).close()
        self.lab.power_on(node, start=self._ezha)
        self.shells[node] = Shell(self.lab, node)


def progress(text: str) -> None:
    """For whoever waits at a terminal; elsewhere silent."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
