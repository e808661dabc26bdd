"""Slots on a plain file: what is read, what is written, and above all what is not."""

import os
from pathlib import Path

import pytest

from ha.heartbeats import codec
from ha.heartbeats.envelope import CodecError
from ha.heartbeats.media import guard
from ha.heartbeats.media.block import DiskListener, DiskSender
from ha.heartbeats.media.guard import MARK, claim_slot
from ha.heartbeats.media.medium import MediumError, ReplacedError
from ha.heartbeats.path import PathLine

from .samples import CLUSTER, NODE1, NODE2, heartbeat, services

OURS = codec.encode(heartbeat())
DISK_SIZE = 64 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(DISK_SIZE))
    return path


@pytest.fixture(autouse=True)
def signature(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What blkid would find, by device; the real one is asked in test_loop_device.py."""
    found: dict[str, str] = {}
    monkeypatch.setattr(guard, "signature", lambda device: found.get(device, ""))
    return found


def line_on(disk: Path, offset: int = 0, node: str = "node1", blocks: int = 2, medium: str = "dio") -> PathLine:
    return PathLine(node, 0, medium, str(disk), offset=offset, slot_blocks=blocks)


def put(disk: Path, offset: int, content: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(offset * 512)
        file.write(content)


def sender_on(disk: Path, offset: int = 0, blocks: int = 2) -> DiskSender:
    return DiskSender(line_on(disk, offset, blocks=blocks), NODE1, CLUSTER)


def refusal(disk: Path) -> str:
    before = disk.read_bytes()
    with pytest.raises(MediumError) as caught:
        sender_on(disk).open()
    assert disk.read_bytes() == before, "nothing is written"
    return str(caught.value)


class TestSenderAndListener:
    @pytest.mark.parametrize("medium", ["dio", "disk"])
    def test_what_one_writes_the_other_reads(self, disk: Path, medium: str) -> None:
        line = line_on(disk, offset=2, medium=medium)
        sender, listener = DiskSender(line, NODE1, CLUSTER), DiskListener(line)
        sender.open()
        sender.send(OURS)
        listener.open()
        assert listener.receive() == OURS
        sender.close()
        listener.close()

    def test_neighbours_stay_untouched(self, disk: Path) -> None:
        put(disk, 0, b"\xaa" * 1024)
        put(disk, 4, b"\xbb" * 1024)
        sender = sender_on(disk, offset=2)
        sender.open()
        sender.send(OURS)
        sender.close()
        content = disk.read_bytes()
        assert content[:1024] == b"\xaa" * 1024
        assert content[1024:2048] == OURS + bytes(1024 - len(OURS))
        assert content[2048:3072] == b"\xbb" * 1024

    def test_a_shorter_message_leaves_nothing_of_a_longer_one(self, disk: Path) -> None:
        sender = sender_on(disk)
        sender.open()
        sender.send(codec.encode(heartbeat(services=services(120))))
        sender.send(OURS)
        sender.close()
        assert disk.read_bytes() == OURS + bytes(DISK_SIZE - len(OURS))

    def test_the_largest_message_of_128_services_fits_in_the_tutorials_slot(self, disk: Path) -> None:
        sender = sender_on(disk)
        sender.open()
        message = codec.encode(heartbeat(services=services(128, generation=16_383)))
        sender.send(message)
        assert disk.read_bytes().startswith(message)
        sender.close()

    def test_a_message_that_does_not_fit_is_refused_and_not_cut(self, disk: Path) -> None:
        sender = sender_on(disk)
        sender.open()
        sender.send(OURS)
        before = disk.read_bytes()
        with pytest.raises(MediumError, match=r"has \d+ bytes, its slot has room for 1024"):
            sender.send(codec.encode(heartbeat(services=services(200))))
        assert disk.read_bytes() == before
        sender.close()

    def test_a_slot_never_written_is_nothing(self, disk: Path) -> None:
        """Hazard H19."""
        listener = DiskListener(line_on(disk))
        listener.open()
        assert listener.receive() == b""
        listener.close()

    def test_the_same_bytes_are_news_once(self, disk: Path) -> None:
        put(disk, 0, OURS)
        listener = DiskListener(line_on(disk))
        listener.open()
        assert [listener.receive(), listener.receive()] == [OURS, None]
        later = codec.encode(heartbeat(seq=2))
        put(disk, 0, later)
        assert [listener.receive(), listener.receive()] == [later, None]
        listener.close()
        listener.open()
        assert listener.receive() is None, "nor does opening anew make them news"
        listener.close()

    def test_a_block_that_is_no_message_is_refused_once(self, disk: Path) -> None:
        put(disk, 0, b"\xff" * 512)
        listener = DiskListener(line_on(disk))
        listener.open()
        with pytest.raises(CodecError):
            listener.receive()
        assert listener.receive() is None
        listener.close()

    def test_a_missing_device_is_trouble(self, tmp_path: Path) -> None:
        for end in (sender_on(tmp_path / "none"), DiskListener(line_on(tmp_path / "none"))):
            with pytest.raises(MediumError, match="No such file or directory"):
                end.open()

    @pytest.mark.parametrize("device", ["/dev/null", "/dev", "/dev/zero"])
    def test_what_is_no_disk_is_refused(self, device: str) -> None:
        with pytest.raises(MediumError, match="is not a block device"):
            DiskListener(line_on(Path(device))).open()

    def test_a_slot_beyond_the_end_is_refused(self, disk: Path) -> None:
        with pytest.raises(MediumError, match="ends before the slot"):
            sender_on(disk, offset=DISK_SIZE // 512 - 1).open()
        assert disk.stat().st_size == DISK_SIZE

    def test_a_file_that_was_replaced_is_noticed(self, disk: Path) -> None:
        sender, listener = sender_on(disk), DiskListener(line_on(disk))
        sender.open()
        listener.open()
        fresh = disk.with_name("fresh")
        fresh.write_bytes(bytes(DISK_SIZE))
        fresh.rename(disk)
        with pytest.raises(ReplacedError):
            sender.send(OURS)
        with pytest.raises(ReplacedError):
            listener.check()
        assert disk.read_bytes() == bytes(DISK_SIZE)
        sender.close()
        listener.close()

    def test_no_descriptor_is_left_behind(self, disk: Path) -> None:
        before = os.listdir("/proc/self/fd")
        put(disk, 0, b"foreign")
        for _ in range(3):
            with pytest.raises(MediumError):
                sender_on(disk).open()
            with pytest.raises(MediumError):
                sender_on(disk, blocks=0).open()
        assert len(os.listdir("/proc/self/fd")) == len(before)


class TestGuard:
    def test_an_empty_slot_and_our_own_are_written(self, disk: Path) -> None:
        for _ in range(2):
            sender = sender_on(disk)
            sender.open()
            sender.send(OURS)
            sender.close()

    def test_our_own_message_torn_by_a_power_failure_is_ours(self, disk: Path) -> None:
        long = codec.encode(heartbeat(services=services(120)))
        put(disk, 0, long[:512])
        sender = sender_on(disk)
        sender.open()
        sender.send(OURS)
        sender.close()

    def test_foreign_bytes(self, disk: Path) -> None:
        put(disk, 0, b"LABELONE")
        text = refusal(disk)
        assert "something that is not ezha's (it begins with the bytes 4c 41 42 45 4c 4f 4e 45)" in text
        assert f"hb -a -n node1 -t dio -i {disk} -d 0 -T 10 --force" in text

    def test_foreign_bytes_in_the_last_byte_only(self, disk: Path) -> None:
        put(disk, 0, bytes(1023) + b"x")
        assert "not ezha's" in refusal(disk)

    def test_another_node(self, disk: Path) -> None:
        put(disk, 0, codec.encode(heartbeat(node=NODE2)))
        assert f"a message of another node (id {NODE2:08x})" in refusal(disk)

    def test_another_cluster(self, disk: Path) -> None:
        put(disk, 0, codec.encode(heartbeat(cluster=1)))
        assert "a message of another cluster" in refusal(disk)

    def test_another_version(self, disk: Path) -> None:
        put(disk, 0, OURS[:3] + b"\x09" + OURS[4:])
        assert "another version" in refusal(disk)

    def test_foreign_bytes_behind_our_own_message(self, disk: Path) -> None:
        put(disk, 0, OURS + bytes(600 - len(OURS)) + b"file system")
        text = refusal(disk)
        assert "(it begins with the bytes 66 69 6c 65 20 73 79 73) behind a message of this node" in text

    def test_our_own_message_in_the_slot_of_a_path_that_was_taken_out(self, disk: Path) -> None:
        put(disk, 0, OURS + bytes(512 - len(OURS)) + OURS)
        sender = sender_on(disk)
        sender.open()
        sender.send(OURS)
        assert disk.read_bytes()[:1024] == OURS + bytes(1024 - len(OURS))
        sender.close()

    def test_another_nodes_message_in_the_slot_of_a_path_that_was_taken_out(self, disk: Path) -> None:
        put(disk, 0, OURS + bytes(512 - len(OURS)) + codec.encode(heartbeat(node=NODE2)))
        assert f"a message of another node (id {NODE2:08x}) behind a message of this node" in refusal(disk)

    def test_a_signature(self, disk: Path, signature: dict[str, str]) -> None:
        signature[str(disk)] = "ext4"
        assert "carries a signature (ext4)" in refusal(disk)

    def test_a_signature_made_since_is_refused_though_the_slot_is_ours(
        self, disk: Path, signature: dict[str, str]
    ) -> None:
        put(disk, 0, OURS)
        signature[str(disk)] = "xfs"
        assert "carries a signature (xfs)" in refusal(disk)

    def test_blkid_is_not_run_at_every_retry(self, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        probes: list[str] = []
        monkeypatch.setattr(guard, "signature", lambda device: probes.append(device) or "ext4")
        sender = sender_on(disk)
        for _ in range(5):
            with pytest.raises(MediumError):
                sender.open()
        assert len(probes) == 1


class TestClaim:
    def test_without_force_nothing_is_written(self, disk: Path) -> None:
        put(disk, 0, b"foreign")
        before = disk.read_bytes()
        with pytest.raises(MediumError, match="not ezha's"):
            claim_slot(line_on(disk), False)
        assert disk.read_bytes() == before

    def test_without_force_a_free_slot_is_found_free(self, disk: Path) -> None:
        assert "is free" in claim_slot(line_on(disk), False)
        put(disk, 0, OURS)
        assert "is that of node1" in claim_slot(line_on(disk), False)

    def test_force_clears_the_slot_and_nothing_else(self, disk: Path) -> None:
        put(disk, 0, b"\xaa" * DISK_SIZE)
        text = claim_slot(line_on(disk, offset=2), True)
        assert "cleared (it held something that is not ezha's" in text
        assert disk.read_bytes() == b"\xaa" * 1024 + bytes(1024) + b"\xaa" * (DISK_SIZE - 2048)
        sender_on(disk, offset=2).open()

    def test_force_leaves_a_slot_that_is_ours(self, disk: Path) -> None:
        put(disk, 0, OURS)
        assert "already that of node1" in claim_slot(line_on(disk), True, cluster_id=CLUSTER)
        assert disk.read_bytes().startswith(OURS)

    def test_force_clears_what_another_cluster_left_under_our_name(self, disk: Path) -> None:
        put(disk, 0, codec.encode(heartbeat(cluster=1)))
        claim_slot(line_on(disk), True, cluster_id=CLUSTER)
        assert disk.read_bytes() == bytes(DISK_SIZE)

    def test_a_forced_claim_of_a_device_with_a_signature_outlives_every_write(
        self, disk: Path, signature: dict[str, str]
    ) -> None:
        signature[str(disk)] = "gpt"
        with pytest.raises(MediumError, match=r"signature \(gpt\)"):
            claim_slot(line_on(disk), False)
        assert "(gpt) is disregarded" in claim_slot(line_on(disk), True, cluster_id=CLUSTER)
        listener = DiskListener(line_on(disk))
        listener.open()
        assert listener.receive() == b"", "a mark alone is no message"
        for seq in (1, 2):
            sender = sender_on(disk)
            sender.open()
            message = codec.encode(heartbeat(seq=seq))
            sender.send(message)
            sender.close()
            assert disk.read_bytes()[1020:1024] == MARK
            assert listener.receive() == message
        listener.close()

    def test_a_claimed_slot_says_honestly_how_much_room_is_left(self, disk: Path, signature: dict[str, str]) -> None:
        signature[str(disk)] = "gpt"
        claim_slot(line_on(disk), True)
        sender = sender_on(disk)
        sender.open()
        with pytest.raises(MediumError, match="room for 1020"):
            sender.send(bytes(1021))
        sender.close()

    def test_a_missing_device_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(MediumError, match="No such file"):
            claim_slot(line_on(tmp_path / "none"), True)
