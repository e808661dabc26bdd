"""Names, addresses and configuration of the lab's nodes. Pure: numbers in, text out.

The lines of ``monitor`` are those of OpenHA's tutorial: multicast on eth0 and two blocks of a disk each.
"""

import math
from dataclasses import dataclass

CLIENT = "client"
"""The switch as a place to stand: it has an address of its own and no part in the cluster."""
CLIENT_ADDRESS = "192.168.100.1"
CLIENT_ADDRESS6 = "fd00:e24a::1"
MULTICAST = "239.131.50.10"
DISK = "/dev/mapper/14f504e46494c45526967724d32682d553243692d4f336a4c"
DISK_BYTES = 16 * 1024 * 1024
PREFIX = "/usr/local/cluster"
MAX_NODES = 16
MIN_TIMEOUT_S, MAX_TIMEOUT_S = 0.2, 120.0
_PORTS = (1234, 4321)
_BLOCKS = 2
"""512-byte blocks between one node's slot on the disk and the next one's."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What a node's number decides."""

    number: int
    """1 … MAX_NODES"""

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return f"192.168.100.{10 + self.number}"

    @property
    def address6(self) -> str:
        return f"fd00:e24a::{10 + self.number}"

    @property
    def port(self) -> int:
        """UDP port on which it sends: the tutorial's two, then 1235, 1236, …"""
        return _PORTS[self.number - 1] if self.number <= 2 else 1232 + self.number

    @property
    def offset(self) -> int:
        """Its slot on the shared disk, in 512-byte blocks."""
        return _BLOCKS * (self.number - 1)


def plans(count: int) -> tuple[NodePlan, ...]:
    """Raises ValueError for a number of nodes that the lab does not make."""
    if not 1 <= count <= MAX_NODES:
        raise ValueError(f"{count} nodes: the lab makes 1 to {MAX_NODES}")
    return tuple(NodePlan(number) for number in range(1, count + 1))


def check_timeout(seconds: float) -> float:
    """Raises ValueError outside 0.2 to 120 s, ezha's range."""
    if not (math.isfinite(seconds) and MIN_TIMEOUT_S <= seconds <= MAX_TIMEOUT_S):
        raise ValueError(f"a timeout of {seconds:g} s is out of range, {MIN_TIMEOUT_S:g} to {MAX_TIMEOUT_S:g} s")
    return seconds


def hosts(nodes: tuple[NodePlan, ...]) -> str:
    """The nodes' /etc/hosts. IPv6 has names apart, so that ``node1`` is IPv4 whatever a resolver prefers."""
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        f"{CLIENT_ADDRESS}\t{CLIENT}",
        f"{CLIENT_ADDRESS6}\t{CLIENT}-6",
    ]
    for node in nodes:
        lines += [f"{node.address}\t{node.name}", f"{node.address6}\t{node.name}-6"]
    return "\n".join(lines) + "\n"


def nodes_file(nodes: tuple[NodePlan, ...]) -> str:
    return "".join(f"{node.name}\n" for node in nodes)


def monitor_file(nodes: tuple[NodePlan, ...], timeout_s: float) -> str:
    lines = []
    for node in nodes:
        lines.append(f"{node.name} net eth0 {MULTICAST} {node.port} {timeout_s:g}\n")
        lines.append(f"{node.name} dio {DISK} {node.offset} {timeout_s:g}\n")
    return "".join(lines)
