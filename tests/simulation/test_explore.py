"""All histories of two nodes and a service: none breaks the rules, and without any one guard some do.

Each twin takes one guard away, and the search then tells a shortest history that ends badly.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from ha.fsm import claims, conduct, engine, evidence, sight
from ha.fsm.claims import Claims
from ha.fsm.events import RunScript
from ha.fsm.evidence import Standing, Terms, Verdict, judge
from ha.fsm.machine import decide
from ha.fsm.peers import Peer
from ha.fsm.states import Action, State
from ha.fsm.table import Row, Trigger
from ha.simulation import bounded, canonical, stepping
from ha.simulation.bounded import Bounds, Kind
from ha.simulation.coverage import parse
from ha.simulation.explore import Progress, Result, explore
from ha.simulation.post import arrived
from ha.simulation.stepping import Machine

BOTH_STOPPED = ((State.STOPPED, State.STOPPED),)
EVERYTHING = frozenset(range(Kind.TIME))


def _kept(result: Result) -> None:
    assert result.violation == "", "\n".join(result.story)
    assert result.exhausted


def _broken(bounds: Bounds, what: str) -> Result:
    """The bounds keep the rules as long as nothing is taken away; other tests say so for wider ones."""
    result = explore(bounds)
    assert what in result.violation, result
    assert not result.exhausted
    assert result.story[-1].endswith(result.violation)
    return result


# ---------------------------------------------------------------------------------------- nothing is taken away


def test_every_history_with_one_fault_keeps_the_rules() -> None:
    result = explore(Bounds(faults=1, commands=0))
    _kept(result)
    assert result.states > 5000
    assert result.unarbitrated > 0, "a pause of T cannot be told from death without an arbiter"


def test_every_history_with_two_commands_keeps_the_rules() -> None:
    result = explore(Bounds(faults=0, commands=2, beginnings=BOTH_STOPPED))
    _kept(result)
    assert result.unarbitrated == 0, "nobody is silent here"


def test_every_history_with_two_losses_keeps_the_rules() -> None:
    _kept(explore(Bounds(faults=2, commands=0, kinds=("lose",))))


def test_what_is_done_at_once_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain heartbeats are sent and taken in at once; with them in every order the same situations are reached."""
    bounds = Bounds(faults=1, commands=0, kinds=("lose",), beginnings=BOTH_STOPPED)
    quick = explore(bounds)
    monkeypatch.setattr(bounded.Doing, "_beat", lambda self: None)
    monkeypatch.setattr(stepping, "absorbed", lambda host, packet: None)
    slow = explore(bounds)
    _kept(slow)
    assert slow.cells == quick.cells
    assert slow.states > quick.states


