"""The engine among its peers: who starts, who waits, who withdraws, and why."""

from dataclasses import replace
from itertools import pairwise, product

import pytest

from ha.fsm import engine as engine_module
from ha.fsm import evidence, hearing, sight
from ha.fsm.config import PathId
from ha.fsm.engine import Engine
from ha.fsm.events import ConfigChanged, Ended, Leave, MessageReceived, NoteKind, ScriptEnded, ScriptsEnded, Tick
from ha.fsm.message import MAX_COUNTER, MAX_GENERATION, Incarnation
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.service import ORPHAN
from ha.fsm.states import Action, ScriptKind, State
from ha.node.recordfile import Encoder, decode

from .cluster import Cluster, Host, T, config

S = State
BOTH_STOPPED = {"node1": S.STOPPED, "node2": S.STOPPED}


def started(**more: object) -> Cluster:
    """node1 runs web, node2 stands by."""
    cluster = Cluster(config(**more), {"node1": S.FROZEN_STOP, "node2": S.FROZEN_STOP})
    cluster.run(0)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(0)
    cluster.ask("node2", Action.UNFREEZE)
    cluster.run(0)
    assert cluster.states()[:2] == ["STARTED", "STOPPED"]
    return cluster


# ------------------------------------------------------------------------------------------ the tutorial


def test_a_new_service_is_frozen_on_both_nodes_and_stays_so():
    cluster = Cluster()
    cluster.run(10 * T)
    assert cluster.states() == ["FROZEN_STOP", "FROZEN_STOP"]


def test_unfreeze_leads_through_start_ready_and_starting_to_started():
    cluster = Cluster()
    cluster.run(0)
    asked = cluster.ask("node1", Action.UNFREEZE)
    assert cluster.answer("node1", asked).ok, "the outcome of unfreeze is the unfrozen state, not the start"
    cluster.run(0)
    assert cluster.hosts["node1"].story() == ["STOPPED", "START_READY", "STARTING", "STARTED"]
    assert cluster.states() == ["STARTED", "FROZEN_STOP"]
    cluster.ask("node2", Action.UNFREEZE)
    cluster.run(10 * T)
    assert cluster.states() == ["STARTED", "STOPPED"]


def test_a_claim_takes_one_round_trip_and_no_waiting():
    cluster = Cluster()
    cluster.run(0)
    before = cluster.now
    cluster.ask("node1", Action.UNFREEZE)
    cluster.deliver()
    assert cluster.now == before
    assert [j.kind for j in cluster.hosts["node1"].jobs.values()] == [ScriptKind.CHECK]


def test_the_state_is_on_disk_before_the_script_runs():
    """Held by the harness for every script of every test: this one shows that the harness looks."""
    cluster = Cluster()
    cluster.run(0)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.deliver()
    host = cluster.hosts["node1"]
    assert host.disk.services[0].state is S.STARTING
    job = next(iter(host.jobs.values()))
    host.jobs.clear()
    host.disk = NodeRecord(1, (ServiceRecord("web", S.STOPPED),))
    stale = replace(host.engine.handle(ScriptEnded("web", job.job, Ended.EXITED, 0), cluster.now), persist=())
    with pytest.raises(AssertionError):
        cluster._carry_out(host, stale)


# ------------------------------------------------------------------------------------------ takeover


def test_the_active_node_dies_and_the_other_takes_over_after_exactly_its_timeout():
    cluster = started()
    cluster.run(3)
    last = cluster.hosts["node2"].engine.peers["node1"].arrival
    cluster.power_off("node1")
    cluster.run(T - (cluster.now - last) - 0.001)
    assert cluster.states() == ["STARTED", "STOPPED"]
    cluster.run(0.001 + 2 * hearing.LOOK_S)
    assert cluster.hosts["node2"].state() is S.STARTED
    claim = next(n for n in cluster.hosts["node2"].notes if n.dest is S.START_READY)
    assert "node1 is silent for 10.000 s (limit 10 s)" in claim.text
    assert len(claim.evidence) == 3, "the judgement, and each of the two paths with its age"


def test_one_dead_path_moves_nothing_and_is_told():
    cluster = started()
    cluster.cut |= {("node1", "node2", 0)}
    cluster.run(10 * T)
    assert cluster.states() == ["STARTED", "STOPPED"]
    engine = cluster.hosts["node2"].engine
    assert not engine.path_state(PathId("node1", 0))[0]
    assert engine.path_state(PathId("node1", 1))[0]
    assert any(n.kind is NoteKind.PATH and "DOWN" in n.text for n in cluster.hosts["node2"].notes)


def test_a_node_that_leaves_hands_over_at_once():
    """H: no waiting for a timeout when a machine is shut down in order."""
    cluster = started()
    cluster.run(1)
    before = cluster.now
    effects = cluster.feed("node1", Leave())
    assert not effects.left, "first the service is stopped, with heartbeats running"
    cluster.settle()
    assert cluster.now == before
    assert cluster.hosts["node1"].engine.left
    assert cluster.states() == ["STOPPED", "STARTED"]


def test_a_node_that_leaves_hands_over_each_service_as_soon_as_that_is_stopped():
    """Not when the last one is: the stop of another service may take minutes."""
    cluster = Cluster(config(services=("web", "db")))
    for name in ("node1", "node2"):
        for service in ("web", "db"):
            cluster.ask(name, Action.UNFREEZE, service)
            cluster.settle()
    cluster.run(1)
    assert cluster.states("web") == cluster.states("db") == ["STARTED", "STOPPED"]
    cluster.feed("node1", Leave())
    cluster.settle(scripts=False)
    cluster.end("node1", "web")
    cluster.settle(scripts=False)
    cluster.run(2 * hearing.LOOK_S, scripts=False)
    assert cluster.hosts["node2"].state("web") is S.STARTING
    assert cluster.hosts["node1"].state("db") is S.STOPPING


def test_a_node_that_was_to_take_a_service_is_not_waited_for_once_it_left():
    cluster = started()
    cluster.sever("node1", "node2")  # so that it does not hear that it is to take it
    cluster.ask("node1", Action.SWITCH, target="node2")
    cluster.run(1)
    assert cluster.states() == ["STOPPED", "STOPPED"]
    cluster.feed("node2", Leave())
    cluster.settle()
    cluster.run(2 * hearing.LOOK_S)
    assert cluster.hosts["node1"].state() is S.STARTED


def test_a_node_that_left_is_not_waited_for():
    cluster = Cluster(None, {"node1": S.STOPPED, "node2": S.FROZEN_STOP})
    cluster.feed("node1", Leave())
    cluster.settle()
    cluster.power_off("node1")
    cluster.ask("node2", Action.UNFREEZE)
    cluster.run(2 * hearing.LOOK_S)
    assert cluster.hosts["node2"].state() is S.STARTED


