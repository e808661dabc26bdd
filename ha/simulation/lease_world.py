"""The world in which the lease is searched: a few nodes, one service, a slot each on one shared disk, a network.

``moves`` says everything that may happen next, ``after`` makes it happen to a copy. Nothing is random, and nothing is
decided here: the engine is the production one, and its effects are carried out in the order that
``ha.fsm.events.Effects`` states. This module must not know in which order histories are searched.

What is modelled, and what is not:

* All clocks are equal. T is 5 s and a period is T/5. Time goes on from one deadline to the next, on a grid of T/20:
  what is due in between is met up to T/20 late. At one moment everything happens in every order.
* A message that tells others something new is written to the slot as a step of its own, in every order with all else;
  one that only says that its sender lives is in the slot at once. A write is done and confirmed before the next one
  begins, and before time goes on; it may hang (a fault), and is then done or lost at any later moment.
* A look reads what is in the slot at that moment, or fails where the disk is cut, and is told to nmond, which takes it
  in next. Of more than two nodes each looks at all slots in one step, unless ``Bounds.apart`` asks for a step a slot.
  Who of two nodes runs the service is decided by the writes and looks of these two, and of their orders none is lost:
  a node that looks at a third one later acts later on what it saw before, as it does where the other's write comes
  right after its own step.
* Either direction of the network, and each node's disk, is cut or mended by a fault each. A message on the network
  arrives at once, or never.
* Scripts end at once. A stop script hangs, or fails, by a fault; then nothing stops the service but the end of the
  machine. From the start script to the end of the stop, the power-off or the reboot the service is up.
* A pause stops nmond, from its last look at the time, for up to 2 T, while clock, disk, scripts and guardian go on. A
  crash ends nmond between two steps; it begins again at once. A power-off, and the guardian, end the machine; it boots
  at any later moment, or never.
* Asked for by name: *freeze* pauses a whole machine for up to 2 T, guardian, scripts and clock included; what the
  network brings meanwhile is lost, a write under way may still be done. No lease can tell: for how long the service is
  then up on two is measured, and wrong is only what lasts longer than a lease can. *order*: an operator freezes what
  runs, or unfreezes it. *alone*: a machine that is off comes back with another disk than all others have.

Three things are done at once, though other steps could come in between, because they commute with them:

* A period's heartbeat with its looks (``_beat``), where nothing else is due, nothing is on its way to a disk, and all
  are at rest: every node that could claim either misses nobody, or hears one that runs the service and so does not.
* All looks that are due (``_look_at_all``), where nobody claims, no claim is on its way to a disk, and every node that
  could claim hears one that runs the service, or will before all else once its nmond goes on. Such a look can only
  renew the lease of what runs, to the same moment whenever within this one it is done; or show what the next look
  shows, too. What a fault between a write and its look would leave is weaker than what it leaves after it: an older
  lease, and the same message in the slot.
* A write that does not hang, in the same case, once no fault can come any more: what looks at the slot claims nothing.

None is proven for every detail (of two heartbeats at one moment the second acknowledges the first), so all are tested:
without them the same states are reached (tests/simulation/test_lease_search.py). Nodes are not interchanged: rank makes
each of them another one.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Final, NamedTuple

from ha.fsm.config import ClusterConfig, PathConfig, PathId, ServiceConfig
from ha.fsm.events import (
    Command,
    Effects,
    Ended,
    Event,
    MessageReceived,
    News,
    OwnSlot,
    RunScript,
    ScriptEnded,
    SlotRead,
    SlotView,
    Tick,
    Written,
)
from ha.fsm.message import Heartbeat, Incarnation
from ha.fsm.peers import Peer
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.service import ORPHAN
from ha.fsm.states import Action, Promise, ScriptKind, State
from ha.fsm.timing import Timing
from ha.simulation.probe import Probe

WEB: Final = "web"
T: Final = 5.0
FOREVER: Final = float("inf")
NET, DISK = 0, 1
"""Places of the two lines of a node in ``monitor``."""
PERIOD: Final = T / 5
GRID: Final = T / 20
"""Whatever is due between two moments is met at the later one: so late as ``ha.fsm.timing.LATENESS`` allows."""
LONGEST_PAUSE: Final = 2 * T
LONGEST_WINDOW: Final = Timing(T).hard
"""What a machine that was paused with its clock runs beside another ends after so long: what it renewed before the
other claimed has ended by then, and nothing renews it after that."""
KINDS: Final = ("cut", "disk", "hang", "stuck", "pause", "crash", "off")
MORE_KINDS: Final = ("freeze", "order", "alone")
"""Only where they are asked for by name."""


def cluster(nodes: int) -> ClusterConfig:
    """A network path and a slot on the shared disk for each node; one service, of all of them."""
    names = tuple(f"node{n + 1}" for n in range(nodes))
    paths = []
    for n, name in enumerate(names):
        paths.append(PathConfig(PathId(name, NET), f"eth0:{name}", "net", T, f"{name} net eth0 {T:g}"))
        paths.append(PathConfig(PathId(name, DISK), f"/dev/sdb:{2 * n}", "dio", T, f"{name} dio /dev/sdb {2 * n}"))
    service = ServiceConfig(
        WEB,
        "/etc/opensvc/web.cluster",
        names,
        "/bin/true",
        start_timeout=FOREVER,
        stop_timeout=FOREVER,
        status_timeout=FOREVER,
        check_timeout=FOREVER,
        protection="disk",
    )
    return ClusterConfig("explored", names, tuple(paths), {WEB: service}, self_fence=Promise.REBOOT)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far histories go."""

    nodes: int = 2
    faults: int = 2
    kinds: tuple[str, ...] = KINDS
    """The faults that may happen."""
    running: bool = True
    """At the beginning the service runs on the first node; else all machines have just booted."""
    network: bool = True
    """False: the network is cut from the beginning to the end, the disk is all there is."""
    apart: bool = False
    """Each slot is looked at in a step of its own, in every order; else all of them in one."""
    states: int = 100_000_000
    """No search looks at more states than this."""


