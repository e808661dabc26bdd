"""The picture in the docs is the table that runs."""

from dataclasses import replace
from pathlib import Path

from ha.fsm import diagram, table
from ha.fsm.states import State

PAGE = Path(__file__).parents[3] / "docs" / "states.md"


def test_the_page_in_docs_is_made_from_the_table_that_runs():
    assert PAGE.read_text() == diagram.document(), "run: make docs"


def test_twin_a_changed_row_changes_the_page(monkeypatch):
    changed = tuple(replace(row, dest=State.STOPPED) if row.dest is State.STARTED else row for row in table.TABLE)
    monkeypatch.setattr(diagram, "TABLE", changed)
    assert PAGE.read_text() != diagram.document()
