"""The bounded world of a search of all histories: two nodes, one service, one path each way, time in steps.

``moves`` says everything that may happen next, ``World.after`` makes it happen to a copy. Nothing is random, and
nothing is decided here: the engine is the production one, and its effects are carried out in the order that
``ha.fsm.events.Effects`` states. This module must not know in which order histories are searched.

What is modelled, and what is not:

* Both clocks are equal, and time goes on in whole seconds: T is 5 s, so a step is T/5 and a period. Within one
  instant everything happens in every order; a deadline between two instants is met at the later one.
* A message is delivered in the instant in which it was sent, or lost. At most two are under way to a node: a third
  replaces the second, as the newest of a path replaces those that wait in ``ha.node.driver.Driver.post``. While the
  receiver is paused, only the newest of an incarnation waits, as there; and what waits is looked at before a claim
  may be settled by the time alone, as there.
* One old message of each node can come again: the last one whose news of the service differed from the newest.
* A script takes as long as it likes, and never hangs beyond its timeout. Physically a service is up from the begin of
  its start script to the end of a stop script that succeeds, or to the power-off. A status script that succeeds tells
  the truth; one that fails tells nothing.
* A heartbeat that tells nothing new is *plain*: its receiver is awake, has nothing due, heard the sender less than T
  ago, and finds in it the same incarnation, news and kind of acknowledgement. To take it in changes one age, and
  commutes with whatever else may happen to the receiver in that instant; so it is taken in, or lost, at once.
  A look at the time that does nothing but send the period's message commutes likewise, and comes first in an instant:
  a pause, crash or power-off right before it is the same at the end of the instant before.
* nmond dies between two events, or within one, after "persisted" or after "sent"; or right after a script ended,
  before it is told. The supervisor starts it again within the same instant. A script that runs goes on as an orphan.
* A pause stops nmond (its scripts go on), a power-off stops everything; it lasts until it ends by itself.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ha.fsm.config import ClusterConfig, PathConfig, PathId, ServiceConfig
from ha.fsm.events import Command, Effects, Ended, Event, MessageReceived, RunScript, ScriptEnded, Tick
from ha.fsm.identity import service_id
from ha.fsm.message import Heartbeat, Incarnation, ServiceEntry
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.service import ORPHAN
from ha.fsm.states import Action, ScriptKind, State
from ha.fsm.table import HOLDING
from ha.simulation.coverage import Cell
from ha.simulation.probe import Probe

NODES: Final = ("node1", "node2")
WEB: Final = "web"
SERVICE: Final = service_id(WEB, NODES)
T: Final = 5
"""Seconds, which are steps."""
IN_FLIGHT: Final = 2
FOREVER: Final = float("inf")
ORDER: tuple[str, ...] = ("persist", "send", "run")
"""What a driver owes after an event, one after the other (``ha.fsm.events.Effects``)."""
_LIVES: Final = (len(ORDER), 1, 2, 0)


def cluster() -> ClusterConfig:
    """Two nodes, a path each way, one service whose scripts have all the time they want."""
    paths = tuple(PathConfig(PathId(n, 0), f"eth0:{n}", "net", float(T), f"{n} net eth0 {T}") for n in NODES)
    service = ServiceConfig(
        WEB,
        "/etc/opensvc/web.cluster",
        NODES,
        "/bin/true",
        start_timeout=FOREVER,
        stop_timeout=FOREVER,
        status_timeout=FOREVER,
        check_timeout=FOREVER,
    )
    return ClusterConfig("explored", NODES, paths, {WEB: service})


CLUSTER: Final = cluster()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far histories go."""

    faults: int = 1
    commands: int = 1
    pause: int = T
    """The longest pause, in steps. One that begins right before a heartbeat counts from the instant before it, so T
    lets a node sleep for just less than T, and more lets it sleep through its own death."""
    kinds: tuple[str, ...] = ("lose", "fail", "crash", "off", "pause", "replay")
    """The faults that may happen."""
    actions: tuple[Action, ...] = (Action.UNFREEZE, Action.FREEZE_STOP, Action.STOP, Action.START, Action.SWITCH)
    beginnings: tuple[tuple[State, State], ...] = (
        (State.STOPPED, State.STOPPED),
        (State.FROZEN_STOP, State.STOPPED),
    )
    """What the two records say when both machines boot; each is the root of a tree of histories."""
    depth: int = 10_000
    """No history is longer than so many moves."""
    states: int = 100_000_000
    """No search keeps more states than this."""


