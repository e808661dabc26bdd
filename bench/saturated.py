"""How short a timeout may be on a machine that has no time: every core busy with something else, all the while.

A lease that lapses, or a node that takes over from one that lives, is what a timeout that is too short does.
"""

import os
import signal
import subprocess
import time

from bench.figure import Figure
from bench.ground import NODES, Ground, progress

TIMEOUTS = (0.5, 0.3, 0.2)
PROMISED = 0.5
"""Down to here nothing may happen; what happens below is told."""
BUSY = 2
"""Loops a core: each of them has half of it at most, without ezha."""


def figures(seconds: int) -> list[Figure]:
    """``seconds`` of every timeout."""
    told = []
    for timeout in TIMEOUTS:
        progress(f"saturated: T = {timeout:g} s for {seconds} s")
        lapses, late = _under_load(timeout, seconds)
        exact = timeout >= PROMISED
        told += [
            Figure(
                f"lapses and takeovers in {seconds} s with every core busy, T = {timeout:g} s",
                "",
                [lapses],
                worst=0.0 if exact else None,
                exact=exact,
            ),
            Figure(f"nmond's lateness meanwhile, T = {timeout:g} s", "ms", late, digits=1),
        ]
    return told


def _under_load(timeout: float, seconds: int) -> tuple[float, list[float]]:
    """How often a lease lapsed or a service was started once more, and how late each nmond was at most, in ms."""
    with Ground(timeout, services=4) as ground:
        ground.run_on("node1")
        before = _events(ground)
        loops = [
            subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"], start_new_session=True)
            for _ in range(BUSY * (os.cpu_count() or 1))
        ]
        try:
            time.sleep(seconds)
        finally:
            for loop in loops:
                os.killpg(loop.pid, signal.SIGKILL)
                loop.wait()
        if any(each.power != "on" for each in ground.lab.report() if each.name in NODES):
            return float("inf"), [0.0]  # a node has ended itself
        late = [ground.gauge(node, "ezha_decision_late_max_seconds") * 1000 for node in NODES]
        return _events(ground) - before, late


def _events(ground: Ground) -> float:
    lapses = sum(ground.total(node, "ezha_engine_lapses_total") for node in NODES)
    return lapses + sum(len(ground.starts(node)) for node in NODES)
