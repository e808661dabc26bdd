"""The whole tutorial, from "Service Creation" to its last line; then what it is all for: the active node dies."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.lab.lab import INSTALL
from tests.lab.conftest import NewLab, wait_for
from tests.lab.transcript import parse, play
from tests.lab.tutorial import ADDRESS, SERVICE, Tutorial

TRANSCRIPT = Path(__file__).parent / "transcripts" / "getting-started.txt"
TIMEOUT_S = 10.0
"""The tutorial's."""
BEYOND_S = 6.0
"""What the start may take beyond the timeout, on a busy machine too; docs/performance.md tells what it takes."""

_POLL = """
import socket, sys, time
def page():
    try:
        with socket.create_connection((sys.argv[1], 8080), 0.2) as peer:
            peer.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            peer.settimeout(0.2)
            return b"It Works !" in b"".join(iter(lambda: peer.recv(4096), b""))
    except OSError:
        return False
while not page():
    time.sleep(0.05)
print("seen", flush=True)
last = time.monotonic()
lost = False
while True:
    if page():
        if lost:
            break
        last = time.monotonic()
    else:
        lost = True
    time.sleep(0.05)
print(time.monotonic() - last, flush=True)
"""


@pytest.fixture
def tutorial(new_lab: NewLab) -> Iterator[Tutorial]:
    lab = new_lab(install=INSTALL)
    lab.up(timeout_s=TIMEOUT_S)
    tutorial = Tutorial(lab)
    try:
        yield tutorial
    finally:
        tutorial.close()


@pytest.mark.timeout(240)
def test_the_tutorial_and_then_the_active_node_loses_its_power(tutorial: Tutorial) -> None:
    lab = tutorial.lab
    play(lab, parse(TRANSCRIPT))

    tutorial.must("node1", "sh", "-c", "echo kept >/svc1/data/kept && sync /svc1/data/kept")
    client = lab.popen("client", ["/usr/bin/python3", "-Ic", _POLL, ADDRESS], stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "seen\n"
        lab.power_off("node1")
        away_s = float(client.stdout.readline())
    finally:
        client.kill()
        client.communicate()
    assert away_s < TIMEOUT_S + BEYOND_S, f"the page was away for {away_s:.2f} s"
    assert tutorial.must("node2", "cat", "/svc1/data/kept") == "kept\n"
    assert tutorial.must("node2", "ip", "-o", "addr", "show", "to", ADDRESS) != ""

    def well() -> bool:
        tree = tutorial.must("node2", "svcmgr", "-s", SERVICE, "print", "status")
        return "overall                   up\n" in tree

    wait_for(well, what="overall is up on node2")
