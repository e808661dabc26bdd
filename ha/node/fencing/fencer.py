"""nmond's side of fencing: one at a time, each in a process of its own, and never waited for.

What the engine asks for waits by rank (``ha.node.fencing.rank``), is asked about once more (a node that is heard again
is left alone), and is handed to a forked process, which ends with nmond. A node that is asked for while it waits or is
being fenced is fenced once. It decides nothing: whom to fence, when again after a failure, and what follows from it, is
the engine's matter.
"""

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ha.fsm.events import Fenced, FenceNode, Note, NoteKind
from ha.node import process
from ha.node.config.fencing import FenceMethod
from ha.node.fencing.rank import wait_by_rank
from ha.node.loop import Loop, Timer

SPARE_S: Final = 10.0
"""So much longer than its two calls may take is a process that fences left alone."""
MAX_OUTCOME: Final = 32_768
"""Bytes of an outcome, which fit into its pipe at once."""
HEARD: Final = "it is heard again"


@dataclass(slots=True)
class _Asked:
    """A node that waits to be fenced."""

    reason: str
    at: float
    """When its turn comes."""


@dataclass(slots=True)
class _Running:
    """The fencing under way."""

    node: str
    reason: str
    pid: int
    pidfd: int
    pipe: int
    guard: Timer


