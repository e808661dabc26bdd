"""Who goes first when several nodes may start a service, and who withdraws when two claim at once (rule 2).

A node that was just told to stop ranks last; then the node where it ran last ranks first; then the configured order.
Ranks are tuples: the smaller one ranks higher. Both sides of a collision compare the same two tuples, because each
is made of what the claim's message carries.
"""

from ha.fsm.message import ServiceEntry

Rank = tuple[bool, bool, int]


def claim_rank(entry: ServiceEntry, order: int) -> Rank:
    """Of a claim. ``order``: the node's place in the service's list, 0 is the primary."""
    return (entry.demoted, not entry.last_ran, order)


def outranks(mine: ServiceEntry, my_order: int, other: ServiceEntry, other_order: int) -> bool:
    """Whether a STOPPED ``other`` would be the better node to start it: it ran there last, or comes first."""
    return (other.demoted, -other.generation, other_order) < (mine.demoted, -mine.generation, my_order)
