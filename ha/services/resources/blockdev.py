"""Who holds a block device on this machine: it must be nobody before it is mounted, and after a stop.

Knows nothing of file systems but their mounts.
"""

import errno
import os
import stat

from ha.services.context import Context
from ha.services.errors import ResourceError
from ha.services.resources import mounts

LOOK_S = 5.0
"""How long a device may take to answer."""
_OTHERWISE = "not mounted, but held by a volume group, an array or a program"
_ABSENT = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTBLK, errno.EMEDIUMTYPE, errno.ENOMEDIUM)


class Unreadable(ResourceError):
    """The device does not answer."""


def held(ctx: Context, path: str) -> str:
    """Who holds the device, in words; empty where nobody does, or where it is not there.

    An exclusive open fails while a device is mounted anywhere on the machine, in other mount namespaces too, or is part
    of a volume group or an array. Raises Unreadable where it neither works nor fails for that reason.
    """
    try:
        ctx.runner.call(lambda: _open_exclusively(path), LOOK_S)
    except TimeoutError:
        raise Unreadable(f"{path} hangs: no answer within {LOOK_S:g} s") from None
    except OSError as error:
        if error.errno == errno.EBUSY:
            return f"{path} is in use on this machine: {mounted_where(path) or _OTHERWISE}"
        if error.errno in _ABSENT:
            return ""
        raise Unreadable(f"{path}: {error.strerror}") from None
    return ""


def mounted_where(path: str) -> str:
    """Where the device is mounted, by the mounts of all processes; empty where it is nowhere. Asks no device."""
    try:
        number = os.stat(path).st_rdev
    except OSError:
        return ""
    device = f"{os.major(number)}:{os.minor(number)}"
    for each in mounts.table():
        if each.device == device:
            return f"mounted on {each.point}"
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            for each in mounts.table(pid):
                if each.device == device:
                    return f"mounted on {each.point} in the mount namespace of pid {pid}"
        except OSError:
            continue  # it has ended
    return ""


def is_block(path: str) -> bool:
    """Whether there is a block device of this name."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


def same_btrfs(one: str, other: str) -> bool:
    """Whether two devices belong to one btrfs, by /sys/fs/btrfs/UUID/devices."""
    names = {os.path.basename(os.path.realpath(path)) for path in (one, other)}
    try:
        members = [
            set(os.listdir(f"/sys/fs/btrfs/{uuid}/devices")) for uuid in os.listdir("/sys/fs/btrfs") if "-" in uuid
        ]
    except OSError:
        return False
    return any(names <= each for each in members)


def _open_exclusively(path: str) -> bytes:
    if not stat.S_ISBLK(os.stat(path).st_mode):
        raise OSError(errno.ENOTBLK, os.strerror(errno.ENOTBLK))
    os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK))
    return b""
