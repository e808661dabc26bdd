"""Keys on their way through nmond: to workers that run, into what is accepted, and into what an operator is told."""

import socket
from collections.abc import Iterator

import pytest

from ha.fsm.config import PathId
from ha.fsm.events import MessageReceived
from ha.heartbeats import channel, codec
from ha.heartbeats.keys import NO_KEYS, Key, KeyRing, pack
from ha.heartbeats.path import PathLine
from ha.node.intake import PeerKeys
from ha.node.workers import Worker, Workers
from tests.unit.node.test_intake import PATH, Bench, message
from tests.unit.node.world import ListLog

OLD, NEW = Key(bytes(range(32))), Key(bytes(range(32, 64)))
WITH_OLD = KeyRing((OLD,), OLD.id, unsigned=False)
ROTATING = KeyRing((OLD, NEW), OLD.id, unsigned=False)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


@pytest.fixture
def workers(pair: tuple[socket.socket, socket.socket]) -> Workers:
    """One sender, whose process is the other end of the pair."""
    made = Workers.__new__(Workers)
    made._keys, made._leaving = b"", []
    worker = Worker(PathLine("node1", 0, "dio", "/dev/null", slot_blocks=2), True, 1.0)
    worker.channel = pair[0]
    made.all = {PathId("node1", 0): worker}
    return made


def heard(end: socket.socket) -> list[channel.Record]:
    told = []
    while True:
        try:
            told.append(channel.decode(end.recv(channel.MAX_RECORD)))
        except BlockingIOError:
            return told


def test_workers_are_told_of_other_keys_once(workers: Workers, pair: tuple[socket.socket, socket.socket]) -> None:
    workers.hand(1, 0.0, b"x")
    assert [type(each) for each in heard(pair[1])] == [channel.Handed]
    workers.use_keys(WITH_OLD)
    workers.use_keys(WITH_OLD)
    workers.hand(2, 0.0, b"x")
    told = heard(pair[1])
    assert [type(each) for each in told] == [channel.Keys, channel.Handed]
    assert told[0] == channel.Keys(pack(WITH_OLD))


def test_a_worker_whose_channel_is_full_is_told_later(
    workers: Workers, pair: tuple[socket.socket, socket.socket]
) -> None:
    while True:
        try:
            pair[0].send(b"x" * 1000)
        except BlockingIOError:
            break
    workers.use_keys(WITH_OLD)
    pair[1].settimeout(None)
    while True:
        try:
            pair[1].recv(channel.MAX_RECORD, socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
    pair[1].setblocking(False)
    workers.hand(1, 0.0, b"x")
    assert [type(each) for each in heard(pair[1])] == [channel.Keys, channel.Handed]


class Signed(Bench):
    def __init__(self, ring: KeyRing) -> None:
        super().__init__()
        self.ring = ring
        self.intake._keys = lambda: self.ring


def test_what_each_peer_signs_with_is_remembered() -> None:
    bench = Signed(WITH_OLD)
    bench.intake.received(PATH, 10.0, codec.encode(message("node2"), keys=ROTATING))
    assert [type(each) for each in bench.events] == [MessageReceived]
    assert bench.intake.peer_keys == {"node2": PeerKeys(OLD.id, NEW.id, 10.0)}


def test_what_is_not_signed_reaches_nobody() -> None:
    bench = Signed(WITH_OLD)
    bench.intake.received(PATH, 10.0, codec.encode(message("node2"), keys=NO_KEYS))
    assert (bench.events, bench.refused, bench.intake.peer_keys) == ([], [("not signed", False)], {})


def test_the_twin_without_a_key_takes_it() -> None:
    bench = Signed(NO_KEYS)
    bench.intake.received(PATH, 10.0, codec.encode(message("node2"), keys=NO_KEYS))
    assert [type(each) for each in bench.events] == [MessageReceived]


def test_a_wrong_key_is_in_the_log_once_in_a_while(workers: Workers, pair: tuple[socket.socket, socket.socket]) -> None:
    """Whoever looks at night for why a node is silent must find it; a stranger who forges must not fill the disk."""
    log, now = ListLog(), 1000.0

    class Clock:
        def clock(self) -> float:
            return now

    workers._log, workers._loop = log, Clock()  # type: ignore[assignment]
    worker = next(iter(workers.all.values()))
    for _ in range(100):
        for why in ("unknown key", "old or repeated"):
            workers._take(worker, channel.Refused(now, 10_000, why))
        now += 10.0
    told = [line for line in log.lines if "unknown key: if it is no stranger's, compare ezha key status" in line]
    assert len(log.lines) == len(told) == 2
    assert worker.refused == {"unknown key": 1_000_000, "old or repeated": 1_000_000}
