"""``ezha key``: a rotation as an administrator types it, and every step that would leave a node unheard refused."""

import json
import os
from pathlib import Path

import pytest

from ha.cli import ezha
from ha.heartbeats.keys import MEANING, Key, KeyRing, Mode, shown
from ha.node.config import keyring
from ha.node.layout import Layout

from . import fake

OLD, NEW = Key(bytes(range(32))), Key(bytes(range(32, 64)))
A, B = shown(OLD.id), shown(NEW.id)


@pytest.fixture
def place(prefix: Path) -> Layout:
    return Layout(str(prefix))


@pytest.fixture
def files(prefix: Path) -> dict[str, str]:
    made = {}
    for name, key in (("old", OLD), ("new", NEW)):
        path = prefix / f"{name}.key"
        path.touch(mode=0o600)
        path.write_text(keyring.key_text(key))
        made[name] = str(path)
    return made


def peer(signs: str | None, newest: str | None, heard: bool = True) -> fake.Answer:
    age = None if signs is None else 0.3
    return {"node": "node2", "heard": heard, "original": False, "signs": signs, "newest": newest, "age": age}


def answers(*peers: fake.Answer) -> dict[str, fake.Answer]:
    told = {"authentication": "enforce", "node": "node1", "signs": A, "accepts": [A], "peers": list(peers)}
    return {"keys": fake.final(**told), "reload": fake.final(text="taken over: keys changed", errors=[])}


def put(place: Layout, ring: KeyRing) -> None:
    keyring.change_keys(place, lambda _: ring)


