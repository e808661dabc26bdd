"""A node whose state is UNKNOWN may run the service: heard between a claim and the start, it forbids the start."""

from ha.fsm.events import Tick
from ha.fsm.states import ScriptKind, State
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
