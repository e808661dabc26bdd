"""A machine that cannot stop its service any more is reset, by its kernel's watchdog, before another one starts it.

Times are the host's: qemu tells when the machine begins anew. How each can fail: the last test leaves the watchdog and
the guardian out, and shows that then both have the file system mounted.
"""

import time

import pytest

from ha.lab.vm import payload
from tests.vm.conftest import T
from tests.vm.machines import Machines, wait_for

LATE = 8.0
_STARVE = """\
echo -1 >/proc/sys/kernel/sched_rt_runtime_us
chrt --fifo 90 sh -c 'while :; do :; done' >/dev/null 2>&1 &
"""
"""The only processor belongs to a process of higher priority than nmond and its guardian."""


def _configure(pair: Machines, text: str) -> None:
    """Another options.toml on both, in force."""
    for node in ("node1", "node2"):
        pair.shell(node, f"printf '%s' '{text}' >>{pair.lab.payload.conf}/options.toml")
        pair.must(node, "ezha", "reload")


def _arm(pair: Machines, module: str) -> None:
    """node1 has a watchdog, and ezha promises it."""
    pair.must("node1", "modprobe", "--remove", "i6300esb")  # udev has found it
    pair.must("node1", "modprobe", module)
    wait_for(lambda: pair.run("node1", "test", "-c", "/dev/watchdog").returncode == 0, 20, "the device is there")
    _configure(pair, 'watchdog = "/dev/watchdog"\n')
    log = f"{'/var/log/openha' if pair.lab.payload is payload.PACKAGE else pair.lab.payload.prefix + '/log'}/nmond.log"
    wait_for(lambda: "cannot: WATCHDOG" in pair.must("node1", "tail", "-n", "20", log), 30, "the watchdog is armed")


def _stop_the_guards(pair: Machines, *names: str) -> None:
    for name in names:
        # The brackets keep the pattern from being found in the shell's own command line.
        pair.shell("node1", f"kill -STOP $(pgrep -f '[b]in/{name}')")


@pytest.mark.parametrize("module", [pytest.param("softdog", marks=pytest.mark.gate), "i6300esb"])
def test_it_resets_a_machine_whose_nmond_and_guardian_do_nothing(pair: Machines, module: str) -> None:
    _arm(pair, module)
    _stop_the_guards(pair, "nmond", "ezha-guardian")
    since = time.monotonic()
    reset = pair.witness.wait("node1", "RESET", T + 5, since)
    starting = pair.witness.wait("node2", "starting", 2 * T + LATE, since)
    print(f"\n{module}: reset {starting.at - reset.at:.2f} s before the other's start script")
    assert reset.at < starting.at
    pair.witness.wait("node2", "wrote", 60, since)


def test_it_resets_a_machine_that_is_starved(pair: Machines) -> None:
    _arm(pair, "i6300esb")
    since = time.monotonic()
    pair.lab.agent("node1").start(["/bin/sh", "-c", _STARVE])
    reset = pair.witness.wait("node1", "RESET", T + 5, since)
    starting = pair.witness.wait("node2", "starting", 2 * T + LATE, since)
    print(f"\nstarved: reset {starting.at - reset.at:.2f} s before the other's start script")
    assert reset.at < starting.at


def test_the_guardian_resets_a_machine_whose_nmond_does_nothing(pair: Machines) -> None:
    """Without a watchdog: ``self_fence = "reboot"``, the default."""
    _stop_the_guards(pair, "nmond")
    since = time.monotonic()
    reset = pair.witness.wait("node1", "RESET", T + 5, since)
    starting = pair.witness.wait("node2", "starting", 2 * T + LATE, since)
    print(f"\nguardian: reset {starting.at - reset.at:.2f} s before the other's start script")
    assert reset.at < starting.at


def test_without_any_of_them_both_run(pair: Machines) -> None:
    """The twin of the above: what they are there for happens, and is seen."""
    _stop_the_guards(pair, "nmond", "ezha-guardian")
    pair.witness.wait("node2", "mounting", 2 * T + LATE)
    assert pair.witness.seen("node1", "RESET") == []
    pair.overlap_s = 3600.0
    found = pair.witness.overlaps()
    assert len(found) == 1
