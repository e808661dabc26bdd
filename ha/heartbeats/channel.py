"""What nmond and a path worker say to each other over their socket pair (AF_UNIX, SOCK_SEQPACKET: one record each).

Times are CLOCK_BOOTTIME seconds. Both ends are ours, but a record that does not parse is refused all the same.
"""

import struct
from dataclasses import dataclass, field

from ha.fsm.events import SlotView

_HEAD = struct.Struct("!BdQ")
MAX_RECORD = 70_000


@dataclass(frozen=True, slots=True)
class Handed:
    """nmond to a sender: send this now, unless it has grown stale meanwhile."""

    seq: int
    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """A sender to nmond: message ``seq`` is on the wire, or confirmed written, since ``at``."""

    seq: int
    at: float


@dataclass(frozen=True, slots=True)
class Received:
    """A listener to nmond: these bytes came; their integrity has been verified, their meaning has not."""

    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Trouble:
    """Either to nmond: the path does not work at present, and why; an empty text: it works again."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A listener to nmond, at most once a second: how many datagrams or blocks it refused since, for one reason."""

    at: float
    count: int
    why: str


@dataclass(frozen=True, slots=True)
class Look:
    """nmond to the listener of a disk: read the slot now, do not wait for the next period."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The listener of a disk to nmond, after every read of the slot and after what the read brought.

    ``begun`` is the moment before the read. NEW means that a ``Received`` went before, whatever nmond makes of it.
    """

    begun: float
    view: SlotView


@dataclass(frozen=True, slots=True)
class Found:
    """The sender of a disk to nmond, whenever it has opened the line: the message that stands in its own slot.

    No bytes: there is none, or not a whole one. Its integrity has been verified, its meaning has not.
    """

    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """nmond to any worker: these keys from now on (``ha.heartbeats.keys.pack``)."""

    data: bytes = field(repr=False)


Record = Handed | Sent | Received | Trouble | Refused | Look | Looked | Found | Keys
_TAGS: dict[type, int] = {
    Handed: 1,
    Sent: 2,
    Received: 3,
    Trouble: 4,
    Refused: 5,
    Look: 6,
    Looked: 7,
    Found: 8,
    Keys: 9,
}
_VIEWS = tuple(SlotView)


def encode(record: Record) -> bytes:
    tag = _TAGS[type(record)]
    match record:
        case Handed(seq, at, data):
            return _HEAD.pack(tag, at, seq) + data
        case Sent(seq, at):
            return _HEAD.pack(tag, at, seq)
        case Received(at, data):
            return _HEAD.pack(tag, at, 0) + data
        case Trouble(at, text):
            return _HEAD.pack(tag, at, 0) + text.encode()[:1000]
        case Refused(at, count, why):
            return _HEAD.pack(tag, at, count) + why.encode()[:1000]
        case Look():
            return _HEAD.pack(tag, 0.0, 0)
        case Looked(begun, view):
            return _HEAD.pack(tag, begun, _VIEWS.index(view))
        case Found(at, data):
            return _HEAD.pack(tag, at, 0) + data
        case Keys(data):
            return _HEAD.pack(tag, 0.0, 0) + data


def decode(raw: bytes) -> Record:
    """Raises ValueError for anything that ``encode`` did not make."""
    if len(raw) < _HEAD.size:
        raise ValueError(f"record of {len(raw)} bytes")
    tag, at, number = _HEAD.unpack_from(raw)
    rest = raw[_HEAD.size :]
    if tag == 1:
        return Handed(number, at, rest)
    if tag == 2:
        return Sent(number, at)
    if tag == 3:
        return Received(at, rest)
    if tag == 4:
        return Trouble(at, rest.decode(errors="replace"))
    if tag == 5:
        return Refused(at, number, rest.decode(errors="replace"))
    if tag == 6:
        return Look()
    if tag == 7 and number < len(_VIEWS):
        return Looked(at, _VIEWS[number])
    if tag == 8:
        return Found(at, rest)
    if tag == 9:
        return Keys(rest)
    raise ValueError(f"record of unknown kind {tag}")
