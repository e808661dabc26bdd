"""A cluster of engines for unit tests: a clock that jumps, paths that carry at once or are cut, scripts by hand.

Not the simulator: no randomness, no faults of its own. A test says what happens, in order.
"""

from dataclasses import dataclass, field

from ha.fsm.config import ClusterConfig, PathConfig, PathId, ServiceConfig
from ha.fsm.engine import Engine
from ha.fsm.events import (
    Command,
    Effects,
    Ended,
    Event,
    MessageReceived,
    Note,
    NoteKind,
    OwnSlot,
    Reply,
    RunScript,
    ScriptEnded,
    SlotRead,
    SlotView,
    Tick,
    Written,
)
from ha.fsm.message import Heartbeat, Incarnation
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import Action, ScriptKind, State

T = 10.0


def path(node: str, index: int, timeout: float = T) -> PathConfig:
    label = f"eth{index}:239.0.0.1:{node}"
    return PathConfig(PathId(node, index), label, "net", timeout, f"{node} net eth{index} {timeout:g}")


def disk(node: str, index: int, timeout: float = T) -> PathConfig:
    return PathConfig(PathId(node, index), f"/dev/sdb:{node[-1]}", "dio", timeout, f"{node} dio /dev/sdb {timeout:g}")


def config(
    nodes: tuple[str, ...] = ("node1", "node2"),
    services: tuple[str, ...] = ("web",),
    timeout: float = T,
    paths: int = 2,
    protection: str = "none",
) -> ClusterConfig:
    """``protection`` other than none: each node has a slot on a shared disk as its last path."""
    lines = [path(n, i, timeout) for n in nodes for i in range(paths)]
    if protection != "none":
        lines += [disk(n, paths, timeout) for n in nodes]
    return ClusterConfig(
        cluster="test",
        nodes=nodes,
        paths=tuple(lines),
        services={
            s: ServiceConfig(s, f"/etc/opensvc/{s}.cluster", nodes, "/bin/true", protection=protection)
            for s in services
        },
    )


