"""Runs the programs that drivers need: argv lists, no shell, and never longer than a time that is said beforehand.

A command that is past its time gets SIGTERM, then SIGKILL, with what it started. One that waits for a dead device (D
state) is not waited for: it is left behind, and ``StillRunning`` says so, for what it was about to do may still happen.

Commands stay in the process group of the controller: whoever ends that (nmond, when a script is past its timeout)
ends them too, and sees whether any is left.
"""

import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ha.services.errors import ResourceError, StillRunning

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_OUTPUT = 1 << 20
"""Bytes of each of stdout and stderr that are kept; the rest is read and dropped."""
_TERM_S = 2.0
"""Between SIGTERM and SIGKILL."""
_KILL_S = 1.0
"""How long SIGKILL may take."""
_CHUNK = 65_536
NOT_RUN = 127
"""The exit code where there is no such program, or it may not be run, as a shell says it."""
_NO_PROGRAM = (
    errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
"""Errors of an exec that say something of the program. Any other (no memory, too many processes) says nothing of it."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    argv: tuple[str, ...]
    code: int
    """Exit code; minus the number of the signal that ended it; 127 where it could not be run."""
    out: str = ""
    err: str = ""
    timed_out: bool = False
    """It was ended because it was past its time."""

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def answered(self) -> bool:
        """The exit code is the program's own answer: nobody ended it before it had one."""
        return self.code >= 0 and not self.timed_out

    @property
    def said(self) -> str:
        """All that it printed."""
        return self.out + self.err

    def why(self) -> str:
        """One line for people: the command, how it ended, and its last word."""
        name = self.argv[0]
        last = next((line.strip() for line in reversed((self.err or self.out).splitlines()) if line.strip()), "")
        if self.timed_out:
            how = "did not end in time"
        elif self.code < 0:
            how = f"was ended by {_signal_name(-self.code)}"
        else:
            how = f"exited {self.code}"
        return f"{name} {how}: {last}" if last else f"{name} {how}"


class Runner:
    """``run`` a program, or ``call`` a function in a process of its own. Safe in threads."""

    def __init__(self, env: Mapping[str, str] | None = None, keep: Callable[[], Iterable[int]] = tuple) -> None:
        """``env`` is added to a bare environment. ``keep()`` are descriptors that every command inherits.

        The controller keeps its lock there: a command that nobody could end still holds it, and so no other action
        begins beside it.
        """
        self.env: Mapping[str, str] = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
        """What every program finds in its environment."""
        self._keep = keep

    def run(
        self,
        argv: Sequence[str],
        timeout: float,
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        output: int | None = None,
        leaves: bool = False,
    ) -> Done:
        """The command, ended by itself or after ``timeout`` seconds. Whatever its exit code, that is no error here.

        ``stdin``: at most 64 KiB, the rest of what it reads is end of file. ``output``: a descriptor that stdout and
        stderr go to instead of ``Done``. ``leaves``: it may leave daemons behind (an application), which then do not
        hold the controller's lock. A daemon that keeps the output open is not waited for.

        Raises StillRunning where even SIGKILL does not end it, ResourceError where this node can start no process.
        """
        if len(stdin) > _CHUNK:
            raise ValueError(f"stdin of a command is limited to {_CHUNK} bytes, not {len(stdin)}")
        words = tuple(argv)
        deadline = time.monotonic() + timeout
        try:
            child = subprocess.Popen(
                words,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if output is None else output,
                stderr=subprocess.PIPE if output is None else output,
                env={**self.env, **(env or {})},
                cwd="/",
                pass_fds=() if leaves else tuple(self._keep()),
            )
        except OSError as error:
            if error.errno not in _NO_PROGRAM:
                raise ResourceError(f"{words[0]} cannot be started: {error.strerror}") from None
            return Done(words, NOT_RUN, "", f"{words[0]}: {error.strerror}\n")
        kept: dict[int, bytearray] = {}
        try:
            if child.stdin is not None:
                _feed(child.stdin.fileno(), stdin)
                child.stdin.close()
            for pipe in (child.stdout, child.stderr):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    kept[pipe.fileno()] = bytearray()
            in_time = _follow(child, kept, deadline)
            if not in_time:
                _end(child, words[0], kept)
        finally:
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()
        texts = [bytes(part).decode(errors="replace") for part in kept.values()] or ["", ""]
        return Done(words, child.returncode, texts[0], texts[1], timed_out=not in_time)

    def call(self, function: Callable[[], bytes], timeout: float) -> bytes:
        """What ``function`` returns (at most 64 KiB), run in a process of its own: for a look that may hang for ever.

        It must do nothing but system calls: no log, no lock, no import. Raises TimeoutError after ``timeout`` seconds
        (it is ended, or left behind where that cannot be), OSError where it raised one, ResourceError where it died or
        this node can start no process.
        """
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            try:
                pid = os.fork()
            except OSError as error:  # it must not be taken for one of the function's
                raise ResourceError(f"no process can be started: {error.strerror}") from None
            if pid == 0:
                _call(function, writer)
            pidfd = os.pidfd_open(pid)
            try:
                if not _readable(pidfd, timeout):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    if _readable(pidfd, _KILL_S):
                        os.waitpid(pid, 0)
                    raise TimeoutError(f"no answer within {timeout:g} s")
            finally:
                os.close(pidfd)
            os.waitpid(pid, 0)
            answer = _drained(reader)
        finally:
            os.close(reader)
            os.close(writer)
        if answer[:1] == b"=":
            return answer[1:]
        if answer[:1] == b"!":
            number = int(answer[1:])
            raise OSError(number, os.strerror(number))
        raise ResourceError("the process that looked died")


def _feed(fd: int, data: bytes) -> None:
    try:
        os.write(fd, data)  # A pipe takes 64 KiB at once.
    except BrokenPipeError:
        return  # It does not read its input: its exit code tells whether that matters.


def _follow(child: "subprocess.Popen[bytes]", kept: dict[int, bytearray], deadline: float) -> bool:
    """Read until the child has ended. False: the time is up."""
    pidfd = os.pidfd_open(child.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ)
            for fd in kept:
                selector.register(fd, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                for key, _ in selector.select(left):
                    if key.fd == pidfd:
                        child.wait()
                        for fd in kept:
                            _read(fd, kept[fd])
                        return True
                    if not _read(key.fd, kept[key.fd]):
                        selector.unregister(key.fd)
    finally:
        os.close(pidfd)


def _read(fd: int, kept: bytearray) -> bool:
    """Take what is there; False at the end of the file."""
    while True:
        try:
            part = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True
        if not part:
            return False
        kept += part[: max(0, MAX_OUTPUT - len(kept))]


def _end(child: "subprocess.Popen[bytes]", name: str, kept: dict[int, bytearray]) -> None:
    """Raises StillRunning where it cannot be ended."""
    for number, wait_s in ((signal.SIGTERM, _TERM_S), (signal.SIGKILL, _KILL_S)):
        for pid in descendants(child.pid):
            _signal(pid, number)
        if _follow(child, kept, time.monotonic() + wait_s):
            return
    raise StillRunning(f"{name} (pid {child.pid}) does not end by SIGKILL: it waits for a device")


def descendants(pid: int) -> list[int]:
    """``pid`` and all that it started and that is still its, parents first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue  # gone meanwhile
            children.setdefault(parent, []).append(int(name))
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # gone meanwhile


def _call(function: Callable[[], bytes], writer: int) -> None:
    """In the child: never returns.

    It holds nothing of ours: neither our lock (a look changes nothing, and must not keep the next action waiting when
    it hangs) nor our output (whoever reads that waits for its end).
    """
    try:
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        try:
            answer = b"=" + function()
        except OSError as error:
            answer = b"!%d" % (error.errno or 5)
        os.write(writer, answer[:_CHUNK])
    finally:
        os._exit(0)


def _readable(fd: int, timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(timeout))


def _drained(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return b""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
