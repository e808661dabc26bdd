"""``ezha fence`` and ``ezha confirm-down``: what an operator has to type, and what is done then."""

import io
import os
from pathlib import Path

import pytest

from ha.cli import ezha
from ha.node.layout import node_name

from . import fake

OWN = node_name()


@pytest.fixture
def conf(prefix: Path) -> Path:
    """A cluster of this machine and ``peer``, which is fenced by a program that keeps a note of it."""
    conf = prefix / "conf"
    (conf / "nodes").write_text(f"{OWN}\npeer\n")
    (conf / "monitor").write_text(f"{OWN} net eth0 239.1.1.1 1 10\npeer net eth0 239.1.1.1 2 10\n")
    (conf / "services").write_text("")
    off = prefix / "off"
    off.write_text(f'#!/bin/sh\necho "$EZ_TARGET" >>{prefix}/fenced; echo outlet 7; exit $(cat {prefix}/code)\n')
    off.chmod(0o755)
    (prefix / "code").write_text("0")
    (conf / "options.toml").write_text(f'[fence."peer"]\ncommand = ["{off}"]\n')
    return conf


def typing(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_a_node_is_fenced_and_that_is_logged(
    prefix: Path, conf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typing(monkeypatch, "peer")
    assert ezha.main(["fence", "peer"]) == 0
    out, err = capsys.readouterr()
    assert out == f"peer was fenced: {prefix}/off: off ended with exit code 0\n"
    assert "outlet 7" in err
    assert (prefix / "fenced").read_text() == "peer\n"
    assert "fencing of peer, asked for by" in (prefix / "log" / "nmond.log").read_text()


def test_one_that_fails_is_told(prefix: Path, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (prefix / "code").write_text("1")
    assert ezha.main(["fence", "peer", "--yes"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "ezha fence: peer was not fenced" in err
    assert "exit code 1: outlet 7" in err


@pytest.mark.parametrize("lines", [(), ("yes",), ("",), ("Peer",)])
def test_without_the_name_nothing_is_done(
    prefix: Path, conf: Path, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...]
) -> None:
    typing(monkeypatch, *lines)
    assert ezha.main(["fence", "peer"]) == 1
    assert not (prefix / "fenced").exists()


@pytest.mark.parametrize(
    ("node", "words"), [(OWN, "is this node"), ("other", "is no node of this cluster"), ("peer", "nothing says how")]
)
def test_what_cannot_be_fenced(conf: Path, capsys: pytest.CaptureFixture[str], node: str, words: str) -> None:
    (conf / "options.toml").write_text("")
    assert ezha.main(["fence", node, "--yes"]) == 1
    assert words in capsys.readouterr().err


PEERS = [{"node": "peer", "heard": False, "left": False}, {"node": "third", "heard": True, "left": False}]


def nmond(ok: bool, text: str) -> fake.Script:
    def script(request: fake.Answer) -> list[fake.Answer]:
        if request["op"] == "status":
            return [fake.final(peers=PEERS)]
        return [fake.final(ok=ok, results=[{"service": "", "ok": ok, "text": text}])]

    return script


def test_a_node_is_confirmed_down_after_its_name_was_typed_twice(
    run_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typing(monkeypatch, "peer", "peer")
    with fake.nmond(run_dir, nmond(True, "peer counts as down until it is heard")) as asked:
        assert ezha.main(["confirm-down", "peer"]) == 0
    request = asked.asked[-1]
    assert (request["op"], request["node"]) == ("confirm-down", "peer")
    assert f"(uid {os.getuid()}), ezha confirm-down" in request["by"]
    assert capsys.readouterr().out == "peer counts as down until it is heard\n"


@pytest.mark.parametrize("lines", [(), ("peer",), ("peer", "yes")])
def test_typed_once_is_not_enough(run_dir: str, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...]) -> None:
    typing(monkeypatch, *lines)
    with fake.nmond(run_dir, nmond(True, "")) as asked:
        assert ezha.main(["confirm-down", "peer"]) == 1
    assert [request["op"] for request in asked.asked] == ["status"]


@pytest.mark.parametrize(("node", "words"), [("third", "is heard at this moment"), ("x", "is not another node")])
def test_who_is_heard_or_unknown_is_not_down(
    run_dir: str, capsys: pytest.CaptureFixture[str], node: str, words: str
) -> None:
    with fake.nmond(run_dir, nmond(True, "")):
        assert ezha.main(["confirm-down", node]) == 1
    assert words in capsys.readouterr().err


def test_what_nmond_refuses_is_told(
    run_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typing(monkeypatch, "peer", "peer")
    with fake.nmond(run_dir, nmond(False, "peer is heard at this moment: it is not down")):
        assert ezha.main(["confirm-down", "peer"]) == 1
    assert "ezha: peer is heard at this moment" in capsys.readouterr().err
