"""The demonstration ends with a takeover and its figures, and leaves nothing behind, however it ends."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ha.lab import state
from ha.lab.process import alive
from tests.lab.conftest import wait_for

_LAST = re.compile(r"takeover: (\d+\.\d{3}) s after power-off \(timeout 2 s, overhead (-?\d+) ms\)")


def start(temporary: Path) -> "subprocess.Popen[str]":
    """The demonstration as a process of its own, its lab below ``temporary``."""
    return subprocess.Popen(
        [sys.executable, "-m", "ha.cli.ezha", "demo"],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def demo(tmp_path: Path) -> Any:
    child = start(tmp_path)
    yield child
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)


def test_the_other_node_answers_the_page_after_the_power_off(demo: "subprocess.Popen[str]", tmp_path: Path) -> None:
    out, err = demo.communicate(timeout=60)
    assert (demo.returncode, err) == (0, "")
    lines = out.splitlines()
    assert (found := _LAST.fullmatch(lines[-1])), lines[-3:]
    # Nobody may start before the timeout is over; how soon after it is for the benchmark to judge.
    assert 0 <= int(found[2]) < 2000
    told = [line[9:] for line in lines]
    events = (
        "page: no answer",
        "node1: FROZEN_STOP → STOPPED: an operator unfroze it",
        "node1: STARTING → STARTED: the start script is done",
        "node2: FROZEN_STOP → STOPPED: an operator unfroze it",
        "node1 loses its power",
        "node2: STARTING → STARTED: the start script is done",
        "page: <html><body>It Works! (node2)</body></html>",
        "node2# ezha why web --last 4",
    )
    assert [event for event in events if event not in told] == []
    order = [told.index(event) for event in events[1:6]]
    assert order == sorted(order)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_an_interrupted_demonstration_leaves_nothing(
    demo: "subprocess.Popen[str]", tmp_path: Path, number: signal.Signals, code: int
) -> None:
    assert demo.stdout is not None
    while "service -A web unfreeze" not in (line := demo.stdout.readline()):
        assert line, "it ended before it was interrupted"
    (folder,) = tmp_path.iterdir()
    lab = state.load(f"{folder}/lab")
    assert lab is not None
    demo.send_signal(number)
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == code
    assert "takeover" not in out
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    wait_for(lambda: not any(alive(node.init) for node in lab.nodes), what="the nodes are gone")
