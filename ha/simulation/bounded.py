"""The bounded world of a search of all histories: two nodes, one service, one path each way, time in steps.

``moves`` says everything that may happen next, ``World.after`` makes it happen to a copy. Nothing is random, and
nothing is decided here: the engine is the production one, and its effects are carried out in the order that
``ha.fsm.events.Effects`` states. This module must not know in which order histories are searched.

What is modelled, and what is not:

* Both clocks are equal, and time goes on in whole seconds: T is 5 s, so a step is T/5 and a period. Within one
  instant everything happens in every order; a deadline between two instants is met at the later one.
* A message is delivered in the instant in which it was sent, or lost. At most two are under way to a node: a third
  replaces the second, as the newest of a path replaces those that wait in ``ha.node.driver.Driver.post``. While the
  receiver is paused, what has come by the end of an instant waits, and is lost no more.
* What waits at a node is taken in as one ``News`` in its next step, and nothing else is before: nmond reads all paths
  before every look at the time (``ha.node.loop``), and no pause falls between the two here. Of what is under way in
  that instant it takes in with it what has arrived by then: nothing, the first, or both; the rest comes later, and is
  lost or read for itself.
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
from copy import copy
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

from ha.fsm.config import ClusterConfig, PathConfig, PathId, ServiceConfig
from ha.fsm.events import Command, Effects, Ended, Event, MessageReceived, News, RunScript, ScriptEnded, Tick
from ha.fsm.identity import service_id
from ha.fsm.message import Ack, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.record import NodeRecord
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
    """Index in ``Bounds.actions``; of a delivery: so many messages are read together."""
    lost: int = 0
    """Bit k: the plain heartbeat that this move sends to node k is lost."""


class Packet(NamedTuple):
    """A message under way."""

    message: Heartbeat
    sent: int


class Script(NamedTuple):
    """A script that runs on a machine, whoever started it."""

    kind: ScriptKind
    job: int


class Said(NamedTuple):
    """A message as any receiver may take it: who counts how many came before must do so in numbers of its own."""

    message: Heartbeat
    """Without incarnation, sequence number and acknowledgements."""
    heard: int
    """What it tells the receiver of its own messages: see ``acknowledged``."""
    claim: int
    """0: there is no claim; 1: its first message; 2: a later one."""


class Sign(Enum):
    """What becomes of a sender without a message."""

    LIFE = "a new nmond: what it sends from now on is of a new incarnation"
    UNCLAIM = "its claim is over, whatever becomes of it"


Word = Said | Sign


@dataclass(slots=True)
class Host:
    """A machine. Replaced, never changed, once a move is over.

    It knows of the other machine what messages have brought, and nothing else; so what it does depends on itself and
    on the message that comes. Its time and its numbers of messages are its own: only differences count."""

    node: int
    engine: Probe | None
    """None: it is off."""
    disk: NodeRecord
    now: int = 100
    script: Script | None = None
    untold: ScriptEnded | None = None
    """Its script ended while nmond was paused."""
    up: bool = False
    """The service runs here, in whole or in part."""
    paused: int = -1
    """Steps so far; -1: it is not."""
    frozen: bool = False
    """The last that an operator said of it is that it must not start here."""
    reached: int = -1000
    """When the newest of the other's messages that reached this node was sent."""
    life: int = 0
    """The other's present incarnation, as messages to here number it."""
    claim: int = 0
    """The first message of its present claim that was heard; 0: none."""

    def copy(self) -> "Host":
        """A copy whose engine may take a step."""
        twin = self.sibling()
        twin.engine = self.engine.copy() if self.engine is not None else None
        return twin

    def sibling(self) -> "Host":
        """A copy for what comes from outside: the engine is the same one, and must not take a step."""
        return copy(self)

    @property
    def contends(self) -> bool:
        """Whether it claims or holds the service, or has it up."""
        state = self.disk.services[0].state
        return self.engine is not None and (self.up or state is State.START_READY or state in HOLDING)

    @property
    def lonely(self) -> bool:
        """Nothing of the other has reached it for T."""
        return self.now - self.reached >= T

    def fresh(self, message: Heartbeat) -> int:
        """Of a message of the other: 0 of an older incarnation, 1 of the present one, 2 not before its claim."""
        if message.incarnation.counter != self.life:
            return 0
        return 2 if self.claim and message.seq >= self.claim else 1


def claim_of(host: Host) -> int:
    """The first message of its own present claim; 0: it has none that was sent."""
    return 0 if host.engine is None else host.engine.services[WEB].claim_seq


class Violation(Exception):
    """A checker's finding."""


def entry_of(message: Heartbeat) -> ServiceEntry:
    """What a message says of the one service that there is."""
    return message.services[0]


# ------------------------------------------------------------------------------------------------ moves


def waits(host: Host, bounds: Bounds) -> bool:
    """Whether something must happen here before time goes on, whatever is under way to it."""
    if host.engine is None:
        return False
    if host.paused >= 0:
        return host.paused >= bounds.pause
    return host.engine.next_deadline() <= host.now or host.untold is not None


