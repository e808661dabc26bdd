"""The disk of the heartbeats is slow, or fails now and then: device mapper puts that under it (docs/safety.md).

How each can fail: ``unmounted`` or ``starting`` where nothing should happen; two mounts, which ``pair`` looks for.
"""

import pytest

from ha.lab.plan import DISK
from tests.vm.conftest import T
from tests.vm.machines import Machines

_NAME = DISK.rpartition("/")[2]
_SECTORS = 32768
NOTHING = "starting|unmounted|RESET"


def _table(pair: Machines, node: str, target: str) -> None:
    """Another device mapper table below the heartbeats of a node, while they are in use."""
    kind = target.partition(" ")[0]
    pair.shell(
        node,
        # udev would look for signatures on a device that is slow now.
        f"udevadm control --stop-exec-queue; modprobe dm-{kind} && "
        f"dmsetup suspend --noflush --nolockfs {_NAME} && dmsetup reload {_NAME} --table '0 {_SECTORS} {target}' && "
        f"dmsetup resume --noudevsync --noudevrules {_NAME}",
    )


def _nothing_happens(pair: Machines, seconds: float) -> None:
    before = pair.witness.written("node1")
    with pytest.raises(AssertionError, match="not within"):
        pair.witness.wait(None, NOTHING, seconds)
    assert pair.witness.written("node1") > before


def test_a_slow_disk_renews_while_it_is_quicker_than_the_lease(pair: Machines) -> None:
    """It is the only path; a request takes 0.05 T longer. Some of them are one after the other, and L is 0.5 T."""
    for node in ("node1", "node2"):
        _table(pair, node, f"delay /dev/vdb 0 {T * 50:.0f}")
    pair.lab.cut("net")
    _nothing_happens(pair, 1.5 * T)


def test_a_disk_that_is_slower_than_the_lease_does_no_harm_where_a_network_works(pair: Machines) -> None:
    _table(pair, "node1", f"delay /dev/vdb 0 {T * 800:.0f}")
    _nothing_happens(pair, 1.5 * T)


def test_without_a_network_it_is_stopped_here_before_it_starts_there(pair: Machines) -> None:
    """Twin of the first: the same disk, slower than L."""
    _table(pair, "node1", f"delay /dev/vdb 0 {T * 800:.0f}")
    pair.lab.cut("net")
    gone = pair.witness.wait("node1", "unmounted|RESET", 2 * T)
    starting = pair.witness.wait("node2", "starting", 4 * T, gone.at - 0.5 * T)
    assert gone.at < starting.at


def test_a_disk_that_fails_for_a_second_in_four(pair: Machines) -> None:
    """It is the only path, and every outage is shorter than the lease."""
    for node in ("node1", "node2"):
        _table(pair, node, "flakey /dev/vdb 0 3 1")
    pair.lab.cut("net")
    _nothing_happens(pair, 2 * T)
