"""The state of record cannot be written for a while: nothing is decided meanwhile, and nothing spins.

The hunt found both: a script that could not be killed had nmond try to write without a pause, and one that had ended
was signalled because its end could not be written.
"""

from ha.fsm.events import Ended, ScriptEnded, Tick
from ha.fsm.states import Action, State
from tests.unit.fsm.cluster import Cluster


def stopping() -> Cluster:
    """web's stop script runs on node1."""
    cluster = Cluster(states={"node1": State.STOPPED, "node2": State.STOPPED})
    cluster.run(30.0)
    assert cluster.hosts["node1"].state() is State.STARTED
    cluster.ask("node1", Action.FREEZE_STOP)
    return cluster


def test_a_step_that_cannot_be_persisted_is_not_tried_again_at_once() -> None:
    cluster = stopping()
    host = cluster.hosts["node1"]
    host.disk_full = True
    steps = 0
    end = cluster.now + 400.0
    while cluster.now < end:
        cluster.now = max(cluster.now, host.engine.next_deadline())
        cluster.feed("node1", Tick())
        steps += 1
    assert len(host.killed) == 2, "it was told to end, and killed"
    assert steps < 3 * 400, "about one a period"
    assert host.state() is State.STOPPING
    host.disk_full = False
    cluster.run(3.0, scripts=False)
    assert host.state() is State.STOP_FAILED


def test_a_script_whose_end_could_not_be_persisted_is_not_signalled() -> None:
    cluster = stopping()
    host = cluster.hosts["node1"]
    host.disk_full = True
    ended = ScriptEnded("web", next(iter(host.jobs)), Ended.EXITED, 0)
    for _ in range(500):
        cluster.feed("node1", ended)
        cluster.now += 1.0
        cluster.feed("node1", Tick())
    assert host.killed == []
    host.disk_full = False
    cluster.feed("node1", ended)
    assert host.state() is State.FROZEN_STOP
