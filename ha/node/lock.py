"""The lock that makes nmond the only one on its node, and offline commands wait outside (docs/internals.md).

A lock is a flock on a file that stays: it ends with the last descriptor, so it cannot outlive a crash. A child that
keeps the descriptor keeps the lock: children of nmond close it.
"""

import errno
import fcntl
import os
import stat
from types import TracebackType

from ha.node.files import is_still
from ha.node.layout import Layout


class HeldError(Exception):
    """Somebody else holds the lock."""

    def __init__(self, path: str, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{path} is locked by {who}")
        self.path = path
        self.pid = pid
        """0 where it is not known."""


class Lock:
    """A lock that is held. ``release`` it, or use it in a ``with``."""

    def __init__(self, path: str, fd: int) -> None:
        """For a descriptor that was inherited over an exec, and holds the lock already; else ``Lock.take``."""
        self.path = path
        self.fd = fd
        """Not inheritable. -1 once released."""

    @classmethod
    def take(cls, path: str) -> "Lock":
        """Never waits. Raises HeldError where another process holds it, OSError where there is no such folder."""
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                current = is_still(fd, path)
                if current:
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            except BlockingIOError:
                pid = _pid_in(fd)
                os.close(fd)
                raise HeldError(path, pid) from None
            except BaseException:
                os.close(fd)
                raise
            if current:
                return cls(path, fd)
            os.close(fd)  # Removed or replaced between open and flock: locking it would exclude nobody.

    def release(self) -> None:
        """The file stays: removing it would let two processes lock two files of one name."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.release()


def node_lock(layout: Layout) -> Lock:
    """``$EZ_RUN/nmond.lock``, held by nmond as long as it runs and by commands that change the record without it.

    Raises HeldError where nmond or such a command runs, OSError where ``$EZ_RUN`` is not a safe folder.
    """
    make_run_folder(layout)
    return Lock.take(layout.lock)


def make_run_folder(layout: Layout) -> None:
    """``$EZ_RUN``, mode 0700 and ours. Raises OSError where something else stands there."""
    os.makedirs(os.path.dirname(layout.run), mode=0o755, exist_ok=True)
    try:
        os.mkdir(layout.run, 0o700)
    except FileExistsError:
        status = os.lstat(layout.run)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "is a link or a file, not a folder", layout.run) from None
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"belongs to uid {status.st_uid}, not to us", layout.run) from None
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.chmod(layout.run, 0o700)


def _pid_in(fd: int) -> int:
    word = os.pread(fd, 32, 0).strip()
    return int(word) if word.isdigit() and len(word) <= 10 else 0
