"""Guards of the production code, taken away one at a time: what the hunt is worth is what it catches of these.

Each bug replaces one function, row or constant of the engine, the driver, the store or the codec for as long as its
context lasts; the production code knows nothing of it. ``python -m tests.simulation.planted`` searches, for each bug,
for the first seed whose history shows it, and records it in ``planted.toml``, which ``test_planted`` checks.
"""

import argparse
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ha.fsm import claims, conduct, engine, peers, sight
from ha.fsm import config as fsm_config
from ha.fsm.events import Command, Effects, Event
from ha.fsm.evidence import Standing, Terms, Verdict, judge
from ha.fsm.identity import service_id
from ha.fsm.machine import decide
from ha.fsm.message import Heartbeat, Incarnation
from ha.fsm.peers import Heard, Peer
from ha.fsm.record import ServiceRecord
from ha.fsm.service import Job, Service
from ha.fsm.states import State
from ha.fsm.table import Do, Mark, Row, Trigger
from ha.heartbeats import codec
from ha.node import beginning, driver, store
from ha.simulation import ezha
from ha.simulation.history import Outcome, run
from ha.simulation.shrink import harms
from tests.simulation import planted_lease  # noqa: F401 (its bugs are among them)
from tests.simulation.plants import BUGS, Bug, bug, deciding, instead, judging, row, taking_for_clear

RECORD = Path(__file__).with_name("planted.toml")
SEEDS = 1000
"""A bug that no history of so many shows is not caught."""

# ------------------------------------------------------------------------------------- the driver and the store


@bug("persist-after-script", "the script is launched first, and its state goes to the disk afterwards")
def _persist_after_script() -> Iterator[None]:
    do, launch = driver.Driver._do, ezha.Nmond._launch

    def late(self: driver.Driver, effects: Effects, event: Event | None) -> None:
        for script in effects.run:
            launch(self._world, script)  # type: ignore[arg-type]
        do(self, replace(effects, run=()), event)

    with instead(driver.Driver, "_do", late):
        yield


@bug("persist-not", "nothing is written after the start")
def _persist_not() -> Iterator[None]:
    persisted = driver.Driver._persisted

    def never(self: driver.Driver, event: Event | None, urgent: bool) -> bool:
        return persisted(self, event, urgent) if event is None else True

    with instead(driver.Driver, "_persisted", never):
        yield


@bug("persist-error-ignored", "a record that could not be written counts as written", "store", "order", "kill")
def _persist_error_ignored() -> Iterator[None]:
    save = store.Store.save

    def careless(self: store.Store, *args: Any) -> None:
        try:
            save(self, *args)
        except OSError:
            pass

    with instead(store.Store, "save", careless):
        yield


@bug("persist-not-durable", "the record is not synced: a power cut takes it away")
def _persist_not_durable() -> Iterator[None]:
    def save(self: store.Store, record: Any, boot_id: str) -> None:
        self._make_folder(self._layout.states, durable=True)
        data = self._encoder.encode(record, boot_id)
        self._files.write_atomic(self._layout.record, data, durable=False, mode=0o600)

    with instead(store.Store, "save", save):
        yield


@bug("message-before-persist", "the heartbeat leaves before the record is on the disk")
def _message_before_persist() -> Iterator[None]:
    do, hand_over = driver.Driver._do, ezha.Nmond._hand_over

    def hasty(self: driver.Driver, effects: Effects, event: Event | None) -> None:
        if effects.send is not None:
            self._world.send(effects.send)
            hand_over(self._world)  # type: ignore[arg-type]
        do(self, replace(effects, send=None), event)

    with instead(driver.Driver, "_do", hasty):
        yield


@bug("no-rollback", "a step that could not be persisted is not taken back", "store", "order", "power")
def _no_rollback() -> Iterator[None]:
    with instead(engine.Engine, "rollback", lambda self, now: None):
        yield


@bug("no-second-try", "a script's end that could not be persisted is forgotten", "store", "order", "script")
def _no_second_try() -> Iterator[None]:
    later = driver.Driver._later

    def forgetful(self: driver.Driver, event: Event, *rest: Any) -> None:
        if isinstance(event, Command):
            later(self, event, *rest)

    with instead(driver.Driver, "_later", forgetful):
        yield


