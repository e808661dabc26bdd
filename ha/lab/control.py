"""Asking a fault disk's server to change its fault: one line each way over a unix stream socket in the lab's folder.

``<fault>`` or ``?`` in; ``ok <fault> reads=N writes=N failed=N waiting=N`` or ``error <why>`` out.
"""

import os
import socket
from collections.abc import Callable

_MAX_LINE = 256
_PATIENCE_S = 5.0


def _address(folder_fd: int, name: str) -> str:
    # A socket's path holds 107 bytes; a lab's folder may be deeper than that.
    return f"/proc/self/fd/{folder_fd}/{name}"


def listen(path: str) -> socket.socket:
    """Raises OSError."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        server.bind(_address(folder, os.path.basename(path)))
        os.chmod(path, 0o600)
        server.listen(8)
    finally:
        os.close(folder)
    return server


def serve(server: socket.socket, answer: Callable[[str], str]) -> None:
    """Never returns. One client after the other; a client that stays silent is dropped."""
    while True:
        client, _ = server.accept()
        with client:
            client.settimeout(_PATIENCE_S)
            try:
                line = client.makefile("rb").readline(_MAX_LINE)
                client.sendall(answer(line.decode(errors="replace").strip()).encode() + b"\n")
            except OSError:  # it went away without waiting for its answer, which is its own matter
                continue


def ask(path: str, line: str) -> str:
    """The answer without ``ok``. Raises OSError when nobody answers, ValueError with the text of an error."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
            client.settimeout(_PATIENCE_S)
            client.connect(_address(folder, os.path.basename(path)))
            client.sendall(line.encode() + b"\n")
            word, _, rest = client.makefile("rb").readline(_MAX_LINE).decode(errors="replace").strip().partition(" ")
    finally:
        os.close(folder)
    if word != "ok":
        raise ValueError(rest or "no answer")
    return rest
