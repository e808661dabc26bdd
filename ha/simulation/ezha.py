"""nmond in the simulated world: the production engine, driver, store, codec and parser on a simulated machine.

What is simulated is what lies around them: the loop that turns at every event, the workers that send and listen, and
the moments between two effects at which a crash may come. The order of a turn is ``ha.node.loop``'s.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Protocol

from ha.fsm.config import ClusterConfig, PathId
from ha.fsm.events import (
    Arbitrate,
    Arbitrated,
    Command,
    ConfigChanged,
    ConfirmDown,
    Ended,
    Event,
    Fenced,
    FenceNode,
    Guarded,
    KillScript,
    Leave,
    MessageReceived,
    Note,
    OwnSlot,
    Reply,
    RunScript,
    ScriptEnded,
    SlotRead,
    SlotView,
    Tick,
    Written,
)
from ha.fsm.freshness import LastHeard
from ha.fsm.identity import node_id
from ha.fsm.message import Ack, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.record import NodeRecord
from ha.fsm.service import ORPHAN
from ha.fsm.states import Promise, ScriptKind, State
from ha.heartbeats.codec import CodecError, decode, encode
from ha.heartbeats.keys import Key, KeyRing
from ha.heartbeats.path import PathLine
from ha.node import originals, recordfile
from ha.node.beginning import first_engine
from ha.node.config import ConfigError, Configuration
from ha.node.driver import FAREWELL_GAP_S, FAREWELLS, Driver
from ha.node.fencing.rank import wait_by_rank
from ha.node.layout import Layout
from ha.node.screening import RefusedError, screen
from ha.node.store import Store
from ha.simulation import agents
from ha.simulation.coverage import Cell, WatchedEngine
from ha.simulation.disk import Disk
from ha.simulation.guard import Guarding, guarding
from ha.simulation.machine import Held, Machine
from ha.simulation.network import Network
from ha.simulation.workers import Listener, Writer

HANDOVER_S = (0.09, 0.18)
"""An exec takes so long, during which nmond neither hears nor decides (docs/performance.md)."""
GUARDED_S = (0.005, 0.05)
"""A guard is ready so long after nmond began."""
FAILED_START_S = 1.0
"""An nmond that could not start is tried again after this."""
LISTENER_RESTART_S = (0.05, 0.2)
"""A worker that died is there again after this."""
_ROUNDING_S = 1e-6
"""A timer must not fire a rounding error too early, and again and again."""
_LAYOUT = Layout()
_KEY = Key(bytes(range(32)))
_RING = KeyRing((_KEY,), _KEY.id, unsigned=False)
"""The nodes sign, and take nothing else: strangers know the format, not the key (docs/security.md)."""
_read = lru_cache(maxsize=64)(partial(decode, keys=_RING))
_NOTHING: Mapping[int, State] = MappingProxyType({})


class Ear(Protocol):
    """Who hears what an nmond says and decides: the trace, and the checkers."""

    def noted(self, machine: Machine, note: Note) -> None: ...

    def replied(self, machine: Machine, reply: Reply) -> None: ...

    def sent(self, machine: Machine, message: Heartbeat) -> None: ...

    def heard(self, machine: Machine, path: PathId, message: Heartbeat, at: float) -> None:
        """``at``: the true time at which its listener took it."""

    def reached(
        self,
        machine: Machine,
        sender: str,
        number: int,
        at: float | None = None,
        states: Mapping[int, State] = _NOTHING,
    ) -> None:
        """As ``heard``, of messages that are not ezha's. ``states``: by service, as nmond reads them."""

    def fenced(self, machine: Machine, node: str, good: bool) -> None:
        """Its fence agent says that it has, or has not, ended the other node."""

    def stored(self, machine: Machine, message: Heartbeat) -> None:
        """It is in this node's slot of a shared disk."""

    def looked(self, machine: Machine, path: PathId, at: float) -> None:
        """A look at the slot of another node, begun at the true time ``at``, succeeded and showed nothing foreign."""

    def persisted(self, machine: Machine, record: NodeRecord) -> None: ...

    def lateness(self, machine: Machine, seconds: float) -> None: ...

    def told(self, machine: Machine, text: str) -> None:
        """Of nmond itself: it starts, cannot, leaves."""

    def broken_off(self, machine: Machine) -> None:
        """Its connections end: nobody can be answered any more."""

    def violation(self, text: str, node: str) -> None:
        """What must never be."""

    def began(self, machine: Machine, heard_before: Iterable[LastHeard] = ()) -> None:
        """A new nmond begins to listen."""

    def reloaded(self, machine: Machine) -> None:
        """Its configuration changed."""

    def leaves(self, machine: Machine) -> None:
        """It has left the cluster, and is about to end."""


