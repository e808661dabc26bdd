"""What a value in ``options.toml`` must look like, whatever key it belongs to.

A check takes what TOML holds and returns what the options hold; it knows neither tables nor lines.
"""

from collections.abc import Callable
from typing import Any

Check = Callable[[object], Any]
"""Takes what TOML holds, returns what ``Options`` holds; raises ValueError with words that follow the key."""


def seconds(low: float, high: float) -> Check:
    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"is {kind_of(value)}; give seconds, {low:g} to {high:g}")
        if not low <= value <= high:
            raise ValueError(f"is {str(value)[:20]} s; give {low:g} to {high:g} s")
        return float(value)

    return check


def integer(low: int, high: int, unit: str) -> Check:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"is {kind_of(value)}; give a whole number of {unit}, {low} to {high}")
        if not low <= value <= high:
            raise ValueError(f"is {str(value)[:20]}; give {low} to {high} {unit}")
        return value

    return check


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {kind_of(value)}; give true or false")
    return value


def command(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        import shlex

        try:
            words: list[object] = list(shlex.split(value))
        except ValueError as error:
            raise ValueError(f"cannot be split into words ({error}); give a list of strings") from None
    elif isinstance(value, list):
        words = value
    else:
        raise ValueError(f"is {kind_of(value)}; give a command as a list of strings, or in one string")
    argv = tuple(w for w in words if isinstance(w, str))
    if len(argv) != len(words):
        raise ValueError("holds something other than strings; put every argument in quotes")
    if len(argv) > 64 or any(len(w) > 1024 or "\0" in w for w in argv):
        raise ValueError("is too long, or holds a NUL; give at most 64 arguments of at most 1024 characters")
    if argv and not argv[0].startswith("/"):
        raise ValueError(f"begins with {argv[0]!r}; give the program as an absolute path (no shell looks for it)")
    return argv


_KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a table",
}


def kind_of(value: object) -> str:
    return _KINDS.get(type(value), "a date or time")
