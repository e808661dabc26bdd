"""The workers of a simulated nmond that reach a shared disk: one writes its own slot, others look at those of the rest.

What each tells nmond, and in which order, is ``ha.heartbeats.worker``'s: a writer first what it found in its own slot,
then each message that the disk has confirmed; a listener first the message that it read, then that it has looked. They
live and die with their nmond; a write that has left for the disk may arrive all the same.
"""

from collections.abc import Callable
from typing import Protocol

from ha.fsm.config import PathId
from ha.fsm.events import OwnSlot, SlotView, Written
from ha.fsm.message import Heartbeat
from ha.heartbeats.path import PathLine
from ha.heartbeats.worker import FRESH
from ha.node.workers import LOCK_RETRY_S
from ha.simulation.disk import Disk, DiskError
from ha.simulation.machine import Machine

ASKED_S = 0.0003
"""A listener that is asked to look does so within this."""


class Host(Protocol):
    """The nmond whose workers these are."""

    machine: Machine

    @property
    def ended(self) -> bool: ...

    @property
    def deaf(self) -> bool:
        """Its listeners have just died, and others are not there yet."""

    def own(self, data: bytes) -> Heartbeat | None:
        """The message of this node in ``data``; None: there is none."""

    def stored(self, message: Heartbeat) -> None:
        """The disk has it: true, whether nmond learns of it or not."""

    def told(self, event: OwnSlot | Written) -> None: ...


class Writer:
    """Of an own line: one write in flight, and the newest message waits."""

    def __init__(self, host: Host, line: PathLine, disk: Disk, period: float) -> None:
        self._host = host
        self._line = line
        self._disk = disk
        self._period = period
        self._is_open = False
        self._device = 0
        """Which one it has open, where that became another."""
        self._busy = False
        self._retrying = False
        self._waiting: tuple[Heartbeat, bytes, float] | None = None
        self.closed = False
        """Its line is configured no more, or in another way."""
        host.machine.later(0.0, self._try_open)

    @property
    def line(self) -> PathLine:
        return self._line

    def hand(self, message: Heartbeat, data: bytes) -> None:
        self._waiting = (message, data, self._host.machine.now())
        self._next()

    def _over(self) -> bool:
        return self._host.ended or self.closed

    def _next(self) -> None:
        if self._busy or self._waiting is None or self._over():
            return
        machine = self._host.machine
        message, data, at = self._waiting
        if machine.now() - at > FRESH * self._line.timeout:
            self._waiting = None  # it tells of a decision loop that may be gone
            return
        if self._disk.writes(self._line.id):  # of the worker before this one, which has the line's lock until then
            machine.later(LOCK_RETRY_S, self._next)
            return
        if self._device != self._disk.of(machine.name).replaced:
            self._is_open = False
        if not self._is_open:
            self._open()
        if not self._is_open:
            return
        self._busy, self._waiting = True, None

        shared = not self._disk.of(machine.name).other

        def confirmed(good: bool) -> None:
            if good and shared:
                self._host.stored(message)
            machine.soon(lambda: self._done(good, message.seq))

        self._disk.write(machine.name, self._line.id, data, confirmed)

    def _done(self, good: bool, seq: int) -> None:
        self._busy = False
        if self._over():
            return
        if good:
            self._host.told(Written(self._line.index, seq, self._host.machine.now()))
        else:
            self._fail()
        self._next()

    def _open(self) -> None:
        try:
            block = self._disk.read(self._host.machine.name, self._line.id)
        except DiskError:
            block = None
        if block is None:
            self._fail()
            return
        self._is_open, self._device = True, self._disk.of(self._host.machine.name).replaced
        own = self._host.own(block)
        found = OwnSlot(self._line.index, own.incarnation, own.seq) if own else OwnSlot(self._line.index, None)
        self._host.machine.later(0.0, lambda: self._host.told(found))  # nmond, who hands a message, is busy yet

    def _fail(self) -> None:
        self._is_open = False
        if not self._retrying:
            self._retrying = True
            self._host.machine.later(self._period, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        self._try_open()

    def _try_open(self) -> None:
        if self._over() or self._is_open or self._busy:
            return
        self._open()
        self._next()


class Listener:
    """Looks at the slot of another node: once a period, in its own rhythm, and when it is asked."""

    __slots__ = ("_asked", "_disk", "_host", "_last", "_path", "_period", "_taken")

    def __init__(
        self,
        host: Host,
        path: PathId,
        disk: Disk,
        period: float,
        taken: Callable[[PathId, bytes, float, SlotView], bool],
    ) -> None:
        """``taken``: what a look that began at its third argument has shown; False: it was not taken."""
        self._host = host
        self._path = path
        self._disk = disk
        self._period = period
        self._taken = taken
        self._last = b""
        self._asked = False
        host.machine.later(host.machine.draw.between(0, period), self._turn)

    def ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._host.machine.later(ASKED_S, self._answer)

    def _answer(self) -> None:
        self._asked = False
        if not self._host.ended:
            self._look()

    def _turn(self) -> None:
        if self._host.ended:
            return
        self._look()
        self._host.machine.later(self._period / self._host.machine.clock.rate, self._turn)

    def _look(self) -> None:
        if self._host.deaf:
            self._last = b""
            return
        begun = self._host.machine.now()
        try:
            block = self._disk.read(self._host.machine.name, self._path)
        except DiskError:
            self._taken(self._path, b"", begun, SlotView.FAILED)
            return
        if block is None:
            return  # it hangs
        if not any(block):
            self._last = block
            self._taken(self._path, b"", begun, SlotView.EMPTY)
        elif block == self._last:
            self._taken(self._path, b"", begun, SlotView.SAME)
        else:
            taken = self._taken(self._path, block, begun, SlotView.NEW)
            self._last = block if taken else b""
