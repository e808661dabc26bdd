"""The file of keys: what it may hold, who may read it, and the three steps in which a key comes and goes."""

import os
from pathlib import Path

import pytest

from ha.heartbeats.keys import NO_KEY, NO_KEYS, Key, KeyRing, Mode, shown
from ha.node.config import ConfigError, keyring
from ha.node.config.problems import Report
from ha.node.layout import Layout

OLD, NEW = Key(bytes(range(32))), Key(bytes(range(32, 64)))
A, B = f"{shown(OLD.id)} {OLD.secret.hex()}", f"{shown(NEW.id)} {NEW.secret.hex()}"


@pytest.fixture
def place(tmp_path: Path) -> Layout:
    (tmp_path / "conf").mkdir()
    return Layout(str(tmp_path))


def write(place: Layout, text: str, mode: int = 0o600) -> None:
    Path(place.keys).write_text(text)
    Path(place.keys).chmod(mode)


def problems(text: str) -> list[str]:
    report = Report()
    keyring.parse_keys(text, report)
    return [str(problem) for problem in report.problems]


@pytest.mark.parametrize(
    ("text", "ring"),
    [
        ("", NO_KEYS),
        ("# nothing\naccept unsigned\n", NO_KEYS),
        (f"accept unsigned\naccept {A}\n", KeyRing((OLD,))),
        (f"accept unsigned\nsign {A}\n", KeyRing((OLD,), OLD.id)),
        (f"sign {A}\n", KeyRing((OLD,), OLD.id, unsigned=False)),
        (f"accept {A}\nsign\t{B}\n", KeyRing((OLD, NEW), NEW.id, unsigned=False)),
    ],
)
def test_what_stands_there(place: Layout, text: str, ring: KeyRing) -> None:
    write(place, text)
    assert keyring.load_keys(place) == ring
    write(place, keyring.text_of(ring))
    assert keyring.load_keys(place) == ring


def test_no_file_is_no_key(place: Layout) -> None:
    assert keyring.load_keys(place) is not None
    assert keyring.load_keys(place).mode is Mode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sign\n", "conf/keys:1: this is no key; give 'accept ID KEY', 'sign ID KEY' or 'accept unsigned'"),
        (f"trust {A}\n", "conf/keys:1: this is no key"),
        ("sign 1234 beef\n", "conf/keys:1: this is no key: one is 64 hexadecimal digits"),
        (f"sign 0000 {OLD.secret.hex()}\n", f"conf/keys:1: the id of this key is {shown(OLD.id)}, not 0000"),
        (f"sign {A}\naccept {A}\n", f"conf/keys:2: key {shown(OLD.id)} stands already on line 1; remove one"),
        (f"sign {A}\nsign {B}\n", "conf/keys:2: two keys to sign with; line 1 has the other one"),
        (f"accept {A}\n", "conf/keys: no key is there to sign with"),
        ("accept unsigned\n" * 20, "conf/keys:10: more than 9 lines"),
    ],
)
def test_what_is_refused_in_one_line(text: str, says: str) -> None:
    found = problems(text)
    assert len(found) == 1 and found[0].startswith(says), found
    assert OLD.secret.hex() not in found[0]


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o666])
def test_a_file_that_others_may_read_is_refused(place: Layout, mode: int) -> None:
    write(place, f"sign {A}\n", mode)
    with pytest.raises(ConfigError) as caught:
        keyring.load_keys(place)
    says = f"conf/keys: is not root's alone (owner root, group root, mode {mode:04o}): chmod 0600 {place.keys}"
    assert str(caught.value) == says


def test_of_another_owner(place: Layout) -> None:
    write(place, f"sign {A}\n")
    os.chown(place.keys, 65534, 0)
    with pytest.raises(ConfigError, match=r"conf/keys: belongs to nobody, not to root: chown root "):
        keyring.load_keys(place)


def test_three_steps_from_no_key_to_enforce_and_on_to_another_key(place: Layout) -> None:
    def change(step: keyring.Change) -> KeyRing:
        ring = keyring.change_keys(place, step)
        assert keyring.load_keys(place) == ring
        assert os.stat(place.keys).st_mode & 0o777 == 0o600
        return ring

    assert change(lambda r: keyring.accepting(r, OLD)).mode is Mode.UNAUTHENTICATED
    assert change(lambda r: keyring.signing(r, OLD.id)).mode is Mode.PERMISSIVE
    assert change(lambda r: keyring.without(r, NO_KEY)) == KeyRing((OLD,), OLD.id, unsigned=False)
    assert change(lambda r: keyring.accepting(r, NEW)).mode is Mode.ENFORCE
    assert change(lambda r: keyring.accepting(r, NEW)).newest == NEW.id
    assert change(lambda r: keyring.signing(r, NEW.id)).mode is Mode.ENFORCE
    assert change(lambda r: keyring.without(r, OLD.id)) == KeyRing((NEW,), NEW.id, unsigned=False)


def test_steps_that_would_leave_a_node_mute_or_deaf() -> None:
    enforce = KeyRing((OLD,), OLD.id, unsigned=False)
    for wrong, says in (
        (lambda: keyring.signing(enforce, NEW.id), "there is no key"),
        (lambda: keyring.signing(enforce, NO_KEY), "what is unsigned is not accepted yet"),
        (lambda: keyring.without(enforce, OLD.id), f"this node signs with {shown(OLD.id)}: first ezha key sign ID"),
        (lambda: keyring.without(enforce, NEW.id), "there is no key"),
        (lambda: keyring.without(KeyRing((OLD,)), NO_KEY), "this node does not sign yet: first ezha key sign ID"),
        (lambda: keyring.only(KeyRing((OLD,)), NEW), "it has keys already"),
    ):
        with pytest.raises(ValueError, match=says):
            wrong()


def test_no_more_keys_than_a_rotation_needs(place: Layout) -> None:
    for _ in range(keyring.MAX_KEYS):
        keyring.change_keys(place, lambda ring: keyring.accepting(ring, keyring.new_key()))
    with pytest.raises(ValueError, match="retire one that nobody signs with"):
        keyring.change_keys(place, lambda ring: keyring.accepting(ring, keyring.new_key()))


def test_a_key_in_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.key"
    with pytest.raises(ConfigError, match="does not exist; make one on one node"):
        keyring.read_key(str(path))
    path.write_text(keyring.key_text(OLD))
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 0600"):
        keyring.read_key(str(path))
    path.chmod(0o600)
    assert keyring.read_key(str(path)) == OLD
    for text in ("", "beef\n", f"{OLD.secret.hex()} more\n", "ü\n", "0" * 20_000):
        path.write_text(text)
        with pytest.raises(ConfigError):
            keyring.read_key(str(path))


def test_ids_that_people_give() -> None:
    assert keyring.parse_id("unsigned") == NO_KEY
    assert keyring.parse_id("00ff") == 255
    for word in ("", "0000", "12345", "12g4", "١٢٣٤"):
        with pytest.raises(ValueError):
            keyring.parse_id(word)
