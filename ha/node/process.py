"""Forking: what every child of nmond needs before it becomes a worker or a script.

It knows nothing of services or heartbeats.
"""

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NoReturn

from ha.node import realtime

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_EVERY: Final = tuple(n for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP))
"""What whoever started nmond ignores (a shell that put it in the background: SIGQUIT) is no matter of a script."""
_HANDLED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)
"""Signals that nmond, the supervisor or the Python interpreter treat otherwise than a fresh program does."""


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def die_with_parent(parent: int) -> None:
    """Called in a child: SIGKILL to it when ``parent`` ends, even when that ended before this call."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def become_subreaper() -> None:
    """Orphaned descendants become our children, in place of pid 1's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of the process: with the pid it names one process for ever.

    None where there is no such process, or it has ended and only waits to be reaped.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int | str) -> list[bytes]:
    """What /proc says of a process that lives, from its state on (proc(5), "stat", third field); else nothing."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name stands in parentheses and may hold anything, parentheses and blanks too.
    fields = text[text.rindex(b")") + 2 :].split()
    return [] if fields[0] in (b"Z", b"X") else fields


def group_lives(group: int) -> bool:
    """Whether a process of the group lives; one that has ended and only waits to be reaped does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    stats = (_stat(pid) for pid in os.listdir("/proc") if pid.isdigit())
    return any(fields and int(fields[2]) == group for fields in stats)


def children() -> tuple[int, ...]:
    """Pids of this process's children."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return tuple(int(pid) for pid in file.read(1_000_000).split())
    except FileNotFoundError:
        return ()


def reap(pid: int) -> None:
    """Take notice of the end of a process that may be our child, or somebody else's."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def close_all_but(keep: Iterable[int]) -> None:
    """Close every file descriptor from 3 on but ``keep``."""
    low = 3
    for fd in sorted(set(keep)):
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def null_stdio() -> None:
    """Standard input, output and error become /dev/null."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def fork(child: Callable[[], None], failed: Callable[[str], None] = lambda text: None) -> int:
    """Run ``child`` in a new process, which ends with 0 when it returns, with 70 when it raises.

    ``failed`` is called there with the traceback. Signals that have handlers are blocked around the fork, so that none
    meant for the child meets the parent's handlers in it. Raises OSError when the kernel refuses.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        pid = os.fork()
        if pid == 0:
            _in_child(child, failed)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _in_child(child: Callable[[], None], failed: Callable[[str], None]) -> NoReturn:
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        for number in _HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        child()
        code = 0
    finally:
        # Nothing may be raised from here into the parent's code, of which this is a copy.
        try:
            if sys.exc_info()[0] is not None:
                import traceback  # costs start-up time, and is hardly ever needed

                failed(traceback.format_exc())
        finally:
            os._exit(code)


def spawn(argv: tuple[str, ...], env: Mapping[str, str], stdin: int, output: int) -> int:
    """Start ``argv`` without copying this process: leader of its own session, with ``output`` as standard output and
    error, and signals as a fresh program has them. It keeps the working directory and the umask; of open files, those
    that are inheritable (``keep_files`` lets there be none). Raises OSError.
    """
    files = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    pid = os.posix_spawn(argv[0], argv, env, file_actions=files, setsid=True, setsigmask=(), setsigdef=_EVERY)
    realtime.may_die(pid)
    return pid


def keep_files() -> None:
    """No program that is started from now on inherits what whoever started this one left open."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd > 2:
                os.set_inheritable(fd, False)
        except OSError as error:
            if error.errno != errno.EBADF:  # the one that listed the folder is closed by now
                raise


def become(argv: tuple[str, ...], env: Mapping[str, str], output: int, keep: int = -1) -> None:
    """In a child: turn into ``argv``, leader of its own session, with ``output`` as standard output and error.

    ``keep`` is a close-on-exec descriptor that stays open until then. Returns only by an OSError.
    """
    realtime.may_die(os.getpid())
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    close_all_but({keep})
    os.umask(0o022)
    os.chdir("/")
    os.execve(argv[0], list(argv), dict(env))
