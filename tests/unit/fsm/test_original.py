"""What the messages of an original OpenHA node mean: its life, its sevens, its runs, and our second look."""

from dataclasses import replace

import pytest

from ha.fsm import original
from ha.fsm.config import OPENHA, ClusterConfig, PathConfig, PathId, ServiceConfig
from ha.fsm.evidence import NO_TERMS, Standing, Terms, Verdict, judge
from ha.fsm.message import Heartbeat, Incarnation, ServiceEntry
from ha.fsm.peers import Heard, Peer, PeerPath
from ha.fsm.states import Promise, State

T = 2.0
SERVICES = {
    name: ServiceConfig(name, f"/{name}", nodes, "/bin/true")
    for name, nodes in {"web": ("node1", "node2"), "db": ("node2", "node1"), "far": ("node2", "node3")}.items()
}
PATHS = tuple(
    PathConfig(PathId(node, index), f"eth{index}:{node}", "net", T, f"{node} {index}", OPENHA)
    for node in ("node1", "node2", "node3")
    for index in (0, 1)
)
CONFIG = ClusterConfig("test", ("node1", "node2", "node3"), PATHS, SERVICES)
WEB, DB = SERVICES["web"].id, SERVICES["db"].id


class Ear:
    """node1's, for node2."""

    def __init__(self, floor: int = 0) -> None:
        self.peer = Peer("node2", T, 0.0, [PeerPath(path) for path in CONFIG.paths_of("node2")])
        self.floor = floor
        self.now = 0.0

    def hear(self, seconds: int, state: State = State.STOPPED, path: int = 0, by_ezha: bool = False) -> Heard:
        self.now += 0.1
        message = original.heard(CONFIG, "node2", "node1", seconds, [("web", state)], by_ezha)
        message = original.placed(message, self.peer, path, {WEB: self.floor})
        return self.peer.hear(message, path, self.now)

    def after(self, *states: State) -> ServiceEntry:
        """What is known of web after these, a second each."""
        for seconds, state in enumerate(states, 100):
            self.hear(seconds, state)
        return self.peer.entries[WEB]

    def verdict(self, terms: Terms = NO_TERMS) -> Verdict:
        verdict = judge(self.peer, WEB, 1, 1, self.now, terms)
        return original.judged(self.peer, self.peer.entries.get(WEB), verdict)


# ---------------------------------------------------------------------------------------------- the message


def test_only_the_services_that_both_nodes_share_are_heard_whatever_else_it_names() -> None:
    said = [("far", State.STARTED), ("db", State.STARTED), ("../x", State.STOPPED), ("web", State.STOPPED)]
    message = original.heard(CONFIG, "node2", "node1", 7, said)
    assert {entry.id: entry.state for entry in message.services} == {WEB: State.STOPPED, DB: State.STARTED}
    assert (message.promise, message.lease_ms, message.acks, message.left) == (Promise.NONE, 0, (), False)
    assert original.heard(CONFIG, "node2", "node1", 0, said).seq == 1


def test_a_failed_start_of_it_was_not_cleaned_up() -> None:
    message = original.heard(CONFIG, "node2", "node1", 7, [("web", State.START_FAILED)])
    assert message.services[0].unclean


# -------------------------------------------------------------------------------------- it lives by its seconds


def test_a_second_that_goes_on_is_news_and_one_that_stands_is_none() -> None:
    ear = Ear()
    assert [ear.hear(100), ear.hear(100), ear.hear(101)] == [Heard.NEWER, Heard.STALE, Heard.NEWER]


def test_a_slower_path_brings_news_of_that_path_and_no_older_states() -> None:
    ear = Ear()
    ear.hear(100, State.STOPPED)
    ear.hear(101, State.STARTED)
    assert ear.hear(100, State.STOPPED, path=1) is Heard.KNOWN
    assert ear.peer.entries[WEB].state is State.STARTED
    assert ear.peer.paths[1].up


@pytest.mark.parametrize("back", [99, 50, 0])
def test_a_clock_that_is_set_back_is_a_sign_of_life_on_every_path(back: int) -> None:
    ear = Ear()
    for path in (0, 1):
        ear.hear(100, path=path)
    assert ear.hear(back, State.STARTED) is Heard.NEWER
    assert ear.peer.entries[WEB].state is State.STARTED
    assert ear.hear(back + 1, path=1) is Heard.NEWER
    assert ear.hear(back + 1) is Heard.KNOWN


def test_a_clock_that_is_set_forward_is_news() -> None:
    ear = Ear()
    ear.hear(100)
    assert ear.hear(100 + 86_400) is Heard.NEWER


def test_what_a_disk_kept_of_the_node_before_it_was_replaced_is_no_news() -> None:
    ear = Ear()
    ear.hear(100, State.STARTED, by_ezha=True)
    assert ear.hear(90, State.STOPPED, path=1) is Heard.KNOWN
    assert ear.peer.entries[WEB].state is State.STARTED
    assert original.speaks_only(ear.peer)
    assert ear.hear(101, State.STOPPED, path=1) is Heard.NEWER
    assert not original.speaks_only(ear.peer)


# ----------------------------------------------------------------------------------------------- its sevens


