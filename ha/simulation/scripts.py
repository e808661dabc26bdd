"""Scripts, and what they do to the world: a service is physically up on a machine, or it is not.

A service counts as up from the first act of its start script to the last act of its stop script: no checker is easier
on it than its data would be. Scripts are processes of their machine: they outlive nmond, and die with the power.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ha.fsm.events import Ended
from ha.fsm.states import ScriptKind
from ha.simulation.draw import Draw

UP, DOWN, UNSURE = 0, 3, 1
"""Exit codes of a status script (docs/controller.md)."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long scripts take, in seconds: at least, and how much more on average."""

    start: tuple[float, float] = (0.2, 1.0)
    stop: tuple[float, float] = (0.1, 0.5)
    check: tuple[float, float] = (0.005, 0.01)
    status: tuple[float, float] = (0.01, 0.03)

    def of(self, kind: ScriptKind) -> tuple[float, float]:
        return {
            ScriptKind.START: self.start,
            ScriptKind.STOP: self.stop,
            ScriptKind.CHECK: self.check,
            ScriptKind.STATUS: self.status,
        }[kind]


@dataclass(slots=True)
class Script:
    """A script that runs, as the machine sees it."""

    service: str
    kind: ScriptKind
    job: int
    number: int
    """Of the process: two runs are never the same."""
    began: float
    shape: str = ""
    """How it misbehaves (``ha.simulation.plan.SHAPES``); empty: it does not."""
    code: int = 0
    ended: Callable[[Ended, int], None] | None = None
    """Whom to tell; None: its nmond is gone."""

    @property
    def dies_of_term(self) -> bool:
        return self.shape not in ("stubborn", "stuck")

    @property
    def dies_of_kill(self) -> bool:
        return self.shape != "stuck"


def duration(kind: ScriptKind, shape: str, pace: Pace, draw: Draw) -> float | None:
    """Seconds until a script ends by itself; None: it does not."""
    if shape in ("hangs", "stubborn", "stuck"):
        return None
    least, more = pace.of(kind)
    taken = least + draw.about(more)
    return taken * 20 if shape == "slow" else taken


def outcome(script: Script, up: bool) -> tuple[int, bool]:
    """Exit code, and whether the service is up afterwards."""
    failed = script.shape in ("fails", "half")
    match script.kind:
        case ScriptKind.CHECK:
            return (1 if failed else 0), up
        case ScriptKind.STATUS:
            unsure = script.shape in ("fails", "half", "unsure")
            return (UNSURE if unsure else UP if up else DOWN), up
        case ScriptKind.START:
            return (1, script.shape == "half") if failed else (0, True)
        case ScriptKind.STOP:
            return (1, up) if failed else (0, False)
