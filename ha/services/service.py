"""A service on this node: its resources, each with what it needs to act, and how they are when looked at.

Looks at a resource once and remembers, until ``forget``. Starts and stops nothing (``ha.services.action``).
"""

from collections.abc import Iterable
from dataclasses import replace

from ha.services.config import ServiceConfig
from ha.services.context import Context
from ha.services.errors import ServiceError
from ha.services.groups import GROUPS, Branch
from ha.services.links import repair
from ha.services.resource import Resource
from ha.services.state import State, Status, merged, overall


class Service:
    """The resources of ``config``, ready to act and to be looked at."""

    def __init__(self, config: ServiceConfig, ctx: Context, launcher: str = "") -> None:
        """``ctx``: what all resources have in common. ``launcher``: the program that the service's links lead to."""
        self.config = config
        self.ctx = replace(ctx, group_state=self.group_state, siblings=self.siblings)
        self._launcher = launcher
        self._seen: dict[str, Status] = {}

    @property
    def resources(self) -> tuple[Resource, ...]:
        return self.config.resources

    @property
    def heartbeats(self) -> tuple[Resource, ...]:
        """Disabled ones, too: where there are only those, the service is in maintenance."""
        return tuple(each for each in self.resources if each.group == "hb")

    @property
    def clustered(self) -> bool:
        """A clusterware decides where it runs."""
        return any(not each.disable for each in self.heartbeats)

    @property
    def maintenance(self) -> bool:
        """A clusterware did, and is kept from it: every ``hb`` is disabled."""
        return bool(self.heartbeats) and not self.clustered

    def siblings(self, group: str) -> tuple[Resource, ...]:
        """The enabled resources of a group."""
        return tuple(each for each in self.resources if each.group == group and not each.disable)

    def context(self, resource: Resource) -> Context:
        """What a method of ``resource`` is called with."""
        return self.ctx.of(resource.rid)

    def is_standby(self, resource: Resource) -> bool:
        """Whether it is up here also when the service is not (``always_on``)."""
        words = resource.always_on
        config = self.config
        return (
            config.node in words
            or ("nodes" in words and config.node in config.nodes)
            or ("drpnodes" in words and config.node in config.drpnodes)
        )

    # ---- looking

    def forget(self) -> None:
        """Something has changed: look again."""
        self._seen.clear()

    def status(self, resource: Resource) -> Status:
        """How it is, or was when first looked at. A disabled one is n/a; a look that fails is a warning."""
        if resource.rid not in self._seen:
            self._seen[resource.rid] = self._look(resource)
        return self._seen[resource.rid]

    def _look(self, resource: Resource) -> Status:
        if resource.disable:
            return Status(State.NA)
        ctx = self.context(resource)
        if resource.group == "hb":
            repair(ctx.paths.etc, self.config.name, self._launcher, ctx.log)
        try:
            status = resource.status(ctx)
        except (ServiceError, OSError) as error:
            return Status(State.WARN, (str(error),))
        except Exception as error:  # noqa: BLE001 - one driver's fault must not hide all other resources
            return Status(State.WARN, (f"{type(error).__name__}: {error} (a fault of the driver)",))
        if self.is_standby(resource):
            standby = {State.UP: State.STDBY_UP, State.DOWN: State.STDBY_DOWN}
            return replace(status, state=standby.get(status.state, status.state))
        return status

    def group_state(self, groups: Iterable[str]) -> State:
        """What the resources of these groups come to; disabled and optional ones do not count."""
        wanted = tuple(groups)
        counted = (each for each in self.resources if each.group in wanted and not each.disable and not each.optional)
        return merged(self.status(each).state for each in counted)

    def branch_state(self, branch: Branch) -> State:
        """What a branch of the status tree comes to; n/a where it is empty."""
        state = self.group_state(group.name for group in GROUPS.values() if group.branch is branch)
        return State.NA if state is State.UNDEF else state

    @property
    def avail(self) -> State:
        return self.branch_state(Branch.AVAIL)

    @property
    def overall(self) -> State:
        return overall(self.avail, (self.branch_state(Branch.SYNC), self.branch_state(Branch.HB)))

    def left_up(self) -> list[str]:
        """Resources that are up although they do not count in ``avail`` because they are optional."""
        return [
            each.rid
            for each in self.resources
            if each.optional
            and not each.disable
            and GROUPS[each.group].start
            and self.status(each).state in (State.UP, State.WARN)
        ]
