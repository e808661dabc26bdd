"""What the hunt has found in the engine: each story, shrunk, ends well now, and without its guard as it did then."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ha.fsm import evidence, hearing
from ha.fsm.claims import Claims
from ha.fsm.commands import Commands
from ha.fsm.conduct import Conduct
from ha.fsm.config import ClusterConfig
from ha.fsm.engine import Engine
from ha.fsm.events import ConfigChanged, Event, Note, OwnSlot, Reply, SlotRead, SlotView
from ha.fsm.evidence import Terms, Verdict
from ha.fsm.freshness import LastHeard
from ha.fsm.lapse import Lapses
from ha.fsm.lease import NEVER, Outgoing
from ha.fsm.ledger import Ledger
from ha.fsm.message import ServiceEntry
from ha.fsm.peers import Peer
from ha.fsm.record import ServiceRecord
from ha.fsm.service import Service
from ha.fsm.standing import Standings
from ha.fsm.table import Row, Trigger
from ha.node.driver import Driver
from ha.simulation.history import run
from ha.simulation.plan import Plan, parse_plan
from ha.simulation.settings import Setting

FOUND = Path(__file__).parent / "found"
Patch = pytest.MonkeyPatch


def _forget_strays(patch: Patch) -> None:
    made = Engine.__init__

    def init(self: Engine, *args: object, **more: object) -> None:
        made(self, *args, **more)  # type: ignore[arg-type]
        self._strays = {}

    patch.setattr(Engine, "__init__", init)


def _forget_the_loss(patch: Patch) -> None:
    made = Engine.__init__

    def init(self: Engine, *args: object, **more: object) -> None:
        made(self, *args, **more)  # type: ignore[arg-type]
        self._lost = False

    patch.setattr(Engine, "__init__", init)


def _no_second_look(patch: Patch) -> None:
    patch.setattr(Conduct, "_look_again", lambda self, name, now: self._trigger(name, Trigger.CHECK_PASSED, now))


def _beside_what_is_left(patch: Patch) -> None:
    patch.setattr(Commands, "_left_over", staticmethod(lambda service, row: None))


def _any_message_of_this_life_proves_the_disk(patch: Patch) -> None:
    patch.setattr(Outgoing, "newest", lambda self, index: 0)
    on_read = Standings._on_read

    def read(self: Standings, event: SlotRead, now: float) -> None:
        on_read(self, replace(event, view=SlotView.SAME) if event.view is SlotView.EMPTY else event, now)

    patch.setattr(Standings, "_on_read", read)


def _a_lapse_has_the_time_of_the_new_configuration(patch: Patch) -> None:
    patch.setattr(
        Lapses, "_hard_deadline", lambda self, name: self._covers[name].timing.margin + _lapsed_at(self, name)
    )


def _lapsed_at(engine: Lapses, name: str) -> float:
    at = engine.services[name].lapsed_at
    return engine._covers[name].until if at is None else at


def _what_is_not_configured_is_not_run(patch: Patch) -> None:
    judge = evidence._judge

    def judged(peer: Peer, entry: ServiceEntry | None, acked: int, needed: int, now: float, terms: Terms) -> Verdict:
        if entry is None and peer.silent:
            return evidence._of_silence(peer, entry, now, terms)
        return judge(peer, entry, acked, needed, now, terms)

    patch.setattr(evidence, "_judge", judged)


def _what_this_life_writes_proves_the_disk_to_the_next(patch: Patch) -> None:
    _our_last_message_is_proof_enough(patch)
    patch.setattr(Standings, "_doubt", lambda self, device: None)


def _our_last_message_is_proof_enough(patch: Patch) -> None:
    opened = Standings._on_own_slot

    def proven(self: Standings, event: OwnSlot) -> None:
        opened(self, event)
        for index in list(self._recalled):
            del self._recalled[index]
            self._share(index)

    patch.setattr(Standings, "_on_own_slot", proven)


def _only_the_text_of_the_line_is_doubted(patch: Patch) -> None:
    _our_last_message_is_proof_enough(patch)

    def doubt(self: Standings, device: str) -> None:
        texts = {p.text for p in self.config.paths_of(self.node) if p.device == device}
        self._bumped = self._bumped or bool(texts & self._shared_now)
        self._shared_once -= texts
        self._shared_now -= texts

    patch.setattr(Standings, "_doubt", doubt)


def _what_was_opened_unproven_is_forgotten(patch: Patch) -> None:
    _our_last_message_is_proof_enough(patch)
    opened = Standings._on_own_slot

    def first(self: Standings, event: OwnSlot) -> None:
        if event.index not in self._shared:
            self._opened.clear()
        opened(self, event)

    patch.setattr(Standings, "_on_own_slot", first)


def _a_failed_stop_ends_a_freeze(patch: Patch) -> None:
    marked = Conduct._marked

    def thawed(self: Conduct, service: Service, row: Row, target: str) -> ServiceRecord:
        record = marked(self, service, row, target)
        return replace(record, freeze=False) if row.trigger is Trigger.STOP_ERROR else record

    patch.setattr(Conduct, "_marked", thawed)


def _an_end_that_was_not_written_is_forgotten(patch: Patch) -> None:
    rollback = Engine.rollback

    def back(self: Engine, now: float) -> None:
        rollback(self, now)
        for name, service in self.services.items():
            if service.job is not None:
                self.services[name] = replace(service, job=replace(service.job, over=False))

    patch.setattr(Engine, "rollback", back)


def _fenced_for_ever(patch: Patch) -> None:
    patch.setattr(Standings, "_forget_fenced", lambda self: None)


def _only_states_call_for_a_decision(patch: Patch) -> None:
    patch.setattr(hearing, "_differ", lambda one, other: False)


def _only_the_number_of_the_last_message_is_kept(patch: Patch) -> None:
    last_heard = Peer.last_heard

    def kept(self: Peer, names: Mapping[int, str]) -> LastHeard | None:
        last = last_heard(self, names)
        return last and replace(last, frozen=())

    patch.setattr(Peer, "last_heard", kept)


def _whoever_it_is_sent_to_takes_it(patch: Patch) -> None:
    defers = Claims._defers

    def deaf(self: Claims, service: Service, now: float) -> tuple[str, float]:
        return defers(self, replace(service, record=replace(service.record, demoted=False)), now)

    patch.setattr(Claims, "_defers", deaf)


def _what_was_foreign_may_be_empty(patch: Patch) -> None:
    on_read = Standings._on_read

    def forget(self: Standings, event: SlotRead, now: float) -> None:
        for path in self.peers[event.path.node].paths:
            if event.view is SlotView.EMPTY:
                path.foreign = float("-inf")
        on_read(self, event, now)

    patch.setattr(Standings, "_on_read", forget)


def _a_configuration_is_tried_again(patch: Patch) -> None:
    later = Driver._later

    def again(self: Driver, event: Event, notes: Iterable[Note], now: float) -> None:
        later(self, event, notes, now)
        if isinstance(event, ConfigChanged):
            self._again.append(event)
            self._again_at = now + 1.0

    patch.setattr(Driver, "_later", again)


def _reckoned_with_the_timeout_of_today(patch: Patch) -> None:
    """The end of the lease is handed on, by the T of then, and the deadline follows from it by the T of now."""
    set_leases = Standings._set_leases

    def reckon(self: Standings, now: float, ended: float = NEVER) -> None:
        set_leases(self, now, ended)
        for lease in self.leases.values():
            lease.until += lease.timing.margin / 2
            lease.standing = lease.until > now

    patch.setattr(Standings, "_set_leases", reckon)


def _listens_as_long_as_it_meant_to(patch: Patch) -> None:
    configure = Engine._configure

    def longer(self: Engine, config: ClusterConfig, now: float) -> None:
        before = {peer.name: peer.not_before for peer in self.peers.values()}
        configure(self, config, now)
        for peer in self.peers.values():
            peer.not_before = before.get(peer.name, peer.not_before)

    patch.setattr(Engine, "_configure", longer)


def _whoever_asked_is_answered(patch: Patch) -> None:
    def reply(self: Ledger, command: str, service: str, ok: bool, text: str, *, final: bool = True) -> None:
        self._replies.append(Reply(command, service, ok, text, final))

    patch.setattr(Ledger, "_reply", reply)


GUARDS: dict[str, tuple[Callable[[Patch], None], str]] = {
    "left-the-configuration": (_forget_strays, "physically up on"),
    "record-lost-while-not-configured": (_forget_the_loss, "physically up on"),
    "heard-again-during-the-check": (_no_second_look, "physically up on"),
    "longer-timeout-in-a-lapse": (_a_lapse_has_the_time_of_the_new_configuration, "physically up on"),
    "left-the-configuration-under-a-lease": (_what_is_not_configured_is_not_run, "physically up on"),
    "fenced-before-the-boot": (_fenced_for_ever, "physically up on"),
    "another-disk-under-its-name": (_any_message_of_this_life_proves_the_disk, "physically up on"),
    "its-own-message-on-its-own-disk": (_what_this_life_writes_proves_the_disk_to_the_next, "starts without a lease"),
    "another-disk-while-the-line-differs": (_only_the_text_of_the_line_is_doubted, "starts without a lease"),
    "a-doubt-that-could-not-be-written": (_our_last_message_is_proof_enough, "starts without a lease"),
    "two-disks-in-one-life": (_what_was_opened_unproven_is_forgotten, "starts without a lease"),
    "frozen-before-the-stop-failed": (_a_failed_stop_ends_a_freeze, "starts where it is frozen"),
    "ended-while-the-disk-was-full": (_an_end_that_was_not_written_is_forgotten, "signals a script that ended"),
    "made-equal-again": (_only_states_call_for_a_decision, "runs on 0 nodes, not on one"),
    "frozen-and-its-last-message-lost": (_only_the_number_of_the_last_message_is_kept, "physically up on"),
    "stopped-where-it-was-sent": (_whoever_it_is_sent_to_takes_it, "takes back what an operator has just had stopped"),
    "torn-slot-and-another-disk": (_what_was_foreign_may_be_empty, "after its lease ended"),
    "configured-while-the-disk-was-full": (_a_configuration_is_tried_again, "nmond fails"),
    "killed-before-a-longer-timeout": (_reckoned_with_the_timeout_of_today, "physically up on"),
    "paused-before-a-shorter-timeout": (_listens_as_long_as_it_meant_to, "too late"),
    "asked-before-the-hand-over": (_whoever_asked_is_answered, "an answer to nobody"),
    "beside-a-left-over-script": (_beside_what_is_left, "two scripts of"),
}


def plan_of(name: str) -> Plan:
    text = (FOUND / f"{name}.scenario").read_text()
    setting = Setting.parse(next(line for line in text.splitlines() if line.startswith("setting "))[8:])
    nodes = [f"node{i + 1}" for i in range(setting.nodes)]
    services = [f"svc{i + 1}" for i in range(setting.services)]
    return parse_plan(text, nodes, services, f"{name}.scenario")


def test_every_story_has_its_guard() -> None:
    assert sorted(p.stem for p in FOUND.iterdir()) == sorted(GUARDS)


@pytest.mark.parametrize("name", GUARDS)
def test_the_story_ends_well(name: str) -> None:
    findings = run(plan_of(name)).findings
    assert not findings.safety and not findings.liveness


@pytest.mark.parametrize("name", GUARDS)
def test_without_its_guard_it_does_not(name: str, monkeypatch: Patch) -> None:
    remove, harm = GUARDS[name]
    remove(monkeypatch)
    findings = run(plan_of(name)).findings
    assert any(harm in text for text in (*findings.safety, *findings.liveness))
