"""A start script may do what it likes: it is dealt with, and the other services notice nothing.

Every test has a bad service and, beside it, ``other``, whose decisions are timed on the same node.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import wait_for
from tests.lab.pair import NODES, Pair, Service, boottime, standing

T = 2.0
TIMES = 5
"""Decisions that are timed in each test."""
USUAL_S = 0.3
"""A decision, a script's launch included, takes less than a tenth of a second; the machine may be busy. What the bad
services do takes seconds, or has no end."""
START_TIMEOUT_S, GRACE_S = 2.5, 1.0
OPTIONS = f"""\
[service."late"]
start_timeout = {START_TIMEOUT_S}
[service."stubborn"]
start_timeout = {START_TIMEOUT_S}
kill_grace = {GRACE_S}
"""
BAD = ("hangs", "late", "stubborn", "fails", "unclean", "daemon", "loud")


@pytest.fixture(scope="module")
def shared() -> Iterator[Pair]:
    with standing(T, ("other", *BAD), OPTIONS) as pair:
        yield pair


@pytest.fixture
def pair(shared: Pair) -> Iterator[Pair]:
    """Its nodes hear one another before, and have missed nothing of one another after."""
    shared.wait_all_up()
    since = boottime()
    yield shared
    for node in NODES:
        assert shared.history(node, "", since) == []
        assert shared.down(node) == []


def assert_decisions_are_quick(pair: Pair) -> None:
    times = pair.services["other"].decision_times("node1", TIMES)
    assert statistics.median(times) < USUAL_S, times


def begin(web: Service, behaviour: str) -> float:
    """Its start script runs on node1; when it began."""
    web.behave(behaviour)
    since = boottime()
    web.act("node1", "unfreeze", "--no-wait")
    wait_for(lambda: web.calls("node1")[:1] == ["start"], what="the start script runs")
    return since


def when(web: Service, state: str) -> float:
    """When it came to ``state`` on node1."""
    entries = web.pair.history("node1", web.name)
    return float(next(e["boottime"] for e in entries if e["to"] == state and e["from"] != state))


def commands(web: Service) -> list[str]:
    """Titles of the processes of node1 that have its name or its log in their hands."""
    return [title for title in web.pair.processes("node1").values() if web.name in title]


def test_one_that_hangs(pair: Pair) -> None:
    web = pair.services["hangs"]
    begin(web, "on_start() { sleep 1000000; }")
    assert_decisions_are_quick(pair)
    assert web.state("node1") == "STARTING"
    # It may be given up: what it began is ended and cleaned up, and it is not started again.
    web.act("node2", "unfreeze")
    assert web.state("node2") == "STOPPED"
    assert web.calls("node2") == []


def test_one_that_hangs_is_ended_in_time_and_the_other_node_takes_over(pair: Pair) -> None:
    web = pair.services["late"]
    began = begin(web, "on_start() { [ $EZ_NODE != node1 ] || sleep 1000000; }")
    web.act("node2", "unfreeze")
    assert_decisions_are_quick(pair)
    web.wait("node1", "START_FAILED")
    assert START_TIMEOUT_S <= when(web, "START_FAILED") - began < START_TIMEOUT_S + GRACE_S
    web.wait("node2", "STARTED")
    assert web.calls() == ["start", "stop", "start"]
    assert web.running() == ["node2"]
    web.assert_nothing_twice()


def test_one_that_ignores_sigterm(pair: Pair) -> None:
    web = pair.services["stubborn"]
    began = begin(web, "on_start() { trap '' TERM; while :; do sleep 0.05; done; }")
    assert_decisions_are_quick(pair)
    web.wait("node1", "START_FAILED")
    assert START_TIMEOUT_S + GRACE_S <= when(web, "START_FAILED") - began < START_TIMEOUT_S + GRACE_S + 1.0
    assert web.calls() == ["start", "stop"]
    # Not a process of its group is left: the stop script found nobody who held its lock.
    web.assert_nothing_twice()
    assert commands(web) == []


def test_one_that_fails(pair: Pair) -> None:
    web = pair.services["fails"]
    web.act("node2", "unfreeze")
    web.wait("node2", "STARTED")
    web.behave("on_start() { echo the disk is gone; [ $EZ_NODE != node1 ]; }")
    web.act("node1", "unfreeze")
    web.act("node2", "stop", "--no-wait")
    web.wait("node1", "START_FAILED")
    # The other node has it again, for the failure was clean.
    web.wait("node2", "STARTED")
    assert_decisions_are_quick(pair)
    assert web.calls() == ["start", "stop", "start", "stop", "start"]
    assert web.calls("node1") == ["start", "stop"]
    assert any("the disk is gone" in text for text in web.texts("node1")), web.texts("node1")
    assert web.running() == ["node2"]
    web.assert_nothing_twice()


def test_one_that_fails_and_cannot_be_cleaned_up_is_not_taken_over(pair: Pair) -> None:
    web = pair.services["unclean"]
    begin(web, "on_start() { return 1; }; on_stop() { return 1; }")
    web.act("node2", "unfreeze")
    web.wait("node1", "START_FAILED")
    assert_decisions_are_quick(pair)
    assert (web.state("node1"), web.state("node2")) == ("START_FAILED", "STOPPED")
    assert web.calls() == ["start", "stop"]
    # Until somebody has looked.
    web.behave("")
    web.act("node1", "freeze-stop")
    web.wait("node2", "STARTED")
    assert web.running() == ["node2"]
    web.assert_nothing_twice()


def test_one_that_leaves_a_daemon_with_its_output_open(pair: Pair) -> None:
    web = pair.services["daemon"]
    began = begin(web, "on_start() { sleep 2000000 & echo $! >/run/$name.daemon; }")
    web.wait("node1", "STARTED")
    assert when(web, "STARTED") - began < 1.0
    assert_decisions_are_quick(pair)
    daemon = next(each for each, title in pair.processes("node1").items() if title == "sleep 2000000")
    output = Path(f"/proc/{daemon.pid}/fd/1").readlink()
    assert output.name == "daemon.log"
    # It is the service's, which alone may end it: neither the end of its start nor a stop of something else does.
    web.behave("on_stop() { kill $(cat /run/$name.daemon); }")
    web.act("node1", "freeze-stop")
    wait_for(lambda: daemon not in pair.processes("node1"), what="its stop script ended it")
    web.assert_nothing_twice()


def test_one_that_prints_without_end(pair: Pair) -> None:
    """Its log grows as long as it does, and nobody waits for it, or holds it in memory."""
    web = pair.services["loud"]
    began = time.monotonic()
    begin(web, "on_start() { yes 'still starting' | head -c 50000000; }")
    assert_decisions_are_quick(pair)
    web.wait("node1", "STARTED", timeout=20)
    assert time.monotonic() - began < 20
    nmond = pair.need_nmond("node1")
    status = Path(f"/proc/{nmond.pid}/status").read_text()
    assert int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) < 100_000
