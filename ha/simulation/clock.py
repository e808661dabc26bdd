"""The clocks of a machine: one that nothing sets (CLOCK_BOOTTIME), which may run a little fast or slow and stand still
with the machine, and the wall clock, which people set.

True time is the world's alone: no node ever sees it.
"""


class Clock:
    """Piecewise linear. ``rate``: seconds that it counts in a true second."""

    __slots__ = ("_base", "_since", "_stuck", "rate", "standing", "step")

    def __init__(self, start: float, rate: float = 1.0) -> None:
        """``start``: what it shows at true time 0."""
        self._since = 0.0
        self._base = start
        self.rate = rate
        self.standing = False
        self.step = 0.0
        """How far the wall clock is from the truth."""
        self._stuck: float | None = None

    def read(self, true: float) -> float:
        return self._base if self.standing else self._base + (true - self._since) * self.rate

    def when(self, shown: float) -> float:
        """The true time at which it will show ``shown``; meaningless while it stands."""
        return self._since + (shown - self._base) / self.rate

    def stand(self, true: float) -> None:
        """It stands still until ``go``: the machine was paused with its clock."""
        self._base, self._since, self.standing = self.read(true), true, True

    def go(self, true: float) -> None:
        self._since, self.standing = true, False

    def reset(self, true: float, shown: float = 0.0) -> None:
        """A boot: it begins anew."""
        self._base, self._since, self.standing = shown, true, False

    def wall(self, true: float) -> float:
        """Seconds of the epoch that the machine believes in."""
        return 1_700_000_000.0 + (true if self._stuck is None else self._stuck) + self.step

    def stop_wall(self, true: float) -> None:
        """The wall clock stands still until ``go_wall``."""
        self._stuck = true

    def go_wall(self) -> None:
        """It is right again."""
        self._stuck = None
