"""Many histories at once."""

import shutil
from pathlib import Path

import pytest

import ha
from ha.cli.simulator import hunting
from ha.simulation import hunt, ledger
from ha.simulation.history import Outcome
from ha.simulation.history import run as real_run
from ha.simulation.mix import draw_plan
from ha.simulation.plan import Plan


def brief(seed: int) -> Plan:
    return draw_plan(seed, 60.0)


def test_two_processes_find_what_one_finds() -> None:
    alone, together = (hunt.hunt(range(8), jobs, planner=brief) for jobs in (1, 2))
    for tally in (alone, together):
        tally.wall = 0.0
    assert alone == together and alone.histories == 8


def test_a_history_that_is_another_one_the_second_time_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hunt.one(1, brief, twice=True).found
    runs: list[int] = []

    def run(plan: Plan, *args: object, **more: object) -> Outcome:
        runs.append(1)
        return real_run(draw_plan(len(runs), 60.0), *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(hunt, "run", run)
    assert hunt.one(1, brief, twice=True).found[0].safety == [
        "run again it is another history: the simulator itself is at fault"
    ]


def test_a_hunt_goes_on_where_it_ended() -> None:
    whole, first = hunt.hunt(range(8), planner=brief), hunt.hunt(range(5), planner=brief)
    kept = ledger.Ledger("8 seeds", "this code", first)
    so_far = ledger.read(kept.text, "8 seeds", "this code")
    rest = hunt.hunt(range(8)[so_far.histories :], planner=brief, so_far=so_far)
    whole.wall = rest.wall = 0.0
    assert whole.seconds == pytest.approx(rest.seconds)
    whole.seconds = rest.seconds
    assert whole == rest


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("fsm/engine.py", True),
        ("simulation/faults.py", True),
        ("simulation/hunt.py", True),
        ("cli/simulator/given.py", True),
        ("simulation/lease_world.py", False),
        ("cli/hb.py", False),
    ],
)
def test_only_what_a_history_rests_on_makes_it_other_code(tmp_path: Path, module: str, other: bool) -> None:
    shutil.copytree(Path(ha.__file__ or "").parent, tmp_path / "ha", ignore=shutil.ignore_patterns("__pycache__"))
    assert hunting.code(tmp_path / "ha") == hunting.code()
    with (tmp_path / "ha" / module).open("a") as file:
        file.write("# changed\n")
    assert (hunting.code(tmp_path / "ha") != hunting.code()) is other


@pytest.mark.parametrize(
    ("text", "of", "code", "why"),
    [
        ("nonsense", "a", "b", "not the state of a hunt"),
        ("{}", "a", "b", "not the state of a hunt"),
        (ledger.Ledger("a", "b", hunt.Tally()).text, "another", "b", "it is of another hunt"),
        (ledger.Ledger("a", "b", hunt.Tally()).text, "a", "other", "the code has changed since"),
    ],
)
def test_the_state_of_another_hunt_is_refused(text: str, of: str, code: str, why: str) -> None:
    with pytest.raises(ledger.LedgerError, match=why):
        ledger.read(text, of, code)
