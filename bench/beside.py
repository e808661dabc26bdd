"""The same power-off, taken over by ezha and by keepalived, in turn: from the kill to the address on the other node."""

import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from bench.figure import Figure
from bench.ground import ADDRESS, ADDRESS_CONTROLLER, NODES, Ground, other, progress, wait_for

T_S = 0.33
ADVERT_S = 0.1
LATER_MS = 20.0
KEEPALIVED = f"""\
vrrp_instance bench {{
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 51
    version 3
    advert_int {ADVERT_S:g}
    virtual_ipaddress {{
        {ADDRESS}/24
    }}
    notify_backup "/usr/bin/touch /run/backup"
}}
"""
"""Defaults but for the interval: priority 100 on both, so that they take over from one another in turn."""


class Watch:
    """Sees the kernel's own notices of addresses in a node."""

    def __init__(self, ground: Ground, node: str) -> None:
        self._path = ground.place / f"watch-{node}"
        self._file: IO[bytes] = self._path.open("ab")
        self._child: subprocess.Popen[Any] = ground.lab.popen(
            node,
            ["ip", "-timestamp", "-tshort", "-oneline", "monitor", "address"],
            env={"TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.DEVNULL,  # the node may lose its power
        )

    def came(self) -> list[float]:
        """Every time at which the address came, in seconds of CLOCK_REALTIME."""
        found = []
        for line in self._path.read_text().split("\n")[:-1]:
            words = line.split()
            if f"{ADDRESS}/24" in words and "Deleted" not in words:
                found.append(datetime.fromisoformat(words[0].strip("[]")).replace(tzinfo=UTC).timestamp())
        return found

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        self._file.close()


class Rival:
    """Two nodes under a manager of some kind: what differs is how a node begins, and how it is known to be ready."""

    def __init__(
        self, ground: Ground, begin: Callable[[Ground, str], None], ready: Callable[[Ground, str], None]
    ) -> None:
        self._ground = ground
        self._begin = begin
        self._ready = ready
        self._watches = {node: Watch(ground, node) for node in NODES}

    def takeover(self, active: str) -> float:
        """Milliseconds."""
        ground, standby = self._ground, other(active)
        before = len(self._watches[standby].came())
        killed = ground.power_off(active)
        wait_for(lambda: len(self._watches[standby].came()) > before, what=f"{ADDRESS} on {standby}")
        spent = self._watches[standby].came()[before] - killed
        self._watches.pop(active).close()
        ground.power_on(active)
        self._watches[active] = Watch(ground, active)
        self._begin(ground, active)
        self._ready(ground, active)
        return spent * 1000

    def close(self) -> None:
        for watch in self._watches.values():
            watch.close()


def _nothing(ground: Ground, node: str) -> None:
    """ezha begins with the node's boot."""


def _stands_by(ground: Ground, node: str) -> None:
    ground.wait_states({node: "STOPPED", other(node): "STARTED"})


def _start_keepalived(ground: Ground, node: str) -> None:
    place = Path(ground.lab.files(node)) / "etc/bench-keepalived.conf"
    place.write_text(KEEPALIVED)
    ground.shells[node].must("keepalived --vrrp --use-file /etc/bench-keepalived.conf")


def _is_backup(ground: Ground, node: str) -> None:
    wait_for(lambda: ground.shells[node].run("test -e /run/backup").code == 0, what="keepalived in state BACKUP")


def _has_address(ground: Ground, node: str) -> bool:
    return f" {ADDRESS}/" in ground.shells[node].must("ip -oneline address show dev eth0")


@contextmanager
def _rivals() -> Iterator[tuple[Rival, Rival]]:
    with (
        Ground(T_S, media=("net",), controller=ADDRESS_CONTROLLER) as ours,
        Ground(T_S, ezha=False) as theirs,
    ):
        ours.run_on(NODES[0])
        _start_keepalived(theirs, NODES[0])
        wait_for(lambda: _has_address(theirs, NODES[0]), what="keepalived's address")
        _start_keepalived(theirs, NODES[1])
        _is_backup(theirs, NODES[1])
        rivals = Rival(ours, _nothing, _stands_by), Rival(theirs, _start_keepalived, _is_backup)
        try:
            yield rivals
        finally:
            for rival in rivals:
                rival.close()


def keepalived(rounds: int) -> list[Figure]:
    if shutil.which("keepalived", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        raise RuntimeError("keepalived is not installed; on Debian: apt install keepalived")
    what = f"T = {T_S:g} s, net only, beside keepalived, advert {ADVERT_S:g} s"
    ezha, peer = [], []
    with _rivals() as (ours, theirs):
        for number in range(rounds):
            progress(f"{what}: {number + 1} of {rounds}")
            active = NODES[number % 2]
            ezha.append(ours.takeover(active))
            peer.append(theirs.takeover(active))
    base = statistics.median(peer)
    return [
        Figure(f"{what}: later than keepalived's median", "ms", [each - base for each in ezha], median=LATER_MS),
        Figure("  ezha, from the kill to the address on the other", "ms", ezha),
        Figure("  keepalived, the same", "ms", peer),
    ]