class Move(NamedTuple):
    """What happens next. ``what`` names it; ``node`` to whom; ``other``: whose direction or slot it concerns."""

    what: str
    node: int = 0
    other: int = 0

    @property
    def cost(self) -> int:
        return _COSTS.get(self.what, 0)


_COSTS: Final = dict.fromkeys(
    (
        "cut",
        "mend",
        "disk",
        "disk mended",
        "hang",
        "stuck",
        "pause",
        "crash",
        "off",
        "freeze",
        "freeze-start",
        "unfreeze",
        "alone",
    ),
    1,
)


class Write(NamedTuple):
    """A message on its way into the slot."""

    message: Heartbeat
    hangs: bool = False


@dataclass(slots=True)
class Host:
    """A machine."""

    engine: Probe | None
    """None: it is off."""
    disk: NodeRecord
    """Its own, with the state of record."""
    guard: float = FOREVER
    """As the guard's file tells it, to the next nmond, too. By its own clock."""
    up: bool = False
    stop: int | None = None
    """The job of the stop script that runs; None: none does."""
    stuck: bool = False
    """It does not end in the moment in which it began."""
    paused_at: float | None = None
    frozen_at: float | None = None
    """Since when the whole machine is paused, with its clock."""
    lag: float = 0.0
    """So much less than all others its clock has counted."""
    woke_at: float | None = None
    """When it went on from such a pause, while that is less than T ago."""
    pending: Write | None = None
    waiting: Write | None = None
    """Handed to the worker while a write was under way: the newest one."""
    looks: tuple[int, ...] = ()
    """Slots that are still to be looked at."""
    seen: tuple[tuple[Incarnation, int] | None, ...] = ()
    """Of each slot, the message that was seen last."""
    inbox: tuple[Event, ...] = ()
    alone: bool = False
    """What its line of the disk leads to is another disk, which nobody else has."""
    own: Heartbeat | None = None
    """What is in its slot there."""
    fresh: bool = True
    """The engine is this host's own, not shared with the world before."""
    part: object = None
    """``ha.simulation.lease_key``'s own: what it made of this machine."""

    def copy(self) -> "Host":
        """The engine is shared until something happens to it."""
        return Host(
            self.engine,
            self.disk,
            self.guard,
            self.up,
            self.stop,
            self.stuck,
            self.paused_at,
            self.frozen_at,
            self.lag,
            self.woke_at,
            self.pending,
            self.waiting,
            self.looks,
            self.seen,
            self.inbox,
            self.alone,
            self.own,
            False,
        )

    @property
    def awake(self) -> bool:
        """nmond goes on."""
        return self.engine is not None and self.paused_at is None and self.frozen_at is None


