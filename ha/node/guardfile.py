"""``$EZ_RUN/guard``: until when this node's guard must hold still, in memory that nmond and its guardian share.

It outlives nmond, so the guardian acts when nmond cannot, and the next nmond learns until when the one before it had a
lease. Every figure is one aligned store of eight bytes: no reader ever sees half of one, and nobody waits for a lock.
Times are CLOCK_BOOTTIME seconds. This module knows nothing of leases, nor of what is done when the time has come; the
guardian imports it, so it imports next to nothing.
"""

import ctypes
import mmap
import os

MAGIC = b"EZGUARD1"
SIZE = 4096
_MAX_BOOT = 200
"""Bytes of a boot's name (``ha.node.boot``)."""


class _Page(ctypes.Structure):
    _fields_ = [
        ("magic", ctypes.c_char * 8),
        ("until", ctypes.c_double),
        ("seen", ctypes.c_double),
        ("watchdog", ctypes.c_double),
        ("fired", ctypes.c_double),
        ("boot", ctypes.c_char * _MAX_BOOT),
    ]


class GuardFile:
    """The page, mapped. ``GuardFile.open``."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._page = _Page.from_buffer(memory)

    @classmethod
    def open(cls, path: str, boot: str) -> "GuardFile":
        """What stands there, or a new page where there is none, or one of another boot. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(fd).st_size != SIZE:
                os.ftruncate(fd, 0)
                os.ftruncate(fd, SIZE)
            made = cls(mmap.mmap(fd, SIZE))
        finally:
            os.close(fd)
        page, name = made._page, boot.encode()[:_MAX_BOOT]
        if page.magic != MAGIC or page.boot != name:
            # The magic comes last: a page that is only half made counts as none.
            page.until, page.seen, page.watchdog, page.fired, page.boot = float("inf"), 0.0, 0.0, 0.0, name
            page.magic = MAGIC
        return made

    @property
    def until(self) -> float:
        """Unless it was moved on by then, what runs here is to be ended; ``inf``: nothing is to be."""
        return float(self._page.until)

    @until.setter
    def until(self, when: float) -> None:
        self._page.until = when

    @property
    def seen(self) -> float:
        """When the guardian last looked."""
        return float(self._page.seen)

    @seen.setter
    def seen(self, when: float) -> None:
        self._page.seen = when

    @property
    def watchdog(self) -> float:
        """Seconds after which the kernel's watchdog ends the machine if it is not fed; 0: it is not armed."""
        return float(self._page.watchdog)

    @watchdog.setter
    def watchdog(self, seconds: float) -> None:
        self._page.watchdog = seconds

    @property
    def fired(self) -> float:
        """For which ``until`` the guardian did its duty last, where that has not ended the machine; 0: for none."""
        return float(self._page.fired)

    @fired.setter
    def fired(self, until: float) -> None:
        self._page.fired = until
