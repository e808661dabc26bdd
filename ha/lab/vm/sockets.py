"""A unix socket of a machine on which JSON comes, one value a line. Knows no protocol.

A path of a socket holds 107 bytes, and a lab's folder may be deeper: the folder is named by a descriptor.
"""

import json
import os
import socket
import time
from typing import Any

MAX_LINE = 32 * 1024 * 1024
"""Bytes. What a command of a guest has printed comes as one line, 16 MiB of it at most, in base 64."""


class Lines:
    """A connection. Raises OSError (TimeoutError where nothing comes in time, ConnectionError when the other is gone),
    and ValueError for what is no JSON object.
    """

    def __init__(self, path: str, patience_s: float) -> None:
        folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                self._socket.settimeout(patience_s)
                self._socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
            except BaseException:
                self._socket.close()
                raise
        finally:
            os.close(folder)
        self._data = bytearray()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, value: dict[str, Any], prefix: bytes = b"") -> None:
        self._socket.sendall(prefix + json.dumps(value).encode() + b"\n")

    def receive(self, deadline: float) -> dict[str, Any]:
        """``deadline`` is of time.monotonic()."""
        value = json.loads(self.until(b"\n", deadline))
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value

    def until(self, mark: bytes, deadline: float) -> bytes:
        """What comes before the next ``mark``."""
        begin = 0
        while (end := self._data.find(mark, begin)) < 0:
            begin = len(self._data)
            if begin > MAX_LINE:
                raise ValueError(f"a line of more than {MAX_LINE} bytes")
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            part = self._socket.recv(262_144)
            if not part:
                raise ConnectionError("the other side has closed the connection")
            self._data += part
        found = bytes(self._data[:end])
        del self._data[: end + len(mark)]
        return found
