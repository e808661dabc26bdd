"""Folders and files of the controller, safe also where others may write beside them (``/var/tmp``)."""

import errno
import os
import stat


def make_own(path: str, mode: int = 0o755) -> None:
    """A folder that only we may write into; one that is there already keeps its mode, less what others may write.

    Raises OSError where a link, a file or another user's folder stands there.
    """
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    try:
        os.mkdir(path, mode)
        return
    except FileExistsError:
        found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "is a link or a file, not a folder", path)
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"belongs to uid {found.st_uid}, not to us", path)
    if found.st_mode & 0o022:
        os.chmod(path, stat.S_IMODE(found.st_mode) & ~0o022)


def open_to_append(path: str, mode: int = 0o640) -> int:
    """A descriptor of a file in such a folder, made where it is missing; no link is followed. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)


def replace_file(path: str, text: str, mode: int = 0o600, durable: bool = False) -> None:
    """Replace a file in such a folder whole; its folder is made where it is missing. Raises OSError.

    ``durable``: the new text outlives a reboot that comes next.
    """
    make_own(os.path.dirname(path))
    temporary = path + ".new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(fd)
    os.rename(temporary, path)
