"""What is mounted where, by the kernel's own list (proc(5), /proc/PID/mountinfo).

That list is read without touching any file system, so it can be read whatever hangs. Pure but for ``table``.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the list."""

    id: int
    """Unique on the machine as long as it is mounted, in all mount namespaces."""
    device: str
    """``major:minor`` of what files on it show as ``st_dev``."""
    root: str
    """The folder of the file system that is mounted: not ``/`` for a bind mount of a part, or a subvolume."""
    point: str
    options: frozenset[str]
    """Those of the mount, not those of the file system."""
    type: str
    source: str
    fs_options: frozenset[str]

    @property
    def read_only(self) -> bool:
        """By the mount or by the file system, which becomes so when ext4 meets an error."""
        return "ro" in self.options or "ro" in self.fs_options


def parse(text: str) -> list[Mount]:
    """In the order of the kernel: of two mounts on one point the later hides the earlier."""
    found = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, tail = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(tail) < 3:
            continue  # The kernel wrote while we read; a mount that matters stands on a line of its own.
        options = frozenset(fields[5].split(","))
        root, point, source = _plain(fields[3]), _plain(fields[4]), _plain(tail[1])
        found.append(
            Mount(int(fields[0]), fields[2], root, point, options, tail[0], source, frozenset(tail[2].split(",")))
        )
    return found


def table(pid: int | str = "self") -> list[Mount]:
    """The mounts that a process sees. Raises OSError where it is gone."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse(file.read())


def at(point: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount on ``point`` that is seen there, None where nothing is mounted right there."""
    found = None
    for mount in mounts:
        if mount.point == point:
            found = mount
    return found


def covering(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that ``path`` (absolute, without symbolic links) lies on."""
    found = None
    for mount in mounts:
        if within(path, mount.point) and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def within(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _plain(text: str) -> str:
    """Undo the kernel's octal escapes of blank, tab, newline and backslash."""
    if "\\" not in text:
        return text
    parts = text.split("\\")
    return parts[0] + "".join(chr(int(part[:3], 8)) + part[3:] for part in parts[1:])
