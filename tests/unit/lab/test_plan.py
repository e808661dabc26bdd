"""Names, addresses and configuration of the lab's nodes, and the rules of its switch."""

import pytest

from ha.lab import plan, switch
from ha.lab.plan import plans
from ha.lab.state import NodeState

TUTORIAL = """\
node1 net eth0 239.131.50.10 1234 10
node1 dio /dev/mapper/14f504e46494c45526967724d32682d553243692d4f336a4c 0 10
node2 net eth0 239.131.50.10 4321 10
node2 dio /dev/mapper/14f504e46494c45526967724d32682d553243692d4f336a4c 2 10
"""


def test_two_nodes_have_the_tutorials_monitor() -> None:
    assert plan.monitor_file(plans(2), 10.0) == TUTORIAL


def test_all_nodes_differ_in_address_port_and_slot() -> None:
    nodes = plans(plan.MAX_NODES)
    for what in ("name", "address", "address6", "port", "offset"):
        assert len({getattr(node, what) for node in nodes}) == plan.MAX_NODES
    assert [node.port for node in nodes[2:4]] == [1235, 1236]
    assert all((node.offset + 2) * 512 <= plan.DISK_BYTES for node in nodes)


@pytest.mark.parametrize("count", [0, -1, 17])
def test_a_number_of_nodes_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="the lab makes 1 to 16"):
        plans(count)


@pytest.mark.parametrize("seconds", [0.1, 121.0, float("nan"), float("inf"), -1.0])
def test_a_timeout_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        plan.check_timeout(seconds)


def test_hosts_lists_everybody() -> None:
    lines = [line.split() for line in plan.hosts(plans(2)).splitlines()]
    assert ["192.168.100.11", "node1"] in lines and ["192.168.100.12", "node2"] in lines
    assert ["192.168.100.1", "client"] in lines


def test_the_rules_name_exactly_the_ports_that_are_cut() -> None:
    nodes = [NodeState("client", 0), NodeState("node1", 1, mute=True), NodeState("node2", 2, mute=True, deaf=True)]
    text = switch.rules(nodes)
    assert text.count('iifname "node1" drop') == 1 and 'oifname "node1"' not in text
    assert text.count('iifname "node2" drop') == 1 and text.count('oifname "node2" drop') == 1
    assert "client" not in text


def test_without_cuts_nothing_is_dropped() -> None:
    assert "drop" not in switch.rules([NodeState("node1", 1)])
