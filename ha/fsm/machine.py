"""Executes the transition table with the ``transitions`` library: facts in, the row that applies out.

It keeps no state of its own and knows nothing of services, peers or records.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from transitions import EventData, Machine

from ha.fsm.states import State
from ha.fsm.table import STATES, TABLE, Guard, Row, Trigger


@dataclass(frozen=True, slots=True)
class Facts:
    """What guards look at, established beforehand."""

    clear: bool = False
    controller_up: bool = False
    busy: bool = False
    override: bool = False
    freeze: bool = False
    target_ready: bool = False
    freeze_secondary: bool = False
    held_elsewhere: bool = False


_HOLDS: dict[Guard, Callable[[Facts], bool]] = {
    Guard.CLEAR: lambda f: f.clear,
    Guard.CONTROLLER_UP: lambda f: f.controller_up and not f.override,
    Guard.BUSY: lambda f: f.busy and not f.override,
    Guard.OVERRIDE: lambda f: f.override and not f.clear,
    Guard.FREEZE: lambda f: f.freeze,
    Guard.TARGET_READY: lambda f: f.target_ready,
    Guard.HELD_ELSEWHERE: lambda f: f.held_elsewhere,
    Guard.FREEZE_SECONDARY: lambda f: f.freeze_secondary,
}

NO_FACTS = Facts()


class _Model:
    """What ``transitions`` moves: one reusable carrier, set to the state before each question."""

    state: State

    def __init__(self) -> None:
        self.facts = NO_FACTS
        self.row: Row | None = None


def _condition(guard: Guard) -> Callable[[EventData], bool]:
    holds = _HOLDS[guard]

    def check(_data: EventData) -> bool:
        return holds(_MODEL.facts)

    return check


def _remember(row: Row) -> Callable[[EventData], None]:
    def remember(_data: EventData) -> None:
        _MODEL.row = row

    return remember


def _transition(row: Row) -> dict[str, object]:
    """A refused row is an internal transition (dest None): executed, and nothing changes."""
    return {
        "trigger": row.trigger.name,
        "source": row.state,
        "dest": row.dest,
        "conditions": [_condition(row.guard)] if row.guard else [],
        "before": [_remember(row)],
    }


_MODEL = _Model()
_MACHINE = Machine(
    model=_MODEL,
    states=list(STATES),
    transitions=[_transition(row) for row in TABLE],
    initial=State.STOPPED,
    auto_transitions=False,
    send_event=True,
)
_EVENTS = {trigger: _MACHINE.events[trigger.name] for trigger in Trigger}


@lru_cache(maxsize=8192)  # a pure function: a thousand services in the same plight ask the same question
def decide(state: State, trigger: Trigger, facts: Facts = NO_FACTS) -> Row:
    """The row of the table that applies. Raises AssertionError where a cell has none (the tests forbid it)."""
    _MODEL.facts, _MODEL.row = facts, None
    _MACHINE.set_state(state, _MODEL)
    _EVENTS[trigger].trigger(_MODEL)
    row = _MODEL.row
    assert row is not None, f"no row for {trigger} in {state}"
    assert _MODEL.state is (state if row.dest is None else row.dest)
    return row
