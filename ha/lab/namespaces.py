"""Joining and making namespaces, in the order that works without root too."""

import os

from ha.lab import linux

_KINDS = {
    "user": linux.CLONE_NEWUSER,
    "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS,
    "net": linux.CLONE_NEWNET,
    "pid": linux.CLONE_NEWPID,
    "mnt": linux.CLONE_NEWNS,
}


def open_all(pid: int, kinds: tuple[str, ...]) -> list[tuple[int, int]]:
    """The namespaces of ``pid`` held open as (fd, kind); the user namespace first, it gives the right to the others.

    One that is our own already is left out: joining one's own user namespace is an error. Raises OSError.
    """
    held = []
    for kind in _KINDS:
        if kind not in kinds:
            continue
        fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        own = os.stat(f"/proc/self/ns/{kind}")
        theirs = os.fstat(fd)
        if (own.st_dev, own.st_ino) == (theirs.st_dev, theirs.st_ino):
            os.close(fd)
        else:
            held.append((fd, _KINDS[kind]))
    return held


def join(held: list[tuple[int, int]]) -> None:
    """Join and close what ``open_all`` holds. The pid namespace is that of children only. Raises OSError."""
    for fd, kind in held:
        linux.setns(fd, kind)
        os.close(fd)


def new_user() -> None:
    """A user namespace in which the caller is root and nobody else exists. Raises OSError where that is forbidden."""
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def new_machine() -> None:
    """Namespaces of one's own for everything that makes a machine; the next child is its first process."""
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWNET | linux.CLONE_NEWPID)
