"""Asking the server of a disk: the answers, a path that is too long for a socket, and a stranger on the line."""

import os
import socket
import threading
from pathlib import Path

import pytest

from ha.lab import control


def answer(line: str) -> str:
    return "error no such word" if line == "bad" else f"ok {line}"


@pytest.fixture
def path(tmp_path: Path) -> str:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    server = control.listen(str(deep / "disk"))
    threading.Thread(target=control.serve, args=(server, answer), daemon=True).start()
    return str(deep / "disk")


def test_an_answer_comes_back_also_over_a_path_longer_than_a_sockets(path: str) -> None:
    assert len(path) > 200
    assert control.ask(path, "eio") == "eio"


def test_an_error_is_raised_with_its_words(path: str) -> None:
    with pytest.raises(ValueError, match=r"^no such word$"):
        control.ask(path, "bad")


def test_a_client_that_hangs_up_does_not_end_the_server(path: str) -> None:
    folder = Path(path).parent
    for rude in (b"", b"x", b"y" * 10_000):
        with socket.socket(socket.AF_UNIX) as client:
            handle = os.open(folder, os.O_PATH)
            client.connect(f"/proc/self/fd/{handle}/disk")
            os.close(handle)
            client.sendall(rude)
    assert control.ask(path, "ok") == "ok"


def test_nobody_there_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        control.ask(str(tmp_path / "disk"), "?")
