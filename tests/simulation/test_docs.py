"""docs/simulator.md says what the code says: the language, and every subcommand."""

import re
from pathlib import Path

import pytest

from ha.cli.ezha import main
from ha.simulation.language import renewed
from ha.simulation.plan import parse_plan
from ha.simulation.settings import Setting

PAGE = Path(__file__).resolve().parents[2] / "docs/simulator.md"


def test_the_language_is_that_of_the_parser() -> None:
    page = PAGE.read_text()
    assert renewed(page) == page, "run: make docs"
    assert renewed(page.replace("| `power-off", "| `power-on")) == page, "a slip of the pen is found"


def test_the_examples_of_scenario_files_are_understood() -> None:
    texts = re.findall(r"^# ezha scenario 1\n.*?(?=^```|^again:|^$)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(texts) >= 2
    for text in texts:
        assert parse_plan(text, Setting().texts().nodes.split(), ["svc1"]).faults


def test_every_subcommand_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sim", "--help"])
    names = re.findall(r"^    ([a-z-]+) +", capsys.readouterr().out, re.MULTILINE)
    assert len(names) == 7
    for name in names:
        assert f"ezha sim {name} " in PAGE.read_text(), name
