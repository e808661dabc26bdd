"""What makes a machine another one than its twin: files that its initial ramdisk unpacks at the first boot.

A tar archive on a disk. Knows no ezha: it is told the files.
"""

import hashlib
import io
import tarfile
from dataclasses import dataclass, field


@dataclass(slots=True)
class Seed:
    """Files and links of a machine, by absolute path; all root's."""

    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Text and mode."""
    links: dict[str, str] = field(default_factory=dict)

    def archive(self) -> bytes:
        """The same for the same content."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path, (text, mode) in sorted(self.files.items()):
                raw = text.encode()
                entry = _entry(path, mode)
                entry.size = len(raw)
                tar.addfile(entry, io.BytesIO(raw))
            for path, target in sorted(self.links.items()):
                entry = _entry(path, 0o777)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                tar.addfile(entry)
        return data.getvalue()


def identify(archive: bytes) -> str:
    """What tells two seeds apart, short enough for a kernel's command line."""
    return hashlib.sha256(archive).hexdigest()[:16]


def _entry(path: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.mode = mode
    entry.uname = entry.gname = "root"
    return entry
