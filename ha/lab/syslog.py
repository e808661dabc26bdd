"""A node's system log: datagrams of /dev/log in, lines of a bounded file out.

Lines are ``Nov 23 09:41:07 node1 daemon.info nmond[12]: text``. Knows nothing of who wrote them.
"""

import os
import re
import time

MAX_FILE = 4 * 1024 * 1024
"""Bytes. Then the file becomes ``syslog.1``, replacing the former one, and a new one begins."""
MAX_MESSAGE = 8192
_FACILITIES = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
]
_LEVELS = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
_USER_NOTICE = 13
_PRIORITY = re.compile(rb"<(\d{1,3})>")
_STAMP = re.compile(rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ")


def line(raw: bytes, host: str, now: float) -> str:
    """One line without its end. ``now`` is wall-clock seconds; a time that the datagram brings is dropped for it."""
    priority = _USER_NOTICE
    if (found := _PRIORITY.match(raw)) and int(found[1]) < 8 * len(_FACILITIES):
        priority = int(found[1])
        raw = raw[found.end() :]
    if stamp := _STAMP.match(raw):
        raw = raw[stamp.end() :]
    text = raw[:MAX_MESSAGE].rstrip(b"\0\r\n").decode(errors="replace")
    # What a program logs may come from a stranger: one datagram is one line, and no terminal is moved by reading it.
    text = "".join(letter if letter.isprintable() or letter == "\t" else "?" for letter in text)
    moment = time.localtime(now)
    day = f"{time.strftime('%b', moment)} {moment.tm_mday:2d} {time.strftime('%H:%M:%S', moment)}"
    return f"{day} {host} {_FACILITIES[priority >> 3]}.{_LEVELS[priority & 7]} {text}"


class Syslog:
    """Appends lines to ``path``; at most two files of MAX_FILE bytes and a message are ever kept."""

    def __init__(self, path: str, host: str, max_file: int = MAX_FILE) -> None:
        self._path = path
        self._host = host
        self._max = max_file
        self._fd = -1
        self._size = 0
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, raw: bytes) -> None:
        """Raises OSError when the disk is full or the folder gone."""
        data = (line(raw, self._host, time.time()) + "\n").encode()
        if self._size and self._size + len(data) > self._max:
            os.close(self._fd)
            os.replace(self._path, self._path + ".1")
            self._open()
        self._size += os.write(self._fd, data)
