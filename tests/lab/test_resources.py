"""The drivers of resources on real addresses, block devices, file systems and processes, in the network and mount
namespaces of two nodes. Each test leaves the nodes as it found them.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ha.lab import loop
from ha.lab.lab import Lab
from tests.lab import actor
from tests.lab.conftest import wait_for

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call of a driver came to."""

    error: str
    lines: list[str]
    activated: bool
    took: float
    state: str = ""
    notes: tuple[str, ...] = ()
    lost: bool = False
    """Whether a monitor would restart it."""
    result: Any = None
    kind: str = ""

    @property
    def log(self) -> str:
        return "\n".join(self.lines)


class Node:
    """A node, and the process in it that calls drivers."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.name = name
        argv = [sys.executable, str(actor.__file__)]
        pipe = subprocess.PIPE
        self._actor = lab.popen(name, argv, env={"PYTHONPATH": str(ROOT)}, stdin=pipe, stdout=pipe, text=True)

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._actor.stdin
        assert self._actor.stdout
        self._actor.stdin.write(json.dumps(order) + "\n")
        self._actor.stdin.flush()
        return dict(json.loads(self._actor.stdout.readline()))

    def end(self) -> None:
        self._actor.communicate(timeout=10)


class Nodes:
    """The lab's nodes."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._nodes: dict[str, Node] = {}

    def __getitem__(self, name: str) -> Node:
        if name not in self._nodes:
            self._nodes[name] = Node(self.lab, name)
        return self._nodes[name]

    def end(self) -> None:
        for node in self._nodes.values():
            node.end()


class Section:
    """One section of a service's file, on a node."""

    def __init__(self, nodes: Nodes, node: str, section: str, **keys: str) -> None:
        self.nodes = nodes
        self.node = node
        self._order = {"section": section, "keys": keys, "node": node}

    def call(self, action: str, **more: Any) -> Answer:
        answer = self.nodes[self.node].ask({**self._order, "action": action, **more})
        assert "traceback" not in answer, answer["traceback"]
        return Answer(**answer)

    def killed(self, death: str) -> None:
        """A start that is killed at a step; see ``actor``."""
        answer = self.nodes[self.node].ask({**self._order, "action": "start", "die": death})
        assert answer == {"signal": signal.SIGKILL}

    def ok(self, action: str, **more: Any) -> Answer:
        answer = self.call(action, **more)
        assert answer.error == "", answer
        return answer

    def on(self, node: str) -> "Section":
        return Section(self.nodes, node, str(self._order["section"]), **dict(self._order["keys"]))  # type: ignore[arg-type]

    @property
    def state(self) -> str:
        return self.ok("status").state


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    place = tempfile.mkdtemp(prefix="ezha-resources-test-")
    lab = Lab(f"{place}/lab")
    lab.up()
    nodes = Nodes(lab)
    try:
        yield nodes
    finally:
        nodes.end()
        lab.down()
        shutil.rmtree(place, ignore_errors=True)


def run(nodes: Nodes, node: str, *argv: str) -> str:
    done = nodes.lab.exec(node, argv)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


# -------------------------------------------------------------------------------------------------------- addresses


def addresses(nodes: Nodes, node: str) -> list[str]:
    """``address/prefix`` on eth0, in the kernel's order."""
    words = run(nodes, node, "ip", "-o", "addr", "show", "dev", "eth0").split()
    return [words[place + 1] for place, word in enumerate(words) if word in ("inet", "inet6")]


@pytest.fixture
def free(nodes: Nodes) -> Iterator[str]:
    """An IPv4 address of the lab's network that nobody has. Gone from both nodes afterwards."""
    base = addresses(nodes, "node1")[0].partition("/")[0].rpartition(".")[0]
    yield f"{base}.201"
    for node in ("node1", "node2"):
        for word in addresses(nodes, node):
            if word.startswith((f"{base}.2", "fd00::2")) and not word.startswith((f"{base}.2/", f"{base}.20/")):
                nodes.lab.exec(node, ["ip", "addr", "del", word, "dev", "eth0"])


def test_an_address_comes_and_goes(nodes: Nodes, free: str) -> None:
    ip = Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth0")
    assert ip.state == "down"
    assert ip.ok("abort_check").result == ""
    started = ip.ok("start")
    prefix = addresses(nodes, "node1")[0].partition("/")[2]
    assert f"{free}/{prefix}" in addresses(nodes, "node1"), "with the netmask of the device"
    assert started.activated
    assert ip.state == "up"
    again = ip.ok("start")
    assert not again.activated
    assert "already up" in again.log
    assert "gratuitous" not in again.log
    stopped = ip.ok("stop")
    assert "checking" in stopped.log
    assert "WARNING" not in stopped.log
    assert ip.state == "down"
    ip.ok("stop")


