"""One action at a time for each service on a node: a flock on ``S.lock``; for copies of files, on ``S.lock.sync``.

A copy takes as long as it takes, and changes nothing here: no stop may have to wait for it.

Every command that an action runs inherits the lock (``Runner``), so that an action whose command waits for a dead disk
is not over, even where the action itself was killed.
"""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from ha.services.errors import ServiceError, Terminated
from ha.services.folders import make_own

WAIT_S = 60.0
"""How long an action waits for another one, unless ``--waitlock`` says otherwise."""
_POLL_S = 0.05


class Busy(ServiceError):
    """Another action goes on."""


class Lock:
    """Held within ``with``. ``fds()`` are what a command inherits."""

    def __init__(
        self,
        folder: str,
        service: str,
        action: str,
        wait_s: float,
        told: Callable[[], bool] = lambda: False,
        kind: str = "",
    ) -> None:
        """``told()``: whether to give up waiting (a signal came). ``kind``: actions of one wait for no other."""
        self._folder = folder
        self._path = f"{folder}/{service}.lock" + (f".{kind}" if kind else "")
        self._action = action
        self._wait_s = wait_s
        self._told = told
        self._fd = -1

    def fds(self) -> tuple[int, ...]:
        return (self._fd,) if self._fd >= 0 else ()

    def __enter__(self) -> "Lock":
        """Raises Busy after the time to wait, Terminated, ServiceError where there can be no lock."""
        try:
            make_own(self._folder)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._take()
            self._sign()
        except OSError as error:
            self.release()
            raise ServiceError(f"{self._path} cannot be locked: {error.strerror}") from None
        except BaseException:
            self.release()
            raise
        return self

    def _sign(self) -> None:
        """Who has it, for whoever waits. A full disk forbids no stop: the lock itself needs no room."""
        os.ftruncate(self._fd, 0)
        with suppress(OSError):
            os.pwrite(self._fd, f"{self._action} (pid {os.getpid()})\n".encode(), 0)

    def _take(self) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass
            if self._told():
                raise Terminated("ended while it waited for another action")
            if time.monotonic() >= deadline:
                who = os.pread(self._fd, 200, 0).decode(errors="replace").strip() or "another action"
                raise Busy(f"{who} goes on: nothing was done; --waitlock SECONDS waits longer than {self._wait_s:g} s")
            time.sleep(_POLL_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """The file stays: removing it would let two processes lock two files of one name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