def test_nothing_is_started_where_the_other_was_never_heard_until_its_timeout():
    """H2: boot with old state files and a network that comes up late."""
    cluster = Cluster(None, BOTH_STOPPED)
    cluster.sever("node1", "node2")
    cluster.sever("node2", "node1")
    cluster.run(T - 0.1)
    assert cluster.states() == ["STOPPED", "STOPPED"]
    cluster.heal()
    cluster.run(T)
    assert sorted(cluster.states()) == ["STARTED", "STOPPED"]


def test_a_silent_frozen_start_is_never_taken_over():
    cluster = started()
    cluster.ask("node1", Action.FREEZE_START)
    cluster.settle()
    cluster.power_off("node1")
    cluster.run(10 * T)
    assert cluster.hosts["node2"].state() is S.STOPPED


def test_a_copy_of_an_old_message_renews_nothing():
    """H18: what counts is the first arrival of the newest message."""
    cluster = started()
    cluster.run(2)
    node1 = cluster.hosts["node1"].engine
    old = node1._message(cluster.now)
    cluster.feed("node2", MessageReceived(old, PathId("node1", 0), cluster.now))
    cluster.power_off("node1")
    died = cluster.now
    while cluster.now < died + T + 0.1:
        cluster.run(0.5)
        cluster.feed("node2", MessageReceived(old, PathId("node1", 0), cluster.now))
        cluster.feed("node2", MessageReceived(old, PathId("node1", 1), cluster.now))
    cluster.run(1)
    assert cluster.hosts["node2"].state() is S.STARTED
    assert cluster.hosts["node2"].engine.counters["messages_stale"] > 10


def test_a_paused_node_does_not_take_its_own_pause_for_the_others_silence():
    """H4: nmond was not scheduled; the peer's messages lie unread in a socket while the clock says "silent"."""
    cluster = started()
    cluster.run(5)
    cluster.now += 25  # node2 is stopped; node1 went on, and its messages wait
    cluster.feed("node2", Tick())
    node2 = cluster.hosts["node2"]
    assert node2.state() is S.STOPPED
    assert [node2.engine.path_state(PathId("node1", index))[0] for index in (0, 1)] == [True, True]
    cluster.feed("node1", Tick())
    cluster.run(5 * T)
    assert cluster.states() == ["STARTED", "STOPPED"]
    assert node2.engine.counters["stalls"] == 1


def test_a_shorter_timeout_ends_the_listening_after_our_own_pause_too():
    cluster = started()
    cluster.run(5)
    slow = tuple(replace(p, timeout=10 * T) for p in cluster.config.paths)
    cluster.feed("node2", ConfigChanged(replace(cluster.config, paths=slow)))
    cluster.now += 15 * T
    cluster.feed("node2", Tick())
    cluster.power_off("node1")
    cluster.feed("node2", ConfigChanged(cluster.config))
    assert cluster.hosts["node2"].engine.peers["node1"].silent_at <= cluster.now + T / 2


def test_a_path_that_died_during_our_own_pause_is_down_after_a_while_of_listening():
    cluster = started()
    cluster.run(5)
    node2, path = cluster.hosts["node2"].engine, PathId("node1", 0)
    cluster.now += 25
    cluster.feed("node2", Tick())
    assert node2.path_state(path)[0]
    assert node2.next_deadline() <= cluster.now + T / 2
    until = cluster.now + T / 2
    while cluster.now < until:
        assert node2.path_state(path)[0]
        cluster.now += 0.5  # node1 is gone, and we are scheduled again
        cluster.feed("node2", Tick())
    assert not node2.path_state(path)[0]


def test_twin_without_the_stall_guard_the_pause_is_taken_for_silence(monkeypatch):
    monkeypatch.setattr(engine_module, "STALL_S", 1e9)
    cluster = started()
    cluster.run(5)
    cluster.now += 25
    cluster.feed("node2", Tick())
    assert cluster.hosts["node2"].state() is not S.STOPPED


# ------------------------------------------------------------------------------------------ collisions


@pytest.mark.parametrize("first", ["node1", "node2"])
def test_both_unfrozen_at_once_start_once(first):
    second = "node2" if first == "node1" else "node1"
    cluster = Cluster()
    cluster.run(0)
    cluster.ask(first, Action.UNFREEZE)
    cluster.ask(second, Action.UNFREEZE)  # before any message travelled
    assert cluster.states() == ["START_READY", "START_READY"]
    cluster.run(3 * T)
    assert cluster.states() == ["STARTED", "STOPPED"], "the same rank everywhere: the primary goes first"


def all_orders(cluster: Cluster, order: tuple[bool, ...]) -> None:
    """Both look around before any message came; then single messages in this order: True is node1's oldest."""
    cluster.now += 0.01
    for name in cluster.hosts:
        cluster.feed(name, Tick())
    for from_first in order:
        sender = cluster.hosts["node1" if from_first else "node2"]
        if sender.outbox:
            cluster._spread(sender.name, sender.outbox.pop(0))


@pytest.mark.parametrize("order", list(product((True, False), repeat=6)))
def test_two_claims_at_once_never_both_go_ahead_in_any_order_of_messages(order):
    """Dekker's flags: of two who claim at once at least one sees the other, and only one goes ahead."""
    cluster = Cluster()
    cluster.run(0)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.ask("node2", Action.UNFREEZE)
    all_orders(cluster, order)
    assert "STARTING" not in cluster.states() or cluster.states().count("STARTING") == 1
    cluster.run(3 * T)
    assert sorted(cluster.states()) == ["STARTED", "STOPPED"]


def test_twin_a_rank_that_goes_ahead_without_the_withdrawal_starts_twice(monkeypatch):
    """Shows that waiting for the withdrawal is what the collision test rests on."""
    real = evidence.judge

    def hasty(peer, service, acknowledged, needed, now, terms):
        verdict = real(peer, service, acknowledged, needed, now, terms)
        stopped = peer.entries.get(service)
        if stopped is not None and stopped.state in (S.STOPPED, S.FROZEN_STOP):
            return replace(verdict, standing=evidence.Standing.CLEAR)  # forgets the acknowledgement
        return verdict

    monkeypatch.setattr(sight, "judge", hasty)
    doubles = 0
    for order in product((True, False), repeat=6):
        cluster = Cluster()
        cluster.run(0)
        cluster.ask("node1", Action.UNFREEZE)
        cluster.ask("node2", Action.UNFREEZE)
        all_orders(cluster, order)
        doubles += cluster.states().count("STARTING") == 2
    assert doubles > 0


