"""Datagram paths: ``net`` and ``unicast`` lines of ``monitor``, with all that a network does to a datagram.

It carries bytes. It knows nothing of what stands in them, nor of who listens.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ha.fsm.config import PathId
from ha.simulation.agenda import Agenda
from ha.simulation.draw import Draw

FRAGMENT = 1_480
"""Bytes of a datagram that one frame carries; a longer one comes in several, and is lost with any of them."""
KEPT = 64
"""Datagrams of each path that a stranger has recorded and may send again."""

Deliver = Callable[[str, PathId, bytes], None]
"""``deliver(receiver, path, data)``."""


@dataclass(slots=True)
class Link:
    """One direction of one path: from its owner to one listener."""

    path: PathId
    receiver: str
    cuts: int = 0
    """How many faults cut it just now."""
    loss: float = 0.0
    delay: float = 0.0
    """A datagram takes up to so many seconds more."""
    duplicate: float = 0.0
    truncate: float = 0.0


class Network:
    """All datagram paths of the world."""

    def __init__(self, agenda: Agenda, draw: Draw, deliver: Deliver, *, latency: float, loss: float) -> None:
        """``latency``: mean seconds on the wire; ``loss``: share of datagrams lost without any fault."""
        self._agenda = agenda
        self._draw = draw
        self._deliver = deliver
        self._latency = latency
        self._loss = loss
        self.links: dict[PathId, list[Link]] = {}
        self._seen: dict[PathId, deque[bytes]] = {}
        self.lost = 0

    def add(self, path: PathId, receivers: list[str]) -> None:
        self.links[path] = [Link(path, receiver) for receiver in receivers]
        self._seen[path] = deque(maxlen=KEPT)

    def send(self, path: PathId, data: bytes) -> None:
        self._seen[path].append(data)
        for link in self.links[path]:
            self._carry(link, data)

    def replay(self, path: PathId, receiver: str, count: int) -> None:
        """A stranger sends old datagrams of the path again, the oldest first: nothing cuts a stranger off."""
        for data in list(self._seen[path])[:count]:
            self._arrive(path, receiver, data, self._draw.between(0, 0.01))

    def inject(self, receiver: str, data: bytes) -> None:
        """A stranger sends this to each port that ``receiver`` listens on."""
        for path, links in self.links.items():
            if any(link.receiver == receiver for link in links):
                self._arrive(path, receiver, data, self._latency)

    def _carry(self, link: Link, data: bytes) -> None:
        draw = self._draw
        if link.cuts:
            self.lost += 1
            return
        copies = 2 if link.duplicate and draw.chance(link.duplicate) else 1
        for _ in range(copies):
            loss = link.loss or self._loss
            if loss and len(data) > FRAGMENT:
                loss = 1.0 - (1.0 - loss) ** -(-len(data) // FRAGMENT)
            if loss and draw.chance(loss):
                self.lost += 1
                continue
            late = draw.between(0, link.delay) if link.delay else 0.0
            whole = not (link.truncate and draw.chance(link.truncate))
            came = data if whole else data[: draw.whole(0, len(data) - 1)]
            self._arrive(link.path, link.receiver, came, self._latency * draw.between(0.5, 2.0) + late)

    def _arrive(self, path: PathId, receiver: str, data: bytes, after: float) -> None:
        self._agenda.after(after, lambda: self._deliver(receiver, path, data))
