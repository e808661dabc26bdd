"""How soon a service starts that nobody runs: one node unfreezes it, or both at the same instant."""

import random
import time

from bench.figure import Figure
from bench.ground import NODES, Ground, other, progress, wait_for

SERVICE = "svc0000"
UNFREEZE = f"service -A {SERVICE} unfreeze"
FREEZE = f"service -A {SERVICE} freeze-stop"
T_S = 2.0
T_CUT_S = 10.0
CUT_BEFORE_S = (1.0, 2.0)
SETTLED = {"STARTED", "STOPPED"}


def unfreeze(rounds: int) -> list[Figure]:
    what = "unfreeze to the start script, peer alive"
    found = []
    with Ground(T_S) as ground:
        both_hear(ground)
        for number in range(rounds):
            progress(f"{what}: {number + 1} of {rounds}")
            node = NODES[number % 2]
            before = len(ground.starts(node))
            done = ground.shells[node].run(UNFREEZE)
            wait_for(lambda: len(ground.starts(node)) > before, what="the start")  # noqa: B023  # called here only
            found.append((ground.starts(node)[-1][1] - done.began) * 1000)
            ground.wait_states({node: "STARTED", other(node): "FROZEN_STOP"})
            ground.shells[node].must(FREEZE)
            ground.wait_states(dict.fromkeys(NODES, "FROZEN_STOP"))
    return [Figure(what, "ms", found, median=100)]


def race_net(rounds: int) -> list[Figure]:
    what = f"both unfrozen at once, net and dio, T = {T_S:g} s"
    with Ground(T_S) as ground:
        found = races(ground, rounds, what)
    return judged(what, found, "ms", 200.0)


def race_disk(rounds: int) -> list[Figure]:
    what = f"both unfrozen at once, dio only, T = {T_S:g} s, in disk periods"
    with Ground(T_S, media=("dio",)) as ground:
        found = races(ground, rounds, what)
        periods = [(count, ms / 1000 / ground.period) for count, ms in found]
    return judged(what, periods, "", 3.0)


def race_cut(rounds: int) -> list[Figure]:
    what = f"both unfrozen at once, network cut 1 to 2 s before, T = {T_CUT_S:g} s, in disk periods"
    with Ground(T_CUT_S) as ground:
        found = races(ground, rounds, what, cut=True)
        periods = [(count, ms / 1000 / ground.period) for count, ms in found]
    return judged(what, periods, "", 3.0)


def judged(what: str, found: list[tuple[int, float]], unit: str, limit: float) -> list[Figure]:
    starts = [float(count) for count, _time in found]
    return [
        Figure(what, unit, [spent for _count, spent in found], worst=limit, digits=0 if unit else 1),
        Figure("  starts in each round", "", starts, median=1, worst=1, exact=True),
    ]


def races(ground: Ground, rounds: int, what: str, cut: bool = False) -> list[tuple[int, float]]:
    """Of each round: how many starts there were, and milliseconds to the first."""
    both_hear(ground)
    found = []
    for number in range(rounds):
        progress(f"{what}: {number + 1} of {rounds}")
        if cut:
            ground.lab.cut("net")
            time.sleep(random.uniform(*CUT_BEFORE_S))
        before = {node: len(ground.starts(node)) for node in NODES}
        for node in NODES:
            ground.shells[node].begin(UNFREEZE)
        began = [ground.shells[node].end().began for node in NODES]
        wait_for(lambda: settled(ground), what="one STARTED, one STOPPED")
        for node in sorted(NODES, key=lambda node: state(ground, node), reverse=True):  # STOPPED before STARTED
            ground.shells[node].must(FREEZE)
        times = [at for node in NODES for _service, at in ground.starts(node)[before[node] :]]
        found.append((len(times), (min(times) - min(began)) * 1000))
        if cut:
            ground.lab.heal()
        ground.wait_states(dict.fromkeys(NODES, "FROZEN_STOP"))
        both_hear(ground)
    return found


def state(ground: Ground, node: str) -> str:
    """Of the service on a node, first-hand."""
    return next(iter(ground.states(node)[node]))


def settled(ground: Ground) -> bool:
    states = [state(ground, node) for node in NODES]
    return (
        set(states) <= SETTLED
        and "STARTED" in states
        and all(next(iter(ground.states(node)[other(node)])) == state(ground, other(node)) for node in NODES)
    )


def both_hear(ground: Ground) -> None:
    """Until all paths are up on both nodes."""
    for node in NODES:
        shell = ground.shells[node]
        wait_for(lambda: "DOWN" not in shell.must("hb -s"), what="all paths UP")  # noqa: B023  # called here only
