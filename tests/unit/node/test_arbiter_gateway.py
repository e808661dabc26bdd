"""How etcd is asked: what recorded answers mean, and what hanging, lying and broken endpoints cost.

The answers were recorded from etcd 3.4.23 with curl.
"""

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ha.node.arbiter import answers
from ha.node.arbiter.answers import BadAnswerError, Header, Key, RefusedError
from ha.node.arbiter.gateway import Gateway, UnavailableError
from ha.node.config.etcd import Endpoint, EtcdOptions

HEAD = '"header":{"cluster_id":"15875391935852295136","member_id":"7383792418829112008","revision":"2","raft_term":"2"}'
CLUSTER = 15875391935852295136
HEADER = Header(CLUSTER, 2, 2)
KEY = (
    '{"key":"L2E=","create_revision":"2","mod_revision":"2","version":"1","value":"dg==","lease":"1353509847870738951"}'
)


# ------------------------------------------------------------------------------------------ recorded answers


def test_a_look() -> None:
    data = f'{{{HEAD},"kvs":[{KEY}],"count":"1"}}'.encode()
    assert answers.range_answer(data) == (HEADER, {"/a": Key("/a", b"v", 1353509847870738951, 2, 2)})
    assert answers.range_answer(f"{{{HEAD}}}".encode()) == (HEADER, {})
    question = answers.range_question("/ezha/c/")
    assert [base64.b64decode(question[part]) for part in ("key", "range_end")] == [b"/ezha/c/", b"/ezha/c0"]


def test_a_lease() -> None:
    assert answers.grant_answer(f'{{{HEAD},"ID":"1353509847870738949","TTL":"2"}}'.encode()) == (
        HEADER,
        1353509847870738949,
        2,
    )
    renewed = f'{{"result":{{{HEAD},"ID":"1353509847870738951","TTL":"5"}}}}\n'.encode()
    assert answers.keepalive_answer(renewed) == (HEADER, 5)
    assert answers.keepalive_answer(f'{{"result":{{{HEAD},"ID":"12345"}}}}'.encode()) == (HEADER, 0)
    with pytest.raises(RefusedError):
        answers.keepalive_answer(b'{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}')


def test_a_transaction() -> None:
    done = f'{{{HEAD},"succeeded":true,"responses":[{{"response_put":{{"header":{{"revision":"2"}}}}}}]}}'
    assert answers.put_answer(done.encode()).done
    inner = f'{{"response_range":{{"header":{{"revision":"2"}},"kvs":[{KEY}],"count":"1"}}}}'
    put = answers.put_answer(f'{{{HEAD},"responses":[{inner}]}}'.encode())
    assert not put.done
    assert put.there is not None
    assert put.there.lease == 1353509847870738951


def test_a_refusal() -> None:
    text = (
        b'{"error":"etcdserver: requested lease not found","message":"etcdserver: requested lease not found","code":5}'
    )
    error = answers.failure(404, text)
    assert (error.code, str(error)) == (answers.NOT_FOUND, "etcdserver: requested lease not found")
    with pytest.raises(BadAnswerError):
        answers.failure(404, b"Not Found")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"header":{}}',
        b'{"header":[]}',
        b'{"header":{"cluster_id":"0","raft_term":"1"}}',
        b'{"header":{"cluster_id":"1e3","raft_term":"1"}}',
        b'{"header":{"cluster_id":true,"raft_term":"1"}}',
        f'{{{HEAD},"kvs":{{}}}}'.encode(),
        f'{{{HEAD},"kvs":[1]}}'.encode(),
        f'{{{HEAD},"kvs":[{{"key":"!"}}]}}'.encode(),
        f'{{{HEAD},"kvs":[{{"key":7}}]}}'.encode(),
        f'{{{HEAD},"succeeded":"yes"}}'.encode(),
        f'{{{HEAD},"token":"a\\nb"}}'.encode(),
        f'{{{HEAD},"ID":"-5","TTL":"2"}}'.encode(),
        b"x" * (answers.MAX_ANSWER + 1),
    ],
)
def test_what_is_no_answer_is_refused_by_whoever_needs_it(data: bytes) -> None:
    """Each of them by at least one reader, and by none with anything but BadAnswerError."""
    refused = 0
    for read in (
        answers.range_answer,
        answers.grant_answer,
        answers.keepalive_answer,
        answers.put_answer,
        answers.status_answer,
        answers.token_answer,
    ):
        try:
            read(data)
        except BadAnswerError:
            refused += 1
    assert refused


# ------------------------------------------------------------------------------------------------ endpoints

Reply = Callable[[socket.socket, str, dict[str, object]], None]


def answer(line: socket.socket, body: str, status: str = "200 OK") -> None:
    data = body.encode()
    line.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)


def says(body: str, status: str = "200 OK") -> Reply:
    return lambda line, what, question: answer(line, body, status)


LOOK = f'{{{HEAD},"kvs":[{KEY}]}}'
GOOD = says(LOOK)


