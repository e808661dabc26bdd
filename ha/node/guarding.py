"""nmond's side of its guard: keeps a guardian running, tells it times, and says truly what is guarded.

What a node promises the others (``Promise``) is what would end its services now if nmond did not: never more than what
is in place at this moment. The guardian's own side is ``ha.node.guardian``.
"""

import fcntl
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import ha
from ha.fsm.config import ClusterConfig
from ha.fsm.lease import timing_of
from ha.fsm.states import Promise
from ha.node import process
from ha.node.config.protecting import Protecting
from ha.node.fall import Ender
from ha.node.guardfile import GuardFile
from ha.node.layout import Layout
from ha.node.log import Log
from ha.node.loop import Loop, Timer

LOOK_S: Final = 0.25
"""How often it is looked whether the guardian is on time, and the watchdog armed."""
SOON_S: Final = 0.01
"""The same while something is waited for: a guardian that has just been started, a watchdog to be armed."""
STALE_S: Final = 2.0
"""A guardian that has not looked at its page for so long guards nothing (SIGSTOP): it is ended, and another started."""
FRESH_S: Final = 0.5
"""A guardian that was found, and has looked at its page within this time, is on time."""
START_S: Final = 5.0
"""So long a new guardian may take to be ready."""
ARM_S: Final = 1.0
"""A script waits at most so long for the watchdog to be armed."""
LET_GO_S: Final = 1.0
"""One that is to end, and closes its watchdog before that, is killed after this."""
SHORT_LIFE_S: Final = 1.0
BACKOFF_S: Final = (0.1, 5.0)
COMMAND_S: Final = 10.0
"""``fence_command`` is ended after this, and run again; it should take much less."""
LAUNCHER: Final = "ezha-guardian"
_PROMISES: Final = {"reboot": Promise.REBOOT, "command": Promise.COMMAND, "stop": Promise.STOP}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the guardian does."""

    mode: str
    """``reboot``, ``command`` or ``stop`` (options.toml: self_fence)."""
    margin: float
    """Seconds between the end of a lease and its hard deadline: of the lease with the shortest T."""
    command: tuple[str, ...] = ()
    timeout: float = 10.0
    """Seconds that ``command`` may take."""
    watchdog: str = ""
    """Device; empty: there is none."""
    watchdog_s: int = 0
    """The watchdog's timeout in seconds."""


def plan_of(cluster: ClusterConfig, node: str, options: Protecting) -> Plan | None:
    """What this node needs; None where no lease covers any of its services."""
    timings = [timing_of(cluster, s) for s in cluster.services.values() if s.leased and node in s.nodes]
    if not timings:
        return None
    return Plan(
        mode=options.self_fence,
        # Of several leases the page tells the earliest deadline only. A watchdog that is fed until the shortest way
        # before it starves for no lease that stands, and is in time for each (``watchdog_s`` is the shortest, too).
        margin=min(timing.margin for timing in timings),
        command=options.fence_command if options.self_fence == "command" else (),
        timeout=COMMAND_S,
        watchdog=options.watchdog,
        watchdog_s=min(timing.watchdog for timing in timings) if options.watchdog else 0,
    )


