"""What this node may still do: its leases, renewed by what was confirmed, seen and acknowledged (``ha.fsm.lease``).

It says whether there is a standing, and on what terms the silence of others is believed. What a lapse does to services
is ``ha.fsm.lapse``'s matter.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ha.fsm.config import ClusterConfig, PathId
from ha.fsm.events import Arbitrated, FenceNode, OwnSlot, SlotRead, SlotView, Written
from ha.fsm.evidence import NO_TERMS, Terms
from ha.fsm.freshness import LastHeard
from ha.fsm.lease import FOREVER, NEVER, Lease, Outgoing, timing_of
from ha.fsm.ledger import Ledger
from ha.fsm.message import Incarnation
from ha.fsm.peers import Peer
from ha.fsm.record import NodeRecord, may_run
from ha.fsm.service import Service
from ha.fsm.states import Promise, State
from ha.fsm.timing import Timing

FENCED = "it was fenced"
"""Why a node is down."""


def _plain(when: float) -> float | None:
    return None if when == NEVER else when


def _moment(told: float | None) -> float:
    return NEVER if told is None else float(told)


class Standings(Ledger):
    """The leases of this node."""

    def __init__(self, config: ClusterConfig, node: str, incarnation: Incarnation, now: float) -> None:
        self._ending: dict[str, None] = {}
        """Lapsed services for which the end of the machine was asked."""
        super().__init__(config, node, incarnation, now)
        self.promise = Promise.STOP
        """What would end the services of this node: nmond itself stops them, unless the driver says more."""
        self.leases: dict[tuple[str, ...], Lease] = {}
        self.outgoing = Outgoing()
        self._covers: dict[str, Lease] = {}
        """By service: its lease. A service without one has ``protection`` none, or stonith alone."""
        self._keys: dict[str, tuple[str, ...]] = {}
        """By service: the key of its lease among ``leases``."""
        self._shared: dict[int, None] = {}
        """Own lines of ``monitor`` that are on a disk proven to be shared (rule 6)."""
        self._lines: tuple[tuple[str, str] | None, ...] = ()
        """What stands for a disk on each own line of ``monitor``: the indexes below are those."""
        self._unproven_until: dict[int, int] = {}
        """By own line: our newest sequence number when it was opened last. Acknowledged later ones prove it shared."""
        self._shared_once: set[str] = set()
        """Lines, as text, that the incarnation before this one knew to be shared: with its last message found there,
        they are proven again."""
        self._shared_now: set[str] = set()
        """The same of this one, for the next: on record once it has opened them, and not before. What it writes before
        that may be on another disk, and would prove that to whoever comes after an early death."""
        self._recalled: dict[int, float] = {}
        """Own lines where our last message was found, and since when: shared again once another node's block is read
        beside it, for a disk that only this node sees has none."""
        self._blocks: set[PathId] = set()
        """Slots of other nodes in which the last look that showed anything showed a message of theirs."""
        self._opened: dict[tuple[str, str], None] = {}
        """Own lines that this incarnation has opened, also those that are not configured any more."""
        self._mixed: dict[tuple[str, str], None] = {}
        """Those of them that were another disk for a while."""
        self._before = 0
        """Counter of our incarnation before this one."""
        self._devices: frozenset[str] = frozenset()
        self._look = False
        self._guard_told: float | None = FOREVER
        """What the driver was told last; None: it is not known what has reached it."""
        self._wanted: dict[str, bool] = {}
        """By service: whether the arbiter was asked to keep it for us."""
        self._down_before: tuple[tuple[str, int, int, str], ...] = ()
        self._heard_before: dict[str, LastHeard] = {}
        """What an earlier nmond had heard last of the others."""
        self._self_fence = ""
        self._fencing: dict[str, tuple[float, int]] = {}
        """By node that is to be fenced: not asked for again before, and how often it was."""
        self._fences: list[FenceNode] = []
        self._paths_digest = config.paths_digest
        self._longest_lease = 0.0
        self._strays_end = FOREVER
        """When services end with the machine that ran under a lease, and that the configuration does not name any more;
        ``inf``: there are none, or the others know it, and wait (rule 9)."""
        self._hard_at: dict[str, float] = {}
        """By lapsed service: when what is left of it ends with the machine, whatever becomes of the configuration."""
        self._held: dict[str, None] = {}
        """Services that a lease covers and that may run here."""
        self._lapsed: dict[str, None] = {}
        """Those of them whose lease has lapsed, and that are not known to be stopped yet."""
        self._freezing: dict[str, None] = {}
        """Those of them that are FROZEN_START, which the others do not know yet: until then the lease counts."""

    def _begin(self) -> None:
        super()._begin()
        self._look, self._self_fence, self._fences = False, "", []
        self._lapsing: dict[str, None] = {}
        """Services whose lapse this step acts on."""
        self._undo_ending = dict(self._ending)

    def _remember(self, record: NodeRecord) -> None:
        """What an earlier incarnation knew."""
        self._before = record.incarnation
        self._shared_once = set(record.shared)
        self._down_before = record.down
        self._heard_before = {last.node: last for last in record.heard}

    def _forget_fenced(self) -> None:
        """At a boot: who was fenced before has booted, too, and may have had this node fenced since, and run what it
        ran. What an operator has confirmed stays."""
        self._down_before = tuple(each for each in self._down_before if not each[3].startswith(FENCED))

    def _set_leases(self, now: float, ended: float = NEVER) -> None:
        """After the configuration: one lease for all services with the same other nodes. ``ended``: the hard deadline
        that an earlier nmond left; each new lease ends by its own way before that."""
        old, self.leases, self._covers, self._keys = self.leases, {}, {}, {}
        self._held, self._lapsed, self._freezing = {}, {}, {}
        for name, service in self.services.items():
            config = service.config
            if not config.leased:
                continue
            arbiter = name if config.by_etcd else ""
            timing = timing_of(self.config, config)
            key = (arbiter, f"{timing.timeout:g}", *sorted(n for n in config.nodes if n != self.node))
            lease = self.leases.get(key)
            if lease is None:
                until = ended - timing.margin
                lease = old.get(key) or Lease(key[2:], timing, arbiter, until, until > now)
                self.leases[key] = lease
            self._covers[name], self._keys[name] = lease, key
        self._follow_lines()
        self._paths_digest = self.config.paths_digest
        self._longest_lease = max((lease.timing.lease for lease in self.leases.values()), default=0.0)
        for name in self.services:
            self._track(name)

    def _follow_lines(self) -> None:
        """What is known of each own disk line goes along to its place in the configuration of today; of one that is
        there no more nothing is known."""
        lines = tuple((p.kind, p.label) if p.device else None for p in self.config.paths_of(self.node))
        places = {line: index for index, line in enumerate(lines) if line is not None}
        moved = {index: places[line] for index, line in enumerate(self._lines) if line in places}
        self._lines = lines
        self._shared = {moved[i]: None for i in self._shared if i in moved}
        self._recalled = {moved[i]: at for i, at in self._recalled.items() if i in moved}
        self._unproven_until = {moved[i]: seq for i, seq in self._unproven_until.items() if i in moved}
        self.outgoing.confirmed = {moved[i]: told for i, told in self.outgoing.confirmed.items() if i in moved}
        self._see_devices()

    def _inherit(self, before: Mapping[str, Lease], now: float) -> None:
        """The configuration changed under what runs: a new lease of it begins with what is left of its old one, or,
        where it needed none until now, with a first L. It has to be renewed until then as any other; the others neither
        start nor take over while their configuration is another one (rule 9). ``before``: the leases by service."""
        kept = {id(lease) for lease in before.values()}
        for name, lease in self._covers.items():
            service = self.services[name]
            if id(lease) in kept:
                continue
            lease.since = now
            if name in before:
                lease.margin = min(before[name].ended(0.0), lease.timing.margin)
            if service.lapsed_at is not None or not may_run(service.record):
                continue
            left = before[name].until if name in before else FOREVER
            left = min(left, now + lease.timing.lease)
            lease.until = left if lease.until == NEVER else min(lease.until, left)
            lease.standing = lease.until > now

    def _leases_as_data(self) -> dict[str, Any]:
        """For a hand-over by exec."""
        return {
            "promise": int(self.promise),
            "leases": [
                [list(key), _plain(lease.until), lease.standing, _plain(lease.asked), _plain(lease.since), lease.margin]
                for key, lease in self.leases.items()
            ],
            "covers": {name: list(self._keys[name]) for name in self._covers},
            "first": self.outgoing.first,
            "sent": list(self.outgoing.sent),
            "confirmed": [[index, list(map(list, told))] for index, told in self.outgoing.confirmed.items()],
            "lines": [list(line) if line is not None else None for line in self._lines],
            "shared": list(self._shared),
            "unproven": [[index, seq] for index, seq in self._unproven_until.items()],
            "before": self._before,
            "shared_once": sorted(self._shared_once),
            "shared_now": sorted(self._shared_now),
            "recalled": [[index, at] for index, at in self._recalled.items()],
            "blocks": sorted(self._blocks),
            "opened": [list(line) for line in self._opened],
            "mixed": [list(line) for line in self._mixed],
            "ending": list(self._ending),
            "fencing": {node: list(again) for node, again in self._fencing.items()},
            "hard_at": dict(self._hard_at),
            "strays_end": None if self._strays_end == FOREVER else self._strays_end,
            "wanted": [name for name, want in self._wanted.items() if want],
        }

    def _leases_from_data(self, plain: Mapping[str, Any], now: float) -> None:
        """Go on with them, also where the configuration is another one by now. The guard is told anew.

        Raises KeyError, TypeError or ValueError for anything else."""
        self.promise = Promise(plain["promise"])
        old = {}
        for parts, until, standing, asked, since, margin in plain["leases"]:
            key = tuple(str(part) for part in parts)
            lease = self.leases.get(key) or Lease(key[2:], Timing(float(key[1])), key[0])
            lease.until, lease.standing, lease.asked = _moment(until), bool(standing), _moment(asked)
            lease.since, lease.margin = _moment(since), None if margin is None else float(margin)
            old[key] = lease
        before = {str(name): old[tuple(key)] for name, key in plain["covers"].items()}
        self.outgoing.first = int(plain["first"])
        self.outgoing.sent = deque(float(at) for at in plain["sent"])
        self.outgoing.confirmed = {
            int(index): deque((int(seq), float(at)) for seq, at in told) for index, told in plain["confirmed"]
        }
        self._shared = {int(index): None for index in plain["shared"]}
        self._unproven_until = {int(index): int(seq) for index, seq in plain["unproven"]}
        self._before = int(plain["before"])
        self._shared_once, self._shared_now = set(plain["shared_once"]), set(plain["shared_now"])
        self._lines = tuple((str(each[0]), str(each[1])) if each is not None else None for each in plain["lines"])
        self._recalled = {int(index): float(at) for index, at in plain["recalled"]}
        self._blocks = {PathId(str(node), int(index)) for node, index in plain["blocks"]}
        self._opened = {(str(kind), str(label)): None for kind, label in plain["opened"]}
        self._mixed = {(str(kind), str(label)): None for kind, label in plain["mixed"]}
        self._ending = {str(name): None for name in plain["ending"]}
        self._fencing = {str(node): (float(at), int(tries)) for node, (at, tries) in plain["fencing"].items()}
        self._hard_at = {str(name): float(at) for name, at in plain["hard_at"].items()}
        ending = plain["strays_end"]
        self._strays_end = FOREVER if ending is None else float(ending)
        self._wanted = dict.fromkeys(plain["wanted"], True)
        self._guard_told = None
        self._follow_lines()
        self._inherit(before, now)

    def _see_devices(self) -> None:
        before, own = self._devices, self.config.paths_of(self.node)
        self._devices = frozenset(own[i].device for i in self._shared)
        if self._devices != before:
            self._mark(self._covers)  # what was read on them counts now, or no longer

    def _track(self, name: str) -> None:
        super()._track(name)
        service = self.services[name]
        held = name in self._covers and may_run(service.record) and not service.exempt
        lapsed = service.lapsed_at is not None
        if not lapsed:
            self._hard_at.pop(name, None)
        for chosen, member in (
            (self._held, held),
            (self._lapsed, lapsed and may_run(service.record) and (held or name in self._hard_at)),
            (self._freezing, held and service.state is State.FROZEN_START),
        ):
            if member:
                chosen[name] = None
            else:
                chosen.pop(name, None)
        if name not in self._lapsed:
            self._ending.pop(name, None)

    # --------------------------------------------------------------------------------------- what happened

    def _on_written(self, event: Written) -> None:
        if self.outgoing.confirm(event.index, event.seq, event.at) and self._covers:
            self._look = True  # the renewal is complete with a look that begins after it

    def _on_read(self, event: SlotRead, now: float) -> None:
        peer = self.peers.get(event.path.node)
        if peer is None or event.path.index >= len(peer.paths) or event.view is SlotView.FAILED:
            return
        path, before = peer.paths[event.path.index], peer.looked(self._devices)
        peer.verdicts.clear()
        self._recall(event, path.config.device)
        accepted = path.last is not None and path.last >= event.begun
        if event.view is SlotView.FOREIGN or (event.view is SlotView.NEW and not accepted):
            path.foreign = max(path.foreign, event.begun)
            self._count("slots_foreign")
            if peer.silent and self._covers:
                text = (
                    f"the slot of {peer.name} on {path.config.label} changes, but nothing in it can be accepted: "
                    f"nobody takes over from {peer.name}; compare its keys and its version"
                )
                self._alert(f"slot_foreign {peer.name}", now, text)
            return
        if event.view is SlotView.EMPTY and (path.seq or path.foreign > NEVER):
            return  # what was read there before is gone: it was cleared, or this is another disk
        path.read = max(path.read, event.begun)
        if peer.silent and before < peer.quiet_at <= peer.looked(self._devices):
            self._mark(self._neighbours[peer.name])
        self._mark(n for n in self._claims if peer.name in self.services[n].config.nodes)

    def _on_own_slot(self, event: OwnSlot) -> None:
        """One of our disk lines was opened: is this the disk it was?"""
        own = self.config.paths_of(self.node)
        if event.index >= len(own):
            return
        index, found, line = event.index, event.found, self._lines[event.index]
        if line is None:
            return
        ours = found == self.incarnation and event.seq >= self.outgoing.newest(index)
        if ours and index in self._shared:
            return
        if line in self._opened and not ours:
            # It is another disk than the one that this incarnation wrote to: there may be two, and what is found at the
            # next start tells nothing of which it is.
            self._mixed[line] = None
            self._doubt(own[index].device)
        self._opened[line] = None
        self.outgoing.confirmed.pop(index, None)
        self._unproven_until[index] = self.seq
        self._recalled.pop(index, None)
        last = found is not None and found.counter == self._before
        self._shared.pop(index, None)
        if last and own[index].text in self._shared_once:
            if any(path.config.device == own[index].device for p in self.peers.values() for path in p.paths):
                self._recalled[index] = self._last_step
                self._look = True
            else:
                self._share(index)
        else:
            # Maybe a disk of our own under the shared one's name: the next incarnation will find there what this one
            # writes, and is not to take that for a proof.
            self._doubt(own[index].device)
        self._see_devices()

    def _doubt(self, device: str) -> None:
        """Only a peer proves it again, to a later incarnation as to this one: so that is on record. A line may have had
        another text when it was proven, and have that again tomorrow: kept is what today's lines prove of other
        disks."""
        kept = {p.text for p in self.config.paths_of(self.node) if p.device != device}
        self._bumped = self._bumped or not self._shared_now <= kept
        self._shared_once &= kept
        self._shared_now &= kept

    def _recall(self, event: SlotRead, device: str) -> None:
        """Our last message, and beside it, in a look begun since, another node's: it is the disk that it was."""
        if event.view is SlotView.NEW:
            self._blocks.add(event.path)
        elif event.view is not SlotView.SAME:
            self._blocks.discard(event.path)
        if not self._recalled or event.path not in self._blocks:
            return
        own = self.config.paths_of(self.node)
        for index in [i for i, at in self._recalled.items() if own[i].device == device and at <= event.begun]:
            del self._recalled[index]
            self._share(index)

    def _share(self, index: int) -> None:
        """This line is on a shared disk, by proof."""
        self._shared[index] = None
        self._see_devices()
        text = self.config.paths_of(self.node)[index].text
        if text not in self._shared_now and self._lines[index] not in self._mixed:
            self._shared_now.add(text)
            self._bumped = True  # written with the record, so that the next incarnation knows

    def _on_arbitrated(self, event: Arbitrated) -> None:
        lease = self._covers.get(event.service)
        if lease is None or lease.arbiter != event.service:
            return
        if event.ours:
            lease.asked = max(lease.asked, event.asked)
        else:
            # Another node may have it from now on: what the arbiter renewed does not count any more. What the others
            # acknowledged is counted anew right after this.
            lease.asked = lease.until = NEVER
        self._dirty[event.service] = None

    def _prove(self, peer: Peer) -> None:
        """A peer acknowledges, line by line, what it read there: by its lines, so they have to be ours."""
        ack = peer.ack_of(self.id)
        if ack is None or ack.incarnation != self.incarnation:
            return
        if peer.newest is None or peer.newest.paths_digest != self._paths_digest:
            return
        own = self.config.paths_of(self.node)
        for index, seq in enumerate(ack.seqs[: len(own)]):
            if index in self._shared or not own[index].device or seq <= self._unproven_until.get(index, 0):
                continue
            self._share(index)

    # ------------------------------------------------------------------------------------------ what holds

    def _renew(self, now: float) -> None:
        """Count what was confirmed, looked at and acknowledged until now."""
        on_disk = bool(self._shared)
        for lease in self.leases.values():
            acknowledged, looked = [], []
            for node in lease.others:
                peer = self.peers[node]
                if peer.down:
                    continue
                acknowledged.append(peer.acknowledgement(self.id, self.incarnation))
                if on_disk and not lease.arbiter:
                    looked.append(peer.looked(self._devices))
            if not acknowledged:
                sent = self.outgoing.sent[-1] if self.outgoing.sent else NEVER
            else:
                sent = self.outgoing.sent_at(min(acknowledged))
                if looked:
                    sent = max(sent, self.outgoing.renewed_by(min(looked), self._shared))
            if lease.arbiter:
                sent = max(sent, lease.asked)
            lease.renew(sent)
            if not lease.standing and lease.until > now:
                lease.standing = True
                self._mark(n for n, covering in self._covers.items() if covering is lease)
        if self._strays_end < FOREVER and self._all_know(1, self.peers.values()):
            self._strays_end = FOREVER
        if self._freezing:
            for name in [n for n in self._freezing if self._is_known(self.services[n])]:
                self._put(name, replace(self.services[name], exempt=True))

    def _is_known(self, service: Service) -> bool:
        """What its first message says (a claim, FROZEN_START) is acknowledged by every other node, or on a disk."""
        if service.claim_seq == 0:
            return False
        return self._all_know(service.claim_seq, (self.peers[n] for n in service.config.nodes if n != self.node))

    def _all_know(self, seq: int, others: Iterable[Peer]) -> bool:
        """They have acknowledged message ``seq`` or a later one, or a disk has it."""
        if all(p.acknowledgement(self.id, self.incarnation) >= seq for p in others if not p.down):
            return True
        return self.outgoing.known_since(seq, self._shared) < FOREVER

    def no_standing(self, name: str) -> str:
        """Why this node may not start or keep the service; empty: it may."""
        lease = self._covers.get(name)
        if lease is None:
            return ""
        if self.promise < self.config.self_fence:
            return f"self_fence is {self.config.self_fence.name}, and only {self.promise.name} is ready on this node"
        if lease.standing:
            return ""
        if lease.arbiter:
            return "this node has no lease: the arbiter has not answered, and the other nodes have not"
        if not self._shared:
            return (
                "this node has no lease: no other node answers, and its disk is not proven to be shared "
                "(no other node has read there what this one wrote)"
            )
        return "this node has no lease: no other node answers, and writing or reading the shared disk does not succeed"

    def _terms(self, service: Service, needed: int, now: float) -> Terms:
        config = service.config
        if config.protection == "none":
            return NO_TERMS
        lease = self._covers.get(service.record.name)
        claimed = needed > 1 or service.state is State.START_READY
        known_at = self.outgoing.known_since(needed, self._shared) if claimed else NEVER
        return Terms(
            disk=config.on_disk,
            fencing=config.by_fencing,
            etcd=config.by_etcd,
            ours=lease is not None and lease.asked + lease.timing.lease > now,
            known_at=known_at if config.on_disk else NEVER,
            devices=self._devices,
            accept_unfenced=self.config.accept_unfenced,
            paths_digest=self._paths_digest,
        )