@bug("state-file-stale", "STATE of a service is written once, and never again")
def _state_file_stale() -> Iterator[None]:
    export = store.Store.export_remote

    def once(self: store.Store, name: str, node: str, state: State) -> None:
        if (name, node) not in self._exported:
            export(self, name, node, state)

    with instead(store.Store, "export_remote", once):
        yield


@bug("damage-taken-for-new", "a record that cannot be read is a new installation", "store", "kill")
def _damage_taken_for_new() -> Iterator[None]:
    with instead(store, "_unreadable", lambda *told: store.Loaded(None, boot=False, problems=tuple(told))):
        yield


@bug("unreadable-is-stopped", "what the record cannot tell is STOPPED", "store", "kill", "order")
def _unreadable_is_stopped() -> Iterator[None]:
    configure = engine.Engine._configure

    def hopeful(self: engine.Engine, *args: Any) -> None:
        configure(self, *args)
        for name, each in self.services.items():
            if each.state is State.UNKNOWN:
                self.services[name] = replace(each, record=replace(each.record, state=State.STOPPED))

    with instead(engine.Engine, "_configure", hopeful):
        yield


@bug("boot-not-seen", "after a boot nmond goes on as after a restart", "power", "script", "order")
def _boot_not_seen() -> Iterator[None]:
    load = store.Store.load
    with instead(store.Store, "load", lambda self, boot_id: replace(load(self, boot_id), boot=False)):
        yield


@bug("restart-is-boot", "every start of nmond counts as a boot of the machine")
def _restart_is_boot() -> Iterator[None]:
    load = store.Store.load
    with instead(store.Store, "load", lambda self, boot_id: replace(load(self, boot_id), boot=True)):
        yield


@bug("incarnation-not-raised", "a new nmond goes on with the old one's incarnation")
def _incarnation_not_raised() -> Iterator[None]:
    with instead(beginning, "Incarnation", lambda counter, nonce: Incarnation(max(counter - 1, 1), nonce)):
        yield


# ---------------------------------------------------------------------------------------------- the claim


@bug("settled-without-ack", "a claim is settled though nobody has answered it")
def _settled_without_ack() -> Iterator[None]:
    def hasty(peer: Peer, service: int, acknowledged: int, needed: int, now: float, terms: Terms) -> Verdict:
        return judge(peer, service, max(acknowledged, needed), needed, now, terms)

    with instead(sight, "judge", hasty):
        yield


@bug("any-ack-settles", "an answer to an earlier message of ours settles the claim")
def _any_ack_settles() -> Iterator[None]:
    def hasty(peer: Peer, service: int, acknowledged: int, needed: int, now: float, terms: Terms) -> Verdict:
        return judge(peer, service, acknowledged, 1, now, terms)

    with instead(sight, "judge", hasty):
        yield


@bug("old-ack-counts", "what an earlier incarnation of ours was answered counts for this one")
def _old_ack_counts() -> Iterator[None]:
    def acknowledgement(self: Peer, node_id: int, incarnation: Incarnation) -> int:
        ack = self.ack_of(node_id)
        return 0 if ack is None else max(ack.seqs, default=0)

    with instead(peers.Peer, "acknowledgement", acknowledgement):
        yield


@bug("no-look-after-claim", "a claim is settled by what was known before it was told")
def _no_look_after_claim() -> Iterator[None]:
    settle = claims.Claims._consider_settling

    def blind(self: claims.Claims, name: str, each: Service, now: float) -> None:
        settle(self, name, replace(each, claim_seq=each.claim_seq or 1), now)

    with instead(claims.Claims, "_consider_settling", blind):
        yield


@bug("both-go-ahead", "a claim of another node does not count against ours")
def _both_go_ahead() -> Iterator[None]:
    def bold(peer: Peer, verdict: Verdict) -> Verdict:
        return replace(verdict, standing=Standing.CLEAR) if verdict.standing is Standing.CLAIMS else verdict

    with judging(bold):
        yield


