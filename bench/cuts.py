"""A node that runs a service loses every network and its disk: the other takes the service, and never beside it."""

import random
import time

from bench.figure import Figure
from bench.ground import NODES, Ground, other, progress, wait_for

T_S = 2.0
WITHIN_S = T_S + 1.0


def figures(rounds: int) -> list[Figure]:
    """The nodes are cut off in turn; takes about 6 s a round."""
    taken, ahead, twice = [], [], 0
    with Ground(T_S) as ground:
        ground.run_on(NODES[0])
        for number in range(rounds):
            progress(f"cuts: {number + 1} of {rounds}")
            active = NODES[number % 2]
            cut, stopped, started = _isolate(ground, active)
            taken.append((started - cut) * 1000)
            ahead.append((started - stopped) * 1000)
            twice += started <= stopped
            ground.lab.heal()
            ground.wait_states({active: "STOPPED", other(active): "STARTED"})
    return [
        Figure(
            f"all networks and the disk of the active cut, T = {T_S:g} s: start on the other after the cut",
            "ms",
            taken,
            worst=WITHIN_S * 1000,
        ),
        Figure("  of it, after the end of the stop where it ran", "ms", ahead),
        Figure("  rounds in which both ran it", "", [twice], worst=0, exact=True),
    ]


def _isolate(ground: Ground, active: str) -> tuple[float, float, float]:
    """When the active was cut off, when it had stopped the service, and when the other began to start it.

    Seconds of CLOCK_REALTIME."""
    standby = other(active)
    stops, starts = len(ground.stops(active)), len(ground.starts(standby))
    time.sleep(random.uniform(0, ground.period))
    cut = time.time()
    ground.lab.cut("disk", active)
    ground.lab.cut("net")
    wait_for(lambda: len(ground.starts(standby)) > starts, ground.timeout + 30, what="the takeover")
    wait_for(lambda: len(ground.stops(active)) > stops, ground.timeout + 30, what="the emergency stop")
    assert (len(ground.stops(active)), len(ground.starts(standby))) == (stops + 1, starts + 1), "called twice"
    return cut, ground.stops(active)[-1][1], ground.starts(standby)[-1][1]