def test_what_counts_as_the_same_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generations are renumbered and old messages that cannot count are dropped; without that nothing more happens."""
    bounds = Bounds(faults=1, commands=1, kinds=("replay",), actions=(Action.STOP,), beginnings=BOTH_STOPPED)
    merged = explore(bounds)
    monkeypatch.setattr(stepping, "places", lambda known, floor: {number: number for number in known})
    monkeypatch.setattr(stepping.Machine, "thin", lambda self, number, faults: number)
    apart = explore(bounds)
    _kept(apart)
    assert apart.cells == merged.cells
    assert apart.states > merged.states


def test_rows_that_were_thrown_away_are_worked_out_again_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = Bounds(faults=1, commands=0, kinds=("crash", "lose"))
    kept = explore(bounds)
    monkeypatch.setattr(stepping, "KEPT", 7)
    assert explore(bounds) == kept


def test_generations_keep_their_order_and_where_new_ones_arise_their_distance() -> None:
    assert canonical.places((0, 3, 5, 6), floor=0) == {0: 0, 3: 3, 5: 5, 6: 6}
    assert canonical.places((0, 3, 5, 7), floor=5) == {0: 0, 3: 1, 5: 2, 7: 4}
    assert canonical.places((0, 30), floor=0) == {0: 0, 30: canonical.GAP}


def test_a_search_that_is_cut_short_does_not_claim_to_be_exhausted() -> None:
    assert not explore(Bounds(faults=1, commands=0, depth=5)).exhausted
    assert not explore(Bounds(faults=1, commands=0, states=500)).exhausted


def test_the_same_search_finds_the_same() -> None:
    bounds = Bounds(faults=1, commands=0, kinds=("crash",))
    told: list[Progress] = []
    first, second = explore(bounds, told.append), explore(bounds)
    assert first == second
    assert [p.states for p in told] == sorted({p.states for p in told})


def test_what_was_reached_is_told_as_plain_data() -> None:
    result = explore(Bounds(faults=0, commands=1))
    plain = json.loads(json.dumps(result.plain()))
    assert [parse(text) for text in plain["cells"]] == list(result.cells)
    assert plain["exhausted"] is True
    assert plain["states"] == result.states


# ------------------------------------------------------------------------------------------------ twins


def test_twin_settles_without_waiting_for_the_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(peer: Peer, service: int, acknowledged: int, needed: int, now: float, terms: Terms) -> Verdict:
        return judge(peer, service, acknowledged, 1, now, terms)

    monkeypatch.setattr(sight, "judge", hasty)
    _broken(Bounds(faults=0, commands=1), "starts the service while it is up on")


def test_twin_lets_the_higher_rank_go_ahead_before_the_lower_has_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def bold(peer: Peer, service: int, acknowledged: int, needed: int, now: float, terms: Terms) -> Verdict:
        verdict = judge(peer, service, acknowledged, needed, now, terms)
        claims_it = verdict.standing is Standing.CLAIMS
        return replace(verdict, standing=Standing.CLEAR) if claims_it and peer.name == "node2" else verdict

    monkeypatch.setattr(sight, "judge", bold)
    _broken(Bounds(faults=1, commands=1), "starts the service while it is up on")


def test_twin_calls_a_peer_silent_before_it_has_read_what_came_during_its_own_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """nmond reads before it looks at the time (the next twin), and the engine does not rely on that alone."""
    bounds = Bounds(faults=1, commands=0, kinds=("pause",))
    monkeypatch.setattr(stepping, "UNREAD", EVERYTHING)
    _kept(explore(bounds))
    monkeypatch.setattr(engine, "STALL_S", 1e9)
    result = _broken(bounds, "starts the service while it is up on")
    assert sum("is paused" in line for line in result.story) == 1


def test_twin_looks_at_the_time_while_messages_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = Bounds(faults=2, commands=0, pause=4, kinds=("pause",), beginnings=BOTH_STOPPED)
    _kept(explore(bounds))
    monkeypatch.setattr(stepping, "UNREAD", EVERYTHING)
    result = _broken(bounds, "starts the service while it is up on")
    assert sum("is paused" in line for line in result.story) == 2


def test_what_has_come_is_read_together_before_anything_else_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for a fault, a node that goes on after a pause takes in all that waits, and then looks at the time."""
    made: list[Machine] = []

    def noted(*given: Any) -> Machine:
        made.append(Machine(*given))
        return made[-1]

    monkeypatch.setattr("ha.simulation.explore.Machine", noted)
    _kept(explore(Bounds(faults=1, commands=0, kinds=("pause",))))
    machine = made[0]
    seen = 0
    for number in range(len(machine)):
        waiting = arrived(machine.waiting(number))
        if waiting and machine.facts[number] & stepping.AWAKE:
            seen += 1
            moves = [step.move for step in machine.steps(number, 0, 0)]
            assert {move.kind for move in moves} == {Kind.DELIVER}
            assert min(move.action for move in moves) == waiting
    assert seen


def test_twin_runs_the_script_before_the_record_is_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "ORDER", ("send", "run", "persist"))
    _broken(Bounds(faults=0, commands=0), "before its state is on the disk")


def test_twin_declares_what_runs_stopped_when_nmond_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(state: State, trigger: Trigger, *facts: object) -> Row:
        return decide(state, Trigger.BOOT if trigger is Trigger.RESTART else trigger, *facts)  # type: ignore[arg-type]

    monkeypatch.setattr(conduct, "decide", forgetful)
    bounds = Bounds(faults=1, commands=1, kinds=("crash",), actions=(Action.START,), beginnings=BOTH_STOPPED)
    _broken(bounds, "starts the service while it is up on")


def test_twin_takes_over_what_failed_uncleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "holds", lambda entry: entry.state in evidence.HOLDING)
    result = _broken(Bounds(faults=2, commands=0, kinds=("fail",)), "START_FAILED, unclean")
    assert any("stop script" in line and "fails" in line for line in result.story)


def test_twin_forgets_that_it_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    true_consider = Claims._consider_claim

    def restless(self: Claims, name: str, now: float) -> None:
        each = self.services[name]
        if each.state is State.FROZEN_STOP and each.job is None:
            self._put(name, replace(each, record=replace(each.record, state=State.STOPPED)))
            true_consider(self, name, self.services[name], now)
        original(self, name, now)

    original = Claims._consider
    monkeypatch.setattr(claims.Claims, "_consider", restless)
    _broken(Bounds(faults=0, commands=0), "though it is frozen")


def test_twin_runs_a_second_script_beside_an_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(self: bounded.Doing, *, boot: bool) -> None:
        script, self.host.script = self.host.script, None

        def beside(doing: bounded.Doing, order: RunScript) -> None:
            doing.host.script = script
            run(doing, order)

        with pytest.MonkeyPatch.context() as patch:
            if script is not None:
                patch.setattr(bounded.Doing, "_run", beside)
            begin(self, boot=boot)
        if self.host.script is None:
            self.host.script = script

    begin, run = bounded.Doing._begin, bounded.Doing._run
    monkeypatch.setattr(bounded.Doing, "_begin", alone)
    _broken(Bounds(faults=1, commands=0, kinds=("crash",)), "two scripts at once")