def test_after_a_boot_of_both_it_starts_where_it_ran_last():
    cluster = Cluster(None, BOTH_STOPPED)
    cluster.hosts["node1"].disk = NodeRecord(5, (ServiceRecord("web", S.STOPPED, 3, 3, 3),))
    cluster.hosts["node2"].disk = NodeRecord(5, (ServiceRecord("web", S.STARTED, 4, 4, 4),))
    cluster.restart("node1", boot=True)
    cluster.restart("node2", boot=True)
    cluster.run(2 * T)
    assert cluster.states() == ["STOPPED", "STARTED"]


def test_a_stop_gives_the_service_to_the_other_although_that_one_withdrew_before():
    """It was silent for a while, so the other one began to look, and saw it again: nothing ran there meanwhile."""
    cluster = started()
    cluster.sever("node1", "node2")
    cluster.ask("node1", Action.STOP)
    cluster.run(T + 0.2, scripts=False)
    assert cluster.states() == ["STOPPING", "STARTING"]
    cluster.cut.clear()
    cluster.run(2, scripts=False)
    cluster.end("node2")  # the check script
    assert cluster.states() == ["STOPPING", "STOPPED"]
    cluster.run(2, scripts=False)
    cluster.end("node1")
    cluster.run(1)
    assert cluster.states() == ["STOPPED", "STARTED"]


def test_the_better_node_is_not_waited_for_for_ever():
    """Deferring is a courtesy: node1 ranks higher but cannot claim, because it does not hear node2."""
    cluster = Cluster(None, BOTH_STOPPED)
    cluster.sever("node2", "node1")
    cluster.run(3 * T)
    assert cluster.states().count("STARTED") == 1


def test_a_claim_that_an_operator_withdraws_is_not_started():
    """H21: in the original a freeze-stop, stop or force-stop during START_READY is overwritten."""
    for action, left_in in ((Action.FREEZE_STOP, S.FROZEN_STOP), (Action.STOP, S.STOPPED)):
        cluster = Cluster()
        cluster.run(0)
        cluster.ask("node1", Action.UNFREEZE)  # no message travels yet: START_READY
        assert cluster.hosts["node1"].state() is S.START_READY
        asked = cluster.ask("node1", action)
        assert cluster.answer("node1", asked).ok
        assert left_in.name in cluster.hosts["node1"].story()
        assert not cluster.hosts["node1"].jobs


# ------------------------------------------------------------------------------------------ operators


def test_stop_on_the_active_hands_the_service_to_the_other():
    cluster = started()
    asked = cluster.ask("node1", Action.STOP)
    cluster.settle()
    assert cluster.answer("node1", asked).ok
    assert cluster.states() == ["STOPPED", "STARTED"]
    cluster.run(5 * T)
    assert cluster.states() == ["STOPPED", "STARTED"], "it stays there, though node1 is the primary"


def test_stop_with_the_other_frozen_starts_it_here_again():
    cluster = Cluster()
    cluster.run(0)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.settle()
    cluster.ask("node1", Action.STOP)
    cluster.run(5 * T)
    assert cluster.states() == ["STARTED", "FROZEN_STOP"]


def test_freeze_stop_then_unfreeze_moves_the_service():
    cluster = started()
    asked = cluster.ask("node1", Action.FREEZE_STOP)
    cluster.settle()
    assert cluster.answer("node1", asked).ok
    assert cluster.states() == ["FROZEN_STOP", "STARTED"]
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(5 * T)
    assert cluster.states() == ["STOPPED", "STARTED"]


def test_switch_gives_it_to_the_named_node_of_three():
    cluster = started(nodes=("node1", "node2", "node3"))
    cluster.ask("node3", Action.UNFREEZE)
    cluster.settle()
    asked = cluster.ask("node1", Action.SWITCH, target="node3")
    cluster.run(1)
    assert cluster.states() == ["STOPPED", "STOPPED", "STARTED"]
    assert cluster.answer("node1", asked).text == "STARTED on node3"
    cluster.run(5 * T)
    assert cluster.states() == ["STOPPED", "STOPPED", "STARTED"]


def test_switch_is_answered_where_another_ran_it_all_the_time():
    """Two run it, and do not hear each other; what one of them gives up is there already, in an older run."""
    cluster = started(nodes=("node1", "node2", "node3"))
    cluster.ask("node3", Action.UNFREEZE)
    for sender, receiver in (("node1", "node2"), ("node2", "node1"), ("node1", "node3")):
        cluster.sever(sender, receiver)
    cluster.run(2 * T)
    assert cluster.states() == ["STARTED", "STARTED", "STOPPED"]
    asked = cluster.ask("node2", Action.SWITCH)
    cluster.settle(scripts=False)
    cluster.heal()
    cluster.run(1)
    answer = cluster.answer("node2", asked)
    assert answer is not None and not answer.ok and answer.text == "STARTED on node1"


def test_switch_is_refused_where_a_third_node_keeps_the_other_from_starting_it():
    """Given up here, it would run nowhere."""
    cluster = started(nodes=("node1", "node2", "node3"))
    cluster.ask("node3", Action.UNFREEZE)
    cluster.run(1)
    cluster.boot("node3", NodeRecord(3), boot=False, unreadable=True)
    cluster.run(1)
    assert cluster.states() == ["STARTED", "STOPPED", "UNKNOWN"]
    answer = cluster.answer("node1", cluster.ask("node1", Action.SWITCH))
    assert not answer.ok
    assert answer.text.startswith("node2 could not start it: node3 says that its state is UNKNOWN")
    cluster.run(5 * T)
    assert cluster.states() == ["STARTED", "STOPPED", "UNKNOWN"]


def test_switch_is_refused_where_it_runs_twice():
    cluster = started(nodes=("node1", "node2", "node3"))
    cluster.ask("node3", Action.UNFREEZE)
    cluster.ask("node2", Action.FORCE_START, override=True)
    cluster.run(1)
    assert cluster.states() == ["STARTED", "STARTED", "STOPPED"]
    answer = cluster.answer("node2", cluster.ask("node2", Action.SWITCH))
    assert not answer.ok
    assert answer.text.startswith("node3 could not start it: node1 holds it (STARTED)")


