"""File operations that the state store needs, few enough for a simulated disk to stand in for the real one.

No call follows a symbolic link in the last part of a path or in the folder that holds it, so that nobody who can
write into a folder of ours can have us write elsewhere.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Protocol


class Files(Protocol):
    """What a disk does. Every call raises OSError where it fails, and has then changed nothing that counts."""

    def read(self, path: str, limit: int) -> bytes:
        """At most ``limit`` + 1 bytes of a regular file. Raises FileNotFoundError where there is none."""

    def write_atomic(self, path: str, data: bytes, durable: bool, mode: int = 0o600) -> None:
        """Replace the file whole: a reader, or a crash, finds the old bytes or the new ones, never a mixture.

        ``durable``: on return, the new bytes outlive a power cut. Where it raises with ``durable``, the old or the
        new bytes may be what the disk keeps.
        """

    def remove(self, path: str) -> None:
        """A file, not a folder. One that is not there is no error."""

    def mkdir(self, path: str, durable: bool, mode: int = 0o755) -> None:
        """Make a folder; one that is there is no error, a symbolic link or a file in its place is."""

    def rmdir(self, path: str) -> None:
        """Remove an empty folder. One that is not there is no error."""

    def names(self, path: str, limit: int) -> list[str]:
        """Names in a folder, sorted, at most ``limit``. Raises FileNotFoundError where there is no folder."""


class RealFiles:
    """``Files`` on this machine."""

    def read(self, path: str, limit: int) -> bytes:
        return read_regular(path, limit, follow=False)

    def write_atomic(self, path: str, data: bytes, durable: bool, mode: int = 0o600) -> None:
        replace_file(path, data, durable, mode)

    def remove(self, path: str) -> None:
        folder, name = os.path.split(path)
        with contextlib.suppress(FileNotFoundError), _folder(folder) as dir_fd:
            os.unlink(name, dir_fd=dir_fd)

    def mkdir(self, path: str, durable: bool, mode: int = 0o755) -> None:
        folder, name = os.path.split(path)
        with _folder(folder) as dir_fd:
            try:
                os.mkdir(name, mode, dir_fd=dir_fd)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, "is a link or a file, not a folder", path) from None
                return
            if durable:
                os.fsync(dir_fd)

    def rmdir(self, path: str) -> None:
        folder, name = os.path.split(path)
        with contextlib.suppress(FileNotFoundError), _folder(folder) as dir_fd:
            os.rmdir(name, dir_fd=dir_fd)

    def names(self, path: str, limit: int) -> list[str]:
        found: list[str] = []
        with os.scandir(path) as entries:
            for entry in entries:
                found.append(entry.name)
                if len(found) == limit:
                    break
        return sorted(found)


def read_regular(path: str, limit: int, follow: bool) -> bytes:
    """At most ``limit`` + 1 bytes of a regular file. ``follow``: it may be a symbolic link. Raises OSError."""
    # Not blocking: a FIFO in the place of the file must not hang the caller.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    fd = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", path)
        parts: list[bytes] = []
        left = limit + 1
        while left > 0:
            part = os.read(fd, left)
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def is_still(fd: int, path: str) -> bool:
    """Whether ``path`` is the file that is open as ``fd``; False where it was removed or replaced. Raises OSError."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def replace_file(path: str, data: bytes, durable: bool, mode: int, owner: tuple[int, int] | None = None) -> None:
    """``Files.write_atomic``, also for a file of another ``owner`` (uid, gid). Raises OSError."""
    folder, name = os.path.split(path)
    temporary = (name if name.startswith(".") else "." + name) + ".new"
    with _folder(folder) as dir_fd:
        # What a crash left over goes first: O_EXCL then proves that the file is ours alone.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=dir_fd)
        try:
            _write_new(temporary, dir_fd, data, durable, mode, owner)
            os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=dir_fd)
            raise
        if durable:
            os.fsync(dir_fd)


@contextlib.contextmanager
def _folder(path: str) -> Iterator[int]:
    fd = os.open(path or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _write_new(name: str, dir_fd: int, data: bytes, durable: bool, mode: int, owner: tuple[int, int] | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if owner is not None:
            os.fchown(fd, *owner)
        os.fchmod(fd, mode)  # The umask must not take from it.
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
