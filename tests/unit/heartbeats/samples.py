"""Heartbeats to test with."""

from dataclasses import replace
from typing import Any

from ha.fsm.identity import cluster_id, node_id
from ha.fsm.message import Ack, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.states import Promise, State

CLUSTER = cluster_id("test")
NODE1 = node_id("node1")
NODE2 = node_id("node2")


def services(count: int, generation: int = 7) -> tuple[ServiceEntry, ...]:
    return tuple(ServiceEntry(1000 + 17 * i, State.STARTED, generation, last_ran=True) for i in range(count))


def heartbeat(**changes: Any) -> Heartbeat:
    """A plain message of node1, but for the fields named."""
    plain = Heartbeat(
        cluster=CLUSTER,
        node=NODE1,
        incarnation=Incarnation(4, 0x1234_5678),
        seq=1,
        promise=Promise.NONE,
        standing=True,
        left=False,
        timeout_ms=10_000,
        lease_ms=0,
        paths_digest=5,
        services=services(2),
        acks=(Ack(NODE2, Incarnation(3, 9), (17, 18)),),
    )
    return replace(plain, **changes)