def test_switch_ends_where_a_node_no_longer_knows_its_state():
    """Nobody takes it then until an operator has looked, and nobody is to wait so long for the answer."""
    cluster = started(nodes=("node1", "node2", "node3"))
    cluster.ask("node3", Action.UNFREEZE)
    cluster.run(1)
    asked = cluster.ask("node1", Action.SWITCH)
    cluster.boot("node3", NodeRecord(3), boot=False, unreadable=True)
    cluster.run(1)
    assert cluster.states() == ["STOPPED", "STOPPED", "UNKNOWN"]
    answer = cluster.answer("node1", asked)
    assert answer is not None and not answer.ok
    assert answer.text.startswith("it is stopped here, and nobody may start it: node3 says that its state is UNKNOWN")


def test_switch_is_refused_where_the_other_cannot_take_it():
    cluster = started()
    cluster.ask("node2", Action.FREEZE_STOP)
    cluster.settle()
    asked = cluster.ask("node1", Action.SWITCH)
    assert not cluster.answer("node1", asked).ok
    assert "node2 cannot take it" in cluster.answer("node1", asked).text
    assert cluster.states() == ["STARTED", "FROZEN_STOP"]


def test_start_is_refused_while_the_other_runs_it_and_says_so():
    cluster = started()
    asked = cluster.ask("node2", Action.START)
    answer = cluster.answer("node2", asked)
    assert not answer.ok
    assert answer.text.startswith("node1 holds it (STARTED), heard")


def test_force_start_is_refused_while_the_other_runs_it_and_can_be_overridden():
    cluster = started()
    asked = cluster.ask("node2", Action.FORCE_START)
    assert not cluster.answer("node2", asked).ok
    asked = cluster.ask("node2", Action.FORCE_START, override=True)
    assert cluster.answer("node2", asked).ok
    assert cluster.hosts["node2"].state() is S.STARTED
    note = next(n for n in cluster.hosts["node2"].notes if n.dest is S.STARTED)
    assert "without proof" in note.text and "--i-know" in note.text
    cluster.settle()
    assert any("both may run it" in n.text for n in cluster.hosts["node1"].notes), "and both nodes say so"


@pytest.mark.parametrize(("code", "refused"), [(0, True), (3, False), (1, False)])
def test_force_stop_asks_the_controller_first(code, refused):
    cluster = started()
    asked = cluster.ask("node1", Action.FORCE_STOP)
    assert cluster.answer("node1", asked) is None
    assert cluster.end("node1", code=code) is ScriptKind.STATUS
    assert cluster.answer("node1", asked).ok is not refused
    assert (cluster.hosts["node1"].state() is S.STARTED) is refused


def test_force_stop_with_override_ends_the_running_script_first():
    """Never two scripts of a service at once, whatever an operator insists on."""
    cluster = Cluster()
    cluster.run(0)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.deliver()
    asked = cluster.ask("node1", Action.FORCE_STOP)
    assert not cluster.answer("node1", asked).ok
    asked = cluster.ask("node1", Action.FORCE_STOP, override=True)
    assert cluster.hosts["node1"].killed == [(1, False)]
    assert cluster.hosts["node1"].state() is S.STARTING
    cluster.end("node1", code=15, how=Ended.KILLED)
    assert cluster.answer("node1", asked).ok


def test_a_command_for_an_unknown_service_is_refused():
    cluster = Cluster()
    asked = cluster.ask("node1", Action.START, "nothing")
    assert not cluster.answer("node1", asked).ok


def test_a_later_command_ends_the_waiting_of_an_earlier_one():
    cluster = Cluster(None, {"node1": S.FROZEN_STOP, "node2": S.FROZEN_STOP})
    cluster.run(0)
    cluster.sever("node2", "node1")
    cluster.ask("node1", Action.UNFREEZE)
    start = cluster.ask("node1", Action.START)
    assert not cluster.answer("node1", start).ok  # already START_READY
    stop = cluster.ask("node1", Action.STOP)
    assert cluster.answer("node1", stop).ok


# ------------------------------------------------------------------------------------------ failures


def start_and_fail(cleaning: int) -> Cluster:
    cluster = Cluster(None, {"node1": S.FROZEN_STOP, "node2": S.FROZEN_STOP})
    cluster.run(0)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.deliver()
    assert cluster.end("node1") is ScriptKind.CHECK
    assert cluster.end("node1", code=1) is ScriptKind.START
    assert cluster.hosts["node1"].state() is S.STARTING, "the cleaning stop belongs to the start"
    assert cluster.end("node1", code=cleaning) is ScriptKind.STOP
    cluster.deliver()
    assert cluster.hosts["node1"].state() is S.START_FAILED
    cluster.ask("node2", Action.UNFREEZE)
    cluster.run(3 * T)
    return cluster


def test_a_failed_start_that_was_cleaned_up_is_taken_over():
    """H10."""
    assert start_and_fail(cleaning=0).states() == ["START_FAILED", "STARTED"]


def test_a_failed_start_that_was_not_cleaned_up_is_never_taken_over():
    assert start_and_fail(cleaning=1).states() == ["START_FAILED", "STOPPED"]


def test_an_unclean_failure_put_aside_still_forbids_a_takeover_until_the_controller_says_down():
    for code, states in ((0, ["FROZEN_STOP", "STOPPED"]), (3, ["FROZEN_STOP", "STARTED"])):
        cluster = start_and_fail(cleaning=1)
        cluster.ask("node1", Action.FREEZE_STOP)
        assert cluster.end("node1", code=code) is ScriptKind.STATUS
        cluster.run(3 * T)
        assert cluster.states() == states


def test_a_check_script_that_forbids_the_start_lets_the_other_try():
    cluster = Cluster(None, {"node1": S.FROZEN_STOP, "node2": S.FROZEN_STOP})
    cluster.run(0)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.deliver()
    cluster.end("node1", code=1)
    cluster.ask("node2", Action.UNFREEZE)
    cluster.settle()
    assert cluster.states() == ["START_FAILED", "STARTED"]


def test_a_failed_stop_keeps_the_service_here():
    cluster = started()
    asked = cluster.ask("node1", Action.STOP)
    cluster.end("node1", code=1)
    assert not cluster.answer("node1", asked).ok
    cluster.run(3 * T)
    assert cluster.states() == ["STOP_FAILED", "STOPPED"]


def test_a_script_past_its_timeout_is_ended_step_by_step_and_counts_as_failed():
    """H17. It may even exit 0 on SIGTERM: late is failed."""
    cluster = started()
    cluster.ask("node1", Action.STOP)
    host = cluster.hosts["node1"]
    cluster.run(299.9, scripts=False)
    assert host.killed == []
    cluster.run(0.2, scripts=False)
    assert [force for _, force in host.killed] == [False]
    cluster.run(5, scripts=False)
    assert [force for _, force in host.killed] == [False, True]
    cluster.end("node1", code=0)
    assert host.state() is S.STOP_FAILED


