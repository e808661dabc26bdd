"""``[app#N]`` and the launchers in ``S.d``: the application of a service.

Launchers are called in the plain order of their names: ``S*`` to start, ``K*`` to stop, ``C*`` to check, each with the
action as its argument. A section ``[app#N]`` names its commands instead; ``type = simple`` is a program that stays in
the foreground and is watched, ``type = forking`` one that leaves its daemon behind.
"""

import json
import os
import signal
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from ha.services.context import Context
from ha.services.errors import ResourceError, StillRunning
from ha.services.keys import Key, Kind, Values
from ha.services.resource import Resource
from ha.services.resources import launch, processes, session
from ha.services.resources.steps import Budget, until
from ha.services.runner import Done
from ha.services.state import State, Status

_MOST = 200
"""Launchers of a service."""
_ENOEXEC_HINT = "; a script begins with #! and the path of its interpreter"
_CHECK_EVERY_S = 0.2
_SETTLE_S = 0.3
"""How long a program without a check must have lived to count as started."""
_KILL_S = 3.0


class Launchers(Resource):
    """The scripts in the service's folder of launchers."""

    group = "app"
    timeouts: ClassVar = {"start": 180.0, "stop": 120.0, "status": 10.0}

    def start(self, ctx: Context) -> None:
        budget = Budget(self.timeout("start"))
        scripts = self._scripts(ctx, "S", budget)
        if not scripts:
            return
        checks = self._scripts(ctx, "C", budget)
        if checks and all(self._check(ctx, each, Budget(budget.left(self.timeout("status")))).ok for each in checks):
            ctx.log.info("is already up")
            return
        self.activated = True
        for path in scripts:
            done = launch.spawn(ctx, (path, "start"), "start", os.path.basename(path), budget.left())
            if not done.ok:
                raise ResourceError(_why(done))

    def stop(self, ctx: Context) -> None:
        """A launcher that fails is logged, no more: the file systems are unmounted all the same, users or not."""
        budget = Budget(self.timeout("stop"))
        for path in self._scripts(ctx, "K", budget):
            done = launch.spawn(ctx, (path, "stop"), "stop", os.path.basename(path), budget.left())
            if not done.ok:
                ctx.log.error(_why(done))

    def status(self, ctx: Context) -> Status:
        rest = ctx.group_state(("vg", "disk", "fs", "ip"))
        if rest not in (State.UP, State.STDBY_UP, State.UNDEF, State.NA) and len(ctx.nodes) > 1:
            return Status(State.NA)  # its launchers may lie on a file system that is not here
        budget = Budget(self.timeout("status"))
        try:
            checks = self._scripts(ctx, "C", budget)
            if not checks:
                return Status(State.NA, ("no checkup scripts",))
            done = [self._check(ctx, path, budget) for path in checks]
        except (ResourceError, OSError) as error:
            return Status(State.WARN, (str(error),))
        failed = tuple(_why(each) for each in done if not each.ok)
        if not failed:
            return Status(State.UP)
        if not all(each.answered for each in done):
            # A check that somebody ended, or that was too slow, says nothing: of a down the other node would make use.
            return Status(State.WARN, failed)
        if len(failed) == len(done):
            return Status(State.DOWN)
        return Status(State.WARN, failed, failed=True)

    def _check(self, ctx: Context, path: str, budget: Budget) -> Done:
        return ctx.runner.run((path, "status"), budget.left(), env=launch.environment(ctx), leaves=True)

    def _scripts(self, ctx: Context, letter: str, budget: Budget) -> list[str]:
        """Paths in order. None where there is no folder: it may lie on a file system that is not here."""
        folder = f"{ctx.paths.etc}/{ctx.service}.d"

        def look() -> bytes:
            try:
                names = sorted(name for name in os.listdir(folder) if name.startswith(letter))
            except (FileNotFoundError, NotADirectoryError):
                return b"[]"
            return json.dumps([(name, _fault(f"{folder}/{name}")) for name in names[: _MOST + 1]]).encode()

        try:
            found = json.loads(ctx.runner.call(look, budget.left(self.timeout("status"))))
        except OSError as error:
            raise ResourceError(f"{folder}: {error.strerror or error}") from None
        if len(found) > _MOST:
            raise ResourceError(f"{folder} has more than {_MOST} launchers")
        for name, fault in found:
            if fault not in ("", "folder"):
                raise ResourceError(f"{folder}/{name} {fault}")
        return [f"{folder}/{name}" for name, fault in found if not fault]


