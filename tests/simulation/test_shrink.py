"""What is left of a history that ends badly is the story of its bug, and nothing else."""

import pytest

from ha.simulation.history import run
from ha.simulation.plan import Fault, Plan, parse_fault, parse_plan
from ha.simulation.shrink import CleanError, Harm, harms, shrink, worst

NODES, SERVICES = ("node1", "node2", "node3"), ("svc1", "svc2")
SETTING = "nodes=3 timeout=10 paths=net+net2+dio services=2"
NOISE = (("latency", 0.005), ("loss", 0.001), ("drift", 0.0002))
ESSENCE = ("order node1 svc1 unfreeze at 21.3", "order node2 svc1 unfreeze at 21.3")
RUBBISH = (
    "order node3 svc2 unfreeze at 12.25",
    "lose 30 node2 at 14 for 3.5",
    "step-clock node1 86400 at 15",
    "slow node3 0.02 at 17 for 20",
    "cut disk node1 at 18.5 for 7.25",
    "duplicate 50 node1 node2 at 20 for 40.5",
    "power-off node3 at 50 for 20",
    "kill node1 3 at 70",
    "order node2 svc2 stop at 80",
    "leave node2 at 90.1234 for 10",
)


def faults(*sentences: str) -> tuple[Fault, ...]:
    found = [parse_fault(sentence, NODES, SERVICES) for sentence in sentences]
    return tuple(sorted(found, key=lambda fault: fault.at))


@pytest.mark.usefixtures("blind")
def test_only_what_the_bug_needs_is_left() -> None:
    plan = Plan("7", 120.0, faults(*ESSENCE, *RUBBISH), setting=SETTING, noise=NOISE)
    assert any(harm.safety for harm in harms(run(plan, keep=False))), "the planted bug must show"
    told: list[int] = []
    shrunk = shrink(plan, progress=lambda runs, best: told.append(len(best.faults)))
    left = shrunk.plan
    assert sorted(f.words for f in left.faults) == [("node1", "svc1", "unfreeze"), ("node2", "svc1", "unfreeze")]
    assert left.setting.startswith("nodes=2 ") and "services=1" in left.setting and "+" not in left.setting
    assert dict(left.noise).get("loss", 0.0) == 0.0
    assert left.seconds <= 10.0, left.text
    assert told == sorted(told, reverse=True), "it never grows"
    again = parse_plan(left.text, NODES, SERVICES)
    assert shrunk.harm in harms(run(again, keep=False)), "the file tells all of it"


@pytest.mark.usefixtures("blind")
def test_the_search_ends_when_it_has_cost_enough() -> None:
    plan = Plan("7", 30.0, faults(*ESSENCE, *RUBBISH[:4]), setting=SETTING, noise=NOISE)
    assert shrink(plan, runs=6).runs == 6


def test_what_is_clean_cannot_be_shrunk() -> None:
    with pytest.raises(CleanError):
        shrink(Plan("7", 30.0, faults(*ESSENCE)))


def test_what_runs_twice_counts_more_than_what_led_there() -> None:
    slow, rule, twice = Harm(False, "still STARTING"), Harm(True, "has not answered"), Harm(True, "physically up on …")
    assert worst([slow, rule, twice]) is twice
    assert worst([slow, rule]) is rule
    assert worst([slow]) is slow


def test_violations_are_of_one_kind_whatever_names_and_numbers_they_carry() -> None:
    plan = Plan("7", 1.0)
    outcome = run(plan, keep=False)
    outcome.findings.safety += [
        "svc1: physically up on node1 and node2 at once",
        "svc2: physically up on node3 and node1 at once",
    ]
    outcome.findings.liveness += ["svc1: still STARTING on node1"]
    assert harms(outcome) == [
        Harm(True, "…: physically up on … and … at once"),
        Harm(False, "…: still STARTING on …"),
    ]
