"""The original's rules: what OpenHA's processes do, with its timing and its hazards, on a simulated machine.

Written from what is known of its behaviour, not from its code. Each of its processes is a loop of its own: nmond, a
sender or a listener for every line of ``monitor``, and each command that somebody types. They meet in the STATE files
alone, one byte each, written in place: the sender reads this node's, the listeners write the other's, and nmond and the
commands do both. Whoever wrote last is right.

It is here to be compared with: nothing of ezha may depend on it.
"""

import posixpath
from collections.abc import Callable, Generator
from functools import partial

from ha.fsm.config import ClusterConfig, PathConfig, PathId, ServiceConfig
from ha.fsm.events import Command, ConfirmDown, Note, NoteKind, Reply, RunScript, SlotView
from ha.fsm.states import Action, ScriptKind, State
from ha.node.config import Texts, parse
from ha.node.layout import Layout
from ha.simulation.disk import Disk, DiskError
from ha.simulation.ezha import Ear
from ha.simulation.machine import Held, Machine
from ha.simulation.network import Network
from ha.simulation.openha_wire import Beat, decode, encode, is_zero
from ha.simulation.process import Body, Process, awaken

LOOP_S = 2.0
"""nmond sleeps so long after it has looked at every service."""
GRACE_S = 5.0
"""A START_READY waits so long before it looks at the other node again."""
TALK_DELAY_S = 2.0
"""The boot script starts nmond so long after the paths."""
BEAT_S = 1.0
"""A sender sends so often, whatever nmond does."""
LAUNCH_S = 0.01
"""The boot script starts one process after the other, so that nmond's loop lags the listeners' looks by a few of these.
The order matters, not the figure: it decides that nmond sees what a listener has just found out."""
START_S = 0.1
"""``ezha.init restart`` takes so long between its stop and its start."""
_FREE = frozenset({State.STOPPED, State.FROZEN_STOP, State.UNKNOWN})
"""What the other node may be in when a service is started here."""
_RUNNING = frozenset({State.STARTING, State.STARTED})
_LAYOUT = Layout()

Steps = Generator[float | RunScript, int, str]
"""What a command does, and the sentence that it prints in the end; an empty one: it was refused."""


class Path:
    """What a listener knows of its line. ``heard``: by this machine's clock."""

    __slots__ = ("alive", "config", "heard", "seconds", "up")

    def __init__(self, config: PathConfig, now: float) -> None:
        self.config = config
        self.up = True
        """A path is not called down before its timeout has passed once."""
        self.heard = now
        self.seconds: int | None = None
        """Disk: the sender's wall clock at the last look."""
        self.alive = True
        """Its listener is."""