def moves(host: Host, faults: int, commands: int, bounds: Bounds) -> Iterator[Move]:
    """Everything that may happen next to this machine, but for the time and for messages."""
    node, engine = host.node, host.engine
    if engine is None:
        yield Move(Kind.BOOT, node)
        return
    if faults:
        yield from _faults(host, bounds)
    if host.script is not None:
        yield Move(Kind.END, node)
    if host.paused >= 0:
        if host.paused > 0:
            yield Move(Kind.RESUME, node)
        return
    if engine.next_deadline() <= host.now:
        yield Move(Kind.TICK, node)
    if host.untold is not None:
        yield Move(Kind.END, node)
    if commands:
        for number, action in enumerate(bounds.actions):
            if useful(engine, action):
                yield Move(Kind.COMMAND, node, 0, number)


def _faults(host: Host, bounds: Bounds) -> Iterator[Move]:
    node = host.node
    for kind in bounds.kinds:
        if kind == "fail" and host.script is not None:
            yield Move(Kind.FAIL, node)
        elif kind == "crash":
            yield Move(Kind.CRASH, node)
        elif kind == "off":
            yield Move(Kind.OFF, node)
        elif kind == "pause" and host.paused < 0:
            yield Move(Kind.PAUSE, node)


def cost(move: Move) -> int:
    """So many faults."""
    return (move.kind in _FAULTS) + (move.cut > 0) + move.lost.bit_count()


def cuts(move: Move, effects: Effects | None) -> Iterator[Move]:
    """The same move with the death of nmond in the middle of it."""
    if effects is None:
        return
    if effects.run or (effects.persist and effects.send is not None):
        if effects.persist:
            yield move._replace(cut=1)
        if effects.run:
            yield move._replace(cut=2)
    if move.kind in (Kind.END, Kind.FAIL):
        yield move._replace(cut=3)


class Doing:
    """A move of one machine: the machine afterwards, and what it did that others must be told or asked about."""

    def __init__(
        self,
        before: Host,
        move: Move,
        bounds: Bounds,
        cells: Counter[Cell],
        packets: tuple[Packet, ...] = (),
        last: int = 0,
    ) -> None:
        """``packets``: the messages that come; ``last``: of a step of time, when the last that waits here was sent
        (0: none does). Raises Violation."""
        self.cells = cells
        self.words: list[Word] = []
        self.ran: list[ScriptKind] = []
        self.effects: Effects | None = None
        claimed = claim_of(before) != 0
        if move.kind in _STEPS:
            self.host = before.copy()
            self.effects = self._step(self._event(move, bounds, packets), move.cut)
        elif move.kind == Kind.TIME:
            self.host = before.sibling()
            self._pass_time(last)
        else:
            self.host = before.sibling()
            self._happen(move.kind)
        if claimed and not claim_of(self.host) and Sign.LIFE not in self.words:
            self.words.append(Sign.UNCLAIM)

    def _happen(self, kind: int) -> None:
        """What is not a step of the engine that is there."""
        host = self.host
        match kind:
            case Kind.CRASH:
                self._begin(boot=False)
            case Kind.OFF:
                host.engine, host.script, host.untold = None, None, None
                host.up, host.paused = False, -1
            case Kind.BOOT:
                self._begin(boot=True)
            case Kind.PAUSE:
                host.paused = 0
            case Kind.RESUME:
                host.paused = -1
            case _:
                raise AssertionError(kind)

    def _event(self, move: Move, bounds: Bounds, packets: tuple[Packet, ...]) -> Event | None:
        """What nmond learns; None: nothing yet."""
        host, kind = self.host, move.kind
        if kind in (Kind.END, Kind.FAIL):
            event = _script_ends(host, kind == Kind.END)
            host.untold = event if host.paused >= 0 else None
            return event if host.paused < 0 else None
        if kind == Kind.COMMAND:
            return Command("c", WEB, bounds.actions[move.action])
        if kind == Kind.TICK:
            return Tick()
        return News(tuple(_heard(host, p, p.sent if kind == Kind.DELIVER else host.now) for p in packets))

    def _pass_time(self, last: int) -> None:
        host = self.host
        host.now += 1
        if host.paused >= 0:
            host.paused += 1
            host.reached = max(host.reached, last or host.reached)
        elif not last:
            self._beat()

    def _beat(self) -> None:
        """The heartbeat of a new period, where the look at the time does nothing else."""
        host, now = self.host, self.host.now
        engine = host.engine
        if engine is None or host.untold is not None:
            return
        if engine.next_send > now or any(at <= now for _, at in engine.wakes):
            return
        if any(not p.silent and p.silent_at <= now for p in engine.peers.values()):
            return
        beating = engine.copy()
        service = beating.services[WEB]
        effects = beating.handle(Tick(), now)
        if beating.services[WEB] is service and effects.send is not None and not effects.persist:
            host.engine = beating
            self._send(effects.send)

    def _begin(self, *, boot: bool) -> None:
        """A new nmond, from what the disk holds."""
        host = self.host
        orphans = {WEB: host.script.kind} if host.script is not None else {}
        if host.script is not None:
            host.script = Script(host.script.kind, ORPHAN)
        host.untold, host.paused = None, -1
        host.engine = Probe(
            CLUSTER,
            NODES[host.node],
            host.disk,
            Incarnation(host.disk.incarnation + 1, host.node + 1),
            host.now,
            boot=boot,
            orphans=orphans,
        )
        host.engine.cells = self.cells
        host.engine.seq = 1  # as if a message had gone before: so there is always a number before a claim's
        self.words.append(Sign.LIFE)
        self._carry_out(host.engine.start(host.now), 0)

    def _step(self, event: Event | None, cut: int) -> Effects | None:
        host = self.host
        engine = host.engine
        if event is None:
            return None
        assert engine is not None
        effects = engine.handle(event, host.now)
        if engine.unexpected:
            raise Violation(engine.unexpected)
        state = engine.services[WEB].state
        if isinstance(event, Command) and event.action is Action.UNFREEZE:
            host.frozen = False
        elif state is State.FROZEN_STOP:
            host.frozen = True
        self._carry_out(effects, cut)
        if cut:
            self._begin(boot=False)
        return effects

    def _carry_out(self, effects: Effects, cut: int) -> None:
        """As the driver does. ``cut``: see ``Move``."""
        for what in ORDER[: _LIVES[cut]]:
            if what == "persist":
                self._persist(effects)
            elif what == "send":
                if effects.send is not None:
                    self._send(effects.send)
            else:
                for script in effects.run:
                    self._run(script)

    def _persist(self, effects: Effects) -> None:
        if effects.persist or effects.incarnation:
            assert self.host.engine is not None
            self.host.disk = self.host.engine.record()

    def _send(self, message: Heartbeat) -> None:
        host = self.host
        assert host.engine is not None
        newest = host.engine.peers[NODES[1 - host.node]].newest
        heard = 0 if newest is None else host.fresh(newest)
        began = host.engine.services[WEB].claim_seq
        claim = 0 if not began else 1 if began == message.seq else 2
        self.words.append(Said(bare(message), heard, claim))

    def _run(self, script: RunScript) -> None:
        host = self.host
        name, engine = NODES[host.node], host.engine
        assert engine is not None
        if host.script is not None:
            raise Violation(f"two scripts at once on {name}: {host.script.kind.value} and {script.kind.value}")
        if engine.record().services != host.disk.services:
            raise Violation(f"{name} runs its {script.kind.value} script before its state is on the disk")
        if script.kind is ScriptKind.START:
            if host.frozen:
                raise Violation(f"{name} starts the service, though it is frozen there")
            host.up = True
        host.script = Script(script.kind, script.job)
        self.ran.append(script.kind)