class DualRun(Exception):
    """The service is up on two machines."""


class World:
    """All of it. Replaced, never changed, once a move is over."""

    __slots__ = ("_fresh", "bounds", "config", "cut", "diskless", "dual_since", "hosts", "now", "slots", "windows")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.windows: set[float] = set()
        """For how many seconds the service was up on two machines of which one had been paused with its clock. Shared
        by all worlds of a search."""
        self.dual_since: float | None = None
        """When it was found so."""
        self.config = cluster(bounds.nodes)
        self.now = 100.0
        self.hosts: list[Host] = []
        self._fresh = set(range(bounds.nodes))
        """Hosts that are this world's own: all others are shared with the world before, and copied when changed."""
        self.slots: list[Heartbeat | None] = [None] * bounds.nodes
        names = range(bounds.nodes)
        self.cut = frozenset() if bounds.network else frozenset((a, b) for a in names for b in names if a != b)
        self.diskless: frozenset[int] = frozenset()

    def begin(self) -> None:
        """Boot all machines, on a disk that they have used together before."""
        for node, name in enumerate(self.config.nodes):
            record = ServiceRecord(WEB, State.STOPPED)
            text = self.config.paths_of(name)[DISK].text
            self.hosts.append(Host(None, NodeRecord(1, (record,), shared=(text,))))
            self.slots[node] = _left(name, self.config)
        network, self.cut = self.cut, frozenset()
        for node in range(self.bounds.nodes):
            self._restart(node, boot=True)
            self._read()
        if self.bounds.running:
            self.settle(3.0)
            assert [h.up for h in self.hosts] == [n == 0 for n in range(self.bounds.nodes)], "node1 was to run it"
        self.cut = network

    def settle(self, seconds: float) -> None:
        """Let time pass without a fault, the first move first."""
        end = self.now + seconds
        while True:
            move = next(iter(self._quiet()), None)
            if move is None:
                if self.next_time() > end:
                    return
                move = Move("time")
            self._do(move)
            self._read()

    def _quiet(self) -> Iterator[Move]:
        return (m for m in moves(self, 0) if m.what not in ("time", "boot"))

    # ------------------------------------------------------------------------------------------------ moves

    def after(self, move: Move) -> "World":
        """The world once the move is made. Raises DualRun."""
        world = World.__new__(World)
        world.bounds, world.windows, world.config, world.now = self.bounds, self.windows, self.config, self.now
        world.cut, world.diskless, world.dual_since = self.cut, self.diskless, self.dual_since
        world.slots, world.hosts = list(self.slots), list(self.hosts)
        world._fresh = set()
        world._do(move)
        world._read()
        world._look_who_runs()
        return world

    def _mine(self, node: int) -> Host:
        """The host, to be changed."""
        host = self.hosts[node]
        if node not in self._fresh:
            self._fresh.add(node)
            host = self.hosts[node] = host.copy()
        return host

    def _engine(self, node: int) -> Probe:
        """Its engine, to be changed."""
        host = self._mine(node)
        assert host.engine is not None
        if not host.fresh:
            host.engine, host.fresh = host.engine.copy(), True
        return host.engine

    def _renew(self, node: int, host: Host) -> Host:
        """Another machine in its place, or the same one after its end."""
        self._fresh.add(node)
        self.hosts[node] = host
        return host

    def clock(self, node: int) -> float:
        """What the machine takes for the time."""
        host = self.hosts[node]
        return (self.now if host.frozen_at is None else host.frozen_at) - host.lag

    def _read(self) -> None:
        """nmond reads all that lies ready before anything else."""
        reading = True
        while reading:
            reading = False
            for node, host in enumerate(self.hosts):
                if host.inbox and host.awake:
                    self._take_in(node)
                    reading = True
            if not reading and any(host.looks and host.awake for host in self.hosts) and self._unclaimed():
                self._look_at_all()
                reading = True

    def _do(self, move: Move) -> None:
        if move.what == "time":
            self._pass_time()
            return
        node, host = move.node, self._mine(move.node)
        match move.what:
            case "tick":
                self._step(node, Tick())
            case "write":
                assert host.pending is not None
                self._written(node, host.pending.message)
            case "lost write":
                host.pending = None
                self._next_write(node)
            case "look":
                for other in (move.other,) if self.bounds.apart else host.looks:
                    self._look(node, other)
            case "hang":
                assert host.pending is not None
                host.pending = host.pending._replace(hangs=True)
            case "stopped":
                assert host.stop is not None
                job, host.stop, host.stuck, host.up = host.stop, None, False, False
                how = Ended.LOST if job == ORPHAN else Ended.EXITED
                self._post(node, ScriptEnded(WEB, job, how, 0))
            case "stuck":
                host.stuck = True
            case "cut":
                self.cut |= {(node, move.other)}
            case "mend":
                self.cut -= {(node, move.other)}
            case "disk":
                self.diskless |= {node}
                if host.pending is not None:
                    host.pending = None
                    self._next_write(node)
            case "disk mended":
                self.diskless -= {node}
            case "alone":
                host.alone, host.own = not host.alone, None
            case "pause":
                host.paused_at = self.clock(node)
                self._engine(node).sleep(host.paused_at)
            case "resume":
                host.paused_at = None
            case "freeze":
                host.frozen_at = self.now
                self._engine(node).sleep(self.clock(node))
            case "wake":
                assert host.frozen_at is not None
                host.lag += self.now - host.frozen_at
                host.frozen_at, host.woke_at = None, self.now
            case "freeze-start" | "unfreeze":
                self._step(node, Command(move.what, WEB, Action(move.what)))
            case "crash":
                self._restart(node, boot=False)
            case "off":
                self._off(node)
            case "boot":
                self._restart(node, boot=True)
            case _:
                raise AssertionError(move)

    def next_time(self) -> float:
        """When something is due next, met at the next moment of the grid."""
        when = self.now + PERIOD
        for host in self.hosts:
            if host.frozen_at is not None:
                continue
            if host.guard + host.lag > self.now:
                when = min(when, host.guard + host.lag)
            if host.awake:
                assert host.engine is not None
                deadline = host.engine.next_deadline() + host.lag
                when = min(when, deadline if deadline > self.now else when)
        return ceil(when / GRID) * GRID

    def _pass_time(self) -> None:
        self.now = self.next_time()
        self._look_who_runs()
        for node, host in enumerate(self.hosts):
            if host.woke_at is not None and self.now - host.woke_at > T and self.dual_since is None:
                self._mine(node).woke_at = None
            if host.frozen_at is None and host.guard + host.lag <= self.now:
                self._off(node)
            elif host.awake and host.engine is not None and host.engine.next_deadline() + host.lag <= self.now:
                self._beat(node)

    def _look_who_runs(self) -> None:
        """Raises DualRun where the service is up on two machines; but where one of them was paused with its clock, and
        went on less than T ago, that is measured instead, for as long as a lease may last and end."""
        up = [host for host in self.hosts if host.up and host.frozen_at is None]
        if len(up) < 2:
            self.dual_since = None
            return
        excused = sum(1 for host in up if host.woke_at is not None)
        names = " and ".join(n for n, h in zip(self.config.nodes, self.hosts, strict=True) if h.up)
        if self.dual_since is None:
            if len(up) - excused > 1 or not excused:
                raise DualRun(names)
            self.dual_since = self.now
        self.windows.add(self.now - self.dual_since)
        if self.now - self.dual_since > LONGEST_WINDOW:
            raise DualRun(f"{names}, for longer than any lease after a machine went on that was paused with its clock")

    def _beat(self, node: int) -> None:
        """A period's heartbeat, where the look at the time does nothing else: it commutes with all that may happen."""
        engine = self.hosts[node].engine
        assert engine is not None
        if not plain_time(engine, self.clock(node)) or not self._calm():
            return
        self._carry_out(node, self._engine(node).handle(Tick(), self.clock(node)))
        while self.hosts[node].looks:
            self._look(node, self.hosts[node].looks[0])

    def _look_at_all(self) -> None:
        """The looks that are due: nobody claims, so each does the same whenever in this moment it is done."""
        for node, host in enumerate(self.hosts):
            if host.awake:
                for other in host.looks:
                    self._look(node, other)

    def plain_write(self) -> Move | None:
        """A write that does not hang, where nobody claims: when in this moment it is done makes no difference."""
        for node, host in enumerate(self.hosts):
            if host.pending is not None and not host.pending.hangs and host.frozen_at is None:
                return Move("write", node) if self._unclaimed() else None
        return None

    def _unclaimed(self) -> bool:
        """Nobody claims the service, and whatever comes in this moment, nobody can: of those that could, each hears a
        node that runs it, or will before all else."""
        return all(_unclaimed(host, self.clock(node)) for node, host in enumerate(self.hosts))

    def _calm(self) -> bool:
        """Nobody claims, waits for anything, or has missed anything: when in this moment a heartbeat goes its way makes
        no difference."""
        return all(_calm(host) for host in self.hosts)

    def _off(self, node: int) -> None:
        old = self.hosts[node]
        self._renew(node, Host(None, old.disk, lag=old.lag, alone=old.alone, own=old.own))

    def _restart(self, node: int, *, boot: bool) -> None:
        """nmond begins: after a boot, or at once after its death."""
        old, name = self.hosts[node], self.config.nodes[node]
        host = self._renew(node, old.copy())
        host.paused_at = host.pending = host.waiting = host.stop = None
        host.looks, host.inbox, host.stuck, host.fresh = (), (), False, True
        host.seen = (None,) * len(self.hosts)
        now = self.clock(node)
        orphaned = old.stop is not None and not boot
        host.engine = engine = Probe(
            self.config,
            name,
            host.disk,
            Incarnation(host.disk.incarnation + 1, node + 1),
            now,
            boot=boot,
            orphans={WEB: ScriptKind.STOP} if orphaned else {},
            guard_until=old.guard,
        )
        engine.cells = Counter()
        if orphaned:
            host.stop, host.stuck = ORPHAN, old.stuck
        engine.promise = Promise.REBOOT
        self._carry_out(node, engine.start(now))
        found = self._slot_of(node)
        incarnation = found.incarnation if found is not None and node not in self.diskless else None
        self._step(node, OwnSlot(DISK, incarnation))
        self._want_looks(node)

    # ------------------------------------------------------------------------------------------ what a node does

    def _post(self, node: int, event: Event) -> None:
        """nmond learns of it next, or once it is awake."""
        self._mine(node).inbox += (event,)

    def _take_in(self, node: int) -> None:
        """All that has come, as nmond's driver hands it on: what the paths brought first, as one."""
        host = self._mine(node)
        events, host.inbox = host.inbox, ()
        messages = tuple(e for e in events if isinstance(e, MessageReceived))
        reads = tuple(e for e in events if isinstance(e, SlotRead))
        written = tuple(e for e in events if isinstance(e, Written))
        if messages or reads or written:
            self._step(node, News(messages, reads, written))
        for event in events:
            if isinstance(event, ScriptEnded):
                self._step(node, event)

    def _step(self, node: int, event: Event) -> None:
        if self.hosts[node].engine is None:
            return
        engine = self._engine(node)
        effects = engine.handle(event, self.clock(node))
        assert not engine.unexpected, engine.unexpected
        self._carry_out(node, effects)

    def _carry_out(self, node: int, effects: Effects) -> None:
        if effects.self_fence:
            self._off(node)
            return
        host = self._mine(node)
        if effects.persist or effects.incarnation:
            assert host.engine is not None
            host.disk = host.engine.record()
        if effects.guard is not None:
            host.guard = effects.guard
        if effects.send is not None:
            self._send(node, effects.send)
        if effects.look:
            self._want_looks(node)
        for script in effects.run:
            self._run(node, script)

    def _run(self, node: int, script: RunScript) -> None:
        host = self._mine(node)
        code = 0
        if script.kind is ScriptKind.START:
            host.up = True
            self._look_who_runs()
        elif script.kind is ScriptKind.STOP:
            host.stop = script.job
            return
        elif script.kind is ScriptKind.STATUS:
            code = 0 if host.up else 3
        self._step(node, ScriptEnded(WEB, script.job, Ended.EXITED, code))

    def _send(self, node: int, message: Heartbeat) -> None:
        """Over the network at once; to the disk through the worker."""
        name, host = self.config.nodes[node], self._mine(node)
        if node not in self.diskless:
            if host.pending is None and not self._tells_news(node, message):
                self._written(node, message)
            elif host.pending is None:
                host.pending = Write(message)
            else:
                host.waiting = Write(message)
        for other, peer in enumerate(self.hosts):
            if other != node and peer.engine is not None and peer.frozen_at is None and (node, other) not in self.cut:
                self._arrive(other, MessageReceived(message, PathId(name, NET), self.clock(other)))

    def _arrive(self, node: int, event: MessageReceived) -> None:
        """It lies ready, and nmond takes it in once all that is under way in this move is done."""
        host = self._mine(node)
        host.inbox = (*(e for e in host.inbox if not _outrun(e, event)), event)

    def _slot_of(self, node: int) -> Heartbeat | None:
        """What the node finds in its own slot."""
        host = self.hosts[node]
        return host.own if host.alone else self.slots[node]

    def _tells_news(self, node: int, message: Heartbeat) -> bool:
        last = self._slot_of(node)
        return last is None or last.incarnation != message.incarnation or last.services != message.services

    def _written(self, node: int, message: Heartbeat) -> None:
        host = self._mine(node)
        if host.alone:
            host.own = message
        else:
            self.slots[node] = message
        host.pending = None
        host.inbox += (Written(DISK, message.seq, self.clock(node)),)
        self._next_write(node)

    def _next_write(self, node: int) -> None:
        host = self._mine(node)
        if host.pending is None and host.waiting is not None:
            host.pending, host.waiting = host.waiting, None

    def _want_looks(self, node: int) -> None:
        self._mine(node).looks = tuple(n for n in range(len(self.hosts)) if n != node)

    def _look(self, node: int, other: int) -> None:
        host, now = self._mine(node), self.clock(node)
        message = None if host.alone else self.slots[other]
        host.looks = tuple(n for n in host.looks if n != other)
        path = PathId(self.config.nodes[other], DISK)
        if node in self.diskless:
            self._post(node, SlotRead(path, now, SlotView.FAILED))
            return
        if message is None:
            self._post(node, SlotRead(path, now, SlotView.EMPTY))
            return
        place = (message.incarnation, message.seq)
        view = SlotView.SAME if host.seen[other] == place else SlotView.NEW
        host.seen = (*host.seen[:other], place, *host.seen[other + 1 :])
        if view is SlotView.NEW:
            host.inbox += (MessageReceived(message, path, now),)
        self._post(node, SlotRead(path, now, view))


