"""``[fs#N]``: a file system that is mounted while the service runs (ext2/3/4, xfs, btrfs, tmpfs, nfs, or a bind mount).

What is mounted is read from the kernel's list, never by a ``stat`` of the mount point: that hangs for ever when the
server or the disk behind it is gone. Whatever must touch the file system does so in a process of its own.

The driver must not know where the device comes from; it finds it there, or refuses.
"""

import errno
import os
import signal
import stat
from collections.abc import Iterable
from typing import ClassVar

from ha.services.context import Context
from ha.services.errors import ResourceError, StillRunning
from ha.services.keys import Key, Kind, Values
from ha.services.resource import Resource
from ha.services.resources import blockdev, mounts, processes, users
from ha.services.resources.mounts import Mount
from ha.services.resources.steps import Budget, attempt, must, until
from ha.services.state import State, Status

_EXT = ("ext2", "ext3", "ext4")
_ON_DISK = (*_EXT, "xfs", "btrfs")
_NETWORK = ("nfs", "nfs4")
_FSCK_GOOD = (0, 1, 32, 33)
"""Exit codes of ``e2fsck -p`` after which the file system may be mounted (spec: OpenSVC, "fs")."""
_TRIES = 4
"""How often an unmount is tried, its users being ended in between (spec: OpenSVC, "fs")."""
_TERM_S = 2.0
"""What the users of a mount have between SIGTERM and SIGKILL."""
_SYNC_S = 10.0
"""What writing out a busy file system may take before its users are ended."""
_DEVICE_S = 5.0
"""How long a device that was just activated may take to show: udev makes its name."""
_RELEASE_S = 2.0
"""How long the kernel may take to let go of a device after the unmount."""
_TOP = ("", "bin", "boot", "dev", "etc", "lib", "lib64", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var")
_PROTECTED = frozenset((*(f"/{name}" for name in _TOP), "/usr/local", "/var/lib", "/var/log", "/var/tmp"))  # noqa: S108
"""Whose users are never ended: the machine's own programs are among them."""
_BY_NAME = {"LABEL": "by-label", "UUID": "by-uuid", "PARTLABEL": "by-partlabel", "PARTUUID": "by-partuuid"}


class Fs(Resource):
    """A file system on a device, of a server, in memory, or a folder of another one."""

    group = "fs"
    keys = (
        Key("type", doc="the kind of file system", required=True, choices=(*_ON_DISK, *_NETWORK, "tmpfs", "bind")),
        Key("dev", doc="block device, SERVER:/FOLDER of nfs, folder of a bind mount; not needed for tmpfs"),
        Key("mnt", Kind.PATH, "the mount point; made where it is missing", required=True),
        Key("mnt_opt", doc="options, as after mount -o"),
    )
    timeouts: ClassVar = {"start": 240.0, "stop": 60.0}
    """A check of a large ext file system after a crash takes minutes."""

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        self.type = values.text("type")
        self.point = values.text("mnt")
        self.options = tuple(option for option in values.text("mnt_opt").split(",") if option)
        self.device = values.text("dev") or ("tmpfs" if self.type == "tmpfs" else "")

    @property
    def label(self) -> str:
        return f"{self.device}@{self.point}"

    def order(self) -> tuple[str | int, ...]:
        """By mount point: what lies below another comes after it, and is unmounted before it."""
        return (*self.point.split("/"),)

    def problems(self) -> Iterable[tuple[str, str]]:
        if self.point == "/":
            yield "mnt", "is the root of the system; give a folder"
        if not self.device:
            yield "dev", f"is missing; a file system of type {self.type} needs one"
        elif self.type in _NETWORK and ":/" not in self.device:
            yield "dev", f"{self.device!r} is no export; write SERVER:/FOLDER"
        elif self.type in (*_ON_DISK, "bind") and not self._path().startswith("/"):
            yield "dev", f"{self.device!r} is not an absolute path"

    def abort_check(self, ctx: Context) -> str:
        """A device that is mounted elsewhere on this machine, or that something else holds, must not be mounted."""
        if self.type not in _ON_DISK or mounts.at(self.point, mounts.table()) is not None:
            return ""
        return blockdev.held(ctx, self._path())

    def start(self, ctx: Context) -> None:
        budget = Budget(self.timeout("start"))
        if (seen := mounts.at(self.point, mounts.table())) is not None:
            if not self._is_ours(seen):
                raise ResourceError(f"{seen.source} ({seen.type}) is mounted on {self.point} already; unmount it first")
            ctx.log.info(f"{self.device} is already mounted on {self.point}")
            return
        self._await_device(ctx, budget)
        self.activated = True
        self._make_point(ctx)
        if self.type in _EXT and "ro" not in self.options:
            must(ctx, ("e2fsck", "-p", self._path()), budget, good=_FSCK_GOOD)
        must(ctx, self._mount_command(), budget)
        if (seen := mounts.at(self.point, mounts.table())) is None or not self._is_ours(seen):
            raise ResourceError(f"mount reported success, but {self.device} is not mounted on {self.point}")

    def stop(self, ctx: Context) -> None:
        budget = Budget(self.timeout("stop"))
        seen = mounts.at(self.point, mounts.table())
        if seen is not None and not self._is_ours(seen):
            ctx.log.warning(f"{seen.source} ({seen.type}) is mounted on {self.point}, not {self.device}: left alone")
        else:
            while seen is not None and self._is_ours(seen):
                self._unmount(ctx, seen, budget)
                seen = mounts.at(self.point, mounts.table())
        if self.type in _ON_DISK:
            self._await_release(ctx, budget)

    def status(self, ctx: Context) -> Status:
        seen = mounts.at(self.point, mounts.table())
        if seen is None:
            return Status(State.DOWN)
        if not self._is_ours(seen):
            return Status(State.WARN, (f"{seen.source} ({seen.type}) is mounted there",))
        if seen.read_only:
            return Status(State.UP) if "ro" in self.options else Status(State.WARN, ("mounted read-only",), failed=True)
        point = self.point
        try:
            ctx.runner.call(lambda: _write_test(point), self.timeout("status"))
        except TimeoutError:  # nobody can tell: the disk may be slow, and elsewhere it would be as slow
            return Status(State.WARN, (f"hangs: no answer within {self.timeout('status'):g} s",))
        except OSError as error:
            return Status(State.WARN, (f"cannot be written: {error.strerror}",), failed=True)
        except ResourceError as error:
            return Status(State.WARN, (str(error),))
        return Status(State.UP)

    # ------------------------------------------------------------------------------------------------ the device

    def _path(self) -> str:
        """The path of the device, also where it is told by label or UUID."""
        kind, _, name = self.device.partition("=")
        if folder := _BY_NAME.get(kind.upper()):
            return f"/dev/disk/{folder}/{name}"
        return self.device

    def _is_ours(self, seen: Mount) -> bool:
        if self.type == "bind":
            return self._is_bound(seen)
        if self.type == "tmpfs":
            return seen.type == "tmpfs"
        if self.type in _NETWORK:
            return seen.type in _NETWORK and seen.source.rstrip("/") == self.device.rstrip("/")
        try:
            info = os.stat(self._path())
        except OSError:
            return seen.source == self._path()  # mounted, though its name is gone
        if seen.type != "btrfs":
            return seen.device == f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
        try:  # btrfs shows a number of its own, and any of its devices
            return os.stat(seen.source).st_rdev == info.st_rdev or blockdev.same_btrfs(seen.source, self._path())
        except OSError:
            return False

    def _is_bound(self, seen: Mount) -> bool:
        over = mounts.covering(self.device, (each for each in mounts.table() if each.id != seen.id))
        if over is None or over.device != seen.device:
            return False
        inside = self.device[len(over.point.rstrip("/")) :]
        return seen.root.rstrip("/") == (over.root.rstrip("/") + inside).rstrip("/")

    def _await_device(self, ctx: Context, budget: Budget) -> None:
        path = self._path()
        if self.type in _ON_DISK:
            if not until(lambda: blockdev.is_block(path), budget, _DEVICE_S):
                raise ResourceError(f"{path} is not a block device" if os.path.exists(path) else f"{path} is not there")
            if held := blockdev.held(ctx, self._path()):
                raise ResourceError(held)
        elif self.type == "bind":
            try:
                found = ctx.runner.call(
                    lambda: b"1" if stat.S_ISDIR(os.stat(path).st_mode) else b"", budget.left(_DEVICE_S)
                )
            except OSError as error:
                raise ResourceError(f"{path}: {error.strerror or error}") from None
            if not found:
                raise ResourceError(f"{path} is not a folder")

    def _await_release(self, ctx: Context, budget: Budget) -> None:
        """Another node would mount the device next, and two of them at once destroy a file system."""
        try:
            if not until(lambda: not blockdev.held(ctx, self._path()), budget, _RELEASE_S):
                raise ResourceError(blockdev.held(ctx, self._path()) or f"{self.device} was released late; try again")
        except blockdev.Unreadable as error:
            if where := blockdev.mounted_where(self._path()):
                raise ResourceError(f"{error}, and it is {where}") from None
            # The lists of mounts need no answer of the device: this node has nothing of it.
            ctx.log.warning(f"{error}; it is mounted nowhere on this machine")

    # --------------------------------------------------------------------------------------------- up and down

    def _make_point(self, ctx: Context) -> None:
        point = self.point

        def make() -> bytes:
            if os.path.realpath(point) != point:
                return b"link"
            try:
                os.makedirs(point)
            except FileExistsError:
                with os.scandir(point) as entries:
                    return b"holds" if next(entries, None) else b"there"
            return b"made"

        try:
            found = ctx.runner.call(make, self.timeout("status"))
        except OSError as error:
            raise ResourceError(f"the mount point {point} cannot be made: {error.strerror or error}") from None
        if found == b"link":
            # The kernel's list has real paths only: what is mounted through a link would not be found again.
            raise ResourceError(f"the mount point {point} lies behind a symbolic link; give its real path as mnt")
        if found == b"made":
            ctx.log.info(f"create missing mountpoint {point}")
        elif found == b"holds":
            ctx.log.warning(f"{point} holds files, which cannot be seen while {self.device} is mounted over them")

    def _mount_command(self) -> tuple[str, ...]:
        options = ",".join((*(("bind",) if self.type == "bind" else ()), *self.options))
        kind = () if self.type == "bind" else ("-t", self.type)
        return ("mount", *kind, *(("-o", options) if options else ()), self.device, self.point)

    def _unmount(self, ctx: Context, seen: Mount, budget: Budget) -> None:
        callers = processes.ancestors()
        for attempted in range(1, _TRIES + 1):
            forced = ("-f",) if attempted > 1 and self.type in _NETWORK else ()
            done = attempt(ctx, ("umount", *forced, self.point), budget)
            if not any(each.id == seen.id for each in mounts.table()):
                return
            using = self._users(ctx, seen)
            if attempted == _TRIES or self.point in _PROTECTED:
                raise ResourceError(self._why_busy(done.why(), using, callers))
            self._end(ctx, [user for user in using if user.pid not in callers and user.pid != 1], attempted, budget)

    def _users(self, ctx: Context, seen: Mount) -> list[processes.Process]:
        try:
            return users.find(ctx, seen)
        except OSError as error:
            raise ResourceError(f"who uses {self.point} cannot be found: {error.strerror or error}") from None

    def _end(self, ctx: Context, using: list[processes.Process], attempted: int, budget: Budget) -> None:
        """SIGTERM the first time, SIGKILL after that. What they wrote goes to the disk first."""
        try:
            attempt(ctx, ("sync", "-f", self.point), Budget(min(_SYNC_S, budget.left())))
        except StillRunning as error:  # it may be the very disk that is dead; the unmount tells
            ctx.log.warning(str(error))
        number = signal.SIGTERM if attempted == 1 else signal.SIGKILL
        for user in using:
            ctx.log.warning(f"{self.point} is busy: {number.name} to {user}")
        processes.end(using, number)
        end = Budget(budget.left(_TERM_S))
        processes.gone(using, end.left_or_none)

    def _why_busy(self, why: str, using: list[processes.Process], callers: set[int]) -> str:
        below = [
            each.point for each in mounts.table() if each.point != self.point and mounts.within(each.point, self.point)
        ]
        reasons = [f"used by {user}" + (", who called this" if user.pid in callers else "") for user in using[:5]]
        reasons += [f"{point} is mounted below it" for point in below[:5]]
        if self.point in _PROTECTED:
            reasons.append(f"the users of {self.point} are never ended")
        return "; ".join([why, *reasons])


def _write_test(point: str) -> bytes:
    """Make a file without a name, and leave nothing behind. A full disk is no fault of the mount."""
    try:
        fd = os.open(point, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return b""
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
        name = f"{point}/.ezha-write-test-{os.getpid()}"  # nfs and fuse know no files without a name
        try:
            fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return b""
            raise
        os.unlink(name)
    try:
        os.write(fd, b"\n")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(fd)
    return b""
