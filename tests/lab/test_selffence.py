"""A node whose nmond does nothing any more ends itself in time, and does not while its lease stands.

The nodes end by reboot(2) in their own pid namespace, as a machine would by its kernel.
"""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.lab import process
from ha.lab.process import ProcessId
from tests.lab.conftest import wait_for
from tests.lab.pair import BIN, NODES, Pair, Service, boottime, standing

T = 4.0
HARD = 0.85 * T
STOP = 'protection = "disk"\nself_fence = "stop"\n'
REBOOT = 'protection = "disk"\nself_fence = "reboot"\n'


@pytest.fixture(scope="module")
def shared() -> Iterator[Pair]:
    with standing(T, [f"web{number}" for number in range(7)], REBOOT) as pair:
        yield pair


@pytest.fixture
def web(shared: Pair) -> Service:
    """A service that no other test uses: it runs on node1, under a lease."""
    fresh = next(each for each in shared.services.values() if not each.calls())
    fresh.take()
    return fresh


def back(pair: Pair, node: str) -> None:
    """Boot a node that has ended itself."""
    pair.lab.power_on(node, start=True)
    pair.wait_all_up()


def guardian(pair: Pair, node: str) -> ProcessId:
    found = [each for each, title in pair.processes(node).items() if f"{BIN}/ezha-guardian" in title]
    assert len(found) <= 1, found
    return wait_for(lambda: found and found[0], what=f"a guardian on {node}")


def power(pair: Pair, node: str) -> str:
    return next(report.power for report in pair.lab.report() if report.name == node)


def promises(pair: Pair, node: str, since: float = 0.0) -> list[str]:
    told = [text for text in pair.texts(node, "", since) if text.startswith("what ends this node's services")]
    return [text.rpartition(": ")[2] for text in told]


def supervisor(pair: Pair, node: str) -> ProcessId:
    return next(each for each, title in pair.processes(node).items() if "nmond-supervisor" in title)


def test_nmond_its_workers_and_its_guardian_come_before_others_and_scripts_do_not(web: Service) -> None:
    pair = web.pair
    titles = {title: each.pid for each, title in pair.processes("node1").items()}
    ours = {title: pid for title, pid in titles.items() if f"{BIN}/" in title and "supervisor" not in title}
    assert {title.split(f"{BIN}/", 1)[1].split()[0] for title in ours} == {
        *("nmond", "ezha-guardian", "heartd", "heartc", "heartd_dio", "heartc_dio")
    }
    for title, pid in ours.items():
        policy = os.sched_getscheduler(pid)
        assert policy == (os.SCHED_FIFO if "guardian" in title else os.SCHED_RR) | os.SCHED_RESET_ON_FORK, title
    service = web.holder("node1")
    assert service is not None
    assert os.sched_getscheduler(service.pid) == os.SCHED_OTHER
    assert Path(f"/proc/{service.pid}/oom_score_adj").read_text() == "0\n"
    done = pair.run("node1", "hb", "-s", "--long")
    assert re.search(r"guarded by guardian \(pid \d+\), self_fence = reboot; nmond was at most", done.stdout)


def test_a_guardian_that_dies_comes_back_and_nothing_else_happens(web: Service) -> None:
    pair, since = web.pair, boottime()
    first = guardian(pair, "node1")
    pair.kill(first)
    wait_for(lambda: promises(pair, "node1", since) == ["STOP", "REBOOT"], what="the promise drops and comes back")
    second = guardian(pair, "node1")
    assert second != first
    # A restart finds it, and so does an nmond that comes after one that died.
    since = boottime()
    assert pair.run("node1", "ezha.init", "restart").returncode == 0
    wait_for(lambda: "nmond goes on" in pair.cluster("node1", "log", "nmond.log").read_text())
    assert promises(pair, "node1", since) == [], "it was there all the time"
    pair.kill_nmond("node1")
    assert guardian(pair, "node1") == second
    assert power(pair, "node1") == "on"
    web.assert_nothing_twice()