_AT_REST: Final = frozenset((State.STOPPED, State.STARTED, State.FROZEN_STOP, State.FROZEN_START))


_RUNNING: Final = frozenset((State.STARTED, State.FROZEN_START))


def _calm(host: Host) -> bool:
    engine = host.engine
    if engine is None:
        return True
    if host.pending is not None or host.waiting is not None or host.looks:
        return False
    service = engine.services[WEB]
    if service.state not in _AT_REST:
        return False
    if not any(peer.silent for peer in engine.peers.values()):
        return True
    return service.state is not State.STOPPED or any(_running(engine, peer) for peer in engine.peers.values())


def _unclaimed(host: Host, now: float) -> bool:
    engine = host.engine
    if engine is not None and engine.services[WEB].state in _RUNNING:
        return True
    if any(write is not None and _claims(write.message) for write in (host.pending, host.waiting)):
        return False
    if engine is None or engine.services[WEB].state is State.FROZEN_STOP:
        return True
    if engine.services[WEB].state is not State.STOPPED:
        return False
    return any(_hears_running(host, engine, peer, now) for peer in engine.peers.values())


def _hears_running(host: Host, engine: Probe, peer: Peer, now: float) -> bool:
    """That the peer runs the service is its newest word, of what came and of what a paused nmond takes in before all
    else."""
    waiting = (e for e in host.inbox if isinstance(e, MessageReceived) and e.path.node == peer.name)
    newest = max(waiting, key=_age_of_word, default=None)
    if newest is None or (peer.newest is not None and _age_of_word(newest) <= _rank_of(peer.newest)):
        return _running(engine, peer) and peer.silent_at > now
    message = newest.message
    return not message.left and message.services[0].state in _RUNNING and newest.arrival + T > now


