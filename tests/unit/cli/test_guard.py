"""What goes wrong with a command's output is one line and an exit code, too."""

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ha.cli import guard
from ha.cli.guard import guarded

_ROOT = Path(__file__).parents[3]


def run(shell: str, body: str = "say('x' * 10)") -> "subprocess.CompletedProcess[str]":
    """A command with ``body``, its descriptors redirected as ``shell`` says."""
    script = (
        "import os, sys\n"
        "from ha.cli.guard import *\n"
        f"def main(argv):\n    {body}\n    return 0\n"
        "sys.exit(guarded('probe', main, []))\n"
    )
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, script],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_full_disk_behind_the_output_is_told_once() -> None:
    done = run(">/dev/full")
    assert (done.returncode, done.stderr) == (
        1,
        f"probe: standard output cannot be written: {os.strerror(errno.ENOSPC)}\n",
    )


def test_a_library_that_writes_by_itself_is_told_of_once_too() -> None:
    done = run(">/dev/full", "sys.stdout.write('x'); sys.stdout.flush()")
    assert (done.returncode, done.stderr) == (1, f"probe: {os.strerror(errno.ENOSPC)}\n")


def test_a_closed_output_is_told() -> None:
    done = run(">&-")
    assert (done.returncode, done.stderr) == (
        1,
        f"probe: standard output cannot be written: {os.strerror(errno.EBADF)}\n",
    )


def test_what_prints_nothing_needs_no_output() -> None:
    assert run("<&- >&- 2>&-", "pass").returncode == 0


def test_closed_streams_are_not_given_to_files() -> None:
    """A socket with the number 1 would get what is printed."""
    done = run("<&- 2>&-", "say(str(os.open('/dev/null', os.O_RDONLY)))")
    assert done.returncode == 0
    assert int(done.stdout) > 2


@pytest.mark.parametrize("shell", ["2>&-", "2>/dev/full"])
def test_a_complaint_that_nobody_can_read_changes_no_exit_code(shell: str) -> None:
    done = run(shell, "raise UsageError('no', 'usage: probe')")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_reader_that_leaves_early_is_no_failure_to_talk_about() -> None:
    done = run("| head -c 1", "say('x' * 1_000_000)")
    assert (done.stdout, done.stderr) == ("x", "")


def test_a_file_that_cannot_be_read_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> int:
        with open("/nonexistent/file"):
            return 0

    assert guarded("probe", main, []) == guard.EXIT_FAILED
    assert capsys.readouterr().err == "probe: /nonexistent/file: No such file or directory\n"