def test_an_nmond_that_is_stopped_ends_with_its_machine_before_another_node_takes_over(web: Service) -> None:
    pair = web.pair
    pair.kill(pair.need_nmond("node1"), signal.SIGSTOP)
    stopped = boottime()
    wait_for(lambda: power(pair, "node1") == "ended", what="node1 ends itself")
    ended = boottime() - stopped
    # The last heartbeat that renewed the lease was sent up to a period before nmond was stopped.
    assert HARD - T / 5 - 0.1 < ended < T, ended
    assert "guard: nmond did not renew the lease" in pair.cluster("node1", "log", "nmond.log").read_text()
    web.wait("node2", "STARTED")
    back(pair, "node1")
    assert web.calls() == ["start", "start"]
    web.assert_nothing_twice()


def test_what_an_emergency_stop_does_not_end_in_time_ends_with_the_machine(web: Service) -> None:
    pair = web.pair
    web.behave("on_stop() { sleep 1000; }")
    pair.lab.cut("net", "node1")
    pair.lab.set_disk_fault("node1", "eio")
    cut = boottime()
    wait_for(lambda: power(pair, "node1") == "ended", what="node1 ends itself")
    ended = boottime() - cut
    assert HARD - T / 5 - 0.1 < ended < T, ended
    assert web.calls() == ["start", "stop"]
    # nmond and the guardian have the same deadline: one of them was first, and has said so.
    log = pair.cluster("node1", "log", "nmond.log").read_text()
    assert "STARTED → STOPPING: the lease has lapsed" in log
    assert "this machine is rebooted (self_fence)" in log
    web.wait("node2", "STARTED")
    assert boottime() - cut < T + 1.0
    pair.lab.heal()
    back(pair, "node1")
    web.assert_nothing_twice()


def test_ending_nmond_under_a_lease_ends_the_machine_in_time(web: Service) -> None:
    pair = web.pair
    assert pair.run("node1", "ezha", "kill").returncode == 0
    wait_for(lambda: power(pair, "node1") == "ended", what="node1 ends itself")
    web.wait("node2", "STARTED")
    back(pair, "node1")
    web.assert_nothing_twice()


def test_another_self_fence_is_taken_over_while_all_runs(shared: Pair) -> None:
    before = guardian(shared, "node1")
    for node in NODES:
        shared.conf(node, "options.toml").write_text(STOP)
        assert shared.run(node, "ezha", "reload").returncode == 0
        wait_for(lambda node=node: promises(shared, node)[-1:] == ["STOP"], what=f"{node} promises less")
    assert guardian(shared, "node1") != before


def test_without_the_guard_the_service_runs_twice(web: Service) -> None:
    """The twin of the above: ``self_fence = "stop"`` promises no more than nmond itself can do."""
    pair = web.pair
    nmond = pair.need_nmond("node1")
    pair.kill(nmond, signal.SIGSTOP)
    wait_for(lambda: any(call.what == "TWICE" for call in web.log()), what="node2 starts it beside node1")
    assert power(pair, "node1") == "on"
    assert "nothing more is done (self_fence = stop)" in pair.cluster("node1", "log", "nmond.log").read_text()
    # It wakes up, and before anything else it acts on its lapse.
    since = boottime()
    process.send(nmond, signal.SIGCONT)
    wait_for(lambda: web.transitions("node1", since)[:1] == ["STOPPING"], what="node1 stops it")
    pair.wait_all_up()


def test_an_nmond_that_comes_after_the_lease_has_ended_stops_what_it_finds(web: Service) -> None:
    pair, since = web.pair, boottime()
    keeper = supervisor(pair, "node1")
    pair.kill(keeper, signal.SIGSTOP)
    pair.kill(pair.need_nmond("node1"))
    wait_for(lambda: boottime() - since > 0.5 * T, what="the lease has ended")
    pair.kill(keeper, signal.SIGCONT)
    wait_for(lambda: web.transitions("node1", since)[:1] == ["STOPPING"], what="it is stopped, not adopted")
    pair.wait_all_up()
