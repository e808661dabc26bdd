"""When two states of the bounded world are the same: a short digest of all that the future can depend on.

Left out or made relative, each because the engine's code looks at it in no other way:

* Times are ages, and are cut off where nothing compares them any more (T; the longest courtesy; a stall).
* Sequence numbers and incarnations are only ever compared: each is replaced by its rank among those of its node, over
  all places where they appear. An acknowledgement is compared with 0 and with the first message of a present claim
  and with nothing else, so it is one of three: none of this incarnation, before the claim, not before it.
* Generations are compared, and raised to one above the highest known. Ranks would make 3 and 5 neighbours, and one
  above 3 is not 5; so gaps are kept, up to ``GAP``.
* Notes, counters, texts, job numbers, and who waits for a command's outcome decide nothing. Paths' UP and DOWN
  decide nothing where each direction has one path: it is the peer's silence then.

It must not know which states are good.
"""

from hashlib import blake2b
from math import ceil
from typing import Final

from ha.fsm.message import Heartbeat, ServiceEntry
from ha.fsm.record import ServiceRecord
from ha.fsm.service import ORPHAN
from ha.fsm.states import Action, ScriptKind
from ha.simulation.bounded import NODES, SERVICE, WEB, Packet, T, World, acknowledged, entry_of
from ha.simulation.probe import Probe

GAP: Final = 4
"""Generations that are farther apart than this count as this far apart: no node claims so often unheard."""
COURTESY: Final = T + 1
"""A node of lower rank waits for no longer than this."""
STALL: Final = 3
_KINDS: Final = {kind: place for place, kind in enumerate(ScriptKind, start=1)}
_ACTIONS: Final = {action: place for place, action in enumerate(Action, start=1)}
_NAMES: Final = {"": 0, **{name: place for place, name in enumerate(NODES, start=1)}}
SIZE: Final = 16


class _Scale:
    """The numbers of one world, in order."""

    def __init__(self, world: World) -> None:
        generations: set[int] = set()
        # Of each node's own messages: (incarnation, sequence number), wherever they are.
        stamps: tuple[set[tuple[int, int]], set[tuple[int, int]]] = (set(), set())
        for node, host in enumerate(world.hosts):
            for packet in (*host.inbox, host.tape) if host.tape is not None else host.inbox:
                message = packet.message
                generations.add(entry_of(message).generation)
                stamps[1 - node].add((message.incarnation.counter, message.seq))
            record = host.disk.services[0]
            generations.update((record.generation, record.last_run, record.seen))
            engine = host.engine
            if engine is None:
                stamps[node].add((host.disk.incarnation, 0))
                continue
            service = engine.services[WEB]
            record = service.record
            generations.update((record.generation, record.last_run, record.seen))
            counter = engine.incarnation.counter
            stamps[node].add((counter, 0))
            if service.claim_seq:
                stamps[node].add((counter, service.claim_seq))
            for peer in engine.peers.values():
                newest = peer.newest
                if newest is not None:
                    entry = peer.entries.get(SERVICE)
                    if entry is not None:
                        generations.add(entry.generation)
                    theirs = stamps[1 - node]
                    theirs.add((newest.incarnation.counter, newest.seq))
                    theirs.add((newest.incarnation.counter, peer.paths[0].seq))
        self.generation: dict[int, int] = {0: 0}
        last = place = 0
        for generation in sorted(generations):
            place += min(generation - last, GAP)
            last = generation
            self.generation[generation] = place
        self.lives: list[dict[int, int]] = []
        self.stamps: list[dict[tuple[int, int], int]] = []
        for node in range(2):
            ordered = sorted(stamps[node])
            lives = sorted({life for life, _ in ordered})
            self.lives.append({life: place for place, life in enumerate(lives)})
            self.stamps.append({stamp: place for place, stamp in enumerate(ordered)})