class Fencer:
    """``ask`` returns at once."""

    def __init__(
        self,
        loop: Loop,
        node: str,
        environ: Mapping[str, str],
        *,
        method: Callable[[str], FenceMethod | None],
        nodes: Callable[[], tuple[str, ...]],
        silent: Callable[[str], bool],
        ended: Callable[[Fenced], None],
        tell: Callable[[Note], None],
    ) -> None:
        """``method``: how a node is fenced; ``nodes``: in the order of the file; ``silent``: whether one still is."""
        self._loop = loop
        self._node = node
        self._environ = dict(environ)
        self._method = method
        self._nodes = nodes
        self._silent = silent
        self._ended = ended
        self._tell = tell
        self._asked: dict[str, _Asked] = {}
        self._running: _Running | None = None
        self._timer: Timer | None = None
        self.held = False
        """No fencing is begun: that is left to the nmond that this one is handed over to."""
        self.done = 0
        self.failed = 0

    def ask(self, order: FenceNode) -> None:
        """Fence it when its turn comes. How that ended is told, also where it cannot be done at all."""
        node = order.node
        if node in self._asked or (self._running is not None and self._running.node == node):
            return
        method = self._method(node)
        if method is None:
            detail = f'nothing says how {node} is fenced: give [fence."{node}"] in options.toml'
            self._loop.after(0.0, lambda: self._fail(node, detail, ()))
            return
        now = self._loop.clock()
        wait = wait_by_rank(self._node, node, self._nodes(), method.delay)
        self._asked[node] = _Asked(order.reason, now + wait)
        if wait:
            text = f"{node} is to be fenced in {wait:g} s ({order.reason}); {self._node} waits because it is behind it"
            self._tell(Note(NoteKind.ALERT, "", f"{text} in the file nodes"))
        # Not from within the engine's step that asks for it: its message goes out first.
        self._schedule(now)

    def forget(self, nodes: Iterable[str]) -> None:
        """What waits for any but these, which are all that there are now, is dropped."""
        known = set(nodes)
        for node in [node for node in self._asked if node not in known]:
            del self._asked[node]

    @property
    def pid(self) -> int:
        """Of the process that fences; 0: none does."""
        return self._running.pid if self._running is not None else 0

    # -------------------------------------------------------------------------------------- one at a time

    def _schedule(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.at(at, self._next)

    def _next(self) -> None:
        while self._running is None and self._asked and not self.held:
            node, asked = min(self._asked.items(), key=lambda item: item[1].at)
            if asked.at > self._loop.clock():
                self._schedule(asked.at)
                return
            del self._asked[node]
            self._begin(node, asked.reason)

    def _begin(self, node: str, reason: str) -> None:
        method = self._method(node)
        if method is None or not self._silent(node):
            self._ended(Fenced(node, False, "its fence method is gone" if method is None else HEARD))
            return
        theirs = ours = -1
        try:
            ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            parent = os.getpid()
            pid = process.fork(lambda: self._child(node, method, parent, theirs))
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if ours >= 0:
                os.close(ours)
            self._fail(node, f"cannot be begun: {error}", ())
            return
        finally:
            if theirs >= 0:
                os.close(theirs)
        self._tell(Note(NoteKind.ALERT, "", f"{node} is being fenced ({method.program} {method.action}): {reason}"))
        guard = self._loop.after(2 * method.timeout + SPARE_S, lambda: self._kill(pidfd))
        self._running = _Running(node, reason, pid, pidfd, ours, guard)
        self._loop.watch(pidfd, self._over)

    def _child(self, node: str, method: FenceMethod, parent: int, pipe: int) -> None:
        process.close_all_but({pipe})
        process.null_stdio()
        process.die_with_parent(parent)
        # A terminal's ^C is nmond's to hear.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from setproctitle import setproctitle

        from ha.node.fencing.agent import fence

        setproctitle(f"nmond (fences {node})")
        outcome = fence(method, node, {**self._environ, "EZ_NODE": self._node})
        os.write(pipe, outcome.packed()[:MAX_OUTCOME])

    @staticmethod
    def _kill(pidfd: int) -> None:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _over(self) -> None:
        running = self._running
        assert running is not None
        pid, status = os.waitpid(running.pid, os.WNOHANG)
        if pid == 0:
            return
        running.guard.cancel()
        self._loop.unwatch(running.pidfd)
        self._running = None
        try:
            said = os.read(running.pipe, MAX_OUTCOME)
        except BlockingIOError:
            said = b""
        finally:
            os.close(running.pidfd)
            os.close(running.pipe)
        self._told(running.node, said, os.waitstatus_to_exitcode(status))
        self._next()

    def _told(self, node: str, said: bytes, code: int) -> None:
        from ha.node.fencing.agent import Outcome

        try:
            outcome = Outcome.unpacked(said)
        except ValueError:
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
            self._fail(node, f"the process that did it ended by {how} and said nothing", ())
            return
        if not outcome.ok:
            self._fail(node, outcome.text, outcome.output)
            return
        self.done += 1
        self._tell(Note(NoteKind.ALERT, "", f"{node} has been fenced: {outcome.text}", evidence=outcome.output))
        self._ended(Fenced(node, True, outcome.text))

    def _fail(self, node: str, why: str, output: tuple[str, ...]) -> None:
        self.failed += 1
        self._tell(Note(NoteKind.ALERT, "", f"the fencing of {node} failed: {why}", evidence=output))
        self._ended(Fenced(node, False, why))

    # ------------------------------------------------------------------------------------------ hand-over

    def packed(self) -> dict[str, Any]:
        """For the nmond that follows by exec: what is under way begins anew there, which does no harm."""
        now = self._loop.clock()
        asked = [[node, asked.reason, max(0.0, asked.at - now)] for node, asked in self._asked.items()]
        if self._running is not None:
            asked.append([self._running.node, self._running.reason, 0.0])
        return {"asked": asked, "pid": self.pid, "counts": [self.done, self.failed]}

    def unpack(self, data: Mapping[str, Any]) -> None:
        """Raises ValueError, KeyError or TypeError for what ``packed`` did not make."""
        self.done, self.failed = (int(count) for count in data["counts"])
        if data["pid"]:
            # Our child, not reaped yet: the number is nobody else's. Its agent ends with it.
            os.kill(int(data["pid"]), signal.SIGKILL)
        now = self._loop.clock()
        for node, reason, wait in data["asked"]:
            self._asked[str(node)] = _Asked(str(reason), now + float(wait))
        self._next()
