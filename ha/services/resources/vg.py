"""``[vg#N]``: an LVM volume group that one node at a time has active, marked by a tag with the name of that node.

The tag stands in the group's metadata, so every node that sees the disks reads whose it is. It is a note, no lock: LVM
lets anybody activate. Hence the rule here: a group with another node's tag is not taken, unless a clusterware, which
knows that the node is down, starts the service, or a person insists with ``--force``.

LVM strips the ``@`` of a host tag: ``--addtag @node1`` stores ``node1``, and that is what it reports.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ha.services.context import Context
from ha.services.errors import ResourceError, StillRunning
from ha.services.keys import Key, Values
from ha.services.resource import Resource
from ha.services.resources.steps import Budget, attempt, must
from ha.services.state import State, Status

_NOT_FOUND = 5
"""Exit code of LVM's commands where there is no such group."""
_TRIES = 3
_ENV = {"LVM_SUPPRESS_FD_WARNINGS": "1"}
"""Its commands inherit the controller's lock on purpose, and would complain of that on each line."""
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+_.-")


@dataclass(frozen=True, slots=True)
class _Group:
    """What LVM says of the group here."""

    visible: bool
    tags: frozenset[str]
    volumes: tuple[str, ...]
    active: tuple[str, ...]
    unknown: bool
    """LVM cannot tell whether volumes are active: there is no device-mapper."""


