"""Who goes first: a stop's mark, then where it ran last, then the configured order."""

import pytest

from ha.fsm.message import ServiceEntry
from ha.fsm.rank import outranks
from ha.fsm.states import State

FIRST, SECOND = 0, 1


def entry(generation: int, demoted: bool) -> ServiceEntry:
    return ServiceEntry(1, State.STOPPED, generation, demoted=demoted)


@pytest.mark.parametrize(
    ("first", "second", "goes"),
    [
        (entry(0, False), entry(0, False), FIRST),
        (entry(3, False), entry(4, False), SECOND),
        (entry(4, True), entry(3, False), SECOND),
        (entry(4, True), entry(4, True), FIRST),
        # Told to stop; what the other has is a claim that came to nothing.
        (entry(5, False), entry(4, True), FIRST),
        (entry(4, True), entry(5, False), SECOND),
        # Stopped on the first, run on the second, and stopped there before the first has taken its mark off.
        (entry(4, True), entry(5, True), FIRST),
        (entry(5, True), entry(4, True), SECOND),
    ],
)
def test_exactly_one_goes_first(first: ServiceEntry, second: ServiceEntry, goes: int) -> None:
    assert outranks(first, FIRST, second, SECOND) is (goes == SECOND)
    assert outranks(second, SECOND, first, FIRST) is (goes == FIRST)
