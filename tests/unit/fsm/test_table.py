"""The table itself: complete, unambiguous, and safe by construction."""

import pytest

from ha.fsm.machine import Facts, decide
from ha.fsm.states import Action, State
from ha.fsm.table import HOLDING, NOT_HOLDING, STATES, TABLE, Do, Mark, Trigger, cells

S = State
CELLS = cells()


def test_every_cell_of_state_and_trigger_is_decided():
    assert set(CELLS) == {(s, t) for s in STATES for t in Trigger}


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{c[0].name}-{c[1].name}")
def test_only_the_last_row_of_a_cell_has_no_guard(cell):
    *guarded, last = CELLS[cell]
    assert last.guard is None
    assert all(row.guard is not None for row in guarded)


def test_every_action_of_an_operator_has_its_trigger():
    assert {a.value for a in Action} <= {t.value for t in Trigger}


def test_every_row_gives_a_reason():
    assert all(row.reason.strip() for row in TABLE)


def test_a_start_script_runs_only_in_starting():
    assert {row.dest for row in TABLE if row.do is Do.START} == {S.STARTING}


def test_starting_is_reached_only_through_a_settled_claim():
    """The one way into STARTING from outside is a claim that every other node has answered."""
    ways = {(row.state, row.trigger) for row in TABLE if row.dest is S.STARTING and row.state is not S.STARTING}
    assert ways == {(S.START_READY, Trigger.SETTLED)}


def test_a_claim_is_made_only_from_stopped_or_unknown():
    sources = {row.state for row in TABLE if row.dest is S.START_READY and row.state is not S.START_READY}
    assert sources == {S.STOPPED, S.UNKNOWN}


def test_holding_ends_only_after_a_clean_stop_a_boot_or_an_operators_word():
    """Nothing else may tell the other nodes that this one does not hold the service any more."""
    leaving = {
        (row.trigger, Mark.UNCLEAN in row.marks)
        for row in TABLE
        if row.state in HOLDING and row.dest in NOT_HOLDING and row.state is not row.dest
    }
    assert leaving == {
        (Trigger.CHECK_FAILED, False),
        (Trigger.CHECK_PASSED, False),  # withdrawn: the start script has not run
        (Trigger.CLEANED, False),
        (Trigger.NOT_CLEANED, True),
        (Trigger.STOP_DONE, False),
        (Trigger.BOOT, False),
        (Trigger.FORCE_STOP, False),
        (Trigger.FREEZE_STOP, False),  # of a STOP_FAILED: it stays unclean, see below
    }


def test_putting_a_failed_stop_aside_does_not_make_it_clean():
    row = decide(S.STOP_FAILED, Trigger.FREEZE_STOP)
    assert row.dest is S.FROZEN_STOP
    assert Mark.CLEAN not in row.marks
    assert Mark.UNCLEAN in decide(S.STOPPING, Trigger.STOP_ERROR).marks


def test_unknown_never_starts_by_itself():
    """H12: reading our own state failed; only an operator's word leads out of it within the same boot."""
    assert decide(S.UNKNOWN, Trigger.CLAIM).dest is None
    assert decide(S.UNKNOWN, Trigger.BOOT).dest is S.FROZEN_STOP


@pytest.mark.parametrize(
    ("action", "allowed"),
    [
        (Trigger.START, {S.STOPPED: S.START_READY, S.UNKNOWN: S.START_READY}),
        (Trigger.STOP, {S.STARTED: S.STOPPING, S.UNKNOWN: S.STOPPING, S.START_READY: S.STOPPED}),
        (
            Trigger.FREEZE_STOP,
            {
                S.STOPPED: S.FROZEN_STOP,
                S.START_FAILED: S.FROZEN_STOP,
                S.STOP_FAILED: S.FROZEN_STOP,
                S.STARTED: S.STOPPING,
                S.START_READY: S.FROZEN_STOP,
            },
        ),
        (Trigger.FREEZE_START, {S.STARTED: S.FROZEN_START, S.STOPPED: S.START_READY}),
        (Trigger.UNFREEZE, {S.FROZEN_STOP: S.STOPPED, S.FROZEN_START: S.STARTED}),
        (Trigger.FORCE_STOP, dict.fromkeys(STATES, S.STOPPED)),
        (Trigger.FORCE_START, dict.fromkeys(STATES, S.STARTED)),
        (Trigger.SWITCH, {S.STARTED: S.STOPPING}),
    ],
)
def test_actions_are_allowed_where_the_original_allows_them_and_refused_elsewhere(action, allowed):
    """spec/openha.md, "Commands"; START_READY is added, so that no wish of an operator is lost there (H21)."""
    facts = Facts(clear=True, target_ready=True)
    for state in STATES:
        row = decide(state, action, facts)
        assert row.dest is allowed.get(state), f"{action} in {state.name}: {row}"


def test_a_refused_row_changes_nothing():
    for row in TABLE:
        if row.dest is None:
            assert row.do is Do.NOTHING
            assert not row.marks


def test_force_stop_is_refused_while_the_controller_says_up_unless_overridden():
    for state in STATES:
        assert decide(state, Trigger.FORCE_STOP, Facts(controller_up=True)).dest is None
        assert decide(state, Trigger.FORCE_STOP, Facts(controller_up=True, override=True)).dest is S.STOPPED


def test_force_start_is_refused_without_evidence_unless_overridden():
    for state in STATES:
        assert decide(state, Trigger.FORCE_START, Facts()).dest is None
        assert decide(state, Trigger.FORCE_START, Facts(override=True)).dest is S.STARTED


def test_start_is_refused_without_evidence():
    """Its guard is what the whole engine rests on: the twin shows that evidence is what makes the difference."""
    assert decide(S.STOPPED, Trigger.START, Facts(clear=False)).dest is None
    assert decide(S.STOPPED, Trigger.START, Facts(clear=True)).dest is S.START_READY
