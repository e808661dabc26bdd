"""nmond's arbiter and real etcd servers: renewals go on through what a quorum survives, and stop with it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.fsm.events import Arbitrate, Arbitrated
from ha.fsm.timing import Timing
from ha.node.arbiter.answers import RefusedError
from ha.node.arbiter.arbiter import Arbiter, Terms
from ha.node.arbiter.arithmetic import ttl
from ha.node.arbiter.gateway import Gateway
from ha.node.arbiter.memory import Memory
from ha.node.clock import now as boottime
from ha.node.config.etcd import EtcdOptions
from ha.node.loop import Loop
from tests.lab.etcd_server import Servers, needs_etcd, servers
from tests.unit.node.world import ListLog

pytestmark = needs_etcd

T = 2.0
PERIOD = 0.4
L = Timing(T).lease
TTL = ttl(Timing(T))


class Node:
    """A loop with an arbiter, and what the engine would hear."""

    def __init__(self, name: str, folder: Path, etcd: EtcdOptions) -> None:
        self.loop = Loop()
        self.log = ListLog()
        self.heard: list[Arbitrated] = []
        self.terms = Terms(etcd, "/ezha/test/", PERIOD, T, T)
        self.memory = f"{folder}/{name}.etcd"
        self.name = name
        self.arbiter = self.new()

    def new(self) -> Arbiter:
        return Arbiter(self.loop, self.name, self.memory, "/bin", self.log, self.heard.append)

    def use(self) -> None:
        self.arbiter.use(self.terms, lambda service: T, "1.2")

    def want(self, service: str = "web", want: bool = True) -> None:
        self.arbiter.ask(Arbitrate(service, want))

    def ours(self, service: str = "web") -> bool:
        """The engine's rule: until L after the request was sent."""
        last = next((a for a in reversed(self.heard) if a.service == service), None)
        return last is not None and last.ours and self.loop.clock() < last.asked + L

    def stop(self) -> None:
        self.arbiter.stop()
        end = time.monotonic() + 5
        while not self.arbiter.gone and time.monotonic() < end:
            self.loop.turn(0.02)
        self.loop.close()


