"""The active machine goes away in every way that a machine can: what is on the disk is whole, and one node serves.

All times are the host's. How each can fail: a takeover that came too early would mount what the other has mounted,
which ``pair`` looks for; one that came before the end of the other's writes would lose lines that were told to be on
the disk, or leave a file system that is not whole.
"""

import os

import pytest

from tests.vm.conftest import T
from tests.vm.machines import Machines, Overlap, Seen, overlaps

REPEAT = int(os.environ.get("EZHA_VM_REPEAT", "1"))
"""How often the plug is pulled. The full figure of docs/lab.md is 10."""
PERIOD = 1.0
LATE = 8.0
"""What a busy emulated node may take from the end of the other's silence to its first script. Seconds."""


def _taken_over(pair: Machines, since: float, late: float = T + LATE) -> tuple[Seen, Seen]:
    """The moments in which node2 begins to start the service, and in which its first line is on the disk."""
    starting = pair.witness.wait("node2", "starting", late, since)
    return starting, pair.witness.wait("node2", "wrote", 60, since)


def _nothing_is_lost(pair: Machines, told: int) -> None:
    """Every line that node1 told to be on the disk is there, once and in order; and the file system is whole."""
    lines = pair.lines("node2")
    assert lines["node1"] == list(range(1, len(lines["node1"]) + 1))
    assert len(lines["node1"]) >= told > 0
    assert lines["node2"][0] == len(lines["node1"]) + 1
    pair.must("node2", "service", "-A", "web", "freeze-stop")
    pair.check_file_system()


@pytest.mark.gate
@pytest.mark.parametrize("_time", range(REPEAT))
def test_plug_pulled_under_a_write_load(pair: Machines, _time: int) -> None:
    pair.witness.wait("node1", "wrote", 10)
    pair.lab.power_off("node1")
    off = pair.witness.wait("node1", "ENDED", 5)
    starting, wrote = _taken_over(pair, off.at)
    # The last heartbeat was at most a period before the end, and silence is counted from it.
    assert starting.at - off.at > T - PERIOD - 0.5
    _nothing_is_lost(pair, pair.witness.written("node1"))
    print(
        f"\nstart script after {starting.at - off.at:.2f} s, first line after {wrote.at - off.at:.2f} s (T = {T:g} s)"
    )


@pytest.mark.gate
def test_every_path_cut_stops_it_here_before_it_starts_there(pair: Machines) -> None:
    pair.lab.cut("disk", "node1")
    pair.lab.cut("net", "node1")
    gone = pair.witness.wait("node1", "unmounted|RESET", T + 5)
    starting, _wrote = _taken_over(pair, gone.at)
    assert gone.at < starting.at
    _nothing_is_lost(pair, pair.witness.written("node1"))
    print(f"\n{gone.what} {starting.at - gone.at:.2f} s before the other's start script")


def test_a_machine_that_was_paused_for_longer_than_t(pair: Machines) -> None:
    """With its clock: nothing tells it that time has passed, until it looks at the other's slot (docs/safety.md).

    Until then both run. How long that was is measured here, and what the first machine still wrote.
    """
    pair.lab.pause("node1", 3600, wait=False)
    stop = pair.witness.wait("node1", "STOP", 5)
    told = pair.witness.written("node1")
    _starting, _wrote = _taken_over(pair, stop.at, T + LATE)
    pair.lab.resume("node1")
    resume = pair.witness.wait("node1", "RESUME", 10)
    end = pair.witness.wait("node1", "unmounted|RESET", T, resume.at)
    window = end.at - resume.at
    pair.overlap_s = window + 0.1
    after = [each.at - resume.at for each in pair.witness.seen("node1", "wrote", resume.at)]
    print(f"\nboth ran for {window:.2f} s after the resumption; lines told by the first in that time: {len(after)}")
    # The next renewal, with its look at the other's slot, comes within a period; then the service is stopped.
    assert window < 3 * PERIOD + 2.0
    assert told > 0
    pair.must("node2", "service", "-A", "web", "freeze-stop")
    try:
        pair.check_file_system()
    except AssertionError as error:
        print("the file system after that:", str(error).splitlines()[0])


def test_wall_clocks_step_by_a_day(pair: Machines) -> None:
    for first, second in (("+1 day", "-1 day"), ("-2 days", "+2 days")):
        before = len(pair.witness.seen("node1", "wrote"))
        for node, step in (("node1", first), ("node2", second)):
            pair.must(node, "date", "--set", step)
        with pytest.raises(AssertionError, match="not within"):
            pair.witness.wait(None, "starting|unmounted|RESET", T + 2.0)
        assert len(pair.witness.seen("node1", "wrote")) > before
    assert (pair.state("web", "node1"), pair.state("web", "node2")) == ("STARTED", "STOPPED")


@pytest.mark.gate
def test_overlaps_are_found() -> None:
    """The check of every test here: two mounts at a time are seen, however they come about."""

    def of(*what: tuple[float, str, str]) -> list[Overlap]:
        return overlaps([Seen(*each) for each in what], ["node1"], 0.0, 100.0)

    assert of((1.0, "node2", "mounting")) == [Overlap(1.0, 100.0)]
    assert of((1.0, "node2", "mounting"), (3.0, "node1", "RESET")) == [Overlap(1.0, 3.0)]
    assert of((1.0, "node1", "unmounted"), (2.0, "node2", "mounting")) == []
    assert of((1.0, "node1", "ENDED"), (2.0, "node2", "mounting"), (3.0, "node1", "mounting")) == [Overlap(3.0, 100.0)]
    paused = ((1.0, "node1", "STOP"), (2.0, "node2", "mounting"))
    assert of(*paused) == []
    assert of(*paused, (5.0, "node1", "RESUME"), (6.5, "node1", "unmounted")) == [Overlap(5.0, 6.5)]
