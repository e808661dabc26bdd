"""A process that does one thing after another: while it sleeps, or waits for a script, nothing else goes on in it.

It is a generator that yields seconds to sleep (by the clock of its machine), or a script whose exit code it is sent. It
knows nothing of what it is for.
"""

from collections.abc import Callable, Generator

from ha.fsm.events import Ended, RunScript
from ha.simulation.agenda import Deed
from ha.simulation.machine import Machine

Body = Generator[float | RunScript, int, None]
TURN_S = 0.0005
"""Mean time from the moment at which a process could go on until it does: the scheduler's, on an idle machine."""
AWAKENING_S = 0.02
"""All processes of a machine that was halted can go on at once: they do, within this, in an order nobody can say."""
_EARLY_S = 1e-6
"""A sleep that ends a rounding error early has ended."""


class Process:
    """``wake(deed)``: does it once this process gets the CPU; for one that is stopped though its machine goes on.
    ``delay``: seconds until it is launched."""

    def __init__(
        self, machine: Machine, body: Body, wake: Callable[[Deed], None] | None = None, delay: float = 0.0
    ) -> None:
        self._machine = machine
        self._body = body
        self._wake = wake
        self._alive = True
        self._begun = False
        self._code = 0
        machine.later(delay + machine.draw.about(TURN_S), self._go_on)

    def end(self) -> None:
        """kill -9. A script that it runs goes on."""
        self._alive = False

    def _go_on(self) -> None:
        if self._wake is None:
            self._step()
        else:
            self._wake(self._step)

    def _step(self) -> None:
        if not self._alive:
            return
        try:
            wish = self._body.send(self._code) if self._begun else next(self._body)
        except StopIteration:
            self._alive = False
            return
        self._begun, self._code = True, 0
        if isinstance(wish, RunScript):
            self._machine.run(wish, self._ended)
        else:
            self._sleep(self._machine.now() + wish)

    def _sleep(self, until: float) -> None:
        left = until - self._machine.now()
        if left > _EARLY_S:
            self._machine.later(left / self._machine.clock.rate, lambda: self._sleep(until))
        else:
            awaken(self._machine, self._go_on)

    def _ended(self, how: Ended, code: int) -> None:
        self._code = code if how is Ended.EXITED else 128 + code
        awaken(self._machine, self._go_on)


def awaken(machine: Machine, deed: Deed) -> None:
    """``deed`` of a process that could go on from now."""
    draw = machine.draw
    halted = machine.disturbed == machine.agenda.now
    machine.later(draw.between(0.0, AWAKENING_S) if halted else draw.about(TURN_S), deed)
