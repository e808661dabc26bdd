"""``ezha check``: what is wrong on this machine is found before a takeover finds it."""

from pathlib import Path

from ha.heartbeats import codec
from ha.node.config import check
from ha.node.config.checking import CheckReport, Device, Machine
from ha.node.layout import Layout
from tests.unit.node.test_config import DISK, MONITOR, NODES, SERVICES

GOOD = Device((1, 7), 512, 1 << 24)


ONE_DISK = (
    f"conf/monitor: when {DISK} is lost while the other node is off, nobody runs p26.opensvc.com: "
    "their lease rests on that disk alone"
)
LEASE = (
    "    lease for T = 10 s: after the last heartbeat that was confirmed,",
    "      5 s: it lapses: emergency stop",
    "      8.5 s: what is not stopped by now: this machine is rebooted",
    "      9.5 s: nothing runs here any more",
    "      10 s: another node may start it (0.461 s to spare)",
)


def checked(
    monitor: str = MONITOR,
    services: str = SERVICES,
    options: str = "",
    scripts: str = "",
    interface: bool = True,
    device: Device | str = GOOD,
    node: str = "node1",
) -> CheckReport:
    layout = Layout()
    files = {
        layout.nodes: NODES,
        layout.monitor: monitor,
        layout.services: services,
        layout.options: options,
        layout.logfacility: "",
    }
    machine = Machine(lambda path: scripts, lambda name: interface, lambda path: device)
    return check(layout, node, lambda path, limit: files[path].encode(), machine)


def test_a_sound_machine_has_nothing_to_tell_but_figures() -> None:
    found = checked()
    assert found.problems == ()
    assert [str(p) for p in found.warnings] == [ONE_DISK]
    size = codec.max_size(1, [2])
    assert found.figures == (
        "cluster ezha: 2 nodes, 4 paths, 1 service",
        f"node1: silent after T = 10 s, a heartbeat every 1 s of at most {size} bytes",
        "    net eth0:239.131.50.10:1234: DOWN after 10 s, ttl 1",
        f"    dio {DISK}:0: DOWN after 10 s, slot of 1024 bytes, {size * 100 // 1024} % used",
        *LEASE,
        f"node2: silent after T = 10 s, a heartbeat every 1 s of at most {size} bytes",
        "    net eth0:239.131.50.10:4321: DOWN after 10 s, ttl 1",
        f"    dio {DISK}:2: DOWN after 10 s, slot of 1024 bytes, {size * 100 // 1024} % used",
        *LEASE,
        "heartbeats are unauthenticated: whoever reaches the network or the disk can forge them",
    )


def test_a_broken_file_is_told_and_nothing_else() -> None:
    found = checked(services="web\n")
    assert [str(p) for p in found.problems] == [
        "conf/services:1: 1 word instead of 5; the form is NAME SCRIPT PRIMARY SECONDARY CHECK_SCRIPT"
    ]
    assert found.figures == ()


def test_scripts_that_cannot_run_are_problems_on_the_nodes_that_would_run_them() -> None:
    services = "# one\nweb /web node1 node2 /check\n"
    found = checked(services=services, scripts="is not executable; chmod +x it", options='notify = "/n"')
    assert [str(p) for p in found.problems] == [
        "conf/services:2: script /web of service web is not executable; chmod +x it",
        "conf/services:2: check script /check of service web is not executable; chmod +x it",
        "conf/options.toml:1: notify: /n is not executable; chmod +x it",
    ]


def test_what_may_come_late_is_a_warning_told_once() -> None:
    found = checked(interface=False, device="cannot be used: No such file or directory")
    assert found.problems == ()
    assert [str(p) for p in found.warnings] == [
        "conf/monitor:1: there is no interface eth0 at present: its paths are DOWN until it comes",
        f"conf/monitor:2: device {DISK} cannot be used: No such file or directory; its paths are DOWN until it comes",
        ONE_DISK,
    ]


def test_where_nothing_protects_a_service_that_is_told_beforehand() -> None:
    wires = "".join(f"{line}\n" for line in MONITOR.splitlines() if " net " in line)
    for found in (checked(monitor=wires), checked(options='protection = "none"')):
        assert [str(p) for p in found.warnings] == [
            "conf/services:1: nothing protects p26.opensvc.com from running on two nodes that lose sight of each other "
            '(protection "none"; docs/safety.md)'
        ]


def test_two_disks_are_better_than_one() -> None:
    more = MONITOR + "node1 dio /dev/second 0 10\nnode2 dio /dev/second 2 10\n"
    assert checked(monitor=more).warnings == ()


def test_a_node_that_would_end_nothing_is_told_beforehand() -> None:
    found = checked(options='self_fence = "stop"')
    assert 'conf/options.toml:1: self_fence = "stop": a service that cannot be stopped in time' in "".join(
        str(p) for p in found.warnings
    )


def test_a_fence_command_that_cannot_run_is_a_problem() -> None:
    found = checked(options='self_fence = "command"\nfence_command = "/sbin/off"', scripts="is not a file")
    assert "conf/options.toml:2: fence_command: /sbin/off is not a file" in [str(p) for p in found.problems]


def test_offsets_must_fit_the_sectors_and_the_size_of_the_device() -> None:
    found = checked(device=Device((1, 7), 4096, 1024))
    assert [p.line for p in found.problems] == [2, 4, 4]
    assert "has sectors of 4096 bytes; give offsets that are multiples of 8 blocks" in found.problems[0].text
    assert f"the slot at {DISK}:2 ends at byte 2048, the device has 1024" in found.problems[2].text


def test_two_names_of_one_device_do_not_hide_that_slots_overlap() -> None:
    monitor = "node1 dio /dev/x 0 10\nnode2 dio /dev/y 1 10\n"
    found = checked(monitor=monitor)
    assert [str(p) for p in found.problems] == [
        "conf/monitor:2: /dev/y is the same device as /dev/x (line 1), and the slots overlap; "
        "use one name, and an offset of its own for each line"
    ]
    assert checked(monitor=monitor.replace(" 1 10", " 2 10")).problems == ()


def test_this_machine_is_asked_for_real(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    layout = Layout(str(tmp_path))
    script = tmp_path / "web.cluster"
    script.write_text("#!/bin/sh\n")
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    Path(layout.nodes).write_text(NODES)
    Path(layout.services).write_text(f"web {script} node1 node2 {tmp_path}/gone\n")
    monitor = f"node1 net lo 239.1.1.1 5 10\nnode1 dio {disk} 0 10\nnode2 net nosuch0 239.1.1.1 6 10\n"
    Path(layout.monitor).write_text(monitor + "node2 dio /dev/null 0 10\n")
    found = check(layout, "node1")
    assert [str(p) for p in found.problems] == [
        f"conf/services:1: script {script} of service web is not executable; chmod +x it",
        f"conf/services:1: check script {tmp_path}/gone of service web cannot be run: No such file or directory",
    ]
    assert [p.line for p in found.warnings] == [3]
    script.chmod(0o755)
    (tmp_path / "gone").symlink_to(script)
    assert check(layout, "node1").problems == ()
