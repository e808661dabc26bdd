"""A process beside nmond: started where it is wanted, and started again when it dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.node import companion as companion_module
from ha.node import process
from ha.node.companion import Companion, metrics_server, resource_watch
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
        self.bin = str(folder)
        self.companion = Companion(self.loop, "the metrics server", self.log)

    def serve(self, address: tuple[str, int] | None) -> None:
        self.companion.use(metrics_server(self.bin, address))

    def calls(self) -> list[str]:
        return self.called.read_text().splitlines() if self.called.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.companion.pid:
        os.kill(made.companion.pid, signal.SIGKILL)
        process.reap(made.companion.pid)
    made.loop.close()


def test_nothing_is_started_where_nothing_is_configured(bench: Bench) -> None:
    bench.serve(None)
    assert bench.companion.pid == 0


def test_it_serves_on_the_configured_address_and_moves_with_it(bench: Bench) -> None:
    bench.serve(("127.0.0.1", 9410))
    turn_until(bench.loop, lambda: len(bench.calls()) == 1)
    bench.serve(("::1", 9411))
    turn_until(bench.loop, lambda: len(bench.calls()) == 2)
    assert bench.calls() == ["metrics --serve 127.0.0.1:9410", "metrics --serve [::1]:9411"]
    bench.serve(None)
    turn_until(bench.loop, lambda: bench.companion.pid == 0)


def test_it_is_started_again_when_it_dies(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion_module, "AGAIN_S", 0.001)
    bench.serve(("127.0.0.1", 9410))
    turn_until(bench.loop, lambda: len(bench.calls()) == 1)
    os.kill(bench.companion.pid, signal.SIGKILL)
    turn_until(bench.loop, lambda: len(bench.calls()) == 2)
    assert "the metrics server (metrics --serve 127.0.0.1:9410) was killed by signal 9" in bench.log


def test_resources_are_watched_where_svcmgr_is_the_controller(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "svcmgr").touch()
    (tmp_path / "web.cluster").symlink_to(folder / "svcmgr")
    (tmp_path / "db.cluster").touch()
    assert resource_watch(str(folder), [str(tmp_path / "db.cluster"), str(tmp_path / "missing")]) is None
    services = [str(tmp_path / "db.cluster"), str(tmp_path / "web.cluster")]
    assert resource_watch(str(folder), services) == (f"{folder}/svcmgr", "watch")
