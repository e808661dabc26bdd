"""Who uses a mount, and ending them: what keeps a file system from being unmounted.

A process uses a mount where its working folder, its root, its program, an open file or a mapped one lies on it, also
when it has a mount namespace of its own in which the mount shows again (systemd gives many services one): such a copy
makes the unmount fail, too. Only /proc is read, never the file system itself, which may hang.
"""

import json
import os
import select
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ha.services.context import Context
from ha.services.resources.mounts import Mount, covering, table, within

_LOOK_S = 10.0
_MOST = 200
"""Users that one look reports; the next look finds the rest."""


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses a mount."""

    pid: int
    start: int
    """Clock ticks from the boot to its start: with the pid it names one process for ever."""
    name: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name})"


def find(ctx: Context, mount: Mount) -> list[User]:
    """Who uses ``mount``, this process left out. Raises TimeoutError and OSError where /proc cannot be read."""
    me = os.getpid()

    def look() -> bytes:
        return json.dumps(_scan(mount, {me, os.getpid()})).encode()

    return [User(*fields) for fields in json.loads(ctx.runner.call(look, _LOOK_S))]


def ancestors() -> set[int]:
    """The pids that this process descends from: whoever called it, up to the first process."""
    found: set[int] = set()
    pid = os.getppid()
    while pid > 0 and pid not in found:
        found.add(pid)
        pid = int((_stat(pid) or ("", ["", "0"]))[1][1])
    return found


def end(users: Iterable[User], number: int) -> None:
    """Signal exactly these processes: one that has gone meanwhile is left out, even if another has its pid now."""
    for user in users:
        try:
            pidfd = os.pidfd_open(user.pid)
        except ProcessLookupError:
            continue
        try:
            if (seen := _stat(user.pid)) is not None and int(seen[1][19]) == user.start:
                signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)


def gone(users: Iterable[User], left: Callable[[], float]) -> bool:
    """Wait until all have ended, for at most ``left()`` seconds. Whether they have."""
    for user in users:
        try:
            pidfd = os.pidfd_open(user.pid)
        except ProcessLookupError:
            continue
        try:
            seen = _stat(user.pid)
            if seen is None or int(seen[1][19]) != user.start:
                continue
            if not select.select([pidfd], [], [], max(0.0, left()))[0]:
                return False
        finally:
            os.close(pidfd)
    return True


def _stat(pid: int) -> tuple[str, list[str]] | None:
    """Its name, and what /proc/PID/stat says after it, from the state on; None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything, parentheses and blanks too.
    name = text[text.index("(") + 1 : text.rindex(")")]
    return name, text[text.rindex(")") + 2 :].split()


def _scan(mount: Mount, skip: set[int]) -> list[tuple[int, int, str]]:
    found = []
    tables: dict[str, list[Mount]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in skip:
            continue
        try:
            namespace = os.readlink(f"/proc/{entry}/ns/mnt")
            if namespace not in tables:
                tables[namespace] = table(entry)
            uses = _uses(entry, mount, tables[namespace])
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is a thread of the kernel
        if uses and (seen := _stat(int(entry))) is not None and seen[1][0] not in "ZX":
            found.append((int(entry), int(seen[1][19]), seen[0]))
            if len(found) == _MOST:
                break
    return found


def _uses(pid: str, mount: Mount, seen: list[Mount]) -> bool:
    ids = {each.id for each in seen if (each.device, each.root, each.point) == (mount.device, mount.root, mount.point)}
    if not ids:
        return False
    for link in ("cwd", "root", "exe"):
        if _on(os.readlink(f"/proc/{pid}/{link}"), ids, seen):
            return True
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        if _mount_id(f"/proc/{pid}/fdinfo/{fd}") in ids:
            return True
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line[line.index("/") :].rstrip("\n") if "/" in line else ""
            if within(path, mount.point) and _on(path, ids, seen):
                return True
    return False


def _on(path: str, ids: set[int], seen: list[Mount]) -> bool:
    over = covering(path, seen)
    return over is not None and over.id in ids


def _mount_id(path: str) -> int:
    """-1 where the descriptor was closed meanwhile."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("mnt_id:"):
                    return int(line.split()[1])
    except FileNotFoundError:
        return -1
    return -1
