"""A configuration that changes under a service that runs: neither lease nor guard may take the change for a lapse."""

from dataclasses import replace

import pytest

from ha.fsm.config import ClusterConfig, PathId
from ha.fsm.engine import Engine
from ha.fsm.events import ConfigChanged, Tick
from ha.fsm.lease import NEVER
from ha.fsm.standing import Standings
from ha.fsm.states import Action, State
from ha.fsm.timing import Timing
from tests.unit.fsm.cluster import Cluster, T, config
from tests.unit.fsm.test_lease import cut_disk, cut_networks, leased


def change(cluster: Cluster, timeout: float = T, protection: str = "disk", *nodes: str) -> float:
    """On both nodes, node1 first. Until when the guard of node1 holds still then."""
    cluster.config = config(paths=1, protection=protection, timeout=timeout)
    for node in nodes or ("node1", "node2"):
        cluster.feed(node, ConfigChanged(cluster.config))
    return cluster.hosts["node1"].engine._guard_time()


@pytest.mark.parametrize("timeout", [T, T / 2, 2 * T])
def test_a_lease_that_comes_over_a_running_service_is_given_time_to_be_earned(timeout: float) -> None:
    cluster = leased("none")
    until = change(cluster, timeout)
    assert cluster.now < until <= cluster.now + Timing(timeout).ended
    cluster.run(3 * timeout)
    assert cluster.states() == ["STARTED", "STOPPED"]
    assert cluster.hosts["node1"].engine._guard_time() > cluster.now


@pytest.mark.parametrize("timeout", [T / 2, 2 * T])
def test_a_lease_of_another_length_ends_no_later_than_the_one_before(timeout: float) -> None:
    cluster = leased()
    before = next(iter(cluster.hosts["node1"].engine.leases.values())).until
    change(cluster, timeout, "disk", "node1")
    after = next(iter(cluster.hosts["node1"].engine.leases.values())).until
    assert cluster.now < after <= min(before, cluster.now + Timing(timeout).lease)
    change(cluster, timeout, "disk", "node2")
    cluster.run(3 * timeout)
    assert cluster.states() == ["STARTED", "STOPPED"]


def test_a_lease_that_is_not_earned_in_that_time_lapses() -> None:
    cluster = leased("none")
    cut_networks(cluster)
    cut_disk(cluster, "node1", "node2")
    change(cluster)
    cluster.run(Timing(T).lease + 0.5)
    assert cluster.states()[0] != "STARTED"


def test_without_that_time_the_change_itself_would_end_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "_inherit", lambda self, before, now: None)
    cluster = leased("none")
    assert change(cluster) < cluster.now


# ------------------------------------------------------------------------------------- nmond replaces itself


def hand_over(cluster: Cluster, timeout: float = T) -> None:
    """nmond of node1 replaces itself by exec, and the files say something else by then."""
    cluster.config = config(paths=1, protection="disk", timeout=timeout)
    host = cluster.hosts["node1"]
    host.engine = Engine.restore(host.engine.snapshot(), cluster.config, "node1", cluster.now)
    cluster.feed("node1", Tick())


@pytest.mark.parametrize(("before", "timeout"), [("disk", T), ("disk", T / 2), ("disk", 2 * T), ("none", T)])
def test_a_new_program_that_finds_another_configuration_goes_on_with_what_runs(before: str, timeout: float) -> None:
    cluster = leased(before)
    until = max((lease.until for lease in cluster.hosts["node1"].engine.leases.values()), default=float("inf"))
    hand_over(cluster, timeout)
    assert cluster.states() == ["STARTED", "STOPPED"]
    (lease,) = cluster.hosts["node1"].engine.leases.values()
    assert cluster.now < lease.until <= min(until, cluster.now + Timing(timeout).lease)
    cluster.feed("node2", ConfigChanged(cluster.config))
    cluster.run(3 * timeout)
    assert cluster.states() == ["STARTED", "STOPPED"]


def test_twin_a_hand_over_that_inherits_nothing_stops_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standings, "_inherit", lambda self, before, now: None)
    cluster = leased()
    hand_over(cluster, 2 * T)
    assert cluster.states() == ["STOPPING", "STOPPED"]


def longer_timeout_then_a_new_program() -> float:
    """The end of a lease whose T becomes five times as long, right before a hand-over; nothing is heard any more."""
    cluster = leased()
    before = next(iter(cluster.hosts["node1"].engine.leases.values())).until
    cut_networks(cluster)
    cut_disk(cluster, "node1", "node2")
    change(cluster, 5 * T, "disk", "node1")
    hand_over(cluster, 5 * T)
    cluster.feed("node1", Tick())
    return next(iter(cluster.hosts["node1"].engine.leases.values())).until - before


def test_a_message_from_before_a_change_of_t_renews_nothing_after_a_hand_over_either() -> None:
    assert longer_timeout_then_a_new_program() <= 0.0


def test_twin_a_hand_over_that_forgets_since_when_t_counts_has_a_lease_that_outlives_the_others_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resume = Engine.resume_leases

    def forgetful(self: Engine, plain: dict[str, list[list[object]]], now: float) -> None:
        for each in plain["leases"]:
            each[4] = None
        resume(self, plain, now)

    monkeypatch.setattr(Engine, "resume_leases", forgetful)
    assert longer_timeout_then_a_new_program() > T / 2 + Timing(T).margin


# ------------------------------------------------------------------------------------------ lines in another order


def turned(plain: ClusterConfig) -> ClusterConfig:
    """The lines of each node in the opposite order."""
    own = {node: plain.paths_of(node)[::-1] for node in plain.nodes}
    return replace(
        plain, paths=tuple(replace(p, id=PathId(n, i)) for n, all_ in own.items() for i, p in enumerate(all_))
    )


