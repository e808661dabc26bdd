"""On which line of a TOML text a key stands: the parser of the standard library does not say.

For messages only. The text has been parsed before, so what is read here is known to be sound; a key inside a list
or a string of several lines is not told apart, which at worst names a line near by.
"""

import tomllib

MAX_KEY = 300
"""Characters of a key that are looked at."""


class KeyLines:
    """Finds the lines of keys, by their whole path. The text is looked through at the first question only."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: dict[tuple[str, ...], int] = {}

    def _index(self) -> None:
        text, self._text = self._text, ""
        table: tuple[str, ...] = ()
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.strip()
            if line.startswith("["):
                header = _path(line)
                if header:
                    table = header
                    self._note(table, number)
            elif "=" in line and not line.startswith("#"):
                key = _key(line)
                if key:
                    self._note((*table, *key), number)

    def line_of(self, key: tuple[str, ...]) -> int:
        """The line of this key or of the nearest table around it; 0 where none is found."""
        if self._text:
            self._index()
        for length in range(len(key), 0, -1):
            line = self._lines.get(key[:length])
            if line:
                return line
        return 0

    def _note(self, path: tuple[str, ...], number: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], number)


def _key(line: str) -> tuple[str, ...]:
    """What stands before the sign of equality; a quoted key may hold one."""
    end = line.find("=")
    while 0 <= end <= MAX_KEY:
        path = _path(line[:end] + "= 0")
        if path:
            return path
        end = line.find("=", end + 1)
    return ()


def _path(text: str) -> tuple[str, ...]:
    """The one path in a header or a key; nothing where the text is not TOML by itself."""
    try:
        table: object = tomllib.loads(text)
    except (ValueError, RecursionError):
        return ()
    path: list[str] = []
    while True:
        if isinstance(table, list) and table:
            table = table[0]
        if not isinstance(table, dict) or not table:
            return tuple(path)
        name, table = next(iter(table.items()))
        path.append(name)
