"""``wire = "openha"``: what an original node cannot understand is refused before its silence is taken for a death."""

import pytest

from ha.heartbeats import openha
from ha.node.config.checking import Device, figures
from ha.node.config.sizes import smallest_room
from tests.unit.node.test_config import DISK, configuration, only, warnings, wrong
from tests.unit.node.test_config_check import checked

WIRE = 'wire = "openha"\n'
FAR = f"""node1 net eth0 239.131.50.10 1234 10
node1 dio {DISK} 0 10
node2 net eth0 239.131.50.10 4321 10
node2 dio {DISK} 19 10
"""


def test_every_path_speaks_it_or_those_that_are_named() -> None:
    found = configuration(monitor=FAR, options=WIRE)
    assert [line.wire for line in found.lines] == ["openha"] * 4
    assert found.cluster.is_original("node2")
    labels = ("eth0:239.131.50.10:1234", f"{DISK}:0", "eth0:239.131.50.10:4321", f"{DISK}:19")
    named = "".join(f'[path."{label}"]\n{WIRE}' for label in labels)
    assert [line.wire for line in configuration(monitor=FAR, options=named).lines] == ["openha"] * 4
    assert [line.wire for line in configuration().lines] == ["ezha"] * 4


def test_two_nodes_that_do_not_agree_on_it_see_that_they_differ() -> None:
    assert (
        configuration(monitor=FAR).cluster.paths_digest != configuration(monitor=FAR, options=WIRE).cluster.paths_digest
    )


def test_a_slot_has_nineteen_blocks_whatever_the_distance() -> None:
    found = configuration(monitor=FAR.replace(f"{DISK} 19", f"{DISK} 64"), options=WIRE)
    assert [line.slot_blocks for line in found.lines if line.is_disk] == [19, 19]
    assert smallest_room(found.lines, "node1") == openha.SIZE
    told = "\n".join(figures(found))
    assert f"dio {DISK}:0: DOWN after 10 s, slot of 9728 bytes, 96 % used, wire openha" in told


def test_the_offsets_of_the_tutorial_are_too_close() -> None:
    assert only(options=WIRE) == (
        f"conf/monitor:4: {DISK}:2 overlaps the slot of node node1 at offset 0 (line 2): OpenHA writes 19 blocks; "
        "give an offset of 19 or more"
    )
    assert "overlaps" in only(monitor=FAR.replace(f"{DISK} 19", f"{DISK} 18"), options=WIRE)
    assert configuration(monitor=FAR, options=WIRE).warnings == ()


def test_a_slot_of_another_size_is_refused() -> None:
    found = wrong(monitor=FAR, options=WIRE + "slot = 8\n")
    assert found[0] == f"conf/monitor:2: a slot of 8 blocks (options.toml) at {DISK}:0: OpenHA's has 19; take slot out"
    assert configuration(monitor=FAR, options=WIRE + "slot = 19\n").warnings == ()


def test_a_wire_is_one_of_two() -> None:
    assert only(options='wire = "heartbeat"') == (
        'conf/options.toml:1: wire is \'heartbeat\'; give "ezha", or "openha" to pair with an original OpenHA node'
    )
    assert "wire is 1;" in only(options="wire = 1")


def test_a_node_speaks_one_of_the_two_on_all_of_its_lines() -> None:
    found = wrong(monitor=FAR, options=f'[path."eth0:239.131.50.10:1234"]\n{WIRE}')
    assert found[0] == (
        f"conf/monitor:2: {DISK}:0 has wire ezha, eth0:239.131.50.10:1234 (line 1) has openha; "
        "give all lines of node1 the same in options.toml"
    )


def test_the_nodes_of_a_service_speak_the_same() -> None:
    lines = "node1 net eth0 239.131.50.10 1234 10\nnode2 net eth0 239.131.50.10 4321 10\n"
    assert only(monitor=lines, options=f'[path."eth0:239.131.50.10:1234"]\n{WIRE}') == (
        "conf/services: the nodes of service p26.opensvc.com do not speak the same wire (node1 openha, node2 ezha); "
        "give their lines the same in options.toml"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("node1 net eth0 239.131.50.10 1234 1", "timeout 1: OpenHA takes whole seconds from 2 on"),
        ("node1 net eth0 239.131.50.10 1234 2.5", "timeout 2.5: OpenHA takes whole seconds from 2 on"),
        ("node1 unicast eth0 fd00::1 1234 10", "address fd00::1: OpenHA knows IPv4 only; give an IPv4 address"),
    ],
)
def test_what_the_original_does_not_take_is_refused(line: str, says: str) -> None:
    assert says in only(monitor=f"{line}\nnode2 net eth0 239.131.50.10 4321 10\n", options=WIRE)


def test_a_timeout_of_a_message_or_two_is_warned_of() -> None:
    lines = "node1 net eth0 239.131.50.10 1234 3\nnode2 net eth0 239.131.50.10 4321 4\n"
    assert warnings(monitor=lines, options=WIRE) == [
        "conf/monitor:1: timeout 3: OpenHA sends once a second, so that one or two lost messages make a path DOWN; "
        "give 4 s or more"
    ]


def test_no_lease_can_be_kept_beside_an_original_node() -> None:
    assert "node1 is an original OpenHA node, which keeps no lease" in only(
        monitor=FAR, options=WIRE + 'protection = "disk"\n'
    )
    etcd = '[etcd]\nendpoints = ["http://127.0.0.1:2379"]\n'
    assert "OpenHA's node asks no arbiter; choose none or stonith" in only(
        monitor=FAR, options=f'{WIRE}protection = "etcd"\n{etcd}'
    )
    found = configuration(monitor=FAR, options=WIRE)
    assert [service.protection for service in found.cluster.services.values()] == ["none"]


def test_services_of_three_nodes_of_long_names_and_too_many_are_refused() -> None:
    three = FAR + "node3 net eth0 239.131.50.10 5555 10\n"
    assert "has 3 nodes, OpenHA knows pairs" in only(
        nodes="node1\nnode2\nnode3\n", monitor=three, services="web /x node1 node2,node3 /bin/true\n", options=WIRE
    )
    assert "OpenHA's messages hold 63" in only(
        monitor=FAR, services=f"{'w' * 64} /x node1 node2 /bin/true\n", options=WIRE
    )
    many = "".join(f"s{number} /x node1 node2 /bin/true\n" for number in range(129))
    assert "names at most 128" in wrong(monitor=FAR, services=many, options=WIRE)[0]
    assert warnings(monitor=FAR, services=many[: many.rindex("s128")], options=WIRE) == []


def test_ezha_check_says_what_is_not_protected_meanwhile() -> None:
    found = checked(monitor=FAR, options=WIRE)
    assert found.problems == ()
    told = [str(warning) for warning in found.warnings if "wire" in str(warning)]
    assert told[0].startswith('conf/monitor:1: wire = "openha": OpenHA\'s messages are not signed and not acknowledged')
    assert "a node is paused for longer than 10 s, both nodes may run a service; see docs/migration.md" in told[0]
    assert "a start waits 5 s" in told[1]
    assert len(told) == 2


def test_a_disk_with_large_sectors_cannot_carry_it() -> None:
    far = FAR.replace(f"{DISK} 19", f"{DISK} 24")
    found = checked(monitor=far, options=WIRE, device=Device((1, 7), 4096, 1 << 24))
    assert [str(problem) for problem in found.problems] == [
        f"conf/monitor:{line}: {DISK} has sectors of 4096 bytes, OpenHA writes 19 blocks of 512; "
        "give a disk with sectors of 512 bytes"
        for line in (2, 4)
    ]