def proven(cluster: Cluster) -> list[str]:
    """What node1 takes for a disk that is shared."""
    return sorted(cluster.hosts["node1"].engine._devices)


@pytest.mark.parametrize("guarded", [True, False])
def test_what_came_over_the_network_proves_no_disk_though_the_lines_stand_in_another_order(
    monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """Twin: a digest that takes two orders for the same has a disk that nobody else ever read prove itself shared."""
    if not guarded:
        monkeypatch.setattr(ClusterConfig, "paths_digest", property(lambda self: 1))
    cluster = Cluster(config(paths=1, protection="disk"))
    cut_disk(cluster, "node1", "node2")
    cluster.run(2.5)
    cluster.feed("node1", ConfigChanged(turned(cluster.config)))
    cluster.run(2.5)
    assert proven(cluster) == ([] if guarded else ["/dev/sdb"])


def test_what_is_known_of_a_disk_goes_along_to_its_new_place_and_ends_with_its_line() -> None:
    cluster = leased()
    engine = cluster.hosts["node1"].engine
    assert (list(engine._shared), list(engine.outgoing.confirmed)) == ([1], [1])
    cluster.feed("node1", ConfigChanged(turned(cluster.config)))
    assert (list(engine._shared), list(engine.outgoing.confirmed)) == ([0], [0])
    elsewhere = tuple(replace(p, label=p.label.replace("sdb", "sdc")) for p in turned(cluster.config).paths)
    cluster.feed("node1", ConfigChanged(replace(cluster.config, paths=elsewhere)))
    assert (engine._shared, engine.outgoing.confirmed, proven(cluster)) == ({}, {}, [])


@pytest.mark.parametrize("attribute", ["text", "timeout"])
def test_what_was_barred_by_another_monitor_file_starts_once_both_are_equal(attribute: str) -> None:
    """No state changes with it: the next heartbeat alone tells."""
    cluster = Cluster(config(paths=1, protection="disk"))
    cluster.run(2.5)
    value = {"text": "another line", "timeout": 2 * T}[attribute]
    other = tuple(replace(p, **{attribute: value}) if p.id.node == "node1" else p for p in cluster.config.paths)  # type: ignore[arg-type]
    cluster.feed("node1", ConfigChanged(replace(cluster.config, paths=other)))
    cluster.run(1.0)
    cluster.ask("node2", Action.UNFREEZE)
    cluster.run(3 * T)
    assert cluster.states() == ["FROZEN_STOP", "STOPPED"]
    cluster.feed("node1", ConfigChanged(cluster.config))
    cluster.run(3 * T)
    assert cluster.states() == ["FROZEN_STOP", "STARTED"]


# ------------------------------------------------------------------------------------------- timeouts that differ


@pytest.mark.parametrize("guarded", [True, False])
def test_a_killed_nmond_with_leases_of_two_lengths_is_followed_by_one_that_adopts(
    monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """node3 has a shorter T. Twin: all leases reckoned back by the longest way, the shorter seems over at once."""
    if not guarded:
        set_leases = Standings._set_leases

        def reckon(self: Standings, now: float, ended: float = NEVER) -> None:
            set_leases(self, now, ended)
            for lease in self.leases.values():
                lease.until = min(other.until for other in self.leases.values())
                lease.standing = lease.until > now

        monkeypatch.setattr(Standings, "_set_leases", reckon)
    nodes = ("node1", "node2", "node3")
    plain = config(nodes=nodes, services=("web", "db"), paths=1, protection="disk")
    short = tuple(replace(p, timeout=T / 4) if p.id.node == "node3" else p for p in plain.paths)
    services = {
        "web": replace(plain.services["web"], nodes=("node1", "node2")),
        "db": replace(plain.services["db"], nodes=("node1", "node3")),
    }
    cluster = Cluster(replace(plain, paths=short, services=services))
    cluster.run(2.5)
    for name in services:
        cluster.ask("node1", Action.UNFREEZE, name)
        cluster.run(1.0)
    node1 = cluster.hosts["node1"]
    assert (node1.state("web"), node1.state("db")) == (State.STARTED, State.STARTED)
    until = node1.guard
    node1 = cluster.restart("node1", guard_until=until)
    assert all(lease.hard <= until for lease in node1.engine.leases.values())
    assert (node1.state("db") is State.STARTED) is guarded


@pytest.mark.parametrize("guarded", [True, False])
def test_the_hard_deadline_that_a_killed_nmond_left_holds_whatever_t_the_next_one_reads(guarded: bool) -> None:
    """Twin: the end of the lease is told instead, and the way from there to the deadline is reckoned with the new T."""
    cluster = leased()
    cluster.hosts["node2"].alive = False
    cluster.run(0.1)
    until = cluster.hosts["node1"].guard
    slower = tuple(replace(p, timeout=2 * T) for p in cluster.config.paths)
    cluster.config = replace(cluster.config, paths=slower)
    cluster.now = until - Timing(T).margin + 0.1  # the lease is over
    longer = 0.0 if guarded else Timing(2 * T).margin - Timing(T).margin
    node1 = cluster.restart("node1", guard_until=until + longer)
    assert node1.state() is State.STOPPING
    assert (node1.guard <= until) is guarded
    assert (node1.engine._hard_deadline("web") <= until) is guarded


def test_what_left_the_configuration_is_ended_at_the_hard_deadline_that_a_killed_nmond_left() -> None:
    """The last leased service of all: the next nmond knows no T by which that deadline was reckoned."""
    cluster = leased()
    until = cluster.hosts["node1"].guard
    cluster.config = replace(cluster.config, services={})
    node1 = cluster.restart("node1", guard_until=until)
    assert node1.guard == until
