"""Markdown to man(7), as far as the pages of docs go: headings, paragraphs, lists, code, tables.

markdown-it reads the Markdown. What is made stays within what man-db and mandoc both show without a warning; a table of
two columns becomes a list of terms, as readers of man pages expect. It knows no page.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

_SPECIAL = {"\\": "\\e", "-": "\\-", "^": "\\(ha", "~": "\\(ti", "`": "\\(ga", "'": "\\(aq"}
_PARSER = MarkdownIt("commonmark").enable("table")
_WIDTH = 78


def quoted(text: str) -> str:
    """Text as it is, whatever roff would make of it. In the middle of a line."""
    return "".join(_SPECIAL.get(c, c) for c in text)


def converted(markdown: str, heading: Callable[[int, str], str]) -> list[str]:
    """Lines of man(7). ``heading``: the macro line of a heading, by its level and its text."""
    return list(_Blocks(_PARSER.parse(markdown), heading).lines())


def terms(rows: Sequence[tuple[str, str]]) -> list[str]:
    """A list of terms, each in Markdown (inline) with what it means."""
    lines: list[str] = []
    for term, meaning in rows:
        lines += [
            ".TP",
            *_filled(_inline(_PARSER.parseInline(term)[0])),
            *_filled(_inline(_PARSER.parseInline(meaning)[0])),
        ]
    return lines


class _Blocks:
    def __init__(self, tokens: Sequence[Token], heading: Callable[[int, str], str]) -> None:
        self._tokens = tokens
        self._heading = heading
        self._at = 0
        self._fresh = True
        """Right behind a macro that begins a paragraph by itself."""

    def lines(self) -> Iterator[str]:
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            made = getattr(self, "_" + token.type, None)
            if made is None:
                raise ValueError(f"a page holds {token.type}, which has no form in a man page")
            yield from made(token)

    def _next(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _paragraph(self) -> Iterator[str]:
        if not self._fresh:
            yield ".PP"
        self._fresh = False

    def _heading_open(self, token: Token) -> Iterator[str]:
        yield self._heading(int(token.tag[1:]), re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", self._next().content))
        self._at += 1
        self._fresh = True

    def _paragraph_open(self, _: Token) -> Iterator[str]:
        yield from self._paragraph()
        yield from _filled(_inline(self._next()))
        self._at += 1

    def _code(self, token: Token) -> Iterator[str]:
        yield from self._paragraph()
        yield from (".RS 4", ".EX", *(_line(quoted(line)) for line in token.content.splitlines()), ".EE", ".RE")

    _fence = _code_block = _code

    def _bullet_list_open(self, _: Token) -> Iterator[str]:
        yield from self._items(lambda _: '.IP "\\(bu" 2')

    def _ordered_list_open(self, _: Token) -> Iterator[str]:
        yield from self._items(lambda number: f'.IP "{number}." 4')

    def _items(self, mark: Callable[[int], str]) -> Iterator[str]:
        number, depth = 0, 0
        while True:
            token = self._next()
            if token.type.endswith("_list_close"):
                self._fresh = False
                return
            if token.type == "list_item_open":
                number += 1
                yield mark(number)
                self._fresh = True
            elif token.type in ("bullet_list_open", "ordered_list_open"):
                depth += 1
                yield ".RS 2"
                yield from getattr(self, "_" + token.type)(token)
                yield ".RE"
            elif token.type != "list_item_close":
                if not self._fresh and token.type == "paragraph_open":
                    yield ".IP"
                    self._fresh = True
                yield from getattr(self, "_" + token.type)(token)

    def _html_block(self, _: Token) -> Iterator[str]:
        return iter(())

    def _table_open(self, _: Token) -> Iterator[str]:
        rows: list[list[Token]] = []
        while (token := self._next()).type != "table_close":
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                rows[-1].append(token)
        head, body = rows[0], rows[1:]
        if len(head) == 2:
            for term, meaning in body:
                yield from (".TP", *_filled(_inline(term) or "\\&"), *_filled(_inline(meaning) or "\\&"))
        else:
            # The first column names the row; the others say what of it, by their headings.
            for row in body:
                yield from (".TP", *_filled(_inline(row[0]) or "\\&"))
                told = [
                    (_inline(name), _inline(cell)) for name, cell in zip(head[1:], row[1:], strict=True) if cell.content
                ]
                for place, (name, cell) in enumerate(told):
                    if place:
                        yield ".br"
                    yield from _filled(f"{name}: {cell}" if name else cell)
        self._fresh = False


def _inline(token: Token) -> str:
    made = []
    for child in token.children or ():
        match child.type:
            case "text":
                made.append(quoted(child.content))
            case "code_inline":
                made.append(f"\\fB{quoted(child.content)}\\fR")
            case "strong_open":
                made.append("\\fB")
            case "em_open":
                made.append("\\fI")
            case "strong_close" | "em_close":
                made.append("\\fR")
            case "softbreak" | "hardbreak":
                made.append(" ")
            case "link_open" | "link_close":
                pass  # The text says what is meant; a terminal leads nowhere.
            case _:
                raise ValueError(f"a page holds {child.type}, which has no form in a man page")
    return "".join(made)


def _filled(text: str) -> list[str]:
    return [_line(line) for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)]


def _line(text: str) -> str:
    """A line that begins with a dot is text, not a request."""
    return "\\&" + text if text.startswith((".", "'")) else text
