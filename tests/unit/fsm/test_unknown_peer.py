"""A node whose state is UNKNOWN may run the service: what it says forbids a start, and its own claim proves nothing."""

from ha.fsm.events import Tick
from ha.fsm.states import Action, ScriptKind, State
from tests.unit.fsm.cluster import Cluster, T, config

LOOK_S = 0.005
"""A little more than the engine looks around for after a claim."""


def _claiming() -> Cluster:
    """node1 does not know its own state; nothing is heard of it for T, and node2 claims."""
    cluster = Cluster(config(paths=1), {"node1": State.UNKNOWN, "node2": State.STOPPED})
    cluster.run(T)
    assert cluster.states() == ["UNKNOWN", "STOPPED"]
    cluster.sever("node1", "node2")
    deadline = cluster.now + 2 * T
    while cluster.hosts["node2"].state() is State.STOPPED and cluster.now < deadline:
        cluster.now = min(host.engine.next_deadline() for host in cluster.hosts.values())
        for name in cluster.hosts:
            cluster.feed(name, Tick())
        cluster.deliver()
    assert cluster.hosts["node2"].state() is State.START_READY
    return cluster


def _heard_again(cluster: Cluster) -> None:
    """What node1 says reaches node2, before anything else happens there."""
    cluster.heal()
    sent = cluster.hosts["node1"].engine.handle(Tick(), cluster.hosts["node1"].engine.next_deadline()).send
    assert sent is not None
    cluster.hosts["node1"].outbox = [sent]
    cluster.hosts["node2"].outbox = []
    cluster.deliver()


def test_the_claim_is_withdrawn() -> None:
    cluster = _claiming()
    _heard_again(cluster)
    assert cluster.hosts["node2"].state() is State.STOPPED
    cluster.run(3 * T)
    assert cluster.states() == ["UNKNOWN", "STOPPED"]


def test_it_does_not_start_after_the_check_script_either() -> None:
    cluster = _claiming()
    cluster.now += LOOK_S
    cluster.feed("node2", Tick())
    assert cluster.hosts["node2"].state() is State.STARTING
    _heard_again(cluster)
    assert cluster.end("node2") is ScriptKind.CHECK
    assert not cluster.hosts["node2"].jobs
    assert cluster.hosts["node2"].state() is State.STOPPED


def test_twin_a_silent_one_does_not_forbid() -> None:
    """Without its word the start goes on: it is the word that forbids."""
    cluster = _claiming()
    cluster.now += LOOK_S
    cluster.feed("node2", Tick())
    assert cluster.end("node2") is ScriptKind.CHECK
    assert [job.kind for job in cluster.hosts["node2"].jobs.values()] == [ScriptKind.START]


# --------------------------------------------------------------------------- and on the node that does not know


def _started_from_unknown() -> Cluster:
    """An operator starts a service of unknown state, which runs there all the while."""
    cluster = Cluster(config(paths=1), {"node1": State.UNKNOWN, "node2": State.FROZEN_STOP})
    cluster.run(T)
    cluster.ask("node1", Action.START)
    assert cluster.hosts["node1"].state() is State.START_READY
    return cluster


def _other_may_take_it(cluster: Cluster) -> bool:
    """Whether node2, unfrozen, starts it within a while."""
    cluster.ask("node2", Action.UNFREEZE)
    cluster.run(3 * T)
    return cluster.hosts["node2"].state() is State.STARTED


def test_a_claim_withdrawn_does_not_declare_it_stopped() -> None:
    cluster = _started_from_unknown()
    cluster.ask("node1", Action.STOP)
    assert "STOPPED" in cluster.hosts["node1"].story()
    assert cluster.hosts["node1"].engine.services["web"].record.unclean


def test_a_check_script_that_forbids_the_start_does_not_either() -> None:
    cluster = _started_from_unknown()
    cluster.deliver()
    cluster.now += LOOK_S
    cluster.feed("node1", Tick())
    assert cluster.end("node1", code=1) is ScriptKind.CHECK
    assert cluster.hosts["node1"].state() is State.START_FAILED
    assert not _other_may_take_it(cluster)


def test_a_start_that_succeeds_knows_again() -> None:
    cluster = _started_from_unknown()
    cluster.run(T)
    assert cluster.hosts["node1"].state() is State.STARTED
    assert not cluster.hosts["node1"].engine.services["web"].record.unclean


def test_twin_after_a_clean_claim_the_other_takes_it() -> None:
    cluster = Cluster(config(paths=1), {"node1": State.STOPPED, "node2": State.FROZEN_STOP})
    cluster.run(0.5, scripts=False)
    cluster.now += LOOK_S
    cluster.feed("node1", Tick())
    assert cluster.end("node1", code=1) is ScriptKind.CHECK
    assert cluster.hosts["node1"].state() is State.START_FAILED
    assert _other_may_take_it(cluster)