def test_an_address_that_a_neighbour_has_refuses_the_start(nodes: Nodes, free: str) -> None:
    run(nodes, "node2", "ip", "addr", "add", f"{free}/24", "dev", "eth0")
    answer = Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth0").ok("abort_check")
    mac = run(nodes, "node2", "cat", "/sys/class/net/eth0/address").strip()
    assert answer.result == f"{free} is in use by {mac}"
    assert f"INFO checking {free} availability" in answer.lines


def test_without_the_probe_both_nodes_have_the_address(nodes: Nodes, free: str) -> None:
    """The twin: ``start`` alone asks nobody, and the kernel does not mind."""
    run(nodes, "node2", "ip", "addr", "add", f"{free}/24", "dev", "eth0")
    Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth0").ok("start")
    assert f"{free}/24" in addresses(nodes, "node1")
    assert f"{free}/24" in addresses(nodes, "node2")


def test_of_two_that_probe_at_once_not_both_have_it(nodes: Nodes, free: str) -> None:
    """RFC 5227, section 2.1.1: a probe for the same address is an answer, too."""
    one = Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth0")
    assert one.state == one.on("node2").state == "down", "both are ready to go"
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda each: each.ok("abort_check").result, (one, one.on("node2"))))
    assert any("is in use by" in each for each in said), said


def test_where_there_is_no_arp_it_asks_by_icmp(nodes: Nodes, free: str) -> None:
    peer = addresses(nodes, "node2")[0].partition("/")[0]
    on_loopback = Section(nodes, "node1", "ip#0", ipname=peer, ipdev="lo", netmask="32")
    assert on_loopback.ok("abort_check").result == f"{peer} is in use by {peer}"
    assert Section(nodes, "node1", "ip#0", ipname=free, ipdev="lo").ok("abort_check").result == ""


def test_neighbours_learn_at_once_where_the_address_is_now(nodes: Nodes, free: str) -> None:
    one = Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth0")
    two = one.on("node2")
    one.ok("start")
    run(nodes, "client", "ping", "-c1", "-W2", free) if shutil.which("ping") else _touch(nodes, free)
    one.ok("stop")
    two.ok("start")
    mac = run(nodes, "node2", "cat", "/sys/class/net/eth0/address").strip()
    wait_for(lambda: mac in nodes.lab.exec("client", ["ip", "neigh", "show", free]).stdout, what="the client knows")
    two.ok("stop")


def _touch(nodes: Nodes, address: str) -> None:
    """Have the client look the address up."""
    code = f"import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('{address}', 9))"
    run(nodes, "client", sys.executable, "-c", code)
    wait_for(
        lambda: "lladdr" in nodes.lab.exec("client", ["ip", "neigh", "show", address]).stdout, what="it is looked up"
    )


def test_several_addresses_also_of_ipv6(nodes: Nodes, free: str) -> None:
    names = f"{free} {free[:-1]}2/32 fd00::201/64"
    ip = Section(nodes, "node1", "ip#0", ipname=names, ipdev="eth0")
    assert ip.ok("abort_check").result == ""
    started = ip.ok("start")
    assert "unsolicited neighbour advertisement of fd00::201" in started.log
    have = addresses(nodes, "node1")
    assert "fd00::201/64" in have
    assert f"{free[:-1]}2/32" in have
    assert ip.state == "up"
    taken = ip.on("node2").ok("abort_check").result
    assert taken.count("is in use by") == 3, taken
    run(nodes, "node1", "ip", "addr", "del", f"{free[:-1]}2/32", "dev", "eth0")
    half = ip.ok("status")
    assert (half.state, half.notes) == ("warn", (f"{free[:-1]}2 is missing",)) or half.notes == [
        f"{free[:-1]}2 is missing"
    ]
    ip.ok("stop")
    assert ip.state == "down"


def test_an_ipv6_duplicate_is_found_also_while_it_starts(nodes: Nodes, free: str) -> None:
    for name in ("accept_dad", "dad_transmits"):  # the lab's nodes do without, to be up sooner
        run(nodes, "node1", "sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/eth0/{name}")
    run(nodes, "node2", "ip", "addr", "add", "fd00::203/64", "dev", "eth0", "nodad")
    ip = Section(nodes, "node1", "ip#0", ipname="fd00::203/64", ipdev="eth0")
    assert "is in use by" in ip.ok("abort_check").result
    failed = ip.call("start")
    assert "is in use by another machine" in failed.error
    assert failed.activated
    ip.ok("stop")
    assert ip.state == "down"


