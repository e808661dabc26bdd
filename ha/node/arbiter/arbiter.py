"""nmond's side of the arbiter: what the engine wants goes to a process, what that says goes to the engine.

Nothing here waits for etcd. The process is there as long as options.toml names etcd, started again when it dies, and
lives through an exec of nmond. A new one takes on what the last one held: the key says that it is this node's.
"""

import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ha.fsm.events import Arbitrate, Arbitrated
from ha.fsm.timing import Timing
from ha.node import process
from ha.node.arbiter.arithmetic import request_timeout, ttl
from ha.node.arbiter.process import MAX_RECORD, said, wanted_record
from ha.node.config.etcd import EtcdOptions
from ha.node.log import Log, printable
from ha.node.loop import Loop, Timer

BACKOFF_S: Final = (0.1, 5.0)
"""A process that dies is started again after this, which doubles."""
RECORDS_A_TURN: Final = 64
END_S: Final = 2.0
"""A process whose channel was closed is killed after this."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a process is started with; another one is started where they change."""

    options: EtcdOptions
    prefix: str
    period: float
    """Seconds between two renewals."""
    shortest: float
    """The smallest T of any service, in seconds."""
    longest: float
    """The largest."""


class Arbiter:
    """``ask`` and ``use`` return at once."""

    def __init__(
        self,
        loop: Loop,
        node: str,
        memory: str,
        bin_dir: str,
        log: Log,
        tell: Callable[[Arbitrated], None],
        prompt: Callable[[], None] = lambda: None,
    ) -> None:
        """``memory``: the path of the file in which is kept what was seen of etcd. ``prompt`` is called in the process,
        to make it as prompt as nmond is: a renewal that comes late is a lapse."""
        self._loop = loop
        self._node = node
        self._memory = memory
        self._bin = bin_dir
        self._log = log
        self._tell = tell
        self._prompt = prompt
        self._ours: dict[str, bool] = {}
        """What was said last of each service."""
        self._terms: Terms | None = None
        self._timeout_of: Callable[[str], float] = lambda service: 10.0
        self._incarnation = ""
        self._wanted: dict[str, float] = {}
        """Services, and T of each."""
        self._channel: socket.socket | None = None
        self._pid = 0
        self._pidfd = -1
        self._leaving: dict[int, Timer] = {}
        """Processes that were told to end, by pidfd."""
        self._timer: Timer | None = None
        self._backoff = 0.0
        self._buffer = bytearray(MAX_RECORD)
        self._stopped = False
        self.held = False
        """No process is started: that is left to the nmond that this one is handed over to."""
        self.trouble = ""
        """What is wrong with etcd; empty: nothing."""
        self.restarts = 0

    def use(self, terms: Terms | None, timeout_of: Callable[[str], float], incarnation: str) -> None:
        """What options.toml says of etcd now. ``timeout_of``: T of a service, in seconds."""
        self._timeout_of = timeout_of
        self._incarnation = incarnation
        wanted = {service: timeout_of(service) for service in self._wanted}
        if terms == self._terms and wanted == self._wanted:
            return
        self._terms, self._wanted = terms, wanted
        self._end()
        self._start()

    def ask(self, order: Arbitrate) -> None:
        """Get a service and keep it, or give it back."""
        if order.want:
            if self._terms is None:
                self._refuse(order.service, "options.toml has no [etcd]")
                return
            self._wanted[order.service] = self._timeout_of(order.service)
        elif self._wanted.pop(order.service, None) is None:
            return
        self._hand()

    def _refuse(self, service: str, why: str) -> None:
        now = self._loop.clock()
        self._loop.after(0.0, lambda: self._tell(Arbitrated(service, False, now, why)))

    # ------------------------------------------------------------------------------------ life of the process

    def _start(self) -> None:
        self._timer = None
        terms = self._terms
        if terms is None or self.held or self._stopped or self._channel is not None:
            return
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                parent = os.getpid()
                self._pid = process.fork(lambda: self._child(terms, parent, theirs))
                self._pidfd = os.pidfd_open(self._pid)
            except OSError:
                ours.close()
                raise
            finally:
                theirs.close()
        except OSError as error:
            self._say(f"the process that speaks with etcd cannot be started: {error}")
            self._again()
            return
        ours.setblocking(False)
        self._channel = ours
        self._follow()
        self._hand()

    def _child(self, terms: Terms, parent: int, theirs: socket.socket) -> None:
        process.close_all_but({theirs.fileno()})
        process.null_stdio()
        process.die_with_parent(parent)
        # A terminal's ^C is nmond's to hear, which then ends its processes.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from setproctitle import setproctitle

        from ha.node.arbiter.process import serve

        setproctitle(f"{self._bin}/nmond (etcd)")
        self._prompt()
        timeout = request_timeout(Timing(terms.shortest), terms.period, len(terms.options.endpoints))
        serve(
            theirs,
            {
                "options": terms.options,
                "timeout": timeout,
                "memory": self._memory,
                "gap": Timing(terms.shortest).lease,
                "prefix": terms.prefix,
                "owner": self._node,
                "incarnation": self._incarnation,
                "period": terms.period,
                "longest": ttl(Timing(terms.longest)),
            },
        )

    def _follow(self) -> None:
        assert self._channel is not None
        pidfd = self._pidfd
        self._loop.watch(pidfd, lambda: self._died(pidfd))
        self._loop.listen(self._channel.fileno(), self._read)

    def _died(self, pidfd: int) -> None:
        self._loop.unwatch(pidfd)
        if pidfd in self._leaving:
            self._leaving.pop(pidfd).cancel()
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
            os.close(pidfd)
            return
        self._drain()
        os.close(pidfd)
        self._pidfd = -1
        _, status = os.waitpid(self._pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status)
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        self._log.error(f"the process that speaks with etcd (pid {self._pid}) ended by {how}; another one is started")
        self._pid = 0
        self.restarts += 1
        self._close()
        self._again()

    def _again(self) -> None:
        self._backoff = min(BACKOFF_S[1], max(BACKOFF_S[0], self._backoff * 2))
        self._timer = self._loop.after(self._backoff, self._start)

    def _close(self) -> None:
        if self._channel is not None:
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def _end(self) -> None:
        """It gives back what it was told to give back, and ends; what is ours stays so until its lease has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close()
        if self._pid:
            pidfd = self._pidfd
            self._leaving[pidfd] = self._loop.after(END_S, lambda: signal.pidfd_send_signal(pidfd, signal.SIGKILL))
            self._pid, self._pidfd = 0, -1

    def stop(self) -> None:
        """The loop has to turn until ``gone``."""
        self._stopped = True
        self._end()

    @property
    def gone(self) -> bool:
        return not self._leaving

    @property
    def pid(self) -> int:
        """0: no process runs."""
        return self._pid

    # --------------------------------------------------------------------------------------------- records

    def _hand(self) -> None:
        if self._channel is None:
            return
        try:
            self._channel.send(wanted_record(self._wanted), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            # It is busy with etcd, and has much to read: the last word must reach it.
            self._loop.after(BACKOFF_S[0], self._hand)
        except OSError:
            return  # It is dead: its pidfd tells, right after this.

    def _read(self) -> None:
        if not self._drain(RECORDS_A_TURN):
            # The end of the channel comes with the end of the process: the pidfd tells how.
            self._close()

    def _drain(self, limit: int = 10_000) -> bool:
        """Take what the process said; False at the end of the channel."""
        for _ in range(limit):
            if self._channel is None:
                return False
            try:
                size = self._channel.recv_into(self._buffer)
            except BlockingIOError:
                return True
            except OSError as error:
                self._log.error(f"the process that speaks with etcd is not heard any more: {error}")
                return False
            if size == 0:
                return False
            self._take(bytes(memoryview(self._buffer)[:size]))
        return True

    def _take(self, data: bytes) -> None:
        try:
            word = said(data)
        except ValueError as error:
            self._log.error(f"the process that speaks with etcd said what {error}")
            return
        if isinstance(word, str):
            self._say(word)
            return
        self._backoff = 0.0
        if not word.ours or not self._ours.get(word.service, False):
            self._log.info(f"{word.service}: {'ours' if word.ours else 'not ours'} in etcd: {printable(word.detail)}")
        self._ours[word.service] = word.ours
        # A moment that is still to come would make a service ours for longer than etcd said.
        asked = min(word.asked, self._loop.clock())
        self._tell(Arbitrated(word.service, word.ours, asked, printable(word.detail)))

    def _say(self, trouble: str) -> None:
        trouble = printable(trouble)
        if trouble == self.trouble:
            return
        if trouble:
            self._log.error(trouble)
        else:
            self._log.notice("etcd can be used again")
        self.trouble = trouble

    # ------------------------------------------------------------------------------------------ hand-over

    def packed(self) -> dict[str, Any]:
        """For the nmond that follows by exec: the process goes on meanwhile."""
        return {
            "wanted": dict(self._wanted),
            "terms": repr(self._terms),
            "pid": self._pid,
            "channel": self._channel.fileno() if self._channel is not None else -1,
            "trouble": self.trouble,
            "restarts": self.restarts,
        }

    def unpack(
        self, data: Mapping[str, Any], terms: Terms | None, timeout_of: Callable[[str], float], incarnation: str
    ) -> None:
        """In place of ``use``. Raises ValueError, KeyError or TypeError for what ``packed`` did not make."""
        self._terms, self._timeout_of, self._incarnation = terms, timeout_of, incarnation
        self._wanted = {str(service): float(timeout) for service, timeout in data["wanted"].items()}
        self.trouble, self.restarts = str(data["trouble"]), int(data["restarts"])
        pid, channel = int(data["pid"]), int(data["channel"])
        if pid and channel >= 0:
            self._pid, self._pidfd = pid, os.pidfd_open(pid)
            self._channel = socket.socket(fileno=channel)
            self._channel.setblocking(False)
            os.set_inheritable(channel, False)
            self._follow()
            if repr(terms) != data["terms"]:
                self._end()
        if self._channel is None:
            self._start()

    def channels(self) -> list[int]:
        """The descriptors that must live through the exec."""
        return [self._channel.fileno()] if self._channel is not None else []
