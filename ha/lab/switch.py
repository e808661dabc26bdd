"""The lab's network as text for ``ip -batch`` and ``nft -f``: a bridge in the client's namespace, a port for each node.

Pure. A port has the name of its node, so a rule outlives the node's power-off and holds again after its power-on.
"""

from collections.abc import Iterable

from ha.lab.plan import CLIENT_ADDRESS, CLIENT_ADDRESS6, NodePlan
from ha.lab.state import NodeState

BRIDGE = "br0"


def bridge_links() -> str:
    """Run by the client at its boot. Without snooping: every port hears every multicast, as on the simplest switch."""
    return (
        "link set lo up\n"
        f"link add {BRIDGE} type bridge mcast_snooping 0 stp_state 0 forward_delay 0\n"
        f"address add {CLIENT_ADDRESS}/24 dev {BRIDGE}\n"
        f"address add {CLIENT_ADDRESS6}/64 dev {BRIDGE} nodad\n"
        f"link set {BRIDGE} up\n"
    )


def port_links(node: NodePlan, pid: int) -> str:
    """Run in the client: a cable from a port of the bridge to eth0 in the network namespace of ``pid``."""
    return f"link add {node.name} type veth peer name eth0 netns {pid}\nlink set {node.name} master {BRIDGE} up\n"


def node_links(node: NodePlan) -> str:
    """Run by the node at its boot."""
    return (
        "link set lo up\n"
        f"address add {node.address}/24 broadcast + dev eth0\n"
        f"address add {node.address6}/64 dev eth0 nodad\n"
        "link set eth0 up\n"
    )


def rules(nodes: Iterable[NodeState]) -> str:
    """The whole ruleset, replacing the former in one step: frames from mute ports, and to deaf ones, are dropped.

    In the bridge family's first and last hook, so that it holds between a node and the client as between two nodes.
    """
    nodes = tuple(nodes)
    mute = [f'    iifname "{node.name}" drop' for node in nodes if node.mute]
    deaf = [f'    oifname "{node.name}" drop' for node in nodes if node.deaf]
    return "\n".join(
        [
            "table bridge ezha_lab",
            "delete table bridge ezha_lab",
            "table bridge ezha_lab {",
            "  chain from_nodes {",
            "    type filter hook prerouting priority -300; policy accept;",
            *mute,
            "  }",
            "  chain to_nodes {",
            "    type filter hook postrouting priority 300; policy accept;",
            *deaf,
            "  }",
            "}",
            "",
        ]
    )
