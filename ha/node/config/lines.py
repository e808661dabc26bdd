"""Lines and words of the blank-separated files (``nodes``, ``monitor``, ``services``, ``logfacility``).

A word that begins with ``#`` ends its line. This module knows nothing of what the words mean.
"""

from dataclasses import dataclass

from ha.node.config.problems import Report
from ha.node.names import name_trouble

MAX_LINE = 1024
"""Characters."""


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    words: tuple[str, ...]


def read_lines(text: str, file: str, report: Report, most: int) -> list[Line]:
    """The lines that say something, at most ``most`` of them; more is one problem, not thousands."""
    found: list[Line] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if len(line) > MAX_LINE:
            report.problem(file, number, f"the line has {len(line)} characters; at most {MAX_LINE} are allowed")
            continue
        words = split_words(line)
        if not words:
            continue
        if any(not c.isprintable() for word in words for c in word):
            report.problem(file, number, "the line holds a control or other unprintable character; type it anew")
            continue
        if len(found) == most:
            report.problem(file, number, f"more than {most} lines; at most {most} are supported")
            break
        found.append(Line(number, words))
    return found


def split_words(line: str) -> tuple[str, ...]:
    """Words between blanks and tabs, up to a comment. Other white space of Unicode does not separate."""
    words: list[str] = []
    for word in line.replace("\t", " ").split(" "):
        if word.startswith("#"):
            break
        if word:
            words.append(word)
    return tuple(words)


def good_name(word: str, what: str, line: Line, file: str, report: Report) -> bool:
    """Whether ``word`` can be the name of a ``what``; where not, that is reported."""
    trouble = name_trouble(word)
    if trouble:
        shown = word if len(word) <= 80 else word[:77] + "…"
        report.problem(file, line.number, f"{what} name {shown!r} {trouble}")
    return not trouble


def whole_number(word: str) -> int | None:
    """A decimal number without sign, at most 12 digits; None for anything else (``+1``, ``1_0``, ``٣``)."""
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 12 else None


def seconds(word: str) -> float | None:
    """Seconds with at most three decimals, for heartbeats carry milliseconds; None for anything else."""
    whole, dot, fraction = word.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 6):
        return None
    if dot and not (fraction.isascii() and fraction.isdigit() and len(fraction) <= 3):
        return None
    return float(word)


def counted(number: int, thing: str) -> str:
    """``1 word``, ``2 words``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
