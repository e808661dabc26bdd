"""Which faults a lease is promised to withstand, by what ends a node that lost it; and mixes of those that it is not.

A watchdog of the hardware goes on while its machine is paused, a guardian does not, and neither does while a virtual
machine is suspended. Storage that reads back what stood there before is no storage (docs/safety.md, "Assumptions").
What a mix must not hold is turned into what comes closest to it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Final

from ha.simulation.plan import Fault

FULL: Final = "full"
PAUSES: Final = "pauses"
MOMENTS: Final = "moments"
MIXES: Final = (FULL, PAUSES, MOMENTS)
"""``full``: all that the promise covers. ``pauses``: whole machines pause with their watchdog, which it does not.
``moments``: nothing but trouble that comes in the middle of a claim, twice as much of it, on two nodes without a lease:
what ``explore`` reaches is reached so in the fewest histories."""
_WHOLE: Final = frozenset({"pause-machine", "pause-processes", "freeze-machine", "suspend-machine"})
_SUSPENDS: Final = ("suspend-machine", "freeze-machine")


@dataclass(frozen=True, slots=True)
class Cover:
    """What protects the services of a cluster."""

    leased: bool
    """A lease on the shared disk."""
    watched: bool
    """A watchdog of the hardware ends a node; else a process does."""


def within(faults: Iterable[Fault], cover: Cover, mix: str = FULL) -> Iterator[Fault]:
    """``faults``, each as the promise has it; without a lease nothing is promised, and all of them stay."""
    suspends = cycle(_SUSPENDS)
    for fault in faults:
        if not cover.leased:
            yield fault
        elif fault.verb == "disk" and fault.words[0] == "stale":
            yield replace(fault, words=("other", *fault.words[1:]))
        elif mix == PAUSES and fault.verb in (*_WHOLE, "pause"):
            yield replace(fault, verb=next(suspends))
        elif fault.verb in _WHOLE and not cover.watched:
            yield replace(fault, verb="pause")
        elif fault.verb in _SUSPENDS:
            yield replace(fault, verb="pause-machine")
        else:
            yield fault
