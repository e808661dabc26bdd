"""The world in which the lease is searched: a few nodes, one service, a slot each on one shared disk, a network.

``moves`` says everything that may happen next, ``after`` makes it happen to a copy. Nothing is random, and nothing is
decided here: the engine is the production one, and its effects are carried out in the order that
``ha.fsm.events.Effects`` states. This module must not know in which order histories are searched.

What is modelled, and what is not:

* All clocks are equal. T is 5 s and a period is T/5. Time goes on from one deadline to the next, on a grid of T/20:
  what is due in between is met up to T/20 late. At one moment everything happens in every order.
* A message that tells others something new is written to the slot, and looked at by the others, as steps of their own,
  in every order with all else; one that only says that its sender lives goes all this way at once where nobody claims
  or misses anything. A write is done and confirmed before the next one begins, and before time goes on; it may hang (a
  fault), and is then done or lost at any later moment.
* A look reads what is in the slot at that moment, or fails where the disk is cut, and is told to nmond, which takes it
  in next.
* Either direction of the network, and each node's disk, is cut or mended by a fault each. A message on the network
  arrives at once, or never.
* Scripts end at once. A stop script hangs, or fails, by a fault; then nothing stops the service but the end of the
  machine. From the start script to the end of the stop, the power-off or the reboot the service is up.
* A pause stops nmond, from its last look at the time, for up to 2 T, while clock, disk, scripts and guardian go on. A
  crash ends nmond between two steps; it begins again at once. A power-off, and the guardian, end the machine; it boots
  at any later moment, or never.
  Pauses of a whole machine with its clock are not modelled (docs/safety.md, "Assumptions").
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final, NamedTuple

from ha.fsm.config import ClusterConfig, PathConfig, PathId, ServiceConfig
from ha.fsm.events import (
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
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.service import ORPHAN
from ha.fsm.states import Promise, ScriptKind, State
from ha.simulation.coverage import Cell
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
KINDS: Final = ("cut", "disk", "hang", "stuck", "pause", "crash", "off")


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
    ("cut", "mend", "disk", "disk mended", "hang", "stuck", "pause", "crash", "off"),
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
    lease_until: float = FOREVER
    """As the guard's file tells it to the next nmond."""
    guard: float = FOREVER
    up: bool = False
    stop: int | None = None
    """The job of the stop script that runs; None: none does."""
    stuck: bool = False
    """It does not end in the moment in which it began."""
    paused_at: float | None = None
    pending: Write | None = None
    waiting: Write | None = None
    """Handed to the worker while a write was under way: the newest one."""
    looks: tuple[int, ...] = ()
    """Slots that are still to be looked at."""
    seen: dict[int, tuple[Incarnation, int]] = field(default_factory=dict)
    """Of each slot, the message that was seen last."""
    inbox: tuple[Event, ...] = ()

    def copy(self) -> "Host":
        return replace(self, engine=self.engine.copy() if self.engine is not None else None, seen=dict(self.seen))


class DualRun(Exception):
    """The service is up on two machines."""


