"""The parts of machines that need none: command lines, archives, and what is said on their sockets."""

import io
import json
import os
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ha.lab.backend import open_lab
from ha.lab.errors import LabError
from ha.lab.lab import Lab
from ha.lab.state import MACHINES, NAMESPACES, LabState, boot_id, save
from ha.lab.vm import cpio, image, machine, seed, snapshot
from ha.lab.vm.agent import Agent, Silent
from ha.lab.vm.lab import MachineLab
from ha.lab.vm.qmp import Monitor

FILES = machine.Files("/k", "/i", "/r", "/h,x", "/v", "/s", "abc")


def _blockdevs(words: list[str]) -> dict[str, dict[str, object]]:
    found = [json.loads(words[at + 1]) for at, word in enumerate(words) if word == "-blockdev"]
    return {each["node-name"]: each for each in found}


def test_shared_disks_are_shared_and_skip_the_hosts_cache() -> None:
    words = machine.argv("node1", 1, FILES, "systemd")
    disks = _blockdevs(words)
    assert set(disks) == {"root", "heartbeats", "volumes", "seed"}
    for name in ("heartbeats", "volumes"):
        assert disks[name]["file"] == {
            "driver": "file",
            "filename": {"heartbeats": "/h,x", "volumes": "/v"}[name],
            "cache": {"direct": True, "no-flush": True},
            "locking": "off",
        }
        assert any(f"drive={name}," in word and word.endswith("share-rw=on") for word in words)
    assert disks["seed"]["read-only"] is True


def test_what_boots_is_told_to_the_initial_ramdisk() -> None:
    line = machine.argv("node2", 2, FILES, "sysvinit")
    assert "lab.init=/sbin/init lab.seed=abc" in line[line.index("-append") + 1]
    assert any("mac=52:54:00:e2:4a:02" in word for word in line)
    assert "-S" not in line
    assert machine.argv("node2", 2, FILES, "sysvinit", standing=True)[-1] == "-S"


def test_a_seed_is_the_same_for_the_same_files_and_all_roots() -> None:
    one = seed.Seed({"/etc/b": ("b", 0o600), "/etc/a": ("a", 0o644)}, {"/etc/l": "/etc/a"})
    other = seed.Seed({"/etc/a": ("a", 0o644), "/etc/b": ("b", 0o600)}, {"/etc/l": "/etc/a"})
    assert one.archive() == other.archive()
    assert seed.identify(one.archive()) != seed.identify(seed.Seed({"/etc/a": ("a", 0o644)}).archive())
    with tarfile.open(fileobj=io.BytesIO(one.archive())) as tar:
        found = {entry.name: (entry.mode, entry.uid, entry.linkname) for entry in tar}
    assert found == {"etc/a": (0o644, 0, ""), "etc/b": (0o600, 0, ""), "etc/l": (0o777, 0, "/etc/a")}


def _entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Name: mode and data, read as the kernel reads a newc archive."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        at = (at + 110 + fields[11] + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], archive[at : at + fields[6]])
        at = (at + fields[6] + 3) & ~3


