"""All histories of the lease's world, not random ones, with no more than so many faults.

States are merged by their canonical key; one that was reached with at least as many faults left is not looked at again.
It must not know what a node does, nor what is forbidden.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ha.simulation.collecting import uncollected
from ha.simulation.lease_key import Keys
from ha.simulation.lease_world import PERIOD, Bounds, DualRun, Move, World, moves

EVERY: Final = 2_000
"""Progress is told after so many states."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found."""

    bounds: Bounds
    states: int
    transitions: int
    exhausted: bool
    violation: str = ""
    story: tuple[str, ...] = ()
    window: float | None = None
    """The longest time that the service was up on two machines after one, paused with its clock, went on. In periods;
    None: it never was."""

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "nodes": self.bounds.nodes,
            "faults": self.bounds.faults,
            "kinds": list(self.bounds.kinds),
            "network": self.bounds.network,
            "apart": self.bounds.apart,
            "states": self.states,
            "transitions": self.transitions,
            "exhausted": self.exhausted,
            "violation": self.violation,
            "story": list(self.story),
            "window_periods": self.window,
        }


def search(bounds: Bounds, progress: Callable[[int, int], None] | None = None) -> Found:
    """Look at every history within the bounds, or up to the first dual run. Fewer faults come first."""
    with uncollected():  # no world refers to itself, and collecting would look at all that wait again and again
        return _search(bounds, progress)


def _search(bounds: Bounds, progress: Callable[[int, int], None] | None) -> Found:
    first = World(bounds)
    first.begin()
    key = Keys(first.config.nodes).key
    visited: dict[bytes, int] = {key(first): bounds.faults}
    budgets: list[list[tuple[World, object]]] = [[] for _ in range(bounds.faults + 1)]
    budgets[bounds.faults].append((first, None))
    states = transitions = 0
    for left in range(bounds.faults, -1, -1):
        stack = budgets[left]
        while stack:
            world, way = stack.pop()
            if states >= bounds.states:
                return Found(bounds, states, transitions, False, window=_longest(first))
            states += 1
            for move in moves(world, left):
                transitions += 1
                here: Step = (way, world.now, move)
                try:
                    after = world.after(move)
                except DualRun as found:
                    return Found(bounds, states, transitions, False, f"up on {found}", told(here))
                remaining = left - move.cost
                place = key(after)
                if visited.get(place, -1) >= remaining:
                    continue
                visited[place] = remaining
                budgets[remaining].append((after, here))
            if progress is not None and states % EVERY == 0:
                progress(states, sum(map(len, budgets)))
    return Found(bounds, states, transitions, True, window=_longest(first))


def _longest(world: World) -> float | None:
    return max(world.windows) / PERIOD if world.windows else None


Step = tuple[object, float, Move]
"""What went before (a Step, or None), when, and what happened."""


def told(last: Step) -> tuple[str, ...]:
    """The way there, a line a move."""
    lines = []
    step: object = last
    while step is not None:
        assert isinstance(step, tuple)
        before, at, move = step
        lines.append(
            f"at {at - 100:.2f} s: {move.what} node{move.node + 1}" + (f" {move.other + 1}" if move.other else "")
        )
        step = before
    return tuple(reversed(lines))
