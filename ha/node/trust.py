"""Whether only root may change a file: what root would run, or be ruled by, must be nobody else's to write.

The rule is that of sshd's StrictModes: the file and every folder above it belong to root (or to the user that this
process runs as), and neither their group nor others may write them. A folder with the sticky bit, such as /tmp, lets
nobody touch what is another's, so it may be writable. This module must not know what the files say.
"""

import os
import stat

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_READABLE = stat.S_IRWXG | stat.S_IRWXO
_MAP = "/proc/self/uid_map"
_OVERFLOW = "/proc/sys/kernel/overflowuid"


class DistrustError(PermissionError):
    """Others than root could have written it. ``strerror`` is a sentence that follows the name of the file."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(1, why, path)


def require_trust(path: str, *, secret: bool = False) -> None:
    """Raises DistrustError, or OSError where something on the way to the file cannot be looked at.

    ``secret``: nobody else may read it either.
    """
    why = distrust(path, secret=secret)
    if why:
        raise DistrustError(path, why)


def distrust(path: str, *, secret: bool = False) -> str:
    """Why the file at the absolute ``path`` may not be what root put there, and the command that mends it.

    Empty where it is trusted. Links are followed, and where they stand is looked at, too. Raises OSError.
    """
    for place in dict.fromkeys((path, os.path.realpath(path))):
        folder = place
        while folder != "/":
            folder = os.path.dirname(folder)
            why = _distrust_folder(folder)
            if why:
                return why
    return _distrust_file(path, secret)


def _distrust_folder(folder: str) -> str:
    found = os.stat(folder)
    if not _is_roots(found.st_uid):
        return f"stands in {folder}, which belongs to {_user(found.st_uid)}, not to root: chown root {folder}"
    if found.st_mode & _WRITABLE and not found.st_mode & stat.S_ISVTX:
        return f"stands in {folder}, which others than root may write ({_shown(found)}): chmod go-w {folder}"
    return ""


def _distrust_file(path: str, secret: bool) -> str:
    found = os.stat(path)
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
