"""A rehearsal: a cluster in good order, to which one thing after the other happens that somebody wants to know about.

Nothing is drawn. It begins with every service unfrozen on all of its nodes and started on its primary; that beginning
takes its time, too, so the rehearsal's zero is ``Rehearsal.zero`` of the history. How it is told it does not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ha.fsm.config import ClusterConfig
from ha.fsm.states import Action
from ha.node.config import Texts
from ha.simulation.history import History, Outcome
from ha.simulation.plan import Fault, Plan, PlanError, parse_fault

MARGIN_S = 5.0
"""Between the steps of the beginning."""
CALM = (("drift", 0.0), ("boot-spread", 0.0), ("start-spread", 0.0), ("stop-spread", 0.0))
"""No noise: clocks agree, machines boot together, scripts take as long as was said."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is to happen, as a plan."""

    plan: Plan
    zero: float
    """Seconds of the history before the rehearsal begins."""


def parse_sentences(text: str, config: ClusterConfig) -> list[Fault]:
    """``power-off node1 at 60; cut disk node2 at 61``. Raises PlanError."""
    parts = [part.strip() for line in text.splitlines() for part in line.split(";")]
    faults = [parse_fault(part, config.nodes, config.services) for part in parts if part]
    if not faults:
        raise PlanError("say what happens, for example: power-off node1 at 60; cut disk node2 at 61")
    return sorted(faults, key=lambda fault: fault.at)


def prepare(config: ClusterConfig, faults: list[Fault], *, start: float, stop: float, rules: str = "ezha") -> Rehearsal:
    """``start``, ``stop``: seconds that the scripts of every service take."""
    longest = max((config.timeout_of(node) for node in config.nodes), default=0.0)
    first = 2 * longest + config.talk_delay + MARGIN_S
    second = first + start + MARGIN_S
    zero = second + longest + MARGIN_S
    orders = []
    for service in config.services.values():
        for rank, node in enumerate(service.nodes):
            words = (node, service.name, Action.UNFREEZE.value)
            orders.append(Fault(first if rank == 0 else second, "order", words))
    moved = [replace(fault, at=fault.at + zero) for fault in faults]
    last = max(fault.at + (fault.lasts or 0.0) for fault in moved)
    noise = (*CALM, ("start", start), ("stop", stop))
    plan = Plan("rehearsal", last, (*orders, *moved), rules, noise, "own")
    return Rehearsal(plan, zero)


def rehearse(rehearsal: Rehearsal, given: Mapping[str, Texts], *, messages: bool = False) -> Outcome:
    """What would happen. ``messages``: keep them in the trace, too."""
    return History(rehearsal.plan, dict(given), messages=messages).rehearse()
