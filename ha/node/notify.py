"""Runs the administrator's ``notify`` command on every transition: in order, one at a time, never waited for.

A command that hangs is killed after a while, and a queue that grows too long loses its newest entries, counted: what
people are told late is worth less than a decision taken late. It knows nothing of the engine but the form of a note.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from ha.fsm.events import Note, NoteKind
from ha.node import process
from ha.node.log import Log
from ha.node.loop import Loop, Timer
from ha.node.trust import DistrustError, require_trust

LONGEST_QUEUE: Final = 1000
"""Transitions that wait to be told."""
TIMEOUT_S: Final = 30.0
"""A command that runs longer is killed with its process group."""
UNTRUSTED: Final = 126
"""Exit code of the child that may not run it."""


class Notifier:
    """``tell`` returns at once."""

    def __init__(self, loop: Loop, node: str, log: Log, environ: Mapping[str, str]) -> None:
        self._loop = loop
        self._node = node
        self._log = log
        self._environ = dict(environ)
        self._queue: deque[dict[str, str]] = deque()
        self.pid = 0
        """Of the command that runs; 0: none does."""
        self._pidfd = -1
        self._timer: Timer | None = None
        self._running = ""
        """The program that runs; ``command`` may be another one by now, or none."""
        self.held = False
        """No command is started: what is to be told is kept for the nmond that this one is handed over to."""
        self.command: tuple[str, ...] = ()
        """Empty: nothing is run."""
        self.dropped = 0
        self.failed = 0
        self.told = 0

    def tell(self, note: Note) -> None:
        """Queue it if it is a transition of a service."""
        if not self.command or note.kind is not NoteKind.TRANSITION or note.source is None or note.dest is None:
            return
        if len(self._queue) >= LONGEST_QUEUE:
            self.dropped += 1
            if self.dropped == 1:
                self._log.error(
                    f"the notify command is too slow: {LONGEST_QUEUE} transitions wait for it, others are dropped"
                )
            return
        self._queue.append(
            {
                "EZ_SERVICE": note.service,
                "EZ_NODE": self._node,
                "EZ_FROM": note.source.name,
                "EZ_TO": note.dest.name,
                "EZ_REASON": note.text,
                "EZ_BY": note.by,
                "EZ_GENERATION": str(note.generation),
            }
        )
        self._next()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def _next(self) -> None:
        while self._queue and not self.pid and self.command and not self.held:
            told = self._queue.popleft()
            self._running = self.command[0]
            try:
                self.pid = process.fork(self._child(told))
                self._pidfd = os.pidfd_open(self.pid)
            except OSError as error:
                self._failed(f"cannot be started: {error}")
                self.pid = 0
                return
            self._follow()

    def _follow(self) -> None:
        self._loop.watch(self._pidfd, self._finished)
        self._timer = self._loop.after(TIMEOUT_S, self._too_long)

    def _child(self, told: Mapping[str, str]) -> Callable[[], None]:
        def child() -> None:
            os.setsid()
            null = os.open("/dev/null", os.O_WRONLY)
            try:
                require_trust(self.command[0])
                process.become(self.command, {**self._environ, **told}, null)
            except DistrustError:
                os._exit(UNTRUSTED)
            except OSError:
                # 126 or 127, as a shell has it: the command line cannot be run.
                os._exit(127)

        return child

    def _too_long(self) -> None:
        self._failed(f"was killed after {TIMEOUT_S:g} s")
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _finished(self) -> None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        self.pid = 0
        self.told += 1
        code = os.waitstatus_to_exitcode(status)
        if code == UNTRUSTED:
            self._failed("is not run: others than root may write it, ezha check tells what to do")
        elif code == 127:
            self._failed("cannot be run (exit code 127)")
        elif code > 0:
            self._failed(f"ended with exit code {code}")
        self._next()

    def _failed(self, how: str) -> None:
        self.failed += 1
        self._log.warning(f"the notify command {self._running} {how}")

    # ------------------------------------------------------------------------------------------ hand-over

    def packed(self) -> dict[str, Any]:
        return {"queue": list(self._queue), "pid": self.pid, "dropped": self.dropped, "failed": self.failed}

    def unpack(self, data: Mapping[str, Any]) -> None:
        self.dropped, self.failed = int(data["dropped"]), int(data["failed"])
        self._queue.extend(dict(told) for told in data["queue"])
        if data["pid"]:
            self.pid, self._running = int(data["pid"]), self.command[0] if self.command else "of the last nmond"
            self._pidfd = os.pidfd_open(self.pid)
            self._follow()
        self._next()
