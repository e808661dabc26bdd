"""``[sync#N]``, and the implicit ``sync#i0``: copies of files on the other nodes of the service, by rsync over ssh.

``sync#i0`` copies the service's own files, so that another node can start it. Only the node where the service is up
copies: elsewhere the files are older. A timestamp for each node tells when it last got a copy; the node that got one
writes its own (``postsync``), so that a passive node knows as well.
"""

import os
import re
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import ClassVar

from ha.services.context import Context
from ha.services.errors import ResourceError
from ha.services.folders import make_own
from ha.services.keys import Key, Kind, Values
from ha.services.resource import Copier
from ha.services.resources.steps import Budget
from ha.services.state import State, Status

_SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=10")
_STALL_S = 60
"""A copy that makes no progress for so long has failed."""
_POSTSYNC_WAIT_S = 3600
"""How long the other node may wait for its lock (spec: OpenSVC, "sync#i0")."""
_COPY_S = 3600.0
_PLAIN = re.compile(r"[A-Za-z0-9._+:@/-]*")
_AHEAD_S = 60.0
"""A timestamp that is further in the future says nothing: the clock was set back."""


class Sync(Copier):
    """A set of files that other nodes have, too."""

    group = "sync"
    keys = (
        Key("type", doc="rsync", choices=("rsync",), default="rsync"),
        Key("src", Kind.WORDS, "files and folders to copy, absolute; without it, the service's own"),
        Key("dst", Kind.PATH, "the folder on the other node that they go to; needed with src"),
        Key("target", Kind.WORDS, "who gets a copy: nodes, drpnodes", default=("nodes", "drpnodes")),
        Key("schedule", doc="when copies may be made without --force, as 03:59-05:59", default="03:59-05:59"),
        Key("sync_interval", Kind.SECONDS, "the least time between two copies without --force", default=121 * 60.0),
        Key("sync_max_delay", Kind.SECONDS, "a copy that is older is late", default=26 * 3600.0),
    )
    timeouts: ClassVar = {"start": _COPY_S}
    now: Callable[[], float] = staticmethod(time.time)

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        self.sources = values.words("src")
        self.targets = values.words("target")

    @property
    def label(self) -> str:
        what = ", ".join(self.sources) if self.sources else "svc config"
        return f"rsync {what} to {', '.join(sorted(self.targets))}"

    def problems(self) -> Iterable[tuple[str, str]]:
        if bool(self.sources) != self.values.has("dst"):
            yield "src", "src and dst belong together; give both, or neither for the service's own files"
        if not _PLAIN.fullmatch(self.values.text("dst")):
            yield (
                "dst",
                "has a character that the other node's shell might read otherwise; use A-Z a-z 0-9 . _ - + : @ /",
            )
        for source in self.sources:
            if not source.startswith("/"):
                yield "src", f"{source!r} is not an absolute path"
        for target in self.targets:
            if target not in ("nodes", "drpnodes"):
                yield "target", f"{target!r} is neither nodes nor drpnodes"
        if self._window() is None:
            yield "schedule", f"{self.values.text('schedule')!r} is no time of day; write HH:MM-HH:MM"

    def status(self, ctx: Context) -> Status:
        others = self._others(ctx, self.targets)
        if not others:
            return Status(State.NA)
        if self._is_up(ctx):
            late = [node for node in others if self._is_late(ctx, node)]
            return Status(State.DOWN, (f"{', '.join(late)} need update",)) if late else Status(State.UP)
        if self._is_late(ctx, ctx.node):
            return Status(State.WARN, ("passive node needs update",))
        return Status(State.UP)

    def copy(self, ctx: Context, target: str) -> None:
        nodes = self._others(ctx, (target,)) if target in self.targets else []
        if not nodes:
            return
        if not self._is_up(ctx):
            ctx.log.info("skip sync: the service is not up here, and files are copied from where it is")
            return
        if not ctx.force and (why := self._too_early(ctx, nodes)):
            ctx.log.info(f"skip sync: {why}")
            return
        budget = Budget(self.timeout("start"))
        failed: list[str] = []
        # All copies first: with its own, each node is told who else has one, and knows when it becomes the active one.
        self._stamp(ctx, ctx.node)
        for step in (self._copy_to, self._tell):
            for node in nodes:
                if node in failed:
                    continue
                try:
                    step(ctx, node, budget)
                except ResourceError as error:
                    ctx.log.error(str(error))
                    failed.append(node)
        if failed:
            raise ResourceError(f"{', '.join(failed)} got no copy")

    def received(self, ctx: Context) -> None:
        self._stamp(ctx, ctx.node)

    # ------------------------------------------------------------------------------------------------------- copies

    def _copy_to(self, ctx: Context, node: str, budget: Budget) -> None:
        """Raises ResourceError with the node in it."""
        sources = self.sources or self._own_files(ctx)
        folder = self.values.text("dst") or ctx.paths.etc
        # No --delete at the top: what else lies in the folder is not ours. rsync replaces each file whole.
        self._rsync(ctx, sources, f"{node}:{folder}/", budget)
        self._stamp(ctx, node)

    def _tell(self, ctx: Context, node: str, budget: Budget) -> None:
        """Raises ResourceError with the node in it."""
        stamps = [path for each in ctx.nodes + ctx.drpnodes if os.path.exists(path := self._timestamp(ctx, each))]
        self._rsync(ctx, stamps, f"{node}:{ctx.paths.var}/", budget)
        command = f"svcmgr -s {ctx.service} --waitlock {_POSTSYNC_WAIT_S} postsync"
        ctx.log.of("").info(f"exec '{command}' on node {node}")
        done = ctx.runner.run((*_SSH, "--", node, command), budget.left())
        if not done.ok:
            raise ResourceError(f"{node} has the files, but: {done.why()}")

    def _rsync(self, ctx: Context, sources: Iterable[str], target: str, budget: Budget) -> None:
        argv = ("rsync", "-a", f"--timeout={_STALL_S}", "-e", " ".join(_SSH), "--", *sources, target)
        done = ctx.runner.run(argv, budget.left())
        if not done.ok:
            raise ResourceError(f"{target.partition(':')[0]}: {done.why()}")

    def _own_files(self, ctx: Context) -> tuple[str, ...]:
        """The file of the service, its link, and its launchers: those that are there."""
        base = f"{ctx.paths.etc}/{ctx.service}"
        return tuple(path for path in (ctx.config, base, f"{base}.d", f"{base}.dir") if os.path.lexists(path))

    def _others(self, ctx: Context, targets: Iterable[str]) -> list[str]:
        named = {"nodes": ctx.nodes, "drpnodes": ctx.drpnodes}
        found = dict.fromkeys(node for target in targets for node in named[target])
        return [node for node in found if node != ctx.node]

    def _is_up(self, ctx: Context) -> bool:
        """Applications left out: a service whose application is down has its files here all the same.

        Unless it has nothing else: then they alone can tell.
        """
        seen = ctx.group_state(("vg", "disk", "fs", "ip"))
        if seen in (State.NA, State.UNDEF):
            seen = ctx.group_state(("app",))
        return seen in (State.UP, State.NA, State.UNDEF)

    # ----------------------------------------------------------------------------------------------------- schedule

    def _window(self) -> tuple[str, str] | None:
        begin, _, end = self.values.text("schedule").partition("-")
        try:
            for text in (begin, end):
                time.strptime(text, "%H:%M")
        except ValueError:
            return None
        return (begin.rjust(5, "0"), end.rjust(5, "0"))

    def _too_early(self, ctx: Context, nodes: Iterable[str]) -> str:
        """Why no copy is due; empty where one is."""
        window = self._window()
        clock = time.strftime("%H:%M", time.localtime(self.now()))
        if window is None or not _inside(clock, *window):
            return f"not in allowed period ({list(window or ())})"
        least = self.values.seconds("sync_interval")
        ages = [self._age(ctx, node) for node in nodes]
        if all(age is not None and age < least for age in ages):
            newest = max(age for age in ages if age is not None)
            return f"last copy was made {_told(newest)} ago, and sync_interval is {_told(least)}"
        return ""

    def _is_late(self, ctx: Context, node: str) -> bool:
        age = self._age(ctx, node)
        return age is None or age > self.values.seconds("sync_max_delay")

    def _age(self, ctx: Context, node: str) -> float | None:
        """Seconds since the node got a copy; None where it never did, or that cannot be told."""
        try:
            age = self.now() - os.stat(self._timestamp(ctx, node)).st_mtime
        except OSError:
            return None
        return max(age, 0.0) if age > -_AHEAD_S else None

    def _timestamp(self, ctx: Context, node: str) -> str:
        return f"{ctx.paths.var}/{ctx.service}.{self.rid}.{node}"

    def _stamp(self, ctx: Context, node: str) -> None:
        path = self._timestamp(ctx, node)
        try:
            make_own(ctx.paths.var)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
            os.utime(path, (self.now(), self.now()))
        except OSError as error:
            raise ResourceError(f"the timestamp {path} cannot be written: {error.strerror or error}") from None


def _inside(clock: str, begin: str, end: str) -> bool:
    """Whether a time of day lies in a window, which may reach over midnight."""
    return begin <= clock <= end if begin <= end else clock >= begin or clock <= end


def _told(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
