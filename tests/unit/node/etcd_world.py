"""Two nodes' keepers and an etcd under a clock that jumps: histories of cuts, elections, restarts, restored backups.

The judge looks from outside: whoever believed every answer, and ended as late as it may, must have ended before the
other one begins.
"""

from collections.abc import Iterable
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

from ha.fsm.timing import DRIFT, Timing
from ha.node.arbiter.arithmetic import ttl
from ha.node.arbiter.keeper import Answer, Keeper
from ha.node.arbiter.memory import Memory
from tests.unit.node.etcd_model import Etcd, Link
from tests.unit.node.world import Clock

T = 10.0
TIMING = Timing(T)
WHAT = ("run", "one", "two", "elect", "restart one", "restart two", "want", "give", "swap", "restore")
"""What a step does: to the world, or to the way of a node to etcd (one, two)."""
STATES = ("ok", "ok", "down", "deaf", "stale")
"""Of such a way."""
STEP = 0.25
"""Seconds."""
LONGEST = 1.3 * T
"""Seconds of a step."""


class Node:
    """A keeper, and what it said."""

    def __init__(self, etcd: Etcd, clock: Clock, folder: Path, name: str, rate: float = 1.0) -> None:
        self._etcd = etcd
        self._clock = clock
        self._folder = folder
        self._rate = rate
        self.name = name
        self.said: list[Answer] = []
        self.start()

    def now(self) -> float:
        return self._clock() * self._rate

    def start(self) -> None:
        """A new process: nothing is remembered but the file."""
        self.link = Link(self._etcd)
        self.memory = Memory(str(self._folder / self.name), TIMING.lease)
        self.keeper = Keeper(
            self.link,
            self.memory,
            self.now,
            self.said.append,
            prefix="/ezha/c/",
            owner=self.name,
            incarnation="1",
            period=1.0,
            longest=ttl(TIMING),
        )

    def want(self, *services: str) -> None:
        self.keeper.use(dict.fromkeys(services, TIMING))

    def turn(self) -> None:
        if self.now() >= self.keeper.due:
            self.keeper.turn()

    @property
    def last(self) -> Answer:
        return self.said[-1]

    def may_run_until(self) -> float:
        """By the world's clock: of the worst node that believed every answer."""
        until = float("-inf")
        for answer in self.said:
            if answer.service == "web":
                until = answer.asked + TIMING.ended if answer.ours else until
        return until / self._rate


class World:
    def __init__(self, folder: Path, etcd_rate: float = 1.0, rates: Iterable[float] = (1.0, 1.0)) -> None:
        self.clock = Clock(1000.0)
        self.etcd = Etcd(self.clock, etcd_rate)
        self.one, self.two = (
            Node(self.etcd, self.clock, folder, name, rate)
            for name, rate in zip(("node1", "node2"), rates, strict=True)
        )

    def forget_nothing(self) -> None:
        """Both have seen this etcd before: the wait of the very first contact is over."""
        for node in (self.one, self.two):
            node.link.cluster = self.etcd.store.cluster
            node.memory.see(self.etcd.store.cluster, self.etcd.store.revision, node.now())
            node.memory.settle()

    def run(self, seconds: float, step: float = 0.1) -> None:
        for _ in range(round(seconds / step)):
            self.clock.at += step
            for node in (self.one, self.two):
                node.turn()


class Stale(Exception):
    """Raised by the twin: two nodes may run it at once."""


def play(steps: Iterable[tuple[str, str, float]], rates: tuple[float, float, float]) -> None:
    """A history; raises Stale where one may begin before the other must have ended."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        world = World(Path(folder), rates[0], rates[1:])
        world.forget_nothing()
        backup = world.etcd.backup()
        world.one.want("web")
        world.two.want("web")
        for what, state, seconds in steps:
            match what:
                case "one" | "two":
                    (world.one if what == "one" else world.two).link.state = state
                case "elect":
                    world.etcd.elect()
                case "restart one" | "restart two":
                    node = world.one if what == "restart one" else world.two
                    node.start()
                    node.want("web")
                case "want":
                    world.two.want("web")
                case "give":
                    # What is given back was stopped before.
                    world.one.said.clear()
                    world.one.want()
                case "swap":
                    world.two.said.clear()
                    world.two.want()
                    world.one.want("web")
                case "restore":
                    # docs/etcd.md, "An etcd that forgets": it takes longer than L.
                    world.etcd.up = False
                    _watch(world, TIMING.lease / (1 - DRIFT) + STEP)
                    world.etcd.restore(backup)
                    world.etcd.up = True
            _watch(world, seconds)


def _watch(world: World, seconds: float) -> None:
    for _ in range(ceil(seconds / STEP)):
        world.run(STEP, STEP)
        if min(world.one.may_run_until(), world.two.may_run_until()) >= world.clock():
            raise Stale(f"at {world.clock():.2f}: {world.one.said[-3:]} {world.two.said[-3:]}")