def _fault(path: str) -> str:
    """What keeps a launcher from being run; empty where nothing does."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "folder"
    return "" if mode & 0o111 else "cannot be run: make it executable, or remove it"


def _why(done: Done) -> str:
    why = done.why()
    return why + _ENOEXEC_HINT if "Exec format error" in why else why


class _Commands(Resource):
    """An application whose commands stand in its section."""

    group = "app"
    keys = (
        Key(
            "type",
            doc="simple: stays in the foreground; forking: leaves its daemon behind",
            choices=("simple", "forking"),
        ),
        Key("start", Kind.COMMAND, "the command that starts it", required=True),
        Key("stop", Kind.COMMAND, "the command that stops it"),
        Key("check", Kind.COMMAND, "the command whose exit code 0 says that it is up"),
    )
    timeouts: ClassVar = {"start": 180.0, "stop": 120.0, "status": 10.0}

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        self._start = values.words("start")
        self._stop = values.words("stop")
        self._check = values.words("check")

    @property
    def label(self) -> str:
        return os.path.basename(self._start[0])

    def problems(self) -> Iterable[tuple[str, str]]:
        for name in ("start", "stop", "check"):
            command = self.values.words(name)
            if command and not command[0].startswith("/"):
                yield name, f"{command[0]!r} is not an absolute path"

    def _log_name(self) -> str:
        return self.rid.replace("#", "")

    def _checked(self, ctx: Context, budget: Budget) -> Done:
        seconds = budget.left(self.timeout("status"))
        return ctx.runner.run(self._check, seconds, env=launch.environment(ctx), leaves=True)

    def _await_up(self, ctx: Context, budget: Budget) -> None:
        """Started is what can be used. Raises ResourceError where that is not so in time."""
        if self._check and not self._poll(ctx, budget, wanted=True):
            raise ResourceError(f"does not come up: {_why(self._checked(ctx, Budget(self.timeout('status'))))}")

    def _poll(self, ctx: Context, budget: Budget, wanted: bool) -> bool:
        def is_so() -> bool:
            done = self._checked(ctx, budget)
            return done.answered and done.ok is wanted

        try:
            return until(is_so, budget, budget.left(), _CHECK_EVERY_S)
        except StillRunning:
            raise
        except ResourceError:  # the time is up
            return False

    def _seen(self, ctx: Context) -> Status:
        """By the check alone."""
        try:
            done = self._checked(ctx, Budget(self.timeout("status")))
        except ResourceError as error:
            return Status(State.WARN, (str(error),))
        if not done.answered:
            return Status(State.WARN, (done.why(),))
        return Status(State.UP if done.ok else State.DOWN)


class Forking(_Commands):
    """A command starts it, and another stops it."""

    def problems(self) -> Iterable[tuple[str, str]]:
        yield from super().problems()
        if not self._stop:
            yield "stop", "is missing: nothing else could end what the start leaves behind"

    def start(self, ctx: Context) -> None:
        budget = Budget(self.timeout("start"))
        if self._check and self._checked(ctx, budget).ok:
            ctx.log.info(f"{self.label} is already up")
            return
        self.activated = True
        done = launch.spawn(ctx, self._start, "start", self._log_name(), budget.left())
        if not done.ok:
            raise ResourceError(_why(done))
        self._await_up(ctx, budget)

    def stop(self, ctx: Context) -> None:
        budget = Budget(self.timeout("stop"))
        if self._check and not (seen := self._checked(ctx, budget)).ok and seen.answered:
            return
        done = launch.spawn(ctx, self._stop, "stop", self._log_name(), budget.left())
        if self._check:
            if not self._poll(ctx, budget, wanted=False):
                raise ResourceError(f"{self.label} is still up after its stop" + ("" if done.ok else f": {_why(done)}"))
        elif not done.ok:
            raise ResourceError(_why(done))

    def status(self, ctx: Context) -> Status:
        return self._seen(ctx) if self._check else Status(State.NA, ("no check command",))


class Simple(_Commands):
    """A program that stays in the foreground, in a session of its own that is remembered."""

    def start(self, ctx: Context) -> None:
        budget = Budget(self.timeout("start"))
        record = self._record(ctx)
        if session.leader_lives(record):
            ctx.log.info(f"{self.label} is already up")
            return
        if members := session.members(record, ctx.service):
            raise ResourceError(f"{self.label} has left {_pids(members)} behind; stop it first")
        self.activated = True
        ctx.log.info(f"spawn: {' '.join(self._start)}")
        fd = launch.open_log(ctx, self._log_name())
        try:
            pid = session.launch(self._start, {**ctx.runner.env, **launch.environment(ctx)}, fd, record)
        except OSError as error:
            raise ResourceError(f"{self._start[0]}: {error.strerror or error}") from None
        finally:
            os.close(fd)
        ctx.log.info(f"pid {pid} - logs in {launch.log_path(ctx, self._log_name())}")
        if self._check:
            self._await_up(ctx, budget)
        else:
            until(lambda: not session.leader_lives(record), budget, _SETTLE_S)
        if not session.leader_lives(record):
            raise ResourceError(f"{self.label} ended at once: see {launch.log_path(ctx, self._log_name())}")

    def stop(self, ctx: Context) -> None:
        """Its stop command, then SIGTERM, then SIGKILL, to all of its session; each has its share of the time."""
        budget = Budget(self.timeout("stop"))
        record = self._record(ctx)
        if self._stop and session.leader_lives(record):
            done = launch.spawn(ctx, self._stop, "stop", self._log_name(), budget.left() / 2)
            if not done.ok:
                ctx.log.error(_why(done))
            _wait(lambda: not session.leader_lives(record), budget.left_or_none() / 2)
        left = budget.left_or_none()
        for number, seconds in ((signal.SIGTERM, max(left / 2, left - _KILL_S)), (signal.SIGKILL, _KILL_S)):
            if members := session.members(record, ctx.service):
                ctx.log.info(f"{number.name} to {_pids(members)}")
                processes.end(members, number)
            if _wait(lambda: not session.members(record, ctx.service), seconds):
                session.forget(record)
                return
        raise StillRunning(
            f"{_pids(session.members(record, ctx.service))} does not end by SIGKILL: it waits for a device"
        )

    def status(self, ctx: Context) -> Status:
        record = self._record(ctx)
        if not session.leader_lives(record):
            if left := session.members(record, ctx.service):
                return Status(State.WARN, (f"has ended, and left {_pids(left)} behind",), failed=True)
            return Status(State.DOWN)
        if not self._check:
            return Status(State.UP)
        seen = self._seen(ctx)
        return Status(State.WARN, ("runs, but its check fails",), failed=True) if seen.lost else seen

    def _record(self, ctx: Context) -> str:
        return f"{ctx.paths.run}/{ctx.service}.{self.rid}.session"


def _pids(members: Sequence[processes.Process]) -> str:
    return ", ".join(str(each) for each in members[:5])


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    return until(condition, Budget(seconds + 1.0), seconds)
