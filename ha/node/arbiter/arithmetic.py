"""The times of a lease in etcd, derived from those of the node's own lease (``ha.fsm.timing``): pure functions.

The one inequality: the key must not vanish from etcd before its holder has ended. The holder counts from the *sending*
of a request that succeeded, etcd from its receipt, which is later. So it holds where TTL x (1 - drift), the shortest
that etcd can wait, is at least ``Timing.ended`` x (1 + drift), the longest that the holder can take.
"""

from math import ceil
from typing import Final

from ha.fsm.timing import DRIFT, Timing

SHORTEST_TIMEOUT_S: Final = 0.05
LONGEST_TIMEOUT_S: Final = 2.0


def ttl(timing: Timing) -> int:
    """Whole seconds, as etcd counts them; never more than T, rounded up, since ``timing.slack`` is not negative."""
    return ceil(timing.ended * (1 + DRIFT) / (1 - DRIFT))


def forgotten_after(ttl_s: int) -> float:
    """Seconds of this node's clock after which no lease of ``ttl_s`` that etcd granted before can count any more."""
    return ttl_s * (1 + DRIFT) / (1 - DRIFT)


def request_timeout(timing: Timing, period: float, endpoints: int) -> float:
    """Seconds that one attempt at one endpoint may take: all but one of them may hang, and a renewal is still done
    before L, though it begins up to a period after the last one."""
    share = (timing.lease - period) / (endpoints + 1)
    return min(LONGEST_TIMEOUT_S, max(SHORTEST_TIMEOUT_S, share))
