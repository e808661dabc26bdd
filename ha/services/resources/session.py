"""A program that goes on when its launcher has ended: started in a session of its own, and found again by that.

The session is on record before the program runs, in a folder that a boot empties: so nothing that was started can be
forgotten, however the launcher ends.
"""

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

from ha.services.folders import make_own, replace_file
from ha.services.resources.processes import Process, look, pids

_MAX_RECORD = 64
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
"""Those that a controller or the interpreter may handle or ignore; a fresh program has them as they are by default."""


def launch(argv: Sequence[str], env: Mapping[str, str], output: int, record: str) -> int:
    """Run ``argv`` as the leader of a new session, and put that on ``record``. Its pid. Raises OSError."""
    make_own(os.path.dirname(record))
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _become(argv, env, output, record, writer)
    finally:
        os.close(writer)
    with open(reader, "rb") as told:
        trouble = told.read(32)  # at its end the program runs: the pipe was closed by the exec
    if trouble:
        os.waitpid(pid, 0)
        forget(record)
        raise OSError(int(trouble), os.strerror(int(trouble)))
    return pid


def _become(argv: Sequence[str], env: Mapping[str, str], output: int, record: str, writer: int) -> None:
    """In the child; never returns."""
    try:
        os.setsid()
        own = look(os.getpid())
        replace_file(record, f"{os.getpid()} {own.process.start if own else 0}\n")
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.chdir("/")
        os.umask(0o022)
        os.execve(argv[0], list(argv), dict(env))
    except OSError as error:
        os.write(writer, b"%d" % (error.errno or 5))
    finally:
        os._exit(127)


def leader_lives(record: str) -> bool:
    """Whether the program itself runs."""
    pid, start = _recorded(record)
    seen = look(pid) if pid else None
    return seen is not None and seen.process.start == start


def members(record: str, service: str) -> list[Process]:
    """The processes of the session that live, the leader first where it does.

    Where the leader has ended, its pid may be another session's by now: only processes that were started with the
    service's name in their environment count then.
    """
    sid, start = _recorded(record)
    if not sid:
        return []
    leader = look(sid)
    if leader is not None and leader.process.start != start:
        return []  # the pid is another process's: no session of ours is left that has it as its number
    found = []
    for pid in pids():
        if (seen := look(pid)) is None or seen.session != sid or (leader is None and not _was_told(pid, service)):
            continue
        found.append(seen.process)
    return sorted(found, key=lambda process: process.pid != sid)


def forget(record: str) -> None:
    """Raises OSError where the record cannot be removed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(record)


def _recorded(record: str) -> tuple[int, int]:
    """(0, 0) where there is no record, or none that can be read."""
    try:
        with open(record, encoding="ascii") as file:
            pid, start = file.read(_MAX_RECORD).split()
            return int(pid), int(start)
    except (FileNotFoundError, ValueError):
        return 0, 0


def _was_told(pid: int, service: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"OPENSVC_SVCNAME={service}".encode() in file.read(1 << 20).split(b"\0")
    except OSError:
        return False