class CrashError(Exception):
    """nmond dies here: between two effects."""


class Nmond:
    """``ha.simulation.machine.Program``."""

    acknowledges = True
    independent = False

    def __init__(
        self,
        machine: Machine,
        read: Callable[[], Configuration],
        network: Network,
        disks: dict[str, Disk],
        ear: Ear,
        cells: Counter[Cell],
        machines: Mapping[str, Machine],
    ) -> None:
        """``machines``: what fence agents reach. ``read``: the configuration as it stands on this node just now. Raises
        ConfigError."""
        self.machine = machine
        self._read = read
        self._network = network
        self._disks = disks
        self._ear = ear
        self._cells = cells
        self._machines = machines
        self._store = Store(_LAYOUT, machine.name, machine.files)
        self._ended = False
        self._scripts: deque[RunScript] = deque()
        self._message: Heartbeat | None = None
        self._last: tuple[Heartbeat, bytes] | None = None
        self._armed = float("inf")
        self._configuration: Configuration
        self._lines: list[PathLine] = []
        self._writers: dict[PathId, Writer] = {}
        self._listeners: list[Listener] = []
        self.driver: Driver
        self._deaf_until = 0.0
        self._private: set[tuple[PathId, float]] = set()
        """Looks at a disk that only this node sees: slot and beginning."""
        self._crash_in = 0
        """nmond dies at its so-manieth effect from now on; 0: it does not."""
        self.refused: Counter[str] = Counter()
        self._epoch = machine.clock.wall(machine.agenda.now) - machine.now()
        self._seconds: dict[PathId, int] = {}
        """Of an original node's clock, as each of its paths told them last."""

    @property
    def engine(self) -> WatchedEngine:
        engine = self.driver.engine
        assert isinstance(engine, WatchedEngine)
        return engine

    @property
    def config(self) -> ClusterConfig:
        return self.driver.engine.config

    def held(self, service: str) -> Held | None:
        known = self.engine.services.get(service)
        return None if known is None else Held(known.state, known.record.unclean)

    def recorded(self, service: str) -> State | None:
        data = self.machine.files.on_disk.get(_LAYOUT.record)
        if data is None:
            return None
        record = recordfile.decode(data, self.machine.name).record
        return next((s.state for s in record.services if s.name == service), None)

    def hears(self, other: str) -> bool:
        return self.engine.peers[other].living

    # ------------------------------------------------------------------------------------------- beginning

    def start(self, boot: bool, orphans: dict[str, ScriptKind]) -> None:
        machine = self.machine
        try:
            self._configuration = self._read()
        except ConfigError as error:
            self._ear.told(machine, f"nmond cannot start: {error.problems[0]}")
            machine.exit()
            return
        loaded = self._store.load(f"boot-{machine.boots}")
        for problem in loaded.problems:
            self._ear.told(machine, problem)
        nonce = machine.draw.whole(0, 2**32 - 1)
        engine = first_engine(
            WatchedEngine,
            self._configuration,
            machine.name,
            loaded,
            nonce,
            machine.now(),
            orphans,
            guard_until=machine.guard.until,
        )
        engine.cells = self._cells
        for service in orphans:
            machine.adopt(service, lambda how, code, service=service: self._script_ended(service, ORPHAN, how, code))  # type: ignore[misc]
        self.driver = Driver(engine, self, machine.now)
        self._ear.began(machine, loaded.record.heard if loaded.record is not None else ())
        when = "for the first time" if machine.lives == 1 else "after a boot" if loaded.boot else "in the same boot"
        self._ear.told(machine, f"nmond starts {when}")
        try:
            self.driver.start()
        except OSError as error:
            self._ear.told(machine, f"nmond cannot start: {error.strerror}")
            machine.end_program()
            machine.later(FAILED_START_S, machine.restart)
            return
        except CrashError:
            machine.kill()
            return
        except Exception as error:  # noqa: BLE001 (as in a turn)
            self._fails(error)
            return
        self._open_lines()
        cluster = self._configuration.cluster
        for line in self._configuration.lines:
            if line.node != machine.name and line.is_disk:
                disk, period = self._disks[line.device], cluster.period_of(line.node)
                self._listeners.append(Listener(self, line.id, disk, period, self._show))
        self._turn()
        self._guarded()

    def _guarded(self) -> None:
        """Whatever guards this machine is ready soon; it outlives nmond, and is there already for the next one."""
        machine, how = self.machine, guarding(self._configuration, self.machine.name)
        if how.promise > Promise.STOP:
            machine.later(machine.draw.between(*GUARDED_S), lambda: machine.tell(lambda _: self._ready(how)))
        elif not machine.guard.waits:
            machine.guard.use(how)

    def _ready(self, how: Guarding) -> None:
        self.machine.guard.use(how)
        self._turn(Guarded(how.promise))

    def _open_lines(self) -> None:
        """A worker for each of our own lines; one whose line has not changed goes on."""
        mine, cluster = self.machine.name, self._configuration.cluster
        self._lines = [line for line in self._configuration.lines if line.node == mine]
        for line in self._lines:
            known = self._writers.get(line.id)
            if line.is_disk and (known is None or known.line != line):
                if known is not None:
                    known.closed = True
                self._writers[line.id] = Writer(self, line, self._disks[line.device], cluster.period_of(mine))

    def end(self) -> None:
        self._ended = True

    @property
    def ended(self) -> bool:
        return self._ended

    # ---------------------------------------------------------------------------------------------- events

    def receive(self, path: PathId, data: bytes, at: float) -> None:
        if self.deaf:
            return
        try:
            message = self._message_in(path, data)
        except RefusedError as error:
            self.refused[str(error)] += 1
            return
        self._hear(path, message, min(self.machine.clock.when(at), self.machine.agenda.now))
        self._turn(MessageReceived(message, path, at))

    def _message_in(self, path: PathId, data: bytes) -> Heartbeat:
        """Raises RefusedError."""
        if self.config.is_original(path.node):
            return originals.read(path, data, self.config, self.machine.name)
        return screen(path, data, self.machine.name, self.driver.engine.incarnation, _read)

    def _hear(self, path: PathId, message: Heartbeat, when: float) -> None:
        """``when``: true time."""
        if not self.config.is_original(path.node):
            self._ear.heard(self.machine, path, message, when)
        elif self._is_news(path, message.seq):
            states = {entry.id: entry.state for entry in message.services}
            self._ear.reached(self.machine, path.node, message.seq, when, states)

    def _is_news(self, path: PathId, seconds: int) -> bool:
        """Whether nothing as new has come of an original node. One whose clock was set back begins anew."""
        if seconds < self._seconds.get(path, 0):
            self._seconds = {known: at for known, at in self._seconds.items() if known.node != path.node}
        newest = max((at for known, at in self._seconds.items() if known.node == path.node), default=-1)
        self._seconds[path] = seconds
        return seconds > newest

    def _show(self, path: PathId, data: bytes, begun: float, view: SlotView) -> bool:
        """``Listener.taken``."""
        name = self.machine.name
        if any(disk.of(name).other for disk in self._disks.values()):
            self._private.add((path, begun))  # by the time that nmond hears of it, the shared one may be back
        return self.machine.look(path, data, begun, view)

    def looked(self, path: PathId, data: bytes, at: float, begun: float, view: SlotView) -> None:
        when = min(self.machine.clock.when(at), self.machine.agenda.now)
        if data:
            try:
                message = self._message_in(path, data)
            except RefusedError as error:
                self.refused[str(error)] += 1
                view = SlotView.FOREIGN
            else:
                self._hear(path, message, when)
                self.driver.post(MessageReceived(message, path, at))
        if view not in (SlotView.FOREIGN, SlotView.FAILED) and (path, begun) not in self._private:
            self._ear.looked(self.machine, path, when)
        self._turn(SlotRead(path, begun, view))

    @property
    def deaf(self) -> bool:
        return self.machine.agenda.now < self._deaf_until

    def own(self, data: bytes) -> Heartbeat | None:
        try:
            message = _read(data) if any(data) else None
        except CodecError:
            return None
        return message if message is not None and message.node == self.engine.id else None

    def stored(self, message: Heartbeat) -> None:
        self._ear.stored(self.machine, message)

    def told(self, event: OwnSlot | Written) -> None:
        self.machine.tell(lambda _: self._turn(event))

    def command(self, command: Command) -> None:
        self._turn(command)

    def confirm_down(self, said: ConfirmDown) -> None:
        self._turn(said)

    def leave(self) -> None:
        self._ear.told(self.machine, "ezha is asked to leave the cluster")
        self._turn(Leave())

    def resumed(self) -> None:
        self._turn()

    def boot_script(self) -> None:
        """It runs: there is nothing to do."""
        self._ear.told(self.machine, "ezha.init start: it runs already")

    def crash(self, point: int) -> None:
        self._crash_in = point

    def killed(self) -> bool:
        """Workers die with it, and a supervisor starts another."""
        return True

    def kill_listeners(self) -> None:
        """It starts others at once; what comes until then is lost."""
        self._deaf_until = self.machine.agenda.now + self.machine.draw.between(*LISTENER_RESTART_S)

    def forged(self, about: str, service: str, state: State) -> bytes:
        """As of a life of ``about`` later than any heard, that acknowledges all it should: only the signature is
        missing."""
        config, engine = self.config, self.engine
        peer = engine.peers.get(about)
        life = peer.newest.incarnation.counter + 1 if peer is not None and peer.newest is not None else 1
        named = config.services.get(service)
        entries = (ServiceEntry(named.id, state, 1),) if named is not None else ()
        return encode(
            Heartbeat(
                cluster=config.cluster_id,
                node=node_id(about),
                incarnation=Incarnation(life, 0),
                seq=1,
                promise=Promise.NONE,
                standing=True,
                left=False,
                timeout_ms=round(config.timeout_of(about) * 1000),
                lease_ms=0,
                paths_digest=config.paths_digest,
                services=entries,
                acks=(Ack(node_id(self.machine.name), engine.incarnation, (engine.seq,)),),
            )
        )

    def reload(self) -> None:
        """SIGHUP: the files as they are now, or not at all."""
        try:
            new = self._read()
        except ConfigError as error:
            self._ear.told(self.machine, f"configuration not taken over: {error.problems[0]}")
            return
        objections = self.engine.objections(new.cluster)
        if objections:
            self._ear.told(self.machine, f"configuration not taken over: {objections[0]}")
            return
        self._configuration = new
        self._ear.told(self.machine, "configuration taken over")
        self._ear.reloaded(self.machine)
        self.machine.disturb(self.machine.lateness)  # a deadline of the new one may have passed already
        self._turn(ConfigChanged(new.cluster))
        if not self._ended:
            self._open_lines()
            self._guarded()

    def restart(self) -> None:
        """``ezha.init restart``: hand over by exec."""
        self._turn()
        if self._ended:
            return
        machine = self.machine
        if self.driver.waits:
            self._ear.told(machine, "ezha is not restarted: how a script ended cannot be written")
            return
        plain = self.engine.snapshot()
        self._ear.told(machine, "ezha is restarted: nmond hands over")
        self._ear.broken_off(machine)
        goes_on = machine.stop_program()

        def go_on() -> None:
            if not self._ended:
                engine = WatchedEngine.restore(plain, self._configuration.cluster, machine.name, machine.now())
                assert isinstance(engine, WatchedEngine)
                engine.cells = self._cells
                left = self.driver
                self.driver = Driver(engine, self, machine.now)
                self.driver.late_ever = left.late_ever
            goes_on()
            if not self._ended:
                machine.tell(lambda _: self._turn(Tick()))

        machine.later(machine.draw.between(*HANDOVER_S), go_on)

    def _script_ended(self, service: str, job: int, how: Ended, code: int) -> None:
        self.machine.tell(lambda _: self._turn(ScriptEnded(service, job, how, code)))

    # ----------------------------------------------------------------------------------------------- loop

    def _turn(self, event: Event | None = None) -> None:
        """A turn of the loop: time that has passed, the event, then what waits."""
        if self._ended:
            return
        driver = self.driver
        try:
            if event is not None:
                driver.post(event)
            driver.work()
            while driver.busy:
                driver.work()
            if self._message is not None:
                self._hand_over()
            while self._scripts:
                self._launch(self._scripts.popleft())
        except CrashError:
            self._ear.told(self.machine, "nmond dies between two effects")
            self.machine.kill()
            return
        except Exception as error:  # noqa: BLE001 (whatever it is: nmond died of it, and that is a finding)
            self._fails(error)
            return
        if driver.late_max:
            self._ear.lateness(self.machine, driver.take_late())
        self._arm()

    def _fails(self, error: Exception) -> None:
        self._ear.violation(f"nmond fails: {type(error).__name__}: {error}", self.machine.name)
        self.machine.kill()

    def _arm(self) -> None:
        """Come back when the engine wants to."""
        clock, now = self.machine.clock, self.machine.agenda.now
        due = clock.when(self.driver.due()) + _ROUNDING_S if not clock.standing else now
        if due < self._armed:
            self._armed = due
            self.machine.agenda.at(due, lambda: self._fire(due))

    def _fire(self, due: float) -> None:
        if self._ended or due != self._armed:
            return
        self._armed = float("inf")
        self.machine.tell(lambda _: self._timer())

    def _timer(self) -> None:
        if self.driver.due() > self.machine.now():
            self._arm()
        else:
            self._turn()

    def _point(self) -> None:
        """Between two effects."""
        if self._crash_in:
            self._crash_in -= 1
            if not self._crash_in:
                raise CrashError

    # --------------------------------------------------------------------------- the driver's world (``World``)

    def self_fence(self, why: str) -> None:
        guard = self.machine.guard
        if guard.how.ends and not guard.broken:
            self._ear.told(self.machine, f"the machine is to be ended: {why}")
            self.machine.power_cycle(guard.latency)

    def guard(self, until: float) -> None:
        self._point()
        self.machine.guard.tell(until)

    def look(self) -> None:
        for listener in self._listeners:
            listener.ask()

    def fence(self, order: FenceNode) -> None:
        machine, node = self.machine, order.node
        wait = wait_by_rank(machine.name, node, self.config.nodes, agents.DELAY_S) + agents.takes(machine)
        self._ear.told(machine, f"{node} is to be fenced")
        machine.later(wait, lambda: machine.tell(lambda program: self._struck(node) if program is self else None))

    def _struck(self, node: str) -> None:
        good = agents.strike(self.machine, self._machines[node])
        self._ear.fenced(self.machine, node, good)
        self._turn(Fenced(node, good, "" if good else "the agent failed"))

    def arbitrate(self, order: Arbitrate) -> None:
        self.driver.post(Arbitrated(order.service, False, self.machine.now(), "no arbiter is configured"))

    def kill(self, order: KillScript) -> None:
        self._point()
        self.machine.signal(order.service, order.job, order.force)

    def persist(self, record: NodeRecord) -> None:
        self._point()
        self._store.save(record, f"boot-{self.machine.boots}")
        self._ear.persisted(self.machine, record)
        self._point()

    def send(self, message: Heartbeat) -> None:
        self._message = message

    def run(self, script: RunScript) -> None:
        self._scripts.append(script)

    def tell(self, note: Note) -> None:
        self._ear.noted(self.machine, note)

    def answer(self, reply: Reply) -> None:
        self._ear.replied(self.machine, reply)

    def left(self) -> None:
        self._hand_over()
        self._ear.told(self.machine, "ezha has left the cluster")
        self._ear.leaves(self.machine)
        self._farewell(FAREWELLS - 1)

    # ---------------------------------------------------------------------------------------------- workers

    def _hand_over(self) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        self._point()
        self._ear.sent(self.machine, message)
        self._last = (message, self._bytes_of(message))
        self._transmit()
        self._point()

    def _bytes_of(self, message: Heartbeat) -> bytes:
        name = self.machine.name
        if not self.config.is_original(name):
            return encode(message, keys=_RING)
        return originals.compose(message, self.config, name, self._epoch + self.machine.now())

    def _transmit(self) -> None:
        if self._last is None:
            return
        message, data = self._last
        for line in self._lines:
            if line.is_disk:
                self._writers[line.id].hand(message, data)
            else:
                self._network.send(line.id, data)

    def _farewell(self, left: int) -> None:
        if self._ended:
            return
        if left:
            self._transmit()
            self.machine.later(FAREWELL_GAP_S, lambda: self.machine.tell(lambda _: self._farewell(left - 1)))
        else:
            self.machine.exit()

    def _launch(self, order: RunScript) -> None:
        self._point()
        try:
            self._store.export_local(order.service, self.engine.services[order.service].state)
        except OSError as error:
            self._ear.told(self.machine, f"STATE of {order.service} cannot be written: {error.strerror}")
        service, job = order.service, order.job
        self.machine.run(order, lambda how, code: self._script_ended(service, job, how, code))
        self._point()