@bug("higher-goes-ahead", "the higher rank does not wait until the lower has withdrawn")
def _higher_goes_ahead() -> Iterator[None]:
    settle = claims.Claims._consider_settling

    def proud(self: claims.Claims, name: str, service: Service, now: float) -> None:
        settle(self, name, service, now)
        each = self.services[name]
        if each.state is not State.START_READY or each.claim_seq == 0:
            return
        verdicts = self._verdicts(each, each.claim_seq, now)
        if all(v.clear or v.standing is Standing.CLAIMS for v in verdicts):
            self._trigger(name, Trigger.SETTLED, now, why="planted")

    with instead(claims.Claims, "_consider_settling", proud):
        yield


@bug("rank-forgotten", "nobody withdraws: of two claims neither ranks higher", "both", "order")
def _rank_forgotten() -> Iterator[None]:
    with instead(claims, "claim_rank", lambda entry, order: (False, False, 0)):
        yield


@bug("rank-by-own-order", "each node takes itself for the first of the service's nodes", "both", "order")
def _rank_by_own_order() -> Iterator[None]:
    order = claims.Claims._order

    def selfish(self: claims.Claims, each: Service, node: str) -> int:
        return -1 if node == self.node else order(self, each, node)

    with instead(claims.Claims, "_order", selfish):
        yield


@bug("claim-not-withdrawn", "a claim stays though another node holds the service", "both", "flap", "order")
def _claim_not_withdrawn() -> Iterator[None]:
    with instead(claims.Claims, "_yield", lambda self, name, why, verdicts, now: None):
        yield


@bug("no-look-after-check", "who was heard while the check script ran is not looked at", "cut-all", "script", "power")
def _no_look_after_check() -> Iterator[None]:
    def blind(self: conduct.Conduct, name: str, now: float) -> None:
        self._trigger(name, Trigger.CHECK_PASSED, now)

    with instead(conduct.Conduct, "_look_again", blind):
        yield


@bug("generation-not-raised", "a claim's generation is not above what was seen elsewhere")
def _generation_not_raised() -> Iterator[None]:
    marked = conduct.Conduct._marked

    def modest(self: conduct.Conduct, each: Service, found: Row, target: str) -> ServiceRecord:
        record = marked(self, each, found, target)
        if Mark.CLAIM not in found.marks:
            return record
        generation = each.record.generation + 1
        ran = generation if Mark.RUN in found.marks else each.record.last_run
        return replace(record, generation=generation, last_run=ran, seen=max(each.record.seen, ran))

    with instead(conduct.Conduct, "_marked", modest):
        yield


# ------------------------------------------------------------------------------------------------- evidence


@bug("one-path-silent", "a node is silent as soon as one of its paths is, though others live")
def _one_path_silent() -> Iterator[None]:
    def silent_at(self: Peer) -> float:
        lasts = [path.last if path.last is not None else self.since for path in self.paths]
        return max(max(self.since, min(lasts, default=self.since)) + self.timeout, self.not_before)

    with instead(peers.Peer, "silent_at", property(silent_at)):
        yield


@bug("silent-before-our-start", "the silence of a node is counted from before our own start")
def _silent_before_our_start() -> Iterator[None]:
    true = peers.Peer.silent_at.fget  # type: ignore[attr-defined]

    def silent_at(self: Peer) -> float:
        return 0.0 if self.newest is None else float(true(self))

    with instead(peers.Peer, "silent_at", property(silent_at)):
        yield


@bug("own-pause-is-their-silence", "what was not heard while nmond was not scheduled counts as silence", "long-pause")
def _own_pause_is_their_silence() -> Iterator[None]:
    look = engine.Engine._look_at_own_time

    def careless(self: engine.Engine, now: float) -> None:
        self._last_step = now
        look(self, now)

    with instead(engine.Engine, "_look_at_own_time", careless):
        yield


@bug("old-sequence-accepted", "an old or repeated message is taken for news")
def _old_sequence_accepted() -> Iterator[None]:
    hear = peers.Peer.hear

    def gullible(self: Peer, message: Heartbeat, index: int, arrival: float) -> Heard:
        if self.newest is not None and message.incarnation == self.newest.incarnation:
            self.paths[index].seq = 0
            self.newest = replace(self.newest, seq=0)
        return hear(self, message, index, arrival)

    with instead(peers.Peer, "hear", gullible):
        yield


