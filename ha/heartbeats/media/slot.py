"""One slot of a shared disk: read whole, written whole, past every cache of this host.

Offsets count blocks of 512 bytes. A disk with sectors of 4,096 bytes moves nothing smaller, so there a slot begins at
a multiple of 8. It knows nothing of what stands in a slot.
"""

import errno
import mmap
import os
import stat
import struct
from fcntl import ioctl

from ha.heartbeats.media.medium import MediumError, ReplacedError, failure
from ha.heartbeats.path import BLOCK, PathLine

_BLKSSZGET = 0x1268
MAX_BLOCKS = 128
"""A slot is used up to this many blocks: no message is larger."""


class Slot:
    """The slot of one line of ``monitor``."""

    def __init__(self, line: PathLine) -> None:
        self.label = line.label
        self.device = line.device
        self._line = line
        self._fd = -1
        self._identity: tuple[int, int, int] = (0, 0, 0)
        self._buffer = mmap.mmap(-1, BLOCK)
        """Anonymous memory begins at a page, which is the alignment that O_DIRECT asks for."""

    def open(self, write: bool) -> None:
        """Raises MediumError where the device is missing, of the wrong kind, or cannot have this slot."""
        self.close()
        try:
            kind = os.stat(self.device).st_mode
            if not (stat.S_ISBLK(kind) or stat.S_ISREG(kind) or (stat.S_ISCHR(kind) and self._line.medium == "disk")):
                raise MediumError(f"{self.device} is not a block device")
            self._fd = self._open_direct(write, fallback=not stat.S_ISBLK(kind))
            self._identity = _identity(os.fstat(self._fd))
            self._set_up(self._sector_size(kind))
        except OSError as error:
            self.close()
            raise failure(self.label, error) from error
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Bytes. Known once it is open."""
        return len(self._buffer)

    def require_same_device(self) -> None:
        """A device that was taken away and came back under its name is another one: what is open leads nowhere.

        Raises ReplacedError, or MediumError where nothing has the name.
        """
        try:
            same = _identity(os.stat(self.device)) == self._identity
        except OSError as error:
            raise failure(self.label, error) from error
        if not same or self._fd < 0:
            raise ReplacedError(f"{self.label}: the device was replaced by another one of that name")

    def read(self) -> bytes:
        """The whole slot, from the disk itself. Raises MediumError."""
        self.require_same_device()
        try:
            done = os.preadv(self._fd, [self._buffer], self._line.offset * BLOCK)
        except OSError as error:
            raise failure(f"{self.label}: cannot read", error) from error
        self._require_whole(done)
        return self._buffer[:]

    def write(self, content: bytes) -> None:
        """Write the slot whole, with zeros behind ``content``, and wait until the disk has confirmed it.

        Raises MediumError: then nobody knows what the slot holds.
        """
        if len(content) > self.size:
            raise MediumError(f"{self.label}: {len(content)} bytes do not fit in the slot of {self.size}")
        self.require_same_device()
        self._buffer[: len(content)] = content
        self._buffer[len(content) :] = bytes(self.size - len(content))
        try:
            done = os.pwritev(self._fd, [self._buffer], self._line.offset * BLOCK)
        except OSError as error:
            raise failure(f"{self.label}: cannot write", error) from error
        self._require_whole(done)

    def forget_cache(self) -> None:
        """Drop what this host has cached of the device, so that another program reads what is on it now."""
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Harmless when it is not open."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _open_direct(self, write: bool, fallback: bool) -> int:
        flags = (os.O_RDWR | os.O_DSYNC if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOCTTY
        try:
            return os.open(self.device, flags | os.O_DIRECT)
        except OSError as error:
            # Raw character devices bypass the cache by nature, and some file systems have no O_DIRECT: within one
            # host (a lab without root) their cache is shared by all who look.
            if error.errno != errno.EINVAL or not fallback:
                raise
            return os.open(self.device, flags)

    def _sector_size(self, kind: int) -> int:
        if stat.S_ISBLK(kind):
            size: int = struct.unpack("i", ioctl(self._fd, _BLKSSZGET, bytes(4)))[0]
            return size
        try:
            os.preadv(self._fd, [self._buffer], self._line.offset * BLOCK)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return 4096
        return BLOCK

    def _set_up(self, sector: int) -> None:
        if self._line.offset * BLOCK % sector:
            raise MediumError(
                f"{self.label}: this disk has sectors of {sector} bytes, so an offset must be a multiple of"
                f" {sector // BLOCK}"
            )
        size = min(self._line.slot_blocks, MAX_BLOCKS) * BLOCK
        size -= size % sector
        if size <= 0:
            raise MediumError(
                f"{self.label}: the slot has {self._line.slot_blocks} blocks of {BLOCK} bytes, less than a sector of"
                f" this disk ({sector} bytes); leave more room up to the next offset"
            )
        self._buffer = mmap.mmap(-1, size)

    def _require_whole(self, done: int) -> None:
        if done != self.size:
            raise MediumError(f"{self.label}: the device ends before the slot does")


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    """What the name stands for: the device number, or the file."""
    if stat.S_ISREG(found.st_mode):
        return found.st_dev, found.st_ino, 0
    return 0, 0, found.st_rdev
