"""A loop device that cannot be left behind: the kernel takes it back when its last opener is gone.

``losetup`` sets a device up and ends, so a crash after it leaves the device; hence the ioctl, with autoclear from the
start.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

_LOOP_CLR_FD = 0x4C01
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82
_AUTOCLEAR = 4
_DIRECT_IO = 16
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIG = struct.Struct("=2I232s8Q")
_TRIES = 100


def attach(backing: str, label: str) -> tuple[int, str]:
    """Serve ``backing`` as a block device, with direct I/O. Returns a descriptor that keeps it, and its name.

    ``label`` (at most 63 bytes) is what the kernel keeps as the file's name. Raises OSError.
    """
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR | _DIRECT_IO, label.encode()[:63], b"", b"", 0, 0)
    file = os.open(backing, os.O_RDWR | os.O_CLOEXEC)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            name = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, _CONFIG.pack(file, 0, info, *([0] * 8)))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # busy: another process was quicker to take it
                    raise
            else:
                return device, name
        raise OSError(errno.EBUSY, "no free loop device")
    finally:
        os.close(control)
        os.close(file)


def backing_of(name: str) -> tuple[int, int, str] | None:
    """Device and inode of the file behind ``/dev/loopN``, and its label; None where none is. Raises OSError.

    None, too, for a file whose server has ended: the device fails all that is asked of it, and goes with its last user.
    """
    device = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        raw = bytearray(_INFO.size)
        fcntl.ioctl(device, _LOOP_GET_STATUS64, raw)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOTCONN, errno.ECONNABORTED):
            return None
        raise
    finally:
        os.close(device)
    fields = _INFO.unpack(raw)
    return int(fields[0]), int(fields[1]), bytes(fields[9]).rstrip(b"\0").decode(errors="replace")


def detach(name: str) -> None:
    """Take it back, now or when its last opener is gone. Raises OSError."""
    device = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _LOOP_CLR_FD)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    finally:
        os.close(device)


def attached() -> list[str]:
    """The names of all loop devices of the machine that serve a file."""
    return [f"/dev/{path.parts[3]}" for path in Path("/sys/block").glob("loop*/loop/backing_file")]


def detach_all(backing: str) -> None:
    """Take back every device that serves this file: a node that lost its power leaves its own to the machine.

    One that is in use goes with its last user. Without the file there is none. Raises OSError.
    """
    try:
        file = os.stat(backing)
    except FileNotFoundError:
        return
    for name in attached():
        try:
            seen = backing_of(name)
        except FileNotFoundError:
            continue  # the machine has it under no name
        if seen is not None and seen[:2] == (file.st_dev, file.st_ino):
            detach(name)
