"""What a worker owes nmond, with media that do as they are told."""

import socket
from collections import deque
from collections.abc import Iterator

import pytest

from ha.fsm.events import SlotView
from ha.heartbeats import channel, codec
from ha.heartbeats.channel import Found, Handed, Look, Looked, Received, Record, Refused, Sent, Trouble
from ha.heartbeats.envelope import CodecError
from ha.heartbeats.media.medium import MediumError, ReplacedError
from ha.heartbeats.path import PathLine
from ha.heartbeats.worker import BUSY, ListenerWorker, SenderWorker, run_listener, run_sender

from .samples import CLUSTER, NODE1, heartbeat

GOOD = codec.encode(heartbeat())
TIMEOUT = 10.0
PERIOD = 1.0


class Clock:
    """Stands still, but for those who push it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Medium:
    """Both ends at once. ``faults``: what the next calls of a name raise, None for success."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.faults: dict[str, deque[Exception | None]] = {}
        self.sent: list[bytes] = []
        self.inbox: deque[bytes | Exception] = deque()
        self.burst = 4
        self.slot: bytes | None = None
        """None: a wire."""

    def fail(self, call: str, *errors: Exception | None) -> None:
        self.faults[call] = deque(errors)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        waiting = self.faults.get(name)
        error = waiting.popleft() if waiting else None
        if error is not None:
            raise error

    def open(self) -> None:
        self._call("open")

    def close(self) -> None:
        self._call("close")

    def check(self) -> None:
        self._call("check")

    def fileno(self) -> int:
        return -1

    def found(self) -> bytes | None:
        return self.slot

    def forget(self) -> None:
        self._call("forget")

    def send(self, data: bytes) -> None:
        self._call("send")
        self.sent.append(data)

    def receive(self) -> bytes | None:
        if not self.inbox:
            return None
        found = self.inbox.popleft()
        if isinstance(found, Exception):
            raise found
        return found


