"""The node engine: events in, effects out (docs/design.md, "The core").

``handle(event, now)`` takes a fact and returns what the driver owes; ``next_deadline()`` says when to come back with a
``Tick``. A lapse of time is looked at before any event. All state changes go through the one table (``ha.fsm.table``).

The engine is built up from one idea a module, each knowing only those before it: ``ledger`` (what is held and owed),
``sight`` (what is seen of others), ``conduct`` (the table at work), ``claims`` (who starts), ``commands`` (operators),
``hearing`` (messages), and this one: time, configuration, and the face towards the driver.

It knows no clock, socket, file, thread or random number: times are monotonic seconds that the driver gives.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ha.fsm import original, snapshot
from ha.fsm.config import OPENHA, ClusterConfig
from ha.fsm.events import (
    NOTHING,
    Arbitrate,
    Arbitrated,
    Command,
    ConfigChanged,
    ConfirmDown,
    Effects,
    Event,
    Fenced,
    Guarded,
    Leave,
    MessageReceived,
    News,
    NoteKind,
    OwnSlot,
    ScriptEnded,
    ScriptsEnded,
    SlotRead,
    Tick,
    Written,
)
from ha.fsm.evidence import holds
from ha.fsm.hearing import Hearing
from ha.fsm.lapse import RETRY_S
from ha.fsm.lease import FOREVER, NEVER
from ha.fsm.machine import Facts
from ha.fsm.message import Incarnation
from ha.fsm.peers import Peer, PeerPath
from ha.fsm.record import NodeRecord, ServiceRecord, may_run
from ha.fsm.service import ORPHAN, Job, Service
from ha.fsm.standing import FENCED
from ha.fsm.states import Promise, ScriptKind, State
from ha.fsm.table import Trigger


def jeopardy(peer: Peer) -> str:
    """One path is left of a node that has several: the next cut is a silence. Empty where that is not so."""
    up = [path for path in peer.paths if path.up]
    if not peer.living or peer.left or len(peer.paths) < 2 or len(up) > 1:
        return ""
    left = f"{up[0].config.kind} {up[0].config.label}" if up else "nothing"
    return f"IN JEOPARDY: of {len(peer.paths)} heartbeat paths of {peer.name} only {left} is left: mend the others"


def _told(when: float) -> float | None:
    return None if when == NEVER else when


MAX_STRAYS = 1000
"""So many services that left the configuration are remembered as stopped: with those that it names as many as a record
holds."""
STALL_S = 0.05
"""nmond was stalled when it comes later than two of its periods and this: scheduling noise is not a stall.
When it comes later than one of them and this, it gives itself as long to read what came meanwhile."""


class Engine(Hearing):
    """What one node decides for all of its services."""

    def __init__(
        self,
        config: ClusterConfig,
        node: str,
        record: NodeRecord,
        incarnation: Incarnation,
        now: float,
        *,
        boot: bool,
        unreadable: bool = False,
        orphans: Mapping[str, ScriptKind] | None = None,
        freeze_secondary: bool = False,
        guard_until: float = NEVER,
    ) -> None:
        """``record``: what the state store held; ``boot``: the machine booted since it was written;
        ``unreadable``: it could not be read, so no state is known (hazards H9, H12); ``orphans``: scripts left
        over from a killed nmond that still run; ``guard_until``: the hard deadline that nmond had told its guard, by
        which all it left ends, ``inf`` where that was nothing. Times in seconds of a monotonic clock that counts
        suspends."""
        super().__init__(config, node, incarnation, now)
        self._boot = boot
        self._orphans = self._undo_orphans = dict(orphans or {})
        self._freeze_secondary = freeze_secondary
        self._strays = {r.name: r for r in record.services}
        """Records of services that the configuration does not name (any more) and that may run here all the same: kept
        until it names them again, or the machine boots. Where a record was lost, also of those that are known not to:
        else they would be UNKNOWN when they come back."""
        self._lost = unreadable or (record.lost and not boot)
        self._remember(record)
        if boot:
            self._forget_fenced()
        self._frozen_known = guard_until == FOREVER
        self._configure(config, now)
        inherited = not boot and NEVER < guard_until < FOREVER
        self._set_leases(now, guard_until if inherited else NEVER)
        if inherited and any(map(may_run, self._strays.values())):
            self._strays_end = guard_until

    def start(self, now: float) -> Effects:
        """The first effects: what a boot or a restart of nmond makes of each recorded state."""
        self._begin()
        self._persist_all = True
        if self._boot:
            self._strays.clear()
        for name in list(self.services):
            if self._boot:
                nodes = self.services[name].config.nodes
                facts = Facts(freeze_secondary=self._freeze_secondary and nodes[0] != self.node)
                self._trigger(name, Trigger.BOOT, now, facts)
            else:
                self._adopt(name, now)
        self._look_at_leases(now)
        for name, record in self._strays.items():
            if may_run(record):
                text = f"it is {record.state.name} here, and conf/services does not name it any more: put it back"
                self._note(NoteKind.ALERT, name, text)
        self._send_now = True
        return self._finish(now)

    def _adopt(self, name: str, now: float) -> None:
        """An nmond of this boot left its record, and maybe a script that still runs."""
        service = self.services[name]
        if service.state is State.FROZEN_START and self._frozen_known:
            self._put(name, replace(service, exempt=True))
            service = self.services[name]
        kind = self._orphans.pop(name, None)
        if kind is None:
            self._trigger(name, Trigger.RESTART, now)
            return
        limit = now + self._timeout(service.config, kind)
        self._put(name, replace(service, job=Job(ORPHAN, kind, now, limit), adopting=True))
        text = f"nmond restarted; its {kind.value} script is still running: waited for"
        self._note(NoteKind.TRANSITION, name, text, source=service.state, dest=service.state)

    def handle(self, event: Event, now: float) -> Effects:
        """Take a fact in. The effects are owed in the order that ``Effects`` states."""
        self._begin()
        self._look_at_own_time(now)
        self._look_at_leases(now)
        # Before silence is judged: they came before now.
        if isinstance(event, MessageReceived):
            self._on_message(event, now)
        elif isinstance(event, News):
            for each in event.messages:
                self._on_message(each, now)
            for confirmed in event.written:
                self._on_written(confirmed)
            for look in event.reads:
                self._on_read(look, now)
        elif isinstance(event, Written):
            self._on_written(event)
        elif isinstance(event, SlotRead):
            self._on_read(event, now)
        elif isinstance(event, OwnSlot):
            self._on_own_slot(event)
            if event.found is not None:
                self._rise_above(event.found, f"the slot of {self.node} shows")
        elif isinstance(event, Arbitrated):
            self._on_arbitrated(event)
        self._renew(now)
        self._look_at_silence(now)
        match event:
            case Tick() | MessageReceived() | News() | Written() | SlotRead() | OwnSlot() | Arbitrated():
                pass
            case Guarded(promise=promise):
                self._on_guarded(promise, now)
            case Fenced():
                self._on_fenced(event)
            case ConfirmDown():
                self._on_confirm_down(event)
            case Command():
                self._on_command(event, now)
            case ScriptEnded():
                self._on_end(event, now)
            case ScriptsEnded(ends=ends):
                for end in ends:
                    self._on_end(end, now)
            case ConfigChanged():
                self._on_config(event.config, now)
            case Leave():
                self.leaving, self._entries = True, None
                self._mark(self.services)
                self._warn_of_frozen()
        if self._returned and (self._unsaved_until is None or now >= self._unsaved_until):
            self._adopt_returned(now)
        return self._finish(now)

    def _warn_of_frozen(self) -> None:
        """What is frozen where it runs stays up when this node leaves, which an original node does not respect."""
        for name, service in self.services.items():
            takers = [peer.name for peer in self._others(service) if original.is_original(peer)]
            if takers and service.state is State.FROZEN_START:
                text = f"it stays up here, frozen, and {takers[0]} runs OpenHA, which takes over whatever falls silent"
                self._note(NoteKind.ALERT, name, f"{text}: stop it here first")

    def _on_end(self, end: ScriptEnded, now: float) -> None:
        if end.job == ORPHAN and end.service in self._orphans:
            del self._orphans[end.service]  # of a stray: what it left is looked at when the service is named again
        else:
            self._on_script(end, now)

    def next_deadline(self) -> float:
        """When a ``Tick`` is due at the latest. Monotonic seconds."""
        when = min(self._next_send, self._presses_at(), self._lease_deadline(), *self._wakes.values())
        for peer in self.peers.values():
            if peer.next_silence < when:
                when = peer.next_silence
        return when if self._unsaved_until is None else min(when, self._unsaved_until)

    def rollback(self, now: float) -> None:
        """The last step's records could not be persisted: put everything it decided back; it is tried again.

        Heartbeats go on, with what stood before the step: silence would be taken for the death of this node. A new
        configuration stays in force: files, paths and workers are those of today already."""
        for name, old in self._undo.items():
            if old.job is not None:
                # Its end may be what could not be persisted: nobody is pressed meanwhile, nor asked again at once.
                later, left = max(old.job.deadline, now + 2 * RETRY_S), self.services[name].job
                over = old.job.over or left is None or left.id != old.job.id
                old = replace(old, job=replace(old.job, deadline=later, over=over))
            self.services[name] = old
            self._track(name)
            self._wakes[name] = now + RETRY_S
        if self._undo_returned:
            self._returned, self._orphans = self._undo_returned, self._undo_orphans
        self._undo, self._ending = {}, self._undo_ending
        self._entries = None
        self.incarnation, self.left = self._undo_node
        self._unsaved_until = now + RETRY_S
        self._guard_told = None
        self._wanted = {}
        self._uncompared = set(self.peers)
        self._send_now, self._next_send = True, now

    def record(self) -> NodeRecord:
        """All that must outlive nmond."""
        known = tuple(s.record for s in self.services.values())
        down = tuple((p.name, *p.down_at_seq, p.down) for p in self.peers.values() if p.down)
        shared = tuple(sorted(self._shared_now))
        mine = {s.id: name for name, s in self.services.items()}
        last = (p.last_heard(mine) for p in self.peers.values() if not original.is_original(p))
        heard = tuple(each for each in last if each is not None)
        return NodeRecord(self.incarnation.counter, (*known, *self._strays.values()), self._lost, shared, down, heard)

    def status(self, now: float) -> list[dict[str, object]]:
        """Of every service: its states on all nodes, and what is being waited for, in words."""
        told: list[dict[str, object]] = []
        for name, service in self.services.items():
            nodes = [
                {"node": n, "state": (service.state if n == self.node else self.peer_state(n, name)).name}
                for n in service.config.nodes
            ]
            told.append(
                {
                    "name": name,
                    "script": service.config.script,
                    "check": service.config.check_script,
                    "nodes": nodes,
                    "state": service.state.name,
                    "generation": service.record.generation,
                    "unclean": service.record.unclean,
                    "job": service.job.kind.value if service.job else "",
                    "waits": self.waits_for(name, now),
                }
            )
        return told

    def warnings(self) -> list[str]:
        """What an administrator must know at once: dual running, and what the next cut would end."""
        told = []
        for name, service in self.services.items():
            mine = service.entry()
            for peer in self._others(service):
                entry = peer.entries.get(service.id)
                if peer.living and entry is not None and holds(entry) and holds(mine):
                    there, here = f"{entry.state.name} on {peer.name}", f"{mine.state.name} here"
                    told.append(f"SPLIT BRAIN: {name} is {here} and {there}: stop it on one of them now")
        return told + [text for peer in self.peers.values() if (text := jeopardy(peer))]

    def abandoned(self) -> list[str]:
        """Services that are not known to be stopped here, and that nobody has frozen where they run."""
        failed = (name for name, service in self.services.items() if service.state is State.STOP_FAILED)
        left = {**self._held, **self._lapsed, **dict.fromkeys(failed)}
        return [f"{name} is {self.services[name].state.name}" for name in left]

    def objections(self, config: ClusterConfig) -> list[str]:
        """Why a new configuration cannot be taken while running; empty where it can."""
        told = []
        for name, service in self.services.items():
            new = config.services.get(name)
            gone = new is None or self.node not in new.nodes
            if gone and (may_run(service.record) or service.job is not None):
                told.append(f"service {name} is {service.state.name} here and cannot be removed: stop it first")
        return told

    def deafens(self, config: ClusterConfig) -> list[str]:
        """Why the language of the paths cannot change to that of a new configuration; empty where it can.

        A living OpenHA node that understands nothing any more takes this one for dead."""
        told = []
        for name, peer in self.peers.items():
            still = original.is_original(peer) and peer.living and not original.speaks_only(peer)
            if still and name in config.nodes and not config.is_original(name):
                text = f"{name} runs OpenHA, which would take this node for dead and start what runs here"
                told.append(f'wire = "{OPENHA}" has to stay: {text}; replace it first')
        return told

    def snapshot(self) -> dict[str, object]:
        """All state as plain data, for a hand-over by exec. ``restore`` takes it back.

        What is under way goes on; nobody can wait for its outcome any more, for an exec breaks off every client."""
        return {
            "incarnation": snapshot.dump(self.incarnation),
            "seq": self.seq,
            "leaving": self.leaving,
            "left": self.left,
            "started_at": self.started_at,
            "next_send": self._next_send,
            "last_step": self._last_step,
            "wakes": dict(self._wakes),
            "alerted": dict(self._alerted),
            "unsaved_until": self._unsaved_until,
            "job": self._job,
            "counters": dict(self.counters),
            "services": [snapshot.dump(snapshot.unattended(s)) for s in self.services.values()],
            "lost": self._lost,
            "strays": [snapshot.dump(r) for r in self._strays.values()],
            "returned": list(self._returned),
            "lease": self._leases_as_data(),
            "orphans": {name: kind.value for name, kind in self._orphans.items()},
            "peers": [
                {
                    "name": p.name,
                    "since": p.since,
                    "arrival": p.arrival,
                    "silent": p.silent,
                    "not_before": p.not_before,
                    "newest": snapshot.dump(p.newest),
                    "before": snapshot.dump(p.before),
                    "down": [p.down, *p.down_at_seq],
                    "paths": [
                        [path.config.text, path.seq, path.last, path.up, _told(path.read), _told(path.foreign)]
                        for path in p.paths
                    ],
                }
                for p in self.peers.values()
            ],
        }

    @classmethod
    def restore(cls, plain: Mapping[str, object], config: ClusterConfig, node: str, now: float) -> "Engine":
        """The engine that ``snapshot`` described, with the configuration of today.

        Raises ValueError where the snapshot is not understood: then the driver starts as after a crash."""
        return snapshot.restore_engine(cls, plain, config, node, now)

    def resume(
        self,
        services: Iterable[Service],
        job: int,
        next_send: float,
        last_step: float,
        wakes: Mapping[str, float],
        alerted: Mapping[str, float],
        unsaved_until: float | None,
        returned: Iterable[str],
    ) -> None:
        """Take over what another engine object held (``snapshot.restore_engine``).

        All services are looked at anew, and a message is owed. Since ``last_step`` nobody read what peers sent."""
        for service in services:
            name = service.record.name
            if name in self.services:
                self.services[name] = replace(service, config=self.services[name].config, id=self.services[name].id)
                self._track(name)
        self._job, self._next_send, self._send_now = job, next_send, True
        self._last_step, self._alerted, self._unsaved_until = last_step, dict(alerted), unsaved_until
        self._wakes = {name: at for name, at in wakes.items() if name in self.services}
        self._returned = tuple(name for name in returned if name in self.services)
        self._entries = None
        self._mark(self.services)

    def resume_leases(self, plain: Mapping[str, Any], now: float) -> None:
        """Second part of ``resume``: what was held, sent and confirmed."""
        self._leases_from_data(plain, now)
        for name in self.services:
            self._track(name)

    def _finish(self, now: float) -> Effects:
        """Evaluate what the event touched, then say what is owed."""
        if self._wakes:
            for name in [n for n, at in self._wakes.items() if at <= now]:
                del self._wakes[name]
                self._dirty[name] = None
        while self._dirty:
            name = next(iter(self._dirty))
            del self._dirty[name]
            if name in self.services:
                self._consider(name, now)
        if self.leaving and not self.left and not self._busy and not self._stopping():
            self.left = self._send_now = True
        send = None
        if self._send_now or now >= self._next_send:
            send = self._message(now)
            self._send_now = False
            self._next_send = now + self.period
        guard: float | None = self._guard_time()
        if guard == self._guard_told:
            guard = None
        else:
            self._guard_told = guard
        unsaved = self._unsaved_until
        everything = self._persist_all or (unsaved is not None and (now >= unsaved or bool(self._runs)))
        names: Iterable[str] = self.services if everything else self._persist
        persist = tuple([self.services[n].record for n in names if n in self.services]) if names else ()
        self._persist_all = False
        records = persist or self._bumped or everything
        if records:
            self._unsaved_until = None  # until the driver says otherwise, by a rollback
        wishes = self._wishes()
        asked = self._kills or self._runs or self._fences or wishes or self._look or self._self_fence
        told = self._notes or self._replies or send is not None or guard is not None or self.left
        if not (records or asked or told):
            return NOTHING  # as after most events
        return Effects(
            self_fence=self._self_fence,
            guard=guard,
            urgent=self._is_urgent(),
            look=self._look,
            fence=tuple(self._fences),
            arbitrate=wishes,
            kill=tuple(self._kills),
            persist=persist,
            incarnation=self.incarnation.counter if self._bumped or everything else 0,
            send=send,
            run=tuple(self._runs),
            notes=tuple(self._notes),
            replies=tuple(self._replies),
            left=self.left,
        )

    def _wishes(self) -> tuple[Arbitrate, ...]:
        """Services that the arbiter is to keep for us from now on, or no longer."""
        told = []
        for name, lease in self._covers.items():
            if lease.arbiter:
                service = self.services[name]
                want = self._is_ours_to_want(service)
                if want is not self._wanted.get(name, False):
                    self._wanted[name] = want
                    told.append(Arbitrate(name, want))
        return tuple(told)

    def _is_ours_to_want(self, service: Service) -> bool:
        """What runs or is claimed here; and before a claim, what a silent node may have: until the arbiter gives it
        there is neither a standing for a claim nor a proof that the silent node does not run it."""
        if service.state is State.START_READY or may_run(service.record):
            return True
        others = (self.peers[node] for node in service.config.nodes if node != self.node)
        return service.state is State.STOPPED and not self.leaving and any(p.silent and not p.down for p in others)

    def _stopping(self) -> bool:
        moving = (State.STARTED, State.STARTING, State.STOPPING, State.START_READY)
        return any(s.state in moving for s in self.services.values())

    def _configure(self, config: ClusterConfig, now: float) -> None:
        absent = State.UNKNOWN if self._lost else State.FROZEN_STOP
        self.config = config
        self.period = config.period_of(self.node)
        known = dict(self.services)
        self.services = {}
        for name, service in config.services.items():
            if self.node not in service.nodes:
                continue
            if name in known:
                self.services[name] = replace(known[name], config=service, id=service.id)
            else:
                record = self._strays.get(name, ServiceRecord(name, absent))
                self.services[name] = Service(service, service.id, record)
        if self._lost and len(self._strays) + len(known) <= MAX_STRAYS:
            self._strays |= {name: ServiceRecord(name) for name in known if not may_run(known[name].record)}
        away = {n: r for n, r in self._strays.items() if n not in self.services}
        self._strays = {n: r for n, r in away.items() if self._lost or may_run(r)}
        self._busy, self._pressing = {}, []
        self._claims: dict[str, None] = {}
        self._switching: dict[str, None] = {}
        for name in self.services:
            self._track(name)
        self._entries = None
        peers = dict(self.peers)
        self.peers = {}
        for name in config.nodes:
            if name == self.node:
                continue
            old = peers.get(name)
            if old is not None and original.is_original(old) != config.is_original(name):
                old = None  # it speaks another language from now on, whose numbers do not compare
            kept = {p.config.text: p for p in old.paths} if old else {}
            paths = [replace(kept[p.text], config=p) if p.text in kept else PeerPath(p) for p in config.paths_of(name)]
            if old is not None:
                old.paths, old.timeout = paths, config.timeout_of(name)
                old.not_before = min(old.not_before, now + old.timeout / 2)  # reckoned with another T
                old.reckon()
            # The seconds of an original node do not compare with what it said as a node of ezha.
            before = None if config.is_original(name) else self._heard_before.get(name)
            self.peers[name] = old or Peer(name, config.timeout_of(name), now, paths, before=before)
        for name, counter, seq, why in self._down_before:
            if name in self.peers and name not in peers:
                self.peers[name].down, self.peers[name].down_at_seq = why, (counter, seq)
        self._ids = config.node_ids()
        self._neighbours = {
            peer: [n for n, s in self.services.items() if peer in s.config.nodes] for peer in self.peers
        }

    def _on_config(self, config: ClusterConfig, now: float) -> None:
        refused = self.objections(config)
        assert not refused, refused  # the driver asks first
        back = [name for name in self._strays if name in config.services and self.node in config.services[name].nodes]
        before = self._covers
        self._configure(config, now)
        self._set_leases(now)
        self._inherit(before, now)
        self._returned = self._undo_returned = (*self._returned, *back)
        self._adopt_returned(now)
        self._persist_all = self._send_now = True
        self._mark(self.services)

    def _adopt_returned(self, now: float) -> None:
        returned, self._returned = self._returned, ()
        self._undo_orphans = dict(self._orphans)
        for name in returned:
            if name in self.services:
                self._adopt(name, now)

    def _look_at_own_time(self, now: float) -> None:
        """Our own lapses, and scripts past their time: before any event is looked at."""
        gap, self._last_step = now - self._last_step, now
        if gap > 2 * self.period + STALL_S:
            # We were not scheduled, and so what peers sent meanwhile may lie unread: that is not their silence.
            for peer in self.peers.values():
                self._listen(peer, now + peer.timeout / 2)
            for name in self._claims:
                # The answers to it are as old: somebody may have taken us for dead since. It is made anew.
                self._put_quietly(name, replace(self.services[name], claim_seq=0))
                self._send_now = True
            self._count("stalls")
            self._note(NoteKind.ALERT, "", f"this node's nmond was not scheduled for {gap:.3f} s")
        elif gap > self.period + STALL_S:
            # A little late, which is no stall; but what came meanwhile is read before silence is judged.
            for peer in self.peers.values():
                self._listen(peer, now + STALL_S)
        if now >= self._presses_at():
            for name, job in list(self._busy.items()):
                if job.killed < 3 and now >= job.deadline:
                    self._press(name, job, now)

    def _listen(self, peer: Peer, until: float) -> None:
        """Believe in no silence of this peer before then, neither a new one nor one of before."""
        peer.listen(until)
        if peer.silent:
            for name in self._neighbours[peer.name]:
                self._wakes[name] = max(self._wakes.get(name, until), until)

    def _on_guarded(self, promise: Promise, now: float) -> None:
        if promise is self.promise:
            return
        worse, self.promise = promise < self.promise, promise
        kind = NoteKind.ALERT if worse and promise < self.config.self_fence else NoteKind.PEER
        self._note(kind, "", f"what ends this node's services if nmond cannot: {promise.name}")
        self._send_now = True
        self._mark(self._covers)

    def _on_fenced(self, event: Fenced) -> None:
        peer = self.peers.get(event.node)
        if peer is None:
            return
        told = f" ({event.detail})" if event.detail else ""
        if not event.ok:
            self._note(NoteKind.ALERT, "", f"{peer.name} could not be fenced{told}: nothing is taken over from it")
            return
        self._fencing.pop(peer.name, None)
        self._set_down(peer, f"{FENCED}{told}")

    def _on_confirm_down(self, event: ConfirmDown) -> None:
        peer = self.peers.get(event.node)
        if peer is None:
            self._reply(event.id, "", False, f"{event.node} is not another node of this cluster")
        elif peer.living and not peer.left:
            self._reply(event.id, "", False, f"{peer.name} is heard at this moment: it is not down")
        else:
            self._set_down(peer, "an operator confirmed it", event.by)
            self._reply(event.id, "", True, f"{peer.name} counts as down until it is heard")

    def _set_down(self, peer: Peer, why: str, by: str = "ezha") -> None:
        last = peer.newest if peer.newest is not None else peer.before
        peer.down = why
        peer.down_at_seq = (last.incarnation.counter, last.seq) if last is not None else (0, 0)
        evidence = tuple(peer.describe_paths(self._last_step))
        self._note(NoteKind.ALERT, "", f"{peer.name} is down: {why}", by=by, evidence=evidence)
        self._bumped = True  # it outlives nmond
        self._renew(self._last_step)
        self._mark(self._neighbours[peer.name])

    def _look_at_silence(self, now: float) -> None:
        """Paths that grew quiet, and peers that fell silent."""
        for peer in self.peers.values():
            if now < peer.next_silence:
                continue
            peer.reckon()
            for path in peer.paths:
                if path.up and now >= peer.down_at(path):
                    assert path.last is not None, path
                    path.up = False
                    text = f"{path.config.kind} {path.config.label} is DOWN: nothing new from {peer.name} for "
                    self._note(NoteKind.PATH, "", f"{text}{now - path.last:.3f} s (limit {path.config.timeout:g} s)")
                    if not peer.silent and now < peer.silent_at and (danger := jeopardy(peer)):
                        self._note(NoteKind.ALERT, "", danger)
            if not peer.silent and now >= peer.silent_at:
                peer.silent = True
                if peer.newest is None:
                    text = f"{peer.name} was never heard in the {now - peer.since:.3f} s since this node listens"
                else:
                    text = f"{peer.name} is silent for {now - max(peer.arrival, peer.since):.3f} s"
                text += f" (limit {peer.limit:g} s)"
                self._note(NoteKind.PEER, "", text, evidence=tuple(peer.describe_paths(now)))
                self._mark(self._neighbours[peer.name])
                if self._covers:
                    self._look = True  # silence counts with a look that begins after it
