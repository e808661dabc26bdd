"""Whether only root may change a file: what root would run, or be ruled by, must be nobody else's to write.

The rule is that of sshd's StrictModes: the file and every folder above it belong to root (or to the user that this
process runs as), and neither their group nor others may write them. A folder with the sticky bit, such as /tmp, lets
nobody touch what is another's, so it may be writable. This module must not know what the files say.
"""

import errno
import os
import re
import select
import stat
from collections.abc import Container, Iterator

MAX_LINKS = 40
"""As the kernel has it."""
_REMOTE = frozenset(
    ("9p", "afs", "ceph", "cifs", "coda", "fuse", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs")
)
_OCTAL = re.compile(r"\\([0-7]{3})")
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_READABLE = stat.S_IRWXG | stat.S_IRWXO
_MAP = "/proc/self/uid_map"
_OVERFLOW = "/proc/sys/kernel/overflowuid"


class DistrustError(PermissionError):
    """Others than root could have written it. ``strerror`` is a sentence that follows the name of the file."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(errno.EPERM, why, path)

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


def require_trust(path: str, *, secret: bool = False, beyond: Container[str] = ()) -> None:
    """Raises DistrustError, or OSError where something on the way to the file cannot be looked at.

    ``secret``: nobody else may read it either. ``beyond``: see ``distrust``.
    """
    why = distrust(path, secret=secret, beyond=beyond)
    if why:
        raise DistrustError(path, why)


def distrust(path: str, *, secret: bool = False, beyond: Container[str] = ()) -> str:
    """Why the file at the absolute ``path`` may not be what root put there, and the command that mends it.

    Empty where it is trusted. Links are followed, and where they stand is looked at, too. Nothing from a place on is
    looked at that is ``beyond`` what this machine can judge (``RemoteMounts``). Raises OSError.
    """
    found: os.stat_result | None = None
    place = ""
    for folder, status in _walk(path, beyond):
        if found is not None:
            why = _distrust_folder(place, found)
            if why:
                return why
        place, found = folder, status
    if found is None or stat.S_ISDIR(found.st_mode):
        return ""  # it is beyond; or no file, which is not for this module to tell
    return _distrust_file(place, found, secret)


def _walk(path: str, beyond: Container[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Every folder on the way to what ``path`` leads to, and that itself, as it stands there; no links.

    By hand and not by ``realpath``, which would touch what is beyond, and forget where links stood.
    """
    place, left, links = "/", [word for word in path.split("/")[::-1] if word], 0
    yield place, os.lstat(place)
    while left:
        word = left.pop()
        if word == ".":
            continue
        if word == "..":
            place = os.path.dirname(place)
            continue
        following = place.rstrip("/") + "/" + word
        if following in beyond:
            return
        found = os.lstat(following)
        if not stat.S_ISLNK(found.st_mode):
            place = following
            yield place, found
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(following)
        left += [word for word in target.split("/")[::-1] if word]
        if target.startswith("/"):
            place = "/"


class RemoteMounts:
    """Which places are on a file system of another machine: a look there may never end, when that machine is away.

    Whoever serves them decides who may write them; that cannot be judged here.
    """

    def __init__(self, mountinfo: str = "/proc/self/mountinfo") -> None:
        self._path = mountinfo
        self._points: frozenset[str] = frozenset()
        self._fd = -1
        self._poll = select.poll()

    def points(self) -> frozenset[str]:
        """Where such file systems begin at present, as absolute paths without links. Raises OSError."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._poll.register(self._fd, select.POLLPRI)
            self._read()
        elif self._poll.poll(0):  # The kernel tells once of every change.
            self._read()
        return self._points

    def _read(self) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._fd, 1 << 16):
            parts.append(part)
        points = set()
        for line in b"".join(parts).decode(errors="surrogateescape").splitlines():
            fields, _, kind = line.partition(" - ")
            if kind.split(" ")[0].partition(".")[0] in _REMOTE:
                points.add(_OCTAL.sub(lambda m: chr(int(m[1], 8)), fields.split(" ")[4]))
        self._points = frozenset(points)


def _distrust_folder(folder: str, found: os.stat_result) -> str:
    if not _is_roots(found.st_uid):
        return f"stands in {folder}, which belongs to {_user(found.st_uid)}, not to root: chown root {folder}"
    if found.st_mode & _WRITABLE and not found.st_mode & stat.S_ISVTX:
        return f"stands in {folder}, which others than root may write ({_shown(found)}): chmod go-w {folder}"
    return ""


def _distrust_file(path: str, found: os.stat_result, secret: bool) -> str:
    if not _is_roots(found.st_uid):
        return f"belongs to {_user(found.st_uid)}, not to root: chown root {path}"
    if secret and found.st_mode & _READABLE:
        return f"is not root's alone ({_shown(found)}): chmod 0600 {path}"
    if found.st_mode & _WRITABLE:
        return f"may be written by others than root ({_shown(found)}): chmod go-w {path}"
    return ""


def _shown(found: os.stat_result) -> str:
    return f"owner {_user(found.st_uid)}, group {_group(found.st_gid)}, mode {stat.S_IMODE(found.st_mode):04o}"


def _is_roots(uid: int) -> bool:
    return uid in (0, os.geteuid()) or (uid == _overflow_uid() and not _all_users_mapped())


def _all_users_mapped() -> bool:
    """False in a user namespace that knows some users only: whoever owns what is another's lives outside of it, and
    from there could do anything to the namespace in any case."""
    with open(_MAP, encoding="ascii") as file:
        return file.read(4096).split() == ["0", "0", "4294967295"]


def _overflow_uid() -> int:
    with open(_OVERFLOW, encoding="ascii") as file:
        return int(file.read(32))


def _user(uid: int) -> str:
    import pwd  # costs start-up time, and is hardly ever needed

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
