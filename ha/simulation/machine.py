"""A machine: power, clocks, a disk of its own, processes. What runs on it as nmond is a ``Program``.

It decides nothing, and knows neither heartbeats nor states. While a machine is paused nothing on it happens; what the
world does to it meanwhile happens when it goes on. Whatever was planned before its power failed never happens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ha.fsm.config import ClusterConfig, PathId
from ha.fsm.events import Command, ConfirmDown, Ended, RunScript, SlotView
from ha.fsm.states import ScriptKind, State
from ha.simulation.agenda import Agenda, Deed
from ha.simulation.clock import Clock
from ha.simulation.draw import Draw
from ha.simulation.files import SimulatedFiles
from ha.simulation.guard import Guard, GuardKind
from ha.simulation.scripts import Pace, Script, duration, outcome

RESTART_S = (0.05, 0.3)
"""A supervisor has a dead nmond running again after so long."""
BOOT_S = (2.0, 6.0)
"""A machine that ended itself has booted again after so long."""
QUEUE = 64
"""Datagrams that wait for a program that does not read, of each path (as much as the workers' channel holds)."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a program has on record of a service."""

    state: State
    unclean: bool = False
    """A stop failed: part of it may run, though the state says otherwise."""


class Program(Protocol):
    """What nmond is on this machine: ezha, or the original. Called only while it is scheduled."""

    acknowledges: bool
    """A claim of it is settled by what the others acknowledge."""
    independent: bool
    """Its listeners and its commands are processes that do not wait for nmond."""

    @property
    def config(self) -> ClusterConfig:
        """As it has it just now."""

    def held(self, service: str) -> Held | None:
        """None where it does not know the service."""

    def recorded(self, service: str) -> State | None:
        """What a power cut would leave on its disk; None: nothing."""

    def hears(self, other: str) -> bool:
        """It takes the other node for alive."""

    def start(self, boot: bool, orphans: dict[str, ScriptKind]) -> None:
        """It begins. ``orphans``: scripts that an nmond before it left running."""

    def receive(self, path: PathId, data: bytes, at: float) -> None:
        """A datagram that a listener took at ``at`` (its own clock)."""

    def looked(self, path: PathId, data: bytes, at: float, begun: float, view: SlotView) -> None:
        """A look at a slot, begun at ``begun`` and ended at ``at``."""

    def command(self, command: Command) -> None: ...

    def confirm_down(self, said: ConfirmDown) -> None:
        """An operator states that another node is off."""

    def leave(self) -> None:
        """``ezha.init stop``."""

    def restart(self) -> None:
        """``ezha.init restart``."""

    def reload(self) -> None:
        """SIGHUP: the configuration changed."""

    def boot_script(self) -> None:
        """``ezha.init start``, though it runs."""

    def crash(self, point: int) -> None:
        """nmond dies at its so-manieth effect from now on."""

    def kill_listeners(self) -> None:
        """The processes that listen die."""

    def forged(self, about: str, service: str, state: State) -> bytes:
        """What a stranger who knows the format, and has listened, would send to this node in the name of ``about``."""

    def killed(self) -> bool:
        """kill -9 of nmond alone. False: other processes of it live on, and nobody starts another nmond."""

    def resumed(self) -> None:
        """It was not scheduled, and is again; before anything that waited for it."""

    def end(self) -> None:
        """It is gone: it may do nothing any more."""


class Watcher(Protocol):
    """Who looks at what happens on machines: the checkers."""

    def launched(self, machine: "Machine", script: Script) -> None:
        """``script`` is about to run; it does not stand in ``machine.scripts`` yet."""

    def up(self, machine: "Machine", service: str) -> None: ...

    def down(self, machine: "Machine", service: str) -> None: ...

    def ended(self, machine: "Machine", script: Script, how: Ended, code: int) -> None: ...

    def signalled(self, machine: "Machine", service: str, job: int) -> None: ...

    def guarded(self, machine: "Machine") -> None:
        """Its guard ends it."""


class Machine:
    """One node's hardware and kernel."""

    def __init__(
        self,
        name: str,
        agenda: Agenda,
        clock: Clock,
        draw: Draw,
        pace: Pace,
        watcher: Watcher,
        make: Callable[["Machine"], Program],
    ) -> None:
        self.name = name
        self.agenda = agenda
        self.clock = clock
        self.files = SimulatedFiles()
        self.files.folders.add("/usr/local/cluster")
        self.draw = draw
        self.program: Program | None = None
        self.on = False
        self.boots = 0
        self.stopped = 0
        """How many faults keep nmond from being scheduled."""
        self._ends = 0
        """How many programs have ended here."""
        self.halted = 0
        """How many faults keep the whole machine from running."""
        self.buffering = 0
        """How many of them leave the kernel at work: it keeps a few datagrams for its sockets."""
        self.left = False
        """ezha was stopped on purpose: no supervisor brings it back."""
        self.wanted = False
        """Somebody asked for a start while ezha was still leaving."""
        self.up: set[str] = set()
        self.scripts: dict[str, list[Script]] = {}
        self.shapes: dict[tuple[str, ScriptKind], list[str]] = {}
        """How scripts that begin now misbehave: the last word counts."""
        self.lives = 0
        self.lateness = 0.0
        """nmond is scheduled up to so many seconds late: the most of what ``late`` says."""
        self.late: list[float] = []
        """One entry a fault that is in force."""
        self.disturbed = 0.0
        """True time at which nmond was last known not to have been scheduled."""
        self.lapse = 0.0
        """For how long nmond was not scheduled last, by the machine's own clock, until ``awoke``."""
        self.awoke = 0.0
        self._ceased: float | None = None
        self.record_lost = False
        """Its state of record was damaged: what it remembers is no longer its past."""
        self._pace = pace
        self._watcher = watcher
        self._make = make
        self.outages: list[Deed] = []
        """What else happens when the power fails."""
        self._outage = 0
        self.guard = Guard(agenda, clock, self._guarded, self._guard_stops)
        self.suspended = 0
        """How many faults stop the whole machine, and a watchdog with it."""
        self.agents: list[str] = []
        """How fence agents that begin there now misbehave: the last word counts."""
        self.lied = 0
        """How many faults have storage tell it what is not so."""
        self.resumed = 0.0
        """True time at which the last of those was over."""
        self._held: list[Deed] = []
        self._waiting: list[Deed] = []
        self._queued: dict[PathId, int] = {}
        self._numbers = 0
        self._told = 0.0

    def disturb(self, seconds: float = 0.0) -> None:
        """nmond is not known to have been scheduled until ``seconds`` from now."""
        self.disturbed = max(self.disturbed, self.agenda.now + seconds)

    def now(self) -> float:
        """What its monotonic clock shows."""
        return self.clock.read(self.agenda.now)

    # ------------------------------------------------------------------------------------------------ power

    def power_on(self) -> None:
        if self.on:
            return
        self.on = True
        self.boots += 1
        self.clock.reset(self.agenda.now, self.draw.between(1.0, 30.0))
        self.left = False
        self._begin(boot=True)

    def power_off(self) -> None:
        self._outage += 1
        if not self.on:
            return
        self.end_program()
        self.on = False
        for deed in self.outages:
            deed()
        self.guard.off()
        self.halted = self.buffering = 0
        self.files.power_cut()
        self.scripts.clear()
        self._held.clear()
        for service in sorted(self.up):
            self.up.discard(service)
            self._watcher.down(self, service)
        self.suspended = 0

    def power_cycle(self, within: float) -> None:
        """It ends itself, which takes up to ``within`` seconds, and boots again."""
        boot = self.boots

        def end() -> None:
            if self.on and self.boots == boot:
                self.power_off()
                outage = self._outage
                self.agenda.after(self.draw.between(*BOOT_S), lambda: self._again(outage))

        if within:
            self.agenda.after(self.draw.between(0.0, within), end)
        else:
            end()

    def _again(self, outage: int) -> None:
        if outage == self._outage:  # else its power failed, too
            self.power_on()

    def _guarded(self) -> None:
        """nmond was not heard of in time."""
        self._watcher.guarded(self)
        self.power_cycle(self.guard.latency)

    def _guard_stops(self) -> bool:
        return bool(self.suspended or (self.halted and self.guard.how.kind is not GuardKind.WATCHDOG))

    def halt(self, clock_stands: bool, buffers: bool = False, suspends: bool = False) -> None:
        """Everything on it stops, also its clock where ``clock_stands``; not its kernel where it ``buffers``; its
        watchdog where that ``suspends``, too."""
        self._cease()
        self.halted += 1
        self.buffering += buffers
        self.suspended += suspends
        if clock_stands and not self.clock.standing:
            self.clock.stand(self.agenda.now)

    def unhalt(self) -> None:
        if not self.halted:
            return  # its power failed meanwhile
        self.halted -= 1
        if self.halted:
            return
        self.buffering = 0
        self.disturb()
        if self.clock.standing:
            self.clock.go(self.agenda.now)
        if self.suspended:
            self.suspended, self.resumed = 0, self.agenda.now
        self.guard.awake()
        # Scripts and timers were late alike: which of them comes first nobody can say.
        held, self._held = self._held, []
        for deed in held:
            deed()
        self._resume()

    def soon(self, deed: Deed) -> None:
        """``deed`` of this machine's own: now, or when it goes on."""
        if self.halted:
            self._held.append(deed)
        else:
            deed()

    def later(self, seconds: float, deed: Deed) -> None:
        """``deed`` of this machine's own, after so long by true time: not while it is halted, never after its power
        failed."""
        boot = self.boots

        def happen() -> None:
            if not self.on or self.boots != boot:
                return
            if self.halted:
                self._held.append(happen)
            else:
                deed()

        self.agenda.after(seconds, happen)

    # ------------------------------------------------------------------------------------------------ nmond

    @property
    def scheduled(self) -> bool:
        """nmond runs, and gets the CPU."""
        return self.program is not None and not self.stopped and not self.halted

    @property
    def answers(self) -> bool:
        """There is an nmond that a command can be sent to; whether it is scheduled is another matter."""
        return self.program is not None and not self.halted

    def _begin(self, boot: bool) -> None:
        orphans = {service: running[-1].kind for service, running in self.scripts.items() if running}
        self.lives += 1
        self.wanted = False
        self.disturb()
        self.lapse, self._ceased = 0.0, None
        self.program = self._make(self)
        self.program.start(boot, orphans)

    def end_program(self) -> None:
        """nmond is gone, and whoever waits for its scripts with it; they go on."""
        program, self.program = self.program, None
        self.stopped = 0  # whoever comes after a stopped process is not stopped
        self._ends += 1
        self._waiting.clear()
        self._queued.clear()
        if program is not None:
            program.end()
        for running in self.scripts.values():
            for script in running:
                script.ended = None

    def kill(self) -> None:
        """kill -9 of nmond. Its supervisor starts another; its scripts go on."""
        if self.program is None or not self.program.killed():
            return
        self.end_program()
        self.later(self.draw.between(*RESTART_S), self.restart)

    def exit(self) -> None:
        """nmond ends by itself, and for good (``ezha.init stop``)."""
        self.left = not self.wanted
        self.end_program()
        if self.wanted:
            self.later(self.draw.between(*RESTART_S), self.restart)

    def init_start(self) -> None:
        """``ezha.init start``: nothing where it runs already."""
        self.left = False
        self.wanted = self.program is not None  # which may be about to leave
        if self.on and self.program is None:
            self.later(self.draw.between(*RESTART_S), self.restart)

    def restart(self) -> None:
        """The supervisor's deed: nothing where nmond runs, or ezha was stopped on purpose."""
        if self.program is None and not self.left:
            self._begin(boot=False)

    def _cease(self) -> None:
        if self.scheduled:
            self._ceased = self.now()

    def stop_program(self) -> Callable[[], None]:
        """nmond is not scheduled until what is returned is called, which means nothing to one that came later."""
        self._cease()
        self.stopped += 1
        ends = self._ends

        def go_on() -> None:
            if self._ends == ends:
                self.stopped -= 1
                self._resume()

        return go_on

    def _resume(self) -> None:
        if not self.scheduled:
            return
        self.disturb()
        if self._ceased is not None:
            self.lapse, self.awoke, self._ceased = self.now() - self._ceased, self.agenda.now, None
        waiting, self._waiting = self._waiting, []
        self._queued.clear()
        if waiting and self.program is not None:
            self.program.resumed()
        for position, deed in enumerate(waiting):
            if not self.scheduled:
                self._waiting = waiting[position:] + self._waiting
                return
            deed()

    def tell(self, deed: Callable[[Program], None]) -> None:
        """``deed`` with the present nmond, once it is scheduled; never, where it ends before."""
        program = self.program
        if program is None:
            return
        if self.lateness:
            # What waits is read in its order.
            due = max(self._told, self.agenda.now + self.draw.between(0, self.lateness))
            self._told = due
            self.later(due - self.agenda.now, lambda: self._tell(program, deed))
        else:
            self._tell(program, deed)

    def ask(self, deed: Callable[[Program], None]) -> None:
        """As ``tell``, of what an operator does: where commands are processes of their own, nmond need not run."""
        if self.program is not None and self.program.independent and not self.halted:
            deed(self.program)
        else:
            self.tell(deed)

    def _tell(self, program: Program, deed: Callable[[Program], None]) -> None:
        if self.program is not program:
            return
        if self.stopped or self.halted:
            self._waiting.append(lambda: deed(program) if self.program is program else None)
        else:
            deed(program)

    def receive(self, path: PathId, data: bytes) -> None:
        """A listener has something. It runs while nmond is stopped, and its news waits in the channel."""
        if self.program is not None and self.halted and self.buffering:
            self._queued[path] = self._queued.get(path, 0) + 1
            if self._queued[path] <= QUEUE:
                self._held.append(lambda: self.receive(path, data))
            return
        if self.program is None or self.halted:
            return  # A socket's buffer is small, and what comes is soon outrun: a halted machine hears nothing.
        at = self.now()
        if self.program.independent:
            self.program.receive(path, data, at)
            return
        if self.stopped:
            self._queued[path] = self._queued.get(path, 0) + 1
            if self._queued[path] > QUEUE:
                return
        self.tell(lambda program: program.receive(path, data, at))

    def look(self, path: PathId, data: bytes, begun: float, view: SlotView) -> bool:
        """A listener has looked at a slot. ``data``: what it shows that is new. False: nmond's queue is full."""
        program = self.program
        if program is None or program.independent:
            return False
        if self.stopped:
            self._queued[path] = self._queued.get(path, 0) + 1
            if self._queued[path] > QUEUE:
                return False
        at = self.now()
        self.tell(lambda program: program.looked(path, data, at, begun, view))
        return True

    # ---------------------------------------------------------------------------------------------- scripts

    def run(self, order: RunScript, ended: Callable[[Ended, int], None]) -> None:
        """Launch a script."""
        self._numbers += 1
        shapes = self.shapes.get((order.service, order.kind))
        script = Script(
            order.service, order.kind, order.job, self._numbers, self.agenda.now, shapes[-1] if shapes else ""
        )
        script.ended = ended
        self._watcher.launched(self, script)
        self.scripts.setdefault(order.service, []).append(script)
        if script.kind is ScriptKind.START and script.shape != "fails":
            self._set(script.service, True)
        taken = duration(script.kind, script.shape, self._pace, self.draw)
        if taken is not None:
            self.later(taken, lambda: self._finish(script))

    def recover(self) -> None:
        """Every script that runs ends soon by itself, and as it should."""
        for service in sorted(self.scripts):
            for script in self.scripts[service]:
                script.shape = ""
                taken = duration(script.kind, "", self._pace, self.draw)
                assert taken is not None
                self.later(taken, lambda script=script: self._finish(script))  # type: ignore[misc]

    def signal(self, service: str, job: int, force: bool) -> None:
        """SIGTERM, or with ``force`` SIGKILL, to the process group of a script."""
        self._watcher.signalled(self, service, job)
        for script in list(self.scripts.get(service, ())):
            if script.job == job and (script.dies_of_kill if force else script.dies_of_term):
                self.later(0.001, lambda script=script: self._killed(script, 9 if force else 15))  # type: ignore[misc]

    def _finish(self, script: Script) -> None:
        if script not in self.scripts.get(script.service, ()):
            return
        code, up = outcome(script, script.service in self.up)
        self._gone(script, Ended.EXITED, code)
        self._set(script.service, up)
        self._report(script, Ended.EXITED, code)

    def _killed(self, script: Script, number: int) -> None:
        if script in self.scripts.get(script.service, ()):
            self._gone(script, Ended.KILLED, number)
            self._report(script, Ended.KILLED, number)

    def _gone(self, script: Script, how: Ended, code: int) -> None:
        running = self.scripts[script.service]
        running.remove(script)
        if not running:
            del self.scripts[script.service]
        self._watcher.ended(self, script, how, code)

    def _report(self, script: Script, how: Ended, code: int) -> None:
        if script.ended is not None:
            script.ended(how, code)

    def adopt(self, service: str, ended: Callable[[Ended, int], None]) -> None:
        """A new nmond follows what an old one left running: of the end it sees no code."""
        for script in self.scripts.get(service, ()):
            script.job = 0
            script.ended = ended

    def _set(self, service: str, up: bool) -> None:
        if up and service not in self.up:
            self.up.add(service)
            self._watcher.up(self, service)
        elif not up and service in self.up:
            self.up.discard(service)
            self._watcher.down(self, service)
