"""When two worlds of the lease search are the same: all that their future can depend on, and nothing else.

Times are ages, cut off where nothing compares them any more. Of a message counts only which of those that may still be
heard are newer, and what its acknowledgements are worth to those whom they acknowledge. Incarnations count from the
present one; generations are compared. Notes, texts and counters decide nothing.
It must not know which states are good.
"""

import marshal
from hashlib import blake2b
from typing import Any, Final

from ha.fsm.events import Event, MessageReceived, ScriptEnded, SlotRead, Written
from ha.fsm.identity import node_id
from ha.fsm.lease import Lease
from ha.fsm.message import Ack, Heartbeat
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
        self._live: list[set[tuple[int, int]]] = [set() for _ in world.hosts]
        """By sender: incarnation and number of every message that may still be heard."""
        self._known: set[int] = set()
        for message in world.slots:
            self._collect_message(message)
        for host in world.hosts:
            self._collect(host)
        self._place = _places(self._known)

    # ------------------------------------------------------------------------------------------ numbers

    def _collect(self, host: Host) -> None:
        for write in (host.pending, host.waiting):
            self._collect_message(write.message if write is not None else None)
        for event in host.inbox:
            if isinstance(event, MessageReceived):
                self._collect_message(event.message)
        self._collect_record(host.disk.services[0])
        if host.engine is None:
            return
        self._collect_record(host.engine.services[WEB].record)
        for peer in host.engine.peers.values():
            if peer.newest is not None:
                self._known.update(entry.generation for entry in peer.newest.services)

    def _collect_record(self, record: ServiceRecord) -> None:
        self._known.update((record.generation, record.last_run, record.seen))

    def _collect_message(self, message: Heartbeat | None) -> None:
        if message is not None:
            self._live[self._node(message.node)].add((message.incarnation.counter, message.seq))
            self._known.update(entry.generation for entry in message.services)

    def _newer(self, node: int, counter: int, seq: int) -> int:
        """How many messages of ``node`` that may still be heard are newer than this one."""
        return sum(1 for each in self._live[node] if each > (counter, seq))

    def _node(self, number: int) -> int:
        for node, name in enumerate(self.world.config.nodes):
            if node_id(name) == number:
                return node
        raise AssertionError(number)

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
        seen = []
        for other, (life, seq) in sorted(host.seen.items()):
            slot = self.world.slots[other]
            seen.append((other, slot is not None and (slot.incarnation, slot.seq) == (life, seq)))
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
            tuple(seen),
            tuple(self._event(event) for event in host.inbox),
        )

    def _write(self, write: Write | None) -> object:
        return None if write is None else (self._message(write.message), write.hangs)

    def _event(self, event: Event) -> tuple[object, ...]:
        match event:
            case MessageReceived(message=message, path=path, arrival=arrival):
                return (path.index, self._message(message), self._age(arrival))
            case SlotRead(path=path, begun=begun, view=view):
                return (self.names[path.node], self._age(begun), view.value)
            case Written(at=at):
                return ("written", self._age(at))
            case ScriptEnded(job=job):
                return ("ended", job == 0)
        raise AssertionError(event)

    def _message(self, message: Heartbeat | None) -> object:
        """One that may still be heard: what its acknowledgements are worth counts."""
        if message is None:
            return None
        sender = self._node(message.node)
        place = self._newer(sender, message.incarnation.counter, message.seq)
        return (place, *self._said(message), tuple(self._ack(ack) for ack in message.acks))

    def _said(self, message: Heartbeat) -> tuple[object, ...]:
        entry = message.services[0]
        return (
            self._life(self._node(message.node), message.incarnation.counter),
            message.left,
            int(message.promise),
            int(entry.state),
            self._place[entry.generation],
            entry.unclean,
            entry.last_ran,
            entry.demoted,
        )

    def _ack(self, ack: Ack) -> tuple[object, ...]:
        """What it tells the node that is acknowledged: of which life, of a claim or of the disk, and how long a lease
        it is worth."""
        node = self._node(ack.node)
        engine, life = self.world.hosts[node].engine, self._life(node, ack.incarnation.counter)
        if engine is None or life:
            return (node, life)
        newest, claim = max(ack.seqs, default=0), engine.services[WEB].claim_seq
        proves = ack.seqs[DISK] > engine._unproven_until.get(DISK, 0)
        return (node, life, newest > 0, bool(claim) and newest >= claim, proves, self._worth(engine, newest))

    def _worth(self, engine: Probe, seq: int) -> float:
        age = self.now - engine.outgoing.sent_at(seq) if seq else FOREVER
        return round(age, 3) if age < engine._longest_lease else _NONE

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
        claim = service.claim_seq
        told = engine.outgoing.confirmed.get(DISK)
        newest = (self._worth(engine, told[-1][0]), self._age(told[-1][1]) == 0.0) if told else _NONE
        return (
            self._service(service),
            int(engine.promise),
            tuple(self._lease(lease) for lease in engine.leases.values()),
            newest,
            bool(claim) and engine.outgoing.known_since(claim, (DISK,)) < FOREVER,
            bool(engine._shared),
            DISK in engine._unproven_until,
            bool(engine._shared_once),
            self._until(engine.next_send),
            tuple(self._until(at) for _, at in engine.wakes),
            tuple(self._peer(engine, peer) for peer in engine.peers.values()),
            bool(engine._ending),
        )

    def _service(self, service: Service) -> tuple[object, ...]:
        job, since = service.job, service.outranked_since
        return (
            self._record(service.record),
            None if job is None else (job.kind.value, job.id == 0, job.killed, self._until(job.deadline)),
            service.claim_seq > 0,
            service.claim_last_ran,
            service.adopting,
            None if since is None else self._age(since),
            None if service.lapsed_at is None else self._age(service.lapsed_at),
            service.exempt,
        )

    def _lease(self, lease: Lease) -> tuple[object, ...]:
        return (lease.standing, self._until(lease.until) if lease.standing else _NONE)

    def _peer(self, engine: Probe, peer: Peer) -> tuple[object, ...]:
        node, newest = self.names[peer.name], peer.newest
        heard = peer.since if newest is None else max(peer.since, peer.arrival)
        looked, claim = peer.looked(engine._devices), engine.services[WEB].claim_seq
        counter = newest.incarnation.counter if newest is not None else 0
        acked = peer.acknowledgement(engine.id, engine.incarnation)
        known = engine.outgoing.known_since(claim, (DISK,)) if claim else FOREVER
        return (
            peer.silent,
            peer.down != "",
            peer.not_before > self.now and self._until(peer.not_before),
            _NONE if peer.silent else self._age(heard),
            newest is not None and (*self._said(newest), self._newer(node, counter, newest.seq)),
            acked > 0,
            bool(claim) and acked >= claim,
            tuple(self._newer(node, counter, path.seq) if path.seq else _NONE for path in peer.paths),
            peer.paths[DISK].seq > 0,
            peer.silent and looked >= peer.quiet_at,
            looked >= known,
            looked == self.now,
            _renews(engine, looked),
        )


def _renews(engine: Probe, looked: float) -> bool:
    """The look is behind the newest confirmed write."""
    told = engine.outgoing.confirmed.get(DISK)
    return bool(told) and told is not None and told[-1][1] <= looked