@bug("old-incarnation-accepted", "a message of an earlier life of a node is taken for news", "kill", "repeat", "order")
def _old_incarnation_accepted() -> Iterator[None]:
    hear = peers.Peer.hear

    def gullible(self: Peer, message: Heartbeat, index: int, arrival: float) -> Heard:
        if self.newest is not None and message.incarnation.counter < self.newest.incarnation.counter:
            self.newest = replace(self.newest, incarnation=Incarnation(0, 0))
        return hear(self, message, index, arrival)

    with instead(peers.Peer, "hear", gullible):
        yield


@bug("sequence-not-reset", "a node that begins a new life is measured by the numbers of the old one")
def _sequence_not_reset() -> Iterator[None]:
    hear = peers.Peer.hear

    def stubborn(self: Peer, message: Heartbeat, index: int, arrival: float) -> Heard:
        if message.seq <= self.paths[index].seq:
            return Heard.STALE
        return hear(self, message, index, arrival)

    with instead(peers.Peer, "hear", stubborn):
        yield


@bug("slower-copy-renews", "a copy of a message on a slower path renews the life of its sender")
def _slower_copy_renews() -> Iterator[None]:
    hear = peers.Peer.hear

    def renewing(self: Peer, message: Heartbeat, index: int, arrival: float) -> Heard:
        heard = hear(self, message, index, arrival)
        if heard is Heard.KNOWN:
            self.arrival = arrival
        return heard

    with instead(peers.Peer, "hear", renewing):
        yield


@bug("unclean-is-clean", "START_FAILED with parts that may be up is taken over", "script", "order", "power")
def _unclean_is_clean() -> Iterator[None]:
    with taking_for_clear(unclean=True):
        yield


@bug("unclean-not-told", "the codec loses the mark that parts may be up", "script", "order", "power")
def _unclean_not_told() -> Iterator[None]:
    with instead(codec, "_UNCLEAN", 0):
        yield


@bug("stop-failed-is-stopped", "STOP_FAILED is taken over", "script", "order")
def _stop_failed_is_stopped() -> Iterator[None]:
    with taking_for_clear(State.STOP_FAILED):
        yield


@bug("stopping-is-stopped", "a service whose stop script runs is taken over")
def _stopping_is_stopped() -> Iterator[None]:
    with taking_for_clear(State.STOPPING):
        yield


@bug("frozen-start-is-taken", "a silent FROZEN_START is taken over", "order", "power", "cut-all")
def _frozen_start_is_taken() -> Iterator[None]:
    def bold(peer: Peer, verdict: Verdict) -> Verdict:
        return replace(verdict, standing=Standing.CLEAR) if peer.silent else verdict

    with judging(bold):
        yield


@bug("unequal-configuration", "a service with other nodes in another order counts as the same", "configure", "order")
def _unequal_configuration() -> Iterator[None]:
    def number(self: fsm_config.ServiceConfig) -> int:
        return service_id(self.name, (), self.protection)

    with instead(fsm_config.ServiceConfig, "id", property(number)):
        yield


# ------------------------------------------------------------------------------------- what was and what is


@bug("adopted-as-stopped", "what ran when nmond restarted is declared STOPPED")
def _adopted_as_stopped() -> Iterator[None]:
    with deciding(lambda state, by, facts: decide(state, Trigger.BOOT if by is Trigger.RESTART else by, facts)):
        yield


@bug("controller-not-believed", "a start that nmond did not see end counts as done", "kill", "script", "order")
def _controller_not_believed() -> Iterator[None]:
    with row(State.STARTING, Trigger.FOUND_DOWN, dest=State.STARTED, do=Do.NOTHING):
        yield


@bug("freeze-lost-at-restart", "FROZEN_STOP becomes STOPPED when nmond restarts")
def _freeze_lost_at_restart() -> Iterator[None]:
    with row(State.FROZEN_STOP, Trigger.RESTART, dest=State.STOPPED):
        yield


@bug("freeze-lost-at-boot", "FROZEN_STOP becomes STOPPED when the machine boots")
def _freeze_lost_at_boot() -> Iterator[None]:
    with row(State.FROZEN_STOP, Trigger.BOOT, dest=State.STOPPED):
        yield


