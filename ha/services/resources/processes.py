"""Which process is meant, and ending just that: a pid alone is reused, a pid with its start time is not.

Knows /proc and pidfds, nothing of what the processes are for.
"""

import os
import select
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this boot."""

    pid: int
    start: int
    """Clock ticks from the boot to its start (field 22 of /proc/PID/stat)."""
    name: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name})"


@dataclass(frozen=True, slots=True)
class Look:
    """What /proc says of a process at one moment."""

    process: Process
    parent: int
    session: int


def look(pid: int) -> Look | None:
    """None where there is no such process, or it has ended and only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything, parentheses and blanks too.
    name = text[text.index("(") + 1 : text.rindex(")")]
    state, parent, _, session, *fields = text[text.rindex(")") + 2 :].split()
    if state in "ZX":
        return None
    return Look(Process(pid, int(fields[15]), name), int(parent), int(session))


def pids() -> list[int]:
    """Of all processes that we may see."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def ancestors() -> set[int]:
    """The pids that this process descends from: whoever called it, up to the first process."""
    found: set[int] = set()
    pid = os.getppid()
    while pid > 0 and pid not in found:
        found.add(pid)
        seen = look(pid)
        pid = seen.parent if seen else 0
    return found


def end(processes: Iterable[Process], number: int) -> None:
    """Signal exactly these: one that has gone meanwhile is left out, even where another has its pid now."""
    for process in processes:
        if (pidfd := _open(process)) is None:
            continue
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)


def gone(processes: Iterable[Process], left: Callable[[], float]) -> bool:
    """Wait until all have ended, for at most ``left()`` seconds. Whether they have."""
    for process in processes:
        if (pidfd := _open(process)) is None:
            continue
        try:
            if not select.select([pidfd], [], [], max(0.0, left()))[0]:
                return False
        finally:
            os.close(pidfd)
    return True


def _open(process: Process) -> int | None:
    """A pidfd of exactly this process. Checked once open: the pid cannot be reused then."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    seen = look(process.pid)
    if seen is None or seen.process.start != process.start:
        os.close(pidfd)
        return None
    return pidfd
