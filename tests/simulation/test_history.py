"""A history is its plan and nothing else; and each checker can fail.

For the checkers a world is made that breaks one rule: a script, a message or an answer that no nmond should produce.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from ha.fsm.events import Command, Note, NoteKind, Reply, RunScript
from ha.fsm.message import Heartbeat
from ha.fsm.states import Action, ScriptKind, State
from ha.node.driver import Driver
from ha.simulation.history import History, Outcome, run, texts_of
from ha.simulation.mix import draw_plan
from ha.simulation.plan import Plan, PlanError, parse_fault, parse_plan
from ha.simulation.trace import Kind
from tests.simulation.planted import BUGS

TWIN = "from ha.simulation.history import run\nfrom ha.simulation.mix import draw_plan\n"
SEEDS = range(40)


# ---------------------------------------------------------------------------------------------- determinism


@pytest.mark.parametrize("seed", [0, 7, 23])
def test_the_same_plan_gives_the_same_history(seed: int) -> None:
    first, second = run(draw_plan(seed)), run(draw_plan(seed))
    assert first.digest == second.digest
    assert [e.line for e in first.entries] == [e.line for e in second.entries]


def test_what_is_kept_or_counted_changes_nothing() -> None:
    assert run(draw_plan(3), keep=False).digest == run(draw_plan(3)).digest


def test_a_plan_that_was_written_down_gives_the_same_history() -> None:
    plan = draw_plan(5)
    nodes = [f"node{i}" for i in range(1, 5)]
    again = parse_plan(plan.text, nodes, ["svc1", "svc2", "svc3"])
    assert run(again, keep=False).digest == run(plan, keep=False).digest


@pytest.mark.parametrize("hash_seed", ["1", "4711"])
def test_another_process_with_another_hash_seed_gives_the_same_history(hash_seed: str) -> None:
    program = TWIN + "print(*(run(draw_plan(seed, 120.0), keep=False).digest for seed in range(6)))"
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    told = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [run(draw_plan(seed, 120.0), keep=False).digest for seed in range(6)]


def test_another_seed_is_another_history() -> None:
    assert run(draw_plan(1), keep=False).digest != run(draw_plan(2), keep=False).digest


@pytest.mark.parametrize("seed", SEEDS)
def test_the_hunt_finds_nothing(seed: int) -> None:
    findings = run(draw_plan(seed, 300.0), keep=False).findings
    assert not findings.safety
    assert not findings.liveness


# ------------------------------------------------------------------------------------------ worlds at rest


def at_rest(*sentences: str, seconds: float = 60.0, services: int = 1) -> History:
    """Two nodes that booted, as they are after ``seconds``."""
    setting = f"nodes=2 timeout=10 services={services} protection=none"
    head = f"# ezha scenario 1\nseed 1\nseconds {seconds:g}\nsetting {setting}\n"
    plan = parse_plan(head + "\n".join(sentences), ["node1", "node2"], ["svc1", "svc2"])
    history = History(plan, texts_of(plan, None))
    history.agenda.run(plan.seconds)
    assert not history.checkers.findings.safety
    return history


def running() -> History:
    """svc1 runs on node1, and may run on node2."""
    history = at_rest("order node1 svc1 unfreeze at 12", "order node2 svc1 unfreeze at 20")
    assert "svc1" in history.machines["node1"].up
    return history


def said(history: History) -> str:
    return "; ".join(history.checkers.findings.safety)


def script(history: History, node: str, kind: ScriptKind, shape: str = "") -> None:
    machine = history.machines[node]
    if shape:
        machine.shapes["svc1", kind] = [shape]
    machine.run(RunScript("svc1", 99, kind, ("/bin/true",)), lambda how, code: None)


def message(history: History, node: str, **changes: object) -> Heartbeat:
    program = history.machines[node].program
    assert program is not None
    made: Heartbeat = program.engine._message(history.machines[node].now())  # type: ignore[attr-defined]
    return replace(made, **changes)  # type: ignore[arg-type]


def send(history: History, node: str, made: Heartbeat) -> None:
    history.checkers.sent(history.machines[node], made)


# ------------------------------------------------------------------------------------------ what must not be


def test_up_on_two_nodes() -> None:
    history = running()
    script(history, "node2", ScriptKind.START)
    assert "physically up on node1 and node2 at once" in said(history)


def test_up_on_two_nodes_where_nobody_could_tell_is_counted_apart() -> None:
    history = running()
    history.network.links.clear()
    checkers = history.checkers
    checkers._hearing.clear()
    history.agenda.now += 11.0
    history.machines["node2"]._set("svc1", True)
    assert "physically up" not in said(history)
    assert checkers.findings.dual == 1


def test_a_start_where_it_is_frozen() -> None:
    history = at_rest()
    script(history, "node1", ScriptKind.START)
    assert "starts where it is frozen" in said(history)


def test_a_script_beside_another() -> None:
    history = running()
    script(history, "node1", ScriptKind.STATUS, "hangs")
    script(history, "node1", ScriptKind.STATUS)
    assert "status script beside its status script" in said(history)


def test_a_script_whose_state_is_not_on_the_disk() -> None:
    history = running()
    script(history, "node1", ScriptKind.STOP)
    assert "stop script, though its disk says STARTED" in said(history)


def test_a_start_that_no_check_script_allowed() -> None:
    history = running()
    script(history, "node1", ScriptKind.START)
    assert "start script, though no check script allowed it" in said(history)


def test_a_start_whose_check_script_forbade_it() -> None:
    history = running()
    script(history, "node2", ScriptKind.CHECK, "fails")
    history.agenda.run(history.agenda.now + 1.0)
    script(history, "node2", ScriptKind.START)
    assert "start script, though no check script allowed it" in said(history)


def test_a_signal_to_a_script_that_has_ended() -> None:
    history = running()
    history.checkers._over["node1", "svc1", 5] = history.agenda.now - 9.0
    history.machines["node1"].signal("svc1", 5, force=False)
    assert "signals a script that ended" in said(history)


def test_a_number_that_does_not_rise() -> None:
    history = running()
    made = message(history, "node1")
    send(history, "node1", made)
    send(history, "node1", made)
    assert "incarnations and sequence numbers only rise" in said(history)


def test_a_message_that_says_what_the_disk_does_not() -> None:
    history = running()
    made = message(history, "node1")
    lie = tuple(replace(entry, state=State.STOPPED) for entry in made.services)
    send(history, "node1", replace(made, services=lie))
    assert "says that it is STOPPED, though its disk says STARTED" in said(history)


def test_an_answer_to_an_earlier_life() -> None:
    history = running()
    made = message(history, "node1")
    history.agenda.now += 0.5
    known = history.checkers._hearing["node1", "node2"]
    known.newest = (known.newest[0] + 1, *known.newest[1:])
    send(history, "node1", made)
    assert "having heard a later one" in said(history)


def note(history: History, source: State, dest: State, generation: int = 9) -> None:
    """node2 decides something about svc1."""
    machine = history.machines["node2"]
    history.checkers.noted(machine, Note(NoteKind.TRANSITION, "svc1", "", source, dest, generation=generation))


def test_a_claim_settled_though_another_holds_it() -> None:
    history = running()
    note(history, State.START_READY, State.STARTING)
    assert "starts, though node1 said last that it is STARTED" in said(history)


def hearing(history: History, **changes: object) -> None:
    """What node2 last heard of node1 about svc1 is something else."""
    known = history.checkers._hearing["node2", "node1"]
    assert known.message is not None
    entries = tuple(replace(entry, **changes) for entry in known.message.services)  # type: ignore[arg-type]
    known.message = replace(known.message, services=entries)


def test_a_claim_settled_though_parts_may_be_up_elsewhere() -> None:
    history = running()
    hearing(history, state=State.START_FAILED, unclean=True)
    note(history, State.START_READY, State.STARTING)
    assert "START_FAILED and unclean" in said(history)


def test_a_claim_settled_though_it_was_not_answered() -> None:
    history = running()
    hearing(history, state=State.STOPPED)
    note(history, State.START_READY, State.STARTING)
    assert "starts, though node1 has not answered its claim" in said(history)


def test_a_claim_settled_against_another_configuration() -> None:
    history = running()
    hearing(history, id=1)
    note(history, State.START_READY, State.STARTING)
    assert "node1 is not silent and has said nothing of it" in said(history)


def test_a_claim_settled_though_it_is_frozen_where_it_runs() -> None:
    history = running()
    hearing(history, state=State.FROZEN_START)
    history.agenda.now += 30.0
    note(history, State.START_READY, State.STARTING)
    assert "starts, though node1 said last that it is FROZEN_START" in said(history)


def test_a_claim_that_is_no_new_generation() -> None:
    history = running()
    note(history, State.STOPPED, State.START_READY, generation=1)
    assert "claims it as generation 1, though node1 has said 1" in said(history)


def test_a_service_taken_back_right_after_it_was_stopped() -> None:
    history = running()
    hearing(history, state=State.STOPPED)
    history.machines["node1"].up.clear()
    history.checkers._stopped["node2", "svc1"] = history.agenda.now - 1.0
    note(history, State.STOPPED, State.START_READY)
    assert "takes back what an operator has just had stopped there, though node1 could take it" in said(history)


def falls_silent(history: History) -> None:
    program = history.machines["node2"].program
    assert program is not None
    program.hears = lambda other: False  # type: ignore[method-assign]
    history.checkers._alive.add(("node2", "node1"))
    history.checkers.noted(history.machines["node2"], Note(NoteKind.PEER, "", "node1 is silent"))


def test_a_node_called_silent_too_soon() -> None:
    history = running()
    falls_silent(history)
    assert "takes node1 for silent, of which something newer came" in said(history)


def test_a_node_called_silent_too_late() -> None:
    history = running()
    history.agenda.now += 15.0
    falls_silent(history)
    assert "too late" in said(history)


def test_a_node_called_silent_right_after_a_pause_of_ones_own() -> None:
    history = running()
    history.agenda.now += 15.0
    machine = history.machines["node2"]
    machine.lapse, machine.awoke = 12.0, history.agenda.now - 0.1
    falls_silent(history)
    assert "after it was not scheduled itself for 12.000 s" in said(history)


def test_a_deadline_that_was_missed() -> None:
    history = running()
    history.checkers.lateness(history.machines["node1"], 0.1)
    assert "a deadline was looked at 100.0 ms late" in said(history)


def test_a_node_that_leaves_something_running() -> None:
    history = running()
    script(history, "node1", ScriptKind.STATUS, "hangs")
    history.checkers.leaves(history.machines["node1"])
    assert "leaves while it is STARTED" in said(history)
    assert "leaves while its status script runs" in said(history)


def asked(history: History, action: Action) -> Callable[[bool, bool], None]:
    """Somebody types it at node2; the result answers him."""
    machine = history.machines["node2"]
    history.checkers.ask(machine, Command("c", "svc1", action))

    def answer(ok: bool, final: bool) -> None:
        history.checkers.replied(machine, Reply("c", "svc1", ok, "so be it", final))

    return answer


def test_a_command_that_is_answered_twice() -> None:
    history = running()
    answer = asked(history, Action.STOP)
    answer(True, True)
    answer(True, True)
    assert "stop was answered twice" in said(history)


def test_an_answer_to_nobody() -> None:
    history = running()
    history.checkers.replied(history.machines["node2"], Reply("nobody", "svc1", True, ""))
    assert "an answer to nobody" in said(history)


def test_a_command_that_is_never_answered() -> None:
    history = running()
    asked(history, Action.START)
    history._judge(history._changes())
    assert "start on node2 was never answered" in history.checkers.findings.liveness


def test_a_freeze_that_does_not_freeze() -> None:
    history = running()
    answer = asked(history, Action.FREEZE_STOP)
    answer(True, False)
    answer(False, True)
    assert "stopped, and not frozen as an operator asked" in said(history)


def test_an_nmond_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Driver, *_: object) -> None:
        raise ZeroDivisionError("planted")

    history = running()
    monkeypatch.setattr(Driver, "work", broken)
    history.agenda.run(history.agenda.now + 3.0)
    assert "nmond fails: ZeroDivisionError: planted" in said(history)


def test_an_nmond_that_fails_as_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Driver, *_: object) -> None:
        raise ZeroDivisionError("planted")

    history = running()
    machine = history.machines["node1"]
    machine.kill()
    monkeypatch.setattr(Driver, "start", broken)
    machine.restart()
    assert "nmond fails: ZeroDivisionError: planted" in said(history)
    assert machine.program is None


# -------------------------------------------------------------------------------------------- how it must end


def unrest(history: History) -> str:
    history._judge(history._changes())
    return "; ".join(history.checkers.findings.liveness)


def test_all_is_well_where_nothing_is_wrong() -> None:
    assert unrest(running()) == ""


def test_a_service_that_runs_nowhere() -> None:
    history = running()
    history.machines["node1"].up.clear()
    assert "STARTED on node1, and not up there" in unrest(history)
    assert "runs on 0 nodes, not on one" in unrest(history)


def test_a_service_that_runs_where_it_is_stopped() -> None:
    history = running()
    history.machines["node2"].up.add("svc1")
    assert "STOPPED on node2, and up there" in unrest(history)


def test_a_frozen_service_that_is_not_where_it_was_put() -> None:
    history = running()
    history.checkers.frozen.add(("node2", "svc1"))
    assert "STOPPED on node2, where it was frozen" in unrest(history)


def test_a_node_without_nmond() -> None:
    history = running()
    history.machines["node1"].end_program()
    assert "no nmond runs on node1" in unrest(history)


def test_states_that_go_on_changing() -> None:
    history = running()
    history._judge(history._changes() - 1)
    assert "states went on changing though nothing was wrong any more" in history.checkers.findings.liveness


def test_a_claim_that_never_ends() -> None:
    sentences = ("order node1 svc1 unfreeze at 12", "order node2 svc1 unfreeze at 12")
    plan = parse_plan(
        "# ezha scenario 1\nseed 1\nseconds 30\nsetting nodes=2 timeout=10\n" + "\n".join(sentences),
        ["node1", "node2"],
        ["svc1"],
    )
    with BUGS["rank-forgotten"].plant():
        found = run(plan, keep=False).findings.liveness
    assert any("still START_READY on" in text for text in found), found


def test_the_digest_tells_of_messages_that_no_entry_tells_of() -> None:
    quiet = Plan("1", 30.0)
    loud = replace(quiet, noise=(("latency", 0.0003),))
    assert run(quiet, keep=False).digest != run(loud, keep=False).digest


# ------------------------------------------------------------------------------------------ lying in wait


def test_a_fault_may_wait_for_a_state_that_no_time_hits() -> None:
    stops = "order node1 svc1 stop at 5 once node1 svc1 START_READY after 0.0001"
    history = at_rest("order node1 svc1 unfreeze at 12", stops, seconds=13.0)
    moved = [(e.source, e.dest) for e in history.trace.entries if e.kind is Kind.STATE]
    assert moved[1:3] == [("STOPPED", "START_READY"), ("START_READY", "STOPPED")]
    assert history.faults.counts["order"] == 2, "once only, though it claims again"


def test_a_fault_that_waits_for_a_state_that_is_there_happens_at_once() -> None:
    history = at_rest("order node1 svc1 unfreeze at 12", "power-off node1 at 50 once node1 svc1 STARTED for 5")
    assert [e.at for e in history.trace.entries if e.text.startswith("power-off")] == [50.0]


def test_what_has_waited_in_vain_is_told_and_disturbs_nobody_afterwards() -> None:
    history = at_rest(
        "order node1 svc1 unfreeze at 12",
        "power-off node1 at 20 once node1 svc1 START_FAILED",
        "power-off node1 at 20 once node1 svc1 STARTED after 39.9999",
        seconds=59.0,
    )
    history.faults.heal()
    assert "svc1 never came to START_FAILED on node1: nothing came of 'power-off node1'" in [
        e.text for e in history.trace.entries
    ]
    history.agenda.run(70.0)
    assert history.machines["node1"].on


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        ("once node9 svc1 STARTED", "no node node9; one of node1, node2"),
        ("once node1 svc9 STARTED", "no service svc9; one of svc1"),
        ("once node1 svc1 UP", "no state UP; one of STOPPED,"),
        ("once node1 svc1 STARTED after soon", "'soon' is no number of seconds"),
        ("once node1 svc1", "when? write: kill NODE [POINT] at SECONDS [once NODE SERVICE STATE [after SECONDS]]"),
    ],
)
def test_what_a_fault_waits_for_must_be_there(tail: str, says: str) -> None:
    with pytest.raises(PlanError) as refused:
        parse_fault(f"kill node1 at 5 {tail}", ["node1", "node2"], ["svc1"])
    assert says in str(refused.value)


@pytest.mark.parametrize("tail", ["", " once node2 svc1 START_READY", " once node2 svc1 START_READY after 0.0005"])
def test_a_sentence_is_read_back_as_it_was_written(tail: str) -> None:
    for words in (f"pause node1 at 5{tail} for 2.5", f"order node1 once stop at 5{tail}"):
        assert parse_fault(words, ["node1", "node2"], ["svc1", "once"]).sentence == words


# ------------------------------------------------------------------------------ what the checkers must not object to


def test_a_freeze_that_the_next_command_ends_in_the_same_step_forbids_nothing() -> None:
    """Three commands that waited for a paused nmond are answered after the last of them has been carried out."""
    typed = [f"order node1 svc1 {action} at 20" for action in ("unfreeze", "freeze-stop", "unfreeze")]
    history = at_rest("pause node1 at 19 for 3", *typed, seconds=40.0)
    assert "svc1" in history.machines["node1"].up
    frozen = at_rest("pause node1 at 19 for 3", *typed[:2], seconds=40.0)
    assert ("node1", "svc1") in frozen.checkers.frozen


def test_what_was_stopped_here_stays_with_the_other_one_that_has_only_tried() -> None:
    """Its check script has begun; then its nmond dies, and the service is found down there: it takes it again."""
    outcome = told(
        "seed 28",
        "seconds 3",
        "setting nodes=2 timeout=10 paths=net services=1",
        "order node1 svc1 unfreeze at 1.5",
        "order node2 svc1 unfreeze at 1.5",
        "order node1 svc1 stop at 1.5",
        "kill node2 at 1 once node2 svc1 STARTING",
    )
    moved = [(e.node, e.dest) for e in outcome.entries if e.kind is Kind.STATE]
    taken = moved.index(("node2", "STARTING"))
    assert ("node2", "STOPPED") in moved[taken:] and ("node2", "STARTED") in moved[taken:]
    assert "node1" not in {node for node, _ in moved[taken:]}
    assert outcome.clean


def test_what_was_stopped_here_may_come_back_once_another_node_has_had_it() -> None:
    """node3 had begun it before the stop on node1, which heard of that afterwards."""
    outcome = told(
        "seed 705",
        "seconds 15",
        "setting nodes=3 timeout=10 paths=dio services=2 protection=none",
        "order node1 svc2 unfreeze at 2",
        "order node3 svc2 unfreeze at 2",
        "cut all node3 at 2.8 for 10",
        "order node2 svc2 unfreeze at 3",
        "order node1 svc2 stop at 12.5",
        "order node3 svc2 stop at 14",
    )
    moved = [(e.node, e.dest) for e in outcome.entries if e.kind is Kind.STATE]
    assert ("node1", "START_READY") in moved[moved.index(("node3", "STARTED")) :]
    assert outcome.clean


def test_what_was_stopped_here_may_come_back_once_another_node_held_it_when_the_stop_ended() -> None:
    """node1 had begun its check script while node2 stopped, and died of it."""
    outcome = told(
        "seed 1163",
        "seconds 19",
        "setting nodes=2 timeout=10 paths=net services=1",
        "order node1 svc1 unfreeze at 2",
        "cut all node2 node1 at 6.6782 once node2 svc1 STARTING after 0.2721 for 10",
        "kill node1 at 6.6782 once node1 svc1 STARTING",
        "order node2 svc1 unfreeze at 7",
        "order node1 svc1 stop at 7",
        "order node2 svc1 stop at 7 once node1 svc1 START_READY",
    )
    assert outcome.clean


def test_a_claim_that_slept_for_longer_than_its_timeout_is_made_anew() -> None:
    """Protection "none": node1 could not tell the sleeping claim from a dead one, and started; the sleeper sees it."""
    outcome = told(
        "seed 132",
        "seconds 14",
        "setting nodes=2 timeout=10 paths=dio services=1 protection=none",
        "pause node2 at 2 once node2 svc1 START_READY for 10.2763",
        "order node1 svc1 unfreeze at 3",
        "order node2 svc1 unfreeze at 3",
    )
    assert outcome.findings.dual == 0 and outcome.clean


def told(*lines: str) -> Outcome:
    """The history of a scenario file."""
    text = "\n".join(("# ezha scenario 1", *lines))
    return run(parse_plan(text, ["node1", "node2", "node3"], ["svc1", "svc2"]))
