"""Who starts a service: the claim, its settlement, and who withdraws (docs/design.md, "Who may run", rules 1 and 2)."""

from dataclasses import replace

from ha.fsm import original
from ha.fsm.events import FenceNode, NoteKind
from ha.fsm.evidence import Standing, Verdict
from ha.fsm.lapse import Lapses
from ha.fsm.rank import claim_rank, outranks
from ha.fsm.service import Service
from ha.fsm.states import State
from ha.fsm.table import Trigger

FENCE_AGAIN_S = 10.0
"""A fencing that did not succeed is tried again after this, then twice as long, and so on."""
FENCE_AGAIN_MOST_S = 300.0


class Claims(Lapses):
    """Looks at each service that something happened to, and decides whether to claim, go ahead or yield."""

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

    @property
    def _listens_until(self) -> float:
        """Before this nothing is claimed unasked: the administrator wants the paths to come up first."""
        return self.started_at + self.config.talk_delay

    def _consider_claim(self, name: str, service: Service, now: float) -> None:
        if now < self._listens_until:
            self._wakes[name] = self._listens_until
            return
        if self.no_standing(name):
            return
        verdicts = self._verdicts(service, 1, now)
        if not all(v.clear for v in verdicts):
            self._seek(name, verdicts, now)
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
        operator sent it, if that node is there to take it, and has not been told to stop it since."""
        since = now if service.outranked_since is None else service.outranked_since
        target = self._handover_target(service)
        sent_here = target == self.node and not service.record.demoted
        for peer in self._others(service):
            entry = peer.entries.get(service.id)
            if not peer.living or peer.left or entry is None or entry.state is not State.STOPPED or sent_here:
                continue
            sent, mine = peer.name == target and not entry.demoted, service.entry()
            if not sent and not outranks(mine, self._order(service, self.node), entry, self._order(service, peer.name)):
                continue
            grace = 0.1 + 3 * max(self.period, self.config.period_of(peer.name))
            if original.is_original(peer):
                grace = original.SENT_COURTESY_S if sent or service.record.demoted else original.COURTESY_S
            if sent or service.record.demoted:
                grace = max(grace, peer.timeout)
            if now < since + grace:
                return (f"{peer.name} is given time to take it", since + grace)
        return ("", 0.0)

    def _consider_settling(self, name: str, service: Service, now: float) -> None:
        """Rule 2: go ahead once every other node has seen the claim and does not claim or hold, or is silent."""
        if any(original.is_original(peer) for peer in self._others(service)):
            if service.claim_seq:
                self._look_twice(name, service, now)
            else:
                self._send_now = True
            return
        verdicts = self._verdicts(service, service.claim_seq, now)
        for peer, verdict in zip(self._others(service), verdicts, strict=True):
            if verdict.standing is Standing.CLAIMS:
                mine = claim_rank(service.entry(), self._order(service, self.node))
                theirs = claim_rank(peer.entries[service.id], self._order(service, peer.name))
                if theirs < mine:
                    self._yield(name, f"{verdict.text}, and ranks higher", verdicts, now)
                    return
            elif verdict.standing in (Standing.HOLDS, Standing.UNEQUAL):
                self._yield(name, verdict.text, verdicts, now)
                return
        if service.claim_seq == 0:
            self._send_now = True
            return
        if self.no_standing(name):
            return
        if not all(v.clear for v in verdicts):
            self._seek(name, verdicts, now)
        else:
            self._settle(name, verdicts, now)

    def _look_twice(self, name: str, service: Service, now: float) -> None:
        """A claim against an original node, which answers nothing: it is given the time that its own claims take."""
        until = service.claimed_at + original.GRACE_S
        if now < until:
            self._wakes[name] = until
            return
        verdicts = self._verdicts(service, service.claim_seq, now)
        (peer,), (verdict,) = self._others(service), verdicts
        first = self._order(service, self.node) == 0
        why = original.objection(first, service.claim_saw, original.seen(peer, service.id), verdict)
        if why:
            self._yield(name, why, verdicts, now)
        elif verdict.standing in (Standing.CLEAR, Standing.CLAIMS):
            self._settle(name, verdicts, now)
        else:
            self._seek(name, verdicts, now)

    def _settle(self, name: str, verdicts: list[Verdict], now: float) -> None:
        why = "the claim is settled: " + "; ".join(v.text for v in verdicts)
        self._trigger(name, Trigger.SETTLED, now, why=why, evidence=self._evidence(self.services[name], verdicts, now))

    def _seek(self, name: str, verdicts: list[Verdict], now: float) -> None:
        """What is missing: the end of a time in which silence is not believed, or a fencing."""
        service = self.services[name]
        unheard = [p.not_before for p in self._others(service) if p.silent and p.not_before > now]
        if unheard:
            self._wakes[name] = min(unheard)
        self._seek_fencing(service, verdicts, now)

    def _seek_fencing(self, service: Service, verdicts: list[Verdict], now: float) -> None:
        """Where nothing but the fencing of silent nodes is missing, it is asked for, and again after a while."""
        if not service.config.by_fencing or any(not v.clear and v.standing is not Standing.UNPROVEN for v in verdicts):
            return
        name = service.record.name
        due = self._wakes.get(name, float("inf"))
        for verdict in verdicts:
            if not verdict.clear:
                again = self._fencing.get(verdict.node, (0.0, 0))
                if now >= again[0]:
                    tries = again[1] + 1
                    until = now + min(FENCE_AGAIN_S * 2 ** (tries - 1), FENCE_AGAIN_MOST_S)
                    self._fencing[verdict.node] = (until, tries)
                    self._fences.append(FenceNode(verdict.node, verdict.text))
                    self._note(NoteKind.PEER, "", f"{verdict.node} is to be fenced: {verdict.text}")
                due = min(due, self._fencing[verdict.node][0])
                self._wakes[name] = due

    def _yield(self, name: str, why: str, verdicts: list[Verdict], now: float) -> None:
        evidence = self._evidence(self.services[name], verdicts, now)
        self._trigger(name, Trigger.YIELD, now, why=why, evidence=evidence)

    def waits_for(self, name: str, now: float) -> str:
        """Why nothing happens to a service at present, in one sentence; empty where nothing is waited for."""
        service = self.services[name]
        if service.job is not None:
            stuck = ", which cannot be killed" if service.job.killed >= 3 else ""
            return f"its {service.job.kind.value} script runs for {now - service.job.started:.1f} s{stuck}"
        if service.state is State.STOPPED:
            if self.leaving:
                return "this node leaves the cluster"
            if now < self._listens_until:
                return f"the paths are given {self.config.talk_delay:g} s after the start of nmond (talk_delay)"
            unclear = [v.text for v in self._verdicts(service, 1, now) if not v.clear]
            return self.no_standing(name) or "; ".join(unclear) or self._defers(service, now)[0]
        if service.state is State.START_READY:
            left = service.claimed_at + original.GRACE_S - now
            if left > 0 and any(original.is_original(peer) for peer in self._others(service)):
                return f"the claim is shown to the OpenHA node for {left:.1f} s more"
            verdicts = self._verdicts(service, max(service.claim_seq, 1), now)
            return self.no_standing(name) or "; ".join(v.text for v in verdicts if not v.clear)
        if service.state in (State.FROZEN_STOP, State.FROZEN_START):
            return "frozen: an operator must unfreeze it"
        if service.state in (State.START_FAILED, State.STOP_FAILED):
            return "failed: mend it, then freeze-stop and unfreeze"
        if service.state is State.UNKNOWN:
            return "its state here could not be read: start, stop or force-stop it"
        return ""

    def _watch_switch(self, name: str, now: float) -> None:
        """A switch ends when another node has started the service, or could not."""
        service = self.services[name]
        waiting = service.waiting
        if waiting is None or service.state is not State.STOPPED:
            return
        said = {p.name: p.entries[service.id] for p in self._others(service) if p.living and service.id in p.entries}
        good, text = False, ""
        for node, entry in said.items():
            if entry.state in (State.STARTED, State.FROZEN_START):
                # Of whatever generation: one that is not newer ran beside ours, and nobody waits for another.
                good, text = node == waiting.target, f"{entry.state.name} on {node}"
                break
        else:
            if any(entry.state in (State.STARTING, State.STOPPING) for entry in said.values()):
                return  # what comes of that is told soon
            for node, entry in said.items():
                failed = entry.state in (State.START_FAILED, State.STOP_FAILED)
                if failed and entry.generation > service.record.last_run:  # else it is of long ago
                    text = f"{entry.state.name} on {node}"
            if not text and (barring := self._barring(service, now)):
                text = f"it is stopped here, and nobody may start it: {barring}"
        if text:
            self._put(name, replace(service, waiting=None))
            self._reply(waiting.command, name, good, text)
