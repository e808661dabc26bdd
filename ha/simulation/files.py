"""A disk behind ``ha.node.files.Files``: what a power cut leaves is told apart from what was only written."""

import errno
import posixpath


class SimulatedFiles:
    """Files by path. ``full``: every write that must be durable fails."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.on_disk: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.folders: set[str] = {"/"}
        self.links: set[str] = set()
        self.fail: dict[str, OSError] = {}
        """By path: what every call on it raises."""
        self.writes: list[str] = []
        self.full = False
        self.unreadable = False
        """Every read fails."""

    def power_cut(self) -> None:
        self.files = dict(self.on_disk)

    def read(self, path: str, limit: int) -> bytes:
        self._may_fail(path)
        if self.unreadable:
            raise OSError(errno.EIO, "Input/output error", path)
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return self.files[path][: limit + 1]

    def write_atomic(self, path: str, data: bytes, durable: bool, mode: int = 0o600) -> None:
        self._may_fail(path)
        if self.full and durable:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        if posixpath.dirname(path) not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        self.writes.append(path)
        self.files[path] = data
        self.modes[path] = mode
        if durable:
            self.on_disk[path] = data

    def write_in_place(self, path: str, data: bytes) -> None:
        """As ``open(path, "w")`` does, not synced, and here on the disk at once."""
        self.writes.append(path)
        self.files[path] = self.on_disk[path] = data

    def empty(self, below: str) -> None:
        """All files below a folder are left empty: they were being written when the power failed."""
        for path in sorted(self.files):
            if path.startswith(below + "/"):
                self.files[path] = self.on_disk[path] = b""

    def remove(self, path: str) -> None:
        self._may_fail(path)
        self.files.pop(path, None)
        self.on_disk.pop(path, None)

    def mkdir(self, path: str, durable: bool, mode: int = 0o755) -> None:
        self._may_fail(path)
        if path in self.links:
            raise NotADirectoryError(errno.ENOTDIR, "is a link or a file, not a folder", path)
        self.folders.add(path)

    def rmdir(self, path: str) -> None:
        if any(name.startswith(path + "/") for name in self.files):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        self.folders.discard(path)

    def names(self, path: str, limit: int) -> list[str]:
        self._may_fail(path)
        below = path + "/"
        names = {p[len(below) :].partition("/")[0] for p in (*self.files, *self.folders) if p.startswith(below)}
        if path not in self.folders and not names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return sorted(names)[:limit]

    def _may_fail(self, path: str) -> None:
        if path in self.fail:
            raise self.fail[path]
