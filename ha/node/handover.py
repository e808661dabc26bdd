"""What one nmond leaves to the next when it replaces itself by exec (``ezha.init restart``, an upgrade).

Plain data, in a memfd that lives through the exec and from the bridge (``ha.node.bridge``). Versioned: a program that
does not understand it says so, and starts as after a crash, adopting what runs. This module does not know what the data
mean.
"""

import os
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

import msgpack

VERSION: Final = 2
"""Of the whole of the data. One more whenever an older nmond's hand-over would be misunderstood."""
VARIABLE: Final = "EZ_HANDOVER"
"""Tells the new program the descriptor."""
_MAGIC: Final = b"ezha hand-over\n"
_LIMIT: Final = 64 << 20


class HandoverError(Exception):
    """It cannot be used, and why."""


def packed(data: Mapping[str, Any]) -> bytes:
    """As ``unpacked`` takes it. Raises HandoverError for what is not plain data."""
    try:
        body: bytes = msgpack.packb({"version": VERSION, "data": data})
        return _MAGIC + body
    except (TypeError, ValueError, OverflowError) as error:
        raise HandoverError(f"cannot be packed: {error}") from error


def write(data: Mapping[str, Any]) -> int:
    """A descriptor that holds ``data``. Raises OSError, or HandoverError for what is not plain data."""
    raw = packed(data)
    fd = os.memfd_create("ezha-handover", os.MFD_CLOEXEC)
    try:
        rest = memoryview(raw)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        os.close(fd)
        raise
    return fd


def read(fd: int) -> dict[str, Any]:
    """What ``write`` was given. Raises HandoverError."""
    try:
        size = os.fstat(fd).st_size
        if not len(_MAGIC) < size <= _LIMIT:
            raise HandoverError(f"it has {size} bytes")
        raw = os.pread(fd, size, 0)
    except OSError as error:
        raise HandoverError(f"it cannot be read: {error}") from error
    return unpacked(raw)


def unpacked(raw: bytes) -> dict[str, Any]:
    """What ``packed`` was given. Raises HandoverError."""
    if not raw.startswith(_MAGIC):
        raise HandoverError("it is not one of ezha's")
    try:
        whole = msgpack.unpackb(raw[len(_MAGIC) :], strict_map_key=False)
    except (msgpack.UnpackException, ValueError) as error:
        raise HandoverError(f"it is damaged: {error}") from error
    if not isinstance(whole, dict) or whole.get("version") != VERSION:
        version = whole.get("version") if isinstance(whole, dict) else None
        raise HandoverError(f"it has version {version!r}, this program reads {VERSION}")
    data = whole.get("data")
    if not isinstance(data, dict):
        raise HandoverError("it is damaged")
    return data


def execute(fd: int, keep: Iterable[int], argv: list[str], environ: Mapping[str, str]) -> None:
    """Become ``argv``, with ``fd`` and ``keep`` still open. Returns only by an OSError: then nothing has changed."""
    kept = (fd, *keep)
    for each in kept:
        os.set_inheritable(each, True)
    try:
        os.execve(argv[0], argv, {**environ, VARIABLE: str(fd)})
    finally:
        for each in kept:
            os.set_inheritable(each, False)


def inherited(environ: MutableMapping[str, str]) -> int:
    """The descriptor that this program was started with, or -1. The variable is removed: no child shall see it."""
    text = environ.pop(VARIABLE, "")
    return int(text) if text.isascii() and text.isdigit() and int(text) > 2 else -1
