"""The processes of ezha on this node, found in /proc by their titles.

Works where nmond does not answer, which is when one needs it. Sees only processes of its own pid namespace: on a
machine that hosts a lab, the nodes' processes are not this machine's.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """One process of ezha."""

    pid: int
    parent: int
    started: int
    """Clock ticks after the boot: with the pid, it names the process for ever."""
    title: str
    """``/usr/local/cluster/bin/heartd eth0 239.131.50.10 1234``"""

    @property
    def program(self) -> str:
        """``nmond``, ``nmond-supervisor``, ``heartd``, …"""
        return os.path.basename(self.title.split(" ", 1)[0])

    def is_still_there(self) -> bool:
        """Whether the pid still means this process."""
        fields = _stat("/proc", str(self.pid))
        return fields is not None and int(fields[19]) == self.started


_GUARDIAN = "ezha-guardian"
_NAMES = ("nmond", "nmond-supervisor", "heartd", "heartc", _GUARDIAN)


def processes(bin_dir: str, proc: str = "/proc") -> list[Process]:
    """Those whose title begins with a program of ``bin_dir``, supervisor and nmond first, then by pid."""
    found = [process for process in _all(bin_dir, proc) if _belongs(process)]
    rank = {"nmond-supervisor": 0, "nmond": 1}
    return sorted(found, key=lambda process: (rank.get(process.program, 2), process.pid))


def _belongs(process: Process) -> bool:
    """Whether it is a daemon: a command that somebody has just typed is not."""
    return (
        process.program.split("_")[0] in _NAMES
        or process.title.endswith("/svcmgr watch")
        or " metrics --serve" in process.title
    )


def family(bin_dir: str, run_dir: str, proc: str = "/proc") -> list[Process]:
    """Those of ``processes`` that belong to the installation whose run-time files are in ``run_dir``.

    nmond and its workers hold their locks open there; the supervisor is the parent of one that does, or holds one.
    Two installations can share their programs, and ending the one must not end the other. The guardian is not among
    them: nmond ends it where it guards nothing, and where it guards something nobody else may.
    """
    found = [process for process in processes(bin_dir, proc) if process.program != _GUARDIAN]
    own = {process.pid for process in found if _holds(proc, process.pid, run_dir)}
    parents = {process.parent for process in found if process.pid in own}
    return [p for p in found if p.pid in own or (p.pid in parents and p.program == "nmond-supervisor")]


def _holds(proc: str, pid: int, run_dir: str) -> bool:
    """Whether the process has a file below ``run_dir`` open."""
    folder = f"{proc}/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}").startswith(f"{run_dir}/"):
                return True
        except OSError:
            continue
    return False


def _all(bin_dir: str, proc: str) -> Iterator[Process]:
    own = _namespace(proc, "self")
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        title = _title(bin_dir, proc, entry)
        if title is None or _namespace(proc, entry) != own:
            continue
        fields = _stat(proc, entry)
        if fields is not None:
            yield Process(int(entry), int(fields[1]), int(fields[19]), title)


def _title(bin_dir: str, proc: str, pid: str) -> str | None:
    """The title of a process of ezha, None for any other. A script shows behind its interpreter and its flags."""
    try:
        with open(f"{proc}/{pid}/cmdline", "rb") as file:
            words = file.read(4096).rstrip(b"\0").decode(errors="replace").split("\0")
    except OSError:
        return None
    if words[0].startswith(f"{bin_dir}/"):
        return " ".join(words)
    # Anybody may have a program of ours as an argument (an editor); an interpreter runs it.
    if os.path.basename(words[0]).startswith("python"):
        rest = [place for place, word in enumerate(words) if place and not word.startswith("-")]
        if rest and words[rest[0]].startswith(f"{bin_dir}/"):
            return " ".join(words[rest[0] :])
    return None


def _stat(proc: str, pid: str) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on: the second may hold blanks and parentheses."""
    try:
        with open(f"{proc}/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] == "Z":
        return None
    return fields


def _namespace(proc: str, pid: str) -> str | None:
    try:
        return os.readlink(f"{proc}/{pid}/ns/pid")
    except OSError:
        return None