def test_a_script_that_cannot_be_killed_blocks_only_its_service_and_nothing_is_run_beside_it():
    cluster = started(services=("web", "db"))
    cluster.ask("node1", Action.STOP)
    host = cluster.hosts["node1"]
    cluster.run(312, scripts=False)
    assert host.state() is S.STOP_FAILED
    refused = cluster.ask("node1", Action.FREEZE_STOP)
    assert "cannot be killed" in cluster.answer("node1", refused).text
    cluster.ask("node1", Action.UNFREEZE, "db")
    cluster.deliver()
    assert any(j.service == "db" for j in host.jobs.values())
    cluster.end("node1", "web", code=9, how=Ended.KILLED)
    assert host.notes[-1].text == "its stop script, which could not be killed, is over"
    allowed = cluster.ask("node1", Action.FREEZE_STOP)
    assert cluster.answer("node1", allowed).ok


def test_a_node_whose_records_cannot_be_written_is_heard_all_the_same():
    """Else a full disk on the active node would look like its death, and both would run."""
    cluster = started(services=("web", "db"))
    host = cluster.hosts["node1"]
    host.disk_full = True
    asked = cluster.ask("node1", Action.STOP)
    cluster.ask("node1", Action.UNFREEZE, "db")
    cluster.run(5 * T)
    assert cluster.states() == ["STARTED", "STOPPED"]
    assert cluster.hosts["node2"].engine.peers["node1"].living
    assert cluster.answer("node1", asked) is None, "the driver tells that nothing was done"
    host.disk_full = False
    cluster.run(2)
    assert [r.state for r in host.disk.services] == [s.state for s in host.engine.services.values()]


def test_while_records_cannot_be_written_they_are_tried_again_once_a_second():
    cluster = Cluster(config(timeout=0.5))
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(1)
    host = cluster.hosts["node1"]
    assert host.state() is S.STARTED
    host.disk_full = True
    cluster.ask("node1", Action.STOP)
    tried, sent = [], []
    for _ in range(100):
        cluster.now = host.engine.next_deadline()
        effects = host.engine.handle(Tick(), cluster.now)
        assert not effects.run
        if effects.persist:
            host.engine.rollback(cluster.now)
            tried.append(cluster.now)
        elif effects.send is not None:
            sent.append(cluster.now)
    assert len(tried) > 5
    assert all(later - earlier >= 1 for earlier, later in pairwise(tried))
    assert all(later - earlier < 2 * host.engine.period for earlier, later in pairwise(sent))


def test_a_script_that_is_over_is_not_signalled_though_its_end_cannot_be_written():
    cluster = Cluster()
    cluster.run(0)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(3)
    host = cluster.hosts["node1"]
    cluster.ask("node1", Action.STOP)
    host.disk_full = True
    ended = ScriptEnded("web", host.jobs.popitem()[0], Ended.EXITED)
    cluster.feed("node1", ended)
    cluster.ask("node1", Action.FORCE_START, override=True)
    assert not host.killed
    host.disk_full = False
    cluster.feed("node1", ended)
    assert host.state() is S.STARTED, "the force-start waited for the end"


def test_records_that_cannot_be_written_take_the_step_back_and_it_is_tried_again():
    """ENOSPC: what could not be remembered has not happened."""
    cluster = Cluster()
    cluster.run(0)
    host = cluster.hosts["node1"]
    host.disk_full = True
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(3, scripts=False)
    assert host.state() is S.FROZEN_STOP
    assert not host.jobs
    host.disk_full = False
    cluster.ask("node1", Action.UNFREEZE)
    host.disk_full = True
    cluster.run(2, scripts=False)
    assert host.state() in (S.STOPPED, S.START_READY)
    host.disk_full = False
    cluster.run(5)
    assert host.state() is S.STARTED


# ------------------------------------------------------------------------------------------ restart and boot


@pytest.mark.parametrize(
    ("state", "answers", "end"),
    [
        (S.STARTED, [0], S.STARTED),
        (S.STARTED, [1], S.STARTED),
        (S.FROZEN_START, [3], S.FROZEN_START),
        (S.STARTING, [0], S.STARTED),
    ],
)
def test_a_running_service_is_adopted_after_a_restart(state, answers, end):
    cluster = Cluster(None, {"node1": state, "node2": S.FROZEN_STOP})
    for code in answers:
        assert cluster.end("node1", code=code) is ScriptKind.STATUS
    assert cluster.hosts["node1"].state() is end
    assert not cluster.hosts["node1"].jobs


@pytest.mark.parametrize("state", [S.STARTED, S.STARTING])
def test_a_service_found_down_after_a_restart_is_cleaned_up_and_claimed_anew(state):
    cluster = Cluster(None, {"node1": state, "node2": S.FROZEN_STOP})
    assert cluster.end("node1", code=3) is ScriptKind.STATUS
    assert cluster.hosts["node1"].state() is S.STOPPING
    assert cluster.end("node1") is ScriptKind.STOP
    cluster.run(1)
    assert cluster.hosts["node1"].story()[-4:] == ["STOPPED", "START_READY", "STARTING", "STARTED"]


def test_a_stop_that_was_interrupted_is_finished_as_it_was_asked():
    cluster = Cluster(None, {"node1": S.STOPPED, "node2": S.FROZEN_STOP})
    record = ServiceRecord("web", S.STOPPING, 4, 4, 4, demoted=True, freeze=True)
    cluster.boot("node1", NodeRecord(7, (record,)), boot=False)
    assert cluster.end("node1") is ScriptKind.STOP
    assert cluster.hosts["node1"].state() is S.FROZEN_STOP


def test_a_leftover_script_is_waited_for_and_nothing_is_started_beside_it():
    cluster = Cluster(None, {"node1": S.STARTING, "node2": S.FROZEN_STOP})
    host = cluster.restart("node1", orphans={"web": ScriptKind.START})
    assert not host.jobs
    cluster.run(20, scripts=False)
    assert not host.jobs
    cluster.feed("node1", ScriptEnded("web", ORPHAN, Ended.LOST))
    assert [j.kind for j in host.jobs.values()] == [ScriptKind.STATUS]
    cluster.end("node1", code=0)
    assert host.state() is S.STARTED


