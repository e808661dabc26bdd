"""docs/resources.md tells every key of every driver, and no other."""

import re
from pathlib import Path

from ha.services.registry import _DRIVERS, driver

DOC = (Path(__file__).parents[4] / "docs/resources.md").read_text(encoding="utf-8")
_CHAPTERS = {
    "ip": "## ip",
    "vg": "## vg",
    "disk": "## disk",
    "fs": "## fs",
    "sync": "## sync",
    "hb": "## hb",
    "stonith": "## stonith",
    "ocf": "## app, type ocf",
    "simple": "## app, type simple",
    "forking": "## app, type simple",
}


def told(chapter: str) -> set[str]:
    text = DOC[DOC.index(f"\n{chapter}") + 1 :]
    text = text[: text.find("\n## ")] if "\n## " in text else text
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}


def test_every_key_stands_in_the_reference() -> None:
    declared: dict[str, set[str]] = {}
    for group, kind in _DRIVERS:
        chapter = _CHAPTERS.get(group) or _CHAPTERS.get(kind)
        if (group, kind) == ("disk", "vg") or chapter is None:  # another name of vg; launchers have no keys
            continue
        declared.setdefault(chapter, set()).update(key.name for key in driver(group, kind).keys)
    assert {chapter: told(chapter) for chapter in declared} == declared
