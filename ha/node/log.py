"""Where nmond says what it does: syslog, and ``$EZ_LOG/nmond.log``.

Neither may ever delay a decision: a syslog daemon that is stuck or absent loses lines, which are counted. One call is
one line, a sentence that a person understands. It must not know what the lines are about.
"""

import os
import socket
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from ha.node.config.facility import DEFAULT_FACILITY, FACILITIES
from ha.node.files import is_still

MAX_LINE: Final = 2000
"""Characters of a line; the rest is cut."""
ROTATE_BYTES: Final = 1 << 20
"""``nmond.log`` becomes ``nmond.log.1`` beyond this size; there are never more than the two."""


ABSENT_S: Final = 1.0
"""A syslog daemon that is not there is looked for again after this."""


class Level(IntEnum):
    """Severities, with syslog's numbers."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


def printable(text: str) -> str:
    """One line, without control characters: what others wrote must not move a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in text[:MAX_LINE])


class Syslog:
    """Datagrams to /dev/log that never wait."""

    def __init__(self, facility: str = DEFAULT_FACILITY, path: str = "/dev/log") -> None:
        self.facility = facility
        self.dropped = 0
        self._path = path
        self._absent_until = 0.0
        self._socket: socket.socket | None = None

    def write(self, level: Level, text: str) -> None:
        priority = FACILITIES.get(self.facility, FACILITIES[DEFAULT_FACILITY]) * 8 + level
        stamp = time.strftime("%b %e %H:%M:%S")
        data = f"<{priority}>{stamp} nmond[{os.getpid()}]: {text}".encode(errors="replace")
        if time.monotonic() >= self._absent_until:
            # A restarted syslog daemon has a new socket: the second attempt finds it.
            for _ in range(2):
                try:
                    self._connected().send(data)
                except BlockingIOError:
                    break
                except OSError:
                    self.close()
                else:
                    return
            if self._socket is None:
                self._absent_until = time.monotonic() + ABSENT_S
        self.dropped += 1

    def _connected(self) -> socket.socket:
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                made.connect(self._path)
            except OSError:
                made.close()
                raise
            self._socket = made
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class LogFile:
    """A file of lines, mode 0640, with one older generation. A full disk loses lines, which are counted."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.dropped = 0
        self._fd = -1
        self._size = 0

    def write(self, line: bytes) -> None:
        try:
            if self._fd >= 0 and not is_still(self._fd, self.path):
                self.close()  # logrotate, or somebody by hand: nobody reads the old file's end
            if self._fd < 0:
                self._open()
            elif self._size > ROTATE_BYTES:
                self.close()
                os.replace(self.path, self.path + ".1")
                self._open()
            self._size += os.write(self._fd, line)
        except OSError:
            self.dropped += 1
            self.close()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        self._size = os.fstat(self._fd).st_size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Log:
    """``error`` … ``debug``; ``level`` is the least severe that is written."""

    def __init__(self, file: LogFile, syslog: Syslog | None, level: Level = Level.INFO) -> None:
        self.file = file
        self.syslog = syslog
        self.level = level
        self.also: Callable[[str], None] | None = None
        """Where a foreground nmond shows its lines, too."""

    def louder(self) -> None:
        """SIGUSR1: one level more is written."""
        self._set(min(Level.DEBUG, self.level + 1))

    def quieter(self) -> None:
        """SIGUSR2: one level less, errors always."""
        self._set(max(Level.ERROR, self.level - 1))

    def _set(self, level: int) -> None:
        self.level = Level(level)
        self.write(Level.ERROR, f"the log level is now {self.level.name.lower()}", always=True)

    def error(self, text: str) -> None:
        self.write(Level.ERROR, text)

    def warning(self, text: str) -> None:
        self.write(Level.WARNING, text)

    def notice(self, text: str) -> None:
        self.write(Level.NOTICE, text)

    def info(self, text: str) -> None:
        self.write(Level.INFO, text)

    def debug(self, text: str) -> None:
        self.write(Level.DEBUG, text)

    def write(self, level: Level, text: str, *, always: bool = False, at: float | None = None) -> None:
        """``at``: epoch seconds of what is told, where that is not now."""
        if level > self.level and not always:
            return
        shown = Level.NOTICE if always else level
        text = printable(text)
        at = time.time() if at is None else at
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        line = f"{stamp}.{int(at * 1000) % 1000:03d} nmond[{os.getpid()}] {shown.name.lower()}: {text}"
        self.file.write(line.encode(errors="replace") + b"\n")
        if self.syslog is not None:
            self.syslog.write(shown, text)
        if self.also is not None:
            self.also(line)

    def traceback(self, text: str) -> None:
        """Many lines, to the file only: for whoever mends the program."""
        for line in text.splitlines()[-200:]:
            self.file.write(b"    " + printable(line).encode(errors="replace") + b"\n")

    @property
    def dropped(self) -> int:
        """Lines lost since the start."""
        return self.file.dropped + (self.syslog.dropped if self.syslog is not None else 0)
