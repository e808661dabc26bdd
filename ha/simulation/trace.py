"""What happened in a history, in order: for the story, the report and the comparison of two runs.

It knows nothing of what is right or wrong.
"""

from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from struct import Struct

_CHUNK = 1 << 16
"""Bytes that are hashed at once."""


class Kind(Enum):
    """What an entry tells of."""

    FAULT = "fault"
    HEAL = "heal"
    NODE = "node"
    """A machine or its nmond comes or goes."""
    COMMAND = "command"
    REPLY = "reply"
    STATE = "state"
    """A transition, with ``source`` and ``dest``."""
    REFUSED = "refused"
    PEER = "peer"
    PATH = "path"
    ALERT = "alert"
    SCRIPT = "script"
    UP = "up"
    """A service is physically up on a node, from here on."""
    DOWN = "down"
    MESSAGE = "message"
    """One that arrived: ``source`` sent it at ``since`` to ``dest``. Kept only where asked for."""
    DUAL = "dual"
    """Physically up on two nodes where nothing could have told them: protection "none" has no arbiter."""
    VIOLATION = "violation"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. Times are true seconds since the beginning of the history."""

    at: float
    kind: Kind
    node: str
    """Where; empty: in the world."""
    service: str
    text: str
    source: str = ""
    dest: str = ""
    evidence: tuple[str, ...] = ()
    since: float = 0.0

    @property
    def line(self) -> str:
        """As the trace has it: all of it, one line."""
        moved = f" {self.source}>{self.dest}" if self.source or self.dest else ""
        return f"{self.at:.6f} {self.kind.value} {self.node} {self.service}{moved} {self.text} {self.evidence}"


class Trace:
    """Collects entries. ``messages``: keep those of the messages, too (many)."""

    _EVENT = Struct("!dIIq")

    def __init__(self, messages: bool = False, keep: bool = True) -> None:
        self.entries: list[Entry] = []
        self.messages = messages
        self._keep = keep
        self._hash = blake2b(digest_size=16)
        self._unhashed = bytearray()
        self.count = 0

    def add(self, entry: Entry) -> None:
        self.count += 1
        self._unhashed += entry.line.encode()
        if self._keep or entry.kind in (Kind.VIOLATION, Kind.DUAL):
            self.entries.append(entry)

    def event(self, at: float, what: int, where: int, number: int) -> None:
        """Something too small to be told, which counts for the digest: a message that was sent or arrived."""
        self._unhashed += self._EVENT.pack(at, what, where, number)
        if len(self._unhashed) >= _CHUNK:
            self._take_in()

    def _take_in(self) -> None:
        self._hash.update(self._unhashed)
        self._unhashed.clear()

    @property
    def digest(self) -> str:
        """Of everything that happened: equal where two runs were equal, byte for byte."""
        self._take_in()
        return self._hash.hexdigest()
