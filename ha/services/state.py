"""How a resource is, and what several of them come to. Pure (spec: OpenSVC, "Status algebra")."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """The state of a resource, or of several together. The value is the word that people read."""

    UP = "up"
    DOWN = "down"
    WARN = "warn"
    NA = "n/a"
    UNDEF = "undef"
    STDBY_UP = "stdby up"
    STDBY_DOWN = "stdby down"


@dataclass(frozen=True, slots=True)
class Status:
    """What a look at a resource found. ``notes`` are lines that ``print status`` shows below it."""

    state: State
    notes: tuple[str, ...] = ()
    failed: bool = False
    """It is known not to do its work although it is not wholly down: a program that lives and fails its check."""

    @property
    def lost(self) -> bool:
        """Whether it should be restarted, where it is monitored. What cannot be judged is not lost."""
        return self.failed or self.state is State.DOWN


def merged(states: Iterable[State]) -> State:
    """What several resources come to; ``UNDEF`` where there are none.

    ``UNDEF`` is neutral; ``NA`` is neutral except with itself; ``WARN`` absorbs everything; up and down make ``WARN``.
    A resource that is up on standby counts as down beside one that is down (it does not serve) and as up beside one
    that is up.
    """
    total = State.UNDEF
    for state in states:
        total = _merged_two(total, state)
    return total


def _merged_two(one: State, other: State) -> State:
    if one is other:
        return one
    for neutral in (State.UNDEF, State.NA):
        if one is neutral:
            return other
        if other is neutral:
            return one
    return _PAIRS.get(frozenset((one, other)), State.WARN)


_PAIRS = {
    frozenset((State.UP, State.STDBY_UP)): State.UP,
    frozenset((State.DOWN, State.STDBY_UP)): State.STDBY_UP,
    frozenset((State.DOWN, State.STDBY_DOWN)): State.DOWN,
}
"""Every other pair of different states that count makes WARN."""


def overall(avail: State, others: Iterable[State]) -> State:
    """The state of a service: ``avail``, which an ``hb`` or ``sync`` that is not up or n/a taints.

    Only *up* is tainted, to warn; *down* is never masked.
    """
    if avail is State.UP and any(state not in (State.UP, State.NA, State.UNDEF) for state in others):
        return State.WARN
    return avail
