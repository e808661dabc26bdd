"""How long a fencing waits: pure functions.

When the network between two nodes is cut, each may want to fence the other; were both quick, both would be off. So of
any two nodes one is always the slower: the one that stands further back in the file ``nodes``, which all nodes share.
The order is total, so that among any number of nodes no two, and no circle of them, fence one another at once.
"""

from collections.abc import Sequence
from typing import Final

BACK_OFF_S: Final = (1.0, 60.0)
"""After a failure the next attempt waits for the first of these, after each further one for twice as long, up to the
second."""


def wait_by_rank(fencer: str, target: str, nodes: Sequence[str], delay: float) -> float:
    """Seconds for which ``fencer`` waits before it fences ``target``. Raises ValueError for a node not in ``nodes``."""
    return 0.0 if nodes.index(fencer) < nodes.index(target) else delay


def back_off(failures: int) -> float:
    """Seconds from the end of an attempt to the beginning of the next, after so many failures in a row."""
    if failures <= 0:
        return 0.0
    # The exponent has an end, too: a fencing may fail for months.
    return min(BACK_OFF_S[1], BACK_OFF_S[0] * 2 ** min(failures - 1, 16))
