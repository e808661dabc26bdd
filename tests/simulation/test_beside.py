"""A node of ezha beside an original one, in the hunt: the harm is what docs/migration.md names, and no more.

What the original does by its own rules is its own; what ezha's node does is judged by what had truly reached it.
"""

import pytest

from ha.fsm import original
from ha.fsm.config import OPENHA
from ha.simulation.history import History, Outcome, run, texts_of
from ha.simulation.mix import draw_plan
from ha.simulation.openha import OpenHA
from ha.simulation.plan import BESIDE, Plan, parse_fault
from ha.simulation.settings import Setting
from ha.simulation.trace import Kind

QUIET = ("order", "both", "script", "repeat")
"""Kinds of trouble under which two nodes go on hearing each other."""
NODES, SERVICES = ("node1", "node2"), ("svc1",)


def told(*sentences: str, rules: str, setting: str = "timeout=2 paths=net+dio") -> Outcome:
    faults = tuple(sorted((parse_fault(s, NODES, SERVICES) for s in sentences), key=lambda fault: fault.at))
    return run(Plan("1", 120.0, faults, rules, (), f"nodes=2 {setting} services=1 wire=openha"))


def ups(outcome: Outcome) -> list[str]:
    return [entry.node for entry in outcome.entries if entry.kind is Kind.UP and entry.at < outcome.plan.seconds]


@pytest.mark.parametrize("rules", BESIDE)
def test_the_nodes_follow_the_rules_in_turn_and_hear_each_other(rules: str) -> None:
    plan = Plan("1", 30.0, (), rules, (), "nodes=2 timeout=2 paths=net+dio services=1 wire=openha")
    history = History(plan, texts_of(plan, None))
    history.agenda.run(30.0)
    programs = [history.machines[node].program for node in NODES]
    assert [isinstance(program, OpenHA) for program in programs] == [word == "openha" for word in rules.split("+")]
    assert all(p is not None and p.hears(other) for p, other in zip(programs, reversed(NODES), strict=True))


@pytest.mark.parametrize("rules", BESIDE)
@pytest.mark.parametrize("seed", range(4))
def test_what_ezhas_node_does_is_right_by_what_reached_it(rules: str, seed: int) -> None:
    outcome = run(draw_plan(seed, 300.0, rules=rules), keep=False)
    assert (outcome.findings.safety, outcome.findings.liveness) == ([], [])
    assert outcome.digest == run(draw_plan(seed, 300.0, rules=rules), keep=False).digest


@pytest.mark.parametrize("rules", BESIDE)
def test_nothing_ever_runs_twice_where_the_two_go_on_hearing_each_other(rules: str) -> None:
    for seed, timeout in enumerate((2.0, 10.0) * 4):
        plan = draw_plan(seed, 300.0, rules=rules, only=QUIET, setting=Setting(timeout=timeout, wire=OPENHA))
        # The original starts a service that it is told to freeze where it runs, whoever else runs it.
        plan = plan.without(i for i, fault in enumerate(plan.faults) if "freeze-start" in fault.words)
        findings = run(plan, keep=False).findings
        assert (findings.safety, findings.liveness, findings.dual) == ([], [], 0), seed


@pytest.mark.parametrize("rules", BESIDE)
def test_it_is_taken_over_from_the_dead_moved_and_left_where_it_was_frozen(rules: str) -> None:
    unfreeze = ("order node1 svc1 unfreeze at 10", "order node2 svc1 unfreeze at 30")
    assert ups(told(*unfreeze, "power-off node1 at 60 for 50", rules=rules)) == ["node1", "node2"]
    assert ups(told(*unfreeze, "order node1 svc1 freeze-stop at 60", rules=rules)) == ["node1", "node2"]
    frozen = told(*unfreeze, "order node1 svc1 freeze-start at 50", "power-off node1 at 60", rules=rules)
    # ezha does not take over from a 7, the original does from whomever it does not hear.
    assert ups(frozen) == (["node1"] if rules == "openha+ezha" else ["node1", "node2"])


def test_both_run_it_when_every_path_is_cut_as_the_manual_says() -> None:
    for rules in BESIDE:
        outcome = told(
            "order node1 svc1 unfreeze at 10",
            "order node2 svc1 unfreeze at 30",
            "cut all node1 at 60 for 30",
            rules=rules,
        )
        assert outcome.findings.dual == 1
        assert outcome.findings.safety == []


def test_without_the_second_look_ezhas_node_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    both = ("order node1 svc1 unfreeze at 10", "order node2 svc1 unfreeze at 10.5")
    slow = "timeout=10 paths=dio"
    assert told(*both, rules="openha+ezha", setting=slow).findings.safety == []
    monkeypatch.setattr(original, "objection", lambda *words: "")
    assert "svc1: starts, though node1 said 7 last" in told(*both, rules="openha+ezha", setting=slow).findings.safety


def test_without_the_five_seconds_ezhas_node_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(original, "GRACE_S", 1.0)
    unfreeze = ("order node1 svc1 unfreeze at 10", "order node2 svc1 unfreeze at 30")
    outcome = told(*unfreeze, rules="ezha+openha")
    assert any("after its claim beside an original node" in text for text in outcome.findings.safety)