class World:
    """All of it. Replaced, never changed, once a move is over."""

    __slots__ = ("bounds", "cells", "config", "cut", "diskless", "hosts", "now", "slots")

    def __init__(self, bounds: Bounds, cells: Counter[Cell]) -> None:
        self.bounds = bounds
        self.cells = cells
        self.config = cluster(bounds.nodes)
        self.now = 100.0
        self.hosts: list[Host] = []
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
            self._boot(node)
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
        world.bounds, world.cells, world.config, world.now = self.bounds, self.cells, self.config, self.now
        world.cut, world.diskless = self.cut, self.diskless
        world.slots = list(self.slots)
        touched = range(len(self.hosts)) if move.what in _WIDE else (move.node,)
        world.hosts = [host.copy() if node in touched else host for node, host in enumerate(self.hosts)]
        world._do(move)
        world._read()
        return world

    def _read(self) -> None:
        """nmond reads all that lies ready before anything else."""
        reading = True
        while reading:
            reading = False
            for node, host in enumerate(self.hosts):
                if host.inbox and host.engine is not None and host.paused_at is None:
                    self._take_in(node)
                    reading = True

    def _do(self, move: Move) -> None:
        node, host = move.node, self.hosts[move.node]
        match move.what:
            case "time":
                self._pass_time()
            case "tick":
                self._step(node, Tick())
            case "write":
                assert host.pending is not None
                self._written(node, host.pending.message)
            case "lost write":
                host.pending = None
                self._next_write(node)
            case "look":
                self._look(node, move.other)
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
            case "pause":
                host.paused_at = self.now
                assert host.engine is not None
                host.engine.sleep(self.now)
            case "resume":
                host.paused_at = None
            case "crash":
                self._restart(node, boot=False)
            case "off":
                self._off(node)
            case "boot":
                self._boot(node)
            case _:
                raise AssertionError(move)

    def next_time(self) -> float:
        """When something is due next, met at the next moment of the grid."""
        when = self.now + PERIOD
        for host in self.hosts:
            if host.guard > self.now:
                when = min(when, host.guard)
            if host.engine is not None and host.paused_at is None:
                deadline = host.engine.next_deadline()
                when = min(when, deadline if deadline > self.now else when)
        return ceil(when / GRID) * GRID

    def _pass_time(self) -> None:
        self.now = self.next_time()
        for node, host in enumerate(self.hosts):
            if host.guard <= self.now:
                self._off(node)
            elif host.engine is not None and host.paused_at is None and host.engine.next_deadline() <= self.now:
                self._beat(node)

    def _beat(self, node: int) -> None:
        """A period's heartbeat, where the look at the time does nothing else: it commutes with all that may happen."""
        host = self.hosts[node]
        engine = host.engine
        assert engine is not None
        if not plain_time(engine, self.now) or not self._calm(node):
            return
        self._carry_out(node, engine.handle(Tick(), self.now))
        while self.hosts[node].looks:
            self._look(node, self.hosts[node].looks[0])

    def _calm(self, node: int) -> bool:
        """Nobody claims, waits for anything, or has missed anything: when in this moment a heartbeat goes its way makes
        no difference."""
        for host in self.hosts:
            engine = host.engine
            if engine is None:
                continue
            busy = host.pending is not None or host.waiting is not None or host.looks
            if busy or engine.services[WEB].state not in _AT_REST or any(p.silent for p in engine.peers.values()):
                return False
        return True

    def _off(self, node: int) -> None:
        host = self.hosts[node]
        self.hosts[node] = Host(None, host.disk)

    def _boot(self, node: int) -> None:
        self._restart(node, boot=True)

    def _restart(self, node: int, *, boot: bool) -> None:
        """nmond begins: after a boot, or at once after its death."""
        old, name = self.hosts[node], self.config.nodes[node]
        host = self.hosts[node] = Host(None, old.disk, up=old.up, guard=old.guard, lease_until=old.lease_until)
        host.engine = Probe(
            self.config,
            name,
            host.disk,
            Incarnation(host.disk.incarnation + 1, node + 1),
            self.now,
            boot=boot,
            orphans={WEB: ScriptKind.STOP} if old.stop is not None and not boot else {},
            lease_until=old.lease_until,
        )
        host.engine.cells = self.cells
        if old.stop is not None and not boot:
            host.stop, host.stuck = ORPHAN, old.stuck
        host.engine.promise = Promise.REBOOT
        self._carry_out(node, host.engine.start(self.now))
        found = self.slots[node]
        incarnation = found.incarnation if found is not None and node not in self.diskless else None
        self._step(node, OwnSlot(DISK, incarnation))
        self._want_looks(node)

    # ------------------------------------------------------------------------------------------ what a node does

    def _post(self, node: int, event: Event) -> None:
        """nmond learns of it next, or once it is awake."""
        self.hosts[node].inbox += (event,)

    def _take_in(self, node: int) -> None:
        """All that has come, as nmond's driver hands it on: what the paths brought first, as one."""
        host = self.hosts[node]
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
        engine = self.hosts[node].engine
        if engine is None:
            return
        effects = engine.handle(event, self.now)
        assert not engine.unexpected, engine.unexpected
        self._carry_out(node, effects)

    def _carry_out(self, node: int, effects: Effects) -> None:
        host = self.hosts[node]
        if effects.self_fence:
            self._off(node)
            return
        if effects.persist or effects.incarnation:
            assert host.engine is not None
            host.disk = host.engine.record()
        if effects.guard is not None:
            host.guard = effects.guard
            host.lease_until = FOREVER if effects.guard == FOREVER else self._lease_end(host)
        if effects.send is not None:
            self._send(node, effects.send)
        if effects.look:
            self._want_looks(node)
        for script in effects.run:
            self._run(node, script)

    def _lease_end(self, host: Host) -> float:
        assert host.engine is not None
        return min((lease.until for lease in host.engine.leases.values()), default=FOREVER)

    def _run(self, node: int, script: RunScript) -> None:
        host = self.hosts[node]
        code = 0
        if script.kind is ScriptKind.START:
            host.up = True
            if sum(h.up for h in self.hosts) > 1:
                raise DualRun(" and ".join(n for n, h in zip(self.config.nodes, self.hosts, strict=True) if h.up))
        elif script.kind is ScriptKind.STOP:
            host.stop = script.job
            return
        elif script.kind is ScriptKind.STATUS:
            code = 0 if host.up else 3
        self._step(node, ScriptEnded(WEB, script.job, Ended.EXITED, code))

    def _send(self, node: int, message: Heartbeat) -> None:
        """Over the network at once; to the disk through the worker."""
        name, host = self.config.nodes[node], self.hosts[node]
        news = self._tells_news(node, message)
        if node not in self.diskless:
            if not news and host.pending is None:
                self.slots[node] = message
                host.inbox += (Written(DISK, message.seq, self.now),)
            elif host.pending is None:
                host.pending = Write(message)
            else:
                host.waiting = Write(message)
        for other, peer in enumerate(self.hosts):
            if other != node and peer.engine is not None and (node, other) not in self.cut:
                self._arrive(other, MessageReceived(message, PathId(name, NET), self.now))

    def _arrive(self, node: int, event: MessageReceived) -> None:
        """It lies ready, and nmond takes it in once all that is under way in this move is done."""
        host = self.hosts[node] = self.hosts[node].copy()
        host.inbox = (*(e for e in host.inbox if not _outrun(e, event)), event)

    def _tells_news(self, node: int, message: Heartbeat) -> bool:
        last = self.slots[node]
        return last is None or last.incarnation != message.incarnation or last.services != message.services

    def _written(self, node: int, message: Heartbeat) -> None:
        host = self.hosts[node]
        self.slots[node], host.pending = message, None
        host.inbox += (Written(DISK, message.seq, self.now),)
        self._next_write(node)

    def _next_write(self, node: int) -> None:
        host = self.hosts[node]
        if host.pending is None and host.waiting is not None:
            host.pending, host.waiting = host.waiting, None

    def _want_looks(self, node: int) -> None:
        self.hosts[node].looks = tuple(n for n in range(len(self.hosts)) if n != node)

    def _look(self, node: int, other: int) -> None:
        host, message = self.hosts[node], self.slots[other]
        host.looks = tuple(n for n in host.looks if n != other)
        path = PathId(self.config.nodes[other], DISK)
        if node in self.diskless:
            self._post(node, SlotRead(path, self.now, SlotView.FAILED))
            return
        if message is None:
            self._post(node, SlotRead(path, self.now, SlotView.EMPTY))
            return
        place = (message.incarnation, message.seq)
        view = SlotView.SAME if host.seen.get(other) == place else SlotView.NEW
        host.seen[other] = place
        if view is SlotView.NEW:
            host.inbox += (MessageReceived(message, path, self.now),)
        self._post(node, SlotRead(path, self.now, view))