@pytest.mark.parametrize("asked", [True, False])
def test_a_freeze_is_not_lost_by_a_stop_that_fails_and_a_boot(asked: bool):
    cluster = Cluster(None, {"node1": S.STARTED, "node2": S.FROZEN_STOP})
    cluster.end("node1")
    cluster.ask("node1", Action.FREEZE_STOP if asked else Action.STOP)
    assert cluster.end("node1", code=1) is ScriptKind.STOP
    assert cluster.hosts["node1"].state() is S.STOP_FAILED
    host = cluster.restart("node1", boot=True)
    assert host.state() is (S.FROZEN_STOP if asked else S.STOPPED)
    assert not host.engine.services["web"].record.freeze


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (S.FROZEN_STOP, S.FROZEN_STOP),
        (S.FROZEN_START, S.FROZEN_STOP),
        (S.STARTED, S.STOPPED),
        (S.STARTING, S.STOPPED),
        (S.STOPPING, S.STOPPED),
        (S.START_FAILED, S.STOPPED),
        (S.STOP_FAILED, S.STOPPED),
        (S.START_READY, S.STOPPED),
        (S.STOPPED, S.STOPPED),
    ],
)
def test_what_a_boot_makes_of_each_state(before, after):
    cluster = Cluster(None, {"node1": before, "node2": S.FROZEN_STOP})
    cluster.hosts["node1"].jobs.clear()
    host = cluster.restart("node1", boot=True)
    assert host.state() is after
    assert not host.jobs


def test_secondaries_can_be_made_to_boot_frozen():
    cluster = Cluster(None, BOTH_STOPPED)
    assert cluster.restart("node2", boot=True, freeze_secondary=True).state() is S.FROZEN_STOP
    assert cluster.restart("node1", boot=True, freeze_secondary=True).state() is S.STOPPED


def test_an_unreadable_record_is_unknown_and_starts_nothing():
    """H9, H12: UNKNOWN here is not a licence to start."""
    cluster = Cluster(None, {"node1": S.STOPPED, "node2": S.FROZEN_STOP})
    host = cluster.boot("node1", NodeRecord(3), boot=False, unreadable=True)
    cluster.run(3 * T)
    assert host.state() is S.UNKNOWN
    assert not host.jobs
    cluster.ask("node2", Action.UNFREEZE)
    cluster.run(3 * T)
    assert cluster.hosts["node2"].state() is S.STOPPED, "and the other node does not either: it may run there"


def test_freeze_start_survives_a_restart():
    cluster = started()
    cluster.ask("node1", Action.FREEZE_START)
    cluster.settle()
    host = cluster.restart("node1")
    cluster.run(3 * T)
    assert host.state() is S.FROZEN_START


def test_a_restarted_node_proves_silence_anew():
    """Silence begins at the earliest when this incarnation began to listen."""
    cluster = started()
    cluster.power_off("node1")
    cluster.run(T - 2)
    cluster.restart("node2")
    cluster.run(T - 1)
    assert cluster.hosts["node2"].state() is S.STOPPED
    cluster.run(2)
    assert cluster.hosts["node2"].state() is S.STARTED


def test_generations_only_rise_and_every_run_has_its_own():
    cluster = started()
    seen = []
    for _ in range(3):
        for active in ("node1", "node2"):
            seen.append(cluster.hosts[active].engine.services["web"].record.last_run)
            cluster.ask(active, Action.STOP)
            cluster.run(1)
    assert seen == sorted(set(seen)), seen


def test_a_reinstalled_node_goes_above_the_incarnation_that_its_peers_have_seen():
    cluster = started()
    for _ in range(4):
        cluster.restart("node2")
        cluster.run(1)
    high = cluster.hosts["node2"].engine.incarnation.counter
    cluster.boot("node2", NodeRecord(0, (ServiceRecord("web", S.STOPPED),)), boot=False)
    assert cluster.hosts["node2"].engine.incarnation.counter < high
    cluster.run(3)
    engine = cluster.hosts["node2"].engine
    assert engine.incarnation.counter > high
    assert cluster.hosts["node2"].disk.incarnation == engine.incarnation.counter
    assert cluster.hosts["node1"].engine.peers["node2"].newest.incarnation == engine.incarnation


def test_forged_numbers_leave_nothing_that_could_not_be_recorded_or_sent():
    """Once it is silent, a forger must not have left a node that can never start again, or never claim."""
    cluster = started()
    genuine = cluster.hosts["node1"].engine._message(cluster.now)
    top = tuple(replace(e, state=S.STOPPED, generation=MAX_GENERATION) for e in genuine.services)
    ack = replace(genuine.acks[0], incarnation=Incarnation(MAX_COUNTER - 1, 7))
    forged = replace(genuine, seq=genuine.seq + 1000, services=top, acks=(ack,))
    before = cluster.hosts["node2"].engine.incarnation
    cluster.feed("node2", MessageReceived(forged, PathId("node1", 0), cluster.now))
    assert cluster.hosts["node2"].engine.incarnation == before
    cluster.power_off("node1")
    cluster.run(2 * T)
    assert cluster.hosts["node2"].state() is S.STARTED
    record = cluster.hosts["node2"].disk
    assert decode(Encoder("node2").encode(record, "1:1"), "node2").record == record


def test_messages_of_strangers_change_nothing_and_are_counted():
    """H7."""
    cluster = started()
    engine = cluster.hosts["node2"].engine
    genuine = cluster.hosts["node1"].engine._message(cluster.now)
    forged = replace(genuine, seq=genuine.seq + 1000)
    before = (cluster.states(), engine.peers["node1"].newest)
    where = PathId("node1", 0)
    cluster.feed("node2", MessageReceived(replace(forged, cluster=1), where, cluster.now))
    cluster.feed("node2", MessageReceived(replace(forged, node=12345), where, cluster.now))
    cluster.feed("node2", MessageReceived(replace(forged, node=engine.id), where, cluster.now))
    wrong = Incarnation(forged.incarnation.counter, forged.incarnation.nonce + 1)
    cluster.feed("node2", MessageReceived(replace(forged, incarnation=wrong), where, cluster.now))
    assert (cluster.states(), engine.peers["node1"].newest) == before
    for key in ("messages_other_cluster", "messages_wrong_sender", "messages_own_name", "messages_conflict"):
        assert engine.counters[key] == 1


def test_a_service_that_the_other_node_does_not_know_as_we_do_is_not_started():
    cluster = Cluster(None, BOTH_STOPPED)
    cluster.power_off("node2")
    other = replace(cluster.config.services["web"], nodes=("node2", "node1"))
    cluster.config = replace(cluster.config, services={"web": other})
    cluster.boot("node2", NodeRecord(1, (ServiceRecord("web", S.STOPPED),)), boot=False)
    cluster.run(3 * T)
    assert cluster.states() == ["STOPPED", "STOPPED"]
    assert "compare conf/services" in cluster.hosts["node1"].engine.waits_for("web", cluster.now)


# ------------------------------------------------------------------------------------------ the rest


