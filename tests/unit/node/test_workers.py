"""The path workers: their processes, and what nmond and they say to each other."""

import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ha.fsm.config import PathId
from ha.fsm.events import SlotView
from ha.heartbeats import channel as wire
from ha.heartbeats.path import PathLine
from ha.node import process
from ha.node import workers as workers_module
from ha.node.loop import Loop
from ha.node.workers import Worker, Workers
from tests.unit.node.world import ListLog, turn_until

OWN = PathLine("node1", 0, "net", "eth0", "239.1.1.1", 1234, timeout=2.0)
OTHER = PathLine("node2", 0, "net", "eth0", "239.1.1.1", 4321, timeout=2.0)
OWN_DISK = PathLine("node1", 1, "dio", "/dev/sdb", offset=0, timeout=2.0)
OTHER_DISK = PathLine("node2", 1, "dio", "/dev/sdb", offset=2, timeout=2.0)
Body = Callable[[PathLine, bool, float, socket.socket], None]


def echo(line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
    """A sender confirms what it is handed; a listener forwards what it can say of itself."""
    if not sender:
        channel.send(wire.encode(wire.Received(5.0, f"{line.label} {period}".encode())))
    while raw := channel.recv(wire.MAX_RECORD):
        record = wire.decode(raw)
        assert isinstance(record, wire.Handed)
        channel.send(wire.encode(wire.Sent(record.seq, time.clock_gettime(time.CLOCK_BOOTTIME))))


class Bench:
    """Workers of a body of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = Loop()
        self.log = ListLog()
        self.heard: list[tuple[PathId, float, bytes]] = []
        self.looks: list[tuple[PathId, float, SlotView]] = []
        self.writes: list[tuple[int, int]] = []
        self.own: list[tuple[int, bytes]] = []
        self.workers = self.another(echo)

    def another(self, body: Body) -> Workers:
        return Workers(
            self.loop,
            str(self.folder),
            "/usr/local/cluster/bin",
            "node1",
            self.log,
            self,
            body,
        )

    def received(self, path: PathId, arrival: float, data: bytes) -> None:
        self.heard.append((path, arrival, data))

    def looked(self, path: PathId, begun: float, view: SlotView) -> None:
        self.looks.append((path, begun, view))

    def written(self, index: int, seq: int, at: float) -> None:
        assert at <= self.loop.clock()
        self.writes.append((index, seq))

    def found(self, index: int, data: bytes) -> None:
        self.own.append((index, data))

    def start(self, *lines: PathLine, body: Body = echo) -> list[Worker]:
        self.workers = self.another(body)
        self.workers.configure(lines, lambda node: 0.4)
        return list(self.workers.all.values())

    def until(self, done: Callable[[], bool]) -> None:
        turn_until(self.loop, done)

    def end(self) -> None:
        self.workers.stop()
        self.until(lambda: self.workers.gone)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.end()
    made.loop.close()


def test_a_sender_confirms_what_it_was_handed(bench: Bench) -> None:
    (worker,) = bench.start(OWN)
    bench.workers.hand(7, 1.0, b"message")
    assert not bench.workers.confirmed(7)
    bench.until(lambda: bench.workers.confirmed(7))
    assert (worker.handed, worker.sent, worker.dropped) == (1, 1, 0)
    (said,) = bench.workers.describe(lambda path: (False, None))
    assert (said["role"], said["up"], said["pid"]) == ("sender", True, worker.pid)


def test_a_worker_is_handed_nothing_in_another_language_than_its_lines(bench: Bench) -> None:
    own, other = bench.start(OWN, replace(OWN, index=1, port=4322, wire="openha"))
    bench.workers.hand(7, 1.0, b"message")
    bench.workers.hand(8, 1.0, b"struct", "openha")
    assert (own.handed, other.handed) == (1, 1)
    bench.until(lambda: (own.confirmed, other.confirmed) == (7, 8))


def test_what_a_listener_forwards_comes_with_its_path_and_arrival(bench: Bench) -> None:
    bench.start(OTHER)
    bench.until(lambda: bool(bench.heard))
    assert bench.heard == [(PathId("node2", 0), 5.0, b"eth0:239.1.1.1:4321 0.4")]


def disk(line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
    """As the worker of a disk: tells its own slot, confirms, and looks when it is asked."""
    if sender:
        channel.send(wire.encode(wire.Found(1.0, b"slot")))
    while raw := channel.recv(wire.MAX_RECORD):
        record = wire.decode(raw)
        if sender:
            assert isinstance(record, wire.Handed)
            channel.send(wire.encode(wire.Sent(record.seq, 1e12)))
        else:
            assert isinstance(record, wire.Look)
            channel.send(wire.encode(wire.Looked(1e12, SlotView.SAME)))


def test_what_disks_confirm_and_show_is_told_with_moments_that_have_passed(bench: Bench) -> None:
    bench.start(OWN_DISK, OTHER_DISK, body=disk)
    bench.workers.hand(7, 1.0, b"message")
    bench.until(lambda: bool(bench.writes and bench.own))
    assert (bench.writes, bench.own, bench.looks) == ([(1, 7)], [(1, b"slot")], [])
    bench.workers.look()
    bench.until(lambda: bool(bench.looks))
    ((path, begun, view),) = bench.looks
    assert (path, view) == (OTHER_DISK.id, SlotView.SAME)
    assert begun <= bench.loop.clock()


def test_a_wire_confirms_no_write_and_is_not_looked_at(bench: Bench) -> None:
    bench.start(OWN, OTHER)
    bench.workers.look()
    bench.workers.hand(7, 1.0, b"message")
    bench.until(lambda: bench.workers.confirmed(7) and bool(bench.heard))
    assert (bench.writes, bench.looks) == ([], [])
    assert all(worker.pid for worker in bench.workers.all.values())


def test_asking_a_listener_that_hangs_for_looks_delays_nothing(bench: Bench) -> None:
    def hangs(line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
        time.sleep(60)

    (worker,) = bench.start(OTHER_DISK, body=hangs)
    for _ in range(2_000):
        bench.workers.look()
    assert worker.channel is not None
    os.kill(worker.pid, signal.SIGKILL)


def test_an_arrival_in_the_future_is_not_believed(bench: Bench) -> None:
    def body(line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
        channel.send(wire.encode(wire.Received(1e12, b"x")))
        channel.recv(1)

    bench.start(OTHER, body=body)
    bench.until(lambda: bool(bench.heard))
    assert bench.heard[0][1] <= bench.loop.clock()


def test_a_worker_is_named_as_agents_look_for_it(bench: Bench) -> None:
    listener, sender = bench.start(OTHER, OWN)
    titles = {
        listener.pid: b"/usr/local/cluster/bin/heartc eth0 239.1.1.1 4321 2",
        sender.pid: b"/usr/local/cluster/bin/heartd eth0 239.1.1.1 1234",
    }
    for pid, title in titles.items():
        bench.until(lambda pid=pid, title=title: Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") == title)  # type: ignore[misc]


def test_a_worker_has_nothing_open_but_channel_and_lock(bench: Bench) -> None:
    (worker,) = bench.start(OWN)
    bench.workers.hand(1, 1.0, b"x")
    bench.until(lambda: worker.sent == 1)
    links = {os.readlink(f"/proc/{worker.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{worker.pid}/fd")}
    assert {link.split(":")[0] for link in links} == {
        "/dev/null",
        "socket",
        f"{bench.folder}/worker-node1-0.lock",
    }


def test_a_worker_dies_with_nmond(bench: Bench) -> None:
    """SIGKILL to nmond: no worker may go on sending for it."""
    ours, theirs = socket.socketpair()

    def hanging(line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
        # It does not even look at its channel any more.
        channel.send(wire.encode(wire.Sent(1, 1.0)))
        signal.pause()

    def nmond() -> None:
        (worker,) = bench.start(OWN, body=hanging)
        bench.until(lambda: worker.sent == 1)
        theirs.send(str(worker.pid).encode())
        signal.pause()

    pid = process.fork(nmond)
    worker_pid = int(ours.recv(100))
    start = process.start_time(worker_pid)
    assert start is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    bench.until(lambda: process.start_time(worker_pid) != start)
    ours.close()
    theirs.close()


def test_a_worker_that_is_killed_is_back_at_once(bench: Bench) -> None:
    (worker,) = bench.start(OWN)
    worker.since -= 10.0
    old = worker.pid
    os.kill(old, signal.SIGKILL)
    bench.until(lambda: worker.pid not in (0, old))
    assert worker.restarts == 1
    assert "was killed by signal 9; started again" in bench.log
    bench.workers.hand(1, 1.0, b"x")
    bench.until(lambda: worker.sent == 1)


def test_a_worker_that_keeps_failing_is_started_ever_more_rarely(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "BACKOFF_S", (0.001, 0.004))

    def body(line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
        raise RuntimeError("broken")

    (worker,) = bench.start(OWN, body=body)
    bench.until(lambda: worker.restarts >= 4)
    assert worker.backoff == 0.004
    assert "worker failed: RuntimeError: broken" in bench.log


def test_a_new_worker_waits_until_the_old_one_is_really_gone(bench: Bench) -> None:
    """One writer a slot: a process in the kernel's hands may still write, whatever was sent to kill it."""
    path = f"{bench.folder}/worker-node1-0.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    (worker,) = bench.start(OWN)
    for _ in range(5):
        bench.loop.turn(0.01)
    assert worker.pid == 0
    worker.waiting_since -= 5.0
    bench.until(lambda: bool(worker.trouble))
    assert "has not ended yet" in worker.trouble
    os.close(fd)
    bench.until(lambda: worker.pid != 0)


def test_the_lock_is_held_as_long_as_the_worker_lives(bench: Bench) -> None:
    bench.start(OWN)
    fd = os.open(f"{bench.folder}/worker-node1-0.lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    bench.end()
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


def test_a_message_for_a_worker_that_hangs_is_dropped_and_nobody_waits(bench: Bench) -> None:
    def body(line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
        signal.pause()

    (worker,) = bench.start(OWN, body=body)
    for seq in range(2000):
        bench.workers.hand(seq, 1.0, b"x" * 1000)
    assert worker.dropped > 0
    assert worker.handed + worker.dropped == 2000
    os.kill(worker.pid, signal.SIGKILL)


def test_a_sender_that_confirmed_nothing_within_its_timeout_is_down(bench: Bench) -> None:
    (worker,) = bench.start(OWN)
    bench.workers.hand(1, 1.0, b"x")
    bench.until(lambda: worker.sent == 1)
    assert worker.sent_at is not None
    worker.sent_at -= 2.5
    (said,) = bench.workers.describe(lambda path: (False, None))
    assert said["up"] is False


def test_whether_a_listener_is_up_is_the_engines_word(bench: Bench) -> None:
    bench.start(OTHER)
    (said,) = bench.workers.describe(lambda path: (True, bench.loop.clock() - 3.0))
    assert said["up"] is True
    assert abs(said["updated"] - (time.time() - 3.0)) < 0.5
    (said,) = bench.workers.describe(lambda path: (False, None))
    assert (said["up"], said["updated"]) == (False, None)


def test_trouble_is_shown_and_logged_when_it_changes(bench: Bench) -> None:
    def body(line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
        for text in ("eth0: no such device", "eth0: no such device", ""):
            channel.send(wire.encode(wire.Trouble(1.0, text)))
        channel.recv(1)

    bench.start(OTHER, body=body)
    bench.until(lambda: "works again" in bench.log)
    assert len([line for line in bench.log.lines if "no such device" in line]) == 1


def test_reasons_of_refusal_are_bounded(bench: Bench) -> None:
    worker = Worker(OTHER, False, 1.0)
    for number in range(1000):
        worker.refuse(f"why {number}")
    assert len(worker.refused) == workers_module.REASONS + 1
    assert sum(worker.refused.values()) == 1000


def test_a_worker_that_talks_nonsense_is_counted_and_nothing_else(bench: Bench) -> None:
    def body(line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
        channel.send(b"\xff" * 30)
        channel.send(wire.encode(wire.Handed(1, 1.0, b"x")))
        channel.send(wire.encode(wire.Received(1.0, b"good")))
        channel.recv(1)

    (worker,) = bench.start(OTHER, body=body)
    bench.until(lambda: bool(bench.heard))
    assert sum(worker.refused.values()) == 2


def test_only_lines_that_changed_are_started_anew(bench: Bench) -> None:
    own, other = bench.start(OWN, OTHER)
    changed = PathLine("node2", 0, "net", "eth0", "239.1.1.1", 9999, timeout=2.0)
    old = other.pid
    bench.workers.configure((OWN, changed), lambda node: 0.4)
    assert bench.workers.all[OWN.id] is own
    new = bench.workers.all[changed.id]
    bench.until(lambda: new.pid not in (0, old))
    assert bench.workers.gone
    bench.workers.configure((OWN,), lambda node: 0.4)
    assert list(bench.workers.all) == [OWN.id]


def test_a_changed_period_starts_a_worker_anew(bench: Bench) -> None:
    (own,) = bench.start(OWN)
    bench.workers.configure((OWN,), lambda node: 0.1)
    assert bench.workers.all[OWN.id] is not own
    assert bench.workers.all[OWN.id].period == 0.1


def test_workers_go_on_over_a_hand_over(bench: Bench) -> None:
    gone = PathLine("node3", 0, "net", "eth0", "239.1.1.1", 1, timeout=2.0)
    own, _, third = bench.start(OWN, OTHER, gone)
    bench.workers.hand(1, 1.0, b"x")
    bench.until(lambda: own.sent == 1)
    packed = bench.workers.packed()
    for worker in bench.workers.all.values():
        assert worker.channel is not None
        bench.loop.unwatch(worker.pidfd)
        bench.loop.unwatch(worker.channel.fileno())
        worker.channel.detach()
    bench.workers = bench.another(echo)
    bench.workers.unpack(packed, (OWN, OTHER), lambda node: 0.4)
    again = bench.workers.all[OWN.id]
    assert (again.pid, again.sent, again.confirmed) == (own.pid, 1, 1)
    bench.workers.hand(2, 1.0, b"x")
    bench.until(lambda: bench.workers.confirmed(2))
    bench.until(lambda: bench.workers.gone)
    assert process.start_time(third.pid) is None
