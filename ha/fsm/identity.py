"""Short numbers for long names, the same on every node: what a heartbeat carries in place of strings.

32 bits each. Two names of one configuration that collide are refused when the configuration is read
(``ha.node.config``), so that within a cluster an id means one thing.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2s


@lru_cache(maxsize=4096)  # every heartbeat names the same cluster, nodes and paths
def _short(kind: str, *parts: str) -> int:
    text = "\0".join((kind, *parts)).encode()
    return int.from_bytes(blake2s(text, digest_size=4).digest(), "big")


def cluster_id(name: str) -> int:
    return _short("cluster", name)


def node_id(name: str) -> int:
    return _short("node", name)


def service_id(name: str, nodes: Sequence[str], protection: str = "none") -> int:
    """Nodes in their configured order: an unequal order is an unequal service."""
    return _short("service", name, protection, *nodes)


def paths_digest(lines: Iterable[str]) -> int:
    """``lines``: each path's normal form, with its place among those of its node; in any order otherwise."""
    return _short("paths", *sorted(lines))