def test_with_the_first_address_of_a_network_no_other_goes(nodes: Nodes, free: str) -> None:
    """Without ``promote_secondaries`` the kernel deletes every address of a network along with its first one."""
    run(nodes, "node1", "sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/eth0/promote_secondaries")
    run(nodes, "node1", "sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/all/promote_secondaries")
    one = Section(nodes, "node1", "ip#0", ipname="198.51.100.201/24", ipdev="eth0")
    two = Section(nodes, "node1", "ip#1", ipname="198.51.100.202/24", ipdev="eth0")
    one.ok("start")
    two.ok("start")
    one.ok("stop")
    assert "198.51.100.202/24" in addresses(nodes, "node1")
    assert "198.51.100.201/24" not in addresses(nodes, "node1")
    two.ok("stop")


def test_a_stop_needs_no_resolver(nodes: Nodes, free: str) -> None:
    """What the start has added is removed, whatever has become of the name."""
    hosts = Path(nodes.lab.files("node1")) / "etc/hosts"
    before = hosts.read_text()
    hosts.write_text(f"{before}{free} service.example\n")
    ip = Section(nodes, "node1", "ip#0", ipname="service.example", ipdev="eth0")
    try:
        ip.ok("start")
        assert ip.state == "up"
    finally:
        hosts.write_text(before)
    seen = ip.ok("status")
    assert seen.state == "up", "a resolver that is down takes no service down"
    assert "judged by what its start has added" in seen.notes[0]
    hosts.write_text(f"{before}{free[:-1]}3 service.example\n")
    try:
        assert f"{free} is here, which service.example no longer means" in ip.ok("status").notes
    finally:
        hosts.write_text(before)
    assert "does not resolve" in ip.ok("stop").log
    assert ip.ok("status").state == "warn", "of nothing that was started nothing is known"
    assert not any(word.startswith(f"{free}/") for word in addresses(nodes, "node1"))


def test_a_device_that_is_not_there_is_told(nodes: Nodes, free: str) -> None:
    ip = Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth7")
    assert ip.call("abort_check").error.startswith("there is no network device eth7; there are: eth0")
    assert ip.state == "down"
    ip.ok("stop")


# ------------------------------------------------------------------------------- block devices and file systems


@dataclass(frozen=True, slots=True)
class Disk:
    """An ext3 file system in a file that all nodes see, behind a loop device, to be mounted."""

    nodes: Nodes
    file: str
    dev: str
    point: str

    def loop(self, node: str = "node1") -> Section:
        return Section(self.nodes, node, "disk#0", type="loop", file=self.file, dev=self.dev)

    def fs(self, node: str = "node1", **more: str) -> Section:
        return Section(self.nodes, node, "fs#0", **{"type": "ext3", "dev": self.dev, "mnt": self.point, **more})

    def run(self, *argv: str) -> str:
        return run(self.nodes, "node1", *argv)


@pytest.fixture
def disk(nodes: Nodes) -> Iterator[Disk]:
    place = tempfile.mkdtemp(prefix="ezha-disk-test-")
    image = f"{place}/app.img"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext3", image], check=True)
    try:
        yield Disk(nodes, image, f"/dev/ezha/{os.path.basename(place)}", f"{place}/mnt")
    finally:
        for node in ("node1", "node2"):
            while nodes.lab.exec(node, ["umount", f"{place}/mnt"]).returncode == 0:
                pass
            nodes.lab.exec(node, ["rm", "-rf", "/dev/ezha"])
        info = os.stat(image)
        for name in loop.attached():
            if (backing := loop.backing_of(name)) is not None and backing[:2] == (info.st_dev, info.st_ino):
                loop.detach(name)
        shutil.rmtree(place)


def test_a_file_becomes_a_block_device_and_a_file_system(disk: Disk) -> None:
    device, fs = disk.loop(), disk.fs()
    assert (device.state, fs.state) == ("down", "down")
    device.ok("start")
    assert device.state == "up"
    assert "already behind /dev/loop" in device.ok("start").log
    started = fs.ok("start")
    for line in (
        f"create missing mountpoint {disk.point}",
        f"e2fsck -p {disk.dev}",
        f"mount -t ext3 {disk.dev} {disk.point}",
    ):
        assert f"INFO {line}" in started.lines
    assert fs.state == "up"
    again = fs.ok("start")
    assert again.lines == [f"INFO {disk.dev} is already mounted on {disk.point}"]
    assert not again.activated
    assert disk.run("ls", "-A", disk.point).split() == ["lost+found"], "a look leaves nothing behind"
    assert "still in use" in device.call("stop").error, "it is mounted"
    assert fs.ok("stop").lines == [f"INFO umount {disk.point}"]
    assert fs.ok("stop").lines == []
    device.ok("stop")
    device.ok("stop")
    assert (device.state, fs.state) == ("down", "down")


