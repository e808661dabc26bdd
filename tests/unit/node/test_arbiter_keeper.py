"""A service's key in etcd: got, kept, lost, given back; and never two owners, whatever etcd and the network do."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha.fsm.timing import DRIFT, Timing
from ha.node.arbiter import keeper as keeper_module
from ha.node.arbiter.answers import Key
from ha.node.arbiter.arithmetic import forgotten_after, request_timeout, ttl
from ha.node.arbiter.keeper import Answer, Keeper
from ha.node.arbiter.memory import Memory
from tests.unit.node.etcd_model import ENDPOINTS
from tests.unit.node.etcd_world import LONGEST, STATES, WHAT, Stale, T, World, play

WEB = "/ezha/c/web"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.forget_nothing()
    return made


# ------------------------------------------------------------------------------------------------ arithmetic


@given(st.floats(0.2, 120))
def test_a_key_outlives_its_holder_by_the_two_worst_clocks(timeout: float) -> None:
    timing = Timing(timeout)
    assert ttl(timing) * (1 - DRIFT) >= timing.ended * (1 + DRIFT)
    assert ttl(timing) <= timeout + 1
    assert forgotten_after(ttl(timing)) > ttl(timing)


@given(st.floats(1, 120), st.integers(1, 16))
def test_all_endpoints_but_one_may_hang(timeout: float, endpoints: int) -> None:
    period = min(1.0, timeout / 5)
    wait = request_timeout(Timing(timeout), period, endpoints)
    assert wait == 0.05 or period + wait * (endpoints + 1) <= Timing(timeout).lease + 1e-9


# ------------------------------------------------------------------------------------------- got, kept, lost


def test_it_is_got_and_kept(world: World) -> None:
    world.one.want("web")
    world.run(5)
    assert world.one.said[0].detail == "obtained"
    assert all(answer.ours for answer in world.one.said)
    assert world.etcd.store.keys[WEB].value == b'{"node": "node1", "incarnation": "1"}'
    # Renewed each second, counted from the sending.
    assert 4 <= len(world.one.said) <= 6
    assert world.clock() - world.one.last.asked <= 1.01


def test_the_other_is_told_whose_it_is_once_and_gets_it_when_it_is_given_back(world: World) -> None:
    world.one.want("web")
    world.run(1)
    world.two.want("web")
    world.run(3)
    assert [(a.ours, a.detail) for a in world.two.said] == [(False, "its key in etcd is node1's")]
    world.one.want()
    world.run(0.5)
    assert (world.one.last.ours, world.one.last.detail) == (False, "it was given back")
    assert world.two.last.ours


def test_the_other_gets_it_when_the_lease_has_ended_and_not_before(world: World) -> None:
    world.one.want("web")
    world.run(3)
    world.two.want("web")
    world.one.link.state = "down"
    world.run(2 * T)
    assert world.two.last.ours
    first = next(a for a in world.two.said if a.ours)
    assert world.one.may_run_until() <= first.asked <= world.one.may_run_until() + 1.5


def test_a_key_that_is_taken_away_is_told_at_once(world: World) -> None:
    world.one.want("web")
    world.run(2)
    world.etcd.store.keys[WEB] = Key(WEB, b'{"node":"node2"}', 1, 99, 99)
    world.run(1)
    assert world.one.last == Answer("web", False, world.one.last.asked, "its key in etcd is node2's")


def test_a_lease_that_ended_is_told(world: World) -> None:
    world.one.want("web")
    world.run(2)
    world.etcd.drop(world.etcd.store.keys[WEB].lease)
    since = len(world.one.said)
    world.run(1)
    assert [(a.ours, a.detail) for a in world.one.said[since:]][:2] == [
        (False, "its lease has ended in etcd"),
        (True, "obtained"),
    ]


def test_while_nobody_answers_nothing_is_said_and_the_reason_is_kept(world: World) -> None:
    world.one.want("web")
    world.run(2)
    since = len(world.one.said)
    world.one.link.state = "down"
    world.run(3)
    assert world.one.said[since:] == []
    assert world.one.keeper.trouble == "etcd cannot be used: nobody answers"
    world.one.link.state = "ok"
    world.run(2)
    assert world.one.keeper.trouble == ""
    assert world.one.last.ours


def test_what_could_not_be_given_back_ends_by_itself(world: World) -> None:
    world.one.want("web")
    world.run(2)
    world.one.link.state = "down"
    world.one.want()
    world.run(T + 2)
    assert (world.one.last.ours, world.one.last.detail) == (False, "its lease has ended by itself")
    assert not world.one.keeper.returning


def test_a_put_whose_answer_was_lost_is_found_again(world: World) -> None:
    world.one.want("web")
    world.one.link.state = "deaf"
    world.run(1)
    assert not world.one.said
    world.one.link.state = "ok"
    world.run(2)
    assert world.one.last.ours


def test_the_next_process_of_the_node_takes_on_what_the_last_one_held(world: World) -> None:
    world.one.want("web")
    world.run(2)
    world.one.start()
    world.one.want("web")
    world.run(0.3)
    assert (world.one.last.ours, world.one.last.detail) == (True, "obtained")
    world.run(2 * T)
    assert world.one.last.ours
    assert not any(answer.ours is False for answer in world.one.said)


def test_a_key_of_somebody_else_is_left_alone(world: World) -> None:
    world.etcd.store.keys[WEB] = Key(WEB, b"\xff{", 0, 5, 5)
    world.one.want("web")
    world.run(1)
    assert world.one.said[0].detail == "its key in etcd is somebody's who is no node of ezha"
    assert world.etcd.store.keys[WEB].value == b"\xff{"


def test_a_lease_shorter_than_asked_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.one.link, "grant", lambda seconds: (world.etcd.header(), world.etcd.grant(2), 2))
    world.one.want("web")
    world.run(1)
    assert world.one.said[0].detail == "etcd grants 2 s, where 10 s are needed"
    assert not world.etcd.store.keys


# ------------------------------------------------------------------------------------------- which cluster


def test_at_the_first_contact_ever_nothing_is_created_for_the_time_of_a_lease(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.one.want("web")
    world.run(T - 1)
    assert [a.ours for a in world.one.said] == [False]
    assert "may have forgotten" in world.one.last.detail
    world.run(2)
    assert world.one.last.ours


def test_endpoints_of_two_clusters_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.one.link.seen = dict(zip(ENDPOINTS, (7, 8, "does not answer"), strict=True))
    world.one.want("web")
    world.run(2 * T)
    assert "the endpoints belong to different clusters" in world.one.keeper.trouble
    assert not world.one.said


def test_less_than_half_of_the_endpoints_do_not_say_which_cluster_it_is(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.one.link.seen = {ENDPOINTS[0]: 7, ENDPOINTS[1]: "is down", ENDPOINTS[2]: "is down"}
    world.one.want("web")
    world.run(2 * T)
    assert "more than half of the endpoints must say" in world.one.keeper.trouble


@pytest.mark.parametrize("cluster", [0, 8], ids=["the same cluster", "a new one"])
def test_an_etcd_that_forgot_makes_no_second_owner(world: World, cluster: int) -> None:
    """Node2 finds the key gone at the moment of the restore; node1 hears of that with its next renewal only."""
    backup = world.etcd.backup()
    world.etcd.store.revision += 50
    world.one.want("web")
    world.run(3)
    world.two.want("web")
    world.run(1)
    world.etcd.restore(backup, cluster)
    world.one.link.state = "down"
    world.run(3 * T)
    first = next(a for a in world.two.said if a.ours)
    assert first.asked >= world.one.may_run_until()


def test_without_the_memory_it_would(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "see", lambda self, cluster, revision, at: True)
    test = test_an_etcd_that_forgot_makes_no_second_owner
    with pytest.raises(AssertionError):
        test(world, 0)


def test_the_memory_lives_on_in_a_file_and_one_that_is_broken_is_none(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    fresh = Memory(str(path), 5.0)
    assert not fresh.see(7, 5, 100.0)
    assert not Memory(str(path), 5.0).see(7, 5, 101.0)
    fresh.settle()
    assert path.stat().st_mode & 0o777 == 0o600
    whole = path.read_text()
    assert Memory(str(path), 5.0).see(7, 5, 105.0)
    for cluster, revision, at in ((7, 4, 101.0), (8, 5, 101.0), (7, 5, 105.1)):
        path.write_text(whole)
        assert not Memory(str(path), 5.0).see(cluster, revision, at)
    for text in ("", "[]", '{"cluster": 1}', '{"cluster": "x", "revision": 1, "at": 1}', "[" * 5000):
        path.write_text(text)
        assert Memory(str(path), 5.0).cluster == 0


def test_a_memory_that_cannot_be_written_lets_nothing_go(world: World, tmp_path: Path) -> None:
    world.one.memory._path = str(tmp_path / "gone" / "seen")
    world.one.want("web")
    world.run(3)
    assert world.one.last.ours
    assert "cannot be written" in world.one.keeper.trouble


# --------------------------------------------------------------------------------------- never two owners


STEPS = st.lists(
    st.tuples(st.sampled_from(WHAT), st.sampled_from(STATES), st.floats(0.1, LONGEST)), min_size=4, max_size=16
)
RATES = st.tuples(*(st.sampled_from([1 - DRIFT, 1.0, 1 + DRIFT]) for _ in range(3)))


@settings(max_examples=25)
@given(STEPS, RATES)
def test_whatever_happens_there_are_never_two(
    steps: list[tuple[str, str, float]], rates: tuple[float, float, float]
) -> None:
    play(steps, rates)


STALE_LEADER = [("run", "ok", 3.0), ("one", "stale", 2 * T)]


def test_a_renewal_by_a_leader_that_leads_no_more_counts_for_nothing() -> None:
    play(STALE_LEADER, (1.0, 1.0, 1.0))


def test_were_its_term_not_looked_at_there_would_be_two(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(self, service, mine, key, header, sent, now):  # type: ignore[no-untyped-def]
        if key is not None and sent is not None:
            self._say(Answer(service, True, sent[0], "renewed"))
        elif key is None:
            self._lose(service, mine, now, "gone")

    monkeypatch.setattr(Keeper, "_judge", trusting)
    with pytest.raises(Stale):
        play(STALE_LEADER, (1.0, 1.0, 1.0))


def test_were_the_time_of_the_lease_that_of_standing_there_would_be_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "ttl", lambda timing: int(timing.lease))
    with pytest.raises(Stale):
        play([("run", "ok", 3.0), ("one", "down", 2 * T)], (1.0, 1.0, 1.0))
