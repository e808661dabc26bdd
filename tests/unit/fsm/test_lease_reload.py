"""A configuration that changes under a service that runs: neither lease nor guard may take the change for a lapse."""

import pytest

from ha.fsm.engine import Engine
from ha.fsm.events import ConfigChanged
from ha.fsm.timing import Timing
from tests.unit.fsm.cluster import Cluster, T, config
from tests.unit.fsm.test_lease import cut_disk, cut_networks, leased


def change(cluster: Cluster, timeout: float = T, protection: str = "disk", *nodes: str) -> float:
    """On both nodes, node1 first. Until when the guard of node1 holds still then."""
    cluster.config = config(paths=1, protection=protection, timeout=timeout)
    for node in nodes or ("node1", "node2"):
        cluster.feed(node, ConfigChanged(cluster.config))
    return cluster.hosts["node1"].engine._guard_time()


@pytest.mark.parametrize("timeout", [T, T / 2, 2 * T])
def test_a_lease_that_comes_over_a_running_service_is_given_time_to_be_earned(timeout: float) -> None:
    cluster = leased("none")
    until = change(cluster, timeout)
    assert cluster.now < until <= cluster.now + Timing(timeout).ended
    cluster.run(3 * timeout)
    assert cluster.states() == ["STARTED", "STOPPED"]
    assert cluster.hosts["node1"].engine._guard_time() > cluster.now


@pytest.mark.parametrize("timeout", [T / 2, 2 * T])
def test_a_lease_of_another_length_ends_no_later_than_the_one_before(timeout: float) -> None:
    cluster = leased()
    before = next(iter(cluster.hosts["node1"].engine.leases.values())).until
    change(cluster, timeout, "disk", "node1")
    after = next(iter(cluster.hosts["node1"].engine.leases.values())).until
    assert cluster.now < after <= min(before, cluster.now + Timing(timeout).lease)
    change(cluster, timeout, "disk", "node2")
    cluster.run(3 * timeout)
    assert cluster.states() == ["STARTED", "STOPPED"]


def test_a_lease_that_is_not_earned_in_that_time_lapses() -> None:
    cluster = leased("none")
    cut_networks(cluster)
    cut_disk(cluster, "node1", "node2")
    change(cluster)
    cluster.run(Timing(T).lease + 0.5)
    assert cluster.states()[0] != "STARTED"


def test_without_that_time_the_change_itself_would_end_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "_inherit", lambda self, before, now: None)
    cluster = leased("none")
    assert change(cluster) < cluster.now
