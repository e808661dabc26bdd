"""The production engine, made cheap to copy: a search takes millions of steps, and goes back after each.

Nothing that it decides is changed. Left out is what only people read (notes, evidence, counters), and one sub-step
delay is rounded to the grid of time: what is due ``LOOK_S`` after a claim was sent is due within the same instant.
It must not know what it is searched for.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ha.fsm.evidence import Verdict
from ha.fsm.freshness import Firsts
from ha.fsm.hearing import LOOK_S
from ha.fsm.lease import Lease, Outgoing
from ha.fsm.message import Heartbeat
from ha.fsm.peers import Peer, PeerPath
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.service import Service
from ha.simulation.coverage import WatchedEngine

_COPIED = ("_busy", "_claims", "_pressing", "_switching", "_wakes")
_COPIED_WITH_LEASES = (
    "_ending",
    "_freezing",
    "_hard_at",
    "_held",
    "_lapsed",
    "_blocks",
    "_mixed",
    "_opened",
    "_recalled",
    "_shared",
    "_shared_now",
    "_shared_once",
    "_unproven_until",
)


class Probe(WatchedEngine):
    """``copy`` before every step."""

    unexpected = ""
    """Something that the table says cannot happen."""

    def copy(self) -> "Probe":
        """A twin that shares everything immutable; the original stays as it is."""
        twin = Probe.__new__(type(self))
        mine = self.__dict__
        twin.__dict__.update(mine)
        theirs = twin.__dict__
        for name in _COPIED:
            theirs[name] = mine[name].copy()
        theirs["_dirty"] = {}
        theirs["services"] = self.services.copy()
        theirs["peers"] = {
            name: Peer(
                p.name,
                p.timeout,
                p.since,
                [PeerPath(path.config, path.seq, path.last, path.up, path.read, path.foreign) for path in p.paths],
                p.not_before,
                p.newest,
                p.arrival,
                p.silent,
                p.down,
                p.down_at_seq,
                p.entries,
                {},
                Firsts(p.firsts._marks.copy()) if len(p.paths) > 1 else Firsts(),
                p.before,
            )
            for name, p in self.peers.items()
        }
        if self.leases:
            self._copy_leases(twin)
        return twin

    def _copy_leases(self, twin: "Probe") -> None:
        leases = {
            id(each): Lease(each.others, each.timing, each.arbiter, each.until, each.standing, each.asked)
            for each in self.leases.values()
        }
        theirs = twin.__dict__
        theirs["leases"] = {key: leases[id(lease)] for key, lease in self.leases.items()}
        theirs["_covers"] = {name: leases[id(lease)] for name, lease in self._covers.items()}
        mine = self.outgoing
        theirs["outgoing"] = Outgoing(
            mine.first, mine.sent.copy(), {index: told.copy() for index, told in mine.confirmed.items()}
        )
        for name in _COPIED_WITH_LEASES:
            theirs[name] = self.__dict__[name].copy()

    def record(self) -> NodeRecord:
        """Without what was heard last: here a stranger may send every old message again to a machine that forgot it."""
        return replace(super().record(), heard=())

    @property
    def wakes(self) -> Iterable[tuple[str, float]]:
        """When each service is looked at again, whatever happens."""
        return self._wakes.items()

    @property
    def next_send(self) -> float:
        return self._next_send

    @property
    def last_step(self) -> float:
        return self._last_step

    def sleep(self, now: float) -> None:
        """It looked at the time right before its pause."""
        self._last_step = now

    def renumber(
        self, record: Callable[[ServiceRecord], ServiceRecord], message: Callable[[Heartbeat], Heartbeat]
    ) -> None:
        """Put other generations into everything that holds one."""
        for name, service in self.services.items():
            self.services[name] = replace(service, record=record(service.record))
        for peer in self.peers.values():
            if peer.newest is not None:
                peer.newest = message(peer.newest)
                peer.entries = {entry.id: entry for entry in peer.newest.services}
        self._entries = None

    def _message(self, now: float) -> Heartbeat:
        message = super()._message(now)
        for name, at in self._wakes.items():
            if at == now + LOOK_S:
                self._wakes[name] = now
        return message

    def _evidence(self, service: Service, verdicts: list[Verdict], now: float) -> tuple[str, ...]:
        return ()

    def _note(self, *told: Any, **more: Any) -> None:
        return

    def _count(self, what: str) -> None:
        return

    def _alert(self, key: str, now: float, text: str, service: str = "") -> None:
        if key.startswith("unexpected"):
            self.unexpected = text
