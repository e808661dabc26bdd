"""After its start a node listens for as long as the administrator said, before it starts anything unasked."""

from dataclasses import replace

from ha.fsm.states import Action, State

from .cluster import Cluster, config


def delayed(seconds: float) -> Cluster:
    return Cluster(replace(config(), talk_delay=seconds), {"node1": State.FROZEN_STOP, "node2": State.FROZEN_STOP})


def test_nothing_is_claimed_before_the_delay_is_over() -> None:
    cluster = delayed(2)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(1.9)
    assert cluster.states() == ["STOPPED", "FROZEN_STOP"]
    engine = cluster.hosts["node1"].engine
    assert engine.waits_for("web", cluster.now) == "the paths are given 2 s after the start of nmond (talk_delay)"
    cluster.run(0.2)
    assert cluster.states() == ["STARTED", "FROZEN_STOP"]


def test_an_operator_does_not_wait() -> None:
    cluster = delayed(60)
    cluster.run(1)
    cluster.ask("node1", Action.UNFREEZE)
    cluster.ask("node1", Action.START)
    cluster.run(0.1)
    assert cluster.states() == ["STARTED", "FROZEN_STOP"]


def test_once_it_is_over_a_takeover_does_not_wait_again() -> None:
    cluster = delayed(2)
    for node in ("node1", "node2"):
        cluster.ask(node, Action.UNFREEZE)
        cluster.run(3)
    assert cluster.states() == ["STARTED", "STOPPED"]
    last = cluster.hosts["node2"].engine.peers["node1"].arrival
    cluster.power_off("node1")
    cluster.run(last + 10.01 - cluster.now)
    assert cluster.hosts["node2"].state() is State.STARTED
