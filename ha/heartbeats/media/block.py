"""``dio`` and ``disk``: the slot of a node on a shared disk, written by it alone and read by the others."""

from ha.heartbeats.envelope import decode_block
from ha.heartbeats.keys import CurrentKeys
from ha.heartbeats.media.guard import Guard, is_empty, split
from ha.heartbeats.media.medium import MediumError
from ha.heartbeats.media.slot import Slot
from ha.heartbeats.path import PathLine


class DiskSender:
    """Writes the slot of this node, after the guard has looked at it."""

    def __init__(self, line: PathLine, node_id: int, cluster_id: int, keys: CurrentKeys | None = None) -> None:
        self._slot = Slot(line)
        self._guard = Guard(line, node_id, cluster_id, keys or CurrentKeys())
        self._mark = b""

    def open(self) -> None:
        """Raises MediumError where the device is missing or the slot may not be written."""
        self._slot.open(write=True)
        try:
            self._mark = self._guard.admit(self._slot)
        except BaseException:
            self._slot.close()
            raise

    def found(self) -> bytes:
        """What stands in the slot, without the mark. Raises MediumError."""
        return split(self._slot.read())[0]

    def send(self, data: bytes) -> None:
        """Returns once the disk has confirmed the write. A message that does not fit is refused, never cut."""
        room = self._slot.size - len(self._mark)
        if len(data) > room:
            raise MediumError(f"{self._slot.label}: the message has {len(data)} bytes, its slot has room for {room}")
        self._slot.write(data + bytes(room - len(data)) + self._mark)

    def close(self) -> None:
        self._slot.close()


class DiskListener:
    """Looks at the slot of another node once a period."""

    burst = 1

    def __init__(self, line: PathLine) -> None:
        self._slot = Slot(line)
        self._last = b""
        self._empty = False

    def open(self) -> None:
        """Raises MediumError where the device is missing or cannot have this slot."""
        self._slot.open(write=False)

    def fileno(self) -> int:
        return -1

    def check(self) -> None:
        """Raises ReplacedError where the device went away and another one has its name now."""
        self._slot.require_same_device()

    def receive(self) -> bytes | None:
        """What the slot holds, where it changed since the last look; no bytes where it was never written or is cleared.

        Raises CodecError once for each change to something that is no message.
        """
        content = self._part(self._slot.read())
        if content == self._last:
            return b"" if self._empty else None
        self._last = content
        self._empty = is_empty(content)
        return b"" if self._empty else self._message(content)

    def _part(self, block: bytes) -> bytes:
        """What a node writes, of all that stands in its slot."""
        return split(block)[0]

    def _message(self, content: bytes) -> bytes:
        """Raises CodecError."""
        return decode_block(content)

    def forget(self) -> None:
        """The next look gives what the slot holds, changed or not."""
        self._last, self._empty = b"", False

    def close(self) -> None:
        self._slot.close()