class Endpoints:
    """Servers of the test, each with a way to reply; what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []
        self.connections = 0
        self._servers: list[socket.socket] = []
        self._lines: list[socket.socket] = []

    def add(self, reply: Reply) -> Endpoint:
        server = socket.create_server(("127.0.0.1", 0))
        number = len(self._servers)
        self._servers.append(server)
        threading.Thread(target=self._serve, args=(server, number, reply), daemon=True).start()
        return Endpoint("127.0.0.1", server.getsockname()[1], False)

    def _serve(self, server: socket.socket, number: int, reply: Reply) -> None:
        while True:
            try:
                line, _ = server.accept()
            except OSError:
                return
            self.connections += 1
            self._lines.append(line)
            threading.Thread(target=self._talk, args=(line, number, reply), daemon=True).start()

    def _talk(self, line: socket.socket, number: int, reply: Reply) -> None:
        with line, line.makefile("rb") as file:
            try:
                while head := file.readline():
                    length = 0
                    while (header := file.readline().strip()) != b"":
                        if header.lower().startswith(b"content-length:"):
                            length = int(header.split(b":")[1])
                    question = json.loads(file.read(length))
                    what = head.split()[1].decode()
                    self.asked.append((number, what))
                    reply(line, what, question)
            except OSError:
                return

    def close(self) -> None:
        for each in (*self._servers, *self._lines):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()


@contextmanager
def gateway(*replies: Reply, timeout: float = 0.5, **more: str) -> Iterator[tuple[Gateway, Endpoints]]:
    endpoints = Endpoints()
    made = Gateway(EtcdOptions(tuple(endpoints.add(reply) for reply in replies), **more), timeout)
    made.cluster = CLUSTER
    try:
        yield made, endpoints
    finally:
        made.close()
        endpoints.close()


def hangs(line: socket.socket, what: str, question: dict[str, object]) -> None:
    line.recv(1)


def trickles(line: socket.socket, what: str, question: dict[str, object]) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        line.sendall(b" ")
        time.sleep(0.02)


def test_the_connection_is_kept() -> None:
    with gateway(GOOD) as (etcd, endpoints):
        for _ in range(3):
            assert list(etcd.range("/")[1]) == ["/a"]
        assert endpoints.connections == 1


def test_one_that_the_member_closed_meanwhile_is_made_anew() -> None:
    def once(line: socket.socket, what: str, question: dict[str, object]) -> None:
        answer(line, LOOK)
        line.shutdown(socket.SHUT_RDWR)

    with gateway(once) as (etcd, endpoints):
        etcd.range("/")
        etcd.range("/")
        assert endpoints.connections == 2


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (hangs, "does not answer within 0.1 s"),
        (trickles, "does not answer within 0.1 s"),
        (says("no json"), "does not answer as etcd does"),
        (says("Not Found", "404 Not Found"), "does not answer as etcd does"),
        (says('{"error":"etcdserver: no leader","code":14}', "503 Service Unavailable"), "says: etcdserver: no leader"),
        (says(f"{{{HEAD.replace('15875391935852295136', '7')}}}"), "belongs to the etcd cluster 7"),
        (lambda line, what, question: line.close(), "does not answer"),
    ],
    ids=["hangs", "trickles", "nonsense", "another program", "no leader", "another cluster", "closes"],
)
def test_the_next_endpoint_answers_where_one_does_not(bad: Reply, words: str) -> None:
    with gateway(bad, GOOD, timeout=0.1) as (etcd, endpoints):
        assert etcd.range("/")[0] == HEADER
        # The one that answered comes first from now on.
        endpoints.asked.clear()
        etcd.range("/")
        assert [number for number, _ in endpoints.asked] == [1]
    with gateway(bad, timeout=0.1) as (etcd, endpoints):
        with pytest.raises(UnavailableError) as caught:
            etcd.range("/")
        assert words in str(caught.value)


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    etcd = Gateway(EtcdOptions((Endpoint("127.0.0.1", port, False),)), 0.5)
    with pytest.raises(UnavailableError, match="Connection refused"):
        etcd.range("/")


def test_an_answer_that_all_would_give_is_not_asked_for_again() -> None:
    text = '{"error":"etcdserver: requested lease not found","code":5}'
    with gateway(says(text, "404 Not Found"), GOOD) as (etcd, endpoints):
        with pytest.raises(RefusedError):
            etcd.keepalive(5)
        etcd.revoke(5)  # One that is gone already is what was wanted.
        assert [number for number, _ in endpoints.asked] == [0, 0]


def test_each_says_which_cluster_it_is_of() -> None:
    other = says(f"{{{HEAD.replace('15875391935852295136', '7')}}}")
    with gateway(GOOD, other, hangs, timeout=0.1) as (etcd, _):
        assert list(etcd.identify().values()) == [CLUSTER, 7, "does not answer within 0.1 s"]


def test_a_user_has_a_token_and_a_new_one_where_it_has_ended(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    tokens: list[str] = []

    def reply(line: socket.socket, what: str, question: dict[str, object]) -> None:
        if what == "/v3/auth/authenticate":
            assert question == {"name": "ezha", "password": "s3cret"}
            tokens.append(f"t{len(tokens)}")
            answer(line, f'{{{HEAD},"token":"{tokens[-1]}"}}')
        elif len(tokens) == 1 and etcd.range_count == 1:  # type: ignore[attr-defined]
            answer(line, '{"error":"etcdserver: invalid auth token","code":16}', "401 Unauthorized")
        else:
            answer(line, LOOK)

    with gateway(reply, user="ezha", password_file=str(secret)) as (etcd, _):
        etcd.range_count = 0  # type: ignore[attr-defined]
        etcd.range("/")
        etcd.range_count = 1  # type: ignore[attr-defined]
        etcd.range("/")
        assert tokens == ["t0", "t1"]


def test_a_password_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o644)
    with gateway(GOOD, user="ezha", password_file=str(secret)) as (etcd, endpoints):
        with pytest.raises(RefusedError, match="chmod 0600"):
            etcd.range("/")
        assert not endpoints.asked