@bug("claimed-while-frozen", "FROZEN_STOP claims like STOPPED")
def _claimed_while_frozen() -> Iterator[None]:
    consider = claims.Claims._consider

    def restless(self: claims.Claims, name: str, now: float) -> None:
        each = self.services[name]
        if each.state is State.FROZEN_STOP and each.job is None:
            self._put(name, replace(each, record=replace(each.record, state=State.STOPPED)))
        consider(self, name, now)

    with instead(claims.Claims, "_consider", restless):
        yield


@bug("freeze-forgotten", "freeze-stop of a STARTED service stops it, and does not freeze it", "order", "both")
def _freeze_forgotten() -> Iterator[None]:
    marks = frozenset({Mark.DEMOTE})
    with row(State.STARTED, Trigger.FREEZE_STOP, marks=marks):
        yield


@bug("stray-forgotten", "a service that left the configuration while it ran is forgotten", "configure", "kill", "order")
def _stray_forgotten() -> Iterator[None]:
    configure = engine.Engine._configure

    def forgetful(self: engine.Engine, *args: Any) -> None:
        configure(self, *args)
        self._strays = {}

    with instead(engine.Engine, "_configure", forgetful):
        yield


# --------------------------------------------------------------------------------------------------- scripts


@bug("orphan-ignored", "a script that an earlier nmond left running is not waited for")
def _orphan_ignored() -> Iterator[None]:
    def alone(self: engine.Engine, name: str, now: float) -> None:
        self._orphans.pop(name, None)
        self._trigger(name, Trigger.RESTART, now)

    with instead(engine.Engine, "_adopt", alone):
        yield


@bug("overdue-is-over", "a script past its time counts as ended before it is", "script", "order")
def _overdue_is_over() -> Iterator[None]:
    press = conduct.Conduct._press

    def hasty(self: conduct.Conduct, name: str, job: Job, now: float) -> None:
        press(self, name, job, now)
        if job.killed == 0:
            self._put(name, replace(self.services[name], job=None))
            self._outcome(name, replace(job, killed=1), conduct.Ended.KILLED, 15, "", now)

    with instead(conduct.Conduct, "_press", hasty):
        yield


@bug("no-cleaning-stop", "a start that failed is not cleaned up", "script", "order")
def _no_cleaning_stop() -> Iterator[None]:
    marks = frozenset({Mark.CLEAN, Mark.THAW})
    with row(State.STARTING, Trigger.START_ERROR, dest=State.START_FAILED, do=Do.NOTHING, marks=marks):
        yield


@bug("cleaning-always-clean", "a cleaning stop that failed counts as done", "script", "order")
def _cleaning_always_clean() -> Iterator[None]:
    with row(State.STARTING, Trigger.NOT_CLEANED, marks=frozenset({Mark.CLEAN, Mark.THAW})):
        yield


@bug("stop-always-done", "a stop script that failed counts as done", "script", "order")
def _stop_always_done() -> Iterator[None]:
    with row(State.STOPPING, Trigger.STOP_ERROR, dest=State.STOPPED, marks=frozenset({Mark.CLEAN})):
        yield


@bug("no-check", "the start script runs without the check script")
def _no_check() -> Iterator[None]:
    with row(State.START_READY, Trigger.SETTLED, do=Do.START):
        yield


@bug("check-not-believed", "the service starts though its check script forbids it", "script", "order")
def _check_not_believed() -> Iterator[None]:
    marks = frozenset({Mark.RUN})
    with row(State.STARTING, Trigger.CHECK_FAILED, dest=State.STARTING, do=Do.START, marks=marks):
        yield


# ------------------------------------------------------------------------------------------------- operators


@bug("answered-never", "a command that a later one replaces is never answered", "order", "both")
def _answered_never() -> Iterator[None]:
    with instead(conduct.Conduct, "_supersede", lambda self, name, command: None):
        yield


@bug("answered-twice", "whoever waits for a command is told of every later change, too")
def _answered_twice() -> Iterator[None]:
    answer = conduct.Conduct._answer

    def talkative(self: conduct.Conduct, name: str, reason: str) -> None:
        waiting = self.services[name].waiting
        answer(self, name, reason)
        if waiting is not None:
            self._put(name, replace(self.services[name], waiting=waiting))

    with instead(conduct.Conduct, "_answer", talkative):
        yield


