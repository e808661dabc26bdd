"""Tells systemd how nmond is, where it runs under one (sd_notify). Elsewhere it does nothing and imports nothing."""

import os
from typing import Any, Final

_WATCHDOG_SHARE: Final = 0.4
"""A sign of life comes after this share of what systemd allows."""


class Systemd:
    """One line for every message; none ever waits."""

    def __init__(self) -> None:
        self._notifier: Any = None
        if os.environ.get("NOTIFY_SOCKET"):
            from sdnotify import SystemdNotifier

            self._notifier = SystemdNotifier()
            if self._notifier.socket is not None:
                self._notifier.socket.setblocking(False)

    def say(self, text: str) -> None:
        """``READY=1`` and the like (sd_notify(3))."""
        if self._notifier is not None:
            self._notifier.notify(text)

    @property
    def watchdog_every(self) -> float:
        """Seconds between two ``WATCHDOG=1``, 0 where nobody waits for them."""
        allowed = os.environ.get("WATCHDOG_USEC", "")
        if self._notifier is None or not allowed.isdigit():
            return 0.0
        if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return 0.0
        return int(allowed) / 1e6 * _WATCHDOG_SHARE
