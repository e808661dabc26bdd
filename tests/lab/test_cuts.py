"""The table of cuts (docs/safety.md): who runs a service under ``protection = "disk"``, whatever is cut.

The service is a process that holds a lock that all nodes share: two runs at once cannot go unseen.
"""

import os
from collections.abc import Iterator

import pytest

from tests.lab.conftest import wait_for
from tests.lab.pair import NODES, Pair, Service, boottime, standing

T = 2.0
LEASE = 0.5 * T
BUSY = 1.0
"""Seconds more than the design allows, on a machine that does other things as well; `make bench` holds the figures."""
ROUNDS = int(os.environ.get("EZHA_CUTS", "2"))
"""Takeovers from a node that lost all networks and its disk."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with standing(T, [f"web{number}" for number in range(7)], 'protection = "disk"\nself_fence = "stop"\n') as pair:
        yield pair


@pytest.fixture
def web(pair: Pair) -> Iterator[Service]:
    """Runs on node1, under a lease; everything is mended at the end."""
    fresh = next(each for each in pair.services.values() if not each.calls())
    fresh.take()
    yield fresh
    pair.lab.heal()
    pair.wait_all_up()
    for node in NODES:
        if fresh.state(node) in ("STARTED", "STOPPED"):
            fresh.act(node, "freeze-stop")
    fresh.assert_nothing_twice()


def settled(pair: Pair, since: float, seconds: float) -> None:
    wait_for(lambda: boottime() > since + seconds, seconds + 5)


@pytest.mark.parametrize("what", ["net", "disk"])
def test_all_networks_or_every_disk_cut_it_stays_where_it_is(web: Service, what: str) -> None:
    pair, since = web.pair, boottime()
    pair.lab.cut(what)
    settled(pair, since, 2 * T)
    assert (web.state("node1"), web.state("node2")) == ("STARTED", "STOPPED")
    assert web.running() == ["node1"]
    assert web.transitions("node1", since) == web.transitions("node2", since) == []


def test_all_networks_and_the_disk_of_the_active_cut_the_other_takes_it_after_t(web: Service) -> None:
    pair = web.pair
    active, passive = NODES
    for _ in range(ROUNDS):
        since = boottime()
        pair.lab.cut("disk", active)
        pair.lab.cut("net")
        web.wait(passive, "STARTED", timeout=T + 1 + 3 * BUSY)
        assert web.running() == [passive]
        stopped = next(e for e in pair.history(active, web.name, since) if e["to"] == "STOPPING")
        started = next(e for e in pair.history(passive, web.name, since) if e["to"] == "STARTING")
        assert "lease has lapsed" in stopped["text"]
        assert started["boottime"] - since >= T - LEASE / 2
        assert stopped["boottime"] < started["boottime"] - 0.2 * T
        assert started["boottime"] - since <= T + 1 + 2 * BUSY
        web.assert_nothing_twice()
        pair.lab.heal()
        pair.wait_all_up()
        web.wait(active, "STOPPED")
        active, passive = passive, active


def test_all_networks_and_every_disk_cut_nobody_runs_it_and_both_say_why(web: Service) -> None:
    pair, since = web.pair, boottime()
    pair.lab.cut("net")
    pair.lab.cut("disk")
    web.wait("node1", "STOPPED", timeout=T + 3 * BUSY)
    settled(pair, since, 2.5 * T)
    assert web.running() == []
    assert any("lease has lapsed" in text for text in web.texts("node1", since))
    for node in NODES:
        why = pair.run(node, "ezha", "why", web.name).stdout
        assert "this node has no lease: no other node answers" in why, why
    pair.lab.heal()
    wait_for(lambda: web.running() in (["node1"], ["node2"]), 10, what="it comes back by an ordinary claim")


def test_writes_that_hang_end_a_run_that_only_the_disk_covers(web: Service) -> None:
    pair, since = web.pair, boottime()
    pair.lab.cut("net")
    pair.lab.set_disk_fault("node1", "hang-write")
    web.wait("node2", "STARTED", timeout=2 * T + 3 * BUSY)
    assert web.running() == ["node2"]
    assert any("lease has lapsed" in text for text in web.texts("node1", since))
