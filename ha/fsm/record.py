"""What a node must remember over the death of its nmond, and over a power-off.

A record is immutable: the engine replaces it, and says in ``Effects.persist`` which must reach the disk first.
"""

from dataclasses import dataclass

from ha.fsm.freshness import LastHeard
from ha.fsm.states import State
from ha.fsm.table import HOLDING


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """The local state of record of one service."""

    name: str
    state: State = State.FROZEN_STOP
    """A new service begins FROZEN_STOP on every node (OpenHA)."""
    generation: int = 0
    """Of the present claim or run, or of the last one held here."""
    last_run: int = 0
    """The generation of the last run (STARTING or beyond) on this node; 0: never."""
    seen: int = 0
    """The highest generation of a run seen anywhere."""
    unclean: bool = False
    demoted: bool = False
    freeze: bool = False
    """The start or stop under way ends frozen (freeze-start, freeze-stop)."""
    handover: str = ""
    """The node that is to take it (``ezha switch``), or nothing."""


def may_run(record: ServiceRecord) -> bool:
    """The service may be up here, as far as its record tells."""
    return record.state in HOLDING or record.state is State.UNKNOWN or record.unclean


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """All that is kept: written whole, before anything that depends on it."""

    incarnation: int
    """Counter of the present incarnation."""
    services: tuple[ServiceRecord, ...] = ()
    lost: bool = False
    """An earlier record of this boot could not be read: a service that has no record may run all the same."""
    shared: tuple[str, ...] = ()
    """Own disk lines (their text) on which a peer has acknowledged a block that it read there, in ascending order."""
    down: tuple[tuple[str, int, int, str], ...] = ()
    """Nodes that were fenced, or confirmed down by an operator: name, counter of the incarnation and sequence number
    of the last message that was heard of it then (a later one ends this), and why."""
    heard: tuple[LastHeard, ...] = ()
    """Of each other node: an older message that comes again changes nothing."""
