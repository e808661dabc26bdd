"""Workers take what the keys in force accept, and other keys when nmond hands them: nothing is started anew."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.fsm.events import SlotView
from ha.heartbeats import channel, codec, keys
from ha.heartbeats.channel import Found, Handed, Keys, Looked, Received, Refused, Sent
from ha.heartbeats.keys import NO_KEYS, CurrentKeys, Key, KeyRing
from ha.heartbeats.media.block import DiskSender
from ha.heartbeats.media.guard import foreign
from ha.heartbeats.media.medium import MediumError
from ha.heartbeats.path import PathLine
from ha.heartbeats.worker import ListenerWorker, SenderWorker
from tests.unit.heartbeats.samples import CLUSTER, NODE1, heartbeat
from tests.unit.heartbeats.test_worker import Clock, Medium, Nmond

OLD, NEW = Key(bytes(range(32))), Key(bytes(range(32, 64)))
WITH_OLD = KeyRing((OLD,), OLD.id, unsigned=False)
BOTH = KeyRing((OLD, NEW), OLD.id, unsigned=False)
WITH_NEW = KeyRing((NEW,), NEW.id, unsigned=False)
UNSIGNED, BY_OLD, BY_NEW = (codec.encode(heartbeat(), keys=ring) for ring in (NO_KEYS, WITH_OLD, WITH_NEW))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Nmond]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, Nmond(theirs)


def put(nmond: Nmond, ring: KeyRing) -> None:
    nmond.sock.send(channel.encode(Keys(keys.pack(ring))))


def test_a_listener_takes_what_its_keys_accept(pair: tuple[socket.socket, Nmond]) -> None:
    ours, nmond = pair
    medium, clock = Medium(), Clock()
    listener = ListenerWorker(
        medium, ours, cluster_id=CLUSTER, period=1.0, looks=True, keys=CurrentKeys(WITH_OLD), clock=clock
    )

    def seen(data: bytes) -> tuple[bool, SlotView, list[str]]:
        medium.inbox.append(data)
        clock.now += 1.0
        assert listener.turn() and listener.turn()
        told = nmond.heard()
        views = [each.view for each in told if isinstance(each, Looked)]
        refused = [each.why for each in told if isinstance(each, Refused)]
        return any(isinstance(each, Received) for each in told), views[0], refused

    assert seen(BY_OLD) == (True, SlotView.NEW, [])
    assert seen(UNSIGNED) == (False, SlotView.FOREIGN, ["not signed"])
    assert seen(BY_NEW) == (False, SlotView.FOREIGN, ["unknown key"])
    put(nmond, BOTH)
    assert "forget" not in medium.calls
    assert seen(BY_NEW) == (True, SlotView.NEW, [])
    assert "forget" in medium.calls  # what was refused before may stand in the slot still
    assert seen(BY_OLD) == (True, SlotView.NEW, [])
    put(nmond, WITH_NEW)
    assert seen(BY_OLD) == (False, SlotView.FOREIGN, ["unknown key"])
    nmond.sock.send(channel.encode(Keys(b"nonsense")))
    assert seen(BY_NEW)[0]


def test_what_a_sender_found_in_its_slot_counts_only_if_it_is_signed(pair: tuple[socket.socket, Nmond]) -> None:
    ours, nmond = pair
    for ring, content, found in (
        (WITH_OLD, BY_OLD, BY_OLD),
        (WITH_OLD, UNSIGNED, b""),
        (NO_KEYS, UNSIGNED, UNSIGNED),
        (WITH_NEW, BY_OLD, b""),
    ):
        medium, clock = Medium(), Clock()
        medium.slot = content
        sender = SenderWorker(medium, ours, timeout=10.0, period=1.0, keys=CurrentKeys(ring), clock=clock)
        assert sender.turn()
        assert [each.data for each in nmond.heard() if isinstance(each, Found)] == [found]


def test_a_sender_goes_on_with_other_keys(pair: tuple[socket.socket, Nmond]) -> None:
    ours, nmond = pair
    medium, clock, current = Medium(), Clock(), CurrentKeys(WITH_OLD)
    sender = SenderWorker(medium, ours, timeout=10.0, period=1.0, keys=current, clock=clock)
    put(nmond, WITH_NEW)
    nmond.sock.send(channel.encode(Handed(1, clock.now, BY_NEW)))
    assert sender.turn()
    assert current.ring == WITH_NEW
    assert medium.sent == [BY_NEW]
    assert [type(each) for each in nmond.heard()] == [Sent]


# ---------------------------------------------------------------------------------------------- the guard


def test_a_slot_of_ours_under_any_key_is_ours() -> None:
    for ring in (NO_KEYS, WITH_OLD, WITH_NEW):
        for message in (UNSIGNED, BY_OLD, BY_NEW):
            assert foreign(message.ljust(1024, b"\0"), NODE1, CLUSTER, ring) == ""


@pytest.mark.parametrize(
    ("message", "ring", "says"),
    [
        (BY_OLD, WITH_OLD, "something that is not ezha's"),
        (UNSIGNED, WITH_OLD, "something that is not ezha's"),
        (BY_OLD, WITH_NEW, f"bytes that cannot be judged without key {keys.shown(OLD.id)}"),
    ],
)
def test_what_stands_behind_a_message_of_ours_is_not_overwritten(message: bytes, ring: KeyRing, says: str) -> None:
    content = message.ljust(512, b"\0") + b"somebody's data".ljust(512, b"!")
    assert foreign(content, NODE1, CLUSTER, ring).startswith(says)


def test_a_torn_write_of_ours_is_overwritten() -> None:
    torn = bytearray(BY_OLD.ljust(512, b"\0") + b"the rest of a longer message".ljust(512, b"\0"))
    torn[40] ^= 1
    assert foreign(bytes(torn), NODE1, CLUSTER, WITH_OLD) == ""


def test_a_slot_that_the_guard_refuses(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(BY_OLD.ljust(512, b"\0") + b"data".ljust(512, b"!"))
    line = PathLine("node1", 0, "dio", str(disk), slot_blocks=2)
    with pytest.raises(MediumError, match="cannot be judged without key"):
        DiskSender(line, NODE1, CLUSTER, CurrentKeys(WITH_NEW)).open()
