"""What a driver finds when it acts: the service it belongs to, the node it is on, a log, and a way to run programs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from ha.services.log import Log
from ha.services.runner import Runner
from ha.services.state import State


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of the controller on this node. Every one may be set elsewhere for a test."""

    etc: str = "/etc/opensvc"
    """``S.env``, ``S.d``, the links by name."""
    var: str = "/var/lib/opensvc"
    """What must outlive a boot: timestamps of synchronisations, host tags."""
    run: str = "/run/opensvc"
    """What must not: locks, what an action has activated."""
    tmp: str = "/var/tmp/opensvc"  # noqa: S108 - made by folders.make_own, which trusts no stranger's folder
    """Output of the launchers."""
    log: str = "/var/log/opensvc"


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to every method of a driver that does something. Made by the controller, one for each resource."""

    service: str
    """Name of the service, such as ``p26.opensvc.com``."""
    node: str
    """Name of this node, as ``nodes`` in the configuration writes it."""
    nodes: tuple[str, ...]
    """Where the service may run, this one among them or not."""
    drpnodes: tuple[str, ...]
    """Nodes of the recovery site."""
    log: Log
    """Writes with the name of the service and of the resource."""
    runner: Runner
    paths: Paths
    config: str = ""
    """The file of the service, such as ``/etc/opensvc/p26.opensvc.com.env``."""
    force: bool = False
    """``--force``."""
    cluster: bool = False
    """Called by a clusterware (``--cluster``), not by a person."""
    group_state: Callable[[Iterable[str]], State] = field(default=lambda groups: State.UNDEF)
    """``group_state(("ip", "fs"))``: what the resources of these groups come to here, disabled ones left out.

    Looked at once for each command. A group must not ask for itself, nor for one that comes after it in
    ``ha.services.groups``."""
    siblings: Callable[[str], tuple[object, ...]] = field(default=lambda group: ())
    """``siblings("hb")``: the enabled resources of a group, for a driver that must ask one (stonith asks hb)."""

    def of(self, rid: str) -> "Context":
        """The same, with the log of a resource."""
        return replace(self, log=self.log.of(rid))
