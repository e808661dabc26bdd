"""A thousand services on a node: how late its decisions come, while it takes all of them over."""

from bench.figure import Figure
from bench.ground import NODES, Ground, other
from bench.takeover import T_S, takeover

SERVICES = 1000
SLOT_BLOCKS = 32
LATE = "ezha_decision_late_recent_max_seconds"


def thousand(rounds: int) -> list[Figure]:
    what = f"{SERVICES} services, T = {T_S:g} s: the latest decision"
    resting, busy, first = [], [], []
    with Ground(T_S, services=SERVICES, slot_blocks=SLOT_BLOCKS) as ground:
        ground.run_on(NODES[0])
        for number in range(rounds):
            active = NODES[number % 2]
            standby = other(active)
            ground.gauge(standby, LATE)
            found = takeover(ground, active)
            first.append(found.first)
            busy.append(ground.gauge(standby, LATE) * 1000)
            ground.power_on(active)
            ground.wait_states({active: "STOPPED", standby: "STARTED"}, timeout=120)
            for node in NODES:
                ground.gauge(node, LATE)
            ground.shells[standby].must("sleep 3")
            resting += [ground.gauge(node, LATE) * 1000 for node in NODES]
    return [
        Figure(f"{what}, while all are taken over", "ms", busy, median=50),
        Figure(f"{what}, at rest", "ms", resting, median=50, digits=1),
        Figure("  first start script after T", "ms", first),
    ]
