"""How a node ends itself when its lease is over and something still runs: process groups, then the whole machine.

It decides nothing. The guardian does this when nmond cannot, nmond itself where there is no guardian. Nothing here may
wait for a disk, and it imports next to nothing: it must work on a machine where little does any more.
"""

import ctypes
import json
import os
import signal
import socket
import time

MODES = ("reboot", "command", "stop")
_RB_AUTOBOOT = 0x01234567
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO: the kernel gives this number to the first pid namespace, and to no other."""
_SYSRQ = "/proc/sysrq-trigger"
_RECORD_LIMIT = 4096
_LOG_PATIENCE_S = 0.02
"""The end waits at most so long for its line in the log: the disk of the log may be what hangs."""


class Ender:
    """Where the scripts' records are, and what is done."""

    def __init__(self, jobs: str, log: str, mode: str, command: tuple[str, ...], timeout: float) -> None:
        """``jobs``: folder of ``ha.node.runner``'s records; ``log``: a file for a last line; ``timeout``: seconds that
        ``command`` (mode "command") may take. Raises ValueError for a mode that there is not."""
        if mode not in MODES or (mode == "command" and not command):
            raise ValueError(f"self_fence {mode!r} cannot be done")
        self.mode = mode
        self._jobs = jobs
        self._log = log
        self._command = command
        self._timeout = timeout
        self._libc = ctypes.CDLL(None, use_errno=True)
        """Loaded beforehand: later there may be no disk to load it from."""

    def end(self, why: str) -> bool:
        """End what runs here; whether that is done. With "reboot" it does not return, unless the kernel refuses."""
        if self.mode == "stop":
            self.say(f"{why}: nothing more is done (self_fence = stop); a service may still run here")
            return True
        self.say(
            f"{why}: {'this machine is rebooted' if self.mode == 'reboot' else ' '.join(self._command)} (self_fence)"
        )
        self.kill_groups()
        return self._reboot() if self.mode == "reboot" else self._run()

    def kill_groups(self) -> int:
        """SIGKILL to the process group of every script under way; how many there were."""
        killed = 0
        try:
            names = os.listdir(self._jobs)
        except OSError:
            return 0
        for name in names:
            if not name.endswith(".json"):
                continue
            group = self._group(f"{self._jobs}/{name}")
            if group:
                try:
                    os.killpg(group, signal.SIGKILL)
                    killed += 1
                except OSError:
                    continue  # it has ended
        return killed

    def _group(self, path: str) -> int:
        """The process group of a script by its record, or 0 where that number is another's by now."""
        try:
            with open(path, "rb") as file:
                record = json.loads(file.read(_RECORD_LIMIT))
            pid, start = int(record["pid"]), int(record["start"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        if pid < 2:
            return 0
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                found = int(file.read(4096).rpartition(b")")[2].split()[19])
        except (OSError, ValueError, IndexError):
            return pid  # its leader has gone: as long as the group lives, the number is nobody else's
        return pid if found == start else 0

    def _reboot(self) -> bool:
        # Without a sync, and without the shutdown of drivers where that can be had: both wait for dead disks. In a pid
        # namespace of its own only that namespace may end, and reboot(2) does just that.
        if in_initial_namespace():
            try:
                fd = os.open(_SYSRQ, os.O_WRONLY | os.O_CLOEXEC)
                os.write(fd, b"b")
            except OSError as error:
                self.say(f"{_SYSRQ}: {error.strerror}; trying reboot(2)")
        if self._libc.reboot(_RB_AUTOBOOT) != 0:
            self.say(f"reboot(2) is refused: {os.strerror(ctypes.get_errno())}; a service may still run here")
        return False

    def _run(self) -> bool:
        argv = self._command
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            files = [(os.POSIX_SPAWN_DUP2, null, n) for n in (0, 1, 2)]
            pid = os.posix_spawn(
                argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, file_actions=files, setsid=True
            )
        except OSError as error:
            self.say(f"fence_command {argv[0]}: {error.strerror}; a service may still run here")
            return False
        finally:
            os.close(null)
        until = time.monotonic() + self._timeout
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() >= until:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.say(
                    f"fence_command {argv[0]} did not end within {self._timeout:g} s; a service may still run here"
                )
                return False
            time.sleep(0.01)
        code = os.waitstatus_to_exitcode(status)
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"
        self.say(f"fence_command {argv[0]} {how}{'' if code == 0 else '; a service may still run here'}")
        return code == 0

    def say(self, text: str) -> None:
        """To syslog, to the kernel's log, and to nmond's log file, as far as none of them makes this wait."""
        line = f"nmond[{os.getpid()}] error: guard: {text}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                end.setblocking(False)
                end.connect("/dev/log")
                end.send(f"<{3 * 8 + 2}>{time.strftime('%b %e %H:%M:%S')} nmond: guard: {text}".encode())
        except OSError:
            pass  # no syslog, or one that is stuck: the other two have it
        try:
            fd = os.open("/dev/kmsg", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            fd = -1  # a container has none
        if fd >= 0:
            try:
                os.write(fd, f"<2>ezha: {text}\n".encode())
            except OSError:
                pass  # nobody may write there; the log has it
            finally:
                os.close(fd)
        self._append(line)

    def _append(self, line: str) -> None:
        """By a child, for which nobody waits long: a disk that hangs must not keep the machine alive."""
        try:
            pid = os.fork()
        except OSError:
            return  # no memory for a last word
        if pid == 0:
            try:
                now = time.time()
                stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
                fd = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
                os.write(fd, f"{stamp}.{int(now * 1000) % 1000:03d} {line}\n".encode())
            finally:
                os._exit(0)
        until = time.monotonic() + _LOG_PATIENCE_S
        while time.monotonic() < until:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.001)


def in_initial_namespace() -> bool:
    """Whether this process is the machine's own, and in no container."""
    try:
        return os.readlink("/proc/self/ns/pid") == _INITIAL_PID_NAMESPACE
    except OSError:
        return False
