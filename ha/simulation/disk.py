"""A shared disk: a slot a line of ``monitor``, written by one node, read by the others, and what storage does to both.

A write takes its time and is then there whole, or torn, which is not confirmed; a read shows what is there, what was
there, or nothing. It knows nothing of what the bytes mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ha.fsm.config import PathId
from ha.simulation.agenda import Agenda
from ha.simulation.draw import Draw

STALE_WRITES = 3
"""A stale read shows the block as it was so many writes ago."""


@dataclass(slots=True)
class Access:
    """How one node reaches one disk just now. Each figure counts the faults that are in force."""

    read_error: int = 0
    write_error: int = 0
    read_hang: int = 0
    write_hang: int = 0
    stale: int = 0
    torn: int = 0
    other: int = 0
    """It is another disk, that only this node sees."""
    replaced: int = 0
    """How often the device became another one."""


class DiskError(OSError):
    """The I/O failed (EIO)."""


class Disk:
    """One device, seen by all nodes."""

    def __init__(self, agenda: Agenda, draw: Draw, latency: float) -> None:
        """``latency``: mean seconds of a write."""
        self._agenda = agenda
        self._draw = draw
        self._latency = latency
        self.access: dict[str, Access] = {}
        self._slots: dict[PathId, list[bytes]] = {}
        self._others: dict[str, dict[PathId, list[bytes]]] = {}
        self._busy: dict[PathId, None] = {}
        self._waiting: dict[PathId, tuple[str, bytes, Callable[[bool], None]]] = {}
        self._hanging: list[tuple[str, Callable[[], None]]] = []
        self._life: dict[PathId, int] = {}

    def of(self, node: str) -> Access:
        access = self.access.get(node)
        if access is None:
            access = self.access[node] = Access()
        return access

    def _seen_by(self, node: str) -> dict[PathId, list[bytes]]:
        return self._others.setdefault(node, {}) if self.of(node).other else self._slots

    def writes(self, path: PathId) -> bool:
        """A write to this slot is in flight."""
        return path in self._busy

    def write(self, node: str, path: PathId, data: bytes, confirmed: Callable[[bool], None]) -> None:
        """One write in flight a slot: a newer message waits, and takes the place of one that waits already."""
        if path in self._busy:
            self._waiting[path] = (node, data, confirmed)
            return
        self._busy[path] = None
        life, taken = self._life.get(path, 0), self._latency * self._draw.between(0.3, 2.0)
        slots = self._seen_by(node)
        self._agenda.after(taken, lambda: self._apply(node, path, data, confirmed, life, slots))

    def _apply(
        self,
        node: str,
        path: PathId,
        data: bytes,
        confirmed: Callable[[bool], None],
        life: int,
        slots: dict[PathId, list[bytes]],
    ) -> None:
        """``slots``: of the device that was open when the write began."""
        access = self.of(node)
        if life != self._life.get(path, 0):
            return
        if access.write_hang:
            self._hanging.append((node, lambda: self._apply(node, path, data, confirmed, life, slots)))
            return
        good = not access.write_error and not access.torn
        if not access.write_error:
            block = data
            if access.torn:
                before = slots.get(path, [b""])[-1]
                cut = self._draw.whole(1, max(len(data) - 1, 1))
                block = data[:cut] + before[cut:]
            slots.setdefault(path, []).append(block)
            del slots[path][: -STALE_WRITES - 1]
        self._busy.pop(path, None)
        confirmed(good)
        waiting = self._waiting.pop(path, None)
        if waiting is not None:
            self.write(waiting[0], path, *waiting[1:])

    def read(self, node: str, path: PathId) -> bytes | None:
        """The block, empty where it was never written; None where the read hangs. Raises DiskError."""
        access = self.of(node)
        if access.read_hang:
            return None
        if access.read_error:
            raise DiskError(5, "Input/output error")
        blocks = self._seen_by(node).get(path)
        if not blocks:
            return b""
        return blocks[0] if access.stale else blocks[-1]

    def zero(self, node: str) -> None:
        """Somebody overwrites the slots of ``node``."""
        for path in self._slots:
            if path.node == node:
                self._slots[path] = [bytes(512)]

    def power_lost(self, node: str) -> None:
        """The writer's machine is gone: what it had not finished never comes."""
        for path in [p for p in self._slots if p.node == node] + [p for p in self._busy if p.node == node]:
            self._life[path] = self._life.get(path, 0) + 1
            self._busy.pop(path, None)
            self._waiting.pop(path, None)

    def release(self, node: str) -> None:
        """Writes of ``node`` that hung go on."""
        going = [deed for who, deed in self._hanging if who == node]
        self._hanging = [(who, deed) for who, deed in self._hanging if who != node]
        for deed in going:
            deed()
