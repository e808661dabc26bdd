"""How large a heartbeat of each node can grow, and whether its slots on the disks can hold it."""

from collections.abc import Sequence

from ha.fsm.config import ClusterConfig
from ha.heartbeats import codec
from ha.heartbeats.path import BLOCK
from ha.node.config.monitor import NumberedPath
from ha.node.config.problems import Report


def largest_message(cluster: ClusterConfig, node: str) -> int:
    """Bytes of the largest heartbeat that ``node`` can send in this configuration (generations of two bytes)."""
    services = sum(1 for service in cluster.services.values() if node in service.nodes)
    peers = [len(cluster.paths_of(peer)) for peer in cluster.nodes if peer != node]
    return codec.max_size(services, peers)


def check_slots(cluster: ClusterConfig, paths: Sequence[NumberedPath], report: Report, file: str) -> None:
    """Reports every slot that is smaller than what its node may have to write there: nothing is ever cut."""
    need = {node: largest_message(cluster, node) for node in cluster.nodes}
    for numbered in paths:
        path = numbered.path
        room = path.slot_blocks * BLOCK
        if path.is_disk and room < need[path.node]:
            blocks = -(-need[path.node] // BLOCK)
            text = f"the slot at {path.label} has {room} bytes, a heartbeat of {path.node} can have {need[path.node]}"
            report.problem(file, numbered.number, f"{text}; leave {blocks} blocks to the next offset, or set slot")