def test_services_come_and_go_with_the_configuration():
    cluster = started()
    more = config(services=("web", "db"))
    cluster.feed("node1", ConfigChanged(more))
    assert cluster.hosts["node1"].state() is S.STARTED
    assert cluster.hosts["node1"].state("db") is S.FROZEN_STOP
    assert cluster.hosts["node1"].engine.objections(config(services=("db",)))
    assert not cluster.hosts["node2"].engine.objections(config(services=("db",)))


def test_a_service_whose_state_is_not_known_is_not_taken_out_of_the_configuration():
    """It may run: who has forgotten it would tell the others that it does not."""
    cluster = Cluster(None, {"node1": S.UNKNOWN, "node2": S.STOPPED})
    objections = cluster.hosts["node1"].engine.objections(config(services=("db",)))
    assert objections == ["service web is UNKNOWN here and cannot be removed: stop it first"]


def test_where_a_record_was_lost_a_service_that_comes_later_may_run_all_the_same():
    cluster = Cluster(config(services=("web", "db")), {"node1": S.STOPPED, "node2": S.STOPPED})
    cluster.config = config(services=("db",))
    host = cluster.boot("node1", NodeRecord(3), boot=False, unreadable=True)
    host = cluster.boot("node1", host.disk, boot=False)
    cluster.feed("node1", ConfigChanged(config(services=("web", "db"))))
    assert host.state() is S.UNKNOWN
    host = cluster.boot("node1", replace(host.disk, services=()), boot=True)
    cluster.feed("node1", ConfigChanged(config(services=("web", "db"))))
    assert host.state() is S.FROZEN_STOP, "a boot ends what ran"


def test_where_a_record_was_lost_a_service_that_was_stopped_and_left_comes_back_as_any_other():
    """It is known not to run, over another nmond, too: nobody has to stop it once more on every node."""
    cluster = Cluster(config(services=("web", "db")), {"node1": S.STOPPED, "node2": S.STOPPED})
    host = cluster.boot("node1", NodeRecord(3), boot=False, unreadable=True)
    assert host.state() is S.UNKNOWN
    cluster.ask("node1", Action.STOP)
    assert cluster.end("node1") is ScriptKind.STOP
    assert host.state() is not S.UNKNOWN
    while host.jobs:
        cluster.end("node1")
    cluster.ask("node1", Action.FREEZE_STOP)
    while host.jobs:
        cluster.end("node1")
    cluster.config = config(services=("db",))
    cluster.feed("node1", ConfigChanged(cluster.config))
    host = cluster.restart("node1")
    assert not any("does not name it" in note.text for note in host.notes)
    assert host.guard == float("inf")
    cluster.feed("node1", ConfigChanged(config(services=("web", "db"))))
    assert host.state() is S.FROZEN_STOP and host.state("db") is S.UNKNOWN


def test_what_a_peer_said_is_not_lost_with_a_step_that_could_not_be_persisted():
    cluster = started()
    host = cluster.hosts["node2"]
    seen = host.engine.services["web"].record.seen
    host.disk_full = True
    cluster.sever("node2", "node1")
    for _ in range(2):
        cluster.hosts["node1"].engine.services["web"] = replace(
            cluster.hosts["node1"].engine.services["web"],
            record=replace(cluster.hosts["node1"].engine.services["web"].record, last_run=seen + 5),
        )
        cluster.hosts["node1"].engine._entries = None
        cluster.run(2)
    assert host.engine.services["web"].record.seen == seen
    host.disk_full = False
    cluster.run(3)
    assert host.engine.services["web"].record.seen == seen + 5


def heard_again_during_the_check(guard: bool) -> Cluster:
    """node2 took the silence of node1 for its end, and hears it again while its check script runs."""
    cluster = started()
    cluster.sever("node1", "node2")
    cluster.run(T + 1, scripts=False)
    assert cluster.states() == ["STARTED", "STARTING"]
    cluster.heal()
    cluster.run(2, scripts=False)
    if not guard:
        cluster.hosts["node2"].engine.peers["node1"].entries.clear()
    assert cluster.end("node2") is ScriptKind.CHECK
    return cluster


def test_who_is_heard_again_before_the_start_script_keeps_the_service():
    cluster = heard_again_during_the_check(guard=True)
    host = cluster.hosts["node2"]
    assert host.state() is S.STOPPED and not host.jobs
    assert "withdrawn before anything was started: node1 holds it (STARTED)" in host.notes[-1].text
    assert host.engine.services["web"].record.last_run == 0, "it has not run here"
    cluster.run(3 * T)
    assert cluster.states() == ["STARTED", "STOPPED"]


def test_without_the_second_look_both_would_run():
    cluster = heard_again_during_the_check(guard=False)
    assert [job.kind for job in cluster.hosts["node2"].jobs.values()] == [ScriptKind.START]


def test_a_command_that_needs_a_script_waits_for_one_that_an_earlier_nmond_left():
    cluster = Cluster(None, {"node1": S.START_FAILED, "node2": S.FROZEN_STOP})
    record = cluster.hosts["node1"].disk
    unclean = NodeRecord(record.incarnation, tuple(replace(r, unclean=True) for r in record.services))
    cluster.boot("node1", unclean, boot=False, orphans={"web": ScriptKind.START})
    command = cluster.ask("node1", Action.FREEZE_STOP)
    answer = cluster.answer("node1", command)
    assert answer is not None and not answer.ok and "its start script is still running" in answer.text


def restarted_without(cluster: Cluster) -> Host:
    """nmond of node1 was killed, and its next one does not find the service in its configuration."""
    complete, cluster.config = cluster.config, config(services=("db",))
    host = cluster.restart("node1")
    cluster.config = complete
    return host


def test_a_running_service_that_left_the_configuration_is_remembered_until_it_is_back():
    cluster = started()
    host = restarted_without(cluster)
    assert "conf/services does not name it any more" in host.notes[-1].text
    assert [(r.name, r.state) for r in host.disk.services] == [("db", S.FROZEN_STOP), ("web", S.STARTED)]
    cluster.run(3 * T)
    assert cluster.hosts["node2"].state() is S.STOPPED, "it is said to nobody that it does not run"
    host.engine = Engine.restore(host.engine.snapshot(), config(services=("db",)), "node1", cluster.now)
    cluster.feed("node1", ConfigChanged(cluster.config))
    assert cluster.end("node1", code=0) is ScriptKind.STATUS
    cluster.run(3 * T)
    assert cluster.states() == ["STARTED", "STOPPED"]


