"""The lab itself: its nodes are machines of their own, its faults are real ones, and it leaves nothing behind."""

import errno
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from ha.lab import loop, process, state
from ha.lab.errors import LabError
from ha.lab.lab import Lab
from ha.lab.plan import DISK
from ha.lab.process import ProcessId
from ha.lab.spawn import helper_argv, import_path
from tests.lab.conftest import NewLab, wait_for

PYTHON = sys.executable

_RECEIVE = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("239.131.50.10", 1234))
mreq = struct.pack("4s4si", socket.inet_aton("239.131.50.10"), b"\\0" * 4, socket.if_nametoindex("eth0"))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
print("ready", flush=True)
while True:
    print(s.recv(100).decode(), flush=True)
"""
_SEND = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mreq = struct.pack("4s4si", b"\\0" * 4, b"\\0" * 4, socket.if_nametoindex("eth0"))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, mreq)
for line in sys.stdin:
    s.sendto(line.strip().encode(), ("239.131.50.10", 1234))
    print("sent", flush=True)
"""
_DISK = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
view = memoryview(page)[:1024]
print("ready", flush=True)
for line in sys.stdin:
    verb, _, value = line.strip().partition(" ")
    try:
        if verb == "write":
            view[:] = value.encode().ljust(1024, b".")
            os.pwritev(fd, [view], 4096)
            print("ok", flush=True)
        else:
            view[:] = b"?" * 1024
            os.preadv(fd, [view], 4096)
            whole = bytes(view)
            print(whole[:512].strip(b".\\0").decode() + ("" if whole[512:].strip(b".") == b"" else " torn"), flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


class Talker:
    """A program in a node that answers each line with a line."""

    def __init__(self, lab: Lab, node: str, code: str, *args: str, greets: bool = True) -> None:
        self.child = lab.popen(
            node, [PYTHON, "-I", "-u", "-c", code, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._rest = b""
        if greets:
            assert self.hear() == "ready"

    def say(self, line: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(line.encode() + b"\n")

    def hear(self, timeout: float = 10.0) -> str | None:
        """None when nothing came."""
        assert self.child.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            if not select.select([self.child.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            part = os.read(self.child.stdout.fileno(), 65536)
            if not part:
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def ask(self, line: str, timeout: float = 10.0) -> str | None:
        self.say(line)
        return self.hear(timeout)

    def end(self) -> None:
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def talker(request: pytest.FixtureRequest) -> Any:
    def make(lab: Lab, node: str, code: str, *args: str, greets: bool = True) -> Talker:
        made = Talker(lab, node, code, *args, greets=greets)
        request.addfinalizer(made.end)
        return made

    return make


def cli(*argv: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([PYTHON, "-m", "ha.cli.lab", *argv], capture_output=True, text=True, timeout=60, **options)


def recorded(lab: Lab) -> list[ProcessId]:
    known = state.load(lab.folder)
    assert known is not None
    found = [node.init for node in known.nodes if node.init] + [each for node in known.nodes for each in node.disk]
    return [*found, *known.helpers]


def remains(lab: Lab) -> list[str]:
    return traces(lab.folder)


def traces(folder: str) -> list[str]:
    """What of a lab can be found on the machine: its processes, mounts, loop devices and files."""
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if folder in line]
    for name in loop.attached():
        try:
            if loop.backing_of(name) and folder in Path(f"/sys/block/{name[5:]}/loop/backing_file").read_text():
                found.append(name)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # it has just been detached
                raise
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            mounted = Path(f"/proc/{entry}/mountinfo").read_text()
            command = Path(f"/proc/{entry}/cmdline").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        # A node's mounts show the lab's folder as their root; a lab's helper has it in its arguments.
        if folder in mounted or folder in command:
            found.append(f"process {entry}: {command!r}")
    if os.path.lexists(folder):
        found.append(folder)
    return found


def gone(lab: Lab) -> None:
    wait_for(lambda: not remains(lab), 3.0, what=f"nothing left, there is {remains(lab)}")


# ---- a node is a machine of its own


def test_a_node_has_its_own_name_files_network_and_processes(bare_lab: Lab) -> None:
    out = bare_lab.exec(
        "node1", ["sh", "-c", "hostname; cat /etc/hostname; ls -A /run /etc/opensvc; echo own > /etc/own"]
    )
    assert out.stdout.splitlines()[:2] == ["node1", "node1"]
    assert not os.path.exists("/etc/own")
    assert bare_lab.exec("node2", ["test", "-e", "/etc/own"]).returncode == 1
    addresses = bare_lab.exec("node2", ["ip", "-br", "address", "show", "eth0"]).stdout
    assert "192.168.100.12/24" in addresses and "fd00:e24a::12/64" in addresses and "fe80::" in addresses
    assert bare_lab.exec("node1", ["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).stdout.strip() in ("3", "4", "5")
    assert bare_lab.exec("node1", ["readlink", "/proc/1/exe"]).stdout.strip() == os.path.realpath(PYTHON)
    for folder in ("cluster", "etc", "var-lib", "var-log", "var-tmp", "root"):
        assert os.path.isdir(f"{bare_lab.files('node1')}/{folder}")


def test_the_prefix_holds_the_tutorials_configuration(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.up(nodes=3, timeout_s=0.33)
    expected = "".join(
        f"node{n} net eth0 239.131.50.10 {port} 0.33\nnode{n} dio {DISK} {offset} 0.33\n"
        for n, port, offset in ((1, 1234, 0), (2, 4321, 2), (3, 1235, 4))
    )
    for node in ("node1", "node2", "node3"):
        assert lab.exec(node, ["cat", "/usr/local/cluster/conf/monitor"]).stdout == expected
        assert lab.exec(node, ["cat", "/usr/local/cluster/conf/nodes"]).stdout == "node1\nnode2\nnode3\n"


def test_the_installation_is_laid_out_and_its_commands_are_on_the_path(lab: Lab) -> None:
    out = lab.exec("node1", ["sh", "-c", 'ls $EZ; echo "$EZ_BIN $HOME"; command -v service'])
    assert out.stdout.split() == [
        *("bin", "conf", "doc", "env.sh", "ezha.init", "log", "services"),
        *("/usr/local/cluster/bin", "/root", "/usr/local/cluster/bin/service"),
    ]


def test_the_rest_of_the_machine_is_visible_and_the_machine_is_not_changed(bare_lab: Lab) -> None:
    before = sorted(os.listdir("/usr/local"))
    seen = bare_lab.exec("node1", ["ls", "-A", "/usr/local"]).stdout.split()
    assert sorted({*before, "cluster"}) == sorted(seen)
    assert bare_lab.exec("node1", [PYTHON, "-c", "import ha.lab.lab"]).returncode == 0
    assert sorted(os.listdir("/usr/local")) == before


def test_a_node_cannot_change_the_machines_kernel_settings(bare_lab: Lab) -> None:
    out = bare_lab.exec("node1", ["sh", "-c", "echo 1 > /proc/sys/kernel/panic"])
    assert out.returncode != 0 and "Read-only" in out.stderr
    assert bare_lab.exec("node1", ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).returncode == 0


def test_zombies_are_reaped(bare_lab: Lab) -> None:
    bare_lab.exec("node1", ["sh", "-c", "for i in 1 2 3 4 5; do (sh -c 'sleep 0.01' &) ; done"])
    count = ["sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"]
    wait_for(lambda: bare_lab.exec("node1", count).stdout.strip() == "0")


def test_what_is_logged_on_a_node_is_in_its_syslog_only(bare_lab: Lab) -> None:
    send = "import syslog as s; s.openlog('probe', s.LOG_PID, s.LOG_LOCAL3); s.syslog(s.LOG_ERR, 'a b')"
    assert bare_lab.exec("node1", [PYTHON, "-c", send]).returncode == 0
    text = wait_for(lambda: bare_lab.exec("node1", ["cat", "/var/log/syslog"]).stdout)
    assert " node1 local3.err probe[" in text and text.endswith("]: a b\n")
    assert bare_lab.exec("node2", ["cat", "/var/log/syslog"]).stdout == ""


@pytest.mark.parametrize("place", ["/var/tmp", "/var/lib", "/root", "/run"])
def test_a_lab_may_lie_below_a_folder_that_its_nodes_have_for_themselves(new_lab: NewLab, place: str) -> None:
    lab = new_lab(tempfile.mkdtemp(prefix="ezha-lab-test-", dir=place))
    lab.up(nodes=1)
    assert lab.exec("node1", ["sh", "-c", f"echo x > {place}/mine && {PYTHON} -c 'import ha.lab'"]).returncode == 0
    assert not os.path.exists(f"{place}/mine")
    lab.power_off("node1")
    lab.power_on("node1")
    kept = lab.exec("node1", ["cat", f"{place}/mine"])
    assert kept.returncode == (1 if place == "/run" else 0)


# ---- running commands


def test_exec_passes_input_output_and_exit_code(bare_lab: Lab) -> None:
    done = bare_lab.exec("node1", ["sh", "-c", "cat; echo problem >&2; exit 7"], input="typed")
    assert (done.stdout, done.stderr, done.returncode) == ("typed", "problem\n", 7)
    assert bare_lab.exec("node1", ["sh", "-c", "kill -TERM $$"]).returncode == 128 + signal.SIGTERM
    assert bare_lab.exec("node1", ["/no/such"]).returncode == 127
    assert bare_lab.exec("node1", ["/etc/hosts"]).returncode == 126
    assert "leak" not in bare_lab.exec("node1", ["env"]).stdout


def test_exec_does_not_wait_for_a_daemon_that_keeps_its_output(bare_lab: Lab) -> None:
    began = time.monotonic()
    assert bare_lab.exec("node1", ["sh", "-c", "sleep 100 & echo started"]).stdout == "started\n"
    assert time.monotonic() - began < 5


def test_the_command_line_passes_everything_through(bare_lab: Lab) -> None:
    done = cli(
        "exec", "--dir", bare_lab.folder, "node1", "--", "sh", "-c", 'cat; hostname; exit "$1"', "x", "9", input="in "
    )
    assert (done.stdout, done.stderr, done.returncode) == ("in node1\n", "", 9)


def test_exec_on_a_terminal_gives_a_terminal_of_the_node(bare_lab: Lab) -> None:
    outer, inner = pty.openpty()
    child = subprocess.Popen(
        [PYTHON, "-m", "ha.cli.lab", "exec", "--dir", bare_lab.folder, "node1"],
        stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    try:
        shown = b""
        os.write(outer, b"tty; sleep 1000\n")
        deadline = time.monotonic() + 10
        while b"/dev/pts/0" not in shown and time.monotonic() < deadline:
            if select.select([outer], [], [], 0.1)[0]:
                shown += os.read(outer, 4096)
        assert b"/dev/pts/0" in shown, shown
        time.sleep(0.2)
        os.write(outer, b"\x03")  # Ctrl-C ends the sleep, not the shell and not us
        os.write(outer, b"exit 5\n")
        assert child.wait(10) == 5
    finally:
        child.kill()
        child.wait()
        os.close(outer)


def test_killing_what_waits_for_a_command_kills_the_command(bare_lab: Lab) -> None:
    child = bare_lab.popen("node1", ["sleep", "4711"])
    running = ["sh", "-c", "ps -eo args | grep -c '^sleep 4711'"]
    wait_for(lambda: bare_lab.exec("node1", running).stdout.strip() == "1")
    child.kill()
    child.wait()
    wait_for(lambda: bare_lab.exec("node1", running).stdout.strip() == "0")


@pytest.mark.parametrize(
    ("argv", "code", "line"),
    [
        (("exec", "node9", "--", "true"), 125, "unknown node 'node9'; this lab has client, node1, node2"),
        (("cut", "net", "client"), 1, "client is the switch: cut the nodes instead"),
        (("power-off", "client"), 1, "client is the switch: end it with `ezha lab down`"),
        (("power-on", "node1"), 1, "node1 is powered on already"),
        (("pause", "node1", "-1"), 1, "a pause of -1 s is out of range, 0 to 86400 s"),
        (("cut", "disk", "node1", "--how", "melt"), 1, "'melt' is not a fault of the disk; known are ok, eio,"),
        (("cut", "net", "--how", "hang"), 1, "--how is for `cut disk` without --one-way"),
        (("up",), 1, "there is a lab in "),
    ],
)
def test_misuse_gets_one_clear_line(bare_lab: Lab, argv: tuple[str, ...], code: int, line: str) -> None:
    done = cli(argv[0], "--dir", bare_lab.folder, *argv[1:])
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"ezha lab: {line}")


def test_up_refuses_a_folder_with_other_things_in_it_or_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    done = cli("up", "--dir", str(tmp_path))
    assert done.returncode == 1 and "there is precious in it" in done.stderr
    assert cli("down", "--dir", str(tmp_path)).returncode == 0
    assert (tmp_path / "precious").exists()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    done = cli("up", "--dir", str(tmp_path / "shared"))
    assert done.returncode == 1 and "nobody else can write" in done.stderr


# ---- the network


def test_multicast_reaches_the_other_node_until_the_network_is_cut(bare_lab: Lab, talker: Any) -> None:
    hears, sends = talker(bare_lab, "node2", _RECEIVE), talker(bare_lab, "node1", _SEND, greets=False)
    for number in range(50):
        assert sends.ask(f"m{number}") == "sent"
        assert hears.hear() == f"m{number}"
    for victim in ("node1", "node2", None):
        bare_lab.cut("net", victim)
        assert sends.ask("lost") == "sent"
        assert hears.hear(0.2) is None
        bare_lab.heal()
        assert sends.ask("back") == "sent"
        assert hears.hear() == "back"


def test_one_way_a_node_is_not_heard_and_hears(bare_lab: Lab, talker: Any) -> None:
    one, two = talker(bare_lab, "node1", _RECEIVE), talker(bare_lab, "node2", _RECEIVE)
    from1, from2 = (talker(bare_lab, node, _SEND, greets=False) for node in ("node1", "node2"))
    bare_lab.cut("net", "node1", one_way=True)
    from1.ask("from node1")
    from2.ask("from node2")
    heard = [one.hear(), one.hear(0.2)]
    assert "from node2" in heard
    assert two.hear() == "from node2"  # its own
    assert two.hear(0.2) is None
    assert [node.net for node in bare_lab.report()] == ["ok", "mute", "ok"]


def test_the_client_can_talk_to_the_nodes_and_is_cut_from_them_too(bare_lab: Lab) -> None:
    serve = "import http.server as h; h.HTTPServer(('', 80), h.BaseHTTPRequestHandler).serve_forever()"
    web = bare_lab.popen("node1", [PYTHON, "-c", serve], stderr=subprocess.DEVNULL)
    connect = [PYTHON, "-c", "import socket; socket.create_connection(('node1', 80), 0.5); print('up')"]
    try:
        wait_for(lambda: bare_lab.exec("client", connect).stdout == "up\n")
        assert (
            bare_lab.exec("client", [PYTHON, "-c", connect[2].replace("node1", "node1-6")]).returncode == 1
        )  # IPv4 only
        bare_lab.cut("net", "node1")
        assert bare_lab.exec("client", connect).stdout == ""
    finally:
        web.kill()
        web.wait()


def test_the_machines_own_network_is_untouched(new_lab: NewLab) -> None:
    def links() -> list[str]:
        return subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout.splitlines()

    before = links()
    lab = new_lab()
    lab.up()
    assert links() == before


# ---- the shared disk


def test_a_read_on_one_node_sees_every_write_of_the_other_at_once(bare_lab: Lab, talker: Any) -> None:
    writer, reader = (talker(bare_lab, node, _DISK, DISK) for node in ("node1", "node2"))
    stale = 0
    for number in range(1000):
        assert writer.ask(f"write {number}") == "ok"
        stale += reader.ask("read") != str(number)
    assert stale == 0


def test_each_fault_is_what_it_says(bare_lab: Lab, talker: Any) -> None:
    mine, other = (talker(bare_lab, node, _DISK, DISK) for node in ("node1", "node2"))
    error = "Input/output error"

    def look(fault: str, write: str) -> tuple[str | None, str | None, str | None]:
        """With the fault on node1: what its write and its read say, and what is on the disk then."""
        assert other.ask("write before") == "ok"
        bare_lab.set_disk_fault("node1", fault)
        return mine.ask(f"write {write}", 0.3), mine.ask("read", 0.3), other.ask("read")

    assert look("eio", "a") == (error, error, "before")
    assert look("eio-write", "b") == (error, "before", "before")
    assert look("eio-read", "c") == ("ok", error, "c")
    assert look("lost", "d") == ("ok", "before", "before")
    torn = look("torn", "e" * 600)
    assert torn[0] == "ok" and torn[2] == "e" * 512  # the second half is what was there before
    bare_lab.heal()
    assert look("ok", "f") == ("ok", "f", "f")
    began = time.monotonic()
    bare_lab.set_disk_fault("node1", "delay=0.15")
    assert mine.ask("write g") == "ok"
    assert 0.15 <= time.monotonic() - began < 1.0


@pytest.mark.parametrize(("fault", "read", "write"), [("hang", 0, 0), ("hang-read", 0, 1), ("hang-write", 1, 0)])
def test_a_hung_disk_answers_when_it_is_healed(bare_lab: Lab, talker: Any, fault: str, read: int, write: int) -> None:
    reads, writes, other = (talker(bare_lab, node, _DISK, DISK) for node in ("node1", "node1", "node2"))
    assert other.ask("write before") == "ok"
    bare_lab.cut("disk", "node1", how=fault)
    assert (reads.ask("read", 0.3) == "before") is bool(read)
    assert (writes.ask("write after", 0.3) == "ok") is bool(write)
    assert bare_lab.disk_counters("node1")["waiting"] == 2 - read - write
    assert other.ask("read") == ("after" if write else "before")
    bare_lab.heal()
    if not read:
        assert reads.hear() in ("before", "after")
    if not write:
        assert writes.hear() == "ok"
    assert other.ask("read") == "after"


def test_many_reads_that_hang_do_not_hold_up_a_write(bare_lab: Lab, talker: Any) -> None:
    bare_lab.cut("disk", "node1", how="hang-read")
    for _ in range(20):  # a cluster of many nodes and services has so many readers, and a person's commands come on top
        talker(bare_lab, "node1", _DISK, DISK).say("read")
    wait_for(lambda: bare_lab.disk_counters("node1")["waiting"] == 20)
    assert talker(bare_lab, "node1", _DISK, DISK).ask("write w") == "ok"


def test_one_way_and_without_a_node_the_disk_is_cut_as_asked(bare_lab: Lab, talker: Any) -> None:
    one, two = (talker(bare_lab, node, _DISK, DISK) for node in ("node1", "node2"))
    assert one.ask("write x") == "ok"
    bare_lab.cut("disk", "node1", one_way=True)
    assert (one.ask("write y"), one.ask("read"), two.ask("write z")) == ("Input/output error", "x", "ok")
    bare_lab.cut("disk")
    assert (one.ask("read"), two.ask("read")) == ("Input/output error",) * 2
    bare_lab.heal()
    assert (one.ask("read"), two.ask("read")) == ("z", "z")


def test_a_cut_disk_is_still_cut_after_a_power_cycle(bare_lab: Lab, talker: Any) -> None:
    bare_lab.cut("disk", "node1")
    bare_lab.power_off("node1")
    bare_lab.power_on("node1")
    assert talker(bare_lab, "node1", _DISK, DISK).ask("read") == "Input/output error"


def test_the_disk_is_a_block_device_with_sectors_of_512_bytes(bare_lab: Lab) -> None:
    assert bare_lab.exec("node1", ["stat", "-c", "%F", DISK]).stdout == "block special file\n"
    assert bare_lab.exec("node1", ["blockdev", "--getss", "--getsize64", DISK]).stdout.split() == ["512", str(16 << 20)]


# ---- power and pause


def test_power_off_kills_everything_at_once_and_the_files_stay(bare_lab: Lab) -> None:
    first = recorded(bare_lab)[1]
    sleeper = bare_lab.popen("node1", ["sleep", "1000"])
    wait_for(lambda: "sleep" in bare_lab.exec("node1", ["ps", "-eo", "comm"]).stdout)
    bare_lab.exec("node1", ["sh", "-c", "echo kept > /var/lib/kept; echo gone > /run/gone"])
    bare_lab.power_off("node1")
    assert sleeper.wait(5) == 128 + signal.SIGKILL
    with pytest.raises(LabError, match="node1 is powered off"):
        bare_lab.exec("node1", ["true"])
    with pytest.raises(LabError, match="node1 is powered off"):
        bare_lab.power_off("node1")
    assert bare_lab.exec("client", ["ip", "link", "show", "node1"]).returncode == 1
    bare_lab.power_on("node1")
    assert bare_lab.exec("node1", ["cat", "/var/lib/kept"]).stdout == "kept\n"
    assert bare_lab.exec("node1", ["test", "-e", "/run/gone"]).returncode == 1
    assert recorded(bare_lab)[1] != first


def test_a_reset_boots_anew_and_the_files_stay(bare_lab: Lab) -> None:
    before = next(report.pid for report in bare_lab.report() if report.name == "node1")
    bare_lab.exec("node1", ["sh", "-c", "touch /root/kept /run/lost"])
    bare_lab.reset("node1")
    assert next(report.pid for report in bare_lab.report() if report.name == "node1") not in (None, before)
    assert bare_lab.exec("node1", ["sh", "-c", "ls /root/kept; ls /run/lost"]).stdout == "/root/kept\n"


def test_power_off_works_while_the_disk_hangs(bare_lab: Lab, talker: Any) -> None:
    reader = talker(bare_lab, "node1", _DISK, DISK)
    bare_lab.cut("disk", "node1", how="hang")
    assert reader.ask("read", 0.2) is None
    began = time.monotonic()
    bare_lab.power_off("node1")
    assert time.monotonic() - began < 3
    bare_lab.heal()
    bare_lab.power_on("node1")
    assert talker(bare_lab, "node1", _DISK, DISK).ask("write again") == "ok"


def test_a_boot_runs_the_start_links_in_order(bare_lab: Lab) -> None:
    script = "#!/bin/sh\necho $(basename $0) $1 >> /root/boots\n"
    folder = Path(bare_lab.files("node1")) / "etc/rc.d/rc3.d"
    for name in ("S20second", "S10first", "K30not"):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    (folder / "S15broken").symlink_to("/nowhere")
    bare_lab.power_off("node1")
    bare_lab.power_on("node1")
    boots = Path(bare_lab.files("node1")) / "root/boots"
    wait_for(lambda: boots.exists() and boots.read_text() == "S10first start\nS20second start\n")
    log = bare_lab.exec("node1", ["cat", "/var/log/syslog"]).stdout
    assert "daemon.err rc: /etc/rc.d/rc3.d/S15broken start: No such file or directory" in log


def test_a_node_that_reboots_itself_takes_nothing_along_and_can_be_powered_on(bare_lab: Lab) -> None:
    reboot = "import ctypes; ctypes.CDLL(None).reboot(0x01234567)"
    bare_lab.exec("node1", [PYTHON, "-c", reboot])
    wait_for(lambda: bare_lab.report()[1].power == "ended")
    bare_lab.power_on("node1")
    bare_lab.exec("node1", ["sh", "-c", "echo b > /dev/.sysrq"])  # what /proc/sysrq-trigger is in a node
    wait_for(lambda: bare_lab.report()[1].power == "ended")
    bare_lab.power_on("node1")
    assert bare_lab.exec("node1", ["hostname"]).stdout == "node1\n"
    assert bare_lab.report()[2].power == "on"


_TICK = """
import time
last = time.monotonic(); print("ready", flush=True)
while True:
    time.sleep(0.005); now = time.monotonic()
    if now - last > 0.3: print(round(now - last, 3), flush=True)
    last = now
"""


def test_a_pause_stops_the_whole_node_and_nothing_else(bare_lab: Lab, talker: Any) -> None:
    paused, other = talker(bare_lab, "node1", _TICK), talker(bare_lab, "node2", _TICK)
    bare_lab.pause("node1", 0.5)
    gap = paused.hear()
    assert gap is not None and 0.45 < float(gap) < 1.5
    assert other.hear(0.1) is None


def test_a_process_stopped_before_a_pause_is_stopped_after_it(bare_lab: Lab) -> None:
    asleep = bare_lab.popen("node1", ["sh", "-c", "kill -STOP $$; exit 3"])
    stopped = ["sh", "-c", "grep -l '^State:.T' /proc/[0-9]*/status | wc -l"]
    wait_for(lambda: bare_lab.exec("node1", stopped).stdout.strip() == "1")
    bare_lab.pause("node1", 0.05)
    assert bare_lab.exec("node1", stopped).stdout.strip() == "1"
    bare_lab.exec("node1", ["sh", "-c", "kill -CONT -1"])
    asleep.kill()
    asleep.wait()


def test_a_pause_need_not_be_waited_for_and_heal_ends_it(bare_lab: Lab) -> None:
    bare_lab.pause("node1", 0.3, wait=False)
    assert bare_lab.report()[1].power == "paused"
    with pytest.raises(LabError, match="paused already"):
        bare_lab.pause("node1", 1)
    wait_for(lambda: bare_lab.report()[1].power == "on")
    bare_lab.pause("node1", 1000, wait=False)
    bare_lab.heal()
    assert bare_lab.report()[1].power == "on"
    assert bare_lab.exec("node1", ["hostname"], timeout=5).stdout == "node1\n"


# ---- nothing is left behind


def test_down_leaves_nothing_and_can_be_repeated(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.up()
    lab.popen("node1", ["sleep", "1000"])
    lab.pause("node2", 1000, wait=False)
    processes = recorded(lab)
    assert len(processes) == 8 and remains(lab)
    assert lab.down() is True
    assert not any(process.alive(each) for each in processes)
    gone(lab)
    assert lab.down() is False


def test_down_works_while_a_disk_hangs(new_lab: NewLab, talker: Any) -> None:
    lab = new_lab()
    lab.up()
    reader = talker(lab, "node1", _DISK, DISK)
    lab.cut("disk", how="hang")
    assert reader.ask("read", 0.2) is None
    lab.down()
    gone(lab)


def test_a_loop_device_that_a_node_made_goes_with_its_node(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.up(nodes=1)
    made = lab.exec("node1", ["sh", "-c", "truncate -s 1M /var/lib/image && losetup --show -f /var/lib/image"])
    device = made.stdout.strip()
    assert made.returncode == 0, made.stderr
    assert device in loop.attached()
    lab.power_off("node1")
    wait_for(lambda: not any("/var-lib/image" in _backing(name) for name in loop.attached()), 3)


def _backing(name: str) -> str:
    try:
        return Path(f"/sys/block/{name[5:]}/loop/backing_file").read_text()
    except OSError:
        return ""


_UP = "import sys; from ha.lab.lab import Lab; Lab(sys.argv[1], install=None).up()"


@pytest.mark.parametrize("after", [0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.25, 0.3, 0.35, 0.4])
def test_down_takes_back_what_a_killed_up_had_made(new_lab: NewLab, after: float) -> None:
    lab = new_lab()
    victim = subprocess.Popen([PYTHON, "-c", _UP, lab.folder])
    time.sleep(after)
    victim.kill()
    victim.wait()
    lab.down()
    if os.path.isdir(lab.folder):  # killed before there was a record: at most an empty folder with its lock
        assert set(os.listdir(lab.folder)) <= {"lock", "state.json.new"}
        shutil.rmtree(lab.folder)
    gone(lab)


@pytest.mark.parametrize("whom", ["init", "keeper", "server", "client"])
@pytest.mark.parametrize("hung", [False, True])
def test_down_works_after_a_process_of_the_lab_was_killed(new_lab: NewLab, talker: Any, whom: str, hung: bool) -> None:
    lab = new_lab()
    lab.up()
    known = state.load(lab.folder)
    assert known is not None
    node, client = known.node("node1"), known.node("client")
    reader = talker(lab, "node1", _DISK, DISK)
    if hung:
        lab.set_disk_fault("node1", "hang")
        assert reader.ask("read", 0.1) is None
    victim = {"init": node.init, "keeper": node.disk[0], "server": node.disk[1], "client": client.init}[whom]
    assert victim is not None
    process.send(victim, signal.SIGKILL)
    time.sleep(0.05)
    lab.down()
    gone(lab)


def test_a_failing_installation_leaves_nothing_and_tells_its_last_words(new_lab: NewLab) -> None:
    lab = new_lab(install=("sh", "-c", "echo first; echo no space left >&2; exit 3"))
    with pytest.raises(LabError, match=r"^the installation fails on node1 \(exit 3\): no space left$"):
        lab.up()
    gone(lab)


def test_kept_files_are_there_at_the_next_up(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.up(nodes=1)
    lab.exec("node1", ["sh", "-c", f"echo mine > /etc/opensvc/mine; echo hello | dd of={DISK} conv=fsync status=none"])
    lab.down(keep=True)
    lab.up(nodes=1)
    assert lab.exec("node1", ["cat", "/etc/opensvc/mine"]).stdout == "mine\n"
    assert lab.exec("node1", ["head", "-c", "6", DISK]).stdout == "hello\n"


def test_a_state_of_before_a_reboot_of_the_machine_harms_nobody(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.up(nodes=1)
    processes = recorded(lab)
    path = Path(lab.folder) / "state.json"
    real = path.read_text()
    path.write_text(json.dumps({**json.loads(real), "boot": "another"}))
    assert [node.power for node in lab.report()] == ["off", "off"]
    lab.down()
    assert all(process.alive(each) for each in processes)  # in truth they run; a pid of another boot is never signalled
    for each in processes:
        process.send(each, signal.SIGKILL)
    gone(lab)


# ---- several labs, and none of root's rights


def test_two_labs_do_not_disturb_one_another(new_lab: NewLab, talker: Any) -> None:
    first, second = new_lab(), new_lab()
    first.up()
    second.up()
    hears = {lab: talker(lab, "node2", _RECEIVE) for lab in (first, second)}
    sends = {lab: talker(lab, "node1", _SEND, greets=False) for lab in (first, second)}
    disks = {lab: talker(lab, "node1", _DISK, DISK) for lab in (first, second)}
    first.cut("net")
    first.cut("disk")
    sends[first].ask("one")
    sends[second].ask("two")
    assert (hears[first].hear(0.2), hears[second].hear()) == (None, "two")
    assert disks[second].ask("write x") == "ok"
    first.down()
    gone(first)
    sends[second].ask("still here")
    assert hears[second].hear() == "still here"
    assert disks[second].ask("read") == "x"


def test_in_a_user_namespace_with_fuse_the_disk_can_be_cut(new_lab: NewLab, talker: Any) -> None:
    lab = new_lab(user_namespace=True)
    lab.up()
    one, two = (talker(lab, node, _DISK, DISK) for node in ("node1", "node2"))
    assert one.ask("write x") == "ok" and two.ask("read") == "x"
    lab.cut("disk", "node1")
    assert (one.ask("read"), two.ask("read")) == ("Input/output error", "x")
    lab.cut("disk", "node1", how="hang")
    assert one.ask("read", 0.2) is None
    lab.down()
    gone(lab)


_ROOTLESS = """
import json, subprocess, sys
from ha.lab.errors import LabError
from ha.lab.lab import Lab
from ha.lab.plan import DISK
lab = Lab(install=None)
found = {"folder": lab.folder}
lab.up()
try:
    found["id"] = lab.exec("node1", ["sh", "-c", "id -u; hostname; ip -br address show eth0"]).stdout.split()
    found["disk"] = [
        lab.exec("node1", ["sh", "-c", f"echo shared | dd of={DISK} conv=notrunc status=none"]).returncode,
        lab.exec("node2", ["head", "-c", "6", DISK]).stdout,
    ]
    probe = "import socket\\ntry: socket.create_connection(('node2', 9), 1)\\nexcept OSError as e: print(repr(e))"
    reach = [sys.executable, "-c", probe]
    found["before"] = lab.exec("node1", reach).stdout
    lab.cut("net", "node1")
    found["cut"] = lab.exec("node1", reach).stdout
    lab.heal()
    found["healed"] = lab.exec("node1", reach).stdout
    try:
        lab.cut("disk", "node1")
    except LabError as error:
        found["refused"] = str(error)
    lab.exec("node1", ["sh", "-c", "echo x > /var/lib/x"])
    lab.power_off("node1")
    lab.power_on("node1")
    lab.pause("node1", 0.1)
    found["kept"] = lab.exec("node1", ["cat", "/var/lib/x"]).stdout
    cli = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ha.cli.lab import main; sys.exit(main(sys.argv[1:]))"
    words = ["exec", "node2", "--", "sh", "-c", "exit 4"]
    found["cli"] = subprocess.run([sys.executable, "-I", "-c", cli, sys.path[0], *words]).returncode
finally:
    lab.down()
print(json.dumps(found))
"""


@pytest.fixture
def plain_user() -> Any:
    """Run a program as a user without rights: nobody, with a home of its own and copies of what it imports."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    version = python and subprocess.run([python, "-V"], capture_output=True, text=True).stdout.split()[-1]
    if not python or tuple(map(int, str(version).split(".")[:2])) != sys.version_info[:2]:
        pytest.skip("no Python of this version that any user may run")
    home = tempfile.mkdtemp(prefix="ezha-lab-home-")
    os.chmod(home, 0o755)
    packages = f"{home}/packages"
    for name in ("ha", "setproctitle"):
        source = next(f"{path}/{name}" for path in import_path() if os.path.isdir(f"{path}/{name}"))
        shutil.copytree(source, f"{packages}/{name}", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chown", "-R", "65534:65534", home], check=True)

    def run(code: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", python, "-I", "-c",
             f"import sys; sys.path.insert(0, {packages!r})\n{code}"],
            capture_output=True, text=True, timeout=60, cwd=home,
            env={"HOME": home, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        )  # fmt: skip

    try:
        yield run
    finally:
        Lab(f"{home}/.local/state/ezha-lab").down()
        shutil.rmtree(home)


def test_without_root_the_same_works_with_a_plain_file_as_the_disk(plain_user: Any) -> None:
    if os.stat("/dev/fuse").st_mode & 0o006:
        pytest.skip("any user may open /dev/fuse here: covered by the test with FUSE")
    done = plain_user(_ROOTLESS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["id"][:2] == ["0", "node1"] and "192.168.100.11/24" in found["id"]
    assert found["disk"] == [0, "shared"]
    assert "ConnectionRefused" in found["before"] and "ConnectionRefused" in found["healed"]
    assert found["cut"] and "ConnectionRefused" not in found["cut"]
    assert found["refused"].startswith("the disk cannot be cut: it is a plain file here.")
    assert (found["kept"], found["cli"]) == ("x\n", 4)
    wait_for(lambda: not traces(found["folder"]), 3.0, what=f"nothing left, there is {traces(found['folder'])}")


def test_two_nodes_are_up_in_a_moment(new_lab: NewLab) -> None:
    lab = new_lab()
    began = time.monotonic()
    lab.up()
    assert time.monotonic() - began < 6.0  # 0.4 s on an idle machine of two cores; 2 s is the aim, 3 times it the limit


def test_helpers_are_found_whatever_the_callers_path_is() -> None:
    assert helper_argv("ha.lab.init")[:3] == [sys.executable, "-I", "-S"]
    assert os.path.isdir(f"{import_path()[0]}/ha")