class Kind:
    """What can happen, as short numbers: a search keeps one for every state."""

    DELIVER, LOSE, TICK, END, FAIL, CRASH, OFF, BOOT, PAUSE, RESUME, COMMAND, REPLAY, TIME = range(13)


class Move(NamedTuple):
    kind: int
    node: int = 0
    """Index of the node that it happens to."""
    cut: int = 0
    """1: nmond dies after "persisted"; 2: after "sent"; 3: before it has even persisted."""
    action: int = 0
    """Index in ``Bounds.actions``."""
    lost: int = 0
    """Bit k: the plain heartbeat that this move sends to node k is lost."""


class Packet(NamedTuple):
    """A message under way."""

    message: Heartbeat
    sent: float


class Script(NamedTuple):
    """A script that runs on a machine, whoever started it."""

    kind: ScriptKind
    job: int


@dataclass(slots=True)
class Host:
    """A machine. Replaced, never changed, once its world is finished."""

    engine: Probe | None
    """None: it is off."""
    disk: NodeRecord
    script: Script | None = None
    untold: ScriptEnded | None = None
    """Its script ended while nmond was paused."""
    up: bool = False
    """The service runs here, in whole or in part."""
    paused: int = -1
    """Steps so far; -1: it is not."""
    frozen: bool = False
    """The last that an operator said of it is that it must not start here."""
    reached: float = -1000.0
    """When the newest of the other's messages that reached this node was sent."""
    contested: bool = False
    """It went ahead when nothing of the other had reached it for T, though the other lived, and claimed or held; and
    the other has not given that up since. No node could have known better: silence for T is not told from death."""
    unread: int = 0
    """So many messages came while nmond was paused, and wait."""
    inbox: tuple[Packet, ...] = ()
    tape: Packet | None = None
    """An old message to this node that may come again."""

    def copy(self) -> "Host":
        return Host(
            self.engine.copy() if self.engine is not None else None,
            self.disk,
            self.script,
            self.untold,
            self.up,
            self.paused,
            self.frozen,
            self.reached,
            self.contested,
            self.unread,
            self.inbox,
            self.tape,
        )

    def sibling(self) -> "Host":
        """A copy for what comes from outside: the engine is the same one, and must not take a step."""
        return Host(
            self.engine,
            self.disk,
            self.script,
            self.untold,
            self.up,
            self.paused,
            self.frozen,
            self.reached,
            self.contested,
            self.unread,
            self.inbox,
            self.tape,
        )


class Violation(Exception):
    """A checker's finding."""


class Unarbitrated(Exception):
    """Both run, and no message could have told them: only an arbiter beside the paths could."""


def contends(host: Host) -> bool:
    """Whether it claims or holds the service, or has it up."""
    state = host.disk.services[0].state
    return host.engine is not None and (host.up or state is State.START_READY or state in HOLDING)


def entry_of(message: Heartbeat) -> ServiceEntry:
    """What a message says of the one service that there is."""
    return message.services[0]


