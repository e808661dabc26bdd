"""A kind of trouble of its own: a node's lease is about to end, and something comes in between.

From the last message that renewed it to the moment from which another node may take over it is T; what nmond does wrong
in it (a restart, a command, a new configuration, a stop that does not end) no time that is drawn in advance would hit.
"""

from collections.abc import Iterable

from ha.fsm.states import Action
from ha.simulation.place import Place, tenth
from ha.simulation.plan import Fault

_ORDERS = (Action.FREEZE_START, Action.FREEZE_STOP, Action.STOP, Action.START, Action.UNFREEZE, Action.SWITCH)
_READS = ("read-error", "read-hang")
_WRITES = ("write-error", "write-hang", "other")


def lapse(p: Place) -> Iterable[Fault]:
    """The end of a lease, from the cut to the takeover and a little longer."""
    at, node, service = p.when(), p.node(), p.draw.pick(p.services)
    other, lasts = p.other(node), p.long()
    yield from _cut(p, at, node, lasts)
    if p.draw.chance(0.3):  # on the one that looks for it, too
        begins = tenth(at + p.timeout * p.draw.between(0.3, 1.1))
        yield Fault(begins, "disk", (p.draw.pick(_READS), other), tenth(p.timeout * p.draw.between(0.2, 2.0)))
    for _ in range(p.draw.whole(0, 3)):
        yield _between(p, tenth(at + p.timeout * p.draw.between(0.0, 1.2)), node, service)
    if p.draw.chance(0.2):
        yield _between(p, tenth(at - p.timeout * p.draw.between(0.0, 0.5)), node, service)


def _cut(p: Place, at: float, node: str, lasts: float) -> Iterable[Fault]:
    """What keeps it from renewing: everything, in one direction or both, or its disk at least."""
    how = p.draw.whole(1, 4)
    if how == 1:
        yield Fault(at, "cut", ("all", node), lasts)
    elif how == 2:
        yield Fault(at, "cut", ("all", node, p.other(node)), lasts)
    elif how == 3:
        yield Fault(at, "cut", ("net", node), lasts)
        yield Fault(at, "disk", (p.draw.pick((*_READS, *_WRITES)), node), lasts)
    else:
        yield Fault(at, "cut", ("net", node), tenth(lasts + p.timeout))
        yield Fault(tenth(at + p.brief()), "disk", (p.draw.pick(_WRITES), node), lasts)


def _between(p: Place, at: float, node: str, service: str) -> Fault:
    at = max(at, 0.0)
    how = p.draw.whole(1, 7)
    if how == 1:
        return Fault(at, "kill", (node,))
    if how == 2:
        return Fault(at, "pause", (node,), p.brief())
    if how == 3:
        return Fault(at, "restart", (node,))
    if how == 4:
        return Fault(at, "script", (node, service, "stop", p.draw.pick(("hangs", "stubborn", "fails"))), p.long())
    if how == 5:
        return Fault(at, "configure", (node, "slower", service), p.long())
    return Fault(at, "order", (node, service, p.draw.pick(_ORDERS).value))
