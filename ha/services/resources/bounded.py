"""A look that may hang: done in a process of its own, and given up after a time.

Anything that touches a file system (a ``stat`` of a mount point, an ``open``) can wait for ever in the kernel when the
server or the disk behind it is gone, and nothing ends such a process, SIGKILL included, before the device answers.
Hence the fork: what hangs is a child that holds nothing of ours. Knows nothing of resources.
"""

import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

_LIMIT = 4 << 20
"""Bytes of an answer."""


class Hung(TimeoutError):
    """The look did not come back in time."""


def bounded(look: Callable[[], Any], timeout_s: float) -> Any:
    """What ``look()`` returns, which must be something that JSON can carry (tuples come back as lists).

    It runs in a fork without any of our descriptors, so that a child that hangs keeps no lock and no pipe. Raises Hung
    after ``timeout_s`` seconds, OSError and ValueError as ``look`` did, RuntimeError where the child ended otherwise.
    """
    deadline = time.monotonic() + timeout_s
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _child(look, writer)
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    try:
        raw = _read(reader, deadline)
    finally:
        os.close(reader)
        if not _reaped(pid, deadline if select.select([], [], [], 0) else deadline):
            os.kill(pid, signal.SIGKILL)
            _reaped(pid, time.monotonic() + 0.05)
    if raw is None:
        raise Hung(f"no answer within {timeout_s:g} s")
    return _unpacked(raw)