@dataclass(slots=True)
class World:
    """Everything that a history has come to."""

    hosts: list[Host]
    now: int
    faults: int
    commands: int
    cells: Counter[Cell] = field(default_factory=Counter)
    absorbed: int = 0
    """Bit k: a plain heartbeat was taken in by node k in the move that led here."""

    # ------------------------------------------------------------------------------------- beginning

    @classmethod
    def booted(cls, states: tuple[State, State], bounds: Bounds, cells: Counter[Cell]) -> "World":
        """Both machines boot at once."""
        records = [NodeRecord(0, (ServiceRecord(WEB, state),)) for state in states]
        hosts = [Host(None, record, frozen=record.services[0].state is State.FROZEN_STOP) for record in records]
        world = cls(hosts, 0, bounds.faults, bounds.commands, cells)
        for node in range(2):
            world._begin(node, boot=True)
        return world

    def _begin(self, node: int, *, boot: bool) -> None:
        """A new nmond, from what the disk holds."""
        host = self.hosts[node]
        counter = host.disk.incarnation + 1
        orphans = {WEB: host.script.kind} if host.script is not None else {}
        if host.script is not None:
            host.script = Script(host.script.kind, ORPHAN)
        host.untold, host.paused, host.unread = None, -1, 0
        host.engine = Probe(
            CLUSTER,
            NODES[node],
            host.disk,
            Incarnation(counter, node + 1),
            self.now,
            boot=boot,
            orphans=orphans,
            cells=self.cells,
        )
        self._carry_out(node, host.engine.start(self.now), 0)

    # ----------------------------------------------------------------------------------------- moves

    def moves(self, bounds: Bounds) -> Iterator[Move]:
        """Everything that may happen next."""
        waits = False
        for node in range(2):
            host = self.hosts[node]
            engine = host.engine
            if engine is None:
                yield Move(Kind.BOOT, node)
                continue
            if self.faults:
                yield from self._faults(node, host, bounds)
            if host.script is not None:
                yield Move(Kind.END, node)
            if host.paused >= 0:
                if host.paused > 0:
                    yield Move(Kind.RESUME, node)
                waits = waits or host.paused >= bounds.pause
                continue
            if host.inbox:
                yield Move(Kind.DELIVER, node)
            due = engine.next_deadline() <= self.now
            if due and not (host.unread and engine.looks_by(self.now)):
                yield Move(Kind.TICK, node)
            waits = waits or due or bool(host.inbox) or host.untold is not None
            if host.untold is not None:
                yield Move(Kind.END, node)
            if self.commands:
                for number, action in enumerate(bounds.actions):
                    if useful(engine, action):
                        yield Move(Kind.COMMAND, node, 0, number)
        if not waits:
            yield Move(Kind.TIME)

    def _faults(self, node: int, host: Host, bounds: Bounds) -> Iterator[Move]:
        for kind in bounds.kinds:
            if kind == "lose" and host.inbox:
                yield Move(Kind.LOSE, node)
            elif kind == "fail" and host.script is not None:
                yield Move(Kind.FAIL, node)
            elif kind == "crash":
                yield Move(Kind.CRASH, node)
            elif kind == "off":
                yield Move(Kind.OFF, node)
            elif kind == "pause" and host.paused < 0:
                yield Move(Kind.PAUSE, node)
            elif kind == "replay" and host.tape is not None and host.paused < 0:
                yield Move(Kind.REPLAY, node)

    def after(self, move: Move, bounds: Bounds) -> tuple["World", Effects | None]:
        """This world stays as it is. Raises Violation or Unarbitrated."""
        world, effects = self._after(move, bounds)
        for node in range(2):
            if world.hosts[node].inbox is not self.hosts[node].inbox or move.kind == Kind.TIME:
                world._absorb(node, move.lost)
            if world.hosts[node].contested and not contends(world.hosts[1 - node]):
                host = world.hosts[node] = world.hosts[node].sibling()
                host.contested = False
        return world, effects

    def _after(self, move: Move, bounds: Bounds) -> tuple["World", Effects | None]:
        kind, node, cut, number, _ = move
        hosts = self.hosts.copy()
        world = World(hosts, self.now, self.faults, self.commands, self.cells)
        if kind == Kind.TIME:
            world._pass_time()
            return world, None
        stepping = kind in _STEPS
        host = hosts[node] = hosts[node].copy() if stepping else hosts[node].sibling()
        if cut or kind in _FAULTS:
            world.faults -= 1 + (1 if cut and kind in _FAULTS else 0)
        match kind:
            case Kind.LOSE:
                host.inbox, host.unread = host.inbox[1:], max(0, host.unread - 1)
            case Kind.CRASH:
                world._begin(node, boot=False)
            case Kind.OFF:
                host.engine, host.script, host.untold = None, None, None
                host.up, host.paused, host.inbox, host.unread = False, -1, (), 0
            case Kind.BOOT:
                world._begin(node, boot=True)
            case Kind.PAUSE:
                host.paused = 0
            case Kind.RESUME:
                host.paused, host.unread = -1, len(host.inbox)
            case Kind.END | Kind.FAIL:
                event = world._script_ends(host, kind == Kind.END)
                if host.paused >= 0:
                    host.untold = event
                    return world, None
                host.untold = None
                return world, world._step(node, event, cut)
            case Kind.TICK:
                return world, world._step(node, Tick(), cut)
            case Kind.DELIVER:
                packet, host.inbox, host.unread = host.inbox[0], host.inbox[1:], max(0, host.unread - 1)
                return world, world._hear(node, packet, packet.sent, cut)
            case Kind.REPLAY:
                assert host.tape is not None
                return world, world._hear(node, host.tape, self.now, cut)
            case Kind.COMMAND:
                world.commands -= 1
                command = Command("c", WEB, bounds.actions[number])
                return world, world._step(node, command, cut)
        return world, None

    def variants(self, move: Move, next_world: "World", effects: Effects | None) -> Iterator[Move]:
        """The same move with a fault in the middle of it."""
        spare = self.faults - (1 if move.kind in _FAULTS else 0)
        taken = next_world.absorbed
        for lost in (1, 2, 3):
            if not lost & ~taken and spare >= lost.bit_count():
                yield move._replace(lost=lost)
        if effects is None or not spare:
            return
        if effects.run or (effects.persist and effects.send is not None):
            if effects.persist:
                yield move._replace(cut=1)
            if effects.run:
                yield move._replace(cut=2)
        if move.kind in (Kind.END, Kind.FAIL):
            yield move._replace(cut=3)

    def _pass_time(self) -> None:
        self.now += 1
        for node in range(2):
            host = self.hosts[node]
            if host.paused >= 0:
                host = self.hosts[node] = host.sibling()
                host.paused += 1
                for packet in host.inbox:
                    host.reached = max(host.reached, packet.sent)
        for node in range(2):
            self._beat(node)

    def _beat(self, node: int) -> None:
        """The heartbeat of a new period, where the look at the time does nothing else."""
        host = self.hosts[node]
        engine = host.engine
        if engine is None or host.paused >= 0 or host.untold is not None or any(p.sent < self.now for p in host.inbox):
            return
        if engine.next_send > self.now or any(at <= self.now for _, at in engine.wakes):
            return
        if any(not p.silent and p.silent_at <= self.now for p in engine.peers.values()):
            return
        beaten = host.copy()
        engine = beaten.engine
        assert engine is not None
        service = engine.services[WEB]
        effects = engine.handle(Tick(), self.now)
        if engine.services[WEB] is service and effects.send is not None and not effects.persist:
            self.hosts[node] = beaten
            self._send(node, effects.send)

    def _absorb(self, node: int, lost: int) -> None:
        """A plain heartbeat is taken in, or lost, as soon as it is sent."""
        host = self.hosts[node]
        engine = host.engine
        if len(host.inbox) != 1 or engine is None or host.paused >= 0 or host.untold is not None:
            return
        packet = host.inbox[0]
        if packet.sent != self.now or not plain(engine, packet.message, self.now):
            return
        self.absorbed |= 1 << node
        if lost & (1 << node):
            host = self.hosts[node] = host.sibling()
            host.inbox = ()
            self.faults -= 1
            return
        host = self.hosts[node] = host.copy()
        host.inbox = ()
        engine = host.engine
        assert engine is not None
        service = engine.services[WEB]
        effects = self._hear(node, packet, packet.sent, 0)
        assert engine.services[WEB] is service and effects.send is None, "a plain heartbeat changes nothing"

    def _script_ends(self, host: Host, good: bool) -> ScriptEnded:
        """What it did to the machine, and what nmond will be told."""
        if host.untold is not None:
            return host.untold
        assert host.script is not None
        (kind, job), host.script = host.script, None
        up = host.up
        if kind is ScriptKind.STOP and good:
            host.up = False
        if job == ORPHAN:
            return ScriptEnded(WEB, job, Ended.LOST)
        code = (0 if up else 3) if kind is ScriptKind.STATUS and good else 0 if good else 1
        return ScriptEnded(WEB, job, Ended.EXITED, code)

    def _hear(self, node: int, packet: Packet, arrival: float, cut: int) -> Effects:
        host = self.hosts[node]
        host.reached = max(host.reached, packet.sent)
        return self._step(node, MessageReceived(packet.message, PathId(NODES[1 - node], 0), arrival), cut)

    # ---------------------------------------------------------------------------------------- a step

    def _step(self, node: int, event: Event, cut: int) -> Effects:
        host = self.hosts[node]
        engine = host.engine
        assert engine is not None
        effects = engine.handle(event, self.now)
        if engine.unexpected:
            raise Violation(engine.unexpected)
        state = engine.services[WEB].state
        if isinstance(event, Command) and event.action is Action.UNFREEZE:
            host.frozen = False
        elif state is State.FROZEN_STOP:
            host.frozen = True
        self._carry_out(node, effects, cut)
        if cut:
            self._begin(node, boot=False)
        return effects

    def _carry_out(self, node: int, effects: Effects, cut: int) -> None:
        """As the driver does. ``cut``: see ``Move``."""
        for what in ORDER[: _LIVES[cut]]:
            if what == "persist":
                self._persist(node, effects)
            elif what == "send":
                if effects.send is not None:
                    self._send(node, effects.send)
            else:
                for script in effects.run:
                    self._run(node, script)

    def _persist(self, node: int, effects: Effects) -> None:
        host = self.hosts[node]
        if effects.persist or effects.incarnation:
            assert host.engine is not None
            host.disk = host.engine.record()

    def _send(self, node: int, message: Heartbeat) -> None:
        other = self.hosts[1 - node]
        if other.engine is None:
            return
        other = self.hosts[1 - node] = other.sibling()
        packet = Packet(message, self.now)
        inbox = other.inbox
        last = inbox[-1] if inbox else None
        full = len(inbox) >= IN_FLIGHT or other.paused >= 0
        replaces = last is not None and full and last.message.incarnation == message.incarnation
        if last is not None and entry_of(last.message) != entry_of(message):
            other.tape = last
        elif other.tape is None or last is None:
            other.tape = self._older(other, message) or other.tape
        other.inbox = (*(inbox[:-1] if replaces else inbox[-IN_FLIGHT + 1 :]), packet)

    def _older(self, receiver: Host, message: Heartbeat) -> Packet | None:
        """What the receiver heard last, where the news now differs."""
        assert receiver.engine is not None
        for peer in receiver.engine.peers.values():
            newest = peer.newest
            if newest is not None and entry_of(newest) != entry_of(message):
                return Packet(newest, peer.arrival)
        return None

    def _run(self, node: int, script: RunScript) -> None:
        host, other = self.hosts[node], self.hosts[1 - node]
        name = NODES[node]
        engine = host.engine
        assert engine is not None
        if host.script is not None:
            raise Violation(f"two scripts at once on {name}: {host.script.kind.value} and {script.kind.value}")
        if engine.record().services != host.disk.services:
            raise Violation(f"{name} runs its {script.kind.value} script before its state is on the disk")
        if script.kind is ScriptKind.CHECK:
            host.contested = self.now - host.reached >= T and contends(other)
        elif script.kind is ScriptKind.START:
            if host.frozen:
                raise Violation(f"{name} starts the service, though it is frozen there")
            if other.up:
                self._both(host, other, node)
            host.up = True
        host.script = Script(script.kind, script.job)

    def _both(self, host: Host, other: Host, node: int) -> None:
        said = other.disk.services[0]
        part = ", unclean" if said.unclean else ""
        text = f"{NODES[node]} starts the service while it is up on {NODES[1 - node]} ({said.state.name}{part} there)"
        if host.contested or other.contested:
            raise Unarbitrated(f"{text}; one of them went ahead after {T} s without a word of the other")
        raise Violation(text)


