"""How a message travels: by multicast, unicast, or through a slot on a shared disk. Each medium has two ends."""

from ha.heartbeats.keys import CurrentKeys
from ha.heartbeats.media.block import DiskListener, DiskSender
from ha.heartbeats.media.medium import Listener, Sender
from ha.heartbeats.media.net import MulticastListener, MulticastSender
from ha.heartbeats.media.original import OriginalDiskListener, OriginalSender
from ha.heartbeats.media.unicast import UnicastListener, UnicastSender
from ha.heartbeats.path import PathLine


def sender_for(line: PathLine, node_id: int, cluster_id: int, keys: CurrentKeys | None = None) -> Sender:
    """The sending end of a line, not opened yet. Raises ValueError for a medium that does not exist."""
    medium = _sender_for(line, node_id, cluster_id, keys)
    return OriginalSender(medium, line) if line.is_openha else medium


def _sender_for(line: PathLine, node_id: int, cluster_id: int, keys: CurrentKeys | None) -> Sender:
    match line.medium:
        case "net":
            return MulticastSender(line.device, line.address, line.port, line.ttl)
        case "unicast":
            return UnicastSender(line.device, line.address, line.port)
        case "dio" | "disk":
            return DiskSender(line, node_id, cluster_id, keys)
    raise ValueError(f"there is no medium {line.medium}")


def listener_for(line: PathLine) -> Listener:
    """The listening end of a line, not opened yet. Raises ValueError for a medium that does not exist."""
    match line.medium:
        case "net":
            return MulticastListener(line.device, line.address, line.port)
        case "unicast":
            return UnicastListener(line.device, line.address, line.port)
        case "dio" | "disk":
            return OriginalDiskListener(line) if line.is_openha else DiskListener(line)
    raise ValueError(f"there is no medium {line.medium}")
