"""The path workers: one process for every line of ``monitor``, forked, watched, and started again when it dies.

A disk that hangs delays only its own worker. nmond hands a message to a worker or drops it; it never waits for one.
What a worker does is ``ha.heartbeats.worker``; what the messages mean is the engine's.

One writer per slot, ever (design, rule 7): a worker holds a lock on ``$EZ_RUN/worker-<owner>-<index>.lock`` until the
kernel has ended it for good, and the next one of the line is forked only once that lock could be taken.
"""

import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from ha.fsm.config import OWN_WIRE, PathId
from ha.fsm.events import SlotView
from ha.heartbeats import channel as wire
from ha.heartbeats.keys import KeyRing, pack
from ha.heartbeats.path import PathLine
from ha.node import process
from ha.node.log import Log, printable
from ha.node.loop import Loop, Timer

LOCK_RETRY_S: Final = 0.02
"""How often a lock that the old worker still holds is tried."""
SHORT_LIFE_S: Final = 1.0
"""A worker that dies within this time is not started again at once, but after a delay that doubles."""
BACKOFF_S: Final = (0.1, 5.0)
RECORDS_A_TURN: Final = 64
"""Records read from one worker before others have their turn."""
ODD: Final = frozenset(("unknown key", "not signed", "forged or damaged", "another version"))
"""Reasons of refusal (``ha.heartbeats.envelope``) behind which a node may stand that means well."""
WARN_EVERY_S: Final = 600.0
REASONS: Final = 32
"""Reasons of refusal counted apart for a path; further ones are counted as ``other``."""

RunWorker = Callable[[PathLine, bool, float, socket.socket], None]
"""(line, is sender, period in seconds, channel): the body of a worker; returns at the end of the channel."""


class Worker:
    """What nmond knows of one path."""

    __slots__ = (
        "backoff",
        "channel",
        "closing",
        "confirmed",
        "dropped",
        "handed",
        "keys",
        "line",
        "period",
        "pid",
        "pidfd",
        "received",
        "refused",
        "restarts",
        "sender",
        "sent",
        "sent_at",
        "since",
        "timer",
        "trouble",
        "waiting_since",
        "warned",
    )

    def __init__(self, line: PathLine, sender: bool, period: float) -> None:
        self.line = line
        self.sender = sender
        self.period = period
        """Seconds between two messages of the node that sends on the line."""
        self.pid = 0
        self.pidfd = -1
        self.channel: socket.socket | None = None
        self.since = 0.0
        """When the process was forked."""
        self.backoff = 0.0
        self.keys = b""
        """The record of the keys that it was told of last."""
        self.closing = False
        self.timer: Timer | None = None
        self.trouble = ""
        self.waiting_since = 0.0
        """Since when the lock of the old worker is waited for; 0: it is not."""
        self.sent_at: float | None = None
        self.confirmed = 0
        """Sequence number of the last message that went out."""
        self.handed = self.sent = self.received = self.dropped = self.restarts = 0
        self.refused: dict[str, int] = {}
        self.warned: dict[str, float] = {}
        """When the log was told last of a reason that a wrong key has."""

    def refuse(self, why: str, count: int = 1) -> None:
        """Count what was refused, without letting a stranger grow the table."""
        why = printable(why)[:100]
        if why not in self.refused and len(self.refused) >= REASONS:
            why = "other"
        self.refused[why] = self.refused.get(why, 0) + count

    @property
    def name(self) -> str:
        return f"{self.line.medium} {'to' if self.sender else 'from ' + self.line.node + ' on'} {self.line.label}"


class Ear(Protocol):
    """Who hears what workers report. Times are of the moment it happened, never of one still to come."""

    def received(self, path: PathId, arrival: float, data: bytes) -> None:
        """A listener forwards a message."""

    def looked(self, path: PathId, begun: float, view: SlotView) -> None:
        """A look at the slot of another node ended; what it brought was told before."""

    def written(self, index: int, seq: int, at: float) -> None:
        """The disk of one of our own lines confirmed message ``seq``."""

    def found(self, index: int, data: bytes) -> None:
        """The disk of one of our own lines was opened; ``data``: the message in our slot, or nothing."""


