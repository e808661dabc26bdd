"""Changes of a service's file or of ``node.conf``: one key at a time, in one step; nothing else in it is touched."""

import contextlib
import os
import tempfile

from ha.services.config import DEFAULT, read, validate
from ha.services.errors import ServiceError
from ha.services.ini import Ini, Problem


def split(param: str) -> tuple[str, str, str]:
    """``SECTION.KEY@SCOPE`` as section, key, scope; without a section it is ``DEFAULT``. Raises ServiceError."""
    section, dot, rest = param.partition(".")
    if not dot or "@" in section:
        section, rest = DEFAULT, param
    key, at, scope = rest.partition("@")
    if not section or not key or (at and not scope):
        raise ServiceError(f"{param!r} names no key: write KEY, SECTION.KEY or SECTION.KEY@NODE, such as fs#0.mnt")
    return section, key, scope


def put(ini: Ini, param: str, value: str) -> None:
    """Change ``ini``, not yet the file. Raises ServiceError."""
    try:
        ini.put(*split(param), value)
    except ValueError as error:
        raise ServiceError(str(error)) from None


def set_value(path: str, service: str, param: str, value: str) -> list[Problem]:
    """Give a key a value. Raises ServiceError, and changes nothing, where this value is wrong.

    Returns what else is wrong with the file: a section is built key by key, and is not whole before the last.
    """
    ini = read(path)
    before = {(each.section, each.text) for each in validate(ini, path, service)}
    put(ini, param, value)
    problems = validate(ini, path, service)
    for each in problems:
        if not each.incomplete and (each.section, each.text) not in before:
            raise ServiceError(f"{param} is left as it was: [{each.section}] {each.text}")
    write(path, ini.text())
    return problems


def unset_value(path: str, service: str, param: str) -> list[Problem]:
    """Remove a key. Raises ServiceError where there is none. Returns what is wrong with the file now."""
    ini = read(path)
    if not ini.drop(*split(param)):
        raise ServiceError(f"{path} has no {param}")
    write(path, ini.text())
    return validate(ini, path, service)


def get_value(ini: Ini, path: str, param: str) -> str:
    """The value as written. Raises ServiceError where there is none."""
    section, key, scope = split(param)
    there = ini.sections.get(section)
    if there is None or (entry := there.find(key, scope)) is None:
        raise ServiceError(f"{path} has no {param}")
    return entry.value


def write(path: str, text: str, new: bool = False) -> None:
    """Replace a file whole, with its mode and owner; ``new``: there must be none yet. Raises ServiceError."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        fd, temporary = tempfile.mkstemp(prefix=".svcmgr-", dir=folder)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                _like(target, fd, new)
                os.fsync(fd)
            if new:
                os.link(temporary, target)
                os.unlink(temporary)
            else:
                os.rename(temporary, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)
    except FileExistsError:
        raise ServiceError(f"{path} is there already, and is left as it is") from None
    except OSError as error:
        raise ServiceError(f"{path} cannot be written: {error.strerror}") from None


def _like(path: str, fd: int, new: bool) -> None:
    """Mode and owner of the file that is replaced."""
    try:
        if new:
            raise FileNotFoundError
        old = os.stat(path)
    except FileNotFoundError:
        os.fchmod(fd, 0o644)
        return
    os.fchmod(fd, old.st_mode & 0o7777)
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, old.st_uid, old.st_gid)
