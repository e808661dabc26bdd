"""Real etcd servers on the loopback interface, each a process of its own, ended by its pid."""

import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ha.node.config.etcd import Endpoint

PROGRAM = shutil.which("etcd") or ""
needs_etcd = pytest.mark.skipif(not PROGRAM, reason="there is no etcd here: apt-get install etcd-server")
START_S = 20.0


def free_ports(count: int) -> list[int]:
    """Free at this moment, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


class Member:
    """One server."""

    def __init__(self, folder: Path, name: str, client: int, peer: int, extra: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.name = name
        self.endpoint = Endpoint("127.0.0.1", client, "--auto-tls" in extra)
        self.peer = f"http://127.0.0.1:{peer}"
        self._extra = extra
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: str, state: str = "new") -> None:
        url = str(self.endpoint)
        words = {
            "--name": self.name,
            "--data-dir": str(self.folder / self.name),
            "--listen-client-urls": url,
            "--advertise-client-urls": url,
            "--listen-peer-urls": self.peer,
            "--initial-advertise-peer-urls": self.peer,
            "--initial-cluster": cluster,
            "--initial-cluster-state": state,
            "--heartbeat-interval": "50",
            "--election-timeout": "300",
        }
        with (self.folder / f"{self.name}.log").open("ab") as log:
            argv = [PROGRAM, *(word for pair in words.items() for word in pair), *self._extra]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def ask(self, what: str, question: dict[str, object], timeout: float = 1.0) -> dict[str, object]:
        """Without what is tested. Raises OSError."""
        line = http.client.HTTPConnection("127.0.0.1", self.endpoint.port, timeout=timeout)
        if self.endpoint.tls:
            trusting = ssl._create_unverified_context()
            line = http.client.HTTPSConnection("127.0.0.1", self.endpoint.port, timeout=timeout, context=trusting)
        try:
            line.request("POST", f"/v3/{what}", json.dumps(question))
            answer: dict[str, object] = json.loads(line.getresponse().read())
            return answer
        finally:
            line.close()

    @property
    def certificate(self) -> Path:
        """Of a member with ``--auto-tls``: made by itself, and signed by itself."""
        return self.folder / self.name / "fixtures" / "client" / "cert.pem"

    def leads(self) -> bool:
        status = self.ask("maintenance/status", {})
        return status["header"]["member_id"] == status.get("leader")  # type: ignore[index]

    def serves(self) -> bool:
        """Or says that it would, to a user."""
        try:
            answer = self.ask("kv/range", {"key": "eA=="})
        except (OSError, ValueError, http.client.HTTPException):
            return False
        return "header" in answer or "user name is empty" in str(answer.get("message"))

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


class Servers:
    """A cluster of them."""

    def __init__(self, folder: Path, count: int, extra: tuple[str, ...] = ()) -> None:
        ports = free_ports(2 * count)
        self.members = [
            Member(folder, f"m{number}", ports[2 * number], ports[2 * number + 1], extra) for number in range(count)
        ]
        self.initial = ",".join(f"{member.name}={member.peer}" for member in self.members)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(member.endpoint for member in self.members)

    def start(self) -> None:
        for member in self.members:
            member.start(self.initial)

    def wait(self) -> None:
        """Until a quorum answers."""
        end = time.monotonic() + START_S
        for member in self.members:
            while not member.serves():
                assert time.monotonic() < end, f"{member.name} does not answer: {member.folder}/{member.name}.log"
                time.sleep(0.02)

    def leader(self) -> Member:
        return next(member for member in self.members if member.process is not None and member.leads())

    def kill(self) -> None:
        for member in self.members:
            member.kill()


@contextmanager
def servers(folder: Path, count: int, extra: tuple[str, ...] = (), *, wait: bool = True) -> Iterator[Servers]:
    """``count`` members that answer; gone at the end."""
    made = Servers(folder, count, extra)
    try:
        made.start()
        if wait:
            made.wait()
        yield made
    finally:
        made.kill()
