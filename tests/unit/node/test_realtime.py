"""What keeps nmond on time, and that nothing of it reaches a script."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ha.node import process, realtime
from ha.node.tidying import AT_LAST_S, EVERY_S, ROOM_S, Tidying
from tests.unit.node.world import Clock

SCHED_RR = os.SCHED_RR | os.SCHED_RESET_ON_FORK


def in_a_child(body: Callable[[], str]) -> str:
    """What ``body`` says, in a process whose priority and memory are its own."""
    ours, theirs = os.pipe()
    pid = process.fork(lambda: _say(theirs, body()))
    os.close(theirs)
    with open(ours) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text


def _say(fd: int, text: str) -> None:
    os.write(fd, text.encode())


def oom(pid: int | str = "self") -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@needs_root
def test_all_of_it_is_had_by_root_and_a_child_inherits_no_priority() -> None:
    def body() -> str:
        refused = [each for each in realtime.all_of_it() if "memory is short" not in each]
        child = in_a_child(lambda: str(os.sched_getscheduler(0)))
        locked = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck"))
        return f"{refused} {os.sched_getscheduler(0)} {child} {int(locked.split()[1]) > 0}"

    assert in_a_child(body) == f"[] {SCHED_RR} {os.SCHED_OTHER} True"


def test_a_program_that_is_started_may_be_ended_by_the_kernel_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    # Any process may raise its score, and lower it again; below 0 only one with CAP_SYS_RESOURCE.
    monkeypatch.setattr(realtime, "NEVER_KILLED", 500)

    def body() -> str:
        assert realtime.stay_alive() == ""
        null = os.open(os.devnull, os.O_RDWR)
        pid = process.spawn(("/bin/sleep", "60"), {}, null, null)
        score = oom(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return f"{oom()} {score}"

    assert in_a_child(body) == "500 0"


def test_what_an_administrator_gave_a_child_is_left_to_it() -> None:
    def body() -> str:
        Path("/proc/self/oom_score_adj").write_text("77")
        realtime.may_die(os.getpid())
        return str(oom())

    assert in_a_child(body) == "77"
    realtime.may_die(2**22 + 1)  # there is no such process


@needs_root
def test_what_is_refused_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert realtime.be_prompt() == "no real-time priority: Operation not permitted"


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    done: list[float] = []
    monkeypatch.setattr(gc, "disable", lambda: None)
    monkeypatch.setattr(gc, "collect", lambda: done.append(0.0))
    yield done


def test_garbage_waits_for_a_moment_in_which_nothing_is_due(collections: list[float]) -> None:
    clock, deadline = Clock(), [0.0]
    tidy = Tidying(clock, lambda: deadline[0])
    for _ in range(100):
        clock.at += EVERY_S / 20
        deadline[0] = clock.at + ROOM_S / 2
        assert not tidy()
    assert collections == []
    deadline[0] = clock.at + 2 * ROOM_S
    tidy()
    tidy()
    assert len(collections) == 1
    deadline[0] = 0.0
    clock.at += AT_LAST_S
    tidy()
    assert len(collections) == 2, "in the end it is done all the same"
