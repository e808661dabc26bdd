"""A thousand services on a node: how late its decisions come, while it takes all of them over."""

import time

from bench.figure import Figure
from bench.ground import NODES, Ground, other, progress
from bench.takeover import T_S, takeover

SERVICES = 1000
SLOT_BLOCKS = 32
REST_S = 3.0
LATE = "ezha_decision_late_recent_max_seconds"


def thousand(rounds: int) -> list[Figure]:
    what = f"{SERVICES} services, T = {T_S:g} s: the latest decision"
    resting, busy, first = [], [], []
    with Ground(T_S, services=SERVICES, slot_blocks=SLOT_BLOCKS) as ground:
        ground.run_on(NODES[0])
        for number in range(rounds):
            progress(f"{what}: {number + 1} of {rounds}")
            active = NODES[number % 2]
            standby = other(active)
            for node in NODES:
                ground.gauge(node, LATE)  # from now on
            time.sleep(REST_S)
            resting += [ground.gauge(node, LATE) * 1000 for node in NODES]
            found = takeover(ground, active)
            first.append(found.first)
            busy.append(ground.gauge(standby, LATE) * 1000)
            if number + 1 < rounds:
                ground.power_on(active)
                ground.wait_states({active: "STOPPED", standby: "STARTED"}, timeout=120)
    return [
        Figure(f"{what}, while all are taken over", "ms", busy, median=50, digits=1),
        Figure(f"{what}, at rest", "ms", resting, median=50, digits=1),
        Figure("  first start script after T", "ms", first),
    ]