class Nmond:
    """The other end of the channel."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def hand(self, seq: int, at: float = 100.0, data: bytes = GOOD) -> None:
        self.sock.send(channel.encode(Handed(seq, at, data)))

    def heard(self) -> list[Record]:
        records = []
        while True:
            try:
                raw = self.sock.recv(channel.MAX_RECORD, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return records
            if not raw:
                return records
            records.append(channel.decode(raw))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Nmond]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, Nmond(theirs)


@pytest.fixture
def nmond(pair: tuple[socket.socket, Nmond]) -> Nmond:
    return pair[1]


@pytest.fixture
def medium() -> Medium:
    return Medium()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sender(pair: tuple[socket.socket, Nmond], medium: Medium, clock: Clock) -> SenderWorker:
    worker = SenderWorker(medium, pair[0], timeout=TIMEOUT, period=PERIOD, clock=clock)
    assert worker.turn()
    assert medium.calls in (["open"], ["open", "close"]), "it opens before anything is handed to it"
    return worker


@pytest.fixture
def listener(pair: tuple[socket.socket, Nmond], medium: Medium, clock: Clock) -> ListenerWorker:
    return ListenerWorker(medium, pair[0], cluster_id=CLUSTER, period=PERIOD, clock=clock)


class TestSender:
    def test_sends_what_is_handed_and_says_when(self, sender: SenderWorker, nmond: Nmond, medium: Medium) -> None:
        nmond.hand(7)
        assert sender.turn()
        assert medium.sent == [GOOD]
        assert nmond.heard() == [Sent(7, 100.0)]

    def test_sends_only_the_newest(self, sender: SenderWorker, nmond: Nmond, medium: Medium) -> None:
        """Behind a disk that hung for a while a queue has grown: old messages would only delay the present one."""
        for seq in range(50):
            nmond.hand(seq, data=b"%d" % seq)
        assert sender.turn()
        assert medium.sent == [b"49"]
        assert nmond.heard() == [Sent(49, 100.0)]

    def test_discards_a_stale_message(self, sender: SenderWorker, nmond: Nmond, medium: Medium, clock: Clock) -> None:
        """A message proves that the decision loop lives; this one proves that it lived."""
        nmond.hand(1, at=clock.now - TIMEOUT / 2 - 0.1)
        assert sender.turn()
        assert medium.sent == []
        assert nmond.heard() == [Refused(100.0, 1, "handed too late to be sent")]

    def test_sends_nothing_of_its_own(self, sender: SenderWorker, nmond: Nmond, medium: Medium, clock: Clock) -> None:
        nmond.hand(1)
        assert sender.turn()
        clock.now += 1000
        nmond.sock.send(b"junk")
        assert sender.turn()
        assert len(medium.sent) == 1

    def test_tells_trouble_once_and_its_end_once(self, sender: SenderWorker, nmond: Nmond, medium: Medium) -> None:
        broken = MediumError("eth0 is gone")
        medium.fail("send", broken, broken, broken)
        for seq in range(1, 6):
            nmond.hand(seq)
            assert sender.turn()
        assert nmond.heard() == [
            Trouble(100.0, "eth0 is gone"),
            Sent(4, 100.0),
            Trouble(100.0, ""),
            Sent(5, 100.0),
        ]

    def test_opening_alone_does_not_end_a_trouble(
        self, sender: SenderWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        """A disk that opens and fails every write would otherwise flap up and down each period."""
        broken = MediumError("input/output error")
        medium.fail("send", *[broken] * 5)
        for seq in range(5):
            nmond.hand(seq, at=clock.now)
            assert sender.turn()
            clock.now += PERIOD
            assert sender.turn()
        assert [r for r in nmond.heard() if isinstance(r, Trouble)] == [Trouble(100.0, "input/output error")]

    def test_a_trouble_that_changes_is_told_again(self, sender: SenderWorker, nmond: Nmond, medium: Medium) -> None:
        medium.fail("send", MediumError("one"), MediumError("two"))
        for seq in range(2):
            nmond.hand(seq)
            assert sender.turn()
        assert nmond.heard() == [Trouble(100.0, "one"), Trouble(100.0, "two")]

    def test_retries_each_period_without_being_handed_anything(
        self, pair: tuple[socket.socket, Nmond], medium: Medium, clock: Clock
    ) -> None:
        medium.fail("open", MediumError("no such device"), MediumError("it is not ours"))
        worker = SenderWorker(medium, pair[0], timeout=TIMEOUT, period=PERIOD, clock=clock)
        for _ in range(3):
            assert worker.turn()
            clock.now += PERIOD
        assert medium.calls == ["open", "close", "open", "close", "open"]
        assert pair[1].heard() == [Trouble(100.0, "no such device"), Trouble(101.0, "it is not ours")]

    def test_a_device_that_was_replaced_costs_no_message(
        self, sender: SenderWorker, nmond: Nmond, medium: Medium
    ) -> None:
        medium.fail("send", ReplacedError("another one"))
        nmond.hand(1)
        assert sender.turn()
        assert medium.sent == [GOOD]
        assert nmond.heard() == [Sent(1, 100.0)]

    def test_ends_with_the_channel(self, sender: SenderWorker, nmond: Nmond) -> None:
        nmond.sock.close()
        assert not sender.turn()

    def test_sends_the_last_message_before_it_ends(self, sender: SenderWorker, nmond: Nmond, medium: Medium) -> None:
        """That message may be the "left" which spares the peer the wait for a timeout."""
        nmond.hand(1)
        nmond.sock.shutdown(socket.SHUT_WR)
        assert not sender.turn()
        assert medium.sent == [GOOD]

    @pytest.mark.parametrize("raw", [b"x", b"\x09" + bytes(16), channel.encode(Sent(1, 2.0)), bytes(60_000)])
    def test_refuses_what_is_no_message_of_nmond(
        self, sender: SenderWorker, nmond: Nmond, medium: Medium, raw: bytes
    ) -> None:
        nmond.sock.send(raw)
        assert sender.turn()
        assert medium.sent == []
        assert [r.why for r in nmond.heard() if isinstance(r, Refused)] == ["a record of nmond that is none"]

    def test_never_waits_for_an_nmond_that_does_not_read(
        self, sender: SenderWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        for seq in range(2_000):
            nmond.hand(seq)
            assert sender.turn()
        assert len(medium.sent) == 2_000
        told = len([r for r in nmond.heard() if isinstance(r, Sent)])
        assert told < 2_000, "or this test shows nothing"
        clock.now += 1
        nmond.hand(1)
        assert sender.turn()
        assert Refused(clock.now, 2_000 - told, BUSY) in nmond.heard()

    def test_a_trouble_that_nmond_did_not_take_is_told_later(
        self, sender: SenderWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        for seq in range(2_000):
            nmond.hand(seq)
            assert sender.turn()
        medium.fail("send", MediumError("gone"), MediumError("gone"))
        nmond.hand(1)
        assert sender.turn()
        assert not [r for r in nmond.heard() if isinstance(r, Trouble)]
        nmond.hand(2)
        assert sender.turn()
        assert Trouble(100.0, "gone") in nmond.heard()


class TestSenderOfADisk:
    @pytest.mark.parametrize(
        ("slot", "found"),
        [(GOOD + bytes(100), GOOD), (bytes(512), b""), (GOOD[:-1] + b"x", b""), (b"ext4" * 128, b"")],
    )
    def test_tells_what_it_found_in_its_slot_before_it_wrote_there(
        self, pair: tuple[socket.socket, Nmond], medium: Medium, clock: Clock, slot: bytes, found: bytes
    ) -> None:
        medium.slot = slot
        worker = SenderWorker(medium, pair[0], timeout=TIMEOUT, period=PERIOD, clock=clock)
        pair[1].hand(1)
        assert worker.turn()
        assert pair[1].heard() == [Found(100.0, found), Sent(1, 100.0)]

    def test_tells_it_again_when_the_disk_was_opened_anew(
        self, pair: tuple[socket.socket, Nmond], medium: Medium, clock: Clock
    ) -> None:
        """It may be another disk."""
        medium.slot = bytes(512)
        medium.fail("send", ReplacedError("another one"))
        worker = SenderWorker(medium, pair[0], timeout=TIMEOUT, period=PERIOD, clock=clock)
        pair[1].hand(1)
        assert worker.turn()
        assert pair[1].heard() == [Found(100.0, b""), Sent(1, 100.0)], "of the disk that the message went to"
        medium.slot = GOOD
        medium.fail("send", ReplacedError("another one"))
        pair[1].hand(2)
        assert worker.turn()
        assert pair[1].heard() == [Found(100.0, GOOD), Sent(2, 100.0)]

    def test_what_nmond_did_not_take_is_told_once_it_takes_it(
        self, pair: tuple[socket.socket, Nmond], medium: Medium, clock: Clock
    ) -> None:
        worker = SenderWorker(medium, pair[0], timeout=TIMEOUT, period=PERIOD, clock=clock)
        for seq in range(2_000):
            pair[1].hand(seq)
            assert worker.turn()
        medium.slot = GOOD
        medium.fail("send", ReplacedError("another one"))
        pair[1].hand(1)
        assert worker.turn()
        assert Found(100.0, GOOD) not in pair[1].heard()
        pair[1].hand(2)
        assert worker.turn()
        assert pair[1].heard()[0] == Found(100.0, GOOD)


class TestListener:
    def test_forwards_a_message_with_its_arrival(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        medium.inbox.append(GOOD)
        assert listener.turn()
        assert nmond.heard() == [Received(100.0, GOOD)]

    def test_looks_once_a_period_and_makes_up_for_none(
        self, listener: ListenerWorker, medium: Medium, clock: Clock
    ) -> None:
        assert listener.turn()
        clock.now += 100 * PERIOD
        assert listener.turn()
        assert medium.calls == ["open", "check", "check"]

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "too short"),
            (b"\xff" * 2000, "no message of ezha"),
            (GOOD[:-1] + b"\0", "damaged"),
            (GOOD[:-1], "wrong length"),
            (codec.encode(heartbeat(cluster=1)), "another cluster"),
        ],
    )
    def test_counts_what_it_refuses(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, data: bytes, why: str
    ) -> None:
        medium.inbox.extend([data, data, GOOD])
        assert listener.turn()
        assert nmond.heard() == [Received(100.0, GOOD), Refused(100.0, 2, why)]

    def test_tells_refusals_at_most_once_a_second(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        medium.burst = 1000
        for _ in range(50):
            medium.inbox.extend([b"garbage" * 20] * 200)
            assert listener.turn()
            clock.now += 0.1
            listener._look_at = clock.now
        refused = [r for r in nmond.heard() if isinstance(r, Refused)]
        assert len(refused) <= 6
        assert sum(r.count for r in refused) >= 200 * 40

    def test_reasons_are_bounded(self, listener: ListenerWorker, nmond: Nmond, medium: Medium) -> None:
        medium.burst = 1000
        medium.inbox.extend(CodecError(f"reason {i}") for i in range(500))
        assert listener.turn()
        refused = [r for r in nmond.heard() if isinstance(r, Refused)]
        assert len(refused) <= 33
        assert sum(r.count for r in refused) == 500

    def test_a_failing_read_is_trouble_until_a_read_succeeds(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        """Hazard H22: the path must not keep its last answer."""
        medium.inbox.extend([MediumError("Input/output error"), MediumError("Input/output error"), GOOD])
        for _ in range(3):
            assert listener.turn()
            clock.now += PERIOD
        heard = nmond.heard()
        assert heard == [Trouble(100.0, "Input/output error"), Received(102.0, GOOD), Trouble(102.0, "")]

    def test_a_missing_interface_is_retried(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        medium.fail("open", MediumError("there is no interface eth9"), None)
        medium.inbox.append(GOOD)
        assert listener.turn()
        clock.now += PERIOD
        assert listener.turn()
        assert nmond.heard() == [
            Trouble(100.0, "there is no interface eth9"),
            Received(101.0, GOOD),
            Trouble(101.0, ""),
        ]

    def test_an_interface_that_was_replaced_is_joined_at_once(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium
    ) -> None:
        medium.fail("check", ReplacedError("another index"))
        assert listener.turn()
        assert medium.calls == ["open", "check", "close", "open"]
        assert nmond.heard() == []

    def test_ends_with_the_channel(self, listener: ListenerWorker, nmond: Nmond) -> None:
        nmond.sock.close()
        assert not listener.turn()

    def test_a_full_channel_loses_messages_and_counts_them(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        medium.burst = 2_000
        medium.inbox.extend(codec.encode(heartbeat(seq=seq)) for seq in range(1, 2_001))
        assert listener.turn()
        taken = len(nmond.heard())
        assert taken < 2_000
        clock.now += 1
        assert listener.turn()
        assert Refused(clock.now, 2_000 - taken, BUSY) in nmond.heard()


class TestListenerOfADisk:
    @pytest.fixture
    def listener(self, pair: tuple[socket.socket, Nmond], medium: Medium, clock: Clock) -> ListenerWorker:
        medium.burst = 1
        return ListenerWorker(medium, pair[0], cluster_id=CLUSTER, period=PERIOD, looks=True, clock=clock)

    def test_tells_every_look_with_its_beginning_and_a_message_before_the_look_that_showed_it(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        failure = MediumError("Input/output error")
        medium.inbox.extend([GOOD, b"", codec.encode(heartbeat(cluster=1)), CodecError("another version"), failure])
        for _ in range(6):
            assert listener.turn()
            clock.now += PERIOD
        told = [r for r in nmond.heard() if isinstance(r, Received | Looked)]
        assert told == [
            Received(100.0, GOOD),
            Looked(100.0, SlotView.NEW),
            Looked(101.0, SlotView.EMPTY),
            Looked(102.0, SlotView.FOREIGN),
            Looked(103.0, SlotView.FOREIGN),
            Looked(104.0, SlotView.FAILED),
            Looked(105.0, SlotView.SAME),
        ]

    def test_a_look_begins_before_the_read_does(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A read that hangs for an hour shows what stood there an hour ago, for all that is known."""

        def slow() -> bytes:
            clock.now += 3600
            return GOOD

        monkeypatch.setattr(medium, "receive", slow)
        assert listener.turn()
        assert nmond.heard() == [Received(3700.0, GOOD), Looked(100.0, SlotView.NEW)]

    def test_a_disk_that_cannot_be_opened_is_a_look_that_failed(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium
    ) -> None:
        medium.fail("open", MediumError("No such file or directory"))
        assert listener.turn()
        assert Looked(100.0, SlotView.FAILED) in nmond.heard()

    def test_looks_at_once_when_it_is_asked_and_once_for_all_who_asked(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        assert listener.turn()
        nmond.heard()
        clock.now += PERIOD / 10
        for _ in range(100):
            nmond.sock.send(channel.encode(Look()))
        assert listener.turn()
        assert nmond.heard() == [Looked(clock.now, SlotView.SAME)]
        clock.now += PERIOD
        assert listener.turn()
        assert nmond.heard() == [Looked(clock.now, SlotView.SAME)], "and once a period after that"

    def test_a_message_that_nmond_did_not_take_is_not_a_message_seen(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        """A claim would be lost otherwise, and the next look would say that nothing has changed."""
        taken = 0
        while "forget" not in medium.calls:
            medium.inbox.append(GOOD)
            assert listener.turn()
            clock.now += PERIOD
            taken += 1
            assert taken < 10_000
        told = [r for r in nmond.heard() if isinstance(r, Looked)]
        assert len(told) < taken

    def test_that_the_bytes_changed_is_not_lost_either(
        self, listener: ListenerWorker, nmond: Nmond, medium: Medium, clock: Clock
    ) -> None:
        for _ in range(10_000):
            assert listener.turn()
            clock.now += PERIOD
        medium.inbox.append(b"\xff" * 512)
        assert "forget" not in medium.calls
        assert listener.turn()
        assert "forget" in medium.calls


def test_a_sender_process_ends_when_nmond_does(pair: tuple[socket.socket, Nmond]) -> None:
    line = PathLine("node1", 0, "net", "ezhanone0", "239.131.50.10", 1234)
    ours, nmond = pair
    nmond.sock.close()
    run_sender(line, ours, node_id=NODE1, cluster_id=CLUSTER, period=1.0)


def test_a_listener_process_ends_when_nmond_does(pair: tuple[socket.socket, Nmond]) -> None:
    line = PathLine("node1", 0, "dio", "/nonexistent/disk", slot_blocks=2)
    ours, nmond = pair
    nmond.sock.close()
    run_listener(line, ours, cluster_id=CLUSTER, period=1.0)
