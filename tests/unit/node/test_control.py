"""The control socket: who may ask, and that no client can delay or fill nmond."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha.node import control as control_module
from ha.node.control import Client, ControlError, ControlServer, field, parse
from ha.node.loop import Loop
from tests.unit.node.world import Clock, ListLog, turn_until


class Bench:
    """A server whose desk answers "echo" at once, and keeps the clients of "wait"."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.loop = Loop(clock=self.clock)
        self.log = ListLog()
        self.path = f"{folder}/control"
        self.server = ControlServer(self.loop, self.path, self, self.log)
        self.server.listen()
        self.waiting: list[Client] = []
        self.ends: list[socket.socket] = []

    def asked(self, client: Client, op: str, request: dict[str, Any]) -> None:
        if op == "wait":
            self.waiting.append(client)
        elif op == "big":
            client.say({"final": True, "text": "x" * request["size"]})
        elif op == "no":
            raise ControlError("no such thing")
        else:
            client.say({"final": True, "ok": True, "request": request})

    def connect(self) -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        end.connect(self.path)
        end.setblocking(False)
        self.ends.append(end)
        return end

    def turn(self, times: int = 3) -> None:
        for _ in range(times):
            self.loop.turn(0.0)

    def ask(self, data: bytes) -> dict[str, Any]:
        end = self.connect()
        end.sendall(data)
        return self.answer(end)

    def answer(self, end: socket.socket) -> dict[str, Any]:
        self.turn()
        answer = json.loads(end.recv(100_000))
        assert isinstance(answer, dict)
        return answer


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for end in made.ends:
        end.close()
    made.server.close()
    made.loop.close()


def test_a_request_is_answered_and_the_connection_ends(bench: Bench) -> None:
    end = bench.connect()
    end.sendall(b'{"op":"echo","x":1}\n')
    assert bench.answer(end)["request"] == {"op": "echo", "x": 1}
    assert end.recv(10) == b""


def test_the_socket_is_for_its_owner_only_and_goes_with_the_server(bench: Bench) -> None:
    assert os.stat(bench.path).st_mode & 0o777 == 0o600
    bench.server.close()
    assert not os.path.exists(bench.path)


def test_a_socket_that_a_dead_nmond_left_is_replaced(bench: Bench) -> None:
    bench.server.close(unlink=False)
    again = ControlServer(bench.loop, bench.path, bench, bench.log)
    again.listen()
    bench.server = again
    assert bench.ask(b'{"op":"echo"}\n')["ok"]


def test_a_request_may_come_in_pieces(bench: Bench) -> None:
    end = bench.connect()
    for piece in (b'{"op":', b'"echo"', b"}"):
        end.sendall(piece)
        bench.turn()
        with pytest.raises(BlockingIOError):
            end.recv(10)
    end.sendall(b"\n")
    assert bench.answer(end)["ok"]


@pytest.mark.parametrize(
    "line", [b"", b"x", b"[]", b"{}", b'{"op":5}', b"\xff", b"[" * 60_000, b'{"op":"no"}', b"NaN", b'"op"']
)
def test_what_is_no_request_is_refused_in_a_sentence(bench: Bench, line: bytes) -> None:
    answer = bench.ask(line + b"\n")
    assert (answer["final"], answer["ok"]) == (True, False)
    assert answer["text"]


def test_a_request_that_is_too_long_is_refused(bench: Bench) -> None:
    end = bench.connect()
    sent = 0
    while sent <= control_module.MAX_REQUEST:
        sent += end.send(b"x" * 8192)
        bench.turn()
    assert "at most" in bench.answer(end)["text"]


def test_a_second_request_on_a_connection_ends_it(bench: Bench) -> None:
    end = bench.connect()
    end.sendall(b'{"op":"wait"}\n')
    bench.turn()
    end.sendall(b'{"op":"echo"}\n')
    bench.turn()
    assert end.recv(10) == b""
    assert bench.server.cut_off == 1


