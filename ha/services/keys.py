"""Keys of a section, declared as data: name, kind, whether it must be there, default, and what it is for.

``svcmgr validate``, ``set``, ``create -i`` and the documentation all read these declarations. Knows nothing of files
and lines: whoever reads the file adds those to what is raised here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any


class Kind(Enum):
    """What the text of a value becomes. The value of the enum is how it is told to people."""

    TEXT = "text"
    """str, not empty."""
    FLAG = "True or False"
    """bool."""
    INTEGER = "a whole number"
    """int, 0 … 2**31 - 1."""
    SECONDS = "a time in seconds, or with a unit: 30, 2.5, 90s, 5m, 1h"
    """float, 0 … 30 days."""
    WORDS = "words separated by blanks or commas"
    """tuple of str, without repetitions."""
    PATH = "an absolute path"
    """str, normalised (no ``..``, no doubled or trailing slash)."""
    COMMAND = "a command line"
    """tuple of str: split as a shell splits words, and nothing else of a shell."""


MAX_VALUE = 4096
"""Characters of a value."""
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MAX_SECONDS = 30 * 86400.0
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class Key:
    """One key that a section may have."""

    name: str
    kind: Kind = Kind.TEXT
    doc: str = ""
    """One sentence for the administrator."""
    required: bool = False
    default: Any = None
    """Already of the kind's type. None: there is none, and ``Values`` gives the kind's empty value."""
    scopable: bool = True
    """Whether ``KEY@NODE`` is allowed."""
    choices: tuple[str, ...] = ()
    """The only texts that are allowed, where there are any; compared in lower case, kept as written here."""

    def parse(self, text: str) -> Any:
        """The typed value. Raises ValueError with what is wrong with ``text``."""
        if len(text) > MAX_VALUE:
            raise ValueError(f"is longer than {MAX_VALUE} characters")
        if "\0" in text:
            raise ValueError("holds a NUL byte")
        if self.choices:
            for choice in self.choices:
                if choice.lower() == text.strip().lower():
                    return choice
            raise ValueError(f"{text!r} is not one of: {', '.join(self.choices)}")
        return _parse(self.kind, text.strip())


def _parse(kind: Kind, text: str) -> Any:
    if not text:
        raise ValueError(f"is empty; give {kind.value}")
    if kind is Kind.TEXT:
        return text
    parsed = _PARSERS[kind](text)
    if parsed is None:
        raise ValueError(f"{text!r} is not {kind.value}")
    return parsed


def _flag(text: str) -> bool | None:
    return _FLAGS.get(text.lower())


def _integer(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text[:11]) < 2**31 else None


def _seconds(text: str) -> float | None:
    if not (match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([smhd]?)", text)):
        return None
    value = float(match[1]) * _UNITS[match[2]]
    return value if value <= _MAX_SECONDS else None


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in re.split(r"[\s,]+", text) if word))


def _path(text: str) -> str | None:
    return "/" + os.path.normpath(text).lstrip("/") if text.startswith("/") else None


def _command(text: str) -> tuple[str, ...] | None:
    import shlex  # only some drivers have commands

    try:
        return tuple(shlex.split(text)) or None
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


_PARSERS: Mapping[Kind, Any] = {
    Kind.FLAG: _flag,
    Kind.INTEGER: _integer,
    Kind.SECONDS: _seconds,
    Kind.WORDS: _words,
    Kind.PATH: _path,
    Kind.COMMAND: _command,
}


class Values:
    """The values of a section on this node: scoped, typed, defaults filled in. What a driver is made from."""

    def __init__(self, typed: Mapping[str, Any], extra: Mapping[str, str] | None = None) -> None:
        """``typed``: what the file says or the schema has as default. ``extra``: keys that no schema names."""
        self._typed = MappingProxyType(dict(typed))
        self.extra: Mapping[str, str] = MappingProxyType(dict(extra or {}))
        """Keys beyond the schema, as text; only for drivers with ``open_keys``."""

    def has(self, name: str) -> bool:
        """Whether there is a value, by the file or by default."""
        return self._typed.get(name) is not None

    def text(self, name: str) -> str:
        """Of a TEXT or PATH, or a choice; empty where there is none."""
        return self._typed.get(name) or ""

    def flag(self, name: str) -> bool:
        return bool(self._typed.get(name))

    def integer(self, name: str) -> int:
        """0 where there is none."""
        return int(self._typed.get(name) or 0)

    def seconds(self, name: str) -> float:
        """0.0 where there is none."""
        return float(self._typed.get(name) or 0.0)

    def words(self, name: str) -> tuple[str, ...]:
        """Of WORDS or a COMMAND; empty where there is none."""
        return tuple(self._typed.get(name) or ())