def test_modules_come_after_those_that_they_need(tmp_path: Path) -> None:
    modules = tmp_path / "lib/modules/6.1"
    (modules / "kernel").mkdir(parents=True)
    for name in ("virtio", "virtio_pci", "virtio_blk", "crc32c_generic"):
        (modules / f"kernel/{name}.ko").write_text(name)
    (modules / "modules.dep").write_text(
        "kernel/virtio.ko:\nkernel/virtio_pci.ko: kernel/virtio.ko\n"
        "kernel/virtio_blk.ko: kernel/virtio.ko\nkernel/crc32c_generic.ko:\n"
    )
    (modules / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").write_text("busy")
    found = _entries(cpio.ramdisk(str(tmp_path), "6.1", b"#!"))
    order = found["modules/order"][1].decode().split()
    assert order == ["virtio.ko", "virtio_pci.ko", "virtio_blk.ko", "crc32c_generic.ko"]
    assert found["init"] == (0o100755, b"#!")
    assert found["bin/busybox"] == (0o100755, b"busy")


@contextmanager
def _server(path: Path, serve: Callable[[io.BufferedRWPair], None]) -> Iterator[None]:
    """Serves one client after the other."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def run() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # the test is over
                return
            with client, client.makefile("rwb") as stream:
                serve(stream)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _say(stream: io.BufferedRWPair, value: object, before: bytes = b"") -> None:
    stream.write(before + json.dumps(value).encode() + b"\n")
    stream.flush()


def _qemu(stream: io.BufferedRWPair) -> None:
    _say(stream, {"QMP": {}})
    for line in stream:
        command = json.loads(line)["execute"]
        if command == "stop":
            _say(stream, {"event": "STOP", "timestamp": {}})
        if command == "bad":
            _say(stream, {"error": {"class": "GenericError", "desc": "no such thing"}})
        else:
            _say(stream, {"return": {"command": command}})


def test_a_monitor_tells_answers_from_events(tmp_path: Path) -> None:
    with _server(tmp_path / "qmp", _qemu):
        monitor = Monitor(str(tmp_path / "qmp"), "node1", 5.0)
        assert monitor.execute("stop") == {"command": "stop"}
        assert [event.name for event in monitor.take_events()] == ["STOP"]
        assert monitor.take_events() == []
        with pytest.raises(LabError, match="the machine of node1 refuses bad: no such thing"):
            monitor.execute("bad")
        monitor.close()


def test_an_ended_machine_is_told(tmp_path: Path) -> None:
    def one_command(stream: io.BufferedRWPair) -> None:
        _say(stream, {"QMP": {}})
        stream.readline()
        _say(stream, {"return": {}})

    with _server(tmp_path / "qmp", one_command):
        monitor = Monitor(str(tmp_path / "qmp"), "node1", 5.0)
        with pytest.raises(LabError, match="tells nothing any more"):
            monitor.take_events(5.0)
        monitor.close()
    with pytest.raises(LabError, match="is it powered off"):
        Monitor(str(tmp_path / "qmp"), "node1", 1.0)


def test_what_is_left_of_anothers_answer_is_not_taken_for_ours(tmp_path: Path) -> None:
    def agent(stream: io.BufferedRWPair) -> None:
        stream.write(b'{"return": {"left": "over"}}\n')
        mark = json.loads(stream.readline().lstrip(b"\xff"))["arguments"]["id"]
        _say(stream, {"return": mark - 1}, b"\xff")
        _say(stream, {"return": mark}, b"\xff")
        command = json.loads(stream.readline())["execute"]
        answers = {
            "guest-exec": {"return": {"pid": 7}},
            "guest-exec-status": {"return": {"exited": True, "signal": 9, "out-data": "aGk="}},
        }
        _say(stream, answers[command])

    with _server(tmp_path / "agent", agent):
        done = Agent(str(tmp_path / "agent"), "node1").run(["x"], 5.0, None, {})
    assert (done.returncode, done.stdout, done.stderr) == (137, "hi", "")


def test_a_command_that_cannot_begin(tmp_path: Path) -> None:
    def agent(stream: io.BufferedRWPair) -> None:
        _say(stream, {"return": json.loads(stream.readline().lstrip(b"\xff"))["arguments"]["id"]}, b"\xff")
        stream.readline()
        _say(stream, {"error": {"desc": 'Failed to execute child process "x" (No such file or directory)'}})

    with _server(tmp_path / "agent", agent):
        assert Agent(str(tmp_path / "agent"), "node1").run(["x"], 5.0, None, {}).returncode == 127
    with pytest.raises(Silent, match="node1 cannot be entered"):
        Agent(str(tmp_path / "agent"), "node1").run(["x"], 5.0, None, {})


def test_a_copy_keeps_holes_and_the_file_that_is_open(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"here")
    target.write_bytes(b"x" * 1000)
    with target.open("rb") as held:
        snapshot.copy(str(source), str(target))
        held.seek(32 << 20)
        assert held.read(4) == b"here"
    assert target.stat().st_size == 64 << 20
    assert target.read_bytes()[:1000] == bytes(1000)
    assert target.stat().st_blocks * 512 < 1 << 20


def test_the_cache_keeps_the_newest_images(tmp_path: Path) -> None:
    for age in range(6):
        path = tmp_path / f"image-{age}"
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "making-dead").mkdir()
    (tmp_path / "lock").touch()
    image._tidy(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image-0", "image-1", "image-2", "lock"]


def test_a_labs_record_says_what_its_nodes_are(tmp_path: Path) -> None:
    assert type(open_lab(str(tmp_path))) is Lab
    assert isinstance(open_lab(str(tmp_path), MACHINES), MachineLab)
    save(str(tmp_path), LabState(id="x", boot=boot_id(), nodes=(), backend=MACHINES))
    assert isinstance(open_lab(str(tmp_path)), MachineLab)
    with pytest.raises(LabError, match="has another backend, vm"):
        open_lab(str(tmp_path), NAMESPACES)
    with pytest.raises(LabError, match="there is no backend 'xen'"):
        open_lab(str(tmp_path / "other"), "xen")
