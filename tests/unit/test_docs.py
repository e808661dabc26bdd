"""Documentation that leads nowhere is worse than none: every relative link must resolve, its anchor too."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_NOT_OURS = {".venv", ".git", "node_modules", "build", "dist"}
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")


def pages() -> Iterator[Path]:
    for path in sorted(_ROOT.rglob("*.md")):
        if not _NOT_OURS & set(path.relative_to(_ROOT).parts) and not path.relative_to(_ROOT).parts[0].startswith("."):
            yield path


def links(text: str) -> list[str]:
    """Targets of the links of a page; what stands in code is none."""
    return _LINK.findall(_CODE.sub("", _FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """The names that a page's headings get, by the rule of GitHub and GitLab."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*$", _FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (unique := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(unique)
    return found


@pytest.mark.parametrize("page", list(pages()), ids=lambda page: str(page.relative_to(_ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    broken = []
    for target in links(page.read_text()):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.is_relative_to(_ROOT) or not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    assert broken == []


def test_links_and_anchors_are_recognised() -> None:
    assert links("[a](b.md#c) `[no](x)`\n```\n[no](y)\n```\n![p](q.png)") == ["b.md#c", "q.png"]
    assert anchors("# ezha.init\n## Who may `run`?\n## Who may run\n```\n# no\n```\n") == {
        "ezhainit",
        "who-may-run",
        "who-may-run-1",
    }
