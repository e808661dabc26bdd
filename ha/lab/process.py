"""Which process is meant: a pid alone is reused, a pid with its start time is not.

Knows /proc and pidfds, nothing of nodes.
"""

import os
import select
import signal as signals
import time
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process of this boot of the machine."""

    pid: int
    start: int
    """Clock ticks from the machine's boot to the process's start (field 22 of /proc/PID/stat)."""


@dataclass(frozen=True, slots=True)
class Look:
    """What /proc says of a process at one moment."""

    id: ProcessId
    state: str
    """One letter, as in ps: R, S, D, T, t, Z, …"""


def look(pid: int) -> Look | None:
    """None where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            raw = stat.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in parentheses and may hold anything, parentheses too: what follows the last one is regular.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Look(ProcessId(pid, int(fields[19])), fields[0].decode())


def identify(pid: int) -> ProcessId | None:
    seen = look(pid)
    return seen.id if seen else None


def alive(process: ProcessId | None) -> bool:
    """Whether it runs; a zombie does not."""
    if process is None:
        return False
    seen = look(process.pid)
    return seen is not None and seen.id == process and seen.state not in "ZX"


def _open(process: ProcessId) -> int | None:
    """A pidfd of exactly this process, or None when it is gone. Checked once open: the pid cannot be reused then."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if identify(process.pid) != process:
        os.close(fd)
        return None
    return fd


def send(process: ProcessId, signal: int) -> bool:
    """Signal exactly this process. False when it is gone. Raises PermissionError for somebody else's process."""
    fd = _open(process)
    if fd is None:
        return False
    try:
        signals.pidfd_send_signal(fd, signal)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def wait_gone(processes: Iterable[ProcessId], timeout_s: float) -> list[ProcessId]:
    """Wait until all of them, with all their threads, have ended; returns those that have not within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    left = []
    for process in processes:
        fd = _open(process)
        if fd is None:
            continue
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                left.append(process)
        finally:
            os.close(fd)
    return left


def members(first: ProcessId) -> list[Look]:
    """The processes in the pid namespace whose first process is ``first``, itself included. Zombies are not listed."""
    try:
        namespace = os.stat(f"/proc/{first.pid}/ns/pid").st_ino
    except (FileNotFoundError, ProcessLookupError):
        return []
    if identify(first.pid) != first:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            same = os.stat(f"/proc/{entry}/ns/pid").st_ino == namespace
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        seen = look(int(entry)) if same else None
        if seen is not None:
            found.append(seen)
    return found
