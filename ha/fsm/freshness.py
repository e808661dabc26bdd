"""What a node remembers of the messages of others over the death of its nmond: an old one that comes again is known.

Within a life of a node, its numbers grow: whoever has heard a later message knows an earlier one. A receiver that has
just started has heard none. So the last one that was heard of each node is part of the record, and nothing that is
older changes anything again, whoever sends it. What was sent while nobody was listening cannot be known that way: it
may say that a node holds a service, and then it counts; that it does not, never, before it answers our present life
(``ha.fsm.evidence``).

This module knows no time and no service.
"""

from dataclasses import dataclass

from ha.fsm.message import MAX_COUNTER, Heartbeat, Incarnation

BELIEVED_COUNTER = MAX_COUNTER - 2**20
"""No node ever counts its starts that far: whoever says so forges, and the rest must do for all starts to come."""


@dataclass(frozen=True, slots=True)
class LastHeard:
    """The newest message of a node when the record was written."""

    node: str
    incarnation: Incarnation
    seq: int


def older(message: Heartbeat, last: LastHeard) -> bool:
    """It was sent before ``last``. The last one itself may come again: it stands in its sender's slot."""
    if message.incarnation == last.incarnation:
        return message.seq < last.seq
    return message.incarnation.counter < last.incarnation.counter


def last_heard(node: str, newest: Heartbeat | None, before: LastHeard | None) -> LastHeard | None:
    """What is to be remembered of ``node``; nothing of one whose number nobody could go above."""
    if newest is None or newest.incarnation.counter > BELIEVED_COUNTER:
        return before
    return LastHeard(node, newest.incarnation, newest.seq)
