"""The event loop of nmond: one thread, ``selectors``, timers and idle work.

It knows nothing of heartbeats. What must come first after every wake-up is given as ``first``: it is called before
any callback, and again between two callbacks, so that no amount of input delays it by more than one callback. What is
watched as ``news`` is read before each of these calls: nothing is concluded from a silence while news lie unread.
"""

import heapq
import selectors
from collections.abc import Callable
from typing import Final

from ha.node.clock import now as boottime

IDLE_SLICE_S: Final = 0.005
"""Idle work is done in slices of about this long; input and deadlines are looked at in between."""
LONGEST_WAIT_S: Final = 1.0
"""The kernel's wait does not count a suspend, our deadlines do: after one, they are looked at within this time."""


class Timer:
    """A call at a time to come. ``cancel`` may be called at any time, also after it fired."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Runs callbacks until ``stop``."""

    def __init__(
        self,
        first: Callable[[], None] = lambda: None,
        deadline: Callable[[], float] = lambda: float("inf"),
        clock: Callable[[], float] = boottime,
        selector: selectors.BaseSelector | None = None,
    ) -> None:
        self.first = first
        self.deadline = deadline
        """When ``first`` has to be called again at the latest, in seconds of ``clock``."""
        self.clock = clock
        self.idle: list[Callable[[], bool]] = []
        """Sources of idle work: each does one small piece when called, or returns False at once."""
        self._selector = selector or selectors.DefaultSelector()
        self._news = selectors.DefaultSelector()
        self._selector.register(self._news, selectors.EVENT_READ)
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._more = False
        self._running = False

    # ---------------------------------------------------------------------------------- what to wait for

    def listen(self, fd: int, call: Callable[[], None]) -> None:
        """Call ``call``, which must be quick, whenever ``fd`` can be read: always before ``first`` is called."""
        self._news.register(fd, selectors.EVENT_READ, call)

    def watch(self, fd: int, call: Callable[[], None], *, read: bool = True, write: bool = False) -> None:
        """Call ``call`` whenever ``fd`` is ready. Watching it again replaces what was asked before."""
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, call)
        else:
            self._selector.register(fd, events, call)

    def unwatch(self, fd: int) -> None:
        """Must come before ``fd`` is closed. Nothing happens where it is not watched."""
        for selector in (self._selector, self._news):
            if fd in selector.get_map():
                selector.unregister(fd)

    def renew(self) -> None:
        """In a forked copy of the process: listen on, and forget whatever else was waited for.

        What the kernel keeps for a selector is shared with the process that this one is a copy of."""
        heard = list(self._news.get_map().values())
        self._selector, self._news = selectors.DefaultSelector(), selectors.DefaultSelector()
        self._selector.register(self._news, selectors.EVENT_READ)
        for key in heard:
            self._news.register(key.fd, selectors.EVENT_READ, key.data)

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """Call ``call`` once at ``when`` (seconds of ``clock``) or as soon after as possible."""
        timer = Timer(when, call)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def after(self, delay: float, call: Callable[[], None]) -> Timer:
        return self.at(self.clock() + delay, call)

    # ------------------------------------------------------------------------------------------- running

    def stop(self) -> None:
        """Makes ``run`` return at the end of the present turn."""
        self._running = False

    def run(self) -> None:
        self._running = True
        while self._running:
            self.turn()

    def turn(self, longest: float = LONGEST_WAIT_S) -> None:
        """Wait for something to happen (at most ``longest`` seconds), and do it."""
        ready = self._selector.select(self._timeout(longest))
        self._look()
        for key, _ in ready:
            if key.fileobj is self._news:
                continue
            # An earlier callback of this turn may have unwatched this one.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
                self._look()
        self._fire()
        self._work()

    def _look(self) -> None:
        for key, _ in self._news.select(0):
            if self._news.get_map().get(key.fd) is key:
                key.data()
        self.first()

    def _timeout(self, longest: float) -> float:
        if self._more:
            return 0.0
        until = self.deadline()
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        if self._timers:
            until = min(until, self._timers[0][0])
        return max(0.0, min(longest, until - self.clock()))

    def _fire(self) -> None:
        now = self.clock()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            call, timer.call = timer.call, None
            if call is not None:
                call()
                self._look()

    def _work(self) -> None:
        end = self.clock() + IDLE_SLICE_S
        while self.clock() < end:
            # One piece of every source in turn: a long queue of one does not starve the others.
            did = [source() for source in self.idle]
            self._more = any(did)
            if not self._more:
                return
            self._look()

    def drain(self) -> None:
        """Do all idle work now (before the end of the process)."""
        while any(source() for source in self.idle):
            pass

    def close(self) -> None:
        self._selector.close()
        self._news.close()
