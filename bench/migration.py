"""How long nobody runs a service that moves between a node of ezha and an original OpenHA node, by order and by death.

The original's node is the tests' peer, with its timing: a look every 2 s, 5 s before a start, a message a second.
"""

import time
from collections.abc import Callable
from functools import partial

from bench.figure import Figure
from bench.ground import progress
from tests.lab.conftest import wait_for
from tests.lab.openha_pair import FROZEN_STOP, STARTED, STOPPED, Mixed, T, openha_pair

SERVICE = "web"
EZHA, ORIGINAL = "node1", "node2"
PATIENCE_S = 40.0


def figures(rounds: int) -> list[Figure]:
    """Each round moves the service four times."""
    found: dict[str, list[float]] = {}
    with openha_pair({SERVICE: EZHA}) as pair:
        pair.install(EZHA)
        _boot(pair, EZHA, ORIGINAL)
        for node in (EZHA, ORIGINAL):
            pair.act(node, SERVICE, "unfreeze")
        _settled(pair, EZHA)
        for number in range(rounds):
            progress(f"beside an OpenHA node: {number + 1} of {rounds}")
            for what, taken in _round(pair):
                found.setdefault(what, []).append(taken)
    limits = {"power-off of the OpenHA node": T + 5.5, "power-off of ezha's node": T + 8.5}
    return [
        Figure(f"beside OpenHA, T = {T} s: {what}", "s", samples, worst=limits.get(what, 12.0), digits=1)
        for what, samples in found.items()
    ]


def _round(pair: Mixed) -> list[tuple[str, float]]:
    taken = [("switch from ezha to OpenHA", _until_started(pair, ORIGINAL, partial(pair.begin, EZHA, *_SWITCH)))]
    _settled(pair, ORIGINAL)
    taken.append(("switch from OpenHA to ezha", _until_started(pair, EZHA, partial(_freeze_stop, pair, ORIGINAL))))
    pair.wait_on(EZHA, SERVICE, FROZEN_STOP, of=ORIGINAL)
    pair.act(ORIGINAL, SERVICE, "unfreeze")
    _settled(pair, EZHA)
    taken.append(("power-off of ezha's node", _until_started(pair, ORIGINAL, partial(pair.lab.power_off, EZHA))))
    pair.lab.power_on(EZHA)
    _boot(pair, EZHA)
    _settled(pair, ORIGINAL)
    taken.append(("power-off of the OpenHA node", _until_started(pair, EZHA, partial(pair.lab.power_off, ORIGINAL))))
    pair.lab.power_on(ORIGINAL)
    _boot(pair, ORIGINAL)
    _settled(pair, EZHA)
    return taken


_SWITCH = ("bin/ezha", "switch", SERVICE)


def _freeze_stop(pair: Mixed, node: str) -> None:
    pair.begin(node, "bin/service", "-A", SERVICE, "freeze-stop")


def _boot(pair: Mixed, *nodes: str) -> None:
    scripts = [pair.begin(node, "ezha.init", "start") for node in nodes]
    assert [script.wait(30) for script in scripts] == [0] * len(nodes), "ezha.init start failed"


def _settled(pair: Mixed, node: str) -> None:
    """It runs there, and both know it."""
    other = ORIGINAL if node == EZHA else EZHA
    pair.wait(SERVICE, timeout=PATIENCE_S, **{node: STARTED, other: STOPPED})


def _until_started(pair: Mixed, node: str, deed: Callable[[], object]) -> float:
    """Seconds from the deed to the start script on ``node``."""
    before = len(pair.starts(SERVICE))
    begin = time.monotonic()
    deed()
    wait_for(lambda: len(pair.starts(SERVICE)) > before, PATIENCE_S, what=f"{SERVICE} is started on {node}")
    taken = time.monotonic() - begin
    assert pair.starts(SERVICE)[before:] == [node], pair.story(SERVICE)
    return taken
