"""A path that speaks as OpenHA does: what the process that sends fills in, where a slot ends, and whose slot it is."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ha.fsm.identity import node_id
from ha.fsm.states import State
from ha.heartbeats import openha
from ha.heartbeats.keys import NO_KEYS
from ha.heartbeats.media import listener_for, original, sender_for
from ha.heartbeats.media.guard import foreign
from ha.heartbeats.media.medium import MediumError
from ha.heartbeats.openha import Beat
from ha.heartbeats.path import BLOCK, PathLine

GOLDEN = Path(__file__).parents[2] / "golden"
BLOCK_OF_NODE1 = (GOLDEN / "dio_block.bin").read_bytes()
BEAT = Beat("node1", 1_795_335_932, (("web", State.STARTED),))


class Wire:
    """A medium that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def open(self) -> None: ...

    def close(self) -> None: ...

    def found(self) -> None: ...

    def send(self, data: bytes) -> None:
        self.sent.append(data)


@pytest.fixture
def line(tmp_path: Path) -> PathLine:
    """A slot on a file that stands for a disk."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(64 * BLOCK))
    return PathLine("node1", 0, "dio", str(disk), offset=19, timeout=2, slot_blocks=openha.BLOCKS, wire="openha")


def on_disk(line: PathLine) -> bytes:
    whole = Path(line.device).read_bytes()
    return whole[line.offset * BLOCK : (line.offset + openha.BLOCKS) * BLOCK]


def put(line: PathLine, block: bytes) -> None:
    with open(line.device, "r+b") as disk:
        disk.seek(line.offset * BLOCK)
        disk.write(block)


def test_a_datagram_names_the_process_that_sends_it_and_where_to() -> None:
    wire = Wire()
    line = PathLine("node1", 0, "net", "eth0", "239.131.50.10", 1234, wire="openha")
    sender = original.OriginalSender(wire, line)
    sender.open()
    sender.send(openha.encode(BEAT))
    told = openha.decode(wire.sent[0])
    assert told == replace(BEAT, port="1234", address="239.131.50.10", pid=os.getpid())


def test_a_message_that_names_no_such_place_is_trouble_on_the_path_and_is_not_sent() -> None:
    wire = Wire()
    sender = original.OriginalSender(wire, PathLine("node1", 0, "net", "eth0", "fd00:e24a::10:11:12", 1, wire="openha"))
    sender.open()
    with pytest.raises(MediumError, match="no message of OpenHA can be sent here: address too long"):
        sender.send(openha.encode(BEAT))
    assert wire.sent == []


def test_what_is_no_message_of_openha_is_not_sent_where_one_is_due() -> None:
    wire = Wire()
    sender = original.OriginalSender(wire, PathLine("node1", 0, "dio", "/dev/sdb", wire="openha"))
    with pytest.raises(MediumError, match="wrong length"):
        sender.send(b"EZH" + bytes(100))
    assert wire.sent == []


def test_a_slot_is_written_whole_and_read_by_the_other_side(line: PathLine) -> None:
    sender, listener = sender_for(line, node_id("node1"), 0), listener_for(line)
    sender.open()
    listener.open()
    assert listener.receive() == b""
    sender.send(openha.encode(BEAT))
    block = on_disk(line)
    assert openha.decode(block[: openha.SIZE]) == replace(BEAT, pid=os.getpid())
    assert listener.receive() == block[: openha.SIZE]
    assert listener.receive() is None
    listener.close()
    sender.close()


def test_what_the_original_leaves_behind_its_struct_is_nobodys_news(line: PathLine) -> None:
    listener = listener_for(line)
    put(line, BLOCK_OF_NODE1)
    listener.open()
    assert listener.receive() == BLOCK_OF_NODE1[: openha.SIZE]
    put(line, BLOCK_OF_NODE1[: openha.SIZE] + b"\xaa" * (openha.BLOCKS * BLOCK - openha.SIZE))
    assert listener.receive() is None
    listener.close()


def test_the_slot_of_the_openha_node_of_our_name_is_ours_and_that_of_another_is_not(line: PathLine) -> None:
    put(line, BLOCK_OF_NODE1)
    ours, theirs = sender_for(line, node_id("node1"), 0), sender_for(line, node_id("node2"), 0)
    ours.open()
    ours.close()
    with pytest.raises(MediumError, match="the slot holds a message of the OpenHA node node1"):
        theirs.open()
    assert foreign(BLOCK_OF_NODE1, node_id("node1"), 7, NO_KEYS) == ""
