"""How long a fencing waits.

When the network between two nodes is cut, each may want to fence the other; were both quick, both would be off. So of
any two nodes one is always the slower: the one that stands further back in the file ``nodes``, which all nodes share.
The order is total, so that among any number of nodes no two, and no circle of them, fence one another at once.
"""

from collections.abc import Sequence


def wait_by_rank(fencer: str, target: str, nodes: Sequence[str], delay: float) -> float:
    """Seconds for which ``fencer`` waits before it fences ``target``. Raises ValueError for a node not in ``nodes``."""
    return 0.0 if nodes.index(fencer) < nodes.index(target) else delay
