"""A process beside nmond that decides nothing: the metrics server, the watch over monitored resources.

Here it is only started, ended, and started again when it dies; whether it does its work is no concern of a decision.
It ends with nmond.
"""

import os
import signal
from collections.abc import Callable, Iterable
from typing import Final

from ha.node import process, realtime
from ha.node.log import Log
from ha.node.loop import Loop, Timer

AGAIN_S: Final = 5.0
"""One that died is started again after this."""

Argv = tuple[str, ...]


class Companion:
    """At most one process at a time."""

    def __init__(self, loop: Loop, what: str, log: Log) -> None:
        """``what``: for people, such as ``the metrics server``."""
        self._loop = loop
        self._what = what
        self._log = log
        self._argv: Argv | None = None
        self._pidfd = -1
        self._timer: Timer | None = None
        self.pid = 0

    def use(self, argv: Argv | None) -> None:
        """Run this from now on; None: nothing."""
        if argv == self._argv:
            return
        self._argv = argv
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
        if self._argv is None:
            return
        try:
            self.pid = process.fork(self._child(os.getpid(), self._argv))
            self._pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            self._log.error(f"{self._what} cannot be started: {error}")
            self._timer = self._loop.after(AGAIN_S, self._start)
            return
        started_for = self._argv
        self._loop.watch(self._pidfd, lambda: self._ended(started_for))

    def _child(self, parent: int, argv: Argv) -> Callable[[], None]:
        def child() -> None:
            os.setsid()
            process.die_with_parent(parent)
            realtime.may_die(os.getpid())
            null = os.open("/dev/null", os.O_WRONLY)
            process.become(argv, os.environ, null)

        return child

    def _ended(self, started_for: Argv) -> None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        self.pid, self._pidfd = 0, -1
        if started_for != self._argv:
            self._start()
            return
        code = os.waitstatus_to_exitcode(status)
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"
        self._log.warning(f"{self._what} ({' '.join(started_for[1:])}) {how}; again in {AGAIN_S:g} s")
        self._timer = self._loop.after(AGAIN_S, self._start)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def metrics_server(bin_dir: str, address: tuple[str, int] | None) -> Argv | None:
    """Serves on ``address``, where one is configured."""
    if address is None:
        return None
    host, port = address
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return (f"{bin_dir}/ezha", "metrics", "--serve", where)


def resource_watch(bin_dir: str, scripts: Iterable[str]) -> Argv | None:
    """Looks at monitored resources, where svcmgr is the controller of a service: other controllers have none."""
    program = f"{bin_dir}/svcmgr"
    ours = os.path.realpath(program)
    if any(os.path.realpath(script) == ours for script in scripts):
        return (program, "watch")
    return None
