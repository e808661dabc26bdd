"""When two machines of the bounded world are the same: all that their future can depend on, and nothing else.

Left out or made relative, each because the engine's code looks at it in no other way:

* Times are ages, and are cut off where nothing compares them any more (T; the longest courtesy; a stall).
* Sequence numbers and incarnations are only ever compared. Of the other's messages, each is replaced by its rank among
  those that this machine holds or waits for, and by whether it is of the present incarnation and claim (which is what
  an acknowledgement of it will tell). An acknowledgement is compared with 0 and with the first message of a present
  claim and with nothing else, so it is one of three: none of this incarnation, before the claim, not before it.
* Generations are compared, and raised to one above the highest known; see ``places``.
* When an old message that may come again was sent decides only whether it is later than all that has reached the
  machine; where it is not, its age is left out.
* Notes, counters, texts, job numbers, and who waits for a command's outcome decide nothing. Paths' UP and DOWN
  decide nothing where each direction has one path: it is the peer's silence then.

It must not know which states are good, nor how many there are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import ceil
from typing import Final

from ha.fsm.message import Heartbeat, ServiceEntry
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.service import ORPHAN
from ha.fsm.states import Action, ScriptKind
from ha.simulation.bounded import NODES, WEB, Host, T, acknowledged, entry_of
from ha.simulation.probe import Probe

GAP: Final = 4
"""Generations that are farther apart than this count as this far apart: no node claims so often unheard."""
COURTESY: Final = T + 1
"""A node of lower rank waits for no longer than this."""
STALL: Final = 3
_KINDS: Final = {kind: place for place, kind in enumerate(ScriptKind, start=1)}
_ACTIONS: Final = {action: place for place, action in enumerate(Action, start=1)}
_NAMES: Final = {"": 0, **{name: place for place, name in enumerate(NODES, start=1)}}
_ENDS: Final = {"exited": 1, "killed": 2, "not started": 3, "lost": 4}

# ------------------------------------------------------------------------------------------------ generations


def generations(host: Host) -> tuple[frozenset[int], int]:
    """All that the machine knows of; and the highest that it cannot forget."""
    record = host.disk.services[0]
    found = {0, record.generation, record.last_run, record.seen}
    if host.engine is not None:
        mine = host.engine.services[WEB].record
        found.update((mine.generation, mine.last_run, mine.seen))
        for peer in host.engine.peers.values():
            if peer.newest is not None:
                found.add(entry_of(peer.newest).generation)
    return frozenset(found), max(record.generation, record.seen)


def places(known: Iterable[int], floor: int) -> dict[int, int]:
    """What each generation counts as. ``floor``: no machine will ever make one that is not above this.

    Ranks alone would make 3 and 5 neighbours, and one above 3 is not 5: so gaps are kept, up to ``GAP``. But a new
    generation is one above the highest that its maker knows, which is not below what it has on its disk; below that
    of both machines generations are only compared, and only their order counts."""
    found, last, place = {0: 0}, 0, 0
    for generation in sorted(known):
        gap = generation - last
        place += min(gap, 1 if generation <= floor else GAP)
        last = generation
        found[generation] = place
    return found


def renumbered(before: Host, place: Mapping[int, int]) -> Host:
    """The same machine with other generations."""
    host = before.copy()
    (record,) = host.disk.services
    host.disk = NodeRecord(host.disk.incarnation, (_moved(record, place),))
    if host.engine is not None:
        host.engine.renumber(lambda record: _moved(record, place), lambda message: message_moved(message, place))
    return host


def _moved(record: ServiceRecord, place: Mapping[int, int]) -> ServiceRecord:
    return replace(
        record,
        generation=place[record.generation],
        last_run=place[record.last_run],
        seen=place[record.seen],
    )


def message_moved(message: Heartbeat, place: Mapping[int, int]) -> Heartbeat:
    """The same message with another generation."""
    entry = entry_of(message)
    return replace(message, services=(replace(entry, generation=place[entry.generation]),))


# ------------------------------------------------------------------------------------------------ the key


def key(host: Host) -> bytes:
    """Equal for two machines that are the same."""
    now = host.now
    told: list[int] = [
        host.up | (host.frozen << 1) | ((host.untold is not None) << 2),
        host.paused + 1,
        min(now - host.reached, T),
    ]
    script = host.script
    told += (0, 0) if script is None else (_KINDS[script.kind], script.job == ORPHAN)
    if host.untold is not None:
        told += (_ENDS[host.untold.how.value], host.untold.code)
    stored, engine = host.disk.services[0], host.engine
    _record(told, stored)
    told.append(engine is not None)
    if engine is not None:
        record = engine.services[WEB].record
        told.append(stored != record)
        if stored != record:
            _record(told, record)
        _engine(told, host, engine, now)
    return bytes(told)


def _record(told: list[int], record: ServiceRecord) -> None:
    told += (
        int(record.state),
        record.generation,
        record.last_run,
        record.seen,
        record.unclean | (record.demoted << 1) | (record.freeze << 2),
        _NAMES[record.handover],
    )


def _entry(told: list[int], entry: ServiceEntry) -> None:
    told += (
        int(entry.state),
        entry.generation,
        entry.unclean | (entry.last_ran << 1) | (entry.demoted << 2),
    )


def _engine(told: list[int], host: Host, engine: Probe, now: int) -> None:
    service = engine.services[WEB]
    job, queued, since = service.job, service.queued, service.outranked_since
    told += (
        0 if job is None else _KINDS[job.kind] + (8 if job.id == ORPHAN else 0),
        service.claim_seq != 0,
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
            told += (host.fresh(newest), acknowledged(engine, newest), len(newest.handovers), newest.left)
            _entry(told, entry_of(newest))