class World:
    def __init__(self, folder: Path, cluster: Servers) -> None:
        self.etcd = cluster
        options = EtcdOptions(cluster.endpoints)
        self.one, self.two = Node("node1", folder, options), Node("node2", folder, options)
        for node in (self.one, self.two):
            node.use()

    def turn(self, seconds: float) -> None:
        """Never both at once, whatever happens."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for node in (self.one, self.two):
                node.loop.turn(0.01)
            assert not (self.one.ours() and self.two.ours())

    def until(self, condition: object, limit: float, what: str) -> float:
        began = time.monotonic()
        while not condition():  # type: ignore[operator]
            assert time.monotonic() - began < limit, (
                what,
                self.one.heard[-3:],
                self.two.heard[-3:],
                self.one.log.lines,
            )
            self.turn(0.02)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("etcd"), 3) as made:
        yield made


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Servers]:
    with servers(tmp_path, 1) as made:
        yield made


@pytest.fixture
def world(tmp_path: Path, trio: Servers) -> Iterator[World]:
    yield from started(tmp_path, trio)


@pytest.fixture
def alone(tmp_path: Path, single: Servers) -> Iterator[World]:
    yield from started(tmp_path, single)


def started(folder: Path, cluster: Servers) -> Iterator[World]:
    """Node1 has the service; both have seen the cluster before, so that there is no wait of a first contact."""
    header = cluster.leader().ask("maintenance/status", {})["header"]
    assert isinstance(header, dict)
    for name in ("node1", "node2"):
        memory = Memory(f"{folder}/{name}.etcd", L)
        memory.see(int(header["cluster_id"]), int(header["revision"]), boottime())
        memory.settle()
    made = World(folder, cluster)
    try:
        made.one.want()
        made.until(made.one.ours, 3, "node1 has it")
        yield made
    finally:
        for node in (made.one, made.two):
            node.want(want=False)
            node.loop.turn(0.01)
            node.stop()


def test_one_has_it_the_other_gets_it_when_it_is_given_back(world: World) -> None:
    world.two.want()
    world.until(lambda: world.two.heard, 3, "node2 hears whose it is")
    assert (world.two.heard[-1].ours, world.two.heard[-1].detail) == (False, "its key in etcd is node1's")
    world.turn(L + 0.5)
    assert world.one.ours()
    world.one.want(want=False)
    assert world.until(world.two.ours, 3, "node2 has it") < 1.5
    assert (world.one.heard[-1].ours, world.one.heard[-1].detail) == (False, "it was given back")


def test_a_process_that_is_killed_is_followed_by_one_that_takes_its_keys_on(world: World) -> None:
    world.two.want()
    old = world.one.arbiter.pid
    os.kill(old, signal.SIGKILL)
    world.until(lambda: world.one.arbiter.pid not in (0, old), 3, "another process")
    world.turn(L + 0.5)
    assert world.one.ours()
    assert not world.two.ours()
    assert "ended by signal 9; another one is started" in world.one.log


def test_a_stopped_process_loses_it_and_the_other_gets_it_when_the_lease_has_ended(world: World) -> None:
    world.two.want()
    asked = world.one.heard[-1].asked
    os.kill(world.one.arbiter.pid, signal.SIGSTOP)
    try:
        world.until(world.two.ours, TTL + 3, "node2 has it")
        first = next(a for a in world.two.heard if a.ours)
        assert first.asked >= asked + Timing(T).ended
        since = len(world.one.heard)
    finally:
        os.kill(world.one.arbiter.pid, signal.SIGCONT)
    world.until(lambda: world.one.heard[since:], 3, "node1 hears that it has lost it")
    assert not any(a.ours for a in world.one.heard[since:])


def test_it_goes_through_an_exec_of_nmond(world: World) -> None:
    old = world.one.arbiter
    old.held = True
    packed, pid = old.packed(), old.pid
    for fd in old.channels():
        world.one.loop.unwatch(fd)
    world.one.loop.unwatch(old._pidfd)
    world.one.arbiter = fresh = world.one.new()
    fresh.unpack(packed, world.one.terms, lambda service: T, "1.2")
    old._channel.detach()  # type: ignore[union-attr]
    assert fresh.pid == pid
    since = len(world.one.heard)
    world.turn(1.0)
    assert all(a.ours for a in world.one.heard[since:])
    assert world.one.ours()


def test_the_leader_dies_and_the_renewals_go_on(world: World) -> None:
    world.two.want()
    leader = world.etcd.leader()
    leader.kill()
    try:
        since = len(world.one.heard)
        world.turn(L + 1)
        assert world.one.ours()
        assert all(a.ours for a in world.one.heard[since:])
        assert not any(a.ours for a in world.two.heard)
    finally:
        leader.start(world.etcd.initial, "existing")
        world.etcd.wait()


@pytest.mark.parametrize("leads", [True, False])
def test_a_member_that_hangs_costs_nothing(world: World, leads: bool) -> None:
    world.two.want()
    member = next(member for member in world.etcd.members if member.leads() is leads)
    member.send(signal.SIGSTOP)
    try:
        world.turn(L + 1)
        assert world.one.ours()
        assert not any(a.ours for a in world.two.heard)
    finally:
        member.send(signal.SIGCONT)


def test_without_a_quorum_it_lapses_and_nobody_gets_it(world: World) -> None:
    world.two.want()
    world.turn(0.2)
    for member in world.etcd.members[:2]:
        member.send(signal.SIGSTOP)
    try:
        world.until(lambda: not world.one.ours(), L + 1, "node1 has lapsed")
        world.turn(TTL)
        assert not world.one.ours()
        assert not world.two.ours()
        assert "etcd cannot be used" in world.one.arbiter.trouble
    finally:
        for member in world.etcd.members[:2]:
            member.send(signal.SIGCONT)
    world.until(lambda: world.one.ours() or world.two.ours(), 2 * TTL + 5, "one of them has it again")


def test_a_compaction_changes_nothing(alone: World) -> None:
    member = alone.etcd.members[0]
    for _ in range(20):
        member.ask("kv/put", {"key": "eA==", "value": "eQ=="})
    revision = member.ask("kv/range", {"key": "eA=="})["header"]["revision"]  # type: ignore[index]
    member.ask("kv/compaction", {"revision": revision, "physical": True})
    alone.turn(L + 0.5)
    assert alone.one.ours()
    alone.one.want(want=False)
    alone.two.want()
    alone.until(alone.two.ours, 3, "node2 has it")


def test_etcd_comes_back(alone: World) -> None:
    """Killed, and begun again on its data."""
    alone.two.want()
    member = alone.etcd.members[0]
    member.kill()
    alone.until(lambda: not alone.one.ours(), L + 1, "node1 has lapsed")
    member.start(alone.etcd.initial, "existing")
    alone.etcd.wait()
    alone.until(lambda: alone.one.ours() or alone.two.ours(), 2 * TTL + 5, "one of them has it again")


def test_an_etcd_that_was_emptied_has_no_second_owner_in_its_time(tmp_path: Path, alone: World) -> None:
    alone.two.want()
    alone.turn(0.5)
    member = alone.etcd.members[0]
    asked = next(a.asked for a in reversed(alone.one.heard) if a.ours)
    os.kill(alone.one.arbiter.pid, signal.SIGSTOP)  # It hears of nothing.
    try:
        member.kill()
        (tmp_path / member.name).rename(tmp_path / "old")
        member.start(alone.etcd.initial)
        alone.etcd.wait()
        alone.until(alone.two.ours, 3 * TTL + 5, "node2 has it")
        first = next(a for a in alone.two.heard if a.ours)
        assert first.asked >= asked + Timing(T).ended
        assert any("may have forgotten" in a.detail for a in alone.two.heard)
    finally:
        os.kill(alone.one.arbiter.pid, signal.SIGCONT)


def test_with_certificates_and_a_user(tmp_path: Path) -> None:
    """And a member that forgets its tokens when it is started again."""
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    with servers(tmp_path, 1, ("--auto-tls",)) as cluster:
        member = cluster.members[0]
        for what, question in (
            ("auth/user/add", {"name": "root", "password": "s3cret"}),
            ("auth/user/grant", {"user": "root", "role": "root"}),
            ("auth/enable", {}),
        ):
            assert "header" in member.ask(what, question)
        more = {"cacert": str(member.certificate), "user": "root", "password_file": str(secret)}
        etcd = Gateway(EtcdOptions(cluster.endpoints, **more), 5.0)
        try:
            (etcd.cluster,) = etcd.identify().values()  # type: ignore[assignment]
            assert etcd.range("/ezha/")[1] == {}
            _, lease, _ = etcd.grant(5)
            assert etcd.put("/ezha/web", b"x", lease).done
            member.kill()
            member.start(cluster.initial, "existing")
            cluster.wait()
            assert etcd.keepalive(lease)[1] == 5
            assert list(etcd.range("/ezha/")[1]) == ["/ezha/web"]
            secret.write_text("wrong")
            etcd._token = ""
            with pytest.raises(RefusedError, match="invalid user ID or password"):
                etcd.range("/ezha/")
        finally:
            etcd.close()
        stranger = Gateway(EtcdOptions(cluster.endpoints), 5.0)
        assert "cannot be trusted: self-signed certificate" in str(stranger.identify())