def test_a_file_that_is_used_elsewhere_is_not_attached_twice(disk: Disk) -> None:
    """Two devices over one file have two caches. All nodes of the lab are one machine in this."""
    disk.loop().ok("start")
    disk.fs().ok("start")
    other = disk.loop("node2")
    assert "is in use on this machine already, behind /dev/loop" in other.ok("abort_check").result
    assert "is in use on this machine already" in other.call("start").error
    # The twin: the kernel alone does not mind.
    second = run(disk.nodes, "node2", "losetup", "--find", "--show", disk.file).strip()
    run(disk.nodes, "node2", "losetup", "--detach", second)
    disk.fs().ok("stop")
    left_behind = other.ok("start")
    assert "was left behind" in left_behind.log
    other.ok("stop")


def test_a_device_that_is_mounted_elsewhere_is_not_mounted_again(disk: Disk) -> None:
    disk.loop().ok("start")
    elsewhere = f"{disk.point}-rescue"
    os.mkdir(elsewhere)
    disk.run("mount", disk.dev, elsewhere)
    try:
        held = f"{disk.dev} is in use on this machine: mounted on {elsewhere}"
        assert disk.fs().ok("abort_check").result == held
        assert disk.fs().call("start").error == held
        # Nor may the stop say that all is down: the other node would mount it next.
        assert disk.fs().call("stop").error == held
        # The twin: the kernel alone does not mind.
        disk.run("mkdir", "-p", disk.point)
        disk.run("mount", disk.dev, disk.point)
        disk.run("umount", disk.point)
    finally:
        disk.run("umount", elsewhere)
    disk.fs().ok("stop")


def test_users_of_a_busy_mount_are_ended(disk: Disk) -> None:
    """An open file, a working folder, and a process that does not heed SIGTERM."""
    disk.loop().ok("start")
    disk.fs().ok("start")
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    holding = f"{deaf}; f = open('{disk.point}/held', 'w'); signal.pause()"
    users = [
        disk.nodes.lab.popen("node1", [sys.executable, "-c", holding]),
        disk.nodes.lab.popen("node1", ["sh", "-c", f"cd {disk.point} && exec sleep 1000"]),
    ]
    bystander = disk.nodes.lab.popen("node1", ["sleep", "1000"])
    try:
        wait_for(lambda: os.path.exists(f"/proc/{users[0].pid}") and "held" in disk.run("ls", disk.point))
        wait_for(lambda: "/mnt" in disk.run("sh", "-c", "readlink /proc/[0-9]*/cwd || true"))
        stopped = disk.fs().ok("stop")
        assert stopped.log.count("SIGTERM to pid") == 2
        assert stopped.log.count("SIGKILL to pid") == 1
        assert f"sync -f {disk.point}" in stopped.log
        assert disk.fs().state == "down"
        assert sorted(user.wait(5) for user in users) == [137, 143]
        assert bystander.poll() is None
    finally:
        for process in (*users, bystander):
            process.kill()
            process.wait()
    disk.loop().ok("stop")


def test_whoever_called_is_not_ended_but_named(disk: Disk) -> None:
    """A shell whose working folder lies on the file system: ending it would end the stop, too."""
    disk.loop().ok("start")
    disk.fs().ok("start")
    refused = disk.fs().call("stop", cwd=disk.point)
    assert re.search(r"used by pid \d+ \(python\S*\), who called this", refused.error), refused
    assert "SIG" not in refused.log
    disk.fs().ok("stop")
    disk.loop().ok("stop")


def test_users_of_the_system_s_own_folders_are_never_ended(disk: Disk) -> None:
    boot = disk.fs(type="tmpfs", mnt="/boot")
    boot.ok("start")
    user = disk.nodes.lab.popen("node1", ["sh", "-c", "cd /boot && exec sleep 1000"])
    try:
        wait_for(lambda: "/boot" in disk.run("sh", "-c", "readlink /proc/[0-9]*/cwd || true"))
        refused = boot.call("stop")
        assert "the users of /boot are never ended" in refused.error
        assert "used by pid" in refused.error
        assert user.poll() is None
    finally:
        user.kill()
        user.wait()
    wait_for(lambda: boot.call("stop").error == "")


