"""Drivers for tests of what reads files: a folder is the world, a file in it says that a resource is up."""

import os
from collections.abc import Iterable

import pytest

from ha.services.context import Context
from ha.services.errors import ResourceError, ServiceError
from ha.services.keys import Key, Kind, Values
from ha.services.resource import Copier, Fencer, Resource
from ha.services.state import State, Status


class InFolder(Resource):
    """Up where ``<run>/<rid>.up`` exists."""

    keys = (
        Key("mnt", Kind.PATH, "where it is mounted", required=True),
        Key("size", Kind.INTEGER, "how large it is", default=7),
        Key("fails", Kind.WORDS, "actions that fail"),
    )
    group = "fs"

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        self.fails = values.words("fails")

    @property
    def label(self) -> str:
        return f"{self.values.text('mnt')}:{self.values.integer('size')}"

    def problems(self) -> Iterable[tuple[str, str]]:
        if self.values.integer("size") > 100:
            yield "size", "is more than 100; make it smaller"

    def flag(self, ctx: Context) -> str:
        return f"{ctx.paths.run}/{self.rid}.up"

    def start(self, ctx: Context) -> None:
        if "start" in self.fails:
            raise ResourceError("no")
        if not os.path.exists(self.flag(ctx)):
            self.activated = True
            with open(self.flag(ctx), "w"):
                ctx.log.info("up now")

    def stop(self, ctx: Context) -> None:
        if "stop" in self.fails:
            raise ResourceError("no")
        if os.path.exists(self.flag(ctx)):
            os.unlink(self.flag(ctx))

    def status(self, ctx: Context) -> Status:
        if "status" in self.fails:
            raise ResourceError("it cannot be seen")
        return Status(State.UP if os.path.exists(self.flag(ctx)) else State.DOWN)


class Quiet(Resource):
    """Of a group that needs no more than to be there."""

    def status(self, ctx: Context) -> Status:
        return Status(State.NA)


class App(Quiet):
    group = "app"


class Agent(Quiet):
    group = "app"
    open_keys = True


class Heart(Quiet):
    group = "hb"


class Copy(Quiet, Copier):
    group = "sync"

    def copy(self, ctx: Context, target: str) -> None:
        ctx.log.info(f"copied to {target}")

    def received(self, ctx: Context) -> None:
        ctx.log.info("received")


class Fence(Quiet, Fencer):
    group = "stonith"

    def fence(self, ctx: Context) -> None:
        raise ResourceError("the power switch does not answer")


def driver(group: str, kind: str) -> type[Resource]:
    if group == "app" and kind.startswith("ocf:"):
        return Agent
    classes = {"fs": InFolder, "app": App, "hb": Heart, "sync": Copy, "stonith": Fence}
    if group not in classes:
        raise ServiceError(f"{group} is not a kind of resource; there are: {', '.join(classes)}")
    if group == "hb" and kind != "OpenHA":
        raise ServiceError(f"type {kind!r} is not known for hb; there are: OpenHA")
    return classes[group]


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ha.services.config.driver", driver)
    monkeypatch.setattr("ha.services.create.driver", driver)
