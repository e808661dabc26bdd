"""What the engine must know of the configuration, already validated.

Where it came from is ``ha.node.config``'s matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ha.fsm.identity import cluster_id, node_id, paths_digest, service_id
from ha.fsm.states import Promise

OWN_WIRE = "ezha"
OPENHA = "openha"
"""Whose messages travel on a path: those of ``ha.fsm.message``, or those of an original OpenHA node."""


class PathId(NamedTuple):
    """A line of ``monitor``: the node that sends on it, and its place (0, 1, …) among that node's lines.

    A tuple: it is a key of many dictionaries, and of those looked into at every event."""

    node: str
    index: int  # type: ignore[assignment]  # nobody asks this tuple for its method of that name


@dataclass(frozen=True, slots=True)
class PathConfig:
    """One heartbeat path as the engine sees it."""

    id: PathId
    label: str
    """For people: ``eth0:239.131.50.10:1234`` or ``/dev/sdb:0``."""
    kind: str
    """``net``, ``unicast``, ``dio`` or ``disk``."""
    timeout: float
    """Seconds without anything newer until this path is DOWN, 0.2 … 120."""
    text: str
    """The line in its normal form (single blanks), for the digest."""
    wire: str = OWN_WIRE

    device: str = field(init=False, repr=False, compare=False)
    """The disk that carries it; empty where it is no disk path."""

    def __post_init__(self) -> None:
        device = self.label.rpartition(":")[0] if self.kind in ("dio", "disk") else ""
        object.__setattr__(self, "device", device)


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """One line of ``services`` with its options. Times in seconds."""

    name: str
    script: str
    nodes: tuple[str, ...]
    """Primary first. Two in OpenHA's files, any number (2 … 16) here."""
    check_script: str
    start_timeout: float = 300.0
    stop_timeout: float = 300.0
    status_timeout: float = 10.0
    check_timeout: float = 60.0
    kill_grace: float = 5.0
    """Between SIGTERM and SIGKILL of a script that is past its timeout."""
    status_up: tuple[int, ...] = (0,)
    """Exit codes of ``SCRIPT status`` that mean: runs here."""
    status_down: tuple[int, ...] = (3,)
    """Exit codes that mean: does not run here. Anything else is unknown."""
    protection: str = "none"
    """What must be proven before a silent node's service is taken over: ``none``, ``disk``, ``stonith``, ``etcd``,
    ``disk+stonith`` or ``etcd+stonith`` (one of the two proofs is enough)."""

    @property
    def id(self) -> int:
        return service_id(self.name, self.nodes, self.protection)

    @property
    def on_disk(self) -> bool:
        """A lease on the shared disk covers it."""
        return "disk" in self.protection.split("+")

    @property
    def by_etcd(self) -> bool:
        """A lease of an arbiter covers it."""
        return "etcd" in self.protection.split("+")

    @property
    def by_fencing(self) -> bool:
        """A node that was fenced is known not to run it."""
        return "stonith" in self.protection.split("+")

    @property
    def leased(self) -> bool:
        return self.on_disk or self.by_etcd


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """All that the engine needs, for every node of the cluster."""

    cluster: str
    nodes: tuple[str, ...]
    paths: tuple[PathConfig, ...]
    services: Mapping[str, ServiceConfig] = field(default_factory=dict)
    talk_delay: float = 0.0
    """Seconds after the start of nmond before it claims anything that no operator told it to start."""
    self_fence: Promise = Promise.STOP
    """What must be ready to end this node's services before one that a lease covers is started."""
    accept_unfenced: bool = False
    """A silent node is taken over although it promised nothing (the administrator accepts that both may run)."""
    stop_lowest_rank: bool = False
    """Of two nodes that both run a service, the one that ranks lower stops it; else both only report it."""
    _of_node: Mapping[str, tuple[PathConfig, ...]] = field(init=False, repr=False, compare=False)
    _originals: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of_node = {node: tuple(p for p in self.paths if p.id.node == node) for node in self.nodes}
        object.__setattr__(self, "_of_node", of_node)
        object.__setattr__(self, "_originals", frozenset(p.id.node for p in self.paths if p.wire == OPENHA))

    @property
    def cluster_id(self) -> int:
        return cluster_id(self.cluster)

    @property
    def paths_digest(self) -> int:
        # Lines of one node are acknowledged by their place among them, so it is the same on all nodes, or nothing is.
        return paths_digest(f"{p.id.index} {p.text}" for p in self.paths)

    def paths_of(self, node: str) -> tuple[PathConfig, ...]:
        """The paths on which ``node`` sends, in their order."""
        return self._of_node.get(node, ())

    def is_original(self, node: str) -> bool:
        """Whether the node speaks as an original OpenHA node does (``ha.fsm.original``): all of its paths, or none."""
        return node in self._originals

    def timeout_of(self, node: str) -> float:
        """T: the largest timeout of the node's own lines (design: evidence). Seconds."""
        return max((p.timeout for p in self.paths_of(node)), default=10.0)

    def period_of(self, node: str) -> float:
        """One message a period: 1 s, or a fifth of the smallest timeout of the node's lines where that is less."""
        smallest = min((p.timeout for p in self.paths_of(node)), default=10.0)
        return min(1.0, smallest / 5.0)

    def node_ids(self) -> dict[int, str]:
        return {node_id(n): n for n in self.nodes}
