"""Log lines of the controller, in the form of the tutorial: ``HH:MM:SS LEVEL    S.RID    message``.

They go to the terminal of whoever acts and, with date, process and node, to the service's log file. A message of
several lines (the output of a command) stays as it is.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from ha.services.folders import make_own, open_to_append

INFO, WARNING, ERROR = "INFO", "WARNING", "ERROR"
_WHO_WIDTH = 23
ROTATE_BYTES = 4 << 20
"""The log file of a service is rotated beyond this size; one older file is kept."""


class Log:
    """Where the lines of one service, or of one of its resources, go. Safe in threads: one write a line."""

    def __init__(self, service: str, rid: str = "", sink: Callable[[str, str, str], None] | None = None) -> None:
        """``sink(level, who, text)`` takes every line; None drops them all."""
        self._service = service
        self._sink = sink
        self.who = (f"{service}.{rid}" if rid else service).upper()

    def of(self, rid: str) -> "Log":
        """The log of a resource of the service."""
        return Log(self._service, rid, self._sink)

    def info(self, text: str) -> None:
        self._line(INFO, text)

    def warning(self, text: str) -> None:
        self._line(WARNING, text)

    def error(self, text: str) -> None:
        self._line(ERROR, text)

    def output(self, text: str, level: str = INFO) -> None:
        """What a command printed, as the tutorial shows it; nothing where it is blank."""
        if text.strip():
            self._line(level, f"output:\n{text.rstrip()}\n")

    def _line(self, level: str, text: str) -> None:
        if self._sink is not None:
            self._sink(level, self.who, text)


def formatted(level: str, who: str, text: str, clock: time.struct_time) -> str:
    """The line as the terminal shows it, without the newline at its end. What would steer a terminal is taken out."""
    text = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    return f"{time.strftime('%H:%M:%S', clock)} {level:7} {who:{_WHO_WIDTH}} {text}"


class Writer:
    """The usual sink: a stream, and a file. A stream or file that cannot be written loses lines, never an action."""

    def __init__(self, stream: TextIO | None, path: str = "") -> None:
        """``path`` empty: no file."""
        self._stream = stream
        self._fd = _open(path) if path else -1

    def __call__(self, level: str, who: str, text: str) -> None:
        now = time.time()
        line = formatted(level, who, text, time.localtime(now))
        if self._stream is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # Whoever read it has gone (a closed pipe, a lost terminal). The action must come to its end.
                self._stream = None
        if self._fd >= 0:
            day = time.strftime("%Y-%m-%d", time.localtime(now))
            try:
                os.write(self._fd, f"{day} {line}\n".encode(errors="replace"))
            except OSError:
                os.close(self._fd)
                self._fd = -1


def _open(path: str) -> int:
    try:
        make_own(os.path.dirname(path), 0o750)
        try:
            if os.stat(path).st_size > ROTATE_BYTES:
                os.replace(path, path + ".1")
        except FileNotFoundError:
            pass
        return open_to_append(path)
    except OSError as error:
        print(f"svcmgr: the log {path} cannot be written: {error.strerror}", file=sys.stderr)
        return -1
