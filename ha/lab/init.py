"""The first process of a node: mounts its files, raises its network, then reaps zombies and keeps its system log.

It ends only by being killed, by reboot(2) in the node, or by a ``b``, ``o`` or ``c`` written to the node's
/proc/sysrq-trigger; the kernel then kills everything in the node at once. It knows nothing of ezha.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

from ha.lab import namespaces, spawn
from ha.lab.mounts import SYSRQ, Mount, apply
from ha.lab.syslog import MAX_MESSAGE, Syslog

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BATCH = 64
"""Datagrams taken from /dev/log before zombies and the power button are looked at again."""


def main() -> int:
    """``argv[1]``: JSON {name, user: "", "new" or the pid whose user namespace to join, mounts_of: 0 or a pid}."""
    birth = json.loads(sys.argv[1])
    try:
        _leave_the_machine(str(birth["user"]), int(birth["mounts_of"]))
        job = spawn.detach()
    except OSError as error:
        spawn.say({"error": _why_not(error, str(birth["user"]))})
        return 1
    try:
        log = _boot(str(birth["name"]), job)
    except (OSError, subprocess.SubprocessError) as error:
        spawn.say({"error": f"{birth['name']} does not boot: {error}"})
        os._exit(1)
    spawn.say({"ok": True})
    spawn.let_go()
    _serve(str(birth["name"]), log)
    return 0


def _leave_the_machine(user: str, mounts_of: int) -> None:
    if user == "new":
        namespaces.new_user()
    elif user:
        namespaces.join(namespaces.open_all(int(user), ("user",)))
    if mounts_of:
        namespaces.join(namespaces.open_all(mounts_of, ("mnt",)))
    namespaces.new_machine()


def _why_not(error: OSError, user: str) -> str:
    if user == "new":
        return (
            f"this machine does not let users make user namespaces ({error.strerror}): run the lab as root, or have "
            "root set user.max_user_namespaces above 0 and, where there is one, kernel.unprivileged_userns_clone to 1"
        )
    return f"cannot make namespaces ({error.strerror}): the lab needs CAP_SYS_ADMIN, which root does not have here"


def _boot(name: str, job: dict[str, Any]) -> Syslog | None:
    setproctitle(f"ezha-lab init {name}")
    apply([Mount(**mount) for mount in job["mounts"]])
    os.chdir("/")
    os.umask(0o022)
    socket.sethostname(name)
    if job["run"]:
        os.mkdir("/run/lock")
        os.chmod("/run/lock", 0o1777)  # noqa: S103  # as on every machine; sticky
    _raise_network(job["links"])
    return Syslog("/var/log/syslog", name) if job["run"] else None


def _raise_network(links: str) -> None:
    """``links``: commands for ``ip -batch``."""
    # An IPv6 address is usable at once, not after a second of asking who else has it: here nobody does.
    for setting in Path("/proc/sys/net/ipv6/conf").glob("*/accept_dad"):
        setting.write_text("0", encoding="ascii")
    done = subprocess.run(
        ["ip", "-batch", "-"], input=links, capture_output=True, text=True, check=False, env={"PATH": _PATH}
    )
    if done.returncode != 0:
        raise OSError(f"ip: {(done.stderr.splitlines() or ['failed'])[0]}")


def _serve(name: str, log: Syslog | None) -> None:
    """Never returns."""
    selector = selectors.DefaultSelector()
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    selector.register(wake, selectors.EVENT_READ)
    power = os.open(SYSRQ, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    selector.register(power, selectors.EVENT_READ)
    messages: _Messages | None = None
    if log is not None:
        device = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        device.bind("/dev/log")
        os.chmod("/dev/log", 0o666)  # noqa: S103  # every program of the node may log
        selector.register(device, selectors.EVENT_READ)
        messages = _Messages(device, log)
        _start_rc_scripts(log)
    while True:
        for key, _mask in selector.select():
            if key.fd == wake:
                os.read(wake, 4096)
            elif key.fd == power:
                if os.read(power, 4096)[:1] in (b"b", b"o", b"c"):
                    os._exit(0)
            elif messages is not None:
                messages.take()
        _reap()


class _Messages:
    """/dev/log into the syslog. One that cannot be written (a full disk) must not end the node; it is counted."""

    def __init__(self, device: socket.socket, log: Syslog) -> None:
        self._device = device
        self._log = log
        self._lost = 0

    def take(self) -> None:
        for _ in range(_BATCH):
            try:
                raw = self._device.recv(MAX_MESSAGE)
            except BlockingIOError:
                return
            try:
                self._log.write(raw)
            except OSError as error:
                self._lost += 1
                if self._lost == 1:
                    print(f"syslog: messages are lost: {error}", file=sys.stderr, flush=True)
                continue
            if self._lost:
                print(f"syslog: works again, {self._lost} messages were lost", file=sys.stderr, flush=True)
                self._lost = 0


def _reap() -> None:
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def _start_rc_scripts(log: Syslog) -> None:
    """What a boot runs: /etc/rc.d/rc3.d/S* with ``start``, one after the other, beside the first process."""
    scripts = sorted(str(path) for path in Path("/etc/rc.d/rc3.d").glob("S*"))
    if not scripts or os.fork():
        return
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    try:
        with open("/var/log/boot.log", "ab") as output:
            for script in scripts:
                try:
                    done = subprocess.run(
                        [script, "start"],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        check=False,
                        env={"PATH": _PATH, "HOME": "/", "TERM": "linux"},
                    )
                    log.write(f"<30>rc: {script} start: exit {done.returncode}".encode())
                except OSError as error:
                    log.write(f"<27>rc: {script} start: {error.strerror}".encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
