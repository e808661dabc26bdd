"""Who goes first when several nodes may start a service, and who withdraws when two claim at once (rule 2).

A node that was just told to stop ranks last, until another has run it since; then the node where it ran last ranks
first; then the configured order. Ranks are tuples: the smaller one ranks higher. Both sides of a collision compare the
same two tuples, because each is made of what the claim's message carries.
"""

from ha.fsm.message import ServiceEntry

Rank = tuple[bool, bool, int]


def claim_rank(entry: ServiceEntry, order: int) -> Rank:
    """Of a claim. ``order``: the node's place in the service's list, 0 is the primary."""
    return (entry.demoted, not entry.last_ran, order)


def outranks(mine: ServiceEntry, my_order: int, other: ServiceEntry, other_order: int) -> bool:
    """Whether a STOPPED ``other`` would be the better node to start it: it ran there last, or comes first.

    Where both were told to stop the later stop counts: between the two the service ran on the other node, which the
    first has not noticed yet.
    """
    later = mine.generation - other.generation if mine.demoted and other.demoted else 0
    sent_away = other.demoted and later <= 0
    am_sent_away = mine.demoted and later >= 0
    return (sent_away, -other.generation, other_order) < (am_sent_away, -mine.generation, my_order)
