"""All histories of the lease on a shared disk: none runs the service twice, and without any one guard some do."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ha.cli.commands import sim
from ha.cli.guard import CliError
from ha.fsm import engine, hearing, lapse, lease, standing, timing
from ha.fsm.config import PathId
from ha.fsm.events import MessageReceived, OwnSlot, Written
from ha.fsm.lease import FOREVER
from ha.fsm.peers import Peer
from ha.fsm.states import State
from ha.simulation import lease_search
from ha.simulation.lease_search import Found, search
from ha.simulation.lease_world import PERIOD, Bounds, Move, T, World, moves


def _kept(bounds: Bounds) -> Found:
    found = search(bounds)
    assert found.violation == "", "\n".join(found.story)
    assert found.exhausted
    return found


# ---------------------------------------------------------------------------------------- nothing is taken away


def test_no_history_with_one_fault_runs_it_twice() -> None:
    assert _kept(Bounds(faults=1)).states > 300


def test_no_history_of_three_nodes_with_one_fault_runs_it_twice() -> None:
    assert _kept(Bounds(nodes=3, faults=1, kinds=("cut", "disk", "hang", "stuck", "off"))).states > 300


def test_no_history_with_two_faults_of_the_disk_runs_it_twice() -> None:
    _kept(Bounds(faults=2, kinds=("disk", "stuck"), network=False))


def test_no_order_to_freeze_runs_it_twice() -> None:
    _kept(Bounds(faults=2, kinds=("disk", "order"), network=False))


def test_a_machine_paused_with_its_clock_runs_it_beside_another_for_a_lease_at_most() -> None:
    """No lease can tell; but the look after its next write shows what happened meanwhile."""
    found = _kept(Bounds(faults=1, kinds=("freeze",), network=False))
    assert found.window is not None
    assert 0.0 < found.window <= timing.LEASE * T / PERIOD


# ------------------------------------------------------------------------------------------- a guard is taken away


Patch = pytest.MonkeyPatch


def _no_hard_deadline(monkeypatch: Patch) -> None:
    """Neither nmond nor a guardian ends the machine."""
    monkeypatch.setattr(lapse.Lapses, "_end_machine", lambda self, name, now: self._ending.setdefault(name))
    monkeypatch.setattr(lapse.Lapses, "_guard_time", lambda self: FOREVER)


def _lease_too_long(monkeypatch: Patch) -> None:
    monkeypatch.setattr(timing, "LEASE", 1.2)


def _no_lapse(monkeypatch: Patch) -> None:
    monkeypatch.setattr(lapse.Lapses, "_look_at_leases", lambda self, now: None)
    for when in ("_guard_time", "_lease_deadline"):
        monkeypatch.setattr(lapse.Lapses, when, lambda self: FOREVER)


def _no_look_after_the_write(monkeypatch: Patch) -> None:
    """A write renews the lease of what runs, though nobody looked at the slots of the others after it."""
    renewed, written = lease.Outgoing.renewed_by, standing.Standings._on_written

    def blind(self: lease.Outgoing, looked: float, lines: Iterable[int]) -> float:
        return renewed(self, FOREVER, lines)

    def careless(self: standing.Standings, event: Written) -> None:
        if self._held:
            self.outgoing.confirm(event.index, event.seq, event.at)
        else:
            written(self, event)

    monkeypatch.setattr(lease.Outgoing, "renewed_by", blind)
    monkeypatch.setattr(standing.Standings, "_on_written", careless)


def _later_claim_ignored(monkeypatch: Patch) -> None:
    compare = hearing.Hearing._compare

    def deaf(self: hearing.Hearing, peer: Peer, before: Any, now: float) -> None:
        self.__dict__["_lapse"] = lambda *told: None
        compare(self, peer, before, now)
        del self.__dict__["_lapse"]

    monkeypatch.setattr(hearing.Hearing, "_compare", deaf)


def _frozen_exempt_at_once(monkeypatch: Patch) -> None:
    monkeypatch.setattr(standing.Standings, "_is_known", lambda self, service: True)


def _adopted_past_the_lease(monkeypatch: Patch) -> None:
    """A new nmond gives what it finds running another whole lease."""
    made = engine.Engine.__init__

    def hopeful(self: engine.Engine, config: Any, node: str, record: Any, life: Any, now: float, **more: Any) -> None:
        if more.get("guard_until", FOREVER) < FOREVER:
            more["guard_until"] = now + timing.Timing(T).hard
        made(self, config, node, record, life, now, **more)

    monkeypatch.setattr(engine.Engine, "__init__", hopeful)


def _any_disk_renews(monkeypatch: Patch) -> None:
    def trusting(self: standing.Standings, event: OwnSlot) -> None:
        self._shared[event.index] = None
        self._see_devices()

    monkeypatch.setattr(standing.Standings, "_on_own_slot", trusting)


@pytest.mark.parametrize(
    ("remove", "faults", "kinds"),
    [
        (_no_hard_deadline, 2, ("disk", "stuck")),
        (_lease_too_long, 1, ("disk",)),
        (_no_lapse, 1, ("disk",)),
        (_no_look_after_the_write, 1, ("freeze",)),
        (_later_claim_ignored, 1, ("freeze",)),
        (_frozen_exempt_at_once, 2, ("disk", "order")),
        (_adopted_past_the_lease, 2, ("disk", "crash")),
        (_any_disk_renews, 2, ("off", "alone")),
    ],
)
def test_twin_without_a_guard_the_search_finds_a_dual_run(
    remove: Callable[[Patch], None], faults: int, kinds: tuple[str, ...], monkeypatch: Patch
) -> None:
    remove(monkeypatch)
    found = search(Bounds(faults=faults, kinds=kinds, network=False))
    assert "up on node" in found.violation
    assert ("longer than any lease" in found.violation) == (kinds == ("freeze",))
    assert found.story


@pytest.mark.parametrize(
    ("remove", "faults", "kinds"),
    [
        (_lease_too_long, 1, ("disk",)),
        (_no_lapse, 1, ("disk",)),
        (_later_claim_ignored, 1, ("freeze",)),
        (_frozen_exempt_at_once, 2, ("disk", "order")),
    ],
)
def test_twin_of_three_nodes_that_all_look_at_once(
    remove: Callable[[Patch], None], faults: int, kinds: tuple[str, ...], monkeypatch: Patch
) -> None:
    remove(monkeypatch)
    assert "up on node" in search(Bounds(nodes=3, faults=faults, kinds=kinds, network=False)).violation


# ---------------------------------------------------------------------------------------------- the search itself


Visible = set[tuple[int, tuple[tuple[State | None, bool], ...]]]


def _visible(bounds: Bounds, monkeypatch: Patch) -> tuple[Visible, int]:
    """All that could be seen from outside: how many faults were left, each node's state, and where it was up."""
    seen: Visible = set()

    def noting(world: World, faults: int) -> Iterator[Move]:
        hosts = ((h.engine.services["web"].state if h.engine is not None else None, h.up) for h in world.hosts)
        seen.add((faults, tuple(hosts)))
        return moves(world, faults)

    with monkeypatch.context() as patch:
        patch.setattr(lease_search, "moves", noting)
        found = search(bounds)
    assert found.exhausted
    return seen, found.states


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(faults=1, kinds=("disk",), network=False),
        Bounds(faults=1, kinds=("cut",)),
        Bounds(faults=1, kinds=("stuck", "hang", "pause")),
        Bounds(faults=1, kinds=("off",)),
        Bounds(nodes=3, faults=1, kinds=("hang", "crash")),
    ],
)
def test_what_is_done_at_once_hides_nothing(bounds: Bounds, monkeypatch: Patch) -> None:
    """What makes no difference goes its way in one step; in every order the same is reached."""
    quick, few = _visible(bounds, monkeypatch)
    monkeypatch.setattr(World, "_unclaimed", lambda self: False)
    monkeypatch.setattr(World, "_calm", lambda self: False)
    slow, many = _visible(bounds, monkeypatch)
    assert quick == slow
    assert few < many


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(nodes=3, faults=1),
        Bounds(nodes=3, faults=1, kinds=("off",)),
    ],
)
def test_that_a_node_looks_at_all_slots_in_one_step_hides_nothing(bounds: Bounds, monkeypatch: Patch) -> None:
    one, few = _visible(bounds, monkeypatch)
    each, many = _visible(replace(bounds, apart=True), monkeypatch)
    assert one == each
    assert few < many


