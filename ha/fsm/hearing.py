"""Messages: what a peer's heartbeat changes here, and what ours says.

A message of a stranger, of another cluster, an old or a repeated one changes nothing, and is counted.
"""

from collections.abc import Mapping
from dataclasses import replace

from ha.fsm import original
from ha.fsm.commands import Commands
from ha.fsm.events import MessageReceived, NoteKind
from ha.fsm.evidence import holds
from ha.fsm.freshness import BELIEVED_COUNTER
from ha.fsm.identity import node_id
from ha.fsm.message import Ack, Handover, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.peers import Heard, Peer, frozen_in
from ha.fsm.service import Service
from ha.fsm.states import State

LOOK_S = 0.002
"""After a claim was sent, so long what arrives is listened to before it may be settled: claim, then look."""


class Hearing(Commands):
    """Takes messages in, and makes our own."""

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
        peer = self.peers[sender]
        if original.is_original(peer):
            message = original.placed(message, peer, event.path.index, self._generations())
        self._take_in(peer, message, event, now)

    def _generations(self) -> dict[int, int]:
        """By service, the highest generation of a run that is known here."""
        return {s.id: max(s.record.generation, s.record.last_run, s.record.seen) for s in self.services.values()}

    def _take_in(self, peer: Peer, message: Heartbeat, event: MessageReceived, now: float) -> None:
        before, was_silent, acked = peer.entries, peer.silent, peer.acknowledgement(self.id, self.incarnation)
        first = peer.newest is None or peer.newest.incarnation != message.incarnation
        path = peer.paths[event.path.index]
        was_up, had_left, newest = path.up, peer.left, peer.newest
        told = newest.timeout_ms if newest is not None else peer.before.timeout_ms if peer.before is not None else 0
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
        self._prove(peer)
        if heard is not Heard.NEWER:
            return
        if first or was_silent:
            self._send_now = True  # so that it soon has our acknowledgement
            again = "is heard again" if was_silent and not first else f"is heard ({original.life(peer)})"
            self._note(NoteKind.PEER, "", f"{peer.name} {again}", evidence=tuple(peer.describe_paths(now)))
            self._mark(self._neighbours[peer.name])
        self._check_own_incarnation(peer, now)
        frozen = peer.entries is not before and not frozen_in(peer.entries) <= frozen_in(before)
        if frozen or message.timeout_ms != told:
            self._bumped = True  # on record before our acknowledgement says that it is known
        if peer.name in self._uncompared:
            self._uncompared.discard(peer.name)
            self._compare(peer, {}, now)
        elif peer.entries is not before:
            self._compare(peer, before, now)
        if message.left != had_left or (newest is not None and _differ(newest, message)):
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
                if name not in self._held:
                    continue
            record = service.record
            if entry.generation > record.seen:
                record = replace(record, seen=entry.generation)
            # STARTING is not enough: what a check script looks at may be withdrawn yet.
            taken = holds(entry) and entry.state is not State.STARTING and entry.generation > record.last_run
            if taken and (record.demoted or record.handover):
                record = replace(record, demoted=False, handover="")  # it has been taken: the stop's mark has served
            if record is not service.record:
                self._put(name, replace(service, record=record))
            mine = service.entry()
            if holds(entry) and holds(mine) and service.state is not State.UNKNOWN:
                text = f"it is {service.state.name} here and {entry.state.name} on {peer.name}: both may run it"
                self._alert(f"both_hold {name}", now, text, name)
                if self.config.stop_lowest_rank and service.lapsed_at is None and self._outdone(service, entry, peer):
                    self._lapse(name, now, f"{text}, and {peer.name} ranks higher (split_brain stop-lowest-rank)", now)
                    continue
            taken = entry.generation > mine.generation and (holds(entry) or entry.state is State.START_READY)
            if taken and name in self._held and service.lapsed_at is None:
                # Rule 3: whoever claims with evidence has seen our lease end.
                why = f"{peer.name} is {entry.state.name} in generation {entry.generation}, ours is {mine.generation}"
                self._lapse(name, now, f"the lease has lapsed: {why}", now)

    def _outdone(self, service: Service, entry: ServiceEntry, peer: Peer) -> bool:
        """Of two runs the one of the later generation stays, then the one of the node that comes first."""
        ours = (-service.entry().generation, self._order(service, self.node))
        return (-entry.generation, self._order(service, peer.name)) < ours

    def _check_own_incarnation(self, peer: Peer, now: float) -> None:
        """A peer that has seen a later life of ours than this one: we were reinstalled or restored. Go above it."""
        ack = peer.ack_of(self.id)
        if ack is not None:
            self._rise_above(ack.incarnation, f"{peer.name} has seen")

    def _rise_above(self, life: Incarnation, who: str) -> None:
        """Where ``life`` is a later one of this node than the present one, the others would refuse us: go above it."""
        if life == self.incarnation or not self.incarnation.counter <= life.counter <= BELIEVED_COUNTER:
            return
        self.incarnation = Incarnation(life.counter + 1, self.incarnation.nonce)
        self.seq = 0
        self.outgoing.clear()
        self._unproven_until.clear()
        self._shared.clear()
        self._see_devices()
        self._bumped = self._send_now = True
        for name in self._claims:
            self._put(name, replace(self.services[name], claim_seq=0))
        text = f"{who} a later incarnation of this node: ours is now {self.incarnation.counter}"
        self._note(NoteKind.PEER, "", text)

    def _message(self, now: float) -> Heartbeat:
        if self._entries is None:
            told = (s.entry(self.leaving) for s in self.services.values())
            self._entries = tuple(sorted(told, key=lambda e: e.id))
        self.seq += 1
        if self.leases:
            self.outgoing.add(self.seq, now, now - self._longest_lease)
        for name in [*self._claims, *self._freezing]:
            service = self.services[name]
            if service.claim_seq == 0:
                saw = original.seen(self._others(service)[0], service.id)
                self._put_quietly(name, replace(service, claim_seq=self.seq, claimed_at=now, claim_saw=saw))
                self._wakes[name] = now + LOOK_S
        acks = [
            Ack(node_id(p.name), life, tuple(path.seq for path in p.paths))
            for p in self.peers.values()
            if (life := p.life) is not None and not original.is_original(p)
        ]
        handovers = [Handover(s.id, node_id(s.record.handover)) for s in self.services.values() if s.record.handover]
        return Heartbeat(
            cluster=self.config.cluster_id,
            node=self.id,
            incarnation=self.incarnation,
            seq=self.seq,
            promise=self.promise,
            standing=all(lease.standing for lease in self.leases.values()),
            left=self.left,
            timeout_ms=round(self.config.timeout_of(self.node) * 1000),
            lease_ms=min((round(lease.timing.lease * 1000) for lease in self.leases.values()), default=0),
            paths_digest=self._paths_digest,
            services=self._entries,
            acks=tuple(sorted(acks, key=lambda a: a.node)),
            handovers=tuple(handovers),
        )


def _differ(one: Heartbeat, other: Heartbeat) -> bool:
    """In what a verdict on their sender rests on, beside what they say of services and acknowledge."""
    return (
        one.paths_digest != other.paths_digest
        or one.timeout_ms != other.timeout_ms
        or one.promise != other.promise
        or one.handovers != other.handovers
    )
