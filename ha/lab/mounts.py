"""What a node sees of the machine's files: a list of mounts, and carrying it out.

The list is made outside (``ha.lab.rootfs``) and carried out by the node's first process in its own mount namespace.
Every source is opened before anything is mounted: a source may lie below a folder that another mount hides.
"""

import os
import stat
from dataclasses import dataclass, field

from ha.lab import linux

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "loop-control")
_LOOPS = 32
_LOOP_MAJOR = 7
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
    "core": "/proc/kcore",
}
SYSRQ = "/dev/.sysrq"
"""A FIFO that stands in for /proc/sysrq-trigger: a node that reboots itself must not take the machine along."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One step. ``kind`` says what ``source`` and ``options`` mean.

    bind: ``source`` (folder or file) appears at ``target``. tmpfs: a new one, with ``options``. mirror: a new tmpfs in
    which every entry of ``target`` appears again, so that one can be added. dev: a small private /dev. node: a block
    device ``options`` = ``major:minor``. proc, sys: of this process's namespaces.
    """

    kind: str
    target: str
    source: str = ""
    options: str = ""
    create: bool = False
    """Make the mount point where it is missing: only where another mount of the list hides the machine's files."""


@dataclass(slots=True)
class _Opened:
    """The sources of one step, held open."""

    fds: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def apply(mounts: list[Mount]) -> None:
    """Raises OSError that names the mount. The caller must be alone in its mount namespace."""
    # Mounts of the machine may come in later, none of ours may get out.
    linux.mount("none", "/", "", linux.MS_REC | linux.MS_SLAVE)
    opened = [_open_sources(mount) for mount in mounts]
    for mount, sources in zip(mounts, opened, strict=True):
        _DO[mount.kind](mount, sources)
    for sources in opened:
        for fd in sources.fds.values():
            os.close(fd)


def _path_fd(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _open_sources(mount: Mount) -> _Opened:
    sources = _Opened()
    match mount.kind:
        case "bind":
            sources.fds["source"] = _path_fd(mount.source)
        case "mirror":
            with os.scandir(mount.target) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        sources.links[entry.name] = os.readlink(entry.path)
                    else:
                        sources.fds[entry.name] = _path_fd(entry.path)
        case "dev":
            for name in _DEVICES:
                if os.path.exists(f"/dev/{name}"):
                    sources.fds[name] = _path_fd(f"/dev/{name}")
        case "sys":
            if os.path.isdir("/sys/fs/cgroup"):
                sources.fds["cgroup"] = _path_fd("/sys/fs/cgroup")
    return sources


def _bind(fd: int, target: str, create: bool) -> None:
    if create and not os.path.lexists(target):
        _make_point(target, os.fstat(fd).st_mode)
    linux.mount(f"/proc/self/fd/{fd}", target, "", linux.MS_BIND | linux.MS_REC)


def _make_point(target: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        os.makedirs(target, exist_ok=True)
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _do_bind(mount: Mount, sources: _Opened) -> None:
    _bind(sources.fds["source"], mount.target, mount.create)


def _do_tmpfs(mount: Mount, _sources: _Opened) -> None:
    linux.mount("tmpfs", mount.target, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, mount.options)


def _do_mirror(mount: Mount, sources: _Opened) -> None:
    linux.mount("tmpfs", mount.target, "tmpfs", linux.MS_NODEV, "mode=755,size=4m")
    for name, link in sources.links.items():
        os.symlink(link, f"{mount.target}/{name}")
    for name, fd in sources.fds.items():
        _bind(fd, f"{mount.target}/{name}", create=True)


def _do_dev(_mount: Mount, sources: _Opened) -> None:
    linux.mount("tmpfs", "/dev", "tmpfs", linux.MS_NOSUID | linux.MS_NOEXEC, "mode=755,size=4m")
    for name, fd in sources.fds.items():
        info = os.fstat(fd)
        try:
            os.mknod(f"/dev/{name}", info.st_mode, info.st_rdev)
            os.chmod(f"/dev/{name}", stat.S_IMODE(info.st_mode))
        except PermissionError:  # a user namespace may not make devices, but may show those that there are
            _bind(fd, f"/dev/{name}", create=True)
    for name, link in _LINKS.items():
        os.symlink(link, f"/dev/{name}")
    for name in ("pts", "shm", "mapper"):
        os.mkdir(f"/dev/{name}")
    linux.mount("devpts", "/dev/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    linux.mount("tmpfs", "/dev/shm", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777,size=64m")  # noqa: S108
    os.mkfifo(SYSRQ, 0o600)
    try:
        for number in range(_LOOPS):
            os.mknod(f"/dev/loop{number}", stat.S_IFBLK | 0o600, os.makedev(_LOOP_MAJOR, number))
    except PermissionError:  # no loop devices in a user namespace either
        return


def _do_node(mount: Mount, _sources: _Opened) -> None:
    major, minor = (int(part) for part in mount.options.split(":"))
    os.makedirs(os.path.dirname(mount.target), exist_ok=True)
    os.mknod(mount.target, stat.S_IFBLK | 0o600, os.makedev(major, minor))


def _do_proc(_mount: Mount, _sources: _Opened) -> None:
    safe = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", "/proc", "proc", safe)
    # The network's settings are the node's own; all the others are the machine's, and a node must not change them.
    net = _path_fd("/proc/sys/net")
    linux.mount("/proc/sys", "/proc/sys", "", linux.MS_BIND)
    linux.mount("none", "/proc/sys", "", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | safe)
    linux.mount(f"/proc/self/fd/{net}", "/proc/sys/net", "", linux.MS_BIND)
    os.close(net)
    if os.path.exists("/proc/sysrq-trigger"):
        linux.mount(SYSRQ, "/proc/sysrq-trigger", "", linux.MS_BIND)


def _do_sys(_mount: Mount, sources: _Opened) -> None:
    try:
        linux.mount("sysfs", "/sys", "sysfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    except PermissionError:
        return  # in a container without root: the machine's /sys stays, with the machine's interfaces in it
    if "cgroup" in sources.fds and os.path.isdir("/sys/fs/cgroup"):
        _bind(sources.fds["cgroup"], "/sys/fs/cgroup", create=False)


_DO = {
    "bind": _do_bind,
    "tmpfs": _do_tmpfs,
    "mirror": _do_mirror,
    "dev": _do_dev,
    "node": _do_node,
    "proc": _do_proc,
    "sys": _do_sys,
}