def test_a_copy_of_the_mount_in_another_namespace_is_no_clean_stop(disk: Disk) -> None:
    """systemd gives services mount namespaces of their own: what is mounted there still writes to the device."""
    disk.loop().ok("start")
    disk.fs().ok("start")
    keeper = disk.nodes.lab.popen("node1", ["unshare", "--mount", "--propagation", "private", "sleep", "1000"])
    try:
        wait_for(lambda: "sleep" in disk.run("sh", "-c", "cat /proc/[0-9]*/comm || true"))
        error = disk.fs().call("stop").error
        assert error.startswith(
            f"{disk.dev} is in use on this machine: mounted on {disk.point} in the mount namespace of pid"
        )
        assert disk.fs().state == "down", "the twin: the unmount alone says that all is done"
    finally:
        keeper.kill()
        keeper.wait()
    wait_for(lambda: disk.fs().call("stop").error == "")


def test_a_file_system_that_turned_read_only_or_full(disk: Disk) -> None:
    disk.loop().ok("start")
    disk.fs().ok("start")
    disk.run("sh", "-c", f"cat /dev/zero >{disk.point}/zeros 2>/dev/null || true")
    assert disk.fs().state == "up", "full, and up"
    disk.run("mount", "-o", "remount,ro", disk.point)
    seen = disk.fs().ok("status")
    assert (seen.notes, seen.lost) == (["mounted read-only"], True)
    assert disk.fs(mnt_opt="ro").state == "up", "where that was asked for"
    disk.fs().ok("stop")
    disk.loop().ok("stop")


def test_a_file_system_that_cannot_be_mended_is_not_mounted(disk: Disk) -> None:
    disk.loop().ok("start")
    with open(disk.file, "r+b") as image:
        image.seek(1024)
        image.write(b"\xff" * 3072)
    failed = disk.fs().call("start")
    assert failed.error.startswith("e2fsck exited 8")
    assert disk.fs().state == "down"
    disk.fs().ok("stop")
    disk.loop().ok("stop")


def test_a_mount_point_behind_a_link_or_with_files_in_it(disk: Disk) -> None:
    disk.loop().ok("start")
    os.makedirs(f"{disk.point}/real")
    os.symlink(f"{disk.point}/real", f"{disk.point}/link")
    assert "lies behind a symbolic link" in disk.fs(mnt=f"{disk.point}/link").call("start").error
    assert f"{disk.point} holds files, which cannot be seen" in disk.fs().ok("start").log
    disk.fs().ok("stop")
    disk.loop().ok("stop")


def test_a_bind_mount_and_a_tmpfs(disk: Disk) -> None:
    source = f"{disk.point}-source"
    os.makedirs(source)
    bind = disk.fs(type="bind", dev=source)
    memory = disk.fs(type="tmpfs", dev="tmpfs", mnt=f"{disk.point}-memory", mnt_opt="size=1m")
    for each, kind in ((bind, "bind"), (memory, "size=1m")):
        assert each.state == "down"
        assert kind in each.ok("start").log
        assert each.state == "up"
        assert not each.ok("start").activated
        each.ok("stop")
        assert each.state == "down"
    shutil.rmtree(source)
    assert "No such file" in bind.call("start").error


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_other_file_systems_on_a_disk(disk: Disk, kind: str) -> None:
    with open(disk.file, "r+b") as image:
        image.truncate(0)
        image.truncate(320 << 20)
    subprocess.run([f"mkfs.{kind}", "-q", "-f", disk.file], check=True)
    disk.loop().ok("start")
    fs = disk.fs(type=kind)
    fs.ok("start")
    assert fs.state == "up"
    assert not fs.ok("start").activated
    fs.ok("stop")
    assert fs.state == "down"
    disk.loop().ok("stop")


_HANGING = """\
import errno, os, stat, sys, threading
import mfusepy

class Hangs(mfusepy.Operations):
    use_ns = True

    def getattr(self, path, fh=None):
        if path != "/":
            self.hang()
            raise mfusepy.FuseOSError(errno.ENOENT)
        return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2, "st_uid": os.getuid(), "st_gid": os.getgid()}

    def create(self, path, mode, fi=None):
        self.hang()
        raise mfusepy.FuseOSError(errno.EIO)

    def hang(self):
        threading.Event().wait()

mfusepy.FUSE(Hangs(), sys.argv[1], foreground=True, nothreads=False)
"""


