"""The algebra of states, as the specification has it (OpenSVC, "Status algebra")."""

from itertools import permutations, product

import pytest

from ha.services.state import State, merged, overall

UP, DOWN, WARN, NA, UNDEF = State.UP, State.DOWN, State.WARN, State.NA, State.UNDEF


@pytest.mark.parametrize(
    ("states", "total"),
    [
        ([], UNDEF),
        ([UNDEF], UNDEF),
        ([NA], NA),
        ([NA, NA], NA),
        ([UNDEF, NA], NA),
        ([UP, NA], UP),
        ([DOWN, NA, UNDEF], DOWN),
        ([UP, DOWN], WARN),
        ([UP, UP, WARN], WARN),
        ([NA, WARN], WARN),
        ([UP, State.STDBY_UP], UP),
        ([DOWN, State.STDBY_UP], State.STDBY_UP),
        ([DOWN, State.STDBY_DOWN], DOWN),
        ([UP, State.STDBY_DOWN], WARN),
        ([State.STDBY_UP, State.STDBY_DOWN], WARN),
    ],
)
def test_what_states_come_to(states: list[State], total: State) -> None:
    for order in permutations(states):
        assert merged(order) is total


def test_nothing_that_is_up_or_half_up_ever_hides_behind_down() -> None:
    for states in product(State, repeat=3):
        if merged(states) is DOWN:
            assert not {UP, WARN} & set(states), states


def test_a_heartbeat_or_a_copy_that_is_late_taints_up_alone() -> None:
    assert overall(UP, [DOWN, NA]) is WARN
    assert overall(UP, [UP, WARN]) is WARN
    assert overall(UP, [UP, NA]) is UP
    assert overall(DOWN, [DOWN, WARN]) is DOWN
    assert overall(WARN, [UP, UP]) is WARN
