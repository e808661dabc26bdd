"""Replaces nmond by a new program, by exec: a restart, or an upgrade, that services and peers do not notice.

The new program is tried beforehand: it must load, and read the configuration, well within the time after which the
other nodes call this one silent. Then nmond forks a bridge (``ha.node.bridge``), which speaks for the node meanwhile,
and executes the new program, which asks the bridge for all it needs to know.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from ha.node import bridge, handover, process
from ha.node.control import ControlServer
from ha.node.lock import Lock
from ha.node.loop import Timer
from ha.node.running import Node

PROBE_TIMEOUT_S: Final = 20.0
"""So long the new program may take to show that it loads."""
PROBES: Final = 5
"""So often a program that loads too slowly is tried: on a busy machine the next one may be quicker."""
LONGEST_PAUSE: Final = 0.75
"""Of T, the time after which the others take this node's services over: the load must take less."""
WAIT_FOR_HEARTBEAT_S: Final = 1.5
"""The exec waits at most so long for a heartbeat to follow."""

Tell = Callable[[bool, str], None]


def program() -> list[str]:
    """How this nmond was started, as an argument list."""
    return [sys.executable, *sys.orig_argv[1:]]


class Successor:
    """``restart`` returns at once, and what follows is told."""

    def __init__(self, node: Node, lock: Lock, control: ControlServer, before: Callable[[], None]) -> None:
        """``before`` is called right before the exec, when there is no way back but a failure of it."""
        self._node = node
        self._lock = lock
        self._control = control
        self._before = before
        self._tells: list[Tell] = []
        self._began = 0.0
        self._probes = 0
        self._pid = 0
        self._pidfd = -1
        self._output = -1
        self._timer: Timer | None = None

    def restart(self, tell: Tell) -> None:
        self._tells.append(tell)
        if len(self._tells) > 1:
            return
        if self._node.driver.engine.leaving:
            self._refuse("this node leaves the cluster; it is not restarted")
            return
        _, problems = self._node.examine()
        if problems:
            self._refuse(f"the new nmond would refuse the configuration: {'; '.join(problems[:3])}")
            return
        self._probes = 0
        self._try()

    def _try(self) -> None:
        self._probes += 1
        self._began = time.monotonic()
        try:
            self._output = os.memfd_create("ezha-probe", os.MFD_CLOEXEC)
            self._pid = process.fork(self._probe)
            self._pidfd = os.pidfd_open(self._pid)
        except OSError as error:
            self._refuse(f"the new program cannot be tried: {error}")
            return
        self._node.loop.watch(self._pidfd, self._probed)
        self._timer = self._node.loop.after(PROBE_TIMEOUT_S, self._too_long)

    def _refuse(self, text: str) -> None:
        self._node.log.error(f"not restarted: {text}")
        tells, self._tells = self._tells, []
        self._node.sent = _nothing
        for tell in tells:
            tell(False, f"not restarted: {text}")

    # ---------------------------------------------------------------------------------------------- probe

    def _probe(self) -> None:
        argv = program()
        os.setsid()
        process.become((*argv, "--probe"), os.environ, self._output)

    def _too_long(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _probed(self) -> None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return
        took = time.monotonic() - self._began
        if self._timer is not None:
            self._timer.cancel()
        self._node.loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        said = os.pread(self._output, 4096, 0).decode(errors="replace").strip()
        os.close(self._output)
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            last = said.splitlines()[-1] if said else f"it ended with {code} and said nothing"
            self._refuse(f"the new program does not start: {last}")
            return
        timeout = self._node.configuration.cluster.timeout_of(self._node.name)
        if took > LONGEST_PAUSE * timeout:
            if self._probes < PROBES:
                self._try()
                return
            self._refuse(
                f"the new program takes {took:.3f} s to load, and after {timeout:g} s of silence the other nodes take "
                "over; try again when the machine is less busy"
            )
            return
        self._node.sent = self._heartbeat_sent
        self._timer = self._node.loop.after(WAIT_FOR_HEARTBEAT_S, self._heartbeat_sent)

    # ----------------------------------------------------------------------------------------------- exec

    def _heartbeat_sent(self) -> None:
        # Not from within the engine's step that sent it: the rest of its effects comes first.
        self._node.sent = _nothing
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._node.loop.after(0.0, self._execute)

    def _alone(self) -> None:
        """In the bridge: clients and those who asked are nmond's own."""
        self._tells = []
        self._control.close(unlink=False)

    def _execute(self) -> None:
        """Right after a heartbeat, so that the fork's time is nobody's."""
        node = self._node
        node.settle()
        while node.runner.launch() or node.outbox.note() or node.outbox.local():
            node.settle()
        if node.driver.waits:
            self._refuse(f"how a script ended cannot be written ({node.driver.trouble}), and would be forgotten")
            return
        try:
            line, pid = bridge.fork(node, self._alone)
            if not pid:
                return
        except OSError as error:
            self._refuse(f"nothing can be handed over: {error}")
            return
        try:
            fd = handover.write({"lock": self._lock.fd, "control": self._control.fileno(), "bridge": line})
        except (OSError, handover.HandoverError) as error:
            _kill(pid, line)
            self._refuse(f"nothing can be handed over: {error}")
            return
        self._before()
        tells, self._tells = self._tells, []
        for tell in tells:
            tell(True, "nmond is replaced now; services run on")
        keep = (line, self._lock.fd, self._control.fileno(), *node.workers.channels(), *node.outside.channels())
        try:
            handover.execute(fd, keep, program(), os.environ)
        except OSError as error:
            os.close(fd)
            _kill(pid, line)
            node.log.error(f"not restarted: {sys.executable} cannot be executed: {error}; the old nmond goes on")


def _kill(pid: int, line: int) -> None:
    """A bridge that nobody will ask."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(line)


def _nothing() -> None:
    return
