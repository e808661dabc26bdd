"""What this node has heard of another one: its newest message, and when each of its paths last brought something new.

Liveness only. Whether what a peer says allows anything is ``ha.fsm.evidence``'s matter.
Times are monotonic seconds of this node.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ha.fsm.config import PathConfig
from ha.fsm.freshness import BELIEVED_COUNTER, Firsts, LastHeard, older
from ha.fsm.message import Ack, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.states import Promise, State
from ha.fsm.table import NOT_HOLDING


class Heard(Enum):
    """What a message turned out to be."""

    NEWER = "newer than anything heard of this node"
    KNOWN = "news of this path only: another path was quicker"
    STALE = "old or repeated: it changes nothing"
    CONFLICT = "the same incarnation number with another random part"


@dataclass(slots=True)
class PeerPath:
    """One path on which the peer sends."""

    config: PathConfig
    seq: int = 0
    """Newest sequence number of the present incarnation that this path brought; 0: none."""
    last: float | None = None
    """When it did."""
    up: bool = False
    read: float = float("-inf")
    """A disk path: when the last look began that succeeded, and showed nothing that we could not understand."""
    foreign: float = float("-inf")
    """A disk path: when the last look began that showed other bytes than before, of which nothing can be accepted."""


@dataclass(slots=True)
class Peer:
    """A node as seen from here."""

    name: str
    timeout: float
    """T of that node: silent after so many seconds without anything newer."""
    since: float
    """When we began to listen: silence begins there at the earliest (rule 1)."""
    paths: list[PeerPath]
    not_before: float = float("-inf")
    """No silence, of a path or of all, is believed before this: we were not scheduled, and messages may lie unread."""
    newest: Heartbeat | None = None
    arrival: float = 0.0
    """First arrival of the newest message; later copies renew nothing (rule 1)."""
    silent: bool = False
    down: str = ""
    """Why it is known not to run: it was fenced, or an operator said so. Until it is heard."""
    down_at_seq: tuple[int, int] = (0, 0)
    """Counter of the incarnation and sequence number of its newest message then: only a later one ends it."""
    entries: dict[int, ServiceEntry] = field(default_factory=dict)
    verdicts: dict[tuple[object, ...], Any] = field(default_factory=dict)
    """``ha.fsm.evidence``'s own, on the newest message: a thousand services that lose a node get the same verdict."""
    firsts: Firsts = field(default_factory=Firsts)
    """When its messages of this incarnation came first, on any path."""
    before: LastHeard | None = None
    """What an earlier nmond of this node had heard last of it: counts until something is heard."""
    _next_silence: float | None = None
    """The last answer of ``next_silence``; None: something has changed since."""
    _acknowledged: tuple[Heartbeat, int, Incarnation, int] | None = None
    """The last answer of ``acknowledgement``, and to what."""
    _described: tuple[float, list[PeerPath], tuple[str, ...]] | None = None
    """The last answer of ``describe_paths``: a thousand services that lose a node ask the same at the same time."""

    @property
    def silent_at(self) -> float:
        """When the silence will have lasted T."""
        heard = self.since if self.newest is None else max(self.since, self.arrival)
        return max(heard + self.limit, self.not_before)

    @property
    def limit(self) -> float:
        """T as it counts now, in seconds: of a node that is still to be heard no less than the one that it had told."""
        if self.newest is not None or self.before is None:
            return self.timeout
        return max(self.timeout, self.before.timeout_ms / 1000)

    @property
    def quiet_at(self) -> float:
        """When its silence proves something: bytes that change in its slot are a sign of life, too (rule 1)."""
        heard = self.since if self.newest is None else max(self.since, self.arrival)
        return max([heard, *(path.foreign for path in self.paths)]) + self.limit

    @property
    def next_silence(self) -> float:
        """When one of its paths that are UP will be DOWN, or all of it silent, unless something comes; ``inf``: never,
        it is silent."""
        if self._next_silence is None:
            when = float("inf") if self.silent else self.silent_at
            for path in self.paths:
                if path.up:
                    when = min(when, self.down_at(path))
            self._next_silence = when
        return self._next_silence

    def reckon(self) -> None:
        """Its paths, its timeout or what is thought of its silence have become other ones."""
        self._next_silence = None

    def listen(self, until: float) -> None:
        """Believe in no silence before then."""
        self.not_before = max(self.not_before, until)
        self.reckon()

    def looked(self, devices: frozenset[str]) -> float:
        """Since when all its slots were seen: the earliest of the beginnings of the last looks.

        A look proves something only on a disk that is known to be shared: one of ``devices``, or one on which this
        incarnation of the node was read. Without a disk path nothing was seen."""
        earliest = float("inf")
        for path in self.paths:
            device = path.config.device
            if not device:
                continue
            if path.seq <= 0 and device not in devices:
                return float("-inf")
            if path.read < earliest:
                earliest = path.read
        return earliest if earliest != float("inf") else float("-inf")

    def down_at(self, path: PeerPath) -> float:
        """When a path that is UP will be DOWN."""
        assert path.last is not None, path
        return max(path.last + path.config.timeout, self.not_before)

    @property
    def living(self) -> bool:
        """Heard within T."""
        return self.newest is not None and not self.silent

    @property
    def life(self) -> Incarnation | None:
        """The newest of its incarnations that is known here. A node that begins anew must hear of it, to go above."""
        if self.newest is not None:
            return self.newest.incarnation
        return self.before.incarnation if self.before is not None else None

    def last_heard(self, names: Mapping[int, str]) -> LastHeard | None:
        """What is to be remembered of it; of one whose number nobody could go above, what was so before.

        ``names``: of the services, by their numbers in messages."""
        newest = self.newest
        if newest is None or newest.incarnation.counter > BELIEVED_COUNTER:
            return self.before
        frozen = _named(frozen_in(self.entries), names)
        open_yet = (e.id for e in self.entries.values() if e.unclean or e.state not in NOT_HOLDING)
        unpromised = _named(open_yet, names) if newest.promise is Promise.NONE else ()
        return LastHeard(self.name, newest.incarnation, newest.seq, newest.timeout_ms, frozen, unpromised)

    @property
    def left(self) -> bool:
        return self.newest is not None and self.newest.left

    def hear(self, message: Heartbeat, index: int, arrival: float) -> Heard:
        """Take a message in. ``index``: which of the peer's paths brought it."""
        if self.newest is None and self.before is not None:
            if older(message, self.before):
                return Heard.STALE
            last = self.before.incarnation
            if message.incarnation.counter == last.counter and message.incarnation != last:
                return Heard.CONFLICT
        known = self.newest.incarnation if self.newest is not None else None
        if known is not None and message.incarnation != known:
            if message.incarnation.counter < known.counter:
                return Heard.STALE
            if message.incarnation.counter == known.counter:
                return Heard.CONFLICT
            for each in self.paths:
                each.seq = 0
            self.firsts.clear()
        path = self.paths[index]
        if message.seq <= path.seq:
            return Heard.STALE
        late = self.newest is not None and known == message.incarnation and message.seq <= self.newest.seq
        if late and self.firsts.heard(message.seq) < arrival - path.config.timeout:
            return Heard.STALE  # A path that brings nothing newer is DOWN, whoever sends again what others brought.
        path.seq, path.last, path.up = message.seq, arrival, True
        self._described = self._next_silence = None
        if late:
            return Heard.KNOWN
        self.firsts.add(message.seq, arrival, min(each.config.timeout for each in self.paths))
        if self.newest is None or message.services is not self.newest.services:
            self.entries = {entry.id: entry for entry in message.services}
        self.newest, self.arrival, self.silent = message, arrival, False
        if (message.incarnation.counter, message.seq) > self.down_at_seq:
            self.down = ""
        self.verdicts.clear()
        return Heard.NEWER

    def acknowledgement(self, node_id: int, incarnation: Incarnation) -> int:
        """The newest sequence number of ours, in our present incarnation, that the peer says it saw; 0: none."""
        newest, known = self.newest, self._acknowledged
        if newest is None:
            return 0
        if known is not None and known[0] is newest and known[1] == node_id and known[2] is incarnation:
            return known[3]
        ack = self.ack_of(node_id)
        seq = 0 if ack is None or ack.incarnation != incarnation else max(ack.seqs, default=0)
        self._acknowledged = newest, node_id, incarnation, seq
        return seq

    def ack_of(self, node_id: int) -> Ack | None:
        if self.newest is None:
            return None
        for ack in self.newest.acks:
            if ack.node == node_id:
                return ack
        return None

    def describe_paths(self, now: float) -> tuple[str, ...]:
        """One sentence a path, with its age: the evidence behind "silent" and "heard"."""
        if self._described is not None and self._described[0] == now and self._described[1] is self.paths:
            return self._described[2]
        told = []
        for path in self.paths:
            name = f"{path.config.kind} {path.config.label}"
            if path.last is None:
                told.append(f"{self.name} on {name}: nothing heard yet in {now - self.since:.3f} s")
            else:
                told.append(f"{self.name} on {name}: last news {now - path.last:.3f} s ago")
        self._described = (now, self.paths, tuple(told))
        return self._described[2]


def _named(numbers: Iterable[int], names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(sorted(names[number] for number in numbers if number in names))


def frozen_in(entries: Mapping[int, ServiceEntry]) -> set[int]:
    """Numbers of the services that a node says it runs frozen."""
    return {number for number, entry in entries.items() if entry.state is State.FROZEN_START}
