"""A disk that is full or became read-only: what was not remembered is not done, but the node lives, and is heard.

The folder is made read-only by a mount of the node's own; no other file of it is touched.
"""

import re
from collections.abc import Iterator

import pytest

from ha.lab.plan import PREFIX
from tests.lab.conftest import wait_for
from tests.lab.pair import GATE_SHELL, Pair, boottime, standing

T = 1.0


@pytest.fixture
def pair() -> Iterator[Pair]:
    with standing(T, ("web", "other")) as made:
        made.services["web"].take()
        yield made


def shut(pair: Pair, node: str, folder: str) -> None:
    where = f"{PREFIX}/{folder}"
    for words in (["--bind", where, where], ["-o", "remount,bind,ro", where]):
        done = pair.lab.exec(node, ["mount", *words])
        assert done.returncode == 0, done.stderr


def reopen(pair: Pair, node: str, folder: str) -> None:
    done = pair.lab.exec(node, ["umount", f"{PREFIX}/{folder}"])
    assert done.returncode == 0, done.stderr


def figure(pair: Pair, node: str, name: str) -> float:
    told = pair.run(node, "ezha", "metrics").stdout
    found = re.search(rf"^ezha_{name} (\S+)$", told, re.MULTILINE)
    assert found, told
    return float(found[1])


def test_a_node_that_cannot_write_its_record_is_not_taken_for_dead(pair: Pair) -> None:
    """Its silence would have the other node start what runs here."""
    web, other = pair.services["web"], pair.services["other"]
    shut(pair, "node1", "services")
    since = boottime()
    refused = pair.run("node1", "service", "-A", "other", "unfreeze")
    assert refused.returncode == 1
    assert "the state of record cannot be written (Read-only file system)" in refused.stderr
    # It is tried again once a second: these are more than three timeouts.
    wait_for(lambda: figure(pair, "node1", "persist_failures_total") > 3 * T + 1, what="it was tried several times")
    assert web.running() == ["node1"]
    assert web.texts("node2", since) == []
    assert pair.down("node2") == []
    assert other.calls() == []
    reopen(pair, "node1", "services")
    wait_for(lambda: not figure(pair, "node1", "persist_trouble"), what="the record can be written again")
    other.act("node1", "unfreeze")
    other.wait("node1", "STARTED")
    web.assert_nothing_twice()


def test_nmond_is_not_replaced_while_how_a_script_ended_is_only_in_its_memory(pair: Pair) -> None:
    """The next one would take the script for one that still runs, or for one that nobody saw the end of."""
    web = pair.services["web"]
    web.behave(GATE_SHELL + "on_stop() { shut stopped; }\n")
    web.act("node1", "stop", "--no-wait")
    wait_for(lambda: "stop" in web.calls("node1"), what="the stop script runs")
    shut(pair, "node1", "services")
    pair.open("stopped")
    wait_for(lambda: figure(pair, "node1", "persist_trouble"), what="its end cannot be written")
    old = pair.need_nmond("node1")
    refused = pair.run("node1", "ezha.init", "restart")
    assert refused.returncode == 1
    assert "how a script ended cannot be written (Read-only file system), and would be forgotten" in refused.stderr
    assert pair.need_nmond("node1") == old
    reopen(pair, "node1", "services")
    web.wait("node2", "STARTED")
    assert pair.run("node1", "ezha.init", "restart").returncode == 0
    assert web.running() == ["node2"]
    web.assert_nothing_twice()


def test_a_disk_for_logs_that_cannot_be_written_hinders_nothing(pair: Pair) -> None:
    web = pair.services["web"]
    for node in ("node1", "node2"):
        shut(pair, node, "log")
    web.act("node1", "stop")
    web.wait("node2", "STARTED")
    assert web.running() == ["node2"]
    # Files that are open already can be written all the same.
    assert "web: the output of stop is lost" in pair.cluster("node1", "log", "nmond.log").read_text()
    web.assert_nothing_twice()
