"""An old message that comes again changes nothing, also for a node that has just started; a node that lost its own
memory is heard again all the same. Each guard has a twin without it, which shows what it is for."""

from dataclasses import replace

import pytest

from ha.fsm.events import ConfigChanged, ConfirmDown, Guarded, MessageReceived, OwnSlot
from ha.fsm.freshness import BELIEVED_COUNTER, MARKS, Firsts, LastHeard, older
from ha.fsm.message import Heartbeat, Incarnation
from ha.fsm.peers import Peer
from ha.fsm.record import NodeRecord
from ha.fsm.states import Action, Promise, State
from tests.unit.fsm.cluster import Cluster, Host, T, config
from tests.unit.fsm.test_lease import leased


class Tapped(Cluster):
    """A stranger listens, and keeps all."""

    def __init__(self, *args: object, **more: object) -> None:
        self.tape: dict[str, list[Heartbeat]] = {}
        super().__init__(*args, **more)  # type: ignore[arg-type]

    def _spread(self, sender: str, message: Heartbeat) -> None:
        self.tape.setdefault(sender, []).append(message)
        super()._spread(sender, message)

    def replay(self, receiver: str, messages: list[Heartbeat]) -> None:
        for message in messages:
            for path in self.config.paths_of("node2"):
                self.feed(receiver, MessageReceived(message, path.id, self.now))


def two(*, frozen: bool = False) -> Tapped:
    """Both are up, and node2 runs the service."""
    cluster = Tapped(config(), {"node1": State.STOPPED, "node2": State.STOPPED})
    cluster.run(T + 1)
    if cluster.hosts["node1"].state() is State.STARTED:
        cluster.ask("node1", Action.SWITCH, target="node2")
        cluster.run(2)
    assert cluster.states() == ["STOPPED", "STARTED"]
    if frozen:
        cluster.ask("node2", Action.FREEZE_STOP)
        cluster.run(2)
    return cluster


def heard(host: Host) -> Heartbeat | None:
    return host.engine.peers["node2"].newest


# ------------------------------------------------------------------------------------- a receiver that restarts


def restarted(*, remembers: bool) -> tuple[Tapped, list[Heartbeat]]:
    """node2 has died, and node1 has just started again; what node2 had said, but for its last words."""
    cluster = two()
    old = list(cluster.tape["node2"])
    cluster.run(5)
    cluster.power_off("node2")
    host = cluster.hosts["node1"]
    host.disk = host.engine.record()
    if not remembers:
        host.disk = replace(host.disk, heard=())
    cluster.restart("node1")
    return cluster, old


def test_old_messages_change_nothing_after_a_restart_of_the_receiver() -> None:
    cluster, old = restarted(remembers=True)
    host = cluster.hosts["node1"]
    before = host.engine.record()
    cluster.run(T / 2)
    cluster.replay("node1", old)
    assert heard(host) is None
    assert host.engine.record() == before
    assert host.engine.counters["messages_stale"] == 2 * len(old)
    cluster.run(T / 2 + 0.1)
    assert host.state() is State.STARTED  # silence was counted from the start, whatever was replayed


def test_the_twin_without_memory_waits_for_a_ghost() -> None:
    cluster, old = restarted(remembers=False)
    host = cluster.hosts["node1"]
    cluster.run(T / 2)
    cluster.replay("node1", old)
    assert heard(host) is not None
    cluster.run(T / 2 + 0.1)
    assert host.state() is State.STOPPED


def test_the_last_message_itself_may_come_again() -> None:
    """It stands in the slot of its sender: a node must know again what it knew."""
    cluster, _ = restarted(remembers=True)
    cluster.replay("node1", cluster.tape["node2"][-1:])
    assert heard(cluster.hosts["node1"]) == cluster.tape["node2"][-1]


def test_its_last_message_does_not_raise_a_node_that_is_confirmed_down() -> None:
    """It is read once the disk can be read again; an earlier nmond had heard it."""
    cluster, _ = restarted(remembers=True)
    cluster.feed("node1", ConfirmDown("c", "node2"))
    cluster.replay("node1", cluster.tape["node2"][-1:])
    peer = cluster.hosts["node1"].engine.peers["node2"]
    assert peer.newest is not None and peer.down


def test_what_a_node_remembers_outlives_a_second_restart() -> None:
    cluster, _ = restarted(remembers=True)
    known = cluster.hosts["node1"].disk.heard
    assert [each.node for each in known] == ["node2"]
    cluster.restart("node1", boot=True)
    assert cluster.hosts["node1"].engine.record().heard == known


