"""The queue of a history."""

import pytest

from ha.simulation.agenda import Agenda, StandstillError


def test_what_falls_together_happens_in_the_order_in_which_it_was_planned() -> None:
    agenda, done = Agenda(), []
    for name in "abc":
        agenda.at(1.0, lambda name=name: done.append(name))  # type: ignore[misc]
    agenda.at(0.5, lambda: agenda.after(0.5, lambda: done.append("d")))
    agenda.run(0.9)
    assert done == [] and agenda.now == 0.9
    agenda.run(1.0)
    assert done == ["a", "b", "c", "d"]


def test_a_world_that_stands_still_is_told_and_not_waited_for() -> None:
    agenda = Agenda()

    def again() -> None:
        agenda.after(0.0, again)

    again()
    with pytest.raises(StandstillError):
        agenda.run(1.0)
