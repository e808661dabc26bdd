"""The metrics server, where one is configured: ``$EZ_BIN/ezha metrics --serve ADDRESS:PORT``, a process of its own.

It asks the control socket as anybody does. Here it is only started, ended, and started again when it dies; whether it
answers is no concern of a decision.
"""

import os
import signal
from collections.abc import Callable
from typing import Final

from ha.node import process
from ha.node.log import Log
from ha.node.loop import Loop, Timer

AGAIN_S: Final = 5.0
"""A server that died is started again after this."""


class Exporter:
    """At most one server."""

    def __init__(self, loop: Loop, program: str, log: Log) -> None:
        self._loop = loop
        self._program = program
        self._log = log
        self._address: tuple[str, int] | None = None
        self._pidfd = -1
        self._timer: Timer | None = None
        self.pid = 0

    def use(self, address: tuple[str, int] | None) -> None:
        """Serve on this address from now on; None: not at all."""
        if address == self._address:
            return
        self._address = address
        if self.pid:
            # Its end starts the next one, or none.
            self.stop()
        else:
            self._start()

    def stop(self) -> None:
        if self.pid:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def _start(self) -> None:
        self._cancel()
        if self._address is None:
            return
        try:
            self.pid = process.fork(self._child(os.getpid(), self._address))
            self._pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            self._log.error(f"the metrics server cannot be started: {error}")
            self._timer = self._loop.after(AGAIN_S, self._start)
            return
        started_for = self._address
        self._loop.watch(self._pidfd, lambda: self._ended(started_for))

    def _child(self, parent: int, address: tuple[str, int]) -> Callable[[], None]:
        host, port = address
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

        def child() -> None:
            os.setsid()
            process.die_with_parent(parent)
            null = os.open("/dev/null", os.O_WRONLY)
            process.become((self._program, "metrics", "--serve", where), os.environ, null)

        return child

    def _ended(self, started_for: tuple[str, int]) -> None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        self.pid, self._pidfd = 0, -1
        if started_for != self._address:
            self._start()
            return
        code = os.waitstatus_to_exitcode(status)
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"
        self._log.warning(f"the metrics server on {started_for[0]}:{started_for[1]} {how}; again in {AGAIN_S:g} s")
        self._timer = self._loop.after(AGAIN_S, self._start)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