def test_that_a_node_left_counts_only_where_it_answers_this_life() -> None:
    """Words from a time when nobody listened may hold a node back, and never let it start anything at once."""
    cluster = two()
    cluster.sever("node2", "node1")
    cluster.ask("node2", Action.STOP)
    cluster.run(1)
    cluster.hosts["node2"].engine.leaving = True
    cluster.run(2)
    words = [m for m in cluster.tape["node2"] if m.left]
    assert words
    cluster.power_off("node2")
    cluster.restart("node1")
    cluster.replay("node1", words)
    assert cluster.hosts["node1"].engine.peers["node2"].left
    cluster.run(T / 2)
    assert cluster.hosts["node1"].state() is State.STOPPED
    cluster.run(T)
    assert cluster.hosts["node1"].state() is State.STARTED


@pytest.mark.parametrize("remembers", [True, False])
def test_a_frozen_run_is_remembered_where_its_last_message_comes_no_more(remembers: bool) -> None:
    """Its slot holds an older message, which is refused. Twin: only the number of the last one is remembered."""
    cluster = two()
    cluster.ask("node2", Action.FREEZE_START)
    cluster.run(2)
    old = cluster.tape["node2"][-2:-1]
    cluster.power_off("node2")
    host = cluster.hosts["node1"]
    assert [last.frozen for last in host.disk.heard] == [("web",)], "on record before it is acknowledged"
    host.disk = host.engine.record()
    if not remembers:
        host.disk = replace(host.disk, heard=tuple(replace(last, frozen=()) for last in host.disk.heard))
    host = cluster.restart("node1")
    cluster.replay("node1", old)
    assert heard(host) is None
    cluster.run(2 * T)
    assert (host.state() is State.STOPPED) is remembers
    if remembers:
        assert "node2 ran it frozen (FROZEN_START) when it was last heard" in host.engine.waits_for("web", cluster.now)
        cluster.feed("node1", ConfirmDown("c", "node2"))
        cluster.run(1)
        assert host.state() is State.STARTED


@pytest.mark.parametrize("remembers", [True, False])
def test_a_run_that_nothing_ends_is_remembered_too(remembers: bool) -> None:
    """node1 promised nothing, and wrote its last messages to no disk. Twin: that it may run there is not remembered."""
    cluster = leased()
    for host in cluster.hosts.values():
        cluster.feed(host.name, Guarded(Promise.NONE))
    cluster.run(2)
    cluster.unwritable.add("node1")
    cluster.run(2)
    cluster.power_off("node1")
    host = cluster.hosts["node2"]
    host.disk = host.engine.record()
    assert [last.unpromised for last in host.disk.heard] == [("web",)]
    if not remembers:
        host.disk = replace(host.disk, heard=tuple(replace(last, unpromised=()) for last in host.disk.heard))
    host = cluster.restart("node2")
    cluster.run(2 * T)
    assert (host.state() is State.STOPPED) is remembers
    if remembers:
        why = "promised nothing that would end it, when it was last heard"
        assert why in host.engine.waits_for("web", cluster.now)


@pytest.mark.parametrize("remembers", [True, False])
def test_the_timeout_that_a_node_had_told_counts_until_it_is_heard(remembers: bool) -> None:
    """Its lease may last as long, though the configuration says less by now. Twin: it is not remembered."""
    cluster, _ = restarted(remembers=True)
    host = cluster.hosts["node1"]
    long = tuple(replace(last, timeout_ms=3000 * T if remembers else 0) for last in host.disk.heard)
    host.disk = replace(host.disk, heard=long)
    host = cluster.restart("node1")
    cluster.run(T + 1)
    assert (host.state() is State.STOPPED) is remembers
    cluster.run(2 * T)
    assert host.state() is State.STARTED


def test_another_timeout_is_on_record_before_it_is_acknowledged() -> None:
    cluster = two()
    assert [last.timeout_ms for last in cluster.hosts["node1"].disk.heard] == [1000 * T]
    slow = tuple(replace(p, timeout=2.0 * T) for p in cluster.config.paths)
    cluster.feed("node2", ConfigChanged(replace(cluster.config, paths=slow)))
    cluster.run(0)
    assert [last.timeout_ms for last in cluster.hosts["node1"].disk.heard] == [2000 * T]


# ------------------------------------------------------------------------------------ a node that lost its memory


def test_a_reinstalled_node_is_heard_again_within_two_periods() -> None:
    cluster = two()
    for _ in range(5):
        cluster.restart("node2")
        cluster.run(2)
    cluster.power_off("node2")
    cluster.run(2 * T)
    cluster.boot("node2", NodeRecord(0), boot=True)
    assert cluster.hosts["node2"].engine.incarnation.counter == 1
    cluster.run(2 * cluster.config.period_of("node2"))
    peer = cluster.hosts["node1"].engine.peers["node2"]
    assert peer.living
    assert peer.newest is not None and peer.newest.incarnation.counter == 7
    assert cluster.hosts["node2"].engine.record().incarnation == 7