_UNCHANGED = {
    *("counters", "_ids", "_keys", "_neighbours", "_alerted", "_uncompared", "_wanted", "_heard_before", "_fencing"),
    *("_orphans", "_undo_orphans", "_strays", "cells"),
}
"""By no step of a world without operators, fencing, arbiter and changes of configuration; or decided by nothing."""
_OF_A_STEP = {"_undo", "_persist", "_kills", "_runs", "_notes", "_replies", "_fences", "_lapsing", "_undo_ending"}
"""Made anew by each."""


def test_a_copy_shares_nothing_that_a_step_changes() -> None:
    world = World(Bounds(nodes=3))
    world.begin()
    original = world.hosts[0].engine
    assert original is not None
    mine, theirs = original.__dict__, original.copy().__dict__
    changeable = {name for name, each in mine.items() if isinstance(each, dict | list | set | deque)}
    assert {name for name in changeable if theirs[name] is mine[name]} <= _UNCHANGED | _OF_A_STEP


@pytest.mark.parametrize(("newer", "unclaimed"), [(State.STARTED, True), (State.STOPPED, False)])
def test_of_what_waits_for_a_paused_nmond_the_newest_counts(newer: State, unclaimed: bool) -> None:
    world = World(Bounds())
    world.begin()
    said, host = world.slots[0], world.hosts[1]
    assert said is not None
    assert host.engine is not None
    peer = host.engine.peers["node1"]
    later = replace(said, seq=said.seq + 9, services=(replace(said.services[0], state=newer),))
    host.paused_at, peer.entries, peer.silent = world.now, {}, True
    host.inbox = tuple(
        MessageReceived(each, PathId("node1", path), world.now)
        for path, each in ((1, replace(said, seq=said.seq + 8)), (0, later))
    )
    assert world._unclaimed() is unclaimed


def test_the_verdict_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.run(["explore", "--lease", "--faults", "1", "--kinds", "disk", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["exhausted"]
    assert told["kinds"] == ["disk"]
    assert sim.run(["explore", "--lease", "--faults", "1", "--kinds", "cut"]) == 0
    assert "exhausted: no history within these bounds runs the service on two nodes" in capsys.readouterr().out


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(CliError, match="--kinds: flood: one of cut, disk"):
        sim.run(["explore", "--lease", "--kinds", "cut,flood"])


def test_the_command_tells_how_long_a_paused_machine_went_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.run(["explore", "--lease", "--faults", "1", "--kinds", "freeze", "--no-network"]) == 0
    assert "up on two after a pause of a machine with its clock: for 1 periods at most" in capsys.readouterr().out


def test_a_lease_world_begins_with_one_run() -> None:
    world = World(Bounds())
    world.begin()
    assert [host.up for host in world.hosts] == [True, False]
    assert list(moves(world, 0))
