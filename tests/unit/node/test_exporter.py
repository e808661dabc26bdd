"""The metrics server's process: started where it is configured, and started again when it dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.node import exporter as exporter_module
from ha.node import process
from ha.node.exporter import Exporter
from ha.node.loop import Loop
from tests.unit.node.world import ListLog, turn_until


class Bench:
    """A stand-in for ``ezha`` that notes how it is called."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        self.log = ListLog()
        self.called = folder / "called"
        program = folder / "ezha"
        program.write_text(f'#!/bin/sh\necho "$@" >> {self.called}\nexec sleep 60\n')
        program.chmod(0o755)
        self.exporter = Exporter(self.loop, str(program), self.log)

    def calls(self) -> list[str]:
        return self.called.read_text().splitlines() if self.called.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.exporter.pid:
        os.kill(made.exporter.pid, signal.SIGKILL)
        process.reap(made.exporter.pid)
    made.loop.close()


def test_nothing_is_started_where_nothing_is_configured(bench: Bench) -> None:
    bench.exporter.use(None)
    assert bench.exporter.pid == 0


def test_it_serves_on_the_configured_address_and_moves_with_it(bench: Bench) -> None:
    bench.exporter.use(("127.0.0.1", 9410))
    turn_until(bench.loop, lambda: len(bench.calls()) == 1)
    bench.exporter.use(("::1", 9411))
    turn_until(bench.loop, lambda: len(bench.calls()) == 2)
    assert bench.calls() == ["metrics --serve 127.0.0.1:9410", "metrics --serve [::1]:9411"]
    bench.exporter.use(None)
    turn_until(bench.loop, lambda: bench.exporter.pid == 0)


def test_it_is_started_again_when_it_dies(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module, "AGAIN_S", 0.001)
    bench.exporter.use(("127.0.0.1", 9410))
    turn_until(bench.loop, lambda: len(bench.calls()) == 1)
    os.kill(bench.exporter.pid, signal.SIGKILL)
    turn_until(bench.loop, lambda: len(bench.calls()) == 2)
    assert "was killed by signal 9" in bench.log