_AT_REST: Final = frozenset((State.STOPPED, State.STARTED, State.FROZEN_STOP, State.FROZEN_START))
_WIDE: Final = frozenset(("time", "tick", "write", "look", "stopped", "resume", "crash", "boot"))
"""Moves that may change machines other than the one they happen to: by a message that it sends."""


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
    urgent = False
    for node, host in enumerate(world.hosts):
        if host.engine is not None and host.paused_at is None and host.engine.next_deadline() <= world.now:
            yield Move("tick", node)
            urgent = True
        if host.pending is not None:
            yield Move("write", node)
            if host.pending.hangs:
                yield Move("lost write", node)
            else:
                urgent = True
        for other in host.looks:
            yield Move("look", node, other)
            urgent = True
        if host.stop is not None:
            yield Move("stopped", node)
            urgent = urgent or not host.stuck
        if host.paused_at is not None:
            if world.now > host.paused_at:
                yield Move("resume", node)
            urgent = urgent or world.now >= host.paused_at + LONGEST_PAUSE
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
            continue
        if "stuck" in kinds and host.stop is not None and not host.stuck:
            yield Move("stuck", node)
        if "hang" in kinds and host.pending is not None and not host.pending.hangs:
            yield Move("hang", node)
        if "pause" in kinds and host.paused_at is None:
            yield Move("pause", node)
        if "crash" in kinds:
            yield Move("crash", node)
        if "off" in kinds:
            yield Move("off", node)
