"""What a node remembers of the messages of others over the death of its nmond: an old one that comes again is known.

Within a life of a node, its numbers grow: whoever has heard a later message knows an earlier one. A receiver that has
just started has heard none. So the last one that was heard of each node is part of the record, and nothing that is
older changes anything again, whoever sends it. What was sent while nobody was listening cannot be known that way: it
may say that a node holds a service, and then it counts; that it does not, never, before it answers our present life
(``ha.fsm.evidence``).

This module knows no clock and no service.
"""

from collections import deque
from dataclasses import dataclass, field

from ha.fsm.message import MAX_COUNTER, Heartbeat, Incarnation

BELIEVED_COUNTER = MAX_COUNTER - 2**20
"""No node ever counts its starts that far: whoever says so forges, and the rest must do for all starts to come."""

MARKS_A_TIMEOUT = 8
MARKS = 64
"""Of eight timeouts: what is older is older still."""


@dataclass(frozen=True, slots=True)
class LastHeard:
    """The newest message of a node when the record was written."""

    node: str
    incarnation: Incarnation
    seq: int
    timeout_ms: int = 0
    """T by which it counted then: its lease may last as long. 0: not known."""
    frozen: tuple[str, ...] = ()
    """Services that it ran frozen then (FROZEN_START). No lease ends those, and so no silence frees them; and the
    message that said so may come no more: its slot may hold an older one, which is refused."""
    unpromised: tuple[str, ...] = ()
    """Services that may have run there then, where it promised nothing that would end them."""


def older(message: Heartbeat, last: LastHeard) -> bool:
    """It was sent before ``last``. The last one itself may come again: it stands in its sender's slot."""
    if message.incarnation == last.incarnation:
        return message.seq < last.seq
    return message.incarnation.counter < last.incarnation.counter


@dataclass(slots=True)
class Firsts:
    """When messages of one life came first, as far as it matters: a few of them, with times between.

    Another copy of a message shows that its path works only while the message is fresh.
    """

    _marks: deque[tuple[int, float]] = field(default_factory=deque)
    """Sequence number and arrival, ascending."""

    def add(self, seq: int, arrival: float, timeout: float) -> None:
        """``timeout``: of the path with the shortest one; an eighth of it is as near as times are kept."""
        if not self._marks or arrival >= self._marks[-1][1] + timeout / MARKS_A_TIMEOUT:
            self._marks.append((seq, arrival))
            if len(self._marks) > MARKS:
                self._marks.popleft()

    def heard(self, seq: int) -> float:
        """When ``seq`` had come at the latest; the end of all times where that is not known."""
        for marked, arrival in self._marks:
            if marked >= seq:
                return arrival
        return float("inf")

    def clear(self) -> None:
        """Another life: its numbers begin anew."""
        self._marks.clear()
