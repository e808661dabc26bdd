"""The verbs of the lab do to machines what they say."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ha.lab.errors import LabError
from ha.lab.vm.machine import QEMU
from tests.vm.conftest import T
from tests.vm.machines import NODES, Machines, wait_for


def _boot_id(pair: Machines, node: str) -> str:
    try:
        return pair.run(node, "cat", "/proc/sys/kernel/random/boot_id").stdout
    except LabError:
        return ""


def _hears(pair: Machines, node: str, peer: str) -> bool:
    """One echo request, of busybox: it knows no name server."""
    return pair.run(node, "busybox", "ping", "-c", "1", "-W", "2", peer).returncode == 0


@pytest.mark.gate
def test_commands_pass_their_input_output_and_end(pair: Machines) -> None:
    done = pair.lab.exec("node1", ["sh", "-c", "cat; echo bad >&2; exit 3"], input="in\n", env={"LATE": "1"})
    assert (done.returncode, done.stdout, done.stderr) == (3, "in\n", "bad\n")
    assert pair.run("node1", "sh", "-c", "kill -9 $$").returncode == 137
    assert pair.run("node1", "no-such-command").returncode == 127
    assert pair.must("node2", "hostname").strip() == "node2"
    with pytest.raises(subprocess.TimeoutExpired):
        pair.run("node1", "sleep", "60", timeout=0.5)
    assert wait_for(lambda: pair.run("node1", "pgrep", "-x", "sleep").returncode == 1, 10, "it was killed")


@pytest.mark.gate
def test_cuts_and_their_healing(pair: Machines) -> None:
    assert _hears(pair, "node1", "192.168.100.12")
    pair.lab.cut("net", "node1")
    assert not _hears(pair, "node1", "192.168.100.12")
    pair.lab.cut("disk", "node2")
    read = ("dd", "if=/dev/vdb", "iflag=direct", "of=/dev/null", "count=1")
    assert "Input/output error" in pair.run("node2", *read).stderr
    assert pair.run("node1", *read).returncode == 0
    pair.lab.heal()
    assert pair.run("node2", *read).returncode == 0
    assert _hears(pair, "node1", "192.168.100.12")


def test_a_disk_that_hangs_goes_on_when_healed(pair: Machines) -> None:
    pair.lab.set_disk_fault("node2", "hang")
    agent = pair.lab.agent("node2")
    agent.start(["sh", "-c", "dd if=/dev/vdb iflag=direct of=/run/read count=1"])
    wait_for(lambda: pair.lab.disk_counters("node2")["waiting"] > 0, 10, "a request hangs")
    assert pair.run("node2", "test", "-s", "/run/read").returncode == 1
    pair.lab.heal()
    wait_for(lambda: pair.run("node2", "test", "-s", "/run/read").returncode == 0, 20, "it goes on")


@pytest.mark.gate
def test_a_pause_stops_everything(pair: Machines) -> None:
    before = len(pair.witness.seen("node1", "wrote"))
    pair.lab.pause("node1", 2.0)
    stop, resume = pair.witness.wait("node1", "STOP", 5), pair.witness.wait("node1", "RESUME", 5)
    assert 1.9 <= resume.at - stop.at < 4.0
    during = [each for each in pair.witness.seen("node1", "wrote") if stop.at + 0.1 < each.at < resume.at]
    assert during == []
    wait_for(lambda: len(pair.witness.seen("node1", "wrote")) > before, 10, "it goes on")


def test_power_and_reset(pair: Machines) -> None:
    first = {node: _boot_id(pair, node) for node in NODES}
    pair.shell("node1", "echo kept >/root/kept && sync")
    pair.lab.power_off("node1")
    pair.witness.wait("node1", "ENDED", 5)
    with pytest.raises(LabError, match="powered off"):
        pair.run("node1", "true")
    pair.lab.power_on("node1")
    pair.lab.reset("node2")
    pair.witness.wait("node2", "RESET", 5)
    for node in NODES:
        wait_for(lambda node=node: _boot_id(pair, node) not in ("", first[node]), 180, f"{node} has booted")
    assert pair.must("node1", "cat", "/root/kept") == "kept\n"


def _machines_of(folder: Path) -> list[int]:
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                words = (each / "cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if words.startswith(QEMU.encode()) and str(folder).encode() in words:
                found.append(int(each.name))
    return found


@pytest.mark.gate
def test_down_leaves_nothing_of_an_up_that_was_killed(machines: Machines, tmp_path: Path) -> None:
    """``machines`` only for the image, which they have made already."""
    folder = tmp_path / "lab"
    command = [sys.executable, "-m", "ha.cli.ezha", "lab"]
    package = Path(machines.lab.folder).parent / "ezha.deb"
    image = ["--package", str(package)] if package.exists() else []
    up = subprocess.Popen([*command, "up", "--backend", "vm", "--nodes", "1", "--dir", str(folder), *image])
    try:
        wait_for(lambda: _machines_of(folder), 120, "a machine runs", every=0.01)
    finally:
        up.kill()
        up.wait()
    assert _machines_of(folder) != []
    subprocess.run([*command, "down", "--dir", str(folder)], check=True)
    assert _machines_of(folder) == []
    assert not folder.exists()
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()


def test_the_files_of_a_lab_are_nobody_elses(pair: Machines) -> None:
    for path in Path(pair.lab.folder).rglob("*"):
        info = path.lstat()
        assert info.st_uid == os.geteuid()
    assert Path(pair.lab.folder).stat().st_mode & 0o077 == 0


def test_the_clock_of_a_test_is_that_of_its_snapshot(pair: Machines) -> None:
    """Why T is the same for every test: a machine that is put back has missed nothing."""
    begun = time.monotonic()
    for node in NODES:
        assert pair.up(node)
        assert pair.state("web", node) == ("STARTED" if node == "node1" else "STOPPED")
    assert time.monotonic() - begun < T