class Vg(Resource):
    """An LVM volume group."""

    group = "vg"
    keys = (Key("vgname", doc="name of the volume group", required=True),)
    timeouts: ClassVar = {"start": 60.0, "stop": 60.0, "status": 10.0}

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        self.name = values.text("vgname")

    @property
    def label(self) -> str:
        return self.name

    def problems(self) -> Iterable[tuple[str, str]]:
        if not _ALLOWED.issuperset(self.name) or self.name.startswith("-"):
            yield "vgname", f"{self.name!r} cannot be the name of a volume group"

    def abort_check(self, ctx: Context) -> str:
        """Whose tag the group has, where that forbids the start."""
        others = self._owners(ctx, self._look(ctx, Budget(self.timeout("status"))))
        if not others or ctx.cluster or ctx.force:
            return ""
        return (
            f"volume group {self.name} has the tag of {', '.join(others)}, which is not known to be down; "
            "make sure that it is, then use --force"
        )

    def start(self, ctx: Context) -> None:
        budget = Budget(self.timeout("start"))
        found = self._look(ctx, budget)
        if not found.visible:
            raise ResourceError(f"volume group {self.name} is not visible here")
        others = self._owners(ctx, found)
        if others and not (ctx.cluster or ctx.force):
            raise ResourceError(self.abort_check(ctx) or f"volume group {self.name} has just changed; try again")
        if found.active and not others:
            ctx.log.info(f"{self.name} is already up")
            return
        self.activated = True
        for node in others:
            why = "--force" if ctx.force else "the clusterware has it down"
            ctx.log.warning(f"{self.name} has the tag of {node}, which is taken away: {why}")
            must(ctx, ("vgchange", "--deltag", f"@{node}", self.name), budget, env=_ENV)
        if ctx.node not in found.tags:
            must(ctx, ("vgchange", "--addtag", f"@{ctx.node}", self.name), budget, env=_ENV)
        now = self._look(ctx, budget)
        if late := self._owners(ctx, now):
            # Whoever wrote later wins, and both may have read before: so both look again, and both give way.
            attempt(ctx, ("vgchange", "--deltag", f"@{ctx.node}", self.name), budget, env=_ENV)
            raise ResourceError(f"{', '.join(late)} took volume group {self.name} at the same time")
        if ctx.node not in now.tags:
            raise ResourceError(f"another node took our tag away from volume group {self.name}")
        must(ctx, ("vgchange", "-a", "y", self.name), budget, env=_ENV)
        if not self._look(ctx, budget).active:
            raise ResourceError(f"vgchange reported success, but no logical volume of {self.name} is active")

    def stop(self, ctx: Context) -> None:
        """Tag first, as the tutorial has it; it is put back where the group stays active after all."""
        budget = Budget(self.timeout("stop"))
        found = self._look(ctx, budget)
        tagged = ctx.node in found.tags
        if not found.visible or not (found.active or found.unknown or tagged):
            return
        if tagged:
            must(ctx, ("vgchange", "--deltag", f"@{ctx.node}", self.name), budget, env=_ENV)
        if not found.active and not found.unknown:
            return
        try:
            self._deactivate(ctx, found, budget)
        except ResourceError:
            if tagged:
                self._put_back(ctx)
            raise

    def status(self, ctx: Context) -> Status:
        try:
            found = self._look(ctx, Budget(self.timeout("status")))
        except StillRunning:
            return Status(State.WARN, (f"hangs: no answer within {self.timeout('status'):g} s",))
        except ResourceError as error:
            return Status(State.WARN, (str(error),))
        if found.unknown:
            return Status(State.WARN, ("whether it is active cannot be told: there is no device-mapper",))
        if not found.active:
            return Status(State.DOWN)
        if others := self._owners(ctx, found):
            return Status(State.WARN, (f"is active here, and has the tag of {', '.join(others)}",))
        return Status(State.UP)

    # -------------------------------------------------------------------------------------------------------- LVM

    def _look(self, ctx: Context, budget: Budget) -> _Group:
        """Raises ResourceError where LVM gives no answer."""
        tags = self._report(ctx, budget, "vg_name,vg_tags")
        if tags is None:
            return _Group(False, frozenset(), (), (), False)
        rows = self._report(ctx, budget, "vg_name,lv_name,lv_attr") or []
        # The fifth character of lv_attr is the state: a is active, X unknown (lvs(8), "Logical volume attributes").
        states = {row.get("lv_name", ""): row.get("lv_attr", "").ljust(5)[4] for row in rows}
        return _Group(
            True,
            frozenset(tag for row in tags for tag in row.get("vg_tags", "").split(",") if tag),
            tuple(states),
            tuple(name for name, state in states.items() if state == "a"),
            any(state == "X" for state in states.values()),
        )

    def _report(self, ctx: Context, budget: Budget, fields: str) -> list[dict[str, str]] | None:
        """Rows of ``vgs``; None where there is no such group."""
        done = ctx.runner.run(("vgs", "--reportformat", "json", "-o", fields, self.name), budget.left(), env=_ENV)
        if done.code == _NOT_FOUND:
            return None
        if not done.ok:
            raise ResourceError(done.why())
        try:
            rows: list[dict[str, str]] = json.loads(done.out)["report"][0]["vg"]
        except (ValueError, LookupError, TypeError):
            raise ResourceError(f"vgs gives no report that can be read: {done.out[:80]!r}") from None
        return rows

    def _owners(self, ctx: Context, found: _Group) -> list[str]:
        """The other nodes of the service whose tag the group has."""
        return sorted(({*ctx.nodes, *ctx.drpnodes} - {ctx.node}) & found.tags)

    def _deactivate(self, ctx: Context, found: _Group, budget: Budget) -> None:
        if shutil.which("kpartx", path=ctx.runner.env.get("PATH")):
            for volume in found.volumes:
                attempt(ctx, ("kpartx", "-d", f"/dev/{self.name}/{volume}"), budget)
        for left in reversed(range(_TRIES)):
            done = attempt(ctx, ("vgchange", "-a", "n", self.name), budget, env=_ENV)
            now = self._look(ctx, budget)
            if not now.active and done.ok and not now.unknown:
                return
            if not left:
                raise ResourceError(f"volume group {self.name} stays active ({', '.join(now.active)}): {done.why()}")

    def _put_back(self, ctx: Context) -> None:
        """Other nodes must see that the group is active here."""
        try:
            must(ctx, ("vgchange", "--addtag", f"@{ctx.node}", self.name), Budget(self.timeout("status")), env=_ENV)
        except ResourceError as error:
            ctx.log.error(f"{self.name} is active here without the tag of {ctx.node}: {error}")
