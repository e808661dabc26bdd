"""The quick commands answer in a blink, because they import almost nothing: a single import can double their time."""

import subprocess
import sys

import pytest

from ha.cli import share

HEAVY = {"argparse", "asyncio", "dataclasses", "inspect", "logging", "msgpack", "rich", "selectors", "site", "socket"}
HEAVY |= {"ssl", "subprocess", "tempfile", "threading", "tomllib", "transitions", "typing"}


@pytest.mark.parametrize("module", ["ha.cli.service", "ha.cli.hb", "ha.cli.ezha"])
def test_quick_commands_import_nothing_heavy(module: str) -> None:
    code = (
        f"import sys; sys.path.append({share.code_folder()!r}); "
        f"import {module}, ha.cli.tables, ha.cli.place; ha.cli.place.layout(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_packages_are_found_once_they_are_asked_for() -> None:
    code = (
        f"import sys; sys.path.append({share.code_folder()!r}); from ha.cli.place import use_packages; "
        "use_packages(); import transitions; print('found')"
    )
    done = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "found\n"
