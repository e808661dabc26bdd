"""How long nobody runs a service whose node lost its power: from the last heartbeat sent to the start script."""

from dataclasses import dataclass

from bench.figure import Figure
from bench.ground import NODES, Ground, address, other, progress, wait_for

T_S = 2.0


@dataclass(frozen=True, slots=True)
class Takeover:
    """One, in milliseconds beyond the timeout."""

    first: float
    last: float
    """Of the start scripts."""


def takeovers(ground: Ground, rounds: int, what: str) -> list[Takeover]:
    """The nodes take over from one another in turn."""
    ground.run_on(NODES[0])
    found = []
    for number in range(rounds):
        progress(f"{what}: {number + 1} of {rounds}")
        active = NODES[number % 2]
        found.append(takeover(ground, active))
        ground.power_on(active)
        ground.wait_states({active: "STOPPED", other(active): "STARTED"})
    return found


def takeover(ground: Ground, active: str) -> Takeover:
    standby = other(active)
    before = len(ground.starts(standby))
    wanted = before + len(ground.services)
    ground.power_off(active)
    wait_for(lambda: len(ground.starts(standby)) >= wanted, ground.timeout + 60, what="the takeover", every=0.1)
    times = [at for _service, at in ground.starts(standby)[before:]]
    assert len(times) == len(ground.services), "a start script was called twice"
    silence = ground.tap.last(address(active)) + ground.timeout
    return Takeover((min(times) - silence) * 1000, (max(times) - silence) * 1000)


def one(rounds: int) -> list[Figure]:
    what = f"takeover, T = {T_S:g} s, net and dio: start script after T from the last heartbeat"
    with Ground(T_S) as ground:
        found = takeovers(ground, rounds, what)
    return [Figure(what, "ms", [each.first for each in found], median=50, worst=150)]


def many(rounds: int) -> list[Figure]:
    what = f"128 services taken over at once, T = {T_S:g} s: last start script after T"
    with Ground(T_S, services=128) as ground:
        found = takeovers(ground, rounds, what)
        sizes = [each.size for each in ground.tap.datagrams()]
        fragmented = sum(each.fragmented for each in ground.tap.datagrams())
    return [
        Figure(what, "ms", [each.last for each in found], worst=1000),
        Figure("  first start script after T", "ms", [each.first for each in found], median=50, worst=150),
        Figure(
            "heartbeat with 128 services, largest of all seen",
            "bytes",
            [max(sizes)],
            worst=1024,
            exact=True,
            note=f"{len(sizes)} datagrams, {fragmented} of them in fragments",
        ),
    ]