@pytest.mark.parametrize(
    ("states", "means"),
    [
        ((State.STOPPED, State.START_READY), State.START_READY),
        ((State.FROZEN_STOP, State.START_READY), State.START_READY),
        ((State.STOPPED, State.START_READY, State.START_READY), State.START_READY),
        ((State.START_READY,), State.FROZEN_START),
        ((State.START_READY, State.START_READY), State.FROZEN_START),
        ((State.STARTED, State.START_READY), State.FROZEN_START),
        ((State.STARTING, State.START_READY), State.FROZEN_START),
        ((State.START_FAILED, State.START_READY), State.FROZEN_START),
        ((State.UNKNOWN, State.START_READY), State.FROZEN_START),
        ((State.STARTED, State.START_READY, State.STOPPED, State.START_READY), State.START_READY),
    ],
)
def test_a_seven_is_a_frozen_run_unless_it_was_at_rest_before(states: tuple[State, ...], means: State) -> None:
    assert Ear().after(*states).state is means


@pytest.mark.parametrize("before", [State.STOPPED, State.STARTED])
def test_nobody_takes_over_from_a_seven_alive_or_silent(before: State) -> None:
    ear = Ear()
    ear.after(before, State.START_READY)
    assert not ear.verdict().clear
    ear.peer.silent, ear.now = True, ear.now + 100 * T
    assert ear.verdict().standing is Standing.HOLDS


def test_a_node_that_is_known_to_be_off_is_taken_over_from_whatever_it_said() -> None:
    ear = Ear()
    ear.after(State.STOPPED, State.START_READY)
    ear.peer.silent, ear.peer.down = True, "an operator says so"
    assert ear.verdict().clear


def test_a_silent_seven_is_fenced_where_that_can_be_done() -> None:
    ear = Ear()
    ear.after(State.STOPPED, State.START_READY)
    ear.peer.silent, ear.now = True, ear.now + 100 * T
    assert ear.verdict(Terms(fencing=True)).standing is Standing.UNPROVEN


def test_without_that_rule_a_silent_seven_would_be_taken_over_from() -> None:
    ear = Ear()
    ear.after(State.STOPPED, State.START_READY)
    ear.peer.silent, ear.now = True, ear.now + 100 * T
    assert judge(ear.peer, WEB, 1, 1, ear.now).clear


# ------------------------------------------------------------------------------------------------- its runs


def test_a_run_that_begins_has_the_generation_that_comes_next_and_keeps_it() -> None:
    assert Ear(floor=4).after(State.STOPPED).generation == 0
    assert Ear(floor=4).after(State.STOPPED, State.START_READY).generation == 0
    assert Ear(floor=4).after(State.STOPPED, State.STARTING, State.STARTED, State.STOPPING).generation == 5
    assert Ear(floor=4).after(State.STARTED, State.STOPPED).generation == 5
    assert Ear(floor=4).after(State.STARTED, State.STOPPED, State.STARTED).generation == 6
    assert Ear(floor=4).after(State.STOPPED, State.START_FAILED).generation == 5


def test_the_largest_generation_there_is_is_not_exceeded() -> None:
    assert Ear(floor=2**28 - 1).after(State.STARTED).generation == 2**28 - 1


def test_what_did_not_change_is_the_very_same_so_that_nobody_compares_it() -> None:
    ear = Ear()
    ear.hear(100, State.STARTED)
    entries = ear.peer.entries
    ear.hear(101, State.STARTED)
    assert ear.peer.entries is entries


# ---------------------------------------------------------------------------------------- the second look


def looked(primary: bool, before: State, now: State, standing: Standing = Standing.CLEAR) -> bool:
    return not original.objection(primary, before, now, Verdict("node2", standing, "it holds it"))


def test_a_primary_withdraws_only_for_one_that_starts_or_runs_it() -> None:
    assert looked(True, State.STOPPED, State.START_READY, Standing.CLAIMS)
    assert looked(True, State.STOPPED, State.UNKNOWN)
    assert looked(True, State.UNKNOWN, State.STOPPED)
    assert not looked(True, State.STOPPED, State.STARTING, Standing.HOLDS)
    assert not looked(True, State.STOPPED, State.STARTED, Standing.HOLDS)


def test_a_secondary_withdraws_for_whatever_changed() -> None:
    assert looked(False, State.STOPPED, State.STOPPED)
    assert looked(False, State.UNKNOWN, State.UNKNOWN)
    assert not looked(False, State.STOPPED, State.START_READY, Standing.CLAIMS)
    assert not looked(False, State.STOPPED, State.UNKNOWN)
    assert not looked(False, State.UNKNOWN, State.STOPPED)
    assert not looked(False, State.STOPPED, State.FROZEN_STOP)


def test_both_withdraw_where_it_may_run_in_a_way_that_the_original_would_not_notice() -> None:
    for primary in (True, False):
        assert not looked(primary, State.STOP_FAILED, State.STOP_FAILED, Standing.HOLDS)
        assert not looked(primary, State.FROZEN_START, State.FROZEN_START, Standing.HOLDS)


# ------------------------------------------------------------------------------------------- what we tell it


def ours(*entries: ServiceEntry) -> Heartbeat:
    message = original.heard(CONFIG, "node1", "node2", 1, ())
    return replace(message, incarnation=Incarnation(9, 9), services=tuple(sorted(entries, key=lambda e: e.id)))


def test_our_states_go_out_in_the_order_of_the_file_and_an_unclean_one_as_a_failed_stop() -> None:
    message = ours(ServiceEntry(DB, State.FROZEN_START, 1), ServiceEntry(WEB, State.START_FAILED, 1, unclean=True))
    assert original.told(message, CONFIG, "node1") == (("web", State.STOP_FAILED), ("db", State.FROZEN_START))
    assert original.told(ours(ServiceEntry(WEB, State.START_FAILED, 1)), CONFIG, "node1") == (
        ("web", State.START_FAILED),
    )
