"""``[app#N] type = ocf:PROVIDER:AGENT``: any OCF resource agent, such as ``ocf:heartbeat:pgsql``.

The other keys of the section are the agent's parameters. What its exit codes mean is the OCF resource agent API's
(version 1.0, "Exit status codes"); how its answers are taken is as Pacemaker takes them.

An unknown parameter would be ignored by the agent, so its own description (``meta-data``) is asked which there are.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import ClassVar

from ha.services.context import Context
from ha.services.errors import ResourceError
from ha.services.folders import make_own
from ha.services.keys import Key, Values
from ha.services.resource import Resource
from ha.services.resources import launch
from ha.services.resources.steps import Budget
from ha.services.runner import Done
from ha.services.state import State, Status

ROOT = "/usr/lib/ocf"
_TYPE = re.compile(r"ocf:([A-Za-z0-9_][A-Za-z0-9_.-]*):([A-Za-z0-9_][A-Za-z0-9_.-]*)")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_DISTINCT = "OCF_RESKEY_"
"""A parameter that has the name of a key of ours is written with this before it."""
_RUNNING, _RUNNING_MASTER = 0, 8
_NOT_INSTALLED, _NOT_RUNNING, _UNIMPLEMENTED = 5, 7, 3
_FAILED = (1, 9)
"""What a restart may mend; anything else is a mistake of the configuration, and is the same after it."""
_CODES = {
    1: "generic error",
    2: "wrong arguments",
    3: "not implemented",
    4: "insufficient privileges",
    5: "not installed",
    6: "not configured",
    7: "not running",
    8: "running as master",
    9: "failed as master",
}


class Ocf(Resource):
    """An OCF resource agent."""

    group = "app"
    keys = (Key("type", doc="ocf:PROVIDER:AGENT; every other key is a parameter of the agent", required=True),)
    open_keys = True
    timeouts: ClassVar = {"start": 180.0, "stop": 120.0, "status": 20.0}

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        match = _TYPE.fullmatch(values.text("type"))
        self.provider, self.agent = match.groups() if match else ("", "")
        self.parameters = {_parameter(name): text for name, text in values.extra.items()}

    @property
    def label(self) -> str:
        return f"ocf:{self.provider}:{self.agent}"

    @property
    def program(self) -> str:
        return f"{ROOT}/resource.d/{self.provider}/{self.agent}"

    def problems(self) -> Iterable[tuple[str, str]]:
        if not self.agent:
            yield (
                "type",
                f"{self.values.text('type')!r} names no agent; write ocf:PROVIDER:AGENT, as ocf:heartbeat:pgsql",
            )
        for name in self.values.extra:
            if not _PARAMETER.fullmatch(_parameter(name)):
                yield name, "cannot be a parameter of an agent"

    def start(self, ctx: Context) -> None:
        budget = Budget(self.timeout("start"))
        self._need_agent()
        self._check_parameters(ctx, budget)
        found = self._call(ctx, "monitor", budget.left(self.timeout("status")))
        if found.code in (_RUNNING, _RUNNING_MASTER):
            ctx.log.info(f"{self.label} is already up")
            return
        done = self._call(ctx, "validate-all", budget.left())
        if done.code not in (0, _UNIMPLEMENTED):
            raise ResourceError(_why(done))
        self.activated = True
        done = self._spawn(ctx, "start", budget)
        if done.code != 0:
            raise ResourceError(_why(done))

    def stop(self, ctx: Context) -> None:
        """Only exit code 0 says that nothing is left. An agent that is not there has started nothing here."""
        if not os.path.exists(self.program):
            ctx.log.warning(f"{self.program} is not there: nothing to stop")
            return
        budget = Budget(self.timeout("stop"))
        if self._call(ctx, "monitor", budget.left(self.timeout("status"))).code == _NOT_RUNNING:
            return
        done = self._spawn(ctx, "stop", budget)
        if done.code != 0:
            raise ResourceError(_why(done))

    def status(self, ctx: Context) -> Status:
        if not os.path.exists(self.program):
            return Status(State.DOWN, (f"{self.program} is not there",))
        try:
            done = self._call(ctx, "monitor", self.timeout("status"))
        except ResourceError as error:
            return Status(State.WARN, (str(error),))
        if done.timed_out:
            return Status(State.WARN, (done.why(),))
        if done.code in (_RUNNING, _RUNNING_MASTER):
            return Status(State.UP)
        if done.code == _NOT_RUNNING:
            return Status(State.DOWN)
        if done.code == _NOT_INSTALLED:  # its program may lie on a file system that is mounted elsewhere
            return Status(State.DOWN, (_why(done),))
        return Status(State.WARN, (_why(done),), failed=done.code in _FAILED)

    # ------------------------------------------------------------------------------------------------------ calls

    def _need_agent(self) -> None:
        if not os.access(self.program, os.X_OK):
            hint = "; on Debian: apt install resource-agents" if self.provider == "heartbeat" else ""
            raise ResourceError(f"there is no agent {self.program}{hint}")

    def _environment(self, ctx: Context, timeout: float) -> Mapping[str, str]:
        temporary = f"{ctx.paths.run}/ocf"
        try:
            make_own(temporary)
        except OSError as error:
            raise ResourceError(f"{temporary} cannot be made: {error.strerror or error}") from None
        return {
            **launch.environment(ctx),
            "OCF_ROOT": ROOT,
            "OCF_RA_VERSION_MAJOR": "1",
            "OCF_RA_VERSION_MINOR": "0",
            "OCF_RESOURCE_INSTANCE": f"{ctx.service}.{self.rid.replace('#', '-')}",
            "OCF_RESOURCE_TYPE": self.agent,
            "OCF_RESOURCE_PROVIDER": self.provider,
            "OCF_RESKEY_CRM_meta_timeout": str(int(timeout * 1000)),
            "OCF_RESKEY_CRM_meta_interval": "0",
            "HA_RSCTMP": temporary,
            **{f"OCF_RESKEY_{name}": text for name, text in self.parameters.items()},
        }

    def _call(self, ctx: Context, action: str, timeout: float) -> Done:
        """Without a word in the log: a look."""
        argv = (self.program, action)
        return ctx.runner.run(argv, timeout, env=self._environment(ctx, timeout), leaves=True)

    def _spawn(self, ctx: Context, action: str, budget: Budget) -> Done:
        timeout = budget.left()
        name = self.rid.replace("#", "")
        return launch.spawn(ctx, (self.program, action), action, name, timeout, self._environment(ctx, timeout))

    def _check_parameters(self, ctx: Context, budget: Budget) -> None:
        """Raises ResourceError for one that the agent does not know, and where one that it needs is missing."""
        from xml.etree import ElementTree

        done = self._call(ctx, "meta-data", budget.left(self.timeout("status")))
        try:
            described = ElementTree.fromstring(done.out) if done.ok else None  # noqa: S314 - root's own program said it
        except ElementTree.ParseError as error:
            raise ResourceError(f"{self.program} describes itself in broken XML: {error}") from None
        if described is None:
            raise ResourceError(_why(done))
        known = {each.get("name", ""): each for each in described.iter("parameter")}
        if strange := sorted(set(self.parameters) - set(known)):
            raise ResourceError(f"{self.label} has no parameter {strange[0]}; it has: {', '.join(sorted(known))}")
        for name, each in known.items():
            content = each.find("content")
            default = content.get("default") if content is not None else ""
            if each.get("required") in ("1", "true") and name not in self.parameters and not default:
                raise ResourceError(f"{self.label} needs the parameter {name}")


def _parameter(key: str) -> str:
    return key[len(_DISTINCT) :] if key.startswith(_DISTINCT) else key


def _why(done: Done) -> str:
    meaning = _CODES.get(done.code, "")
    why = done.why()
    return (
        why.replace(f"exited {done.code}", f"exited {done.code} ({meaning})", 1)
        if meaning and not done.timed_out
        else why
    )