def test_more_clients_than_the_limit_are_told_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "MAX_CLIENTS", 2)
    for _ in range(2):
        bench.connect()
    bench.turn()
    late = bench.connect()
    assert "already serves 2 clients" in bench.answer(late)["text"]
    assert late.recv(10) == b""
    bench.ends[0].close()
    bench.turn()
    assert bench.ask(b'{"op":"echo"}\n')["ok"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user for a moment")
def test_another_user_is_turned_away_even_where_the_file_mode_lets_him_in(bench: Bench) -> None:
    os.chmod(bench.path, 0o666)
    folder = os.path.dirname(bench.path)
    opened = []
    while folder != "/":
        opened.append((folder, os.stat(folder).st_mode))
        os.chmod(folder, 0o755)
        folder = os.path.dirname(folder)
        if folder == "/tmp":
            break
    try:
        os.seteuid(65534)
        try:
            end = bench.connect()
        finally:
            os.seteuid(0)
    finally:
        for path, mode in opened:
            os.chmod(path, mode & 0o7777)
    end.sendall(b'{"op":"echo"}\n')
    assert "only root" in bench.answer(end)["text"]
    assert bench.server.requests == 0


def test_a_client_that_says_nothing_is_cut_off(bench: Bench) -> None:
    end = bench.connect()
    bench.turn()
    bench.clock.at += control_module.REQUEST_TIMEOUT_S + 1
    bench.turn()
    assert end.recv(10) == b""
    assert "asked nothing" in bench.log


def test_an_answer_to_a_client_that_has_gone_is_dropped(bench: Bench) -> None:
    end = bench.connect()
    end.sendall(b'{"op":"wait"}\n')
    bench.turn()
    end.close()
    bench.turn()
    (client,) = bench.waiting
    assert client.gone
    client.progress("web", "STARTING")
    client.say({"final": True, "ok": True})
    assert bench.server.idle


def test_a_client_that_closed_its_own_direction_still_gets_its_answer(bench: Bench) -> None:
    end = bench.connect()
    end.sendall(b'{"op":"wait"}\n')
    bench.turn()
    end.shutdown(socket.SHUT_WR)
    bench.turn()
    (client,) = bench.waiting
    client.progress("web", "STARTING")
    client.say({"final": True, "ok": True})
    bench.turn()
    lines = end.recv(1000).splitlines()
    assert [json.loads(line)["final"] for line in lines] == [False, True]


def test_a_half_closed_client_does_not_keep_the_loop_busy(bench: Bench) -> None:
    end = bench.connect()
    end.sendall(b'{"op":"wait"}\n')
    bench.turn()
    end.shutdown(socket.SHUT_WR)
    bench.turn()
    called: list[int] = []
    bench.loop.first = lambda: called.append(1)
    bench.turn(5)
    assert len(called) <= 5, "woken for nothing"


def test_a_large_answer_comes_whole_to_a_slow_reader(bench: Bench) -> None:
    end = bench.connect()
    end.sendall(b'{"op":"big","size":2000000}\n')
    got = bytearray()

    def read() -> bool:
        try:
            got.extend(end.recv(10_000))
        except BlockingIOError:
            pass
        return got.endswith(b"\n")

    turn_until(bench.loop, read)
    assert len(json.loads(got)["text"]) == 2_000_000


def test_a_client_that_never_reads_is_cut_off(bench: Bench) -> None:
    end = bench.connect()
    end.sendall(b'{"op":"big","size":2000000}\n')
    bench.turn()
    bench.clock.at += control_module.READ_TIMEOUT_S + 1
    bench.turn()
    assert bench.server.cut_off == 1
    assert bench.server.idle


def test_what_waits_for_a_client_is_bounded(bench: Bench) -> None:
    end = bench.connect()
    end.sendall(b'{"op":"wait"}\n')
    bench.turn()
    (client,) = bench.waiting
    for _ in range(100):
        client.progress("web", "x" * 100_000)
    assert client.gone
    assert bench.server.cut_off == 1


def test_fields_have_the_type_that_is_asked_for() -> None:
    _, request = parse(b'{"op":"x","a":"s","b":true,"n":1,"z":null}')
    assert field(request, "a", str, "") == "s"
    assert field(request, "b", bool, False) is True
    assert field(request, "c", str, "default") == "default"
    assert field(request, "z", str, None) is None
    for name, kind in (("n", bool), ("b", int), ("n", str), ("z", str)):
        with pytest.raises(ControlError):
            field(request, name, kind, "other")