def test_also_where_the_other_node_only_remembers_it() -> None:
    cluster = two()
    cluster.restart("node2")
    cluster.run(2)
    cluster.power_off("node2")
    host = cluster.hosts["node1"]
    host.disk = host.engine.record()
    cluster.restart("node1")
    cluster.boot("node2", NodeRecord(0), boot=True)
    cluster.run(2 * cluster.config.period_of("node2"))
    assert cluster.hosts["node1"].engine.peers["node2"].living
    assert cluster.hosts["node2"].engine.incarnation.counter == 3


def test_its_own_slot_reminds_it() -> None:
    cluster = Cluster(config(protection="disk"))
    cluster.boot("node2", NodeRecord(57), boot=True)
    cluster.run(2)
    for host in cluster.hosts.values():
        host.alive = False
    fresh = cluster.boot("node2", NodeRecord(0), boot=True)
    assert fresh.engine.incarnation.counter == 59
    assert fresh.disk.incarnation == 59  # before anything is sent as that
    assert any("the slot of node2 shows a later incarnation of this node" in n.text for n in fresh.notes)


@pytest.mark.parametrize("counter", [1, BELIEVED_COUNTER + 1])
def test_a_slot_that_shows_nothing_later_or_nothing_believable(counter: int) -> None:
    cluster = Cluster(config(protection="disk"))
    host = cluster.hosts["node2"]
    before = host.engine.incarnation
    found = before if counter == 1 else Incarnation(counter, 7)
    cluster.feed("node2", OwnSlot(2, found))
    assert host.engine.incarnation == before


# --------------------------------------------------------------------------------------------------- the rule


def message(counter: int, nonce: int, seq: int) -> Heartbeat:
    sample = Cluster().hosts["node2"].engine.start(0.0).send
    assert sample is not None
    return replace(sample, incarnation=Incarnation(counter, nonce), seq=seq)


@pytest.mark.parametrize(
    ("counter", "nonce", "seq", "is_older"),
    [(4, 9, 50, False), (4, 9, 49, True), (4, 9, 51, False), (3, 9, 99, True), (5, 1, 1, False), (4, 8, 1, False)],
)
def test_which_messages_are_older(counter: int, nonce: int, seq: int, is_older: bool) -> None:
    assert older(message(counter, nonce, seq), LastHeard("node2", Incarnation(4, 9), 50)) is is_older


def test_a_number_that_nobody_could_go_above_is_not_remembered() -> None:
    before = LastHeard("node2", Incarnation(4, 9), 50)
    peer = Peer("node2", T, 0.0, [], before=before, newest=message(BELIEVED_COUNTER + 1, 1, 1))
    assert peer.last_heard({}) == before
    assert Peer("node2", T, 0.0, []).last_heard({}) is None


# ------------------------------------------------------------------------------------------- a path that is cut


def test_what_came_on_another_path_long_ago_makes_no_path_look_alive() -> None:
    """A stranger carries what the disk brought to the network that is cut: the path stays DOWN."""
    cluster = two()
    cluster.cut.add(("node2", "node1", 0))
    cluster.run(3 * T)
    host = cluster.hosts["node1"]
    path = host.engine.peers["node2"].paths[0]
    assert not path.up
    old = [m for m in cluster.tape["node2"] if m.seq > path.seq]
    cluster.tape["node2"] = []
    for each in old[: len(old) // 2]:
        cluster.feed("node1", MessageReceived(each, cluster.config.paths_of("node2")[0].id, cluster.now))
    assert not path.up
    cluster.feed("node1", MessageReceived(old[-1], cluster.config.paths_of("node2")[0].id, cluster.now))
    assert path.up


def test_times_of_first_arrival() -> None:
    firsts = Firsts()
    for seq in range(1, 1000):
        firsts.add(seq, seq * 0.1, 8.0)
    assert firsts.heard(999) == float("inf")  # newer than the last that is kept: fresh in any case
    assert firsts.heard(950) == pytest.approx(95.4)  # at most a second too late, an eighth of the timeout
    assert firsts.heard(1) == firsts.heard(300) == pytest.approx(36.3)  # so old that it does not matter how old
    assert firsts.heard(1000) == float("inf")
    assert len(firsts._marks) <= MARKS
    firsts.clear()
    assert firsts.heard(1) == float("inf")