class OpenHA:
    """``ha.simulation.machine.Program``."""

    acknowledges = False
    independent = True

    def __init__(
        self,
        machine: Machine,
        texts: Callable[[], Texts],
        network: Network,
        disks: dict[str, Disk],
        ear: Ear,
    ) -> None:
        self.machine = machine
        self._network = network
        self._disks = disks
        self._ear = ear
        self._configuration = parse(texts(), machine.name)
        self._services = [s for s in self._configuration.cluster.services.values() if machine.name in s.nodes[:2]]
        self._paths: dict[PathId, Path] = {}
        self._processes: list[Process] = []
        self._nmond: Process | None = None
        self._peers_up: dict[str, bool] = {}
        self._crash_in = 0
        self._ended = False

    # ------------------------------------------------------------------------------------- what checkers ask

    @property
    def config(self) -> ClusterConfig:
        return self._configuration.cluster

    def held(self, service: str) -> Held | None:
        if service not in self.config.services:
            return None
        if all(s.name != service for s in self._services):
            return Held(State.FROZEN_STOP)  # a third node has no part in it
        state = self.state(service, self.machine.name)
        if state is State.START_READY and service in self.machine.up:
            state = State.FROZEN_START  # the same digit
        return Held(state)

    def recorded(self, service: str) -> State | None:
        """The file as it stands: nothing is known of whether it reaches the disk before a script begins."""
        data = self.machine.files.on_disk.get(_LAYOUT.state(service, self.machine.name), b"")
        return _digit(data)

    def hears(self, other: str) -> bool:
        """A peer is down when all of its paths are."""
        return any(path.up for line, path in self._paths.items() if line.node == other)

    # ------------------------------------------------------------------------------------------ state files

    def state(self, service: str, node: str) -> State:
        """What STATE says: a file that cannot be read, or is empty, says UNKNOWN (hazards H9, H12)."""
        try:
            data = self.machine.files.read(_LAYOUT.state(service, node), 1)
        except OSError:
            return State.UNKNOWN
        return _digit(data)

    def _write(self, service: str, node: str, digit: int) -> None:
        # The name goes into the path as it came, from the wire, too (hazard H7).
        path = posixpath.normpath(_LAYOUT.state(service, node))
        self.machine.files.write_in_place(path, b"%d\0" % digit)

    def _put(self, service: str, state: State, why: str) -> None:
        """The state of this node."""
        before = self.state(service, self.machine.name)
        self._write(service, self.machine.name, state.openha_digit)
        self._ear.noted(self.machine, Note(NoteKind.TRANSITION, service, why, before, state))

    def _other(self, service: ServiceConfig) -> str:
        return service.nodes[1] if service.nodes[0] == self.machine.name else service.nodes[0]

    # -------------------------------------------------------------------------------------------- beginning

    def start(self, boot: bool, orphans: dict[str, ScriptKind]) -> None:
        """The boot script. What runs already it does not ask."""
        now = self.machine.now()
        self._ear.began(self.machine)
        self._ear.told(self.machine, "openha starts")
        self._force_stop_all()
        for line in self._configuration.lines:
            if line.node == self.machine.name:
                body = self._send(line.id)
            else:
                path = self._paths[line.id] = Path(line.config(), now)
                body = self._watch_disk(path, self._disks[line.device]) if line.is_disk else self._watch_net(path)
            self._launch(body, LAUNCH_S * len(self._processes))
        self._peers_up = dict.fromkeys((line.node for line in self._paths), True)
        self.machine.later(self._true(TALK_DELAY_S + LAUNCH_S * len(self._processes)), self._start_nmond)

    def _launch(self, body: Body, delay: float = 0.0) -> None:
        self._processes.append(Process(self.machine, body, delay=delay))

    def _force_stop_all(self) -> None:
        for service in self._services:
            for node in service.nodes[:2]:
                if _LAYOUT.state(service.name, node) not in self.machine.files.files:
                    self._write(service.name, node, State.FROZEN_STOP)
            if self.state(service.name, self.machine.name) is not State.FROZEN_STOP:
                self._put(service.name, State.STOPPED, "the boot script: force-stop")

    def _start_nmond(self) -> None:
        if not self._ended and self._nmond is None:
            self._nmond = Process(self.machine, self._decide(), self._scheduled)

    def _scheduled(self, deed: Callable[[], None]) -> None:
        """nmond alone can be stopped, or late."""
        self.machine.tell(lambda _: deed())

    def boot_script(self) -> None:
        """Started again on a live node: the services are declared stopped, and every process runs already (H5)."""
        self._force_stop_all()
        self._ear.told(self.machine, "openha is started again")
        self.machine.later(self._true(TALK_DELAY_S), self._start_nmond)

    def end(self) -> None:
        self._ended = True
        for process in (*self._processes, *([self._nmond] if self._nmond else [])):
            process.end()

    def _true(self, seconds: float) -> float:
        return seconds / self.machine.clock.rate

    # ---------------------------------------------------------------------------------------------- senders

    def _send(self, line: PathId) -> Body:
        """heartd: reads the state files, sends, sleeps. It does not know whether there is an nmond (hazard H15)."""
        machine = self.machine
        device = next(p.device for p in self._configuration.lines if p.id == line)
        while True:
            states = [(s.name, self.state(s.name, machine.name).openha_digit) for s in self._services]
            data = encode(machine.name, int(machine.clock.wall(machine.agenda.now)), states)
            if device in self._disks:
                self._disks[device].write(machine.name, line, data, lambda good: None)
            else:
                self._network.send(line, data)
            yield BEAT_S

    # -------------------------------------------------------------------------------------------- listeners

    def receive(self, path: PathId, data: bytes, at: float) -> None:
        awaken(self.machine, partial(self._take_datagram, self._paths[path], data))

    def confirm_down(self, said: ConfirmDown) -> None:
        """It knows no such command."""
        self._ear.replied(self.machine, Reply(said.id, "", False, "no such command"))

    def looked(self, path: PathId, data: bytes, at: float, begun: float, view: SlotView) -> None:
        """Its listeners read slots by themselves."""

    def _take_datagram(self, path: Path, data: bytes) -> None:
        """heartc: a datagram of whatever kind, from whomever, is a sign of life (hazard H18)."""
        if self._ended or not path.alive:
            return
        path.heard = self.machine.now()
        self._judge(path, True)
        self._believe(path, decode(data))
        self.machine.later(self._true(path.config.timeout), lambda: self._check_net(path))

    def _watch_net(self, path: Path) -> Body:
        """heartc waits for its timeout at first; from then on each datagram begins another."""
        yield path.config.timeout
        self._time_out(path)

    def _check_net(self, path: Path) -> None:
        awaken(self.machine, lambda: self._time_out(path))

    def _time_out(self, path: Path) -> None:
        if not self._ended and path.alive and self.machine.now() - path.heard >= path.config.timeout:
            self._judge(path, False)

    def _watch_disk(self, path: Path, disk: Disk) -> Body:
        """heartc_dio: looks once a timeout, and judges by whether the sender's wall clock went on (H1, H8)."""
        while True:
            if not path.alive:
                return
            try:
                block = disk.read(self.machine.name, path.config.id)
            except DiskError:
                block = None  # the answer of the last look stands (hazard H22)
            if block is not None and is_zero(block):
                self._judge(path, True)  # a heartbeat of one whose services are all in state 0 (hazard H19)
                self._believe(path, Beat(path.config.id.node, 0, tuple((s.name, 0) for s in self._services)))
            elif block is not None:
                beat = decode(block)
                self._judge(path, beat.seconds != path.seconds)
                path.seconds = beat.seconds
                if path.up:
                    self._believe(path, beat)
            yield path.config.timeout

    def _believe(self, path: Path, beat: Beat) -> None:
        """Write down what it says of whom it says it (hazards H7, H23)."""
        if beat.node == path.config.id.node:
            self._ear.reached(self.machine, beat.node, beat.seconds)
        for service, digit in beat.states:
            self._write(service, beat.node, digit)

    def _judge(self, path: Path, up: bool) -> None:
        if path.up is not up:
            path.up = up
            text = f"{path.config.kind} {path.config.label} of {path.config.id.node} is {'UP' if up else 'DOWN'}"
            self._ear.noted(self.machine, Note(NoteKind.PATH, "", text))

    def kill_listeners(self) -> None:
        """Nobody starts another, and the path stays as it was (hazard H20)."""
        for path in self._paths.values():
            path.alive = False

    # ------------------------------------------------------------------------------------------------ nmond

    def _decide(self) -> Body:
        """One service after the other; while a script runs, or the grace lasts, nothing else is looked at (H6)."""
        while True:
            for other in self._peers_up:
                self._mark(other)
            for service in self._services:
                mine = self.state(service.name, self.machine.name)
                theirs = self.state(service.name, self._other(service))
                if mine in (State.STOPPED, State.UNKNOWN) and theirs in _FREE:
                    yield from self._start(service, f"{self._other(service)} is {theirs.name}")
            yield LOOP_S

    def _mark(self, other: str) -> None:
        """A node that is down has UNKNOWN for a state, everywhere."""
        up = self.hears(other)
        if self._peers_up[other] is not up:
            self._peers_up[other] = up
            self._ear.noted(self.machine, Note(NoteKind.PEER, "", f"{other} is {'UP' if up else 'DOWN'}"))
        if not up:
            for service in self._services:
                if other == self._other(service):
                    self._write(service.name, other, State.UNKNOWN)

    def _start(self, service: ServiceConfig, why: str) -> Steps:
        """START_READY, the grace, a second look, and the scripts. Says that it succeeded whatever came of it (H13)."""
        name, other = service.name, self._other(service)
        before = self.state(name, other)
        self._decided(name, State.START_READY, why)
        yield GRACE_S
        now = self.state(name, other)
        primary = service.nodes[0] == self.machine.name
        if now in _RUNNING if primary else now is not before:
            self._decided(name, State.STOPPED, f"{other} is {now.name} meanwhile")
            return "started"
        # What an operator wrote during the grace is not looked at (hazard H21).
        self._decided(name, State.STARTING, f"{other} is {now.name} after the grace")
        if (yield self._order(service, ScriptKind.CHECK)):
            self._decided(name, State.START_FAILED, "the check script failed")
            return ""
        if (yield self._order(service, ScriptKind.START)):
            self._decided(name, State.START_FAILED, "the start script failed")
            return ""
        self._decided(name, State.STARTED, "the start script succeeded")
        return "started"

    def _stop(self, service: ServiceConfig) -> Steps:
        self._put(service.name, State.STOPPING, "asked to stop")
        if (yield self._order(service, ScriptKind.STOP)):  # nothing bounds it (hazard H17)
            self._put(service.name, State.STOP_FAILED, "the stop script failed")
            return ""
        self._put(service.name, State.STOPPED, "the stop script succeeded")
        return "stopped"

    def _order(self, service: ServiceConfig, kind: ScriptKind) -> RunScript:
        script = service.check_script if kind is ScriptKind.CHECK else service.script
        return RunScript(service.name, 0, kind, (script, kind.value))

    def _decided(self, service: str, state: State, why: str) -> None:
        self._put(service, state, why)
        if self._crash_in:
            self._crash_in -= 1
            if not self._crash_in:
                self.killed()

    def crash(self, point: int) -> None:
        self._crash_in = point

    def killed(self) -> bool:
        """nmond is dead: senders and listeners do not notice, and nobody starts another (hazard H15)."""
        if self._nmond is not None:
            self._nmond.end()
            self._nmond = None
            self._ear.told(self.machine, "nmond is dead")
        return False

    # --------------------------------------------------------------------------------------------- commands

    def command(self, command: Command) -> None:
        self._launch(self._carry_out(command))

    def _carry_out(self, command: Command) -> Body:
        service = next((s for s in self._services if s.name == command.service), None)
        text = ""
        if service is not None:
            text = yield from self._act(service, command.action)
        answer = text or f"{command.action.value} was refused, or failed"
        self._ear.replied(self.machine, Reply(command.id, command.service, bool(text), answer))

    def _act(self, service: ServiceConfig, action: Action) -> Steps:
        name = service.name
        state = self.state(name, self.machine.name)
        stops = (State.STARTED, State.UNKNOWN, State.START_READY)
        match action:
            case Action.START if state in (State.STOPPED, State.UNKNOWN):
                if self.state(name, self._other(service)) in _FREE:
                    return (yield from self._start(service, "asked to start"))
            case Action.STOP if state in stops:
                return (yield from self._stop(service))
            case Action.FREEZE_STOP if state in (State.STOPPED, State.START_FAILED, State.STOP_FAILED):
                return self._set(name, State.FROZEN_STOP)
            case Action.FREEZE_STOP if state in stops:
                stopped = yield from self._stop(service)
                return self._set(name, State.FROZEN_STOP) if stopped else ""
            case Action.FREEZE_START if state is State.STARTED:
                return self._set(name, State.FROZEN_START)
            case Action.FREEZE_START if state is State.STOPPED:
                started = yield from self._start(service, "asked to start, frozen")
                running = self.state(name, self.machine.name) is State.STARTED
                return self._set(name, State.FROZEN_START) if started and running else ""
            case Action.UNFREEZE if state is State.FROZEN_STOP:
                return self._set(name, State.STOPPED)
            case Action.UNFREEZE if state is State.START_READY:  # the same digit as FROZEN_START
                return self._set(name, State.STARTED)
            case Action.FORCE_STOP:
                return self._set(name, State.STOPPED)
            case Action.FORCE_START:
                return self._set(name, State.STARTED)
        return ""

    def _set(self, service: str, state: State) -> str:
        self._put(service, state, "asked to")
        return f"is {state.name}"

    def leave(self) -> None:
        self._ear.told(self.machine, "openha is asked to stop")
        self._launch(self._shut_down(again=False))

    def restart(self) -> None:
        self._ear.told(self.machine, "openha is asked to restart")
        self._launch(self._shut_down(again=True))

    def _shut_down(self, again: bool) -> Body:
        """nmond first, then the services, then the paths."""
        self.killed()
        for service in self._services:
            if self.state(service.name, self.machine.name) is State.STARTED:
                yield from self._stop(service)
        yield BEAT_S
        self._ear.told(self.machine, "openha has stopped")
        self.machine.exit()
        if again:
            self.machine.later(START_S, self.machine.init_start)

    def reload(self) -> None:
        """It reads its files once, when it starts."""

    def resumed(self) -> None:
        """What waited goes on by itself."""

    # ------------------------------------------------------------------------------------------- strangers

    def forged(self, about: str, service: str, state: State) -> bytes:
        """What a stranger who knows the format sends in the name of ``about``."""
        machine = self.machine
        seconds = int(machine.clock.wall(machine.agenda.now))
        return encode(about, seconds, [(service, state.openha_digit)])


def _digit(data: bytes) -> State:
    """The first byte is all that anybody looks at."""
    return State(int(data[:1])) if data[:1].isdigit() else State.UNKNOWN