def _age_of_word(event: MessageReceived) -> tuple[int, int]:
    return _rank_of(event.message)


def _rank_of(message: Heartbeat) -> tuple[int, int]:
    """Later ones of a node are greater."""
    return (message.incarnation.counter, message.seq)


def _claims(message: Heartbeat) -> bool:
    return message.services[0].state in (State.START_READY, State.STARTING)


def _running(engine: Probe, peer: Peer) -> bool:
    """It lives, and says that it runs the service: whatever is found out about others, nobody claims here."""
    entry = peer.entries.get(engine.services[WEB].id)
    return peer.living and entry is not None and entry.state in _RUNNING


def _outrun(event: Event, by: MessageReceived) -> bool:
    return isinstance(event, MessageReceived) and event.path == by.path


def _left(name: str, config: ClusterConfig) -> Heartbeat:
    """The last message of an earlier life, which has left the cluster."""
    engine = Probe(config, name, NodeRecord(0, (ServiceRecord(WEB, State.STOPPED),)), Incarnation(1, 9), 0.0, boot=True)
    engine.cells = Counter()
    message = engine.start(0.0).send
    assert message is not None
    return replace(message, left=True)


def plain_time(engine: Probe, now: float) -> bool:
    """A tick at ``now`` sends the period's heartbeat, and does nothing else."""
    if engine.next_send > now or any(at <= now for _, at in engine.wakes) or engine.lapses_at <= now:
        return False
    return not any(not p.silent and p.silent_at <= now for p in engine.peers.values())