@dataclass
class Host:
    """One engine and what its driver would hold."""

    name: str
    engine: Engine
    disk: NodeRecord
    jobs: dict[int, RunScript] = field(default_factory=dict)
    killed: list[tuple[int, bool]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    outbox: list[Heartbeat] = field(default_factory=list)
    alive: bool = True
    fenced: str = ""
    """Why this machine was ended by itself."""
    guard: float = float("inf")
    fencing: list[str] = field(default_factory=list)
    wishes: list[tuple[str, bool]] = field(default_factory=list)
    look: bool = False
    seen: dict[PathId, Heartbeat] = field(default_factory=dict)
    """What the last look at a slot showed."""
    disk_full: bool = False

    def state(self, service: str = "web") -> State:
        return self.engine.services[service].state

    def story(self, service: str = "web") -> list[str]:
        """The states that this node's history tells, first to last."""
        notes = [n for n in self.notes if n.kind is NoteKind.TRANSITION and n.service == service]
        return [n.dest.name for n in notes if n.dest is not None and n.dest is not n.source]


class Cluster:
    """Engines side by side under one clock."""

    def __init__(self, conf: ClusterConfig | None = None, states: dict[str, State] | None = None) -> None:
        self.config = conf or config()
        self.now = 1000.0
        self.hosts: dict[str, Host] = {}
        self.cut: set[tuple[str, str, int]] = set()
        """(sender, receiver, path index) that carries nothing."""
        self.slots: dict[PathId, Heartbeat] = {}
        """What is on the shared disk."""
        self.unwritable: set[str] = set()
        """Nodes whose writes to the disk fail."""
        self.unreadable: set[str] = set()
        """Nodes whose reads of the disk fail."""
        self.fences = True
        """A machine that has to end does; else nothing guards it."""
        self.stopping = 0
        """The exit code of stop scripts."""
        self.commands = 0
        for name in self.config.nodes:
            state = (states or {}).get(name, State.FROZEN_STOP)
            records = tuple(ServiceRecord(s, state) for s in self.config.services)
            self.boot(name, NodeRecord(0, records), boot=False)

    def boot(self, name: str, record: NodeRecord, *, boot: bool, **more: object) -> Host:
        incarnation = Incarnation(record.incarnation + 1, len(self.hosts) * 7919 + record.incarnation + 1)
        engine = Engine(self.config, name, record, incarnation, self.now, boot=boot, **more)  # type: ignore[arg-type]
        old = self.hosts.get(name)
        host = Host(name, engine, record, notes=old.notes if old else [])
        self.hosts[name] = host
        self._carry_out(host, engine.start(self.now))
        for each in self.config.paths_of(name):
            if each.device and name not in self.unwritable:
                found = self.slots.get(each.id)
                own = (found.incarnation, found.seq) if found is not None else (None, 0)
                self.feed(name, OwnSlot(each.id.index, *own))
        host.look = True
        return host

    def restart(self, name: str, *, boot: bool = False, **more: object) -> Host:
        """nmond is killed and started again (``boot``: the whole machine)."""
        return self.boot(name, self.hosts[name].disk, boot=boot, **more)

    def power_off(self, name: str) -> None:
        self.hosts[name].alive = False

    def feed(self, name: str, event: Event) -> Effects:
        host = self.hosts[name]
        effects = host.engine.handle(event, self.now)
        self._carry_out(host, effects)
        return effects

    def _carry_out(self, host: Host, effects: Effects) -> None:
        if effects.self_fence:
            host.fenced = effects.self_fence
            if self.fences:
                host.alive = False
                host.jobs.clear()
                return
        host.killed += [(k.job, k.force) for k in effects.kill]
        if effects.persist or effects.incarnation:
            if host.disk_full and not effects.urgent:
                host.engine.rollback(self.now)
                return
            if host.disk_full:
                host.engine.unsaved(self.now)
            else:
                host.disk = host.engine.record()
        if effects.guard is not None:
            host.guard = effects.guard
        if effects.send is not None:
            host.outbox.append(effects.send)
        host.look = host.look or effects.look
        host.fencing += [order.node for order in effects.fence]
        host.wishes += [(order.service, order.want) for order in effects.arbitrate]
        for run in effects.run:
            assert not any(j.service == run.service for j in host.jobs.values()), "two scripts of a service at once"
            if not effects.urgent:
                assert next(r for r in host.disk.services if r.name == run.service).state is host.state(run.service)
            host.jobs[run.job] = run
        host.notes += effects.notes
        host.replies += effects.replies

    def deliver(self) -> None:
        """Carry messages until nobody has anything more to say at this instant."""
        for _ in range(1000):
            senders = [h for h in self.hosts.values() if h.alive and h.outbox]
            if not senders and not self._looked():
                return
            for host in senders:
                messages, host.outbox = host.outbox, []
                for message in messages:
                    self._spread(host.name, message)
        raise AssertionError("the nodes never stop talking")

    def _looked(self) -> bool:
        """Nodes that want to look at the others' slots do; False where none does."""
        looking = [h for h in self.hosts.values() if h.alive and h.look]
        for host in looking:
            host.look = False
            self.read(host.name)
        return bool(looking)

    def read(self, name: str) -> None:
        """One look at every slot of the others."""
        host = self.hosts[name]
        for each in self.config.paths:
            if not each.device or each.id.node == name:
                continue
            message = self.slots.get(each.id)
            if name in self.unreadable:
                self.feed(name, SlotRead(each.id, self.now, SlotView.FAILED))
            elif message is None:
                self.feed(name, SlotRead(each.id, self.now, SlotView.EMPTY))
            elif host.seen.get(each.id) == message:
                self.feed(name, SlotRead(each.id, self.now, SlotView.SAME))
            else:
                host.seen[each.id] = message
                self.feed(name, MessageReceived(message, each.id, self.now))
                self.feed(name, SlotRead(each.id, self.now, SlotView.NEW))

    def _spread(self, sender: str, message: Heartbeat) -> None:
        for each in self.config.paths_of(sender):
            if each.device:
                if sender not in self.unwritable and self.hosts[sender].alive:
                    self.slots[each.id] = message
                    self.feed(sender, Written(each.id.index, message.seq, self.now))
                continue
            for name, host in self.hosts.items():
                if name != sender and host.alive and (sender, name, each.id.index) not in self.cut:
                    self.feed(name, MessageReceived(message, each.id, self.now))

    def sever(self, sender: str, receiver: str) -> None:
        self.cut |= {(sender, receiver, p.id.index) for p in self.config.paths_of(sender)}

    def heal(self) -> None:
        self.cut.clear()

    def run(self, seconds: float, *, scripts: bool = True) -> None:
        """Let time pass: ticks at each engine's deadline, messages at once, scripts succeed at once."""
        end = self.now + seconds
        self.settle(scripts)
        while True:
            due = min((h.engine.next_deadline() for h in self.hosts.values() if h.alive), default=float("inf"))
            if due > end:
                break
            self.now = max(self.now, due)
            for name, host in self.hosts.items():
                if host.alive and host.engine.next_deadline() <= self.now:
                    host.look = True
                    self.feed(name, Tick())
            self.settle(scripts)
        self.now = end

    def settle(self, scripts: bool = True) -> None:
        self.deliver()
        while scripts and any(h.jobs for h in self.hosts.values() if h.alive):
            for host in self.hosts.values():
                for job in list(host.jobs.values()):
                    self.end(host.name, job.service, self.stopping if job.kind is ScriptKind.STOP else 0)
            self.deliver()

    def end(self, name: str, service: str = "web", code: int = 0, how: Ended = Ended.EXITED) -> ScriptKind:
        """The script of a service that runs on a node ends."""
        host = self.hosts[name]
        job = next(j for j in host.jobs.values() if j.service == service)
        del host.jobs[job.job]
        self.feed(name, ScriptEnded(service, job.job, how, code))
        return job.kind

    def ask(self, name: str, action: Action, service: str = "web", *, override: bool = False, target: str = "") -> str:
        self.commands += 1
        command = Command(f"c{self.commands}", service, action, override, target)
        self.feed(name, command)
        return command.id

    def answer(self, name: str, command: str) -> Reply | None:
        return next((r for r in self.hosts[name].replies if r.id == command and r.final), None)

    def states(self, service: str = "web") -> list[str]:
        return [h.state(service).name for h in self.hosts.values()]
