"""How a guard of the production code is taken away for as long as a context lasts, and what is known of each.

Each bug replaces one function, row or constant; the production code knows nothing of it. Which there are is
``tests.simulation.planted``'s matter.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from ha.fsm import commands, conduct, sight
from ha.fsm.evidence import Standing, Terms, Verdict, judge
from ha.fsm.machine import NO_FACTS, Facts, decide
from ha.fsm.peers import Peer
from ha.fsm.states import State
from ha.fsm.table import Row, Trigger
from ha.simulation.mix import draw_plan
from ha.simulation.plan import Plan
from ha.simulation.promises import FULL
from ha.simulation.settings import Setting

GENERAL = "all kinds"

Plant = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Bug:
    """A guard that is not there."""

    name: str
    meaning: str
    """What nmond does without it."""
    plant: Plant
    only: tuple[str, ...] = ()
    """Kinds of trouble that bring it out sooner; empty: every kind, as the hunt draws them."""
    settings: tuple[Setting, ...] = ()
    """Clusters that the seeds have by turns; none: as the hunt draws them, without protection."""
    drawn: str = FULL
    """``ha.simulation.promises``."""

    @property
    def mix(self) -> str:
        return ", ".join(self.only) or GENERAL

    def plan(self, seed: int) -> Plan:
        if not self.settings:
            return draw_plan(seed, only=self.only, protection="none")
        return draw_plan(seed, only=self.only, setting=self.settings[seed % len(self.settings)], mix=self.drawn)


BUGS: dict[str, Bug] = {}
"""In the order in which they are planted."""


def bug(
    name: str, meaning: str, *only: str, settings: tuple[Setting, ...] = (), mix: str = FULL
) -> Callable[[Callable[[], Iterator[None]]], Plant]:
    """Registers a context in which the guard is not there."""

    def register(make: Callable[[], Iterator[None]]) -> Plant:
        assert name not in BUGS, name
        plant = contextmanager(make)
        BUGS[name] = Bug(name, meaning, plant, only, settings, mix)
        return plant

    return register


# --------------------------------------------------------------------------------------------- ways to plant

Judge = Callable[[Peer, Verdict], Verdict]
Decide = Callable[[State, Trigger, Facts], Row]


def judging(change: Judge) -> AbstractContextManager[object]:
    """Another judgement of the evidence."""

    def judged(peer: Peer, service: int, acknowledged: int, needed: int, now: float, terms: Terms) -> Verdict:
        return change(peer, judge(peer, service, acknowledged, needed, now, terms))

    return patch.object(sight, "judge", judged)


def taking_for_clear(*states: State, unclean: bool = False) -> AbstractContextManager[object]:
    """Peers that hold a service in one of these states are taken for peers that do not."""

    def judged(peer: Peer, number: int, acknowledged: int, needed: int, now: float, terms: Terms) -> Verdict:
        entry = peer.entries.get(number)
        verdict = judge(peer, number, acknowledged, needed, now, terms)
        if entry is not None and (entry.state in states or (unclean and entry.unclean and entry.state not in states)):
            return replace(verdict, standing=Standing.CLEAR)
        return verdict

    return patch.object(sight, "judge", judged)


def deciding(change: Decide) -> AbstractContextManager[object]:
    """Another table."""

    def decided(state: State, trigger: Trigger, facts: Facts = NO_FACTS) -> Row:
        return change(state, trigger, facts)

    stack = ExitStack()
    for module in (conduct, commands):
        stack.enter_context(patch.object(module, "decide", decided))
    return stack


@contextmanager
def row(state: State, trigger: Trigger, **changes: Any) -> Iterator[None]:
    """One cell of the table says something else."""

    def changed(asked: State, by: Trigger, facts: Facts) -> Row:
        found = decide(asked, by, facts)
        return replace(found, **changes) if (asked, by) == (state, trigger) else found

    with deciding(changed):
        yield


def instead(target: object, name: str, new: object, create: bool = False) -> AbstractContextManager[object]:
    """``create``: it has no such name of its own."""
    return patch.object(target, name, new, create=create)
