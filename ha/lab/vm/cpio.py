"""An initial ramdisk: busybox, the modules that reach the root file system, and a script. Made as a cpio archive.

The format is "newc" (Linux: Documentation/driver-api/early-userspace/buffer-format.rst). A ramdisk of Debian's own
makers works too, and takes an emulated machine some seconds longer.
"""

import os
from collections.abc import Iterable, Mapping

MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
"""Those that are loaded before there is a root; what they need comes along."""


def ramdisk(tree: str, release: str, script: bytes) -> bytes:
    """The archive, with ``/bin/busybox`` and the modules of kernel ``release`` out of ``tree``. Raises OSError."""
    order = _in_order(tree, release)
    archive = _Archive()
    for folder in ("bin", "proc", "sys", "dev", "root", "modules"):
        archive.folder(folder)
    with open(f"{tree}/bin/busybox", "rb") as file:
        archive.file("bin/busybox", file.read(), 0o755)
    for path in order:
        with open(f"{tree}/lib/modules/{release}/{path}", "rb") as file:
            archive.file(f"modules/{os.path.basename(path)}", file.read(), 0o644)
    archive.file("modules/order", "".join(f"{os.path.basename(path)}\n" for path in order).encode(), 0o644)
    archive.device("dev/console", 5, 1)
    archive.file("init", script, 0o755)
    return archive.end()


def _in_order(tree: str, release: str) -> list[str]:
    """Paths of the modules, each after those that it needs."""
    needs: dict[str, list[str]] = {}
    with open(f"{tree}/lib/modules/{release}/modules.dep", encoding="ascii") as file:
        for line in file:
            path, _, rest = line.partition(":")
            needs[path] = rest.split()
    builtin = set()
    with open(f"{tree}/lib/modules/{release}/modules.builtin", encoding="ascii") as file:
        builtin = {_name(line.strip()) for line in file}
    by_name = {_name(path): path for path in needs}
    found: list[str] = []
    for name in MODULES:
        if name not in builtin:
            _collect(by_name[name], needs, found)
    return found


def _name(path: str) -> str:
    return os.path.basename(path).split(".")[0].replace("-", "_")


def _collect(path: str, needs: Mapping[str, Iterable[str]], found: list[str]) -> None:
    for each in needs[path]:
        _collect(each, needs, found)
    if path not in found:
        found.append(path)


class _Archive:
    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0

    def folder(self, name: str) -> None:
        self._entry(name, 0o040755, b"")

    def file(self, name: str, data: bytes, mode: int) -> None:
        self._entry(name, 0o100000 | mode, data)

    def device(self, name: str, major: int, minor: int) -> None:
        """A character device."""
        self._entry(name, 0o020600, b"", (major, minor))

    def end(self) -> bytes:
        self._entry("TRAILER!!!", 0, b"")
        return b"".join(self._parts)

    def _entry(self, name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        raw = name.encode() + b"\0"
        # inode, mode, owner, group, links, time, size, device of the file system (2), of the node (2), name, checksum
        numbers = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(raw), 0)
        self._parts.append(_padded(b"070701" + b"".join(b"%08X" % number for number in numbers) + raw))
        self._parts.append(_padded(data))


def _padded(data: bytes) -> bytes:
    """To a multiple of four, as every part of an archive is."""
    return data + b"\0" * (-len(data) % 4)
