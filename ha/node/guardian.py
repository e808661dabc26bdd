"""The guardian: ends what runs on this node, in nmond's stead, when nmond has not renewed its lease in time.

``main`` is what the launcher ``$EZ_BIN/ezha-guardian`` calls. nmond starts it, and tells it times through the page of
``ha.node.guardfile``; it outlives nmond, and the next nmond finds it. It is small, locked in memory and scheduled in
real time, so that it is on time where nmond hangs, is stopped, or is not scheduled. Where there is a kernel watchdog it
feeds that, for as long as the lease stands: then the machine ends even if the guardian is not on time either.

It decides nothing but whether a time has come. It knows no configuration, no service and no peer, and imports next to
nothing.
"""

import ctypes
import fcntl
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from ha.node import realtime
from ha.node.fall import Ender
from ha.node.guardfile import GuardFile
from ha.node.streams import occupy
from ha.node.watchdog import KernelDevice, Watchdog, WatchdogError

POLL_S = 0.05
"""The page is looked at so often. Whoever begins to run something has told a time further away than this: the shortest
lease, of a timeout of 0.2 s, leaves 0.07 s between its end and the hard deadline."""
AGAIN_S = 1.0
"""What ends the machine is tried again after this, where it did not."""
LOCK_PATIENCE_S = 0.3
"""nmond holds the lock for a moment when it looks whether there is a guardian."""
PRIORITY = 2
"""Real-time (SCHED_FIFO): before nmond and its workers, which have 1."""
_JOB_LIMIT = 1 << 20
_PR_SET_NAME = 15


class Ends(Protocol):
    """Who ends things (``ha.node.fall``)."""

    def end(self, why: str) -> bool: ...

    def say(self, text: str) -> None: ...


class Guardian:
    """``look`` at least every POLL_S."""

    def __init__(self, page: GuardFile, ender: Ends, watchdog: Watchdog | None, margin: float) -> None:
        """``margin``: seconds between the end of a lease and the time that the page tells, its hard deadline; the
        least of any lease. A watchdog of less than that and a tenth of the shortest T ends the machine in time then."""
        self._page = page
        self._ender = ender
        self._watchdog = watchdog
        self._margin = margin
        self._again_at = float("-inf")
        self._trouble = ""

    @property
    def idle(self) -> bool:
        """Nothing runs that it has to end."""
        return self._page.until == float("inf")

    def look(self, now: float) -> float:
        """Do what is due; seconds until the next look."""
        page, until = self._page, self._page.until
        page.seen = now
        if self._watchdog is not None:
            self._keep(self._watchdog, until, now)
        if now < until:
            return min(POLL_S, until - now)
        if page.fired != until and now >= self._again_at:
            late = now - until
            if self._ender.end(f"nmond did not renew the lease, and {late:.3f} s ago what it covers had to be stopped"):
                page.fired = until
            else:
                self._again_at = now + AGAIN_S
        return POLL_S

    def _keep(self, watchdog: Watchdog, until: float, now: float) -> None:
        trouble = ""
        try:
            if until == float("inf") and self._page.watchdog > 0 and not watchdog.armed:
                watchdog.keep(True, True, now)  # a guardian before this one died, and its device still counts
            watchdog.keep(until != float("inf"), now < until - self._margin, now)
        except WatchdogError as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            self._ender.say(f"{trouble}; this process guards alone")
        self._trouble = trouble
        self._page.watchdog = float(watchdog.seconds) if watchdog.armed and not trouble else 0.0

    def close(self) -> None:
        """Leave no watchdog behind that nobody feeds. Raises WatchdogError."""
        self._page.watchdog = 0.0
        if self._watchdog is not None:
            self._watchdog.disarm()


class _Asked:
    """SIGTERM: to end, where nothing is guarded. SIGUSR1: whatever is guarded, for nmond itself will see to that."""

    def __init__(self) -> None:
        self.to_end = self.to_let_go = False

    def __call__(self, number: int, frame: object) -> None:
        if number == signal.SIGUSR1:
            self.to_let_go = True
        self.to_end = True


def run(guardian: Guardian, clock: Callable[[], float], asked: _Asked) -> None:
    """Until nmond asks it to let go, or anybody to end while it guards nothing: otherwise that counts for nothing."""
    while True:
        wait = guardian.look(clock())
        if asked.to_end:
            if guardian.idle or asked.to_let_go:
                return
            asked.to_end = False
        time.sleep(wait)


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _lock(path: str, digest: str) -> bool:
    """Be the only guardian of this node, for as long as this process lives."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.005)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()} {digest}\n".encode(), 0)
    return True


def _guard(job: dict[str, Any]) -> int:
    run_dir = str(job["run"])
    if not _lock(f"{run_dir}/guardian.lock", str(job["digest"])):
        return 1
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"ezha-guardian", 0, 0, 0)
    asked = _Asked()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, asked)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    page = GuardFile.open(f"{run_dir}/guard", str(job["boot"]))
    command = tuple(str(word) for word in job["command"])
    ender = Ender(f"{run_dir}/jobs", str(job["log"]), str(job["mode"]), command, float(job["timeout"]))
    path, seconds = str(job["watchdog"]), int(job["watchdog_s"])
    watchdog = Watchdog(seconds, lambda: KernelDevice(path)) if path and seconds else None
    guardian = Guardian(page, ender, watchdog, float(job["margin"]))
    gc.disable()
    # What is refused here (a container) is no reason not to guard.
    realtime.stay_alive()
    realtime.lock_memory(on_fault=False)
    realtime.be_prompt(os.SCHED_FIFO, PRIORITY)
    run(guardian, _boottime, asked)
    guardian.close()
    return 0


def main() -> int:
    """The job comes on standard input, as JSON: ``ha.node.guarding`` writes it. Exit code 1: another one guards."""
    occupy()
    os.umask(0o077)
    os.chdir("/")
    try:
        job = json.loads(sys.stdin.buffer.read(_JOB_LIMIT))
        return _guard(job)
    except (OSError, ValueError, KeyError, TypeError, WatchdogError) as error:
        print(f"ezha-guardian: cannot guard: {type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