def test_a_mount_that_hangs_holds_up_nobody(disk: Disk) -> None:
    """Its look ends in time and says so, a stop ends in time, and no process that hangs keeps the caller's output."""
    hung = f"{disk.point}-hung"
    os.makedirs(hung)
    server = disk.nodes.lab.popen("node1", [sys.executable, "-c", _HANGING, hung])
    try:
        wait_for(lambda: f" {hung} fuse" in disk.run("cat", "/proc/mounts"))
        fs = disk.fs(type="bind", dev=hung, status_timeout="0.5", stop_timeout="3")
        fs.ok("start")
        began = time.monotonic()
        seen = fs.ok("status")
        assert (seen.state, seen.notes, seen.lost) == ("warn", ["hangs: no answer within 0.5 s"], False)
        assert time.monotonic() - began < 4
        assert fs.call("stop").took < 6
        plain = disk.nodes.lab.popen("node1", ["ls", f"{hung}/file"])
        with pytest.raises(subprocess.TimeoutExpired):  # the twin: whoever looks without a bound waits for ever
            plain.wait(0.5)
        plain.kill()
    finally:
        server.kill()
        server.wait()
        disk.nodes.lab.exec("node1", ["umount", "-l", hung])


# ------------------------------------------------------------------------------------------------------ applications


@pytest.fixture
def folder(nodes: Nodes) -> Iterator[Path]:
    """``svc1.d`` of node1, as the machine sees it. What a test has left running in the node is ended."""
    etc = Path(nodes.lab.files("node1")) / "etc/opensvc"
    (etc / "svc1.d").mkdir(parents=True, exist_ok=True)
    yield etc / "svc1.d"
    shutil.rmtree(etc / "svc1.d")
    nodes.lab.exec(
        "node1", ["sh", "-c", "pkill -KILL -f svc1-daemon; kill $(cat /run/svc1.pid); rm -rf /run/opensvc /run/svc1*"]
    )


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return f"/etc/opensvc/svc1.d/{path.name}"


_DAEMON = """\
case $1 in
start) echo starting; sleep "${DELAY:-0}"; sleep 1000 >/dev/null 2>&1 & echo $! >/run/svc1.pid ;;
stop) kill "$(cat /run/svc1.pid)" 2>/dev/null; rm -f /run/svc1.pid ;;
status) [ -e /run/svc1.pid ] && kill -0 "$(cat /run/svc1.pid)" 2>/dev/null ;;
esac"""


def test_launchers_are_called_in_order_and_told_what_to_do(nodes: Nodes, folder: Path) -> None:
    app = Section(nodes, "node1", "app")
    assert app.ok("status").notes == ["no checkup scripts"]
    path = script(folder / "weblauncher", _DAEMON)
    for link in ("S10weblauncher", "K90weblauncher", "C10weblauncher"):
        (folder / link).symlink_to("weblauncher")
    script(folder / "S05first", 'echo "$OPENSVC_SVCNAME $1" >>/run/svc1.first')
    assert app.state == "down"
    started = app.ok("start")
    spawned = [line for line in started.lines if "spawn" in line]
    base = os.path.dirname(path)
    assert spawned == [f"INFO spawn: {base}/S05first start", f"INFO spawn: {base}/S10weblauncher start"]
    assert re.search(
        r"INFO start done in 0:00:0\d\.\d+ - ret 0 - logs in /var/tmp/opensvc/svc_svc1_S10web", started.log
    )
    assert run(nodes, "node1", "cat", "/run/svc1.first") == "svc1 start\n"
    assert app.state == "up"
    assert run(nodes, "node1", "cat", "/var/tmp/opensvc/svc_svc1_S10weblauncher.log") == "starting\n"
    again = app.ok("start")
    assert (again.lines, again.activated) == (["INFO is already up"], False)
    assert app.ok("status", avail="down").state == "n/a", "its launchers may lie on what is down"
    (folder / "C20broken").symlink_to("/bin/false")
    assert app.state == "warn"
    app.ok("stop")
    assert app.state == "down"
    app.ok("stop")


def test_a_launcher_that_fails_fails_the_start_and_not_the_stop(nodes: Nodes, folder: Path) -> None:
    app = Section(nodes, "node1", "app")
    script(folder / "S10bad", "echo no such database >&2; exit 3")
    script(folder / "K10bad", "exit 4")
    failed = app.call("start")
    assert failed.error == "/etc/opensvc/svc1.d/S10bad exited 3: no such database"
    assert failed.activated
    assert "ERROR /etc/opensvc/svc1.d/K10bad exited 4" in app.ok("stop").lines
    (folder / "S10bad").chmod(0o644)
    assert app.call("start").error == "/etc/opensvc/svc1.d/S10bad cannot be run: make it executable, or remove it"
    script(folder / "S10bad", "sleep 1000 & sleep 1000")
    slow = Section(nodes, "node1", "app", start_timeout="0.6").call("start")
    assert "did not end in time" in slow.error
    listing = ("sh", "-c", "cat /proc/[0-9]*/comm || true")
    wait_for(lambda: "sleep" not in run(nodes, "node1", *listing).split(), what="what it started has ended, too")


