"""A node that comes late reads what came meanwhile before it calls a peer silent."""

import pytest

from ha.fsm import engine as engine_module
from ha.fsm.events import MessageReceived, Tick
from ha.fsm.states import State
from tests.unit.fsm.cluster import Cluster, T, config

LOOK_S = 0.005
"""A little more than the engine looks around for after a claim."""


def _late() -> State:
    """node1 runs the service; nothing comes from it for T less two periods, then something does, and lies unread
    because node2's nmond is not scheduled for these two. What node2 then makes of it."""
    cluster = Cluster(config(paths=1), {"node1": State.STOPPED, "node2": State.STOPPED})
    cluster.run(8)
    assert cluster.states() == ["STARTED", "STOPPED"]
    cluster.sever("node1", "node2")
    cluster.run(T - 2)
    cluster.now += 1
    said = cluster.hosts["node1"].engine.handle(Tick(), cluster.now).send
    assert said is not None
    came = cluster.now
    cluster.now += 1
    cluster.feed("node2", Tick())
    cluster.now += LOOK_S
    cluster.feed("node2", Tick())
    cluster.feed("node2", MessageReceived(said, cluster.config.paths_of("node1")[0].id, came))
    return cluster.hosts["node2"].state()


def test_what_came_while_nmond_was_late_is_read_before_silence_is_judged() -> None:
    assert _late() is State.STOPPED


def test_twin_without_the_wait_it_starts_beside_the_node_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "STALL_S", 1e9)
    assert _late() is State.STARTING