def plain(engine: Probe, message: Heartbeat, now: int) -> bool:
    """Whether the message tells the engine only that its peer lives, which it knows, and the time calls for nothing."""
    if engine.next_deadline() <= now:
        return False
    for peer in engine.peers.values():
        newest = peer.newest
        if newest is None or peer.silent or newest.incarnation != message.incarnation or message.seq <= newest.seq:
            return False
        if entry_of(newest) != entry_of(message) or newest.handovers != message.handovers:
            return False
        if acknowledged(engine, newest) != acknowledged(engine, message):
            return False
    return True


def acknowledged(reader: Probe, message: Heartbeat) -> int:
    """What a message tells its reader of its own messages: 0 nothing, 1 heard, 2 the present claim is heard."""
    for ack in message.acks:
        if ack.node == reader.id and ack.incarnation == reader.incarnation:
            newest = max(ack.seqs, default=0)
            claim = reader.services[WEB].claim_seq
            return 0 if newest == 0 else 2 if claim and newest >= claim else 1
    return 0


_STEPS: Final = frozenset({Kind.DELIVER, Kind.TICK, Kind.END, Kind.FAIL, Kind.COMMAND, Kind.REPLAY})
_FAULTS: Final = frozenset({Kind.LOSE, Kind.FAIL, Kind.CRASH, Kind.OFF, Kind.PAUSE, Kind.REPLAY})


def useful(engine: Probe, action: Action) -> bool:
    """Whether the command can change anything: one that is refused in this state whatever the evidence does not."""
    service = engine.services[WEB]
    if service.job is not None:
        return service.job.kind is ScriptKind.STATUS and service.queued is None
    return service.state in _FROM[action]


_FROM: Final[dict[Action, frozenset[State]]] = {
    Action.UNFREEZE: frozenset({State.FROZEN_STOP, State.FROZEN_START}),
    Action.FREEZE_STOP: frozenset(
        {State.STOPPED, State.START_FAILED, State.STOP_FAILED, State.START_READY, State.STARTED}
    ),
    Action.FREEZE_START: frozenset({State.STARTED, State.STOPPED}),
    Action.STOP: frozenset({State.STARTED, State.START_READY, State.UNKNOWN}),
    Action.START: frozenset({State.STOPPED, State.UNKNOWN}),
    Action.SWITCH: frozenset({State.STARTED}),
}