class Workers:
    """All workers of this node."""

    def __init__(
        self,
        loop: Loop,
        run_dir: str,
        bin_dir: str,
        node: str,
        log: Log,
        ear: Ear,
        body: RunWorker,
    ) -> None:
        self._loop = loop
        self._run_dir = run_dir
        self._bin_dir = bin_dir
        self._node = node
        self._log = log
        self._ear = ear
        self._body = body
        self._buffer = bytearray(wire.MAX_RECORD)
        self._leaving: list[Worker] = []
        self._keys = b""
        """The record that tells a worker the keys in force; no bytes: they have not changed since workers run."""
        self._stopped = False
        self.prompt: Callable[[], None] = lambda: None
        """Called in every new worker: makes it as prompt as nmond is."""
        self.held = False
        """No worker is started: that is left to the nmond that this one is handed over to."""
        self.all: dict[PathId, Worker] = {}

    def configure(self, lines: Iterable[PathLine], period_of: Callable[[str], float]) -> None:
        """Start what is new, stop what is gone; a line that changed is both. Those that stay are left alone.

        ``period_of``: seconds between two messages of a node.
        """
        wanted = {line.id: line for line in lines}
        for path, worker in list(self.all.items()):
            if wanted.get(path) != worker.line or period_of(path.node) != worker.period:
                del self.all[path]
                self._end(worker)
        for path, line in wanted.items():
            if path not in self.all:
                self.all[path] = Worker(line, line.node == self._node, period_of(line.node))
                self._start(self.all[path])
        self.all = {path: self.all[path] for path in wanted}

    # ---------------------------------------------------------------------------------- life of a process

    def _start(self, worker: Worker) -> None:
        worker.timer = None
        if worker.closing or self._stopped or self.held:
            return
        try:
            lock = self._lock(worker)
            if lock < 0:
                self._wait_for_lock(worker)
                return
            worker.waiting_since = 0.0
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                parent = os.getpid()
                worker.pid = process.fork(
                    lambda: self._child(worker, parent, theirs, lock), lambda text: self._last_words(theirs, text)
                )
            except OSError:
                ours.close()
                raise
            finally:
                theirs.close()
                # The child's copy keeps the lock: it is free again when that process is gone for good.
                os.close(lock)
        except OSError as error:
            self._trouble(worker, f"worker not started: {error}")
            worker.timer = self._loop.after(BACKOFF_S[1], lambda: self._start(worker))
            return
        ours.setblocking(False)
        worker.channel = ours
        worker.keys = self._keys  # the fork has them
        worker.since = self._loop.clock()
        self._follow(worker)

    def _lock(self, worker: Worker) -> int:
        """A descriptor that holds the line's lock, or -1 while another process holds it."""
        path = f"{self._run_dir}/worker-{worker.line.node}-{worker.line.index}.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return -1
        except OSError:
            os.close(fd)
            raise
        return fd

    def _wait_for_lock(self, worker: Worker) -> None:
        now = self._loop.clock()
        worker.waiting_since = worker.waiting_since or now
        if now - worker.waiting_since > 1.0:
            self._trouble(worker, "the line's old worker has not ended yet (its device may hang)")
        worker.timer = self._loop.after(LOCK_RETRY_S, lambda: self._start(worker))

    def _child(self, worker: Worker, parent: int, theirs: socket.socket, lock: int) -> None:
        process.close_all_but({theirs.fileno(), lock})
        process.null_stdio()
        process.die_with_parent(parent)
        # A terminal's ^C is nmond's to hear, which then ends its workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from setproctitle import setproctitle

        setproctitle(worker.line.title(self._bin_dir, worker.sender))
        self.prompt()
        self._body(worker.line, worker.sender, worker.period, theirs)

    @staticmethod
    def _last_words(theirs: socket.socket, text: str) -> None:
        last = text.strip().splitlines()[-1]
        theirs.send(wire.encode(wire.Trouble(0.0, f"worker failed: {last}")))

    def _follow(self, worker: Worker) -> None:
        worker.pidfd = os.pidfd_open(worker.pid)
        self._loop.watch(worker.pidfd, lambda: self._died(worker))
        if worker.channel is not None:
            self._loop.listen(worker.channel.fileno(), lambda: self._read(worker))

    def _died(self, worker: Worker) -> None:
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if pid == 0:
            return
        self._drain(worker)
        self._loop.unwatch(worker.pidfd)
        os.close(worker.pidfd)
        worker.pidfd = -1
        self._close_channel(worker)
        worker.pid = 0
        if worker.timer is not None:
            worker.timer.cancel()
        if worker.closing:
            self._leaving.remove(worker)
            return
        code = os.waitstatus_to_exitcode(status)
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"
        worker.restarts += 1
        if self._loop.clock() - worker.since >= SHORT_LIFE_S:
            worker.backoff = 0.0
            self._log.warning(f"heartbeat worker {worker.name} (pid {pid}) {how}; started again")
            self._start(worker)
            return
        worker.backoff = min(BACKOFF_S[1], max(BACKOFF_S[0], worker.backoff * 2))
        self._log.error(
            f"heartbeat worker {worker.name} (pid {pid}) {how} right after its start; "
            f"started again in {worker.backoff:g} s"
        )
        worker.timer = self._loop.after(worker.backoff, lambda: self._start(worker))

    def _close_channel(self, worker: Worker) -> None:
        if worker.channel is not None:
            self._loop.unwatch(worker.channel.fileno())
            worker.channel.close()
            worker.channel = None

    def _end(self, worker: Worker) -> None:
        """The end of the channel tells it to return; one that does not within a second is killed."""
        worker.closing = True
        if worker.timer is not None:
            worker.timer.cancel()
        self._close_channel(worker)
        if worker.pid:
            self._leaving.append(worker)
            worker.timer = self._loop.after(1.0, lambda: self._kill(worker))

    @staticmethod
    def _kill(worker: Worker) -> None:
        if worker.pidfd >= 0:
            signal.pidfd_send_signal(worker.pidfd, signal.SIGKILL)

    def stop(self) -> None:
        """End all of them; the loop has to turn until ``gone``. What hangs in the kernel is left to it."""
        self._stopped = True
        for worker in self.all.values():
            self._end(worker)
        self.all = {}

    @property
    def gone(self) -> bool:
        return not self._leaving

    @property
    def pids(self) -> set[int]:
        """Of every worker process that is known, those about to end included."""
        return {worker.pid for worker in (*self.all.values(), *self._leaving)}

    # ------------------------------------------------------------------------------------------- messages

    def confirmed(self, seq: int) -> bool:
        """Message ``seq`` or a later one went out on every path that works."""
        return all(w.confirmed >= seq for w in self.all.values() if w.sender and w.channel and not w.trouble)

    def use_keys(self, ring: KeyRing) -> None:
        """Workers that run take these keys from now on. One whose channel is full is told with the next heartbeat."""
        self._keys = wire.encode(wire.Keys(pack(ring)))
        self._tell_keys()

    def _tell_keys(self) -> None:
        for worker in self.all.values():
            if worker.channel is None or worker.keys == self._keys:
                continue
            try:
                worker.channel.send(self._keys)
                worker.keys = self._keys
            except OSError:
                # Full, or dead: then its successor is forked with them.
                continue

    def hand(self, seq: int, at: float, data: bytes, language: str = OWN_WIRE) -> None:
        """Give this message to every sender whose line speaks ``language`` (``PathLine.wire``): where that has just
        changed, a worker may be one of before. One whose channel is full misses it: it would be stale anyway."""
        self._tell_keys()
        record = wire.encode(wire.Handed(seq, at, data))
        for worker in self.all.values():
            if not worker.sender or worker.channel is None or worker.line.wire != language:
                continue
            try:
                worker.channel.send(record)
                worker.handed += 1
            except BlockingIOError:
                worker.dropped += 1
            except OSError:
                # It is dead: its pidfd tells, right after this.
                worker.dropped += 1

    def look(self) -> None:
        """Have the slots of all other nodes read now. A listener that hangs in a read looks when that has ended."""
        record = wire.encode(wire.Look())
        for worker in self.all.values():
            if worker.sender or worker.channel is None or not worker.line.is_disk:
                continue
            try:
                worker.channel.send(record)
            except OSError:
                # Full of such wishes already, or dead: then its successor begins with a look.
                continue

    def _read(self, worker: Worker) -> None:
        if not self._drain(worker, RECORDS_A_TURN):
            # The end of the channel comes with the end of the process: the pidfd tells how.
            self._close_channel(worker)

    def _drain(self, worker: Worker, limit: int = 1000) -> bool:
        """Take what the worker said; False at the end of the channel."""
        for _ in range(limit):
            if worker.channel is None:
                return False
            try:
                size = worker.channel.recv_into(self._buffer)
            except BlockingIOError:
                return True
            except OSError as error:
                self._log.error(f"heartbeat worker {worker.name}: {error}")
                return False
            if size == 0:
                return False
            try:
                self._take(worker, wire.decode(bytes(memoryview(self._buffer)[:size])))
            except ValueError as error:
                worker.refuse(f"worker said nonsense: {error}")
        return True

    def _take(self, worker: Worker, record: wire.Record) -> None:
        match record:
            case wire.Sent(seq, at):
                worker.sent += 1
                worker.sent_at, worker.confirmed = at, seq
                if worker.line.is_disk:
                    self._ear.written(worker.line.index, seq, min(at, self._loop.clock()))
            case wire.Received(at, data):
                worker.received += 1
                # A moment that is still to come would make the peer look alive for longer than it was heard.
                self._ear.received(worker.line.id, min(at, self._loop.clock()), data)
            case wire.Looked(begun, view):
                self._ear.looked(worker.line.id, min(begun, self._loop.clock()), view)
            case wire.Found(_, data):
                self._ear.found(worker.line.index, data)
            case wire.Trouble(_, text):
                self._trouble(worker, text)
            case wire.Refused(_, count, why):
                worker.refuse(why, count)
                self._warn(worker, why)
            case wire.Handed() | wire.Look():
                raise ValueError("a worker told nmond what to do")

    def _warn(self, worker: Worker, why: str) -> None:
        """A node whose key differs falls silent for us: the log must say why. Whoever forges fills no log with it."""
        now = self._loop.clock()
        if why in ODD and now >= worker.warned.get(why, float("-inf")) + WARN_EVERY_S:
            worker.warned[why] = now
            text = "if it is no stranger's, compare ezha key status on both nodes"
            self._log.warning(f"heartbeat path {worker.name}: something was refused, {why}: {text}")

    def _trouble(self, worker: Worker, text: str) -> None:
        text = printable(text)
        if text == worker.trouble:
            return
        if text:
            self._log.warning(f"heartbeat path {worker.name}: {text}")
        else:
            self._log.notice(f"heartbeat path {worker.name} works again")
        worker.trouble = text

    def refuse(self, path: PathId, why: str) -> bool:
        """Count a message that nmond itself refused; True the first time for this reason."""
        worker = self.all.get(path)
        if worker is None:
            return False
        worker.refuse(why)
        return worker.refused.get(why) == 1

    # -------------------------------------------------------------------------------------- what they say

    def describe(self, state: Callable[[PathId], tuple[bool, float | None]]) -> list[dict[str, Any]]:
        """For ``hb -s`` (docs/internals.md, "paths"), in the order of ``monitor``.

        ``state`` tells of another node's path whether it is up, and when something last came. A path of this node is
        up while its last message went out within the timeout.
        """
        now, epoch = self._loop.clock(), time.time()
        said = []
        for worker in self.all.values():
            line = worker.line
            if worker.sender:
                last = worker.sent_at
                up = worker.pid != 0 and last is not None and now - last <= line.timeout
            else:
                up, last = state(line.id)
            said.append(
                {
                    "node": line.node,
                    "medium": line.medium,
                    "device": line.device,
                    "address": line.address,
                    "port": line.port,
                    "offset": line.offset,
                    "label": line.label,
                    "role": "sender" if worker.sender else "listener",
                    "pid": worker.pid,
                    "up": up,
                    "updated": None if last is None else epoch - (now - last),
                    "trouble": worker.trouble,
                    "refused": dict(worker.refused),
                    "timeout": line.timeout,
                    "wire": line.wire,
                    "sent": worker.sent,
                    "received": worker.received,
                    "dropped": worker.dropped,
                    "restarts": worker.restarts,
                }
            )
        return said

    # ------------------------------------------------------------------------------------------ hand-over

    def packed(self) -> list[dict[str, Any]]:
        """Of every worker that runs: what the nmond after the exec needs to go on with it."""
        return [
            {
                "path": [worker.line.node, worker.line.index],
                "line": repr(worker.line),
                "period": worker.period,
                "pid": worker.pid,
                "channel": worker.channel.fileno(),
                "since": worker.since,
                "sent_at": worker.sent_at,
                "confirmed": worker.confirmed,
                "counts": [worker.handed, worker.sent, worker.received, worker.dropped, worker.restarts],
                "trouble": worker.trouble,
                "refused": dict(worker.refused),
            }
            for worker in (*self.all.values(), *self._leaving)
            if worker.pid and worker.channel is not None
        ]

    def unpack(
        self, data: Iterable[Mapping[str, Any]], lines: Iterable[PathLine], period_of: Callable[[str], float]
    ) -> None:
        """Go on with the workers whose line is what it was, end the others, start what is missing."""
        wanted = {line.id: line for line in lines}
        for packed in data:
            path = PathId(str(packed["path"][0]), int(packed["path"][1]))
            line = wanted.get(path)
            known = line is not None and repr(line) == packed["line"]
            if line is None or not known:
                line = PathLine(path.node, path.index, "net", "?")
            worker = Worker(line, path.node == self._node, float(packed["period"]))
            worker.pid = int(packed["pid"])
            worker.channel = socket.socket(fileno=int(packed["channel"]))
            worker.channel.setblocking(False)
            os.set_inheritable(worker.channel.fileno(), False)
            worker.since = float(packed["since"])
            worker.sent_at, worker.confirmed = packed["sent_at"], int(packed["confirmed"])
            worker.handed, worker.sent, worker.received, worker.dropped, worker.restarts = packed["counts"]
            worker.trouble = packed["trouble"]
            worker.refused = dict(packed["refused"])
            self._follow(worker)
            if known:
                self.all[path] = worker
            else:
                self._end(worker)
        self.configure(wanted.values(), period_of)

    def channels(self) -> list[int]:
        """The descriptors that must live through the exec."""
        return [int(packed["channel"]) for packed in self.packed()]
