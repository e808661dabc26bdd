"""What protects a service and what ends this node: the keys, whether they go together, and the timeline."""

import pytest

from ha.fsm.states import Promise
from ha.node.config.protecting import PROTECTIONS, single_disk, timelines, unprotected
from tests.unit.node.test_config import MONITOR, configuration, warnings
from tests.unit.node.test_config import wrong as problems

SERVICE = "p26.opensvc.com"
WIRES = "".join(line + "\n" for line in MONITOR.splitlines() if " net " in line)


@pytest.mark.parametrize("text", ['"disk+stonith"', '"stonith + disk"', '["stonith", "disk"]', '"disk+stonith"'])
def test_a_protection_of_two_is_a_list_or_one_string_in_any_order(text: str) -> None:
    fences = "".join(f'[fence."{node}"]\ncommand = "/sbin/off"\n' for node in ("node1", "node2"))
    found = configuration(options=f"protection = {text}\n{fences}")
    assert found.cluster.services[SERVICE].protection == "disk+stonith"


def test_a_service_may_be_protected_otherwise_than_the_rest() -> None:
    found = configuration(options=f'protection = "disk"\n[service."{SERVICE}"]\nprotection = "none"\n')
    assert {n: s.protection for n, s in found.cluster.services.items()}[SERVICE] == "none"


def test_what_ends_the_node_reaches_the_engine() -> None:
    found = configuration(
        options='self_fence = "command"\nfence_command = "/sbin/off -f"\nsplit_brain = "stop-lowest-rank"\n'
        "accept_unfenced = true\nrealtime = false\n"
    )
    cluster, options = found.cluster, found.options.protecting
    assert (cluster.self_fence, cluster.accept_unfenced, cluster.stop_lowest_rank) == (Promise.COMMAND, True, True)
    assert (options.fence_command, options.realtime) == (("/sbin/off", "-f"), False)
    assert configuration().cluster.self_fence is Promise.REBOOT


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('protection = "disc"', f"protection 'disc' is none that there is; give one of {', '.join(PROTECTIONS)}"),
        ('protection = "none+disk"', "protection 'disk+none' is none that there is"),
        ("protection = 1", "protection is a whole number"),
        ('self_fence = "halt"', "self_fence is 'halt'; give one of reboot, command, stop"),
        ('self_fence = "command"', 'self_fence is "command": say which, with fence_command'),
        ('fence_command = "off"', "fence_command begins with 'off'; give the program as an absolute path"),
        ('watchdog = "watchdog"', "watchdog is 'watchdog'; give an absolute path"),
        ('split_brain = "stop"', "split_brain is 'stop'; give one of report, stop-lowest-rank"),
        ("accept_unfenced = 1", "accept_unfenced is a whole number; give true or false"),
        ('protection = "etcd"', f'protection "etcd" of {SERVICE} needs a table [etcd]'),
    ],
)
def test_what_makes_no_sense_is_told_with_its_line(text: str, why: str) -> None:
    (told,) = problems(options=f"# a comment\n{text}\n")
    assert told.startswith(f"conf/options.toml:2: {why}")


def test_a_lease_on_a_disk_needs_a_disk_path_of_every_node() -> None:
    (told,) = problems(monitor=WIRES, options='protection = "disk"\n')
    assert told == (
        f'conf/options.toml:1: protection "disk" of {SERVICE}: conf/monitor has no dio or disk path of node1; '
        "add the path, or choose another protection"
    )


def test_a_watchdog_needs_whole_seconds() -> None:
    short = MONITOR.replace(" 10\n", " 2\n")
    assert short != MONITOR
    text = 'protection = "disk"\nwatchdog = "/dev/watchdog"\n'
    (told,) = problems(monitor=short, options=text)
    assert told.startswith("conf/options.toml:2: a watchdog counts whole seconds, and T = 2 s of ")
    assert configuration(monitor=MONITOR.replace(" 10\n", " 2.5\n"), options=text)


def test_a_command_that_nothing_runs_is_warned_of() -> None:
    assert warnings(options='fence_command = "/sbin/off"\n') == [
        'conf/options.toml:1: fence_command changes nothing: self_fence is "reboot"'
    ]


def test_the_timeline_of_a_node_is_told_from_its_timeout() -> None:
    found = configuration(options='protection = "disk"\nwatchdog = "/dev/watchdog"\n')
    assert timelines(found.cluster, found.options.protecting, "node1") == [
        "lease for T = 10 s: after the last heartbeat that was confirmed,",
        "  5 s: it lapses, the watchdog (4 s) is fed no more: emergency stop",
        "  8.5 s: what is not stopped by now: this machine is rebooted",
        "  9.5 s: nothing runs here any more",
        "  10 s: another node may start it (0.461 s to spare)",
    ]
    assert timelines(found.cluster, found.options.protecting, "node3") == []


def test_the_protection_is_what_the_paths_allow_unless_it_is_named() -> None:
    assert configuration().cluster.services[SERVICE].protection == "disk"
    assert configuration(options='protection = ""\n').cluster.services[SERVICE].protection == "disk"
    assert configuration(monitor=WIRES).cluster.services[SERVICE].protection == "none"


def test_where_nothing_protects_and_where_one_disk_is_all() -> None:
    assert unprotected(configuration(options='protection = "none"\n').cluster) == [SERVICE]
    found = configuration(options='protection = "disk"\n').cluster
    assert unprotected(found) == []
    ((_, services),) = single_disk(found).items()
    assert services == [SERVICE]
