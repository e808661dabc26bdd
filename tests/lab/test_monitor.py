"""A service of svcmgr whose application dies while the node lives: restarted in place, then handed over, and why."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.lab.plan import PREFIX
from ha.lab.process import ProcessId
from tests.lab.conftest import wait_for
from tests.lab.pair import BIN, NODES, Pair, Service, standing

NAME = "web"
PROGRAM = "/usr/bin/sleep 86399"
FILE = f"""\
[DEFAULT]
nodes = node1 node2
monitor_action = failover
monitor_interval = 0.5

[app#0]
type = simple
start = {PROGRAM}
monitor = True
restart = 1
restart_delay = 0.2

[sync#i0]
disable = True

[hb#0]
type = OpenHA
"""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with standing(2.0, (NAME,), start=False) as pair:
        for node in NODES:
            etc = Path(pair.lab.files(node), "etc", "opensvc")
            (etc / f"{NAME}.conf").write_text(FILE)
            (etc / f"{NAME}.cluster").symlink_to(f"{PREFIX}/bin/svcmgr")
            pair.conf(node, "services").write_text(f"{NAME} /etc/opensvc/{NAME}.cluster node1 node2 /bin/true\n")
        pair.start()
        yield pair


def program(pair: Pair, node: str) -> ProcessId | None:
    return next((each for each, title in pair.processes(node).items() if title == PROGRAM), None)


def switch_off_program(pair: Pair, node: str) -> None:
    """It cannot be started on this node any more."""
    path = Path(pair.lab.files(node), "etc", "opensvc", f"{NAME}.conf")
    path.write_text(FILE.replace(PROGRAM, "/usr/bin/false"))


def test_it_is_restarted_in_place_and_then_handed_over(pair: Pair) -> None:
    web: Service = pair.services[NAME]
    web.take()
    first = wait_for(lambda: program(pair, "node1"), what="the program runs on node1")

    pair.kill(first)
    wait_for(lambda: (now := program(pair, "node1")) and now != first, what="it is restarted in place")
    assert web.transitions("node1")[-1] == "STARTED"

    again = program(pair, "node1")
    assert again is not None
    switch_off_program(pair, "node1")
    pair.kill(again)
    web.wait("node2", "STARTED", timeout=20.0)
    wait_for(lambda: program(pair, "node2"), what="the program runs on node2")
    web.wait("node1", "STOPPED")
    why = pair.lab.exec("node1", [f"{BIN}/ezha", "why", NAME]).stdout
    assert "decided by svcmgr resource_monitor: app#0 is down after 1 restart" in why
