"""The whole tutorial, from "Service Creation" to its last line; then what it is all for: the active node dies."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.lab import visitor
from ha.lab.lab import INSTALL
from ha.lab.plan import PREFIX
from ha.lab.spawn import helper_argv
from tests.lab.conftest import NewLab, wait_for
from tests.lab.transcript import parse, play
from tests.lab.tutorial import ADDRESS, NODES, SERVICE, Tutorial

TRANSCRIPT = Path(__file__).parent / "transcripts" / "getting-started.txt"
TUTORIAL_S = 10.0
"""The timeout of the tutorial's heartbeats."""
TIMEOUT_S = 2.0
"""What it is made afterwards: nobody should wait for the other."""
BEYOND_S = 6.0
"""What the start may take beyond the timeout, on a busy machine too; docs/performance.md tells what it takes."""


@pytest.fixture
def tutorial(new_lab: NewLab) -> Iterator[Tutorial]:
    lab = new_lab(install=INSTALL)
    lab.up(timeout_s=TUTORIAL_S)
    tutorial = Tutorial(lab)
    try:
        yield tutorial
    finally:
        tutorial.close()


@pytest.mark.timeout(240)
def test_the_tutorial_and_then_the_active_node_loses_its_power(tutorial: Tutorial) -> None:
    lab = tutorial.lab
    play(lab, parse(TRANSCRIPT))

    for node in NODES:
        tutorial.must(node, "sed", "-i", f"s/ {TUTORIAL_S:g}$/ {TIMEOUT_S:g}/", f"{PREFIX}/conf/monitor")
        tutorial.must(node, f"{PREFIX}/bin/ezha", "reload")
    shown = tutorial.must("node1", f"{PREFIX}/bin/service", "-s")
    assert "node1, STARTED" in shown and "node2, STOPPED" in shown, shown
    tutorial.must("node1", "sh", "-c", "echo kept >/svc1/data/kept && sync /svc1/data/kept")
    job = {"address": ADDRESS, "port": 8080, "ports": []}
    looker = lab.popen("client", helper_argv("ha.lab.visitor", json.dumps(job)), stdout=subprocess.PIPE, text=True)
    try:
        assert looker.stdout is not None
        pages = (json.loads(line) for line in looker.stdout)
        assert "It Works !" in next(each["page"] for each in pages if each["page"])
        off = visitor.now()
        lab.power_off("node1")
        away_s = next(each["at"] for each in pages if each["page"]) - off
    finally:
        looker.kill()
        looker.communicate()
    assert away_s < TIMEOUT_S + BEYOND_S, f"the page was away for {away_s:.2f} s"
    assert tutorial.must("node2", "cat", "/svc1/data/kept") == "kept\n"
    assert tutorial.must("node2", "ip", "-o", "addr", "show", "to", ADDRESS) != ""

    def well() -> bool:
        tree = tutorial.must("node2", "svcmgr", "-s", SERVICE, "print", "status")
        return "overall                   up\n" in tree

    wait_for(well, what="overall is up on node2")