@pytest.mark.parametrize("orphan", [True, False])
def test_a_service_that_is_back_is_adopted_once_the_record_can_be_written(orphan: bool):
    """The configuration is in force meanwhile, whatever the disk says."""
    cluster = started()
    complete, cluster.config = cluster.config, config(services=("db",))
    host = cluster.restart("node1", orphans={"web": ScriptKind.STOP} if orphan else {})
    cluster.config, host.disk_full = complete, True
    cluster.feed("node1", ConfigChanged(complete))
    assert host.state() is S.STARTED and not host.jobs
    for _ in range(3):
        cluster.now += 1.1
        cluster.feed("node1", Tick())
        assert host.state() is S.STARTED and not host.jobs
    host.disk_full = False
    cluster.now += 1.1
    cluster.feed("node1", Tick())
    if orphan:
        assert not host.jobs, "its script is still running"
        cluster.feed("node1", ScriptEnded("web", ORPHAN, Ended.LOST))
    assert [job.kind for job in host.jobs.values()] == [ScriptKind.STATUS]


def test_without_that_memory_both_would_run_it():
    cluster = started()
    host = restarted_without(cluster)
    host.engine._strays.clear()
    cluster.feed("node1", ConfigChanged(cluster.config))
    cluster.run(3 * T)
    assert cluster.states() == ["FROZEN_STOP", "STARTED"]


def test_a_script_of_a_service_that_left_the_configuration_is_waited_for_when_it_is_back():
    cluster = started()
    complete, cluster.config = cluster.config, config(services=("db",))
    host = cluster.restart("node1", orphans={"web": ScriptKind.STOP})
    cluster.config = complete
    cluster.feed("node1", ConfigChanged(complete))
    assert not host.jobs
    cluster.feed("node1", ScriptEnded("web", ORPHAN, Ended.LOST))
    assert cluster.end("node1") is ScriptKind.STATUS


def test_a_script_of_a_service_that_left_the_configuration_may_end_before_it_is_back():
    cluster = started()
    complete, cluster.config = cluster.config, config(services=("db",))
    host = cluster.restart("node1", orphans={"web": ScriptKind.STOP})
    cluster.config = complete
    cluster.feed("node1", ScriptEnded("web", ORPHAN, Ended.LOST))
    assert host.notes[-1].kind is NoteKind.ALERT and "put it back" in host.notes[-1].text, "and no other alert"
    cluster.feed("node1", ConfigChanged(complete))
    assert cluster.end("node1") is ScriptKind.STATUS


def test_a_boot_forgets_services_that_left_the_configuration():
    cluster = started()
    cluster.power_off("node1")
    complete, cluster.config = cluster.config, config(services=("db",))
    host = cluster.restart("node1", boot=True)
    cluster.config = complete
    assert [r.name for r in host.disk.services] == ["db"]


def test_a_snapshot_carries_everything_over_an_exec():
    cluster = started()
    cluster.run(3)
    host: Host = cluster.hosts["node2"]
    plain = host.engine.snapshot()
    host.engine = Engine.restore(plain, cluster.config, "node2", cluster.now)
    assert host.engine.snapshot() == plain
    died = host.engine.peers["node1"].arrival
    cluster.power_off("node1")
    cluster.run(died + T - cluster.now + 0.01)
    assert host.state() is S.STARTED, "the silence counts through the restart"


def test_a_snapshot_that_is_not_understood_is_refused():
    cluster = started()
    plain = cluster.hosts["node2"].engine.snapshot()
    for broken in ({}, plain | {"services": [{"!": "Popen"}]}, plain | {"peers": [{}]}):
        with pytest.raises(ValueError):
            Engine.restore(broken, cluster.config, "node2", cluster.now)


def test_takeover_of_many_services_is_one_write_and_one_message():
    cluster = started(services=(*(f"s{i}" for i in range(50)), "web"))
    for i in range(50):
        cluster.ask("node1", Action.UNFREEZE, f"s{i}")
        cluster.settle()
        cluster.ask("node2", Action.UNFREEZE, f"s{i}")
    cluster.run(1)
    cluster.power_off("node1")
    node2 = cluster.hosts["node2"].engine
    while node2.peers["node1"].silent_at > cluster.now:
        cluster.now = node2.next_deadline()
        effects = node2.handle(Tick(), cluster.now)
    assert len(effects.persist) == 51
    assert effects.send is not None


def test_three_nodes_two_standby_start_once_when_the_active_dies():
    cluster = started(nodes=("node1", "node2", "node3"))
    cluster.ask("node3", Action.UNFREEZE)
    cluster.run(1)
    cluster.power_off("node1")
    cluster.run(3 * T)
    assert cluster.states()[1:] == ["STARTED", "STOPPED"]


def test_many_ends_as_one_fact_are_what_they_are_one_by_one():
    """The driver may tell them together: the same records, notes and scripts, in one step."""
    names = tuple(f"web{number}" for number in range(6))
    outcomes = []
    for together in (False, True):
        cluster = Cluster(config(services=names), {"node1": State.STOPPED, "node2": State.FROZEN_STOP})
        cluster.run(1.0, scripts=False)
        host = cluster.hosts["node1"]
        for _ in range(2):  # the check scripts, then the start scripts, one of which fails
            ends = [
                ScriptEnded(
                    job.service, job.job, Ended.EXITED, int(job.service == "web3" and job.kind.value == "start")
                )
                for job in host.jobs.values()
            ]
            assert len(ends) == 6
            host.jobs.clear()
            for event in [ScriptsEnded(tuple(ends))] if together else ends:
                cluster.feed("node1", event)
        outcomes.append((host.disk, [note.text for note in host.notes], list(host.jobs.values())))
    assert outcomes[0] == outcomes[1]
    assert outcomes[1][0].services[0].state is State.STARTED
    assert [job.service for job in outcomes[1][2]] == ["web3"], "what failed is cleaned up"


def test_the_engine_comes_back_for_the_first_script_that_is_late_whatever_ended_meanwhile():
    names = ("web0", "web1", "web2")
    cluster = Cluster(config(services=names), {"node1": State.STOPPED, "node2": State.FROZEN_STOP})
    host = cluster.hosts["node1"]
    cluster.run(1.0, scripts=False)
    cluster.end("node1", "web0", 0)
    cluster.run(1.0, scripts=False)
    cluster.end("node1", "web1", 0)
    first = next(job for job in host.jobs.values() if job.service == "web2")
    due = host.engine.services["web2"].job.deadline
    cluster.end("node1", "web0", 0)
    assert host.engine._presses_at() == due
    cluster.now = due
    cluster.feed("node1", Tick())
    assert host.killed == [(first.job, False)]
    assert host.engine._presses_at() == due + host.engine.services["web2"].config.kill_grace
