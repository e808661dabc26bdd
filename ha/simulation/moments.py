"""A kind of trouble of its own: somebody brings a claim about, and something comes in between.

A claim lasts for a round trip, a check script for some milliseconds: no time that is drawn in advance hits these. So
people, kills and pauses lie in wait for a state here (``ha.simulation.plan.Once``), and come right then or a little
later; where a node is held in the middle of its claim, the other one sees that claim for up to T.
"""

from collections.abc import Iterable, Iterator

from ha.fsm.states import Action, State
from ha.simulation.place import Place, tenth
from ha.simulation.plan import Fault, Once

_STATES: tuple[tuple[State, float], ...] = (
    (State.START_READY, 4.0),
    (State.STARTING, 4.0),
    (State.START_FAILED, 1.5),
    (State.STARTED, 1.5),
    (State.STOPPING, 1.0),
    (State.STOPPED, 0.5),
    (State.FROZEN_STOP, 0.5),
)
"""At whose beginning something comes in between."""
_CONTESTED: tuple[tuple[State, float], ...] = (
    (State.START_READY, 4.0),
    (State.STARTING, 2.0),
    (State.STARTED, 1.0),
    (State.STOPPING, 1.0),
)
"""The same where two want it."""
_HAS: tuple[tuple[State, float], ...] = ((State.STARTING, 3.0), (State.STARTED, 1.0), (State.STOPPING, 1.0))
_TYPED = (Action.STOP, Action.START, Action.FREEZE_STOP, Action.FREEZE_START, Action.UNFREEZE, Action.SWITCH)
_TROUBLES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("start", "fails"),),
    (("start", "fails"), ("stop", "fails")),
    (("start", "half"), ("stop", "fails")),
    (("start", "slow"),),
    (("start", "slow"), ("status", "slow")),
    (("start", "slow"), ("status", "unsure")),
    (("start", "hangs"),),
    (("stop", "fails"),),
    (("stop", "slow"),),
    (("check", "fails"),),
    (("check", "hangs"),),
    (("status", "slow"),),
    (("status", "unsure"),),
)
"""How the scripts of a node behave meanwhile: kinds and shapes. What is slow outlasts an nmond, and a silence."""
_WITHIN = (0.0, 0.003, 0.02, 0.5)
"""It comes at once, or so many seconds later at most: on the wire, while a check runs, while a start or stop does."""
_TWICE_S = (0.3, 0.8)
"""Between the deaths of one nmond and the next: enough for a supervisor, not for a slow script."""


def moment(p: Place) -> Iterable[Fault]:
    """One claim, and what comes in between."""
    at, service, node = p.when(), p.draw.pick(p.services), p.node()
    other = p.other(node)
    for each in (node, other):
        if p.draw.chance(0.5):
            lasts = tenth(p.draw.about(5 * p.timeout))
            for kind, shape in p.draw.pick(_TROUBLES):
                yield Fault(at, "script", (each, service, kind, shape), lasts)
    if p.draw.chance(0.5):
        yield from _provoke(p, at, service, node, other)
        states, near = _STATES, 0.6
    else:
        yield from _contest(p, at, service, node, other)
        states, near = _CONTESTED, 0.3
    if p.draw.chance(0.6):  # held in the middle of it, while its last word is seen
        held = node if p.draw.chance(0.7) else other
        lasts = p.brief() if p.draw.chance(0.7) else p.long()
        yield Fault(at, "pause", (held,), lasts, Once(held, service, p.draw.weighted(_CONTESTED).name))
    for _ in range(p.draw.whole(1, 3)):
        once = Once(node, service, p.draw.weighted(states).name, tenth(p.draw.between(0.0, p.draw.pick(_WITHIN))))
        yield from _strike(p, at, once, node if p.draw.chance(near) else other)
    if p.draw.chance(0.5):  # and something more before it is over
        late = p.draw.between(0.0, 3 * p.timeout)
        yield Fault(tenth(at + late), "order", (p.draw.pick((node, other)), service, p.draw.pick(_TYPED).value))


def _strike(p: Place, at: float, once: Once, node: str) -> Iterator[Fault]:
    """What comes in between, at ``node``: mostly a person."""
    how = p.draw.weighted((("order", 6.0), ("kill", 3.0), ("power-off", 0.5), ("pause", 0.5)))
    if how == "order":
        yield Fault(at, how, (node, once.service, p.draw.pick(_TYPED).value), once=once)
    elif how == "kill":
        if p.draw.chance(0.6):  # and what the next nmond asks about is not told, or not soon
            shape = p.draw.pick(("unsure", "slow", "slow"))
            yield Fault(at, "script", (node, once.service, "status", shape), tenth(2 * p.timeout))
        yield Fault(at, how, (node,), once=once)
        if p.draw.chance(0.5):
            late = tenth(once.after + p.draw.between(*_TWICE_S))
            yield Fault(at, how, (node,), once=Once(once.node, once.service, once.state, late))
    else:
        yield Fault(at, how, (node,), 0.5 if how == "power-off" else p.brief(), once)


def _provoke(p: Place, at: float, service: str, node: str, other: str) -> Iterator[Fault]:
    """What makes ``node`` claim, in one of the ways there are."""

    def order(node: str, action: Action, late: float) -> Fault:
        return Fault(tenth(at + late), "order", (node, service, action.value))

    match p.draw.whole(1, 4):
        case 1:  # nothing runs; then it is unfrozen at both, of which one may not hear the other
            for each in p.nodes:
                yield order(each, Action.FREEZE_STOP, 0.0)
            late = 2 * p.timeout
            apart = p.draw.pick((0.0, 0.003, 0.1 * p.timeout))
            if p.draw.chance(0.5):
                yield Fault(tenth(at + late - 0.001), "cut", ("all", other, node), p.brief())
            yield order(node, Action.UNFREEZE, late)
            if p.draw.chance(0.7):
                yield order(other, Action.UNFREEZE, late + p.draw.between(0.0, apart))
        case 2:  # the other gives it up
            yield order(node, Action.UNFREEZE, 0.0)
            yield order(other, p.draw.pick((Action.STOP, Action.FREEZE_STOP, Action.SWITCH)), 0.1)
        case 3:  # the other has it, and fails
            kind = p.draw.pick(("check", "start"))
            yield Fault(at, "script", (other, service, kind, "fails"), tenth(5 * p.timeout))
            yield order(other, Action.STOP, 0.1)
            yield order(node, Action.UNFREEZE, 0.2)
            yield order(node, Action.STOP, 0.2 + p.draw.about(p.timeout))
        case _:  # the other is gone, or looks so; and this one may boot beside it
            yield Fault(at, p.draw.pick(("power-off", "pause")), (other,), p.long())
            if p.draw.chance(0.5):
                yield Fault(tenth(at + 0.1), "power-off", (node,), 0.5)
                yield order(node, p.draw.pick(_TYPED), 0.6 + p.draw.between(0.0, p.timeout))


def _contest(p: Place, at: float, service: str, node: str, other: str) -> Iterator[Fault]:
    """``node`` does not hear the other for about T, and is heard: that one sees a claim while it starts the service
    itself, or has it, or stops it."""
    yield Fault(at, "order", (other, service, Action.UNFREEZE.value))
    if p.draw.chance(0.7):  # so that it is the other that has it
        yield Fault(at, "order", (node, service, Action.STOP.value))
    cut = tenth(p.timeout * p.draw.between(0.9, 1.3))
    once = Once(other, service, p.draw.weighted(_HAS).name, tenth(p.draw.between(0.0, 0.3)))
    yield Fault(at, "cut", ("all", other, node), cut, once)