def test_a_new_key_is_for_roots_eyes_only(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = prefix / "a.key"
    old = os.umask(0)
    try:
        assert ezha.main(["key", "new", str(path)]) == 0
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    key = keyring.read_key(str(path))
    assert capsys.readouterr().out.startswith(f"key {shown(key.id)} is in {path}; copy it to every node")
    assert ezha.main(["key", "new", str(path)]) == 1
    assert capsys.readouterr().err == f"ezha: {path} is there already; no key is ever overwritten\n"
    assert keyring.read_key(str(path)) == key


def test_the_first_key_step_by_step(
    place: Layout, files: dict[str, str], run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = (
        (["add", files["old"]], peer("none", "none"), KeyRing((OLD,)), Mode.UNAUTHENTICATED),
        (["sign", A], peer("none", A), KeyRing((OLD,), OLD.id), Mode.PERMISSIVE),
        (["retire", "unsigned"], peer(A, A), KeyRing((OLD,), OLD.id, unsigned=False), Mode.ENFORCE),
    )
    for argv, other, ring, mode in steps:
        with fake.nmond(run_dir, answers(other)) as nmond:
            assert ezha.main(["key", *argv]) == 0
        os.unlink(f"{run_dir}/control")
        assert keyring.load_keys(place) == ring
        assert ring.mode is mode
        assert nmond.asked[-1] == {"op": "reload"}
        assert OLD.secret.hex() not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ring", "argv", "other", "says"),
    [
        (KeyRing((OLD,)), ["sign", A], peer("none", "none"), f"node2 does not accept key {A} yet: ezha key add there"),
        (KeyRing((OLD,)), ["sign", A], peer(None, None, False), "nothing is heard of node2, so it may not be ready"),
        (KeyRing((OLD,), OLD.id), ["retire", "unsigned"], peer("none", A), "node2 does not sign yet: ezha key sign"),
        (KeyRing((OLD,), OLD.id), ["sign", "unsigned"], peer(A, A), "node2 does not accept what is unsigned yet"),
        (
            KeyRing((OLD, NEW), NEW.id, unsigned=False),
            ["retire", A],
            peer(A, B),
            f"node2 signs with {A} still: ezha key sign another one there",
        ),
    ],
)
def test_a_step_that_another_node_is_not_ready_for(
    ring: KeyRing,
    argv: list[str],
    other: fake.Answer,
    says: str,
    place: Layout,
    run_dir: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(place, ring)
    with fake.nmond(run_dir, answers(other)):
        assert ezha.main(["key", *argv]) == 1
        assert capsys.readouterr().err.startswith(f"ezha: {says}")
        assert keyring.load_keys(place) == ring
        assert ezha.main(["key", *argv, "--force"]) == 0
    assert keyring.load_keys(place) != ring


def test_without_nmond_nobody_knows_what_the_others_are_ready_for(
    place: Layout, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ezha.main(["key", "add", files["old"]]) == 0
    assert capsys.readouterr().err == ""
    assert ezha.main(["key", "sign", A]) == 1
    assert "nmond is not running here, so what the other nodes are ready for is not known" in capsys.readouterr().err
    assert ezha.main(["key", "sign", A, "--force"]) == 0
    assert keyring.load_keys(place).mode is Mode.PERMISSIVE


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["add", "/nonexistent.key"], "/nonexistent.key: does not exist; make one on one node"),
        (["sign", "xyz"], "'xyz' is no id of a key; ezha key status shows them"),
        (["retire", "0000", "--force"], "'0000' is no id of a key"),
        (["sign", B, "--force"], f"there is no key {B} yet: ezha key add FILE, on every node"),
        (["retire", "unsigned", "--force"], "this node does not sign yet: first ezha key sign ID"),
    ],
)
def test_wrong_calls_change_nothing(
    argv: list[str], says: str, prefix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ezha.main(["key", *argv]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"ezha: {says}") and len(told.splitlines()) == 1, told
    assert not (prefix / "conf" / "keys").exists()


def test_status_tells_what_each_node_signs_with(
    place: Layout, run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(place, KeyRing((OLD, NEW), OLD.id))
    others = [peer(A, B), {**peer("none", "none"), "node": "node3"}, {**peer(None, None, False), "node": "node4"}]
    others.append({**peer(None, None), "node": "node5", "original": True})
    with fake.nmond(run_dir, answers(*others)):
        assert ezha.main(["key", "status"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            MEANING[Mode.PERMISSIVE],
            f"  key {A}  signs ours",
            f"  key {B}  accepted",
            "  unsigned  accepted",
            f"node2: signs with {A}, the key it got last is {B}",
            "node3: does not sign, has no key",
            "node4: not heard yet",
            "node5: speaks as OpenHA does: its heartbeats cannot be signed, and are taken all the same",
        ]
        assert ezha.main(["key", "status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["signs"] for each in told["peers"]] == [A, "none", None, None]
    assert OLD.secret.hex() not in str(told)


def test_a_ring_that_others_may_read_is_refused(place: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    put(place, KeyRing((OLD,), OLD.id))
    os.chmod(place.keys, 0o644)
    assert ezha.main(["key", "status"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("ezha: conf/keys: is not root's alone (owner root, group root, mode 0644): chmod 0600 ")


def test_an_installation_that_signs_from_the_beginning(
    tmp_path: Path,
    files: dict[str, str],
    run_dir: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "cluster"
    place = Layout(str(target), {"EZ_RUN": run_dir})
    install = ["install", "--prefix", str(target), "--key"]
    assert ezha.main([*install, "/nonexistent.key"]) == 1
    assert not target.exists()
    for _ in range(2):
        assert ezha.main([*install, files["old"]]) == 0
        assert keyring.load_keys(place) == KeyRing((OLD,), OLD.id, unsigned=False)
    capsys.readouterr()
    assert ezha.main([*install, files["new"]]) == 1
    assert capsys.readouterr().err.startswith("ezha: the key is not taken over: it has keys already")
    os.unlink(place.keys)
    with fake.nmond(run_dir, answers()):
        assert ezha.main([*install, files["old"]]) == 1
    assert "while ezha runs here: bring it in with ezha key add" in capsys.readouterr().err
    assert keyring.load_keys(place).mode is Mode.UNAUTHENTICATED


def test_a_configuration_that_nmond_refuses(
    place: Layout, files: dict[str, str], run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ring is as it was asked for; that nmond goes on with the one before is said, and why."""
    refusal = {"final": True, "ok": False, "text": "not taken over", "errors": ["conf/monitor:3: timeout ten"]}
    with fake.nmond(run_dir, {**answers(peer("none", "none")), "reload": refusal}):
        assert ezha.main(["key", "add", files["old"]]) == 1
    told = capsys.readouterr().err
    assert told == "the file is changed, but nmond did not take it over: not taken over; conf/monitor:3: timeout ten\n"
    assert keyring.load_keys(place) == KeyRing((OLD,))
