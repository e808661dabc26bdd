"""An nmond that consists of its control socket: answers what it was told, and remembers what it was asked."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Answer = dict[str, Any]
Script = Callable[[Answer], Iterable[Answer | bytes | None]]
"""Request to answers. Bytes go out as they are; None ends the connection without a word."""


def final(**fields: object) -> Answer:
    return {"final": True, "ok": True, **fields}


def service(name: str, *nodes: tuple[str, str], reason: str = "") -> Answer:
    return {
        "name": name,
        "script": f"/etc/opensvc/{name}.cluster",
        "check": "/bin/true",
        "nodes": [{"node": node, "state": state} for node, state in nodes],
        "generation": 7,
        "since": 1_000.0,
        "frozen": False,
        "reason": reason,
    }


def path(label: str, role: str = "sender", **fields: object) -> Answer:
    disk = label.startswith("/dev/")
    parts = label.split(":")
    return {
        "node": "node1",
        "medium": "dio" if disk else "net",
        "device": parts[0],
        "address": "" if disk else parts[1],
        "port": 0 if disk else int(parts[2]),
        "offset": int(parts[1]) if disk else 0,
        "label": label,
        "role": role,
        "pid": 25633,
        "up": True,
        "updated": 1_392_843_597.0,
        "trouble": "",
        "refused": {},
        "timeout": 10.0,
        **fields,
    }


class FakeNmond:
    """Answers each connection by ``script``, one after the other. ``asked`` holds the requests in their order."""

    def __init__(self, run_dir: str, script: Script) -> None:
        os.makedirs(run_dir, exist_ok=True)
        self.asked: list[Answer] = []
        self._script = script
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"{run_dir}/control")
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                line = lines.readline()
                if not line:
                    continue
                request = json.loads(line)
                self.asked.append(request)
                try:
                    for answer in self._script(request):
                        if answer is None:
                            break
                        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n"
                        connection.sendall(raw)
                except (BrokenPipeError, ConnectionResetError):
                    continue

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@contextmanager
def nmond(run_dir: str, answers: dict[str, Answer] | Script) -> Iterator[FakeNmond]:
    """``answers``: by op, or a function of the request."""
    script: Script = answers if callable(answers) else (lambda request: [answers[request["op"]]])
    fake = FakeNmond(run_dir, script)
    try:
        yield fake
    finally:
        fake.close()
