"""What the hunt is worth: with a guard of the production code taken away, it finds a history that shows it.

The seeds in ``planted.toml`` are the first ones that showed each bug; ``python -m tests.simulation.planted --write``
searches anew, which is needed whenever what a seed means has changed (another mix, another draw).
"""

import pytest

from ha.simulation.history import run
from tests.simulation.planted import BUGS, SEEDS, all_harms, all_shown, recorded

CAUGHT = recorded()


def test_there_are_enough_bugs_and_each_was_caught() -> None:
    assert len(BUGS) >= 20
    assert set(CAUGHT) == set(BUGS), "search anew: python -m tests.simulation.planted --write"
    assert all(seed < SEEDS for seed, _ in CAUGHT.values())


@pytest.mark.parametrize("name", CAUGHT)
def test_the_bug_is_caught(name: str) -> None:
    seed, shows = CAUGHT[name]
    assert shows in all_shown(BUGS[name], seed)


@pytest.mark.parametrize("name", CAUGHT)
def test_without_the_bug_the_same_seed_is_clean(name: str) -> None:
    seed, _ = CAUGHT[name]
    assert all_harms(run(BUGS[name].plan(seed), keep=False)) == []
