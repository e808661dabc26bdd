"""What a listener has forwarded of each node: a message that is old, or comes again, goes no further.

A stranger cannot sign, but can send again what was signed. Such a flood must cost the listener, not nmond. What is
really news is for nmond to judge, which also knows what other paths brought, and what was heard before it started.
"""

from ha.fsm.message import Incarnation

MAX_NODES = 256
"""Nodes that are told apart. Of more than a cluster has, none is signed."""
MAX_LIVES = 4
"""Lives with the same number, as of two nodes of one name, that are told apart."""
OLD = "old or repeated"


class Order:
    """The newest of what was forwarded."""

    def __init__(self) -> None:
        self._newest: dict[int, dict[Incarnation, int]] = {}
        """By node, by the lives with the highest number, the highest sequence number."""

    def is_news(self, node: int, life: Incarnation, seq: int) -> bool:
        """Whether it is newer than everything that was taken."""
        lives = self._newest.get(node)
        if lives is None:
            return len(self._newest) < MAX_NODES
        known = next(iter(lives)).counter
        if life.counter != known:
            return life.counter > known
        return seq > lives[life] if life in lives else len(lives) < MAX_LIVES

    def take(self, node: int, life: Incarnation, seq: int) -> None:
        """nmond has got a message that was news."""
        lives = self._newest.setdefault(node, {})
        if any(each.counter != life.counter for each in lives):
            lives.clear()
        lives[life] = seq