class Guarding:
    """``promised`` is called with every change of what this node can promise; ``until`` is the driver's order."""

    def __init__(self, loop: Loop, layout: Layout, log: Log, promised: Callable[[Promise], None]) -> None:
        self._loop = loop
        self._layout = layout
        self._log = log
        self._promised = promised
        self._boot = ""
        self._page: GuardFile | None = None
        self._plan: Plan | None = None
        self.promise = Promise.STOP
        """As it was told last: what the engine knows."""
        self._pid = 0
        self._pidfd = -1
        self._since = 0.0
        self._ready = False
        self._dismissed = False
        """It ends because nmond wants it to."""
        self._backoff = 0.0
        self._timer: Timer | None = None
        self._arm_until = 0.0
        self.held = False
        """No guardian is started: that is left to the nmond that this one is handed over to."""
        self._closed = False
        self.restarts = 0
        self.left_until = float("-inf")
        """The hard deadline that the nmond before this one told last; ``inf``: it left nothing that a lease covers;
        ``-inf``: that is not known. Set by ``open``."""
        self._told = False
        self._seen = self._seen_at = self._looked_at = 0.0
        """What the page last showed of the guardian, since when, and when nmond last looked."""

    # ------------------------------------------------------------------------------------------ beginning

    def open(self, boot: str) -> None:
        """Find what an earlier nmond left; ``use`` begins to guard. Raises OSError."""
        path = f"{self._layout.run}/guard"
        known = os.path.exists(path)
        self._boot = boot
        self._page = page = GuardFile.open(path, boot)
        if known:
            self.left_until = page.until

    def use(self, plan: Plan | None) -> None:
        """From now on by this plan (the configuration was read). None: nothing here needs a guard."""
        if self._page is None:
            return
        if plan == self._plan and self._pid:
            return
        self._plan = plan
        if self._pid:
            self._let_go("another one is wanted" if plan is not None else "")
        elif plan is not None:
            self._find()
        self._look()

    @property
    def _needed(self) -> bool:
        """A plan, or something still runs by an earlier one."""
        return self._plan is not None

    # ------------------------------------------------------------------------------------- the driver's side

    def until(self, when: float) -> None:
        """Unless told anew before ``when``, what runs here is to be ended. ``inf``: nothing is to be."""
        page, self._told = self._page, True
        if page is None:
            return
        if page.until == float("inf") and when != float("inf") and self._plan is not None and self._plan.watchdog_s:
            self._arm_until = self._loop.clock() + ARM_S
            self._again(SOON_S)
        page.until = when

    def begun(self) -> None:
        """The engine has said all it has to at its beginning. Where it told no time, nothing runs that needs a guard,
        whatever an nmond before this one has left in the page."""
        if not self._told:
            self.until(float("inf"))

    @property
    def arming(self) -> bool:
        """A script has to wait for the watchdog, a moment at the most."""
        if not self._arm_until:
            return False
        armed = self._page is not None and self._page.watchdog > 0
        if armed or not self._ready or self._loop.clock() >= self._arm_until:
            self._arm_until = 0.0
        return self._arm_until > 0

    def end_machine(self, why: str) -> None:
        """``Effects.self_fence``: at once."""
        plan, page = self._plan, self._page
        mode = plan.mode if plan is not None else "stop"
        if mode != "reboot":
            self._log.error(f"{why} (self_fence = {mode})")
        if plan is None or page is None or mode == "stop":
            return
        if mode == "command" and self._ready:
            # The guardian runs it while nmond goes on; where its time has come already, it does so by itself.
            page.until = min(page.until, self._loop.clock())
            return
        ender = Ender(f"{self._layout.run}/jobs", f"{self._layout.log}/nmond.log", mode, plan.command, plan.timeout)
        if mode == "reboot":
            ender.end(why)
        else:
            process.fork(lambda: _done(ender.end(why)))

    def close(self) -> None:
        """nmond ends. A guardian that has something to guard stays; else it ends, too, and none is started any more."""
        self._timer_off()
        page = self._page
        if page is None:
            return
        if page.until == float("inf"):
            self.held = self._closed = True
            if self._pid:
                self._ready, self._dismissed = False, True
                self._signal(signal.SIGTERM)
        elif self._pid:
            self._log.warning(
                "services that a lease covers still run here: the guardian stays, and ends them with this machine "
                f"unless another nmond renews the lease within {max(0.0, page.until - self._loop.clock()):.1f} s"
            )

    @property
    def gone(self) -> bool:
        """No guardian is left that ``close`` has ended."""
        return not (self._closed and self._pid)

    def outlook(self) -> str:
        """For people: what becomes of this machine where nmond ends now; empty: nothing."""
        page, plan = self._page, self._plan
        if page is None or plan is None or page.until == float("inf"):
            return ""
        left = max(0.0, page.until - self._loop.clock())
        what = {"reboot": "this machine is rebooted", "command": "fence_command runs", "stop": "nothing ends it"}
        return f"{what[plan.mode]} in {left:.1f} s (self_fence = {plan.mode}) unless nmond is started again before that"

    @property
    def pid(self) -> int:
        """Of the guardian; 0: none runs."""
        return self._pid

    def describe(self) -> str:
        """For people: what ends this node's services if nmond cannot."""
        page = self._page
        if self.promise is Promise.WATCHDOG and page is not None:
            return f"watchdog ({page.watchdog:g} s) and guardian (pid {self._pid})"
        if self._ready and self._plan is not None:
            return f"guardian (pid {self._pid}), self_fence = {self._plan.mode}"
        return "nmond alone"

    # ------------------------------------------------------------------------------------ life of a process

    def _find(self) -> None:
        """The guardian of an nmond before this one, or a new one."""
        self._timer_off()
        if not self._needed or self._pid or self.held:
            return
        try:
            pid, digest = self._running()
            if not pid:
                self._start()
            else:
                self._follow(pid)
                if digest != self._digest():
                    self._let_go("it was started for another configuration")
                elif self._page is not None:
                    # It goes on guarding while nmond replaces itself: the promise does not drop for that.
                    self._ready = self._loop.clock() - self._page.seen < FRESH_S
        except OSError as error:
            self._failed(f"the guardian cannot be started: {error}")
        self._again(SOON_S)

    def _running(self) -> tuple[int, str]:
        """Pid of the process that holds the guardian's lock, and what it was started with; 0: nobody does."""
        fd = os.open(f"{self._layout.run}/guardian.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            words = os.pread(fd, 200, 0).decode(errors="replace").split()
            if len(words) != 2 or not words[0].isdigit():
                raise OSError(
                    f"{self._layout.run}/guardian.lock is locked by a process that does not say who it is"
                ) from None
            return int(words[0]), words[1]
        finally:
            os.close(fd)
        return 0, ""

    def _start(self) -> None:
        plan = self._plan
        assert plan is not None
        job = {"run": self._layout.run, "log": f"{self._layout.log}/nmond.log", "boot": self._boot, **asdict(plan)}
        stdin = os.memfd_create("ezha-guardian", os.MFD_CLOEXEC)
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(stdin, json.dumps({**job, "digest": self._digest()}).encode())
            os.lseek(stdin, 0, os.SEEK_SET)
            self._follow(process.spawn(command(self._layout), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stdin, null))
        finally:
            os.close(stdin)
            os.close(null)

    def _digest(self) -> str:
        plan = self._plan
        what = [ha.__version__, asdict(plan) if plan else None]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]

    def _follow(self, pid: int) -> None:
        self._pidfd = os.pidfd_open(pid)
        self._pid, self._since, self._ready, self._dismissed = pid, self._loop.clock(), False, False
        self._loop.watch(self._pidfd, self._died)

    def _let_go(self, why: str) -> None:
        """It is replaced as soon as it is gone; until then nothing guards. It closes its watchdog before it ends: one
        that was left armed would reset the machine, for the next guardian may come too late, or never, to feed it."""
        if why:
            self._log.notice(f"the guardian (pid {self._pid}) is ended: {why}")
        self._ready, self._dismissed, self._since = False, True, self._loop.clock()
        self._signal(signal.SIGUSR1)
        pid = self._pid
        self._loop.after(LET_GO_S, lambda: self._signal(signal.SIGKILL) if self._pid == pid else None)

    def _dismiss(self, why: str) -> None:
        """As ``_let_go``, of one that does nothing any more."""
        self._log.notice(f"the guardian (pid {self._pid}) is ended: {why}")
        self._ready, self._dismissed, self._since = False, True, self._loop.clock()
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            self._log.debug(f"the guardian (pid {self._pid}) has ended already")

    def _died(self) -> None:
        process.reap(self._pid)
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        pid, ready, lived = self._pid, self._ready, self._loop.clock() - self._since
        self._pid, self._pidfd, self._ready = 0, -1, False
        if ready:
            self._log.error(f"the guardian (pid {pid}) has died; another one is started")
        self._look()
        if not self._needed:
            return
        self.restarts += 1
        if lived >= SHORT_LIFE_S or ready or self._dismissed:
            self._backoff = 0.0
            self._find()
        else:
            self._failed(f"the guardian (pid {pid}) ended right after its start")

    def _failed(self, text: str) -> None:
        self._backoff = min(BACKOFF_S[1], max(BACKOFF_S[0], self._backoff * 2))
        self._log.error(f"{text}; tried again in {self._backoff:g} s")
        self._timer_off()
        self._timer = self._loop.after(self._backoff, self._find)

    # ----------------------------------------------------------------------------------------- what is true

    def _again(self, delay: float) -> None:
        self._timer_off()
        self._timer = self._loop.after(delay, self._look_again)

    def _timer_off(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self) -> None:
        self._timer = None
        self._look()
        if not self._pid:
            if self._needed and self._timer is None:
                self._find()
            return
        self._again(LOOK_S if self._ready and not self.arming else SOON_S)

    def _look(self) -> None:
        """Say what would end the services here now."""
        page, plan, now = self._page, self._plan, self._loop.clock()
        if page is None:
            return
        if self._pid and plan is not None:
            if not self._ready:
                self._ready = page.seen >= self._since and self._running_is_ours()
                if not self._ready and now - self._since > START_S:
                    self._dismiss(f"it was not ready within {START_S:g} s")
            elif self._stale(page, now):
                self._dismiss(f"it has not moved for {now - page.seen:.1f} s, and guards nothing")
        promise = Promise.STOP
        if self._ready and plan is not None:
            promise = Promise.WATCHDOG if page.watchdog > 0 else _PROMISES[plan.mode]
        if promise is not self.promise:
            self.promise = promise
            self._promised(promise)

    def _stale(self, page: GuardFile, now: float) -> bool:
        """It has not looked at its page for STALE_S in which nmond itself ran: after a pause of the whole machine nmond
        may be the first to wake. One whose time has come is at work, and looks when that is done."""
        away = now - self._looked_at > 2 * LOOK_S
        if away or page.seen != self._seen or now >= page.until:
            self._seen, self._seen_at = page.seen, now
        self._looked_at = now
        return now - self._seen_at > STALE_S

    def _running_is_ours(self) -> bool:
        try:
            return self._running() == (self._pid, self._digest())
        except OSError:
            return False  # it has the lock, and has not written who it is yet


def command(layout: Layout) -> tuple[str, ...]:
    """How a guardian is started."""
    launcher = f"{layout.bin}/{LAUNCHER}"
    if os.access(launcher, os.X_OK):
        return (launcher,)
    code = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    program = f"import sys; sys.path.append({code!r}); from ha.node.guardian import main; sys.exit(main())"
    return (sys.executable, "-IS", "-c", program)


def _done(good: bool) -> None:
    os._exit(0 if good else 1)
