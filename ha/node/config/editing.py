"""Adding lines to ``services`` and ``monitor``, and taking them out (``service -a|-r``, ``hb -a|-r``).

Comments, blank lines and the order stay. The result is checked as a whole before anything is written, and the file is
replaced whole, under a lock, with its mode and owner.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ha.node.config.addresses import packed
from ha.node.config.lines import split_words
from ha.node.config.locking import locked
from ha.node.config.problems import ConfigError, Problem
from ha.node.config.whole import KINDS, Texts, load_texts, parse, path_of, read_file
from ha.node.files import replace_file
from ha.node.layout import Layout

Change = Callable[[str, str], str]
"""``change(text, name of the file)`` returns the new text. Raises ConfigError."""


@dataclass(frozen=True, slots=True)
class PathWords:
    """A path as ``hb`` was told it, not checked yet."""

    node: str
    medium: str
    device: str
    """Interface or device file."""
    where: str
    """Address, or offset on a disk."""
    port: str = ""
    """Empty for a disk. In a removal: any."""
    timeout: str = "10"
    """Seconds. In a removal it does not count."""

    @property
    def is_disk(self) -> bool:
        return self.medium in ("dio", "disk")


# -------------------------------------------------------------------------------------------- on disk


def add_service(layout: Layout, node: str, name: str, script: str, primary: str, secondary: str, check: str) -> None:
    """Append a service. Raises ConfigError where it is there, or the result would not be valid."""
    line = "\t".join(_one_word(word, "services") for word in (name, script, primary, secondary, check))
    _edit(layout, node, "services", lambda text, file: added_service(text, line, file))


def remove_service(layout: Layout, node: str, name: str) -> None:
    """Take the lines of a service out. Raises ConfigError where there is none."""
    _edit(layout, node, "services", lambda text, file: removed_service(text, name, file))


def add_path(layout: Layout, node: str, path: PathWords) -> None:
    """Append a heartbeat path. Raises ConfigError where it is there, or the result would not be valid."""
    words = [path.node, path.medium, path.device, path.where]
    if not path.is_disk:
        words.append(path.port)
    line = " ".join(_one_word(word, "monitor") for word in (*words, path.timeout))
    _edit(layout, node, "monitor", lambda text, file: added_path(text, line, file))


def remove_path(layout: Layout, node: str, path: PathWords) -> None:
    """Take the line of a path out. Raises ConfigError where there is none, or more than one fits."""
    _edit(layout, node, "monitor", lambda text, file: removed_path(text, path, file))


# ---------------------------------------------------------------------------------------------- texts


def added_service(text: str, line: str, file: str = "conf/services") -> str:
    """``text`` with ``line`` at its end. Raises ConfigError where its service is there already."""
    name = split_words(line)[0]
    for number, words in numbered(text):
        if words[0] == name:
            raise _refusal(file, number, f"service {name} is there already; remove it first (service -r {name})")
    return _appended(text, line)


def removed_service(text: str, name: str, file: str = "conf/services") -> str:
    """``text`` without the lines of the service. Raises ConfigError where there is none."""
    numbers = [number for number, words in numbered(text) if words[0] == name]
    if not numbers:
        raise _refusal(file, 0, f"there is no service {name}; service -s lists them")
    return _without(text, numbers)


def added_path(text: str, line: str, file: str = "conf/monitor") -> str:
    """``text`` with ``line`` at its end. Raises ConfigError where the same path is there already."""
    words = split_words(line)
    for number, there in numbered(text):
        if _same_path(there, words):
            raise _refusal(file, number, f"the path is there already ({' '.join(there)}); remove it first (hb -r)")
    return _appended(text, line)


def removed_path(text: str, path: PathWords, file: str = "conf/monitor") -> str:
    """``text`` without the line of the path. Raises ConfigError where none fits, or several without a port."""
    wanted = [path.node, path.medium, path.device, path.where]
    if not path.is_disk and path.port:
        wanted.append(path.port)
    found = [(number, words) for number, words in numbered(text) if _same_path(words, tuple(wanted))]
    if not found:
        raise _refusal(file, 0, f"there is no path {' '.join(wanted)}; hb -s lists them")
    if len(found) > 1 and not path.is_disk and not path.port:
        ports = ", ".join(words[4] for _, words in found)
        raise _refusal(file, 0, f"{len(found)} paths fit; say which port (-p): {ports}")
    return _without(text, [number for number, _ in found])


def numbered(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The lines that say something: number and words."""
    for number, raw in enumerate(text.split("\n"), start=1):
        words = split_words(raw.removesuffix("\r"))
        if words:
            yield number, words


