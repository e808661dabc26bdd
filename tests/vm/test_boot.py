"""Machines boot and are shut down, with either init system, and the service is where it should be.

How each can fail: two mounts, which ``pair`` looks for; a start on a node that was to stay frozen; a takeover that
waited for a timeout although the other had said that it goes.
"""

import pytest

from tests.vm.conftest import T
from tests.vm.machines import NODES, OTHER, Machines, wait_for

BOOT = 240.0
"""Two machines at once, on a host that is busy."""
_POWEROFF = {"systemd": ["systemctl", "poweroff"], "sysvinit": ["poweroff"]}


@pytest.mark.parametrize("init", ["systemd", pytest.param("sysvinit", marks=pytest.mark.gate)])
def test_both_at_once_with_a_late_network_and_then_a_shutdown(pair: Machines, init: str) -> None:
    pair.shell("node2", "echo 20 >/etc/ezha-lab/late && sync")
    for node in NODES:
        pair.lab.power_off(node)
    pair.lab.boot_with(init)
    pair.witness.wait("node2", "ENDED", 5)
    pair.lab.for_all(NODES, pair.lab.power_on)
    first = pair.witness.wait(None, "mounting", BOOT)
    # It ran last on node1; where that boots later by T, the other one serves.
    active, other = first.node, OTHER[first.node]
    pair.lab.wait_booted(*NODES)
    assert pair.must(active, "cat", "/proc/1/comm").strip() == {"sysvinit": "init"}.get(init, init)
    pair.witness.wait(active, "wrote", 60, first.at)
    assert pair.state("web", active) == "STARTED"
    _wait_ready(pair, other)
    assert [pair.state("cold", node) for node in NODES] == ["FROZEN_STOP", "FROZEN_STOP"]

    pair.lab.agent(active).start(_POWEROFF[init])
    gone = pair.witness.wait(active, "unmounted", 120, first.at)
    starting = pair.witness.wait(other, "starting", 60, gone.at)
    took = starting.at - gone.at
    print(f"\n{init}: {active} served first; {other}'s start script {took:.2f} s after the file system was unmounted")
    assert took < T / 2
    pair.witness.wait(active, "SHUTDOWN", 120, gone.at)
    pair.witness.wait(other, "wrote", 60, starting.at)


def _wait_ready(pair: Machines, node: str) -> None:
    """It is STOPPED and has heard the other on all paths, the late network too."""
    wait_for(lambda: pair.state("web", node) == "STOPPED" and pair.up(node), 60, f"{node} is ready")
    assert pair.witness.seen(node, "mounting") == []
