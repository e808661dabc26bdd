"""Who uses a mount, and so keeps it from being unmounted.

A process uses a mount where its working folder, its root, its program, an open file or a mapped one lies on it, also
when it has a mount namespace of its own in which the mount shows again (systemd gives many services one): such a copy
makes the unmount fail, too. Only /proc is read, never the file system itself, which may hang.
"""

import json
import os

from ha.services.context import Context
from ha.services.resources.mounts import Mount, covering, table, within
from ha.services.resources.processes import Process, look, pids

_LOOK_S = 10.0
_MOST = 200
"""Users that one look reports; the next look finds the rest."""


def find(ctx: Context, mount: Mount) -> list[Process]:
    """Who uses ``mount``, this process left out. Raises TimeoutError and OSError where /proc cannot be read."""
    me = os.getpid()

    def scan() -> bytes:
        return json.dumps(_scan(mount, {me, os.getpid()})).encode()

    return [Process(*fields) for fields in json.loads(ctx.runner.call(scan, _LOOK_S))]


def _scan(mount: Mount, skip: set[int]) -> list[tuple[int, int, str]]:
    found = []
    tables: dict[str, list[Mount]] = {}
    for pid in pids():
        if pid in skip:
            continue
        try:
            namespace = os.readlink(f"/proc/{pid}/ns/mnt")
            if namespace not in tables:
                tables[namespace] = table(pid)
            uses = _uses(pid, mount, tables[namespace])
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is a thread of the kernel
        if uses and (seen := look(pid)) is not None:
            found.append((pid, seen.process.start, seen.process.name))
            if len(found) == _MOST:
                break
    return found


def _uses(pid: int, mount: Mount, seen: list[Mount]) -> bool:
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
