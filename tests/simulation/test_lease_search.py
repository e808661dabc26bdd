"""All histories of the lease on a shared disk: none runs the service twice, and without any one guard some do."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ha.cli.commands import sim
from ha.fsm import lapse, timing
from ha.simulation import lease_world
from ha.simulation.lease_search import search
from ha.simulation.lease_world import Bounds, World


def test_no_history_with_one_fault_runs_it_twice() -> None:
    found = search(Bounds(faults=1, kinds=("cut", "disk", "hang", "stuck", "crash", "off")))
    assert found.violation == "", "\n".join(found.story)
    assert found.exhausted
    assert found.states > 300


def test_no_history_with_two_faults_of_the_disk_runs_it_twice() -> None:
    found = search(Bounds(faults=2, kinds=("disk", "stuck"), network=False))
    assert found.violation == "", "\n".join(found.story)
    assert found.exhausted


def _no_hard_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither nmond nor a guardian ends the machine."""
    monkeypatch.setattr(lapse.Lapses, "_end_machine", lambda self, name, now: self._ending.setdefault(name))
    monkeypatch.setattr(lapse.Lapses, "_guard_time", lambda self: float("inf"))


def _lease_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LEASE", 1.2)


def _no_lapse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lapse.Lapses, "_look_at_leases", lambda self, now: None)
    for when in ("_guard_time", "_lease_deadline"):
        monkeypatch.setattr(lapse.Lapses, when, lambda self: float("inf"))


@pytest.mark.parametrize(
    ("remove", "bounds"),
    [
        (_no_hard_deadline, Bounds(faults=2, kinds=("disk", "stuck"), network=False)),
        (_lease_too_long, Bounds(faults=1, kinds=("disk",), network=False)),
        (_no_lapse, Bounds(faults=1, kinds=("disk",), network=False)),
    ],
)
def test_twin_without_a_guard_the_search_finds_a_dual_run(
    remove: Callable[[pytest.MonkeyPatch], None], bounds: Bounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(monkeypatch)
    found = search(bounds)
    assert "up on node" in found.violation
    assert found.story


def test_the_verdict_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.run(["explore", "--lease", "--faults", "1", "--kinds", "disk", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["exhausted"]
    assert told["kinds"] == ["disk"]
    assert sim.run(["explore", "--lease", "--faults", "1", "--kinds", "cut"]) == 0
    assert "exhausted: no history within these bounds runs the service on two nodes" in capsys.readouterr().out


def test_a_lease_world_begins_with_one_run() -> None:
    world = World(Bounds())
    world.begin()
    assert [host.up for host in world.hosts] == [True, False]
    assert lease_world.moves(world, 0)
