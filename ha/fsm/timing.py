"""All times of the lease, derived from the one timeout (docs/safety.md has the proof and the timeline).

T is how long a node must be silent until another may take its services. A node that cannot renew its lease must have
ended what it runs before that, so everything that ending takes is a share of T. It knows nothing of nodes or paths.
"""

from dataclasses import dataclass
from typing import Final

LEASE: Final = 0.5
"""Share of T: a node may run a service so long after the sending of its last renewed message."""
LATENESS: Final = 0.05
"""Share of T: so late the decision loop, or the guardian, may notice that the lease has lapsed."""
EMERGENCY: Final = 0.3
"""Share of T: so long an emergency stop may take. At its end whatever is left ends with the machine."""
FENCE: Final = 0.1
"""Share of T: so long the end of the machine may take once it was asked for."""
DRIFT: Final = 0.002
"""Two monotonic clocks count the same second differently by this share at the most. The kernel slews a clock by up to
0.0005 (adjtimex), a crystal is off by 0.0001."""
SHORTEST_WATCHDOG_S: Final = 1
"""A kernel watchdog counts whole seconds."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What follows from ``timeout`` (T), in seconds after the sending of the last message that renewed the lease."""

    timeout: float

    @property
    def lease(self) -> float:
        """L: from then on the node has no standing, and begins the emergency stop."""
        return LEASE * self.timeout

    @property
    def hard(self) -> float:
        """The hard deadline: the emergency stop is over; what is left ends with the machine."""
        return (LEASE + LATENESS + EMERGENCY) * self.timeout

    @property
    def margin(self) -> float:
        """Seconds from the end of the lease to the hard deadline."""
        return (LATENESS + EMERGENCY) * self.timeout

    @property
    def ended(self) -> float:
        """Nothing runs here any more, at the latest, by this node's clock."""
        return (LEASE + LATENESS + EMERGENCY + FENCE) * self.timeout

    @property
    def emergency(self) -> float:
        """Seconds that an emergency stop has."""
        return EMERGENCY * self.timeout

    @property
    def watchdog(self) -> int:
        """Seconds to which a kernel watchdog is set, fed until L at the latest. 0: T is too short for one."""
        seconds = int(self.ended - self.lease)
        return seconds if seconds >= SHORTEST_WATCHDOG_S else 0

    @property
    def slack(self) -> float:
        """What is left before another node may start, by the two worst clocks. Negative: the rule does not hold."""
        return self.timeout * (1 - DRIFT) - self.ended * (1 + DRIFT)