@bug("failed-persist-unanswered", "a command that could not be persisted is not answered", "store", "order", "both")
def _failed_persist_unanswered() -> Iterator[None]:
    later = driver.Driver._later

    def silent(self: driver.Driver, event: Event, *rest: Any) -> None:
        if not isinstance(event, Command):
            later(self, event, *rest)

    with instead(driver.Driver, "_later", silent):
        yield


@bug("demotion-forgotten", "what an operator stopped comes back where it was stopped", "order")
def _demotion_forgotten() -> Iterator[None]:
    marked = conduct.Conduct._marked

    def forgetful(self: conduct.Conduct, each: Service, found: Row, target: str) -> ServiceRecord:
        return replace(marked(self, each, found, target), demoted=False, handover="")

    with instead(conduct.Conduct, "_marked", forgetful):
        yield


@bug("leaves-too-early", "a node that leaves does not wait for its stop scripts", "leave", "order")
def _leaves_too_early() -> Iterator[None]:
    finish = engine.Engine._finish

    def hasty(self: engine.Engine, now: float) -> Effects:
        effects = finish(self, now)
        if not self.leaving or self.left:
            return effects
        self.left = True
        return replace(effects, send=self._message(now), left=True)

    with instead(engine.Engine, "_finish", hasty):
        yield


# ------------------------------------------------------------------------------------------------ the search


def all_harms(outcome: Outcome) -> list[str]:
    """Every kind of violation of a history, without names and numbers; empty where it is clean."""
    return [f"{'safety' if harm.safety else 'liveness'}: {harm.text}" for harm in harms(outcome)]


def shown(bug: Bug, seed: int) -> str:
    """What a history shows of a bug."""
    return (all_shown(bug, seed) or [""])[0]


def all_shown(bug: Bug, seed: int) -> list[str]:
    """Every kind of violation that a history shows of a bug, the first first."""
    with bug.plant():
        found = all_harms(run(bug.plan(seed), keep=False))
    for harm in found:
        assert "Error:" not in harm or "AssertionError" in harm, f"{bug.name} is planted wrongly: {harm}"
    return found


def search(bug: Bug, seeds: Iterable[int]) -> tuple[int, str] | None:
    """The first seed that shows it, and what it shows."""
    for seed in seeds:
        harm = shown(bug, seed)
        if harm:
            return seed, harm
    return None


def recorded() -> dict[str, tuple[int, str]]:
    """By bug: the first seed that shows it, and what it shows."""
    plain = tomllib.loads(RECORD.read_text(encoding="utf-8"))
    return {name: (entry["seed"], entry["shows"]) for name, entry in plain.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Search for the first seed that shows each planted bug.")
    parser.add_argument("bugs", nargs="*", help="names (all)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"at most so many ({SEEDS})")
    parser.add_argument("--general", action="store_true", help="draw every kind of trouble, whatever fits the bug")
    parser.add_argument("--write", action="store_true", help=f"record what is found in {RECORD.name}")
    options = parser.parse_args()
    known = recorded() if RECORD.exists() else {}
    missed = 0
    print("| guard taken away | mix | seeds | seconds | caught as |\n| --- | --- | --- | --- | --- |")
    for name in options.bugs or BUGS:
        bug = replace(BUGS[name], only=()) if options.general else BUGS[name]
        began = time.process_time()
        found = search(bug, range(options.seeds))
        missed += found is None
        took = time.process_time() - began
        seeds, harm = (f"{found[0] + 1:,}", found[1]) if found else (f"not in {options.seeds:,}", "")
        print(f"| {name}: {bug.meaning} | {bug.mix} | {seeds} | {took:.1f} | {harm} |", flush=True)
        if found:
            known[name] = found
    if options.write:
        caught = ((name, *known[name]) for name in BUGS if name in known)
        lines = (f'[{name}]\nseed = {seed}\nshows = "{harm}"\n' for name, seed, harm in caught)
        RECORD.write_text("\n".join(lines), encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
