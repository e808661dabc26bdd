"""When two worlds of the lease search are the same: all that their future can depend on, and nothing else.

Times are ages by the clock of the machine that compares them, cut off where nothing compares them any more. Of a
message counts only which of those that may still be heard are newer, and what its acknowledgements are worth to those
whom they acknowledge. Incarnations count from the present one; generations are compared. Notes, texts and counters
decide nothing.

What a machine alone makes of itself is told once, and kept with it: most moves change one machine of several. What
compares with others is kept as it is (generations, numbers of messages), and put in relation for the world as a whole.
It must not know which states are good.
"""

import marshal
from bisect import bisect_right
from collections.abc import Hashable
from hashlib import blake2b
from typing import Final

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
STALE: Final = 1.2 * T
"""A message that came first so long ago is stale on any other path (``ha.fsm.peers``)."""
GAP: Final = 2
"""Generations that are farther apart than this count as this far apart."""
_NONE: Final = -9

_AT = tuple[int, int, int]
"""A message: sender, counter of its incarnation, number."""


def _places(known: set[int]) -> dict[int, int]:
    """What each generation counts as: they are compared, and a new one is one above the highest that is known."""
    found, last, place = {}, None, 0
    for generation in sorted(known):
        place += 0 if last is None else min(generation - last, GAP)
        found[generation], last = place, generation
    return found


class _Part:
    """What was made of one machine at one moment."""

    __slots__ = ("at", "generations", "late", "lives", "messages", "newer", "number")

    def __init__(self, at: float) -> None:
        self.at = at
        self.number = 0
        """Of all that concerns nobody else: equal for equal ones."""
        self.generations: list[int] = []
        self.newer: list[_AT] = []
        """Messages of which it counts how many that may still be heard are newer."""
        self.lives: list[tuple[int, int]] = []
        """Incarnations of others, which count from their present one."""
        self.messages: list[Heartbeat] = []
        """On their way, or come and not yet taken in."""
        self.late: list[tuple[int, Peer]] = []
        """Senders of whom one path was quicker than the other."""