def bare(message: Heartbeat) -> Heartbeat:
    """What it says, without which of many it is."""
    return replace(message, incarnation=Incarnation(0, message.incarnation.nonce), seq=0, acks=())


def _script_ends(host: Host, good: bool) -> ScriptEnded:
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


def _heard(host: Host, packet: Packet, arrival: float) -> MessageReceived:
    host.reached = max(host.reached, packet.sent)
    return MessageReceived(packet.message, PathId(NODES[1 - host.node], 0), arrival)


def received(host: Host, message: Heartbeat, stamp: tuple[int, int], heard: int) -> Heartbeat:
    """A message as the machine gets it. ``stamp``: its incarnation and number; ``heard``: see ``acknowledged``."""
    life, seq = stamp
    assert host.engine is not None
    incarnation = Incarnation(life, message.incarnation.nonce)
    return replace(message, incarnation=incarnation, seq=seq, acks=_acks(host.engine, heard))


def _acks(engine: Probe, heard: int) -> tuple[Ack, ...]:
    """Acknowledgements that tell the engine so much."""
    claim = engine.services[WEB].claim_seq
    if not heard:
        return ()
    assert heard == 1 or claim, "what claim?"
    seq = claim - 1 if heard == 1 and claim else engine.seq
    assert seq, "there is a number before a claim's"
    return (Ack(engine.id, engine.incarnation, (seq,)),)


def absorbed(before: Host, packet: Packet) -> Host | None:
    """The machine after a plain heartbeat, which is taken in as soon as it is sent; None: this one is not plain."""
    engine = before.engine
    if engine is None or before.paused >= 0 or before.untold is not None:
        return None
    if packet.sent != before.now or not plain(engine, packet.message, before.now):
        return None
    host = before.copy()
    engine = host.engine
    assert engine is not None
    service = engine.services[WEB]
    effects = engine.handle(_heard(host, packet, packet.sent), host.now)
    nothing = effects.send is None and not effects.persist and not effects.run
    assert engine.services[WEB] is service and nothing, "a plain heartbeat changes nothing"
    return host


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
