"""Guards of the lease, taken away one at a time (``tests.simulation.plants``), under protection "disk"."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ha.fsm import engine, evidence, hearing, lapse, lease, standing
from ha.fsm.events import OwnSlot, SlotRead, SlotView
from ha.fsm.lease import FOREVER, NEVER, timing_of
from ha.fsm.message import Heartbeat
from ha.fsm.peers import Peer
from ha.fsm.service import Service
from ha.fsm.states import Promise
from ha.fsm.timing import Timing
from ha.simulation import ezha
from ha.simulation.promises import PAUSES
from ha.simulation.settings import Setting
from tests.simulation.plants import bug, instead

BOTH = (Setting(timeout=3.0), Setting(timeout=3.0, paths=("dio",)))
"""With a network beside the disk, and without."""
THREE = (Setting(timeout=3.0, nodes=3),)


class _Long(Timing):
    """As long as the others wait."""

    @property
    def lease(self) -> float:
        return self.timeout


# ---------------------------------------------------------------------------------------------------- keeping


@bug(
    "renewed-without-a-look", "a write renews the lease though no look came after it", "disk", "cut-all", settings=BOTH
)
def _renewed_without_a_look() -> Iterator[None]:
    renewed = lease.Outgoing.renewed_by

    def blind(self: lease.Outgoing, looked: float, lines: Iterable[int]) -> float:
        return renewed(self, FOREVER, lines)

    with instead(lease.Outgoing, "renewed_by", blind):
        yield


@bug(
    "unconfirmed-renews",
    "a message that was only handed to the disk renews the lease",
    "disk",
    "cut-all",
    settings=BOTH,
)
def _unconfirmed_renews() -> Iterator[None]:
    message = hearing.Hearing._message

    def hasty(self: hearing.Hearing, now: float) -> Heartbeat:
        made = message(self, now)
        for index in self._shared:
            self.outgoing.confirm(index, made.seq, now)
        return made

    with instead(hearing.Hearing, "_message", hasty):
        yield


@bug("any-disk-renews", "a disk renews the lease though it is not known to be shared", "lapse", settings=BOTH)
def _any_disk_renews() -> Iterator[None]:
    def trusting(self: standing.Standings, event: OwnSlot) -> None:
        self._shared[event.index] = None
        self._see_devices()

    with instead(standing.Standings, "_on_own_slot", trusting):
        yield


@bug(
    "renewed-on-arrival",
    "the lease counts from the confirmation, not from the sending",
    "disk",
    "cut-all",
    settings=BOTH,
)
def _renewed_on_arrival() -> Iterator[None]:
    renew = standing.Standings._renew

    def late(self: standing.Standings, now: float) -> None:
        before = {key: each.until for key, each in self.leases.items()}
        renew(self, now)
        for key, each in self.leases.items():
            if each.until > before[key]:
                each.until = now + each.timing.lease

    with instead(standing.Standings, "_renew", late):
        yield


@bug(
    "one-answer-is-enough",
    "of several other nodes one that answers renews the lease",
    "cut-all",
    "disk",
    settings=THREE,
)
def _one_answer_is_enough() -> Iterator[None]:
    with instead(standing, "min", max, create=True):
        yield


@bug(
    "lease-longer-than-silence", "a lease of 1.0 T: neither the stop nor drift is allowed for", "cut-all", settings=BOTH
)
def _lease_longer_than_silence() -> Iterator[None]:
    with instead(standing, "timing_of", lambda config, service: _Long(timing_of(config, service).timeout)):
        yield


# ------------------------------------------------------------------------------------------------------ a lapse


@bug("lapse-ignored", "nothing is stopped when the lease ends, and the guard is not told", "cut-all", settings=BOTH)
def _lapse_ignored() -> Iterator[None]:
    def nothing(self: lapse.Lapses, name: str, at: float, why: str, now: float) -> None:
        return

    with instead(lapse.Lapses, "_lapse", nothing), instead(lapse.Lapses, "_guard_time", lambda self: FOREVER):
        yield


@bug(
    "lapse-not-first",
    "after a pause a message goes out before the end of the lease is looked at",
    "brief-pause",
    "long-pause",
    settings=BOTH,
)
def _lapse_not_first() -> Iterator[None]:
    look = lapse.Lapses._look_at_leases
    passed: set[int] = set()

    def late(self: lapse.Lapses, now: float) -> None:
        if id(self) not in passed and any(each.standing and now > each.until + 0.1 for each in self.leases.values()):
            passed.add(id(self))
            return
        passed.discard(id(self))
        look(self, now)

    with instead(lapse.Lapses, "_look_at_leases", late):
        yield


@bug("no-hard-deadline", "a stop that does not end in time is waited for", "lapse", settings=BOTH)
def _no_hard_deadline() -> Iterator[None]:
    with (
        instead(lapse.Lapses, "_hard_deadline", lambda self, name: FOREVER),
        instead(lapse.Lapses, "_guard_time", lambda self: FOREVER),
    ):
        yield


@bug("guard-not-told", "nmond alone holds itself to its lease", "long-pause", settings=BOTH)
def _guard_not_told() -> Iterator[None]:
    with instead(ezha.Nmond, "guard", lambda self, until: None):
        yield


@bug("unguarded-start", "a service starts before anything is ready that would end it", "power", "order", settings=BOTH)
def _unguarded_start() -> Iterator[None]:
    no_standing = standing.Standings.no_standing

    def careless(self: standing.Standings, name: str) -> str:
        config = self.config
        self.config = replace(config, self_fence=Promise.NONE)
        told = no_standing(self, name)
        self.config = config
        return told

    with instead(standing.Standings, "no_standing", careless):
        yield


@bug(
    "adopted-past-the-lease",
    "a new nmond takes what runs for covered, whenever the lease ended",
    "lapse",
    settings=BOTH,
)
def _adopted_past_the_lease() -> Iterator[None]:
    made = engine.Engine.__init__

    def init(
        self: engine.Engine, config: Any, node: str, record: Any, incarnation: Any, now: float, **more: Any
    ) -> None:
        if more["guard_until"] < FOREVER:
            more["guard_until"] = now + Timing(config.timeout_of(node)).hard
        made(self, config, node, record, incarnation, now, **more)

    with instead(engine.Engine, "__init__", init):
        yield


@bug("start-without-standing", "a claim is settled without a lease", "lapse", settings=BOTH)
def _start_without_standing() -> Iterator[None]:
    with instead(standing.Standings, "no_standing", lambda self, name: ""):
        yield


# --------------------------------------------------------------------------------------------------- taking over


@bug("takeover-without-a-look", "silence on the network alone is believed", "cut-one", "cut-all", settings=BOTH[:1])
def _takeover_without_a_look() -> Iterator[None]:
    with instead(evidence, "_unseen", lambda peer, since, terms: ""):
        yield


@bug("failed-read-counts", "a read that failed counts as a look", "disk", "power", settings=BOTH)
def _failed_read_counts() -> Iterator[None]:
    on_read = standing.Standings._on_read

    def hopeful(self: standing.Standings, event: SlotRead, now: float) -> None:
        on_read(self, replace(event, view=SlotView.SAME) if event.view is SlotView.FAILED else event, now)

    with instead(standing.Standings, "_on_read", hopeful):
        yield


@bug("look-before-silence-counts", "a look from before the silence was complete counts", "lapse", settings=BOTH)
def _look_before_silence_counts() -> Iterator[None]:
    unseen = evidence._unseen

    def early(peer: Peer, since: float, terms: evidence.Terms) -> str:
        return unseen(peer, since if since == FOREVER else since - peer.timeout / 2, terms)

    with instead(evidence, "_unseen", early):
        yield


@bug("claim-not-known", "a claim is settled before it is on the disk", "disk", "cut-all", "power", settings=BOTH)
def _claim_not_known() -> Iterator[None]:
    terms = standing.Standings._terms

    def unknown(self: standing.Standings, service: Service, needed: int, now: float) -> evidence.Terms:
        return replace(terms(self, service, needed, now), known_at=NEVER)

    with instead(standing.Standings, "_terms", unknown):
        yield


@bug(
    "higher-claim-ignored",
    "a claim of a later generation does not end the lease",
    "long-pause",
    settings=BOTH,
    mix=PAUSES,
)
def _higher_claim_ignored() -> Iterator[None]:
    ended = lapse.Lapses._lapse

    def deaf(self: lapse.Lapses, name: str, at: float, why: str, now: float) -> None:
        if " in generation " not in why:
            ended(self, name, at, why, now)

    with instead(lapse.Lapses, "_lapse", deaf):
        yield


@bug(
    "frozen-exempt-at-once",
    "FROZEN_START needs no lease before the others know of it",
    "lapse",
    settings=BOTH,
)
def _frozen_exempt_at_once() -> Iterator[None]:
    with instead(standing.Standings, "_is_known", lambda self, service: True):
        yield


@bug(
    "unequal-timeouts",
    "nodes that count with unequal timeouts take over from each other",
    "lapse",
    settings=BOTH,
)
def _unequal_timeouts() -> Iterator[None]:
    with instead(evidence, "_unequal", lambda peer, terms: ""):
        yield
