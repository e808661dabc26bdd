"""When two worlds of the lease search are the same: all that their future can depend on, and nothing else.

Times are ages, cut off where nothing compares them any more. Sequence numbers are only compared: each is replaced by
its rank among those of its sender that are still anywhere, with its age where the lease counts from it. Incarnations
count from the present one, generations from the lowest that anybody knows. Notes, texts and counters decide nothing.
It must not know which states are good.
"""

import marshal
from hashlib import blake2b
from typing import Any, Final

from ha.fsm.events import Event, MessageReceived, ScriptEnded, SlotRead, Written
from ha.fsm.identity import node_id
from ha.fsm.lease import Lease
from ha.fsm.message import Heartbeat
from ha.fsm.peers import Peer
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.service import Service
from ha.simulation.lease_world import DISK, FOREVER, WEB, Host, T, World, Write
from ha.simulation.probe import Probe

OLD: Final = 2.5 * T
"""Ages beyond this are compared with nothing."""
GAP: Final = 2
"""Generations that are farther apart than this count as this far apart."""
_NONE: Final = -9


def key(world: World) -> bytes:
    """Equal for two worlds that are the same."""
    return blake2b(marshal.dumps(_told(world), 2), digest_size=16).digest()


def _places(known: set[int]) -> dict[int, int]:
    """What each generation counts as: they are compared, and a new one is one above the highest that is known."""
    found, last, place = {}, None, 0
    for generation in sorted(known):
        place += 0 if last is None else min(generation - last, GAP)
        found[generation], last = place, generation
    return found


def _told(world: World) -> Any:
    return _Telling(world).told()


