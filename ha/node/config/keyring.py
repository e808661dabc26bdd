"""The file ``keys``: what this node's heartbeats are signed with, and what is accepted (docs/security.md).

::

    accept unsigned
    accept 7c1f 64 hexadecimal digits
    sign   03aa 64 hexadecimal digits

The oldest first. A key comes as ``accept``, is made ``sign`` once every node accepts it, and goes once nobody signs
with it any more: three steps, none of which can cost a heartbeat. ``unsigned`` goes the same way, as if it were a key.
No secret is ever part of a message. Where there is no such file, heartbeats are not signed.
"""

import os
from collections.abc import Callable
from dataclasses import replace

from ha.heartbeats.keys import NO_KEY, NO_KEYS, SECRET_SIZE, Key, KeyRing, shown
from ha.node.config.lines import Line, read_lines, split_words
from ha.node.config.locking import locked
from ha.node.config.problems import ConfigError, Problem, Report
from ha.node.files import read_regular, replace_file
from ha.node.layout import Layout
from ha.node.trust import DistrustError, require_trust

MAX_KEYS = 8
"""Two are needed, while one takes the other's place."""
MAX_FILE = 16 * 1024
"""Bytes."""
MODE = 0o600
UNSIGNED = "unsigned"
_HEAD = "# What heartbeats are signed with. ezha key changes it; docs/security.md tells how.\n"
_KEY_HEAD = "# A key for the heartbeats of ezha: whoever has it can speak for any node of the cluster.\n"
_FORM = "give 'accept ID KEY', 'sign ID KEY' or 'accept unsigned'"

Change = Callable[[KeyRing], KeyRing]
"""Raises ValueError with a sentence where it cannot be done."""


def load_keys(layout: Layout) -> KeyRing:
    """The ring of this node. Raises ConfigError with everything that is wrong."""
    report = Report()
    name = layout.show(layout.keys)
    text = _read(layout.keys, name, report)
    ring = parse_keys(text or "", report, name)
    if report.problems:
        raise ConfigError(report.problems)
    return ring


def parse_keys(text: str, report: Report, file: str = "conf/keys") -> KeyRing:
    """What is wrong goes to ``report``; the answer counts only where nothing is."""
    keys: list[Key] = []
    lines: dict[int, int] = {}
    signs, unsigned = NO_KEY, False
    for line in read_lines(text, file, report, MAX_KEYS + 1):
        if line.words == ("accept", UNSIGNED):
            unsigned = True
            continue
        key = _parse_line(line, report, file)
        if key is None:
            continue
        if key.id in lines:
            report.problem(file, line.number, f"key {shown(key.id)} stands already on line {lines[key.id]}; remove one")
            continue
        keys.append(key)
        lines[key.id] = line.number
        if line.words[0] == "sign":
            if signs != NO_KEY:
                report.problem(file, line.number, f"two keys to sign with; line {lines[signs]} has the other one")
            signs = key.id
    if len(keys) > MAX_KEYS:
        report.problem(file, 0, f"{len(keys)} keys; at most {MAX_KEYS} are supported, two are ever needed")
    if keys and signs == NO_KEY and not unsigned:
        text_ = "no key is there to sign with, and what is unsigned is refused: mark a key 'sign', or 'accept unsigned'"
        report.problem(file, 0, text_)
    if report.problems:
        return NO_KEYS
    return KeyRing(tuple(keys), signs, unsigned or not keys)


def _parse_line(line: Line, report: Report, file: str) -> Key | None:
    words = line.words
    if len(words) != 3 or words[0] not in ("accept", "sign"):
        report.problem(file, line.number, f"this is no key; {_FORM}")
        return None
    try:
        key = _key_of(words[2])
    except ValueError as error:
        report.problem(file, line.number, str(error))
        return None
    if words[1] != shown(key.id):
        text = f"the id of this key is {shown(key.id)}, not {words[1][:20]}: a digit of the key or of the id is wrong"
        report.problem(file, line.number, text)
        return None
    return key


def text_of(ring: KeyRing) -> str:
    """``parse_keys`` gives the ring back."""
    lines = [f"accept {UNSIGNED}"] if ring.unsigned and ring.keys else []
    lines += [f"{'sign  ' if k.id == ring.signs else 'accept'} {shown(k.id)} {k.secret.hex()}" for k in ring.keys]
    return _HEAD + "".join(f"{line}\n" for line in lines)


def change_keys(layout: Layout, change: Change) -> KeyRing:
    """Put ``change(ring)`` in the ring's place, under a lock. Raises ConfigError, and the ValueError of ``change``."""
    name = layout.show(layout.keys)
    path = os.path.realpath(layout.keys)
    try:
        with locked(os.path.dirname(path), name):
            before = load_keys(layout)
            after = change(before)
            if len(after.keys) > MAX_KEYS:
                raise ValueError(f"{name} has {MAX_KEYS} keys already; retire one that nobody signs with")
            if after != before:
                replace_file(path, text_of(after).encode(), True, MODE)
            return after
    except OSError as error:
        raise _refusal(name, f"cannot be changed: {error.strerror or error}") from error