# ------------------------------------------------------------------------------------------------- what may happen


def moves(world: World, faults: int) -> Iterator[Move]:
    """Everything that may happen next, with so many faults left."""
    plain = None if faults else world.plain_write()
    if plain is not None:
        yield plain
        return
    urgent = False
    for node, host in enumerate(world.hosts):
        if host.awake and host.engine is not None and host.engine.next_deadline() + host.lag <= world.now:
            yield Move("tick", node)
            urgent = True
        if host.pending is not None:
            yield Move("write", node)
            if host.pending.hangs:
                yield Move("lost write", node)
            else:
                urgent = urgent or host.frozen_at is None
        if host.frozen_at is not None:
            if world.now > host.frozen_at:
                yield Move("wake", node)
            urgent = urgent or world.now >= host.frozen_at + LONGEST_PAUSE
            continue
        if host.looks and not world.bounds.apart:
            yield Move("look", node)
        elif host.looks:
            yield from (Move("look", node, other) for other in host.looks)
        urgent = urgent or bool(host.looks)
        if host.stop is not None:
            yield Move("stopped", node)
            urgent = urgent or not host.stuck
        if host.paused_at is not None:
            paused_at = host.paused_at + host.lag
            if world.now > paused_at:
                yield Move("resume", node)
            urgent = urgent or world.now >= paused_at + LONGEST_PAUSE
        if host.engine is None:
            yield Move("boot", node)
    if not urgent:
        yield Move("time")
    if faults:
        yield from _faults(world)


