"""``[stonith#N]``: making sure that a peer which is not heard any more is off, before its service starts here.

``S.stonith`` is the cluster's check script: exit code 0 lets the service start. So everything but certainty is an
error. It is run only where a heartbeat resource says that the peer is unknown; a peer that is heard needs no fencing.
"""

import re
from collections.abc import Iterable
from typing import ClassVar

from ha.services.context import Context
from ha.services.errors import ResourceError
from ha.services.keys import Key, Kind, Values
from ha.services.resource import Fencer
from ha.services.resources.hb import UNKNOWN, OpenHA
from ha.services.resources.steps import Budget, attempt
from ha.services.runner import Done
from ha.services.state import State, Status

_AGENT = re.compile(r"(?:fence_)?[a-z0-9_]{1,60}")
_FENCE_S = 60.0


class _Fencer(Fencer):
    """What both kinds have: when to fence."""

    group = "stonith"
    timeouts: ClassVar = {"start": _FENCE_S}

    def status(self, ctx: Context) -> Status:
        """A fencing device is not asked for the sake of a look: many allow one session at a time."""
        return Status(State.NA)

    def fence(self, ctx: Context) -> None:
        if not self._due(ctx):
            ctx.log.info("stonith bypassed")
            return
        done = self._run(ctx, Budget(self.timeout("start")))
        if done.timed_out or not done.ok:
            raise ResourceError(f"the peer may still be on: {done.why()}")

    def _due(self, ctx: Context) -> bool:
        """Raises ResourceError where nobody can say whether the peer is heard."""
        if ctx.force:
            ctx.log.warning("--force: fenced whatever the heartbeat says")
            return True
        heartbeats = [each for each in ctx.siblings("hb") if isinstance(each, OpenHA)]
        if not heartbeats:
            raise ResourceError("no enabled hb resource tells whether the peer is heard; add one, or use --force")
        for each in heartbeats:
            if not each.running():
                raise ResourceError("open-ha daemons are not running: what is on record of the peer is of the past")
        peers = [node for node in ctx.nodes if node != ctx.node]
        return any(each.state_of(ctx, peer) == UNKNOWN for each in heartbeats for peer in peers)

    def _run(self, ctx: Context, budget: Budget) -> Done:
        raise NotImplementedError(f"{type(self).__name__} cannot fence")


class Callout(_Fencer):
    """A program of the administrator's own."""

    keys = (
        Key("type", doc="callout", required=True, choices=("callout",)),
        Key("cmd", Kind.COMMAND, "the program; the target is its last argument", required=True),
        Key("target", doc="what is fenced, usually told apart by target@NODE", required=True),
    )

    @property
    def label(self) -> str:
        return f"callout {self.values.text('target')}"

    def problems(self) -> Iterable[tuple[str, str]]:
        if not self.values.words("cmd")[0].startswith("/"):
            yield "cmd", f"{self.values.words('cmd')[0]!r} is not an absolute path"
        if self.values.text("target").startswith("-"):
            yield "target", "begins with '-', and would be taken for an option"

    def _run(self, ctx: Context, budget: Budget) -> Done:
        return attempt(ctx, (*self.values.words("cmd"), self.values.text("target")), budget)


class FenceAgent(_Fencer):
    """An agent of the fence-agents project, such as fence_ipmilan; ``ilo`` is fence_ilo.

    Its parameters, a password among them, go to its standard input, a line each: not where ``ps`` shows them.
    """

    keys = (
        Key("type", doc="the agent, such as fence_ipmilan; every other key is a parameter of it", required=True),
        Key("target", doc="the address of the device, usually told apart by target@NODE; the agent's ip"),
        Key("action", doc="what is done to the peer", choices=("off", "reboot"), default="off"),
    )
    open_keys = True

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        kind = values.text("type")
        self.agent = kind if kind.startswith("fence_") else f"fence_{kind}"

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.agent, self.values.text("target")) if part)

    def problems(self) -> Iterable[tuple[str, str]]:
        if not _AGENT.fullmatch(self.values.text("type")):
            yield "type", f"{self.values.text('type')!r} names no fence agent; write, for example, fence_ipmilan"
        if self.values.has("target") and "ip" in self.values.extra:
            yield "target", "is the agent's parameter ip, which is given, too; keep one of the two"

    def _run(self, ctx: Context, budget: Budget) -> Done:
        parameters = {**self.values.extra, "action": self.values.text("action")}
        if self.values.has("target"):
            parameters["ip"] = self.values.text("target")
        lines = "".join(f"{name}={text}\n" for name, text in parameters.items())
        return attempt(ctx, (self.agent,), budget, stdin=lines.encode())