# --------------------------------------------------------------------------------------- steps of a rotation


def accepting(ring: KeyRing, key: Key) -> KeyRing:
    """Step 1: it is accepted, and not signed with yet."""
    return ring if ring.has(key.id) else replace(ring, keys=(*ring.keys, key))


def signing(ring: KeyRing, key_id: int) -> KeyRing:
    """Step 2: ours are signed with it. NO_KEY: not signed any more. Raises ValueError."""
    if key_id == NO_KEY and not ring.unsigned:
        raise ValueError(f"what is unsigned is not accepted yet: ezha key add {UNSIGNED}, on every node")
    if key_id != NO_KEY and not ring.has(key_id):
        raise ValueError(f"there is no key {shown(key_id)} yet: ezha key add FILE, on every node")
    return replace(ring, signs=key_id)


def without(ring: KeyRing, key_id: int) -> KeyRing:
    """Step 3: it is not accepted any more. NO_KEY: nothing unsigned is. Raises ValueError."""
    if key_id == ring.signs:
        what = "does not sign yet" if key_id == NO_KEY else f"signs with {shown(key_id)}"
        raise ValueError(f"this node {what}: first ezha key sign ID, with the key that is to take its place")
    if key_id == NO_KEY:
        return replace(ring, unsigned=False)
    if not ring.has(key_id):
        raise ValueError(f"there is no key {shown(key_id)}")
    return replace(ring, keys=tuple(key for key in ring.keys if key.id != key_id))


def only(ring: KeyRing, key: Key) -> KeyRing:
    """A new node's ring: it signs with ``key``, and accepts nothing else. Raises ValueError where another one is."""
    wanted = KeyRing((key,), key.id, unsigned=False)
    if ring not in (NO_KEYS, wanted):
        raise ValueError("it has keys already: bring the new one in with ezha key add, sign and retire")
    return wanted


# ------------------------------------------------------------------------------------------- a key of its own


def new_key() -> Key:
    """A random one."""
    while True:
        try:
            return Key(os.urandom(SECRET_SIZE))
        except ValueError:  # Its id would be that of no key: one in 65,536 is so.
            continue


def key_text(key: Key) -> str:
    """A file that holds nothing but one key. ``openssl rand -hex 32`` makes one, too."""
    return f"{_KEY_HEAD}{key.secret.hex()}\n"


def read_key(path: str) -> Key:
    """The key in a file that ``key_text`` made. Raises ConfigError."""
    report = Report()
    text = _read(path, path, report)
    if text is None and not report.problems:
        raise _refusal(path, "does not exist; make one on one node (ezha key new FILE), and copy it to the others")
    if report.problems:
        raise ConfigError(report.problems)
    words = [word for line in (text or "").split("\n") for word in split_words(line)]
    if len(words) != 1:
        raise _refusal(path, f"holds {len(words)} words, and a key is one of {2 * SECRET_SIZE} hexadecimal digits")
    try:
        return _key_of(words[0])
    except ValueError as error:
        raise _refusal(path, str(error)) from None


def _key_of(word: str) -> Key:
    if len(word) != 2 * SECRET_SIZE or any(c not in "0123456789abcdefABCDEF" for c in word):
        raise ValueError(f"this is no key: one is {2 * SECRET_SIZE} hexadecimal digits")
    return Key(bytes.fromhex(word))


def parse_id(word: str) -> int:
    """The id that a person gave: four hexadecimal digits, or ``unsigned``. Raises ValueError."""
    if word == UNSIGNED:
        return NO_KEY
    if len(word) == 4 and all(c in "0123456789abcdef" for c in word) and int(word, 16) != NO_KEY:
        return int(word, 16)
    raise ValueError(f"{word[:40]!r} is no id of a key; ezha key status shows them")


def _read(path: str, name: str, report: Report) -> str | None:
    """None: there is no such file, or it is not to be trusted."""
    try:
        require_trust(path, secret=True)
        data = read_regular(path, MAX_FILE, follow=True)
        if len(data) > MAX_FILE:
            report.problem(name, 0, f"is larger than {MAX_FILE} bytes; this is no file of keys")
            return None
        return data.decode("ascii")
    except FileNotFoundError:
        return None
    except DistrustError as error:
        report.problem(name, 0, str(error.strerror))
    except UnicodeDecodeError:
        report.problem(name, 0, "holds bytes that are not ASCII; this is no file of keys")
    except OSError as error:
        report.problem(name, 0, f"cannot be read: {error.strerror or error}")
    return None


def _refusal(file: str, text: str) -> ConfigError:
    return ConfigError((Problem(file, 0, text),))