def _faults(world: World) -> Iterator[Move]:
    kinds = world.bounds.kinds
    for node, host in enumerate(world.hosts):
        if "cut" in kinds and world.bounds.network:
            for other in range(len(world.hosts)):
                if other != node:
                    yield Move("mend" if (node, other) in world.cut else "cut", node, other)
        if "disk" in kinds:
            yield Move("disk mended" if node in world.diskless else "disk", node)
        if host.engine is None:
            if "alone" in kinds:
                yield Move("alone", node)
            continue
        if "off" in kinds:
            yield Move("off", node)
        if host.frozen_at is not None:
            continue
        if "stuck" in kinds and host.stop is not None and not host.stuck:
            yield Move("stuck", node)
        if "hang" in kinds and host.pending is not None and not host.pending.hangs:
            yield Move("hang", node)
        if host.paused_at is None:
            if "pause" in kinds:
                yield Move("pause", node)
            if "order" in kinds:
                yield from _orders(node, host.engine)
        if "crash" in kinds:
            yield Move("crash", node)
        if "freeze" in kinds and host.paused_at is None:
            yield Move("freeze", node)


def _orders(node: int, engine: Probe) -> Iterator[Move]:
    state = engine.services[WEB].state
    if state is State.STARTED:
        yield Move("freeze-start", node)
    elif state is State.FROZEN_START:
        yield Move("unfreeze", node)
