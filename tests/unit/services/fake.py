"""Resources that are up or down in memory, and tell what was done to them: the controller is what is tried here."""

import time
from collections.abc import Iterable
from pathlib import Path

from ha.services.config import ServiceConfig
from ha.services.context import Context, Paths
from ha.services.errors import ResourceError
from ha.services.keys import Values
from ha.services.log import Log, formatted
from ha.services.resource import Copier, Fencer, Resource
from ha.services.runner import Runner
from ha.services.service import Service
from ha.services.state import State, Status

NOON = time.gmtime(12 * 3600)


class Fake(Resource):
    """``fails``: actions that raise, before they have changed anything (``start``) or half-way (``start!``)."""

    def __init__(self, rid: str, world: "World", **values: object) -> None:
        self.group = rid.partition("#")[0]  # type: ignore[misc]
        super().__init__(rid, Values({"subset": "", **values}))
        self.world = world
        self.up = False
        self.fails: set[str] = set()
        self.conflict = ""
        self.state: State | None = None
        self.notes: tuple[str, ...] = ()
        self.failed = False
        self.error: type[Exception] = ResourceError
        self.labelled = f"label of {rid}"

    @property
    def label(self) -> str:
        return self.labelled

    def abort_check(self, ctx: Context) -> str:
        self.world.done.append(f"check {self.rid}")
        return self.conflict

    def start(self, ctx: Context) -> None:
        self.world.done.append(f"start {self.rid}")
        if "start" in self.fails:
            raise self.error(f"{self.rid} does not start")
        if self.up:
            return
        self.activated = True
        self.up = True
        if "start!" in self.fails:
            raise self.error(f"{self.rid} starts half")

    def stop(self, ctx: Context) -> None:
        self.world.done.append(f"stop {self.rid}")
        if "stop" in self.fails:
            raise self.error(f"{self.rid} does not stop")
        self.up = False

    def status(self, ctx: Context) -> Status:
        return Status(self.state or (State.UP if self.up else State.DOWN), self.notes, self.failed)


class FakeCopier(Fake, Copier):
    def copy(self, ctx: Context, target: str) -> None:
        self.world.done.append(f"copy {self.rid} to {target}")

    def received(self, ctx: Context) -> None:
        self.world.done.append(f"received {self.rid}")


class FakeFencer(Fake, Fencer):
    def fence(self, ctx: Context) -> None:
        self.world.done.append(f"fence {self.rid}")
        if "fence" in self.fails:
            raise ResourceError("the power switch does not answer")


class World:
    """A node with one service, its log in ``lines``, and what was done in ``done``."""

    def __init__(self, place: Path, name: str = "web", nodes: Iterable[str] = ("node1", "node2")) -> None:
        self.paths = Paths(*(str(place / part) for part in ("etc", "var", "run", "tmp", "log")))
        self.lines: list[str] = []
        self.done: list[str] = []
        self.name = name
        self.nodes = tuple(nodes)
        self.resources: list[Resource] = []

    def sink(self, level: str, who: str, text: str) -> None:
        self.lines.append(formatted(level, who, text, NOON).removeprefix("12:00:00 "))

    def add(self, rid: str, **values: object) -> Fake:
        kind = {"sync": FakeCopier, "stonith": FakeFencer}.get(rid.partition("#")[0], Fake)
        fake = kind(rid, self, **values)
        self.resources.append(fake)
        return fake

    def service(self, node: str = "node1") -> Service:
        log = Log(self.name, sink=self.sink)
        config = ServiceConfig(
            self.name, f"{self.paths.etc}/{self.name}.env", node, self.nodes, (), Values({}), tuple(self.resources)
        )
        return Service(config, Context(self.name, node, self.nodes, (), log, Runner(), self.paths))