class Keys:
    """Makes the keys of the worlds of one search."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = {name: node for node, name in enumerate(names)}
        self._ids = {node_id(name): node for node, name in enumerate(names)}
        self._numbers: dict[Hashable, int] = {}

    def key(self, world: World) -> bytes:
        """Equal for two worlds that are the same."""
        parts = [self._part(world, node, host) for node, host in enumerate(world.hosts)]
        messages = [m for m in world.slots if m is not None]
        for part in parts:
            messages += part.messages
        live: list[list[tuple[int, int]]] = [[] for _ in parts]
        known: set[int] = set()
        for message in messages:
            live[self._ids[message.node]].append((message.incarnation.counter, message.seq))
            known.add(message.services[0].generation)
        live = [sorted(set(each)) if len(each) > 1 else each for each in live]
        for part in parts:
            known.update(part.generations)
        place = _places(known)
        lives = [
            host.engine.incarnation.counter if host.engine is not None else host.disk.incarnation
            for host in world.hosts
        ]
        told: list[object] = [sorted(world.cut), sorted(world.diskless), [m is None for m in world.slots]]
        told.append(None if world.dual_since is None else world.now - world.dual_since)
        for node, part in enumerate(parts):
            told.append(part.number)
            told += [place[each] for each in part.generations]
            told += [len(live[n]) - bisect_right(live[n], (counter, seq)) for n, counter, seq in part.newer]
            told += [min(lives[n] - counter, 2) for n, counter in part.lives]
            for other, place_seen in enumerate(world.hosts[node].seen):
                slot = world.slots[other]
                told.append(place_seen is not None and slot is not None and (slot.incarnation, slot.seq) == place_seen)
            for sender, peer in part.late:
                told += _came_first(peer, live[sender], part.at)
        for message in messages:
            sender, counter = self._ids[message.node], message.incarnation.counter
            told.append(len(live[sender]) - bisect_right(live[sender], (counter, message.seq)))
            told.append(min(lives[sender] - counter, 2))
            told.append(place[message.services[0].generation])
            told.append(_said(message))
            for ack in message.acks:
                self._ack(world, ack, lives, told)
        return blake2b(marshal.dumps(told, 2), digest_size=16).digest()

    def _ack(self, world: World, ack: Ack, lives: list[int], told: list[object]) -> None:
        """What it tells the node that is acknowledged: of which life, of a claim or of the disk, and how long a lease
        it is worth."""
        node = self._ids[ack.node]
        host, life = world.hosts[node], min(lives[node] - ack.incarnation.counter, 2)
        engine = host.engine
        told.append(node)
        told.append(life)
        if engine is None or life:
            return
        newest, claim = max(ack.seqs, default=0), engine.services[WEB].claim_seq
        told.append(newest > 0)
        told.append(bool(claim) and newest >= claim)
        told.append(ack.seqs[DISK] > engine._unproven_until.get(DISK, 0))
        told.append(_worth(engine, newest, world.clock(node)))

    def _part(self, world: World, node: int, host: Host) -> _Part:
        now = world.clock(node)
        part = host.part
        if isinstance(part, _Part) and part.at == now and (host.woke_at is None and host.frozen_at is None):
            return part
        part = host.part = _Part(now)
        told = _Telling(self._names, self._ids, part, now).host(host, world.now)
        part.number = self._numbers.setdefault(told, len(self._numbers))
        return part


def _came_first(peer: Peer, live: list[tuple[int, int]], now: float) -> list[object]:
    """Of each of its messages that may come again: how long ago it came first."""
    assert peer.newest is not None
    counter, path = peer.newest.incarnation.counter, peer.paths[DISK]
    return [
        round(min(max(now - peer.firsts.heard(seq), _NONE), STALE), 3)
        for life, seq in live
        if life == counter and path.seq < seq <= peer.newest.seq
    ]


def _worth(engine: Probe, seq: int, now: float) -> float:
    age = now - engine.outgoing.sent_at(seq) if seq else FOREVER
    return round(age, 3) if age < engine._longest_lease else _NONE


def _said(message: Heartbeat) -> tuple[object, ...]:
    """But for its generation."""
    entry = message.services[0]
    return (message.left, int(message.promise), int(entry.state), entry.unclean, entry.last_ran, entry.demoted)


class _Telling:
    """Tells of one machine."""

    def __init__(self, names: dict[str, int], ids: dict[int, int], part: _Part, now: float) -> None:
        self.names = names
        self.ids = ids
        self.part = part
        self.now = now

    def _age(self, at: float) -> float:
        return _NONE if at == -FOREVER else round(min(self.now - at, OLD), 3)

    def _until(self, at: float) -> float:
        return _NONE if at in (FOREVER, -FOREVER) else round(max(at - self.now, -OLD), 3)

    def host(self, host: Host, now: float) -> Hashable:
        """``now``: of the world, not of the machine."""
        if host.own is not None:
            self._message(host.own)
        return (
            None if host.engine is None else self._engine(host.engine),
            self._stored(host.disk),
            self._until(host.guard),
            host.up,
            None if host.stop is None else host.stop == 0,
            host.stuck,
            None if host.paused_at is None else self._age(host.paused_at),
            None if host.frozen_at is None else round(now - host.frozen_at, 3),
            None if host.woke_at is None else round(now - host.woke_at, 3),
            self._write(host.pending),
            self._write(host.waiting),
            host.looks,
            host.alone,
            None if host.own is None else _said(host.own),
            () if host.engine is None else tuple([self._event(event, host.engine) for event in host.inbox]),
        )

    def _write(self, write: Write | None) -> Hashable:
        if write is None:
            return None
        self.part.messages.append(write.message)
        return (True, write.hangs)

    def _event(self, event: Event, engine: Probe) -> Hashable:
        match event:
            case MessageReceived(message=message, path=path, arrival=arrival):
                self.part.messages.append(message)
                return (path.index, self._age(arrival))
            case SlotRead(path=path, begun=begun, view=view):
                return (self.names[path.node], self._age(begun), view.value)
            case Written(at=at, seq=seq):
                claim = engine.services[WEB].claim_seq
                return ("written", self._age(at), _worth(engine, seq, self.now), bool(claim) and seq >= claim)
            case ScriptEnded(job=job):
                return ("ended", job == 0)
        raise AssertionError(event)

    def _message(self, message: Heartbeat) -> None:
        """One that nobody else will hear."""
        self.part.generations.append(message.services[0].generation)
        self.part.lives.append((self.ids[message.node], message.incarnation.counter))

    def _stored(self, record: NodeRecord) -> Hashable:
        return (self._record(record.services[0]), record.shared, tuple([(d[0], d[3]) for d in record.down]))

    def _record(self, record: ServiceRecord) -> Hashable:
        self.part.generations += (record.generation, record.last_run, record.seen)
        return (int(record.state), record.unclean, record.demoted, record.freeze)

    def _engine(self, engine: Probe) -> Hashable:
        service = engine.services[WEB]
        claim = service.claim_seq
        told = engine.outgoing.confirmed.get(DISK)
        newest = (_worth(engine, told[-1][0], self.now), self._age(told[-1][1]) == 0.0) if told else _NONE
        known = engine.outgoing.known_since(claim, (DISK,)) if claim else FOREVER
        confirmed = told[-1][1] if told else FOREVER
        overdue = engine.next_send <= self.now
        return (
            self._service(service),
            int(engine.promise),
            tuple([self._lease(lease) for lease in engine.leases.values()]),
            newest,
            bool(claim) and known < FOREVER,
            bool(engine._shared),
            DISK in engine._unproven_until,
            bool(engine._shared_once),
            bool(engine._shared_now),
            bool(engine._recalled),
            tuple(sorted(engine._blocks)),
            self._until(engine.next_send),
            overdue and self._age(engine.last_step),
            tuple([self._until(at) for _, at in engine.wakes]),
            tuple([self._peer(engine, peer, claim, known, confirmed) for peer in engine.peers.values()]),
            bool(engine._ending),
            tuple([self._until(at) for at in engine._hard_at.values()]),
        )

    def _service(self, service: Service) -> Hashable:
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

    def _lease(self, lease: Lease) -> Hashable:
        return (lease.standing, self._until(lease.until) if lease.standing else _NONE)

    def _peer(self, engine: Probe, peer: Peer, claim: int, known: float, confirmed: float) -> Hashable:
        node, newest, net, disk = self.names[peer.name], peer.newest, peer.paths[0], peer.paths[DISK]
        looked = peer.looked(engine._devices)
        heard = peer.since if newest is None else max(peer.since, peer.arrival)
        acked = 0
        if newest is not None:
            counter = newest.incarnation.counter
            self._message(newest)
            self.part.newer += ((node, counter, newest.seq), (node, counter, net.seq), (node, counter, disk.seq))
            if disk.seq < newest.seq:
                self.part.late.append((node, peer))
            acked = peer.acknowledgement(engine.id, engine.incarnation)
        return (
            peer.silent,
            peer.down != "",
            peer.not_before > self.now and self._until(peer.not_before),
            _NONE if peer.silent else self._age(heard),
            None if newest is None else _said(newest),
            acked > 0,
            bool(claim) and acked >= claim,
            net.seq > 0,
            disk.seq > 0,
            disk.foreign > heard and min(self._age(disk.foreign), T),
            peer.silent and looked >= peer.quiet_at,
            looked >= known,
            looked == self.now,
            confirmed <= looked,
        )