def _same_path(there: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Node, medium, device and place, as far as ``wanted`` names them; not the timeout."""
    if len(there) < 5 or there[:3] != wanted[:3]:
        return False
    if there[1] in ("dio", "disk"):
        return _number(there[3]) == _number(wanted[3])
    return (packed(there[3]) or there[3]) == (packed(wanted[3]) or wanted[3]) and (
        len(wanted) < 5 or _number(there[4]) == _number(wanted[4])
    )


def _number(word: str) -> int | str:
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 12 else word


def _appended(text: str, line: str) -> str:
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n"


def _without(text: str, numbers: list[int]) -> str:
    return "\n".join(raw for number, raw in enumerate(text.split("\n"), start=1) if number not in numbers)


def _one_word(word: str, kind: str) -> str:
    """Refuses what would not come back as the one word that it was: a blank, a line's end, a comment."""
    if not word:
        raise _refusal(f"conf/{kind}", 0, "an empty word cannot be written; give every argument")
    if split_words(word) != (word,) or not word.isprintable():
        raise _refusal(f"conf/{kind}", 0, f"{word[:80]!r} cannot be written; give it without blanks, tabs and '#'")
    return word


def _refusal(file: str, line: int, text: str) -> ConfigError:
    return ConfigError((Problem(file, line, text),))


# -------------------------------------------------------------------------------------------- writing


def _edit(layout: Layout, node: str, kind: str, change: Change) -> None:
    """Raises ConfigError; OSError never: a disk that refuses is told as a problem of the file."""
    name = layout.show(path_of(layout, kind))
    # Where the file is a link, what it points to is replaced, not the link.
    path = os.path.realpath(path_of(layout, kind))
    try:
        with locked(os.path.dirname(path), name):
            before = _texts(layout, kind)
            after = _with(before, kind, change(_text_of(before, kind), name))
            _refuse_worse(before, after, node)
            _write(path, _text_of(after, kind))
    except OSError as error:
        raise _refusal(name, 0, f"cannot be changed: {error.strerror or error}") from error


def _texts(layout: Layout, kind: str) -> Texts:
    """The files as they are; the one that is edited may not be there yet."""

    def read(path: str, limit: int) -> bytes:
        try:
            return read_file(path, limit)
        except FileNotFoundError:
            if path == path_of(layout, kind):
                return b""
            raise

    return load_texts(layout, read)


def _text_of(texts: Texts, kind: str) -> str:
    assert kind in KINDS
    text: str = getattr(texts, kind)
    return text


def _with(texts: Texts, kind: str, text: str) -> Texts:
    if kind == "services":
        return replace(texts, services=text)
    return replace(texts, monitor=text)


def _refuse_worse(before: Texts, after: Texts, node: str) -> None:
    """The result must be valid; where the files were broken before, taking a line out may leave less that is wrong.

    Raises ConfigError with what is wrong in the result.
    """
    wrong = _problems(after, node)
    if not wrong:
        return
    # Lines move when one goes, so the places are not compared.
    old = [(p.file, p.text) for p in _problems(before, node)]
    new = [(p.file, p.text) for p in wrong]
    if len(new) >= len(old) or any(problem not in old for problem in new):
        raise ConfigError(wrong)


def _problems(texts: Texts, node: str) -> tuple[Problem, ...]:
    try:
        parse(texts, node)
    except ConfigError as error:
        return error.problems
    return ()


def _write(path: str, text: str) -> None:
    """With the mode and the owner that the file has. Raises OSError; the old file stands then."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        replace_file(path, text.encode(), durable=True, mode=0o644)
        return
    owner = (status.st_uid, status.st_gid)
    ours = (os.geteuid(), os.getegid())
    mode = stat.S_IMODE(status.st_mode)
    replace_file(path, text.encode(), durable=True, mode=mode, owner=None if owner == ours else owner)
