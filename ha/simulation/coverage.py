"""What a history reached: cells of (own state, what the peer is believed to be, trigger).

The engine's own decisions are watched where all of them pass, at the question to the transition table. That a cell
was reached says nothing about whether what came of it was right: that is the checkers' matter, and this module must
not know them, nor where the events come from.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from ha.fsm.engine import Engine
from ha.fsm.states import State
from ha.fsm.table import STATES, Row, Trigger

_STRENGTH: Final = {
    state: place
    for place, state in enumerate(
        (
            State.STARTED,
            State.FROZEN_START,
            State.STARTING,
            State.STOPPING,
            State.STOP_FAILED,
            State.START_READY,
            State.START_FAILED,
            State.STOPPED,
            State.FROZEN_STOP,
            State.FORCE_STOP,
            State.UNKNOWN,
        )
    )
}
"""From the state that forbids most to the one that says nothing: what several peers amount to is the first of them."""


class Cell(NamedTuple):
    """One situation in which the table was asked."""

    own: State
    peer: State
    """The strongest of the other nodes' states as last heard; UNKNOWN where none is heard."""
    trigger: Trigger

    def __str__(self) -> str:
        return f"{self.own.name} × {self.peer.name} × {self.trigger.value}"


_TRIGGERS: Final = {trigger: place for place, trigger in enumerate(Trigger)}


def _place(cell: Cell) -> tuple[int, int, int]:
    return (STATES.index(cell.own), _STRENGTH[cell.peer], _TRIGGERS[cell.trigger])


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """Each once, in the order of the table: the same on every run, whatever held them."""
    return sorted(dict.fromkeys(cells), key=_place)


def parse(text: str) -> Cell:
    """The opposite of ``str(cell)``. Raises ValueError."""
    parts = text.split(" × ")
    if len(parts) != 3:
        raise ValueError(f"not a cell: {text!r}")
    try:
        return Cell(State[parts[0]], State[parts[1]], Trigger(parts[2]))
    except KeyError as error:
        raise ValueError(f"not a cell: {text!r}") from error


class WatchedEngine(Engine):
    """The production engine, with one ear at the table."""

    cells: Counter[Cell]
    """Counted there. Whoever makes the engine sets it before the start; several may share one."""

    def _trigger(self, name: str, trigger: Trigger, now: float, *rest: Any, **more: Any) -> Row:
        service = self.services[name]
        peer = State.UNKNOWN
        for each in self._others(service):
            entry = each.entries.get(service.id) if each.living else None
            if entry is not None and _STRENGTH[entry.state] < _STRENGTH[peer]:
                peer = entry.state
        self.cells[Cell(service.state, peer, trigger)] += 1
        return super()._trigger(name, trigger, now, *rest, **more)
