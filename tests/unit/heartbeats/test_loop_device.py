"""Slots on real block devices, with sectors of 512 and of 4,096 bytes. Needs root; each device is detached again."""

import os
import subprocess
from collections.abc import Callable, Iterator
from fcntl import F_GETFL, fcntl
from pathlib import Path

import pytest

from ha.heartbeats import codec
from ha.heartbeats.media.block import DiskListener, DiskSender
from ha.heartbeats.media.guard import claim_slot, signature
from ha.heartbeats.media.medium import MediumError
from ha.heartbeats.path import PathLine

from .samples import CLUSTER, NODE1, heartbeat, services

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="loop devices need root"
)

GOOD = codec.encode(heartbeat(services=services(100)))


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Callable[..., str]]:
    attached: list[str] = []

    def loop(sector: int = 512) -> str:
        image = tmp_path / f"disk{len(attached)}"
        with image.open("wb") as file:
            file.truncate(4 << 20)
        attached.append(run("losetup", "--find", "--show", "-b", str(sector), str(image)))
        return attached[-1]

    yield loop
    for device in attached:
        run("losetup", "-d", device)


def line(device: str, offset: int, blocks: int, medium: str = "dio") -> PathLine:
    return PathLine("node1", 0, medium, device, offset=offset, slot_blocks=blocks)


@pytest.mark.parametrize("medium", ["dio", "disk"])
@pytest.mark.parametrize(("sector", "offset", "blocks"), [(512, 2, 2), (512, 0, 16), (4096, 8, 8), (4096, 0, 20)])
def test_a_message_goes_through_the_device(
    attach: Callable[..., str], sector: int, offset: int, blocks: int, medium: str
) -> None:
    path = line(attach(sector), offset, blocks, medium)
    sender, listener = DiskSender(path, NODE1, CLUSTER), DiskListener(path)
    listener.open()
    assert listener.receive() == b""
    for message in (GOOD, codec.encode(heartbeat())):
        sender.open()
        sender.send(message)
        assert listener.receive() == message
        sender.close()
    listener.close()


@pytest.mark.parametrize("medium", ["dio", "disk"])
def test_no_cache_stands_between_a_node_and_the_disk(attach: Callable[..., str], medium: str) -> None:
    """What another host wrote would be hidden by it, and what we wrote would not be there yet."""
    device = attach()
    for end, wanted in (
        (DiskSender(line(device, 0, 2, medium), NODE1, CLUSTER), os.O_DIRECT | os.O_DSYNC),
        (DiskListener(line(device, 0, 2, medium)), os.O_DIRECT),
    ):
        end.open()
        assert [flags & wanted for flags in flags_of_descriptors_on(device)] == [wanted]
        end.close()


def flags_of_descriptors_on(device: str) -> list[int]:
    """The flags of every descriptor that this process has open on the device."""
    found = [int(link.name) for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == device]
    return [fcntl(fd, F_GETFL) for fd in found]


@pytest.mark.parametrize(
    ("offset", "blocks", "text"),
    [(2, 8, "an offset must be a multiple of 8"), (8, 2, "less than a sector of this disk")],
)
def test_large_sectors_need_aligned_slots(attach: Callable[..., str], offset: int, blocks: int, text: str) -> None:
    device = attach(4096)
    for end in (DiskSender(line(device, offset, blocks), NODE1, CLUSTER), DiskListener(line(device, offset, blocks))):
        with pytest.raises(MediumError, match=text):
            end.open()


def test_a_device_with_a_file_system_is_not_written_without_force(attach: Callable[..., str]) -> None:
    device = attach()
    path = line(device, 0, 2)
    assert signature(device) == ""
    run("mkfs.ext4", "-q", device)
    with pytest.raises(MediumError, match=r"carries a signature \(ext4\); if nobody needs it: hb -a -n node1"):
        DiskSender(path, NODE1, CLUSTER).open()
    with pytest.raises(MediumError, match="signature"):
        claim_slot(path, False)
    assert "(ext4) is disregarded" in claim_slot(path, True)
    sender = DiskSender(path, NODE1, CLUSTER)
    for _ in range(2):
        sender.open()
        sender.send(codec.encode(heartbeat()))
        sender.close()


def test_a_file_system_made_after_our_first_write_is_not_written(attach: Callable[..., str]) -> None:
    """The slot still holds our message, far behind what mkfs wrote: that is no leave to write into the file system."""
    device = attach()
    sender = DiskSender(line(device, 4000, 2), NODE1, CLUSTER)
    sender.open()
    sender.send(GOOD)
    sender.close()
    assert signature(device) == "", "a message of ours is no signature"
    run("mkfs.ext4", "-q", device)
    with pytest.raises(MediumError, match="signature"):
        sender.open()


def test_what_blkid_cannot_open_is_not_called_clean() -> None:
    with pytest.raises(MediumError, match="cannot tell"):
        signature("/nonexistent/disk")


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("exit 0", "cannot tell"),
        ("exit 4", "cannot tell"),
        ("kill -9 $$", "cannot tell"),
    ],
)
def test_a_probe_that_fails_is_not_called_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, text: str
) -> None:
    fake_blkid(tmp_path, monkeypatch, script)
    with pytest.raises(MediumError, match=text):
        signature("/dev/null")


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("exit 2", ""),
        ("exit 8", "several at once"),
        ('echo \'/dev/null: UUID="1 2" TYPE="LVM2_member" USAGE="raid"\'', "LVM2_member"),
        ('echo \'/dev/null: PTUUID="1" PTTYPE="gpt"\'', "gpt"),
        ("echo '/dev/null: LABEL=\"x\"'", "of a kind that blkid does not name"),
    ],
)
def test_what_the_probe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, kind: str) -> None:
    fake_blkid(tmp_path, monkeypatch, script)
    assert signature("/dev/null") == kind


def test_without_blkid_nothing_is_called_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError("blkid")

    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(MediumError, match="is not installed"):
        signature("/dev/null")


def fake_blkid(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "blkid"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
