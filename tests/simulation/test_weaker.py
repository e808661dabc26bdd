"""What weaker promises than a watchdog's do not cover, a scenario each; and that the promise makes the difference.

Each does harm, which is counted and no violation, and is over in time where it has to be; with the stronger promise, or
without what only an operator can do wrong, the same story does none.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ha.simulation.history import run
from ha.simulation.plan import Plan, parse_plan

FOLDER = Path(__file__).parent / "weaker"


@dataclass(frozen=True)
class Weaker:
    name: str
    without: str = ""
    """A word of the setting; without it the promise is a watchdog's."""
    cause: str = ""
    """A verb that no promise covers."""
    window: bool = False
    """It is over within a bound from the moment when the machine goes on."""


CASES = (
    Weaker("no-protection", without="protection=none"),
    Weaker("self-fence-stop", without="self-fence=stop"),
    Weaker("guardian-paused", without="guard=guardian"),
    Weaker("fence-command-fails", cause="guard"),
    Weaker("agent-lies", cause="agent"),
    Weaker("machine-suspended", cause="suspend-machine", window=True),
    Weaker("machine-frozen", cause="freeze-machine", window=True),
    Weaker("confirmed-while-alive", cause="confirm-down"),
)


def _plan(name: str) -> Plan:
    path = FOLDER / f"{name}.scenario"
    return parse_plan(path.read_text(), ["node1", "node2"], ["svc1"], path.name)


def _ids(case: Weaker) -> str:
    return case.name


def test_every_scenario_is_tried() -> None:
    assert sorted(p.stem for p in FOLDER.iterdir()) == sorted(case.name for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=_ids)
def test_it_runs_twice(case: Weaker) -> None:
    outcome = run(_plan(case.name))
    assert outcome.findings.dual and outcome.clean, outcome.findings
    assert (0.0 < outcome.findings.window < 0.952) == case.window


@pytest.mark.parametrize("case", CASES, ids=_ids)
def test_with_the_whole_promise_it_does_not(case: Weaker) -> None:
    plan = _plan(case.name)
    if case.without:
        assert case.without in plan.setting
        plan = replace(plan, setting=plan.setting.replace(case.without, "").strip())
    else:
        causes = [i for i, fault in enumerate(plan.faults) if fault.verb == case.cause]
        assert causes
        plan = plan.without(causes)
    outcome = run(plan)
    assert outcome.clean and not outcome.findings.dual, outcome.findings
