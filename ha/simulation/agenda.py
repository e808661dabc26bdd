"""What is to happen, in the order of true time; what falls together, in the order in which it was planned."""

import heapq
from collections.abc import Callable

Deed = Callable[[], None]
_INSTANT_S = 0.001
_AT_ONCE = 50_000


class StandstillError(RuntimeError):
    """Something happens again and again, and no time passes."""


class Agenda:
    """The one queue of a history. Times are true seconds since its beginning."""

    __slots__ = ("_count", "_heap", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Deed]] = []
        self._count = 0

    def at(self, when: float, deed: Deed) -> None:
        """``deed`` happens then, or now where that has passed."""
        self._count += 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, self._count, deed))

    def after(self, seconds: float, deed: Deed) -> None:
        self.at(self.now + seconds, deed)

    def run(self, until: float) -> None:
        """Everything up to and including ``until``. Raises StandstillError where time does not go on."""
        heap, pop = self._heap, heapq.heappop
        since, last = self._count, self.now
        while heap and heap[0][0] <= until:
            self.now, _, deed = pop(heap)
            if self.now > last + _INSTANT_S:
                since, last = self._count, self.now
            elif self._count - since > _AT_ONCE:
                raise StandstillError(f"{_AT_ONCE} things are to happen within {_INSTANT_S * 1000:g} ms, and more come")
            deed()
        self.now = until
