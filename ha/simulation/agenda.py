"""What is to happen, in the order of true time; what falls together, in the order in which it was planned."""

import heapq
from collections.abc import Callable

Deed = Callable[[], None]


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
        """Everything up to and including ``until``."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, deed = pop(heap)
            deed()
        self.now = until
