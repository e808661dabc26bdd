"""The node engine: events in, effects out (docs/design.md, "The core").

``handle(event, now)`` takes a fact and returns what the driver owes; ``next_deadline()`` says when to come back with a
``Tick``. A lapse of time is looked at before any event. All state changes go through the one table (``ha.fsm.table``);
this module establishes the facts that the table's guards look at, and turns its rows into records and effects.

It knows no clock, socket, file, thread or random number: times are monotonic seconds that the driver gives.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ha.fsm import snapshot
from ha.fsm.config import ClusterConfig, PathId, ServiceConfig
from ha.fsm.events import (
    Command,
    ConfigChanged,
    Effects,
    Ended,
    Enter,
    Event,
    KillScript,
    Leave,
    MessageReceived,
    Note,
    NoteKind,
    Reply,
    RunScript,
    ScriptEnded,
    Tick,
)
from ha.fsm.evidence import Standing, Verdict, holds, judge
from ha.fsm.identity import node_id
from ha.fsm.machine import NO_FACTS, Facts, decide
from ha.fsm.message import Ack, Handover, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.peers import Heard, Peer, PeerPath
from ha.fsm.rank import claim_rank, outranks
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.service import ORPHAN, OUTCOMES, Job, Service, Waiting
from ha.fsm.states import Action, Promise, ScriptKind, State
from ha.fsm.table import Do, Mark, Row, Trigger

MAX_COUNTER = 2**40 - 1
ALERT_AGAIN_S = 60.0
"""The same alert is told once a minute; every one is counted."""
STALL_S = 0.05
"""nmond was stalled when it comes later than two of its periods and this: scheduling noise is not a stall."""
LOOK_S = 0.002
"""After a claim was sent, so long what arrives is listened to before it may be settled: claim, then look."""
RETRY_S = 1.0
"""A step that could not be persisted is tried again after this."""

_SCRIPT: dict[Do, ScriptKind] = {
    Do.CHECK: ScriptKind.CHECK,
    Do.START: ScriptKind.START,
    Do.STOP: ScriptKind.STOP,
    Do.STATUS: ScriptKind.STATUS,
}
_WAITS = (Action.FORCE_STOP, Action.FORCE_START)


class Engine:
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
    ) -> None:
        """``record``: what the state store held; ``boot``: the machine booted since it was written;
        ``unreadable``: it could not be read, so no state is known (hazards H9, H12); ``orphans``: scripts left
        over from a killed nmond that still run. Times in seconds of a monotonic clock that counts suspends."""
        self.node = node
        self.id = node_id(node)
        self.config = config
        self.incarnation = incarnation
        self.seq = 0
        self.period = config.period_of(node)
        self.leaving = False
        self.left = False
        self.started_at = now
        self.counters: dict[str, int] = {}
        self.peers: dict[str, Peer] = {}
        self.services: dict[str, Service] = {}
        self._by_id: dict[int, str] = {}
        self._boot = boot
        self._orphans = dict(orphans or {})
        self._freeze_secondary = freeze_secondary
        self._job = 0
        self._next_send = now
        self._send_now = True
        self._wakes: dict[str, float] = {}
        self._alerted: dict[str, float] = {}
        self._entries: tuple[ServiceEntry, ...] | None = None
        self._dirty: dict[str, None] = {}
        self._undo: dict[str, Service] = {}
        self._persist_all = False
        self._last_step = now
        self._begin()
        records = {r.name: r for r in record.services}
        absent = State.UNKNOWN if unreadable else State.FROZEN_STOP
        self._configure(config, records, absent, now)

    # ---------------------------------------------------------------------------------- the driver's side

    def start(self, now: float) -> Effects:
        """The first effects: what a boot or a restart of nmond makes of each recorded state."""
        self._begin()
        self._persist_all = True
        for name in list(self.services):
            service = self.services[name]
            if self._boot:
                facts = Facts(freeze_secondary=self._freeze_secondary and service.config.nodes[0] != self.node)
                self._trigger(name, Trigger.BOOT, now, facts)
            elif name in self._orphans:
                kind = self._orphans[name]
                limit = now + self._timeout(service.config, kind)
                self._put(name, replace(service, job=Job(ORPHAN, kind, now, limit), adopting=True))
                text = f"nmond restarted; its {kind.value} script is still running: waited for"
                self._note(NoteKind.TRANSITION, name, text, source=service.state, dest=service.state)
            else:
                self._trigger(name, Trigger.RESTART, now)
        self._send_now = True
        return self._finish(now)

    def handle(self, event: Event, now: float) -> Effects:
        """Take a fact in. The effects are owed in the order that ``Effects`` states."""
        self._begin()
        self._look_at_time(now)
        match event:
            case Tick():
                pass
            case MessageReceived():
                self._on_message(event, now)
            case Command():
                self._on_command(event, now)
            case ScriptEnded():
                self._on_script(event, now)
            case ConfigChanged():
                self._on_config(event.config, now)
            case Leave():
                self.leaving = True
                self._mark(self.services)
            case Enter():
                self.leaving = self.left = False
                self._mark(self.services)
        return self._finish(now)

    def next_deadline(self) -> float:
        """When a ``Tick`` is due at the latest. Monotonic seconds."""
        when = self._next_send
        for peer in self.peers.values():
            if not peer.silent:
                when = min(when, peer.silent_at)
            for path in peer.paths:
                if path.up and path.last is not None:
                    when = min(when, path.last + path.config.timeout)
        for name in self._busy:
            job = self.services[name].job
            if job is not None and job.killed < 3:
                when = min(when, job.deadline)
        return min(when, min(self._wakes.values(), default=when))

    def rollback(self, now: float) -> None:
        """The last step's records could not be persisted: put everything it decided back; it is tried again."""
        for name, old in self._undo.items():
            self.services[name] = old
            self._track(name)
            self._wakes[name] = now + RETRY_S
        self._undo = {}
        self._entries = None
        self.incarnation, self.left = self._undo_node
        self._persist_all = True

    def record(self) -> NodeRecord:
        """All that must outlive nmond."""
        return NodeRecord(self.incarnation.counter, tuple(s.record for s in self.services.values()))

    def path_state(self, path: PathId) -> tuple[bool, float | None]:
        """Whether a peer's path is UP, and when it last brought something new (None: never)."""
        peer = self.peers.get(path.node)
        if peer is None or path.index >= len(peer.paths):
            return (False, None)
        each = peer.paths[path.index]
        return (each.up, each.last)

    def peer_state(self, node: str, service: str) -> State:
        """The state of a service on another node as last heard; UNKNOWN where it is not heard."""
        peer = self.peers[node]
        entry = peer.entries.get(self.services[service].id)
        return entry.state if peer.living and entry is not None else State.UNKNOWN

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

    def waits_for(self, name: str, now: float) -> str:
        """Why nothing happens to a service at present, in one sentence; empty where nothing is waited for."""
        service = self.services[name]
        if service.job is not None:
            stuck = ", which cannot be killed" if service.job.killed >= 3 else ""
            return f"its {service.job.kind.value} script runs for {now - service.job.started:.1f} s{stuck}"
        if service.state is State.STOPPED:
            if self.leaving:
                return "this node leaves the cluster"
            unclear = [v.text for v in self._verdicts(service, 1, now) if not v.clear]
            return "; ".join(unclear) or self._defers(service, now)[0]
        if service.state is State.START_READY:
            return "; ".join(v.text for v in self._verdicts(service, max(service.claim_seq, 1), now) if not v.clear)
        if service.state in (State.FROZEN_STOP, State.FROZEN_START):
            return "frozen: an operator must unfreeze it"
        if service.state in (State.START_FAILED, State.STOP_FAILED):
            return "failed: mend it, then freeze-stop and unfreeze"
        if service.state is State.UNKNOWN:
            return "its state here could not be read: start, stop or force-stop it"
        return ""

    def objections(self, config: ClusterConfig) -> list[str]:
        """Why a new configuration cannot be taken while running; empty where it can."""
        told = []
        for name, service in self.services.items():
            new = config.services.get(name)
            gone = new is None or self.node not in new.nodes
            if gone and (holds(service.entry()) or service.job is not None):
                told.append(f"service {name} is {service.state.name} here and cannot be removed: stop it first")
        return told

    def snapshot(self) -> dict[str, object]:
        """All state as plain data, for a hand-over by exec. ``restore`` takes it back."""
        return {
            "incarnation": snapshot.dump(self.incarnation),
            "seq": self.seq,
            "leaving": self.leaving,
            "left": self.left,
            "started_at": self.started_at,
            "next_send": self._next_send,
            "job": self._job,
            "counters": dict(self.counters),
            "services": [
                snapshot.dump(replace(s, waiting=None, pending=None, queued=None)) for s in self.services.values()
            ],
            "peers": [
                {
                    "name": p.name,
                    "since": p.since,
                    "arrival": p.arrival,
                    "silent": p.silent,
                    "newest": snapshot.dump(p.newest),
                    "paths": [[path.config.text, path.seq, path.last, path.up] for path in p.paths],
                }
                for p in self.peers.values()
            ],
        }

    @classmethod
    def restore(cls, plain: Mapping[str, object], config: ClusterConfig, node: str, now: float) -> "Engine":
        """The engine that ``snapshot`` described, with the configuration of today.

        Raises ValueError where the snapshot is not understood: then the driver starts as after a crash."""
        return snapshot.restore_engine(cls, plain, config, node, now)

    def resume(self, services: Iterable[Service], job: int, next_send: float) -> None:
        """Take over what another engine object held (``snapshot.restore_engine``)."""
        for service in services:
            name = service.record.name
            if name in self.services:
                self.services[name] = replace(service, config=self.services[name].config, id=self.services[name].id)
                self._track(name)
        self._job, self._next_send, self._send_now = job, next_send, True
        self._entries = None
        self._mark(self.services)

    # ---------------------------------------------------------------------------------- a step

    def _begin(self) -> None:
        self._undo = {}
        self._undo_node = (self.incarnation, self.left)
        self._persist: dict[str, None] = {}
        self._kills: list[KillScript] = []
        self._runs: list[RunScript] = []
        self._notes: list[Note] = []
        self._replies: list[Reply] = []
        self._bumped = False

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
        names: Iterable[str] = self.services if self._persist_all else self._persist
        persist = tuple(self.services[n].record for n in names if n in self.services)
        everything, self._persist_all = self._persist_all, False
        return Effects(
            kill=tuple(self._kills),
            persist=persist,
            incarnation=self.incarnation.counter if self._bumped or everything else 0,
            send=send,
            run=tuple(self._runs),
            notes=tuple(self._notes),
            replies=tuple(self._replies),
            left=self.left,
        )

    def _stopping(self) -> bool:
        moving = (State.STARTED, State.STARTING, State.STOPPING, State.START_READY)
        return any(s.state in moving for s in self.services.values())

    def _put(self, name: str, service: Service) -> None:
        """Replace a service; the old one is kept for a rollback."""
        old = self.services[name]
        self._undo.setdefault(name, old)
        self.services[name] = service
        if service.record is not old.record:
            if service.record != old.record:
                self._persist[name] = None
            self._entries = None
        self._track(name)

    def _track(self, name: str) -> None:
        """Keep the sets of services that time or messages can move without being told of by name."""
        service = self.services[name]
        for chosen, member in (
            (self._busy, service.job is not None),
            (self._claims, service.state is State.START_READY),
            (self._switching, service.waiting is not None and service.waiting.action is Action.SWITCH),
        ):
            if member:
                chosen[name] = None
            else:
                chosen.pop(name, None)

    def _mark(self, names: Iterable[str]) -> None:
        for name in names:
            self._dirty[name] = None

    # ---------------------------------------------------------------------------------- configuration

    def _configure(
        self, config: ClusterConfig, records: Mapping[str, ServiceRecord], absent: State, now: float
    ) -> None:
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
                record = records.get(name, ServiceRecord(name, absent))
                self.services[name] = Service(service, service.id, record)
        self._by_id = {s.id: n for n, s in self.services.items()}
        self._busy: dict[str, None] = {}
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
            kept = {p.config.text: p for p in old.paths} if old else {}
            paths = [replace(kept[p.text], config=p) if p.text in kept else PeerPath(p) for p in config.paths_of(name)]
            if old is not None:
                old.paths, old.timeout = paths, config.timeout_of(name)
            self.peers[name] = old or Peer(name, config.timeout_of(name), now, paths)
        self._ids = config.node_ids()
        self._neighbours = {
            peer: [n for n, s in self.services.items() if peer in s.config.nodes] for peer in self.peers
        }

    def _on_config(self, config: ClusterConfig, now: float) -> None:
        refused = self.objections(config)
        assert not refused, refused  # the driver asks first
        self._configure(config, {}, State.FROZEN_STOP, now)
        self._persist_all = self._send_now = True
        self._mark(self.services)

    # ---------------------------------------------------------------------------------- time

    def _look_at_time(self, now: float) -> None:
        """Paths that grew quiet, peers that fell silent, scripts past their time: before any event is looked at."""
        gap, self._last_step = now - self._last_step, now
        if gap > 2 * self.period + STALL_S:
            # We were not scheduled, and so what peers sent meanwhile may lie unread: that is not their silence.
            for peer in self.peers.values():
                peer.not_before = now + self.period
            self._count("stalls")
            self._note(NoteKind.ALERT, "", f"this node's nmond was not scheduled for {gap:.3f} s")
        for peer in self.peers.values():
            for path in peer.paths:
                if path.up and path.last is not None and now >= path.last + path.config.timeout:
                    path.up = False
                    text = f"{path.config.kind} {path.config.label} is DOWN: nothing new from {peer.name} for "
                    self._note(NoteKind.PATH, "", f"{text}{now - path.last:.3f} s (limit {path.config.timeout:g} s)")
            if not peer.silent and now >= peer.silent_at:
                peer.silent = True
                if peer.newest is None:
                    text = f"{peer.name} was never heard in the {now - peer.since:.3f} s since this node listens"
                else:
                    text = f"{peer.name} is silent for {now - max(peer.arrival, peer.since):.3f} s"
                text += f" (limit {peer.timeout:g} s)"
                self._note(NoteKind.PEER, "", text, evidence=tuple(peer.describe_paths(now)))
                self._mark(self._neighbours[peer.name])
        for name in list(self._busy):
            job = self.services[name].job
            if job is not None and job.killed < 3 and now >= job.deadline:
                self._press(name, job, now)

    def _press(self, name: str, job: Job, now: float) -> None:
        """A script is past its time: SIGTERM, then SIGKILL, then given up."""
        service = self.services[name]
        grace = service.config.kill_grace
        ran = now - job.started
        if job.killed < 2:
            self._put(name, replace(service, job=replace(job, killed=job.killed + 1, deadline=now + grace)))
            self._kills.append(KillScript(name, job.id, force=job.killed == 1))
            sign = "SIGKILL" if job.killed else "SIGTERM"
            self._note(NoteKind.ALERT, name, f"its {job.kind.value} script runs for {ran:.1f} s: {sign}")
            self._count("scripts_timed_out")
            return
        self._put(name, replace(service, job=replace(job, killed=3)))
        self._note(NoteKind.ALERT, name, f"its {job.kind.value} script cannot be killed: nothing is run beside it")
        self._outcome(name, job, Ended.KILLED, 9, "it cannot be killed", now)

    # ---------------------------------------------------------------------------------- messages

    def _on_message(self, event: MessageReceived, now: float) -> None:
        message = event.message
        if message.cluster != self.config.cluster_id:
            self._alert(
                "messages_other_cluster", now, "messages of another cluster come on our paths: give each its own"
            )
            return
        if message.node == self.id:
            if message.incarnation.nonce != self.incarnation.nonce:
                self._alert(
                    "messages_own_name", now, f"another node also calls itself {self.node}: its messages are refused"
                )
            return
        sender = self._ids.get(message.node)
        if sender is None or sender != event.path.node or event.path.index >= len(self.peers[sender].paths):
            self._alert("messages_wrong_sender", now, f"a message on a path of {event.path.node} is not of that node")
            return
        self._take_in(self.peers[sender], message, event, now)

    def _take_in(self, peer: Peer, message: Heartbeat, event: MessageReceived, now: float) -> None:
        before, was_silent, acked = peer.entries, peer.silent, peer.acknowledgement(self.id, self.incarnation)
        first = peer.newest is None or peer.newest.incarnation != message.incarnation
        path = peer.paths[event.path.index]
        was_up, handovers = path.up, peer.newest.handovers if peer.newest is not None else ()
        heard = peer.hear(message, event.path.index, event.arrival)
        if heard is Heard.CONFLICT:
            self._alert(
                "messages_conflict", now, f"two nodes call themselves {peer.name} (a copied disk?): one is refused"
            )
            return
        if heard is Heard.STALE:
            self._count("messages_stale")
            return
        if not was_up:
            self._note(NoteKind.PATH, "", f"{path.config.kind} {path.config.label} of {peer.name} is UP")
        if heard is not Heard.NEWER:
            return
        if first or was_silent:
            self._send_now = True  # so that it soon has our acknowledgement
            again = "is heard again" if was_silent and not first else "is heard (a new incarnation)"
            self._note(NoteKind.PEER, "", f"{peer.name} {again}", evidence=tuple(peer.describe_paths(now)))
            self._mark(self._neighbours[peer.name])
        self._check_own_incarnation(peer, now)
        if peer.entries is not before:
            self._compare(peer, before, now)
        if message.handovers != handovers:
            self._mark(self._neighbours[peer.name])
        now_acked = peer.acknowledgement(self.id, self.incarnation)
        if now_acked and not acked:
            self._mark(self._neighbours[peer.name])
        elif now_acked > acked:
            self._mark(n for n in self._claims if peer.name in self.services[n].config.nodes)

    def _compare(self, peer: Peer, before: Mapping[int, ServiceEntry], now: float) -> None:
        """Which services does the peer tell something new of?"""
        for name in self._neighbours[peer.name]:
            service = self.services[name]
            entry = peer.entries.get(service.id)
            if entry == before.get(service.id):
                continue
            self._dirty[name] = None
            if entry is None:
                continue
            if entry.state is State.START_READY:
                self._send_now = True  # a claim waits for our answer
                continue
            record = service.record
            if entry.generation > record.seen:
                record = replace(record, seen=entry.generation)
            if holds(entry) and entry.generation > record.last_run and (record.demoted or record.handover):
                record = replace(record, demoted=False, handover="")  # it has been taken: the stop's mark has served
            if record is not service.record:
                self._put(name, replace(service, record=record))
            if holds(entry) and holds(service.entry()) and service.state is not State.UNKNOWN:
                text = f"it is {service.state.name} here and {entry.state.name} on {peer.name}: both may run it"
                self._alert(f"both_hold {name}", now, text, name)

    def _check_own_incarnation(self, peer: Peer, now: float) -> None:
        """A peer that has seen a later life of ours than this one: we were reinstalled or restored. Go above it."""
        ack = peer.ack_of(self.id)
        if ack is None or ack.incarnation == self.incarnation:
            return
        if ack.incarnation.counter < self.incarnation.counter or ack.incarnation.counter >= MAX_COUNTER:
            return
        self.incarnation = Incarnation(ack.incarnation.counter + 1, self.incarnation.nonce)
        self.seq = 0
        self._bumped = self._send_now = True
        for name in self._claims:
            self._put(name, replace(self.services[name], claim_seq=0))
        text = f"{peer.name} has seen a later incarnation of this node: ours is now {self.incarnation.counter}"
        self._note(NoteKind.PEER, "", text)

    def _message(self, now: float) -> Heartbeat:
        if self._entries is None:
            self._entries = tuple(sorted((s.entry() for s in self.services.values()), key=lambda e: e.id))
        self.seq += 1
        for name in self._claims:
            service = self.services[name]
            if service.claim_seq == 0:
                self._put_quietly(name, replace(service, claim_seq=self.seq))
                self._wakes[name] = now + LOOK_S
        acks = [
            Ack(node_id(p.name), p.newest.incarnation, tuple(path.seq for path in p.paths))
            for p in self.peers.values()
            if p.newest is not None
        ]
        handovers = [Handover(s.id, node_id(s.record.handover)) for s in self.services.values() if s.record.handover]
        return Heartbeat(
            cluster=self.config.cluster_id,
            node=self.id,
            incarnation=self.incarnation,
            seq=self.seq,
            promise=Promise.NONE,
            standing=True,
            left=self.left,
            timeout_ms=round(self.config.timeout_of(self.node) * 1000),
            lease_ms=0,
            paths_digest=self.config.paths_digest,
            services=self._entries,
            acks=tuple(sorted(acks, key=lambda a: a.node)),
            handovers=tuple(handovers),
        )

    def _put_quietly(self, name: str, service: Service) -> None:
        """As ``_put``, for what no record holds."""
        self._undo.setdefault(name, self.services[name])
        self.services[name] = service

    # ---------------------------------------------------------------------------------- deciding

    def _order(self, service: Service, node: str) -> int:
        return service.config.nodes.index(node)

    def _others(self, service: Service) -> list[Peer]:
        return [self.peers[n] for n in service.config.nodes if n != self.node]

    def _verdicts(self, service: Service, needed: int, now: float) -> list[Verdict]:
        return [
            judge(p, service.id, p.acknowledgement(self.id, self.incarnation), needed, now)
            for p in self._others(service)
        ]

    def _consider(self, name: str, now: float) -> None:
        """Does what is known call for a decision about this service?"""
        service = self.services[name]
        if name in self._switching:
            self._watch_switch(name, now)
            service = self.services[name]
        if service.job is not None or service.pending is not None:
            return
        if self.leaving:
            if service.state in (State.STARTED, State.START_READY):
                self._trigger(name, Trigger.LEAVE, now)
        elif service.state is State.STOPPED:
            self._consider_claim(name, service, now)
        elif service.state is State.START_READY:
            self._consider_settling(name, service, now)

    def _consider_claim(self, name: str, service: Service, now: float) -> None:
        verdicts = self._verdicts(service, 1, now)
        if not all(v.clear for v in verdicts):
            return
        reason, until = self._defers(service, now)
        if reason:
            if service.outranked_since is None:
                self._put_quietly(name, replace(service, outranked_since=now))
            self._wakes[name] = until
            return
        why = "; ".join(v.text for v in verdicts)
        self._trigger(name, Trigger.CLAIM, now, why=why, evidence=self._evidence(service, verdicts, now))

    def _defers(self, service: Service, now: float) -> tuple[str, float]:
        """Whether a node that ranks higher is first given time for a claim of its own, why, and until when.

        It is a courtesy with a bound, never a safety rule: the service goes back to where it ran, or to where an
        operator sent it, if that node is there to take it."""
        since = now if service.outranked_since is None else service.outranked_since
        target = self._handover_target(service)
        mine = service.entry()
        for peer in self._others(service):
            entry = peer.entries.get(service.id)
            if not peer.living or peer.left or entry is None or entry.state is not State.STOPPED or target == self.node:
                continue
            sent = peer.name == target
            if not sent and not outranks(mine, self._order(service, self.node), entry, self._order(service, peer.name)):
                continue
            grace = 0.1 + 3 * max(self.period, self.config.period_of(peer.name))
            if sent or service.record.demoted:
                grace = max(grace, peer.timeout)
            if now < since + grace:
                return (f"{peer.name} is given time to take it", since + grace)
        return ("", 0.0)

    def _handover_target(self, service: Service) -> str:
        """The node that an operator sent the service to, as said by us or by a living peer; empty: none."""
        if service.record.handover:
            return service.record.handover
        for peer in self._others(service):
            if peer.living and peer.newest is not None:
                for handover in peer.newest.handovers:
                    if handover.service == service.id:
                        return self._ids.get(handover.node, "")
        return ""

    def _consider_settling(self, name: str, service: Service, now: float) -> None:
        """Rule 2: go ahead once every other node has seen the claim and does not claim or hold, or is silent."""
        if service.claim_seq == 0:
            self._send_now = True
            return
        verdicts = self._verdicts(service, service.claim_seq, now)
        mine = claim_rank(service.entry(), self._order(service, self.node))
        for peer, verdict in zip(self._others(service), verdicts, strict=True):
            if verdict.standing is Standing.CLAIMS:
                theirs = claim_rank(peer.entries[service.id], self._order(service, peer.name))
                if theirs < mine:
                    self._yield(name, f"{verdict.text}, and ranks higher", verdicts, now)
                    return
            elif verdict.standing in (Standing.HOLDS, Standing.UNEQUAL):
                self._yield(name, verdict.text, verdicts, now)
                return
        if all(v.clear for v in verdicts):
            why = "the claim is settled: " + "; ".join(v.text for v in verdicts)
            self._trigger(name, Trigger.SETTLED, now, why=why, evidence=self._evidence(service, verdicts, now))

    def _yield(self, name: str, why: str, verdicts: list[Verdict], now: float) -> None:
        evidence = self._evidence(self.services[name], verdicts, now)
        self._trigger(name, Trigger.YIELD, now, why=why, evidence=evidence)

    def _evidence(self, service: Service, verdicts: list[Verdict], now: float) -> tuple[str, ...]:
        told = [v.text for v in verdicts]
        for peer in self._others(service):
            told += peer.describe_paths(now)
        return tuple(told)

    # ---------------------------------------------------------------------------------- the table at work

    def _trigger(
        self,
        name: str,
        trigger: Trigger,
        now: float,
        facts: Facts = NO_FACTS,
        why: str = "",
        by: str = "ezha",
        evidence: tuple[str, ...] = (),
        target: str = "",
    ) -> Row:
        """Ask the table, and carry out the row that applies."""
        service = self.services[name]
        if service.record.freeze:
            facts = replace(facts, freeze=True)
        row = decide(service.state, trigger, facts)
        reason = row.reason.format(why=why) if "{why}" in row.reason else row.reason
        if row.dest is None:
            if row.unexpected:
                self._alert(f"unexpected {trigger.value}", now, reason, name)
            elif trigger is not Trigger.LEAVE:
                self._note(NoteKind.REFUSED, name, reason, by=by)
            return row
        claiming = Mark.CLAIM in row.marks and row.dest is State.START_READY
        record = self._marked(service, row, target)
        self._put(
            name,
            replace(
                service,
                record=record,
                claim_seq=0,
                claim_last_ran=service.last_ran if claiming else service.claim_last_ran,
                outranked_since=None,
            ),
        )
        self._wakes.pop(name, None)
        if row.dest is not row.state:
            self._send_now = True
        if row.dest is not row.state or row.do is not Do.NOTHING or trigger in _TOLD:
            self._note(
                NoteKind.TRANSITION,
                name,
                reason,
                source=row.state,
                dest=row.dest,
                by=by,
                evidence=evidence,
                generation=record.generation,
            )
        self._answer(name, reason)
        if row.do is not Do.NOTHING:
            self._run(name, _SCRIPT[row.do], now)
        self._dirty[name] = None
        return row

    def _marked(self, service: Service, row: Row, target: str) -> ServiceRecord:
        """The record after a row."""
        record, marks = service.record, row.marks
        assert row.dest is not None
        generation = record.generation
        if Mark.CLAIM in marks:
            heard = (e.generation for p in self._others(service) if (e := p.entries.get(service.id)) is not None)
            generation = 1 + max(record.generation, record.seen, *heard)
        last_run = generation if Mark.RUN in marks else record.last_run
        demoted = (record.demoted or Mark.DEMOTE in marks) and Mark.PROMOTE not in marks
        handover = target if Mark.HANDOVER in marks else record.handover
        return ServiceRecord(
            name=record.name,
            state=row.dest,
            generation=generation,
            last_run=last_run,
            seen=max(record.seen, last_run),
            unclean=(record.unclean or Mark.UNCLEAN in marks) and Mark.CLEAN not in marks,
            demoted=demoted,
            freeze=(record.freeze or Mark.FREEZE in marks) and Mark.THAW not in marks,
            handover=handover if demoted else "",
        )

    def _run(self, name: str, kind: ScriptKind, now: float) -> None:
        service = self.services[name]
        assert service.job is None or service.job.killed >= 3, f"two scripts of {name} at once"
        if service.job is not None:  # the last one cannot be killed: nothing is run beside it
            self._outcome(
                name, Job(-1, kind, now, now), Ended.NOT_STARTED, 0, "an earlier script cannot be killed", now
            )
            return
        self._job += 1
        config = service.config
        argv = (config.check_script,) if kind is ScriptKind.CHECK else (config.script, kind.value)
        env = {
            "EZ_SERVICE": name,
            "EZ_NODE": self.node,
            "EZ_ACTION": kind.value,
            "EZ_STATE": service.state.name,
            "EZ_GENERATION": str(service.record.generation),
            "EZ_NODES": " ".join(config.nodes),
        }
        limit = now + self._timeout(config, kind)
        self._put(name, replace(service, job=Job(self._job, kind, now, limit)))
        self._runs.append(RunScript(name, self._job, kind, argv, env))
        self._count(f"scripts_{kind.value}")

    @staticmethod
    def _timeout(config: ServiceConfig, kind: ScriptKind) -> float:
        return {
            ScriptKind.CHECK: config.check_timeout,
            ScriptKind.START: config.start_timeout,
            ScriptKind.STOP: config.stop_timeout,
            ScriptKind.STATUS: config.status_timeout,
        }[kind]

    # ---------------------------------------------------------------------------------- scripts

    def _on_script(self, event: ScriptEnded, now: float) -> None:
        service = self.services.get(event.service)
        job = service.job if service is not None else None
        if service is None or job is None or job.id != event.job:
            self._alert(
                "scripts_unexpected", now, f"a script that nobody waits for ended (job {event.job})", event.service
            )
            return
        queued = service.queued
        self._put(event.service, replace(service, job=None, queued=None))
        if job.killed < 3:  # else its outcome was settled when it was given up
            self._outcome(event.service, job, event.how, event.code, event.detail, now)
        self._dirty[event.service] = None
        if queued is not None:
            self._on_command(queued, now)

    def _outcome(self, name: str, job: Job, how: Ended, code: int, detail: str, now: float) -> None:
        """What the end of a script means to the table."""
        service = self.services[name]
        if service.pending is not None:
            self._after_pending(name, service.pending, job, how, code, now)
            return
        if service.adopting or how is Ended.LOST:
            self._put(name, replace(service, adopting=False))
            self._trigger(name, Trigger.RESTART, now)
            return
        good = how is Ended.EXITED and code == 0 and job.killed == 0
        why = _in_words(job, how, code, detail)
        if job.kind is ScriptKind.STATUS:
            self._trigger(name, self._found(service, how, code), now, why=why)
            return
        cleaning = job.kind is ScriptKind.STOP and service.state is State.STARTING
        triggers = {
            ScriptKind.CHECK: (Trigger.CHECK_PASSED, Trigger.CHECK_FAILED),
            ScriptKind.START: (Trigger.START_DONE, Trigger.START_ERROR),
            ScriptKind.STOP: (Trigger.CLEANED, Trigger.NOT_CLEANED)
            if cleaning
            else (Trigger.STOP_DONE, Trigger.STOP_ERROR),
        }[job.kind]
        self._trigger(name, triggers[0 if good else 1], now, why=why)

    @staticmethod
    def _found(service: Service, how: Ended, code: int) -> Trigger:
        """What the controller's status means: 0 up, 3 down unless configured otherwise; all else is unknown."""
        if how is Ended.EXITED and code in service.config.status_up:
            return Trigger.FOUND_UP
        if how is Ended.EXITED and code in service.config.status_down:
            return Trigger.FOUND_DOWN
        return Trigger.FOUND_UNKNOWN

    # ---------------------------------------------------------------------------------- commands

    def _on_command(self, command: Command, now: float) -> None:
        name = command.service
        service = self.services.get(name)
        if service is None:
            self._reply(command.id, name, False, "no such service on this node: see service -s")
            return
        if command.action in _WAITS:
            self._on_force(name, service, command, now)
            return
        trigger = Trigger(command.action.value)
        if service.pending is not None:
            self._reply(command.id, name, False, f"a {service.pending.action.value} is under way")
            return
        verdicts = self._verdicts(service, 1, now)
        clear = all(v.clear for v in verdicts)
        why = "; ".join(v.text for v in (verdicts if clear else [v for v in verdicts if not v.clear]))
        facts = Facts(clear=clear, busy=service.job is not None, override=command.override)
        target = ""
        if command.action is Action.SWITCH:
            target, why = self._target(service, command.target, now)
            facts = replace(facts, target_ready=bool(target))
        if service.job is not None and service.job.killed >= 3:
            self._refuse(command, f"its {service.job.kind.value} script cannot be killed: see ps")
            return
        if service.job is not None and service.job.kind is ScriptKind.STATUS:
            if service.queued is not None:
                self._refuse(command, f"a {service.queued.action.value} waits already for the controller's answer")
                return
            self._put(name, replace(service, queued=command))
            self._replies.append(Reply(command.id, name, True, "its controller is being asked", final=False))
            return
        if decide(service.state, trigger, facts).dest is not None:
            self._supersede(name, command)
            good, bad = OUTCOMES[command.action]
            waiting = Waiting(command.id, command.action, good, bad, target)
            self._put(name, replace(self.services[name], waiting=waiting))
            accepted = f"{command.action.value} accepted"
            self._replies.append(Reply(command.id, name, True, accepted, final=False))
        evidence = self._evidence(service, verdicts, now) if command.action in _LOOKS else ()
        row = self._trigger(name, trigger, now, facts, why=why, by=command.by, evidence=evidence, target=target)
        if row.dest is None:
            self._reply(command.id, name, False, row.reason.format(why=why))

    def _refuse(self, command: Command, text: str) -> None:
        self._note(NoteKind.REFUSED, command.service, text, by=command.by)
        self._reply(command.id, command.service, False, text)

    def _target(self, service: Service, wanted: str, now: float) -> tuple[str, str]:
        """The node that can take the service, and its name; or nothing, and why not."""
        if wanted == self.node:
            return ("", "it runs here already")
        if wanted and wanted not in service.config.nodes:
            return ("", f"{wanted} is not a node of this service ({', '.join(service.config.nodes)})")
        told = []
        for peer, verdict in zip(self._others(service), self._verdicts(service, 1, now), strict=True):
            if wanted and peer.name != wanted:
                continue
            entry = peer.entries.get(service.id)
            if peer.living and not peer.left and verdict.clear and entry is not None and entry.state is State.STOPPED:
                return (peer.name, peer.name)
            told.append(verdict.text if not verdict.clear else f"{peer.name} cannot take it: {verdict.text}")
        return ("", "; ".join(told))

    def _supersede(self, name: str, command: Command) -> None:
        waiting = self.services[name].waiting
        if waiting is not None:
            self._reply(waiting.command, name, False, f"given up for a later {command.action.value}")

    def _on_force(self, name: str, service: Service, command: Command, now: float) -> None:
        """force-stop and force-start: the controller is asked first, or a running script ended first."""
        if service.pending is not None:
            self._reply(command.id, name, False, f"a {service.pending.action.value} is under way")
            return
        if service.job is not None:
            if not command.override or service.job.killed >= 3:
                stuck = service.job.killed >= 3
                text = decide(service.state, Trigger(command.action.value), Facts(busy=True)).reason
                self._refuse(command, f"its {service.job.kind.value} script cannot be killed" if stuck else text)
                return
            self._put(name, replace(service, pending=command))
            self._press(name, service.job, now)
            return
        if command.action is Action.FORCE_STOP and not command.override:
            self._put(name, replace(service, pending=command))
            self._replies.append(Reply(command.id, name, True, "its controller is asked", final=False))
            self._run(name, ScriptKind.STATUS, now)
            return
        self._force(name, command, False, now)

    def _after_pending(self, name: str, command: Command, job: Job, how: Ended, code: int, now: float) -> None:
        service = self.services[name]
        self._put(name, replace(service, pending=None, adopting=False))
        asked = job.kind is ScriptKind.STATUS and not command.override
        up = asked and self._found(service, how, code) is Trigger.FOUND_UP
        self._force(name, command, up, now)

    def _force(self, name: str, command: Command, controller_up: bool, now: float) -> None:
        service = self.services[name]
        verdicts = self._verdicts(service, 1, now)
        clear = all(v.clear for v in verdicts)
        why = "; ".join(v.text for v in verdicts if not v.clear)
        facts = Facts(clear=clear, controller_up=controller_up, override=command.override)
        trigger = Trigger(command.action.value)
        allowed = decide(service.state, trigger, facts).dest is not None
        if allowed:
            why = " (--i-know)" if command.override else ""
            self._supersede(name, command)
            good, bad = OUTCOMES[command.action]
            self._put(name, replace(self.services[name], waiting=Waiting(command.id, command.action, good, bad)))
        row = self._trigger(
            name, trigger, now, facts, why=why, by=command.by, evidence=self._evidence(service, verdicts, now)
        )
        if row.dest is None:
            self._reply(command.id, name, False, row.reason.format(why=why))

    def _answer(self, name: str, reason: str) -> None:
        """Tell whoever waits for a command of this service whether it came about."""
        service = self.services[name]
        waiting = service.waiting
        if waiting is None:
            return
        if service.state in waiting.good or service.state in waiting.bad:
            self._put(name, replace(service, waiting=None))
            good = service.state in waiting.good
            self._reply(
                waiting.command, name, good, f"{service.state.name}" if good else f"{service.state.name}: {reason}"
            )
        else:
            self._replies.append(Reply(waiting.command, name, True, f"{service.state.name}: {reason}", final=False))

    def _watch_switch(self, name: str, now: float) -> None:
        """A switch ends when another node has started the service, or could not."""
        service = self.services[name]
        waiting = service.waiting
        if waiting is None or service.state is not State.STOPPED:
            return
        for peer in self._others(service):
            entry = peer.entries.get(service.id)
            if entry is None or not peer.living or entry.generation <= service.record.last_run:
                continue
            if entry.state in (State.STARTED, State.FROZEN_START):
                self._put(name, replace(service, waiting=None))
                good = peer.name == waiting.target
                self._reply(waiting.command, name, good, f"{entry.state.name} on {peer.name}")
                return
            if entry.state in (State.START_FAILED, State.STOP_FAILED):
                self._put(name, replace(service, waiting=None))
                self._reply(waiting.command, name, False, f"{entry.state.name} on {peer.name}")
                return

    # ---------------------------------------------------------------------------------- telling

    def _reply(self, command: str, service: str, ok: bool, text: str) -> None:
        self._replies.append(Reply(command, service, ok, text))

    def _note(
        self,
        kind: NoteKind,
        service: str,
        text: str,
        *,
        source: State | None = None,
        dest: State | None = None,
        by: str = "ezha",
        evidence: tuple[str, ...] = (),
        generation: int = 0,
    ) -> None:
        self._notes.append(Note(kind, service, text, source, dest, by, evidence, generation))

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    def _alert(self, key: str, now: float, text: str, service: str = "") -> None:
        """Something unexpected: counted always, told once a minute for each kind."""
        self._count(key.split(" ")[0] if key.startswith("both_hold") else key.replace(" ", "_"))
        if now - self._alerted.get(key, float("-inf")) >= ALERT_AGAIN_S:
            self._alerted[key] = now
            self._note(NoteKind.ALERT, service, text)


_TOLD = frozenset(
    {Trigger.FOUND_UP, Trigger.FOUND_DOWN, Trigger.FOUND_UNKNOWN, Trigger.FORCE_STOP, Trigger.FORCE_START}
)
"""Told to the history even where the state stays."""
_LOOKS = frozenset({Action.START, Action.FREEZE_START, Action.SWITCH})
"""Commands that rest on evidence about other nodes."""


def _in_words(job: Job, how: Ended, code: int, detail: str) -> str:
    """How a script ended, for people."""
    told = {
        Ended.EXITED: f"the {job.kind.value} script exited with {code}",
        Ended.KILLED: f"the {job.kind.value} script was killed by signal {code}",
        Ended.NOT_STARTED: f"the {job.kind.value} script could not be run",
        Ended.LOST: f"the {job.kind.value} script ended, nobody saw how",
    }[how]
    if job.killed:
        told = f"the {job.kind.value} script did not end in time"
    return f"{told} ({detail})" if detail else told
