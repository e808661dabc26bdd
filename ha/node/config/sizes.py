"""How large a heartbeat of each node can grow, and whether a message, a datagram and its slots can hold it."""

from collections.abc import Iterable, Sequence

from ha.fsm.config import ClusterConfig
from ha.heartbeats import codec, openha
from ha.heartbeats.envelope import MAX_SIZE
from ha.heartbeats.path import BLOCK, SLOT_END, PathLine
from ha.node.config.monitor import NumberedPath
from ha.node.config.problems import Report


def largest_message(cluster: ClusterConfig, node: str) -> int:
    """Bytes of the largest heartbeat that ``node`` can send in this configuration (generations of two bytes)."""
    if cluster.is_original(node):
        return openha.SIZE
    peers = [len(cluster.paths_of(peer)) for peer in cluster.nodes if peer != node]
    return codec.max_size(_services_of(cluster, node), peers)


def room_of(path: PathLine) -> int:
    """Bytes of the largest message that a path carries."""
    if path.is_openha:
        return openha.SIZE
    return min(path.slot_blocks * BLOCK - SLOT_END, MAX_SIZE) if path.is_disk else MAX_SIZE


def smallest_room(lines: Iterable[PathLine], node: str) -> int:
    """Bytes of the largest message that every path on which ``node`` sends can carry."""
    return min((room_of(line) for line in lines if line.node == node), default=MAX_SIZE)


def check_sizes(
    cluster: ClusterConfig, paths: Sequence[NumberedPath], report: Report, monitor: str, services: str
) -> None:
    """Reports what no message can say, and every slot that is too small for its node: nothing is ever cut.

    ``monitor``, ``services``: the files as messages name them.
    """
    need = {node: largest_message(cluster, node) for node in cluster.nodes}
    for node, size in need.items():
        count = _services_of(cluster, node)
        if count > codec.MAX_SERVICES:
            text = f"{node} has {count} services, a heartbeat names at most {codec.MAX_SERVICES}"
            report.problem(services, 0, f"{text}; take some out, or make two clusters of it")
        elif size > MAX_SIZE:
            text = f"a heartbeat of {node} can have {size} bytes, a datagram at most {MAX_SIZE}"
            report.problem(services, 0, f"{text}; take some services out, or make two clusters of it")
    for numbered in paths:
        path = numbered.path
        room, size = room_of(path), need[path.node]
        if path.is_disk and room < size <= MAX_SIZE:
            blocks = -(-(size + SLOT_END) // BLOCK)
            text = f"the slot at {path.label} has room for {room} bytes, a heartbeat of {path.node} can have {size}"
            report.problem(monitor, numbered.number, f"{text}; leave {blocks} blocks to the next offset, or set slot")


def _services_of(cluster: ClusterConfig, node: str) -> int:
    return sum(1 for service in cluster.services.values() if node in service.nodes)
