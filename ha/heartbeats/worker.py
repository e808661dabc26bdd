"""What a path worker does: one process for each line of ``monitor``, between nmond's channel and one medium.

A sender sends what nmond handed it, and only while it is fresh: a message proves that the *decision loop* lives, so a
worker makes none of its own and repeats none. A listener forwards what arrives whole, signed where keys ask for it, and
from our cluster: a flood costs the listener and not nmond. What a message means is for nmond to judge. Where the medium
is a slot of a disk, each tells besides what nmond's lease rests on: the sender what it found in its own slot, the
listener when each look began and what it showed. Neither gives up: a path that does not work is told once as Trouble
and opened anew every period. A worker ends when its channel does.

Protocol: ``ha.heartbeats.channel``. The process itself (fork, title, lock) is ``ha.node``'s matter.
"""

import errno
import select
import socket
import time
from collections.abc import Callable

from ha.fsm.events import SlotView
from ha.fsm.message import Incarnation
from ha.heartbeats import channel as protocol
from ha.heartbeats import openha
from ha.heartbeats.channel import Found, Handed, Keys, Look, Looked, Received, Record, Refused, Sent, Trouble
from ha.heartbeats.codec import parse, stamp
from ha.heartbeats.envelope import CodecError, decode_block, verify
from ha.heartbeats.keys import NO_KEYS, CurrentKeys, KeyRing, unpack
from ha.heartbeats.media import listener_for, sender_for
from ha.heartbeats.media.medium import Listener, MediumError, ReplacedError, Sender
from ha.heartbeats.path import PathLine
from ha.heartbeats.replay import OLD, Order

_REFUSALS_PERIOD_S = 1.0
_CHANNEL_ENDED = (errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOTCONN)
_MAX_REASONS = 32
"""Reasons kept apart at once: there are fewer, and a stranger can add none."""
OTHER_CLUSTER = "another cluster"
OTHER_NODE = "another node of OpenHA"
STALE = "handed too late to be sent"
UNREADABLE = "a record of nmond that is none"
BUSY = "nmond was too busy to take it"
FRESH = 0.5
"""Share of the line's timeout: a message that was handed longer ago tells of a decision loop that may be gone."""


