"""A node that behaves as an original OpenHA node does, its timing included: the other half of the tests of a migration.

Written from what is known of the original's behaviour and of its messages (tests/golden/README.txt), not from its code,
and it shares no code with ezha, so that neither can hide a mistake of the other. Its processes meet in files alone: a
STATE file per service and node, one byte and a NUL, and a file per listener that says whether its path is up. What the
original does badly it does, too.

    openha_peer.py BASE ROLE WORD …      BASE: bin, conf, log, services as in the old layout

Roles: ``start`` and ``stop`` (the boot script), ``service``, ``nmond``, and the senders and listeners ``heartd[_dio|
_raw|_unicast]`` and ``heartc[…]`` with the words of the original's command lines.
"""

import contextlib
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

LOOP_S = 2.0
GRACE_S = 5.0
TALK_DELAY_S = 2.0
BEAT_S = 1.0
STOPPED, STOPPING, STARTED, STARTING, START_FAILED, STOP_FAILED, FROZEN_STOP, START_READY, UNKNOWN = range(9)
FREE = (STOPPED, FROZEN_STOP, UNKNOWN)
SIZE, BLOCKS, BLOCK = 9384, 19, 512
PROGRAMS = {"net": "", "unicast": "_unicast", "dio": "_dio", "disk": "_raw"}
NODE = os.uname().nodename


