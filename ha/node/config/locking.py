"""One edit of the configuration at a time, whichever of its files is changed."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from ha.node.config.problems import ConfigError, Problem

WAIT = 5.0
"""Seconds that an edit waits for another one."""


@contextlib.contextmanager
def locked(folder: str, name: str) -> Iterator[None]:
    """Hold the lock on ``folder``; the folder itself is locked, so nothing is left lying about.

    ``name``: what messages call the file that is edited. Raises ConfigError where another edit takes too long, OSError.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + WAIT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    text = f"another command has been changing it for {WAIT:g} s; try again"
                    raise ConfigError((Problem(name, 0, text),)) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)
