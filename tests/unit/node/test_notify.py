"""The notify command: in order, one at a time, never waited for."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.fsm.events import Note, NoteKind
from ha.fsm.states import State
from ha.node import notify as notify_module
from ha.node.loop import Loop
from ha.node.notify import Notifier
from tests.unit.node.world import ListLog, turn_until


class Bench:
    """A notifier that runs a script of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = Loop()
        self.log = ListLog()
        self.notifier = Notifier(self.loop, "node1", self.log, {"PATH": os.environ["PATH"]})

    def command(self, text: str) -> None:
        path = self.folder / "notify.sh"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        self.notifier.command = (str(path),)

    def finish(self) -> None:
        turn_until(self.loop, lambda: not self.notifier.pid and not self.notifier.waiting)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.notifier.pid:
        os.kill(made.notifier.pid, signal.SIGKILL)
        os.waitpid(made.notifier.pid, 0)
    made.loop.close()


def note(text: str = "an operator unfroze it") -> Note:
    return Note(NoteKind.TRANSITION, "web", text, State.FROZEN_STOP, State.STOPPED, by="root", generation=4)


def test_a_transition_is_told_in_the_environment(bench: Bench) -> None:
    bench.command(f"env | grep ^EZ_ | sort > {bench.folder}/told")
    bench.notifier.tell(note())
    bench.finish()
    assert (bench.folder / "told").read_text().splitlines() == [
        "EZ_BY=root",
        "EZ_FROM=FROZEN_STOP",
        "EZ_GENERATION=4",
        "EZ_NODE=node1",
        "EZ_REASON=an operator unfroze it",
        "EZ_SERVICE=web",
        "EZ_TO=STOPPED",
    ]


def test_transitions_are_told_in_order_and_one_at_a_time(bench: Bench) -> None:
    told = f"{bench.folder}/told"
    bench.command(f'echo "begin $EZ_REASON" >> {told}; echo "end $EZ_REASON" >> {told}')
    for number in range(4):
        bench.notifier.tell(note(str(number)))
    bench.finish()
    wanted = [f"{word} {number}" for number in range(4) for word in ("begin", "end")]
    assert Path(told).read_text().splitlines() == wanted


def test_what_is_no_transition_is_not_told(bench: Bench) -> None:
    bench.command("true")
    bench.notifier.tell(Note(NoteKind.ALERT, "web", "x"))
    assert not bench.notifier.pid


def test_without_a_command_nothing_is_kept(bench: Bench) -> None:
    bench.notifier.tell(note())
    assert not bench.notifier.waiting


def test_a_queue_that_is_full_drops_and_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_module, "LONGEST_QUEUE", 2)
    bench.command("exec sleep 60")
    for _ in range(5):
        bench.notifier.tell(note())
    assert (bench.notifier.waiting, bench.notifier.dropped) == (2, 2)
    assert "too slow" in bench.log


def test_a_command_that_hangs_is_killed_and_the_next_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_module, "TIMEOUT_S", 0.01)
    bench.command('[ "$EZ_REASON" = first ] && exec sleep 60; exit 0')
    bench.notifier.tell(note("first"))
    bench.notifier.tell(note("second"))
    bench.finish()
    assert bench.notifier.told == 2
    assert "was killed after" in bench.log


def test_a_command_that_fails_or_is_not_there_is_logged(bench: Bench) -> None:
    bench.command("exit 3")
    bench.notifier.tell(note())
    bench.finish()
    bench.notifier.command = ("/nonexistent/notify",)
    bench.notifier.tell(note())
    bench.finish()
    assert bench.notifier.failed == 2
    assert "exit code 3" in bench.log
    assert "cannot be run" in bench.log


def test_what_waits_goes_on_over_a_hand_over(bench: Bench) -> None:
    bench.command(f"echo $EZ_REASON >> {bench.folder}/told")
    for number in range(3):
        bench.notifier.tell(note(str(number)))
    packed = bench.notifier.packed()
    bench.loop.unwatch(bench.notifier._pidfd)
    command = bench.notifier.command
    bench.notifier = Notifier(bench.loop, "node1", bench.log, {"PATH": os.environ["PATH"]})
    bench.notifier.command = command
    bench.notifier.unpack(packed)
    bench.finish()
    assert (bench.folder / "told").read_text().split() == ["0", "1", "2"]


def test_a_command_that_is_taken_out_of_the_configuration_while_it_runs_may_fail_all_the_same(bench: Bench) -> None:
    """nmond must not fail over it: there is no command any more whose name could be told."""
    bench.command(f"until test -e {bench.folder}/go; do sleep 0.01; done; exit 3")
    bench.notifier.tell(note())
    bench.notifier.command = ()
    (bench.folder / "go").touch()
    bench.finish()
    assert f"{bench.folder}/notify.sh ended with exit code 3" in bench.log


def test_a_command_that_others_may_write_is_not_run(bench: Bench) -> None:
    bench.command(f"touch {bench.folder}/ran")
    Path(bench.notifier.command[0]).chmod(0o777)
    bench.notifier.tell(note())
    bench.finish()
    assert not (bench.folder / "ran").exists()
    assert "others than root may write it, ezha check tells what to do" in bench.log
    assert bench.notifier.failed == 1
