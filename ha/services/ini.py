"""The text of a service's file: sections, keys and comments, each with its line. Pure: text in, text out.

A file written by hand stays as it is: ``put`` and ``drop`` change the lines of one key, and nothing else. It knows no
key's meaning (``ha.services.config`` does).

    # a comment, also after ;
    [fs#0]                # a comment after a value begins with a blank and #
    mnt = /srv/app
    mnt@node2 = /srv/app2
    start = /srv/app/run --user app
            --verbose     # a line that begins with a blank goes on with the value above
"""

import re
from dataclasses import dataclass, field

MAX_BYTES = 256 * 1024
MAX_LINES = 8192
_SECTION = re.compile(r"\[([^\[\]]*)\]\s*([#;].*)?$")
_ENTRY = re.compile(r"([^\s=:#;\[\]@]+)(?:@([^\s=:#;\[\]@]*))?(\s*[=:]\s*)(.*)$")
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_#.-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a line."""

    line: int
    """From 1; 0 where no line is to blame."""
    section: str
    text: str
    incomplete: bool = False
    """Nothing that stands there is wrong, but something is missing."""

    def told(self, path: str) -> str:
        """One line for people: ``FILE:LINE: [SECTION] TEXT``."""
        place = f"{path}:{self.line}" if self.line else path
        return f"{place}: [{self.section}] {self.text}" if self.section else f"{place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value."""

    name: str
    """As written."""
    scope: str
    """What stands after ``@``, or empty."""
    value: str
    line: int
    last: int
    """The line on which the value ends."""

    @property
    def key(self) -> str:
        return f"{self.name}@{self.scope}" if self.scope else self.name


@dataclass(slots=True)
class Section:
    name: str
    line: int
    entries: list[Entry] = field(default_factory=list)

    def find(self, name: str, scope: str = "") -> Entry | None:
        """Names of keys are compared in lower case, scopes as they are."""
        for entry in self.entries:
            if entry.name.lower() == name.lower() and entry.scope == scope:
                return entry
        return None


class Ini:
    """A file of sections. ``problems`` are what could not be understood; the rest is there all the same."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        if self._lines[-1] == "":
            self._lines.pop()
        self.sections: dict[str, Section] = {}
        self.problems: list[Problem] = []
        self._parse()

    def text(self) -> str:
        return "".join(line + "\n" for line in self._lines)

    # ---- reading

    def _parse(self) -> None:
        self.sections, self.problems = {}, []
        if len(self._lines) > MAX_LINES:
            self._wrong(0, "", f"has more than {MAX_LINES} lines")
            return
        section: Section | None = None
        for number, raw in enumerate(self._lines, 1):
            line = raw.rstrip()
            bare = line.lstrip()
            if not bare or bare[0] in "#;":
                continue
            if any((ord(c) < 32 and c != "\t") or c == "\x7f" for c in line):
                self._wrong(number, section.name if section else "", "holds a control character; retype the line")
            elif line[0] in " \t" and section is not None and section.entries and not bare.startswith("["):
                self._go_on(section, number, bare)
            elif bare.startswith("["):
                section = self._begin(number, bare)
            elif section is None:
                self._wrong(number, "", f"{bare[:40]!r} stands before the first section; begin with [DEFAULT]")
            else:
                self._entry(section, number, bare)

    def _wrong(self, line: int, section: str, text: str) -> None:
        self.problems.append(Problem(line, section, text))

    def _begin(self, number: int, line: str) -> Section:
        match = _SECTION.match(line)
        name = match[1].strip() if match else ""
        if not match or not _NAME.fullmatch(name):
            self._wrong(
                number, "", f"{line[:40]!r} is not a section; write [DEFAULT], or a kind and a number as [fs#0]"
            )
            return Section(name, number)  # what follows belongs to no other section
        if (earlier := self.sections.get(name)) is not None:
            self._wrong(number, name, f"the section stands on line {earlier.line} already; keep one of the two")
            return Section(name, number)
        return self.sections.setdefault(name, Section(name, number))

    def _entry(self, section: Section, number: int, line: str) -> None:
        match = _ENTRY.match(line)
        if not match or not _KEY.fullmatch(match[1]) or match[2] == "":
            self._wrong(number, section.name, f"{line[:40]!r} is not KEY = VALUE")
            return
        name, scope = match[1], match[2] or ""
        if (earlier := section.find(name, scope)) is not None:
            self._wrong(
                number, section.name, f"{earlier.key} stands on line {earlier.line} already; keep one of the two"
            )
            return
        section.entries.append(Entry(name, scope, _value(match[4]), number, number))

    def _go_on(self, section: Section, number: int, line: str) -> None:
        last = section.entries[-1]
        value = f"{last.value} {_value(line)}".strip()
        section.entries[-1] = Entry(last.name, last.scope, value, last.line, number)

    # ---- changing

    def put(self, section: str, name: str, scope: str, value: str) -> None:
        """Give a key a value; the section and the key are made where they are missing. A comment beside it stays.

        Raises ValueError for what could not be read again.
        """
        _check(section, name, scope, value)
        if (there := self.sections.get(section)) is None:
            if self._lines and self._lines[-1].strip():
                self._lines.append("")
            self._lines += [f"[{section}]", f"{_key(name, scope)} = {value}"]
        elif (entry := there.find(name, scope)) is not None:
            first = self._lines[entry.line - 1]
            match = _ENTRY.match(first.lstrip())
            assert match is not None  # it was read from there
            indent = first[: len(first) - len(first.lstrip())]
            kept = _COMMENT.search(match[4])
            head = f"{indent}{entry.key}{match[3]}"
            line = head + value
            if kept is not None:
                # The comment keeps its column where the value leaves it room.
                column = len(first) - len(match[4]) + kept.start()
                line = line.ljust(column) + (kept[0] if kept[0][0] in " \t" else " " + kept[0])
            self._lines[entry.line - 1 : entry.last] = [line]
        else:
            at = there.entries[-1].last if there.entries else there.line
            self._lines.insert(at, f"{_key(name, scope)} = {value}")
        self._parse()

    def drop(self, section: str, name: str, scope: str = "") -> bool:
        """Remove a key, with its line; False where there is none. A section that has become empty stays."""
        there = self.sections.get(section)
        entry = there.find(name, scope) if there else None
        if entry is None:
            return False
        del self._lines[entry.line - 1 : entry.last]
        self._parse()
        return True


def _key(name: str, scope: str) -> str:
    return f"{name}@{scope}" if scope else name


def _value(text: str) -> str:
    """Without the comment behind it. ``ip#0`` holds none: a comment begins after a blank."""
    return _COMMENT.sub("", text).strip()


def _check(section: str, name: str, scope: str, value: str) -> None:
    if not _NAME.fullmatch(section):
        raise ValueError(f"{section!r} is not a name for a section")
    if not _KEY.fullmatch(name) or (scope and not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", scope)):
        raise ValueError(f"{_key(name, scope)!r} is not a name for a key")
    if value != value.strip() or any(ord(c) < 32 or c == "\x7f" for c in value) or _value(value) != value:
        raise ValueError(
            f"the value {value!r} could not be read again: it holds a comment, a line break, or outer blanks"
        )
