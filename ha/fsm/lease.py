"""The lease: until when this node may run what it runs (docs/safety.md; design, "Who may run", rules 3 and 6).

A message that we sent renews it, once the message is confirmed in our slot of a shared disk and a look at the slots of
the others, begun after that, is done; or once every other node has acknowledged it. It then runs until L after the
*sending* of that message. Whoever waits for our silence counts T, which is longer, from an arrival that is later.

This module keeps the books of one lease: what was sent, confirmed and looked at. It decides nothing.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ha.fsm.config import ClusterConfig, ServiceConfig
from ha.fsm.timing import Timing

NEVER = float("-inf")
FOREVER = float("inf")


@dataclass(slots=True)
class Lease:
    """The standing of this node for the services that it shares with the same other nodes, under one protection."""

    others: tuple[str, ...]
    timing: Timing
    arbiter: str = ""
    """The service that an arbiter decides about; empty: the lease is kept on the disk."""
    until: float = NEVER
    """Monotonic seconds. It never falls."""
    standing: bool = False
    """As of the last look at the time: ``until`` was still to come. A lapse is the moment when this ends."""
    asked: float = NEVER
    """When the last request was sent to which the arbiter said that the service is ours."""
    since: float = NEVER
    """T became another one then: what was sent before tells others of the old T, and renews nothing."""
    margin: float | None = None
    """Seconds from ``until`` to the hard deadline, where another T counts for that yet; None: as ``timing`` has it."""

    @property
    def hard(self) -> float:
        """What is left ends with the machine then, unless the lease is renewed."""
        return self.ended(self.until)

    def ended(self, until: float) -> float:
        """The same, where it ended at ``until``."""
        return until + (self.timing.margin if self.margin is None else self.margin)

    def renew(self, sent: float) -> None:
        """A message, or a request, that was sent at ``sent`` is known."""
        until = sent + self.timing.lease
        if sent >= self.since and until > self.until:
            self.until, self.margin = until, None


@dataclass(slots=True)
class Outgoing:
    """Our own messages of the last L: when they were sent, and when which disk confirmed them."""

    first: int = 1
    """Sequence number of the oldest that is kept."""
    sent: deque[float] = field(default_factory=deque)
    confirmed: dict[int, deque[tuple[int, float]]] = field(default_factory=dict)
    """By our own line: (sequence number, when it was known to be on the disk), ascending."""

    def clear(self) -> None:
        """Another incarnation: its numbers begin anew."""
        self.first = 1
        self.sent.clear()
        self.confirmed.clear()

    def add(self, seq: int, at: float, keep: float) -> None:
        """Message ``seq`` is sent at ``at``; those from before ``keep`` can renew nothing any more."""
        if not self.sent or seq != self.first + len(self.sent):
            self.clear()
            self.first = seq
        self.sent.append(at)
        while self.sent[0] < keep and len(self.sent) > 1:
            self.sent.popleft()
            self.first += 1
        for told in self.confirmed.values():
            while len(told) > 1 and told[0][0] < self.first:
                told.popleft()

    def sent_at(self, seq: int) -> float:
        """When message ``seq`` was sent; ``NEVER`` where it is too old to matter, or not sent."""
        place = seq - self.first
        return self.sent[place] if 0 <= place < len(self.sent) else NEVER

    def confirm(self, index: int, seq: int, at: float) -> bool:
        """Line ``index`` has message ``seq`` on its disk. False where that is not news, or cannot be."""
        told = self.confirmed.setdefault(index, deque())
        if seq >= self.first + len(self.sent) or (told and seq <= told[-1][0]):
            return False
        told.append((seq, at))
        return True

    def newest(self, index: int) -> int:
        """The newest message that line ``index`` has confirmed; 0: none that still matters."""
        told = self.confirmed.get(index)
        return told[-1][0] if told else 0

    def known_since(self, seq: int, lines: Iterable[int]) -> float:
        """Since when message ``seq`` or a later one is on one of these disks; ``FOREVER``: it is on none."""
        known = FOREVER
        for index in lines:
            for number, at in self.confirmed.get(index, ()):
                if number >= seq:
                    known = min(known, at)
                    break
        return known

    def renewed_by(self, looked: float, lines: Iterable[int]) -> float:
        """When the newest message was sent that was on one of these disks before the look that began at ``looked``."""
        newest = 0
        for index in lines:
            for number, at in reversed(self.confirmed.get(index, ())):
                if at <= looked:
                    newest = max(newest, number)
                    break
        return self.sent_at(newest) if newest else NEVER


def timing_of(config: ClusterConfig, service: ServiceConfig) -> Timing:
    """By the smallest T that any node of the service uses."""
    return Timing(min((config.timeout_of(n) for n in service.nodes), default=10.0))