def keys(world: World) -> tuple[bytes, bytes]:
    """The digest of the world with, and without what only a further fault can bring back. The budget is in neither."""
    scale = _Scale(world)
    told: list[int] = []
    for node in range(2):
        _host(told, scale, world, node)
    bare = blake2b(bytes(told), digest_size=SIZE).digest()
    for node in range(2):
        tape = world.hosts[node].tape
        if tape is None:
            told.append(0)
        else:
            told.append(1)
            _packet(told, scale, world, node, tape)
    return blake2b(bytes(told), digest_size=SIZE, person=b"tape").digest(), bare


def _host(told: list[int], scale: _Scale, world: World, node: int) -> None:
    host, now = world.hosts[node], world.now
    told += (
        host.up | (host.frozen << 1) | ((host.untold is not None) << 2) | (host.contested << 3) | (host.unread << 4),
        host.paused + 1,
        min(max(0, now - int(host.reached)), T),
        len(host.inbox),
    )
    for packet in host.inbox:
        _packet(told, scale, world, node, packet)
    script = host.script
    told += (0, 0) if script is None else (_KINDS[script.kind], script.job == ORPHAN)
    if host.untold is not None:
        told += (_ENDS[host.untold.how.value], host.untold.code)
    engine = host.engine
    if engine is None:
        told.append(0)
        _record(told, scale, host.disk.services[0])
        return
    told.append(1)
    _engine(told, scale, engine, node, now)
    stored, record = host.disk.services[0], engine.services[WEB].record
    if stored == record:
        told.append(0)
    else:
        told.append(1)
        _record(told, scale, stored)


_ENDS: Final = {"exited": 1, "killed": 2, "not started": 3, "lost": 4}


def _record(told: list[int], scale: _Scale, record: ServiceRecord) -> None:
    generation = scale.generation
    told += (
        int(record.state),
        generation[record.generation],
        generation[record.last_run],
        generation[record.seen],
        record.unclean | (record.demoted << 1) | (record.freeze << 2),
        _NAMES[record.handover],
    )


def _entry(told: list[int], scale: _Scale, entry: ServiceEntry) -> None:
    told += (
        int(entry.state),
        scale.generation[entry.generation],
        entry.unclean | (entry.last_ran << 1) | (entry.demoted << 2),
    )


def _packet(told: list[int], scale: _Scale, world: World, node: int, packet: Packet) -> None:
    """A message to ``node``."""
    told.append(min(T, max(0, world.now - int(packet.sent))))
    _message(told, scale, world.hosts[node].engine, node, packet.message)


def _message(told: list[int], scale: _Scale, reader: Probe | None, node: int, message: Heartbeat) -> None:
    sender = 1 - node
    life = message.incarnation.counter
    told += (
        scale.lives[sender][life],
        scale.stamps[sender][life, message.seq],
        0 if reader is None else acknowledged(reader, message),
        len(message.handovers),
        message.left,
    )
    _entry(told, scale, entry_of(message))


def _engine(told: list[int], scale: _Scale, engine: Probe, node: int, now: int) -> None:
    service = engine.services[WEB]
    _record(told, scale, service.record)
    job, queued, since = service.job, service.queued, service.outranked_since
    life = engine.incarnation.counter
    told += (
        scale.lives[node][life],
        0 if job is None else _KINDS[job.kind] + (8 if job.id == ORPHAN else 0),
        scale.stamps[node][life, service.claim_seq] if service.claim_seq else 255,
        service.claim_last_ran | (service.adopting << 1),
        0 if queued is None else _ACTIONS[queued.action],
        255 if since is None else min(COURTESY, int(now - since)),
        max(0, ceil(engine.next_send - now)),
        min(STALL, int(now - engine.last_step)),
    )
    for _, at in engine.wakes:
        told.append(1 + max(0, ceil(at - now)))
    told.append(0)
    for peer in engine.peers.values():
        newest = peer.newest
        heard = peer.since if newest is None else max(peer.since, peer.arrival)
        told += (
            peer.silent | ((newest is not None) << 1),
            0 if peer.silent else min(T, int(now - heard)),
            max(0, ceil(peer.not_before - now)) if peer.not_before > now else 0,
        )
        if newest is not None:
            _message(told, scale, engine, node, newest)
            told.append(scale.stamps[1 - node][newest.incarnation.counter, peer.paths[0].seq])