def test_a_program_in_the_foreground(nodes: Nodes, folder: Path) -> None:
    """It goes on when svcmgr has ended, is found again, and is ended with all that it started, deaf or not."""
    body = "trap '' TERM; sh -c 'exec sleep 1000' & while :; do sleep 0.1; done"
    program = script(folder / "svc1-daemon", body)
    app = Section(nodes, "node1", "app#1", type="simple", start=f"{program} one 'two words'", stop_timeout="1")
    assert app.state == "down"
    started = app.ok("start")
    assert "INFO spawn: /etc/opensvc/svc1.d/svc1-daemon one two words" in started.lines
    assert app.state == "up"
    assert not app.ok("start").activated
    pid, _ = run(nodes, "node1", "cat", "/run/opensvc/svc1.app#1.session").split()
    run(nodes, "node1", "kill", "-KILL", pid)
    seen = app.ok("status")
    assert seen.state == "warn"
    assert "has ended, and left pid" in seen.notes[0]
    assert "left pid" in app.call("start").error, "nothing is started beside what is left"
    assert "SIGTERM to pid" in app.ok("stop").log
    assert app.state == "down"
    app.ok("start")
    stopped = app.ok("stop")
    assert "SIGKILL to pid" in stopped.log
    assert "svc1-daemon" not in run(nodes, "node1", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    ended = Section(nodes, "node1", "app#2", type="simple", start="/bin/false").call("start")
    assert ended.error.startswith("false ended at once")
    missing = Section(nodes, "node1", "app#2", type="simple", start="/bin/nothing").call("start")
    assert missing.error == "/bin/nothing: No such file or directory"


def test_a_program_that_leaves_a_daemon(nodes: Nodes, folder: Path) -> None:
    """``start`` returns when the check says up, ``stop`` when it says down."""
    path = script(folder / "svc1-daemon", _DAEMON)
    late = script(folder / "late", f"DELAY=0.4 {path} start >/dev/null 2>&1 &")
    commands = {name: f"{path} {word}" for name, word in (("stop", "stop"), ("check", "status"))}
    app = Section(nodes, "node1", "app#1", type="forking", start=late, **commands)
    assert app.state == "down"
    assert app.ok("start").took > 0.4
    assert app.state == "up"
    assert not app.ok("start").activated
    app.ok("stop")
    assert app.state == "down"
    app.ok("stop")
    never = Section(
        nodes,
        "node1",
        "app#1",
        type="forking",
        start="/bin/true",
        stop="/bin/true",
        check="/bin/false",
        start_timeout="0.3",
    )
    assert never.call("start").error == "does not come up: /bin/false exited 1"


def test_an_ocf_agent(nodes: Nodes, folder: Path) -> None:
    app = Section(nodes, "node1", "app#1", type="ocf:heartbeat:Dummy", fake="a b")
    assert app.state == "down"
    started = app.ok("start")
    assert "INFO spawn: /usr/lib/ocf/resource.d/heartbeat/Dummy start" in started.lines
    assert app.state == "up"
    assert not app.ok("start").activated
    app.ok("stop")
    assert app.state == "down"
    app.ok("stop")
    for keys, why in (
        ({"type": "ocf:heartbeat:Dummy", "fakke": "1"}, "ocf:heartbeat:Dummy has no parameter fakke; it has: fake, "),
        ({"type": "ocf:heartbeat:IPaddr2"}, "ocf:heartbeat:IPaddr2 needs the parameter ip"),
        ({"type": "ocf:heartbeat:nosuch"}, "there is no agent /usr/lib/ocf/resource.d/heartbeat/nosuch; on Debian: "),
    ):
        assert Section(nodes, "node1", "app#1", **keys).call("start").error.startswith(why)
    # An agent that cannot say how it is, in the words of the OCF's table.
    broken = Section(
        nodes, "node1", "app#1", type="ocf:heartbeat:Filesystem", device="/dev/x", directory="/x", fstype=""
    )
    assert broken.ok("status").state in ("warn", "down")


# --------------------------------------------------------------------------------------------------- killed half-way


def finished_or_undone(section: Section, *deaths: str) -> None:
    """However far a start came when it was killed: the next start ends up up, and the next stop ends down."""
    for death in deaths:
        section.killed(death)
        section.ok("start")
        assert section.state == "up", death
        section.ok("stop")
        assert section.state == "down", death
        section.killed(death)
        section.ok("stop")
        assert section.state == "down", death


def test_addresses_of_a_start_that_was_killed(nodes: Nodes, free: str) -> None:
    ip = Section(nodes, "node1", "ip#0", ipname=f"{free} {free[:-1]}2", ipdev="eth0")
    finished_or_undone(ip, f"ip addr add {free[:-1]}2", "gratuitous ARP")
    assert run(nodes, "node1", "sh", "-c", "ls /run/opensvc | grep -c addresses || true") == "0\n"
    ip.killed("gratuitous ARP")
    after = ip.ok("start")
    assert f"{free} is already up" in after.log
    assert f"gratuitous ARP of {free}" in after.log, "the neighbours were not told"
    assert "gratuitous" not in ip.ok("start").log
    ip.ok("stop")


def test_a_block_device_of_a_start_that_was_killed(disk: Disk) -> None:
    finished_or_undone(disk.loop(), "ln -s", "losetup --direct-io")
    assert not disk.run("losetup", "--associated", disk.file)


def test_a_file_system_of_a_start_that_was_killed(disk: Disk) -> None:
    disk.loop().ok("start")
    finished_or_undone(disk.fs(), "e2fsck", "mount -t")
    disk.loop().ok("stop")


def test_programs_of_a_start_that_was_killed(nodes: Nodes, folder: Path) -> None:
    path = script(folder / "svc1-daemon", "while :; do sleep 0.1; done")
    finished_or_undone(Section(nodes, "node1", "app#1", type="simple", start=path), "logs in")
    finished_or_undone(Section(nodes, "node1", "app#1", type="ocf:heartbeat:Dummy"), "Dummy start")
    script(folder / "weblauncher", _DAEMON)
    for link in ("S10weblauncher", "K90weblauncher", "C10weblauncher"):
        (folder / link).symlink_to("weblauncher")
    finished_or_undone(Section(nodes, "node1", "app"), "S10weblauncher start")


# ---------------------------------------------------------------------------------------------------- a whole service

_SVCMGR = "import sys; sys.argv[0] = 'svcmgr'; from ha.cli.svcmgr import main; sys.exit(main())"


def svcmgr(nodes: Nodes, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-c", _SVCMGR, "-s", "svc1", *words]
    return nodes.lab.exec("node1", argv, env={"PYTHONPATH": str(ROOT)})


def test_a_service_whose_application_fails_is_rolled_back_from_top_to_bottom(
    nodes: Nodes, free: str, disk: Disk, folder: Path
) -> None:
    """Exit code 1, and nothing is left; 2, where something is. Whatever it was, the next stop ends it."""
    section = f"[fs#0]\ntype = ext3\ndev = {disk.dev}\nmnt = {disk.point}\n"
    (folder.parent / "svc1.env").write_text(
        f"[DEFAULT]\nnodes = node1 node2\n[ip#0]\nipname = {free}\nipdev = eth0\n"
        f"[disk#0]\ntype = loop\nfile = {disk.file}\ndev = {disk.dev}\n{section}"
    )
    try:
        script(folder / "S10bad", "exit 1")
        script(folder / "C10bad", "exit 1")
        failed = svcmgr(nodes, "start")
        assert failed.returncode == 1, failed.stdout
        assert "trying to rollback start on ip#0, disk#0, fs#0, app" in failed.stdout
        assert svcmgr(nodes, "status").returncode == 3
        assert f"{free}/24" not in addresses(nodes, "node1")
        assert not disk.run("losetup", "--associated", disk.file)

        script(folder / "S10bad", f"mkdir -p {disk.point}/below && mount -t tmpfs tmpfs {disk.point}/below; exit 1")
        unclean = svcmgr(nodes, "start")
        assert unclean.returncode == 2, unclean.stdout
        assert f"{disk.point}/below is mounted below it" in unclean.stdout
        assert svcmgr(nodes, "status").returncode not in (0, 3), "neither up nor down"

        disk.run("umount", f"{disk.point}/below")
        assert svcmgr(nodes, "stop").returncode == 0
        assert svcmgr(nodes, "status").returncode == 3
    finally:
        nodes.lab.exec("node1", ["umount", f"{disk.point}/below"])
        (folder.parent / "svc1.env").unlink()