class Base:
    """The installation: its configuration, and what its processes tell one another."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.conf = self.folder / "conf"
        self.run = self.folder / "proc"

    def monitor(self) -> list[list[str]]:
        return [line.split() for line in (self.conf / "monitor").read_text().splitlines() if line.strip()]

    def services(self) -> list[list[str]]:
        """Those in which this node has a part."""
        lines = [line.split() for line in (self.conf / "services").read_text().splitlines() if line.strip()]
        return [words for words in lines if NODE in words[2:4]]

    def service(self, name: str) -> list[str]:
        return next(words for words in self.services() if words[0] == name)

    def state(self, service: str, node: str) -> int:
        try:
            digit = (self.folder / "services" / service / f"STATE.{node}").read_bytes()[:1]
        except OSError:
            return UNKNOWN
        return int(digit) if digit.isdigit() else UNKNOWN

    def put(self, service: str, node: str, state: int) -> None:
        """In place, as the original does; but a torn read of it (hazard H9) is not left to chance here."""
        folder = self.folder / "services" / service
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            fd = os.open(folder / f"STATE.{node}", os.O_WRONLY | os.O_CREAT, 0o644)
            os.pwrite(fd, b"%d\0" % state, 0)
            os.close(fd)

    def mark(self, listener: str, node: str, up: bool) -> None:
        self.run.mkdir(exist_ok=True)
        mark = self.run / f"{node}.{listener.replace('/', '_')}"
        new = mark.with_name(f".{mark.name}")
        new.write_text("UP" if up else "DOWN")
        new.rename(mark)

    def hears(self, node: str) -> bool:
        """A peer is down when all of its paths are."""
        marks = list(self.run.glob(f"{node}.*"))
        return not marks or any(mark.read_text() == "UP" for mark in marks)

    def log(self, text: str) -> None:
        with open(self.folder / "log" / "openha.log", "a") as file:
            file.write(f"{time.clock_gettime(time.CLOCK_BOOTTIME):.3f} {text}\n")


# ------------------------------------------------------------------------------------------------ messages


def message(base: Base, port: str, address: str) -> bytes:
    """What this node says at this moment."""
    names, states = bytearray(8192), [STOPPED] * 16 + [UNKNOWN] * 112
    own = base.services()
    for slot, words in enumerate(own):
        names[slot * 64 : slot * 64 + len(words[0])] = words[0].encode()
        states[slot] = base.state(words[0], NODE)
    data = bytearray(SIZE)
    struct.pack_into("<128sii5s15s", data, 0, NODE.encode(), int(bool(own)), 0, port.encode(), address.encode())
    data[156:8348] = names
    struct.pack_into("<128i", data, 8348, *states)
    struct.pack_into("<IIi", data, 9372, 0x7F0101, int(time.time()), os.getpid())
    return bytes(data)


def believe(base: Base, data: bytes) -> None:
    """Write down what it says of whom it says it; nothing is looked at any closer."""
    if len(data) < SIZE:
        return
    node = data[:128].split(b"\0")[0].decode(errors="replace")
    states = struct.unpack_from("<128i", data, 8348)
    for slot in range(128):
        name = data[156 + slot * 64 : 220 + slot * 64].split(b"\0")[0].decode(errors="replace")
        if name:
            base.put(name, node, states[slot])


# ------------------------------------------------------------------------------------------------- senders


def heartd(base: Base, interface: str, address: str, port: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 6)
    while True:
        with contextlib.suppress(OSError):
            sock.sendto(message(base, port, address), (address, int(port)))
        time.sleep(BEAT_S)


def heartd_dio(base: Base, device: str, offset: str) -> None:
    buffer = mmap.mmap(-1, BLOCKS * BLOCK)
    fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    while True:
        buffer[:SIZE] = message(base, "", "")
        with contextlib.suppress(OSError):
            os.pwritev(fd, [buffer], int(offset) * BLOCK)
        time.sleep(BEAT_S)


# ----------------------------------------------------------------------------------------------- listeners


def heartc(base: Base, owner: str, interface: str, address: str, port: str, timeout: str) -> None:
    """Any datagram is a sign of life."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, int(port)))
    if int(address.split(".")[0]) >= 224:
        index = socket.if_nametoindex(interface)
        group = struct.pack("=4s4si", socket.inet_aton(address), bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    sock.settimeout(float(timeout))
    label = f"{interface}:{address}:{port}"
    base.mark(label, owner, True)
    while True:
        try:
            data = sock.recv(65536)
        except TimeoutError:
            base.mark(label, owner, False)
            continue
        base.mark(label, owner, True)
        believe(base, data)


def heartc_dio(base: Base, owner: str, device: str, offset: str, timeout: str) -> None:
    """Looks once a timeout, and judges by whether the sender's seconds went on."""
    buffer = mmap.mmap(-1, BLOCKS * BLOCK)
    fd = os.open(device, os.O_RDONLY | os.O_DIRECT)
    label, last = f"{device}:{offset}", None
    base.mark(label, owner, True)
    while True:
        try:
            os.preadv(fd, [buffer], int(offset) * BLOCK)
        except OSError:
            time.sleep(float(timeout))
            continue
        seconds = struct.unpack_from("<I", buffer, 9376)[0]
        base.mark(label, owner, seconds != last)
        if seconds != last:
            believe(base, buffer[:SIZE])
        last = seconds
        time.sleep(float(timeout))


# --------------------------------------------------------------------------------------------------- nmond


def other(words: list[str]) -> str:
    return words[3] if words[2] == NODE else words[2]


def nmond(base: Base) -> None:
    """Every service in its turn; nothing else is looked at while a script runs or the grace lasts."""
    while True:
        for node in {other(words) for words in base.services()}:
            if not base.hears(node):
                for words in base.services():
                    if other(words) == node:
                        base.put(words[0], node, UNKNOWN)
        for words in base.services():
            mine, theirs = base.state(words[0], NODE), base.state(words[0], other(words))
            if mine in (STOPPED, UNKNOWN) and theirs in FREE:
                start_service(base, words)
        time.sleep(LOOP_S)


def start_service(base: Base, words: list[str]) -> bool:
    name, script, primary, _, check = words
    before = base.state(name, other(words))
    decide(base, name, START_READY)
    time.sleep(GRACE_S)
    now = base.state(name, other(words))
    if now in (STARTING, STARTED) if primary == NODE else now != before:
        decide(base, name, STOPPED)
        return False
    decide(base, name, STARTING)
    if (
        subprocess.run([check, "check"], check=False).returncode
        or subprocess.run([script, "start"], check=False).returncode
    ):
        decide(base, name, START_FAILED)
        return False
    decide(base, name, STARTED)
    return True


def stop_service(base: Base, words: list[str]) -> bool:
    decide(base, words[0], STOPPING)
    good = subprocess.run([words[1], "stop"], check=False).returncode == 0
    decide(base, words[0], STOPPED if good else STOP_FAILED)
    return good


def decide(base: Base, service: str, state: int) -> None:
    base.put(service, NODE, state)
    base.log(f"{service} {state}")


# ------------------------------------------------------------------------------------------------ commands


def service(base: Base, option: str, name: str, action: str) -> int:
    """``service -A NAME ACTION``. 0 where it was done."""
    assert option == "-A", option
    words = base.service(name)
    state, theirs = base.state(name, NODE), base.state(name, other(words))
    done = True
    match action:
        case "start" if state in (STOPPED, UNKNOWN) and theirs in FREE:
            done = start_service(base, words)
        case "stop" if state in (STARTED, UNKNOWN):
            done = stop_service(base, words)
        case "freeze-stop" if state in (STOPPED, START_FAILED, STOP_FAILED):
            decide(base, name, FROZEN_STOP)
        case "freeze-stop" if state == STARTED:
            done = stop_service(base, words)
            if done:
                decide(base, name, FROZEN_STOP)
        case "freeze-start" if state == STARTED:
            decide(base, name, START_READY)  # it has no digit of its own for it
        case "unfreeze" if state in (FROZEN_STOP, START_READY):
            decide(base, name, STOPPED if state == FROZEN_STOP else STARTED)
        case "force-stop" | "force-start":
            decide(base, name, STOPPED if action == "force-stop" else STARTED)
        case _:
            done = False
    return 0 if done else 1


# --------------------------------------------------------------------------------------------- boot script


def start(base: Base) -> None:
    """Whatever was not frozen is declared stopped; the paths; the talk delay; nmond."""
    for words in base.services():
        for node in words[2:4]:
            if not (base.folder / "services" / words[0] / f"STATE.{node}").exists():
                base.put(words[0], node, FROZEN_STOP)
        if base.state(words[0], NODE) != FROZEN_STOP:
            base.put(words[0], NODE, STOPPED)
    for mark in base.run.glob("*"):
        mark.unlink()
    for node, medium, *where, timeout in base.monitor():
        program = PROGRAMS[medium]
        if node == NODE:
            launch(base, f"heartd{program}", *where)
        else:
            launch(base, f"heartc{program}", *where, timeout)
    time.sleep(TALK_DELAY_S)
    launch(base, "nmond")


def launch(base: Base, role: str, *words: str) -> None:
    """A process of its own, which ``ps`` shows as the original's."""
    argv = [sys.executable, "-I", os.path.abspath(__file__), str(base.folder), role, *words]
    with open(base.folder / "log" / "openha.err", "ab") as errors:
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True)


def stop(base: Base) -> None:
    """nmond first, then the services, while the paths still tell of it; then the paths."""
    end(base, "nmond")
    for words in base.services():
        if base.state(words[0], NODE) == STARTED:
            stop_service(base, words)
    time.sleep(BEAT_S)
    end(base, "heart")


def end(base: Base, program: str) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if title.startswith(f"{base.folder}/bin/{program}"):
                    os.kill(int(entry.name), signal.SIGKILL)


def main(folder: str, role: str, *words: str) -> int:
    base = Base(folder)
    if role == "service":
        return service(base, *words)
    if role in ("start", "stop"):
        {"start": start, "stop": stop}[role](base)
        return 0
    from setproctitle import setproctitle

    setproctitle(" ".join((f"{folder}/bin/{role}", *words)))
    if role == "nmond":
        nmond(base)
    is_disk = role.endswith(("_dio", "_raw"))
    if role.startswith("heartd"):
        (heartd_dio if is_disk else heartd)(base, *words)
    where = words[:-1]
    owner = next(line[0] for line in base.monitor() if tuple(line[2:-1]) == where and line[0] != NODE)
    (heartc_dio if is_disk else heartc)(base, owner, *words)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
