"""What ends a machine on which nmond has not said in time that all is well: a watchdog, or a guardian process.

Simulated apart from nmond, as it lives apart from it: it goes on while nmond is stopped, hangs or is dead. The hardware
watchdog goes on while all processes or the whole machine are paused, too; a guardian is a process like any other. With
the power, or with its virtual machine, either of them stops. It knows no leases: only a time, and what to do then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from ha.fsm.lease import FOREVER, timing_of
from ha.fsm.states import Promise
from ha.fsm.timing import FENCE
from ha.node.config import Configuration
from ha.simulation.agenda import Agenda
from ha.simulation.clock import Clock


class GuardKind(Enum):
    """Who watches."""

    NONE = "none"
    GUARDIAN = "guardian"
    WATCHDOG = "watchdog"


@dataclass(frozen=True, slots=True)
class Guarding:
    """How a machine is guarded, as its configuration says."""

    kind: GuardKind = GuardKind.NONE
    self_fence: Promise = Promise.STOP
    timeouts: tuple[float, ...] = (0.0,)
    """T of each lease that is kept there."""

    @property
    def promise(self) -> Promise:
        """What nmond may say of it."""
        if self.kind is GuardKind.NONE or self.self_fence <= Promise.STOP:
            return Promise.STOP
        if self.kind is GuardKind.WATCHDOG:
            return Promise.WATCHDOG
        return self.self_fence

    @property
    def ends(self) -> bool:
        """It ends the machine."""
        return self.promise > Promise.STOP


def guarding(configuration: Configuration, node: str) -> Guarding:
    """Of ``node``. Without a watchdog device there is the guardian."""
    cluster, options = configuration.cluster, configuration.options.protecting
    leased = [s for s in cluster.services.values() if s.leased and node in s.nodes]
    if not leased:
        return Guarding()
    kind = GuardKind.WATCHDOG if options.watchdog else GuardKind.GUARDIAN
    timeouts = tuple(sorted({timing_of(cluster, service).timeout for service in leased}))
    return Guarding(kind, cluster.self_fence, timeouts)


class Guard:
    """Of one machine. Times are by its clock, unless said otherwise."""

    def __init__(self, agenda: Agenda, clock: Clock, fires: Callable[[], None], holds: Callable[[], bool]) -> None:
        """``fires``: the time has come. ``holds``: whether it is stopped itself just now."""
        self._agenda = agenda
        self._clock = clock
        self._fires = fires
        self._holds = holds
        self._armed = 0
        self.how = Guarding()
        self._shortest = float("inf")
        self.until = FOREVER
        """What nmond told it last. A file in /run holds it: it outlives nmond, and no boot."""
        self.broken = 0
        """How many faults keep it from doing its part."""

    @property
    def waits(self) -> bool:
        """There is something to be ended: it stays, whoever needs one from now on."""
        return self.until < FOREVER

    def use(self, how: Guarding) -> None:
        """It is there, and ready."""
        self.how = how
        # How long a machine takes to end is its own matter: no longer T in a new configuration makes it slower.
        self._shortest = min(self._shortest, *how.timeouts)
        self._arm()

    def tell(self, until: float) -> None:
        """Unless told anew before ``until``, the machine is to be ended."""
        self.until = until
        self._arm()

    def off(self) -> None:
        """The power failed."""
        self.until, self.how = FOREVER, Guarding()
        self._armed += 1

    def awake(self) -> None:
        """It goes on."""
        self._arm()

    @property
    def latency(self) -> float:
        """Seconds that the end of the machine takes at most, once it was asked for."""
        return FENCE * self._shortest

    def _arm(self) -> None:
        self._armed += 1
        if self.until == FOREVER or not self.how.ends or self._clock.standing:
            return
        number, due = self._armed, self._clock.when(self.until)
        self._agenda.at(due, lambda: self._look(number))

    def _look(self, number: int) -> None:
        if number == self._armed and not self._holds() and not self.broken:
            self._fires()