def boottime() -> float:
    """CLOCK_BOOTTIME in seconds: a suspend counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def run_sender(
    line: PathLine, channel: socket.socket, *, node_id: int, cluster_id: int, period: float, ring: KeyRing = NO_KEYS
) -> None:
    """Send on ``line`` until the channel ends. ``period``: seconds between attempts to open a path in trouble."""
    keys = CurrentKeys(ring)
    medium = sender_for(line, node_id, cluster_id, keys)
    worker = SenderWorker(medium, channel, timeout=line.timeout, period=period, keys=keys)
    try:
        while worker.turn():
            pass
    finally:
        worker.close()


def run_listener(
    line: PathLine, channel: socket.socket, *, cluster_id: int, period: float, ring: KeyRing = NO_KEYS
) -> None:
    """Listen on ``line`` until the channel ends. ``period``: seconds between two looks at a disk or an interface.

    Several nodes may send to one group and port, so whose message it is, is for nmond to judge.
    """
    medium, keys = listener_for(line), CurrentKeys(ring)
    worker = ListenerWorker(
        medium,
        channel,
        cluster_id=cluster_id,
        period=period,
        looks=line.is_disk,
        original=line.node if line.is_openha else "",
        keys=keys,
    )
    try:
        while worker.turn():
            pass
    finally:
        worker.close()


class Report:
    """What a worker tells nmond. It never waits for an nmond that does not read: what cannot be told is counted.

    Trouble is told when it changes, and again until it was taken. Refusals are told at most once a second.
    """

    def __init__(self, channel: socket.socket, clock: Callable[[], float]) -> None:
        self._channel = channel
        self._clock = clock
        self._trouble = ""
        self._told = ""
        self._refused: dict[str, int] = {}
        self._told_refusals_at = float("-inf")
        self.gone = False
        """nmond has closed its end."""

    def tell(self, record: Record) -> bool:
        """Whether nmond's end of the channel took it."""
        try:
            self._channel.send(protocol.encode(record), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as error:
            # Anything else (a full queue, no memory) may pass; the caller counts it.
            self.gone = self.gone or error.errno in _CHANNEL_ENDED
            return False
        return True

    def deliver(self, record: Record) -> bool:
        """As ``tell``; a record that is not taken is lost, and counted."""
        taken = self.tell(record)
        if not taken:
            self.refuse(BUSY)
        return taken

    def trouble(self, text: str) -> None:
        """The present state of the path; empty: it works."""
        self._trouble = text

    def refuse(self, why: str) -> None:
        if why not in self._refused and len(self._refused) >= _MAX_REASONS:
            why = "another reason"
        self._refused[why] = self._refused.get(why, 0) + 1

    def flush(self) -> None:
        """Tell what is due."""
        now = self._clock()
        if self._trouble != self._told and self.tell(Trouble(now, self._trouble)):
            self._told = self._trouble
        if self._refused and now >= self._told_refusals_at + _REFUSALS_PERIOD_S:
            self._told_refusals_at = now
            for why, count in list(self._refused.items()):
                if not self.tell(Refused(now, count, why)):
                    break
                del self._refused[why]

    def due(self) -> float:
        """When ``flush`` has something to do next."""
        if self._trouble != self._told:
            return self._clock() + _REFUSALS_PERIOD_S
        return self._told_refusals_at + _REFUSALS_PERIOD_S if self._refused else float("inf")


class _NotTakenError(Exception):
    """nmond's queue was full."""


def _wait(poll: "select.poll", until: float, now: float) -> list[tuple[int, int]]:
    """Poll until then. Rounded up to a millisecond, so that a turn never comes a moment too early and spins."""
    if until == float("inf"):
        return poll.poll(None)
    return poll.poll(int((until - now) * 1000) + 1 if until > now else 0)


class SenderWorker:
    """Sends the newest message handed, over a medium that may come and go."""

    def __init__(
        self,
        medium: Sender,
        channel: socket.socket,
        *,
        timeout: float,
        period: float,
        keys: CurrentKeys | None = None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        """``keys``: shared with the medium; none: what is not signed is trusted."""
        self._keys = keys or CurrentKeys()
        self._medium = medium
        self._channel = channel
        self._timeout = timeout
        self._period = period
        self._clock = clock
        self._report = Report(channel, clock)
        self._is_open = False
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._retry_at = clock()
        self._found: Found | None = None
        """What nmond does not know yet of the own slot."""

    def turn(self) -> bool:
        """Wait for something to do and do it; False once the channel has ended."""
        retry = float("inf") if self._is_open else self._retry_at
        events = _wait(self._poll, min(retry, self._report.due()), self._clock())
        newest, ended = self._drain() if events else (None, False)
        if newest is not None:
            self._send(newest)
        elif not self._is_open and self._clock() >= self._retry_at:
            self._try_open()
        self._tell_found()
        self._report.flush()
        return not (ended or self._report.gone)

    def close(self) -> None:
        self._is_open = False
        self._medium.close()

    def _drain(self) -> tuple[Handed | None, bool]:
        """The newest message that waits in the channel, and whether the channel has ended behind it."""
        newest = None
        while True:
            try:
                raw = self._channel.recv(protocol.MAX_RECORD, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return newest, False
            except ConnectionResetError:
                return newest, True
            if not raw:
                return newest, True
            try:
                record = protocol.decode(raw)
            except ValueError:
                self._report.refuse(UNREADABLE)
                continue
            if isinstance(record, Handed):
                newest = record
            elif not (isinstance(record, Keys) and _put(self._keys, record)):
                self._report.refuse(UNREADABLE)

    def _send(self, message: Handed) -> None:
        if self._clock() - message.at > FRESH * self._timeout:
            self._report.refuse(STALE)
            return
        try:
            self._open()
            try:
                self._medium.send(message.data)
            except ReplacedError:
                self.close()
                self._open()
                self._medium.send(message.data)
        except MediumError as error:
            self._fail(error)
            return
        self._report.trouble("")
        self._tell_found()  # what stood in the slot before this message
        self._report.deliver(Sent(message.seq, self._clock()))

    def _open(self) -> None:
        """Raises MediumError. That it opens does not end a trouble: only a message that left does."""
        if self._is_open:
            return
        self._medium.open()
        self._is_open = True
        content = self._medium.found()
        if content is not None:
            self._found = Found(self._clock(), _whole(content, self._keys.ring))

    def _tell_found(self) -> None:
        if self._found is not None and self._report.tell(self._found):
            self._found = None

    def _try_open(self) -> None:
        """Early, so that a device or a slot that cannot be used is told before anything is to be sent."""
        try:
            self._open()
        except MediumError as error:
            self._fail(error)

    def _fail(self, error: MediumError) -> None:
        self._report.trouble(str(error))
        self.close()
        self._retry_at = self._clock() + self._period


def _whole(content: bytes, ring: KeyRing) -> bytes:
    """The message in a slot; no bytes where there is none, or only a part of one, or a forged one."""
    try:
        message = decode_block(content)
        verify(message, ring)
    except CodecError:
        return b""
    return message


def _put(keys: CurrentKeys, record: Keys) -> bool:
    """Whether ``record`` holds a ring, which is in force then."""
    try:
        keys.ring = unpack(record.data)
    except ValueError:
        return False
    return True


class ListenerWorker:
    """Forwards what arrives whole and from our cluster, over a medium that may come and go."""

    def __init__(
        self,
        medium: Listener,
        channel: socket.socket,
        *,
        cluster_id: int,
        period: float,
        looks: bool = False,
        original: str = "",
        keys: CurrentKeys | None = None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        """``looks``: the medium is a slot, and every look at it is told. ``original``: the node of OpenHA that sends
        here, where the messages are not ezha's own. ``keys``: none: checksums only."""
        self._keys = keys or CurrentKeys()
        self._medium = medium
        self._channel = channel
        self._cluster = cluster_id
        self._looks = looks
        self._original = original
        self._period = period
        self._clock = clock
        self._report = Report(channel, clock)
        self._fd = -1
        self._is_open = False
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._look_at = clock()
        self._order = Order()
        self._refused = False
        """What the medium showed last was refused."""

    def turn(self) -> bool:
        """Wait for something to do and do it; False once the channel has ended."""
        events = _wait(self._poll, min(self._look_at, self._report.due()), self._clock())
        ready = {fd for fd, _ in events}
        if self._channel.fileno() in ready and not self._take_orders():
            return False
        if self._clock() >= self._look_at:
            self._look()
        elif self._fd in ready:
            self._receive()
        self._report.flush()
        return not self._report.gone

    def close(self) -> None:
        if self._fd >= 0:
            self._poll.unregister(self._fd)
            self._fd = -1
        self._is_open = False
        self._medium.close()

    def _take_orders(self) -> bool:
        """New keys, and looks at once: however often nmond asked for one, one that begins now answers it.

        False where nmond closed its end.
        """
        while True:
            try:
                raw = self._channel.recv(protocol.MAX_RECORD, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if not raw:
                return False
            try:
                record = protocol.decode(raw)
            except ValueError:
                self._report.refuse(UNREADABLE)
                continue
            if isinstance(record, Keys) and _put(self._keys, record):
                if self._refused:
                    self._medium.forget()  # what a slot holds may be acceptable now
            elif isinstance(record, Look):
                self._look_at = min(self._look_at, self._clock())
            else:
                self._report.refuse(UNREADABLE)

    def _look(self) -> None:
        """Once a period, or when asked: open the medium or see that it is still there, then take what it has."""
        now = self._clock()
        # A look that came late moves the next ones: none is made up for.
        self._look_at = max(self._look_at + self._period, now)
        try:
            self._open()
            try:
                self._medium.check()
            except ReplacedError:
                self.close()
                self._open()
        except MediumError as error:
            self._fail(error)
            self._looked(now, SlotView.FAILED)
            return
        self._receive()

    def _open(self) -> None:
        if self._is_open:
            return
        self._medium.open()
        self._is_open = True
        self._fd = self._medium.fileno()
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLIN)

    def _receive(self) -> None:
        for _ in range(self._medium.burst):
            begun = self._clock()
            try:
                data = self._medium.receive()
                at = self._clock()
                if data is None:
                    self._looked(begun, SlotView.SAME)
                    break
                if self._looks and not data:
                    self._looked(begun, SlotView.EMPTY)
                    break
                self._judge(data, at)
                self._refused = False
                self._looked(begun, SlotView.NEW)
            except CodecError as error:
                self._report.refuse(error.reason)
                self._refused = True
                self._looked(begun, SlotView.FOREIGN)
            except MediumError as error:
                self._fail(error)
                self._looked(begun, SlotView.FAILED)
                return
            except _NotTakenError:
                # A slot shows a message for as long as it stands there: it must not count as seen before nmond has it.
                self._medium.forget()
        self._report.trouble("")

    def _judge(self, data: bytes | memoryview, at: float) -> None:
        """Forward a message, or raise CodecError."""
        stamped = None
        if self._original:
            if openha.decode(data).node != self._original:
                raise CodecError(OTHER_NODE)
        else:
            stamped = self._stamp_of(data)
        if not self._report.deliver(Received(at, bytes(data))):
            raise _NotTakenError
        if stamped is not None:
            self._order.take(*stamped)

    def _stamp_of(self, data: bytes | memoryview) -> tuple[int, Incarnation, int] | None:
        """Node, life and number of a message that is to be forwarded, where they decide about that; else None.

        Raises CodecError.
        """
        origin = verify(data, self._keys.ring)
        if origin.cluster != self._cluster:
            raise CodecError(OTHER_CLUSTER)
        if self._looks:
            # A slot is read once a period, whatever a stranger does; what it shows is for nmond to judge.
            return None
        stamped = (origin.node, *stamp(data))
        if not self._order.is_news(*stamped):
            raise CodecError(OLD)
        parse(data, origin)  # what nmond could not read must not make what comes after it look old
        return stamped

    def _looked(self, begun: float, view: SlotView) -> None:
        if self._looks and not self._report.tell(Looked(begun, view)) and view is SlotView.FOREIGN:
            self._medium.forget()  # that the bytes changed must reach nmond, too

    def _fail(self, error: MediumError) -> None:
        self._report.trouble(str(error))
        self.close()