class _Telling:
    """Makes the key of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.now = world.now
        self.ids = {host.engine.id: node for node, host in enumerate(world.hosts) if host.engine is not None}
        self.lives = [
            host.engine.incarnation.counter if host.engine is not None else host.disk.incarnation
            for host in world.hosts
        ]
        self.names = {name: node for node, name in enumerate(world.config.nodes)}
        self._numbers: list[set[int]] = [set() for _ in world.hosts]
        self._known: set[int] = set()
        for host in world.hosts:
            self._collect(host)
        for message in world.slots:
            self._collect_message(message)
        self._rank = [{seq: rank for rank, seq in enumerate(sorted(numbers))} for numbers in self._numbers]
        self._place = _places(self._known)

    # ------------------------------------------------------------------------------------------ numbers

    def _collect(self, host: Host) -> None:
        for write in (host.pending, host.waiting):
            self._collect_message(write.message if write is not None else None)
        for event in host.inbox:
            if isinstance(event, MessageReceived):
                self._collect_message(event.message)
        self._collect_record(host.disk.services[0])
        engine = host.engine
        if engine is None:
            return
        service = engine.services[WEB]
        self._collect_record(service.record)
        own = self._numbers[self.names[engine.node]]
        own.update(engine._unproven_until.values())
        own.update(seq for told in engine.outgoing.confirmed.values() for seq, _ in told)
        own.update((service.claim_seq, engine.seq))
        for peer in engine.peers.values():
            self._numbers[self.names[peer.name]].update(path.seq for path in peer.paths)
            self._collect_message(peer.newest)
        for other, (_, seq) in host.seen.items():
            self._numbers[other].add(seq)

    def _collect_record(self, record: ServiceRecord) -> None:
        self._known.update((record.generation, record.last_run, record.seen))

    def _collect_message(self, message: Heartbeat | None) -> None:
        if message is None:
            return
        self._numbers[self._sender(message)].add(message.seq)
        self._known.update(entry.generation for entry in message.services)
        for ack in message.acks:
            self._numbers[self._node(ack.node)].update(ack.seqs)

    def _node(self, number: int) -> int:
        for node, name in enumerate(self.world.config.nodes):
            if node_id(name) == number:
                return node
        raise AssertionError(number)

    def _sender(self, message: Heartbeat) -> int:
        return self._node(message.node)

    def _age(self, at: float) -> float:
        return _NONE if at == -FOREVER else round(min(self.now - at, OLD), 3)

    def _until(self, at: float) -> float:
        return _NONE if at in (FOREVER, -FOREVER) else round(max(at - self.now, -OLD), 3)

    def _life(self, node: int, counter: int) -> int:
        return min(self.lives[node] - counter, 2)

    # -------------------------------------------------------------------------------------------- parts

    def told(self) -> tuple[object, ...]:
        world = self.world
        return (
            tuple(self._host(node, host) for node, host in enumerate(world.hosts)),
            tuple(self._message(m) for m in world.slots),
            sorted(world.cut),
            sorted(world.diskless),
        )

    def _host(self, node: int, host: Host) -> tuple[object, ...]:
        return (
            self._engine(node, host.engine) if host.engine is not None else None,
            self._stored(host.disk),
            self._until(host.lease_until),
            self._until(host.guard),
            host.up,
            None if host.stop is None else host.stop == 0,
            host.stuck,
            None if host.paused_at is None else self._age(host.paused_at),
            self._write(host.pending),
            self._write(host.waiting),
            host.looks,
            sorted(
                (other, self._life(other, life.counter), self._rank[other][seq])
                for other, (life, seq) in host.seen.items()
            ),
            tuple(self._event(node, event) for event in host.inbox),
        )

    def _write(self, write: Write | None) -> object:
        return None if write is None else (self._message(write.message), write.hangs)

    def _event(self, node: int, event: Event) -> tuple[object, ...]:
        match event:
            case MessageReceived(message=message, path=path, arrival=arrival):
                return (path.index, self._message(message), self._age(arrival))
            case SlotRead(path=path, begun=begun, view=view):
                return (self.names[path.node], self._age(begun), view.value)
            case Written(seq=seq, at=at):
                return (self._rank[node].get(seq, _NONE), self._age(at))
            case ScriptEnded(job=job):
                return ("ended", job == 0)
        raise AssertionError(event)

    def _message(self, message: Heartbeat | None) -> object:
        if message is None:
            return None
        sender = self._sender(message)
        acks = []
        for ack in message.acks:
            node = self._node(ack.node)
            ranks = tuple(self._sent(node, seq) for seq in ack.seqs)
            acks.append((node, self._life(node, ack.incarnation.counter), ranks))
        entry = message.services[0]
        return (
            self._life(sender, message.incarnation.counter),
            self._rank[sender][message.seq],
            message.left,
            int(message.promise),
            int(entry.state),
            self._place[entry.generation],
            entry.unclean,
            entry.last_ran,
            entry.demoted,
            tuple(acks),
        )

    def _sent(self, node: int, seq: int) -> object:
        """A message of ours that somebody has seen: which, and how much of a lease it is worth."""
        engine = self.world.hosts[node].engine
        worth = self._age(engine.outgoing.sent_at(seq)) if engine is not None and seq else _NONE
        return (self._rank[node][seq], worth)

    def _stored(self, record: NodeRecord) -> tuple[object, ...]:
        return (self._record(record.services[0]), record.shared, [(d[0], d[3]) for d in record.down])

    def _record(self, record: ServiceRecord) -> tuple[object, ...]:
        return (
            int(record.state),
            self._place[record.generation],
            self._place[record.last_run],
            self._place[record.seen],
            record.unclean,
            record.demoted,
            record.freeze,
        )

    def _engine(self, node: int, engine: Probe) -> tuple[object, ...]:
        service = engine.services[WEB]
        rank = self._rank[node]
        return (
            self._service(node, service),
            int(engine.promise),
            tuple(self._lease(lease) for lease in engine.leases.values()),
            tuple(
                (index, tuple((self._sent(node, seq), self._age(at)) for seq, at in told))
                for index, told in sorted(engine.outgoing.confirmed.items())
            ),
            sorted(engine._shared),
            sorted((index, rank[seq]) for index, seq in engine._unproven_until.items()),
            rank[engine.seq],
            self._until(engine.next_send),
            round(min(self.now - engine.last_step, 3.0), 3),
            tuple(self._until(at) for _, at in engine.wakes),
            tuple(self._peer(peer) for peer in engine.peers.values()),
            bool(engine._ending),
        )

    def _service(self, node: int, service: Service) -> tuple[object, ...]:
        job, since = service.job, service.outranked_since
        return (
            self._record(service.record),
            None if job is None else (job.kind.value, job.id == 0, job.killed, self._until(job.deadline)),
            self._rank[node][service.claim_seq] if service.claim_seq else _NONE,
            service.claim_last_ran,
            service.adopting,
            None if since is None else self._age(since),
            None if service.lapsed_at is None else self._age(service.lapsed_at),
            service.exempt,
        )

    def _lease(self, lease: Lease) -> tuple[object, ...]:
        return (lease.standing, self._until(lease.until) if lease.standing else _NONE)

    def _peer(self, peer: Peer) -> tuple[object, ...]:
        node = self.names[peer.name]
        heard = peer.since if peer.newest is None else max(peer.since, peer.arrival)
        return (
            peer.silent,
            peer.down != "",
            self._age(heard),
            self._age(peer.since) if peer.newest is None else 0,
            self._until(peer.not_before) if peer.not_before > self.now else _NONE,
            self._message(peer.newest),
            tuple(
                (
                    self._rank[node][path.seq],
                    path.up,
                    self._age(path.last) if path.up and path.last is not None else _NONE,
                    self._age(path.read) if index == DISK else _NONE,
                )
                for index, path in enumerate(peer.paths)
            ),
        )
