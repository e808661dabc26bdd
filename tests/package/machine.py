"""A Debian 12 machine in a folder: made by mmdebstrap, booted with its own systemd in namespaces of its own.

It sees no network but its loopback, and nothing of this machine but its kernel. It ends with whoever made it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SOURCES = "/etc/apt/sources.list.d/debian.sources"
_INCLUDED = "systemd-sysv,dbus,man-db,mandoc,bash-completion,zsh,iproute2"
_ENVIRON = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "HOME": "/root",
}

_BOOT = """
set -e
cd "$1"
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do touch dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
hostname node1
ip link set lo up
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . "$2"
"""


def make(folder: Path, package: Path) -> None:
    """A minimal Debian, and ``package`` installed in it as an administrator would: by apt, from Debian's packages."""
    argv = ["mmdebstrap", "--mode=root", "--variant=apt", "--format=directory", "--dpkgopt=force-unsafe-io"]
    argv += [f"--include={_INCLUDED}", f"--customize-hook=copy-in {package} /root"]
    argv += [f'--customize-hook=chroot "$1" apt-get install --yes --no-install-recommends /root/{package.name}']
    # An index of all man pages, made anew at every step of apt, is nobody's here.
    argv += ['--customize-hook=rm -f "$1/var/lib/man-db/auto-update"']
    done = subprocess.run([*argv, "bookworm", str(folder), SOURCES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "etc/hostname").write_text("node1\n")


def _unified() -> Path:
    """Where cgroups of version 2 are: systemd needs one of its own, controllers it does not need."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise RuntimeError("no cgroups of version 2 here")


class Machine:
    """``boot`` and ``power_off`` as often as wanted; ``run`` in between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cgroup = _unified() / f"ezha-package-{os.getpid()}"
        self._boot: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def boot(self, init: str = "/sbin/init") -> None:
        """``init``: systemd, or any program that waits."""
        self._cgroup.mkdir(exist_ok=True)
        argv = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork", "--kill-child"]
        self._boot = subprocess.Popen(
            [*argv, "sh", "-c", _BOOT, "sh", str(self.folder), init],
            preexec_fn=self._join,
            stdin=subprocess.DEVNULL,
        )
        children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children")
        until(lambda: self._lives() and bool(children.read_text().strip()))
        self._pid = int(children.read_text())
        exe = Path(f"/proc/{self._pid}/cmdline")
        until(lambda: init.encode() in exe.read_bytes().split(b"\0")[:2])  # a script stands behind its interpreter
        if init == "/sbin/init":
            until(lambda: self.run("systemctl", "is-system-running").stdout.strip() == "running")

    def _lives(self) -> bool:
        assert self._boot is not None and self._boot.poll() is None, "the machine does not boot"
        return True

    def _join(self) -> None:
        (self._cgroup / "cgroup.procs").write_text("0\n")

    def entered(self, *argv: str) -> list[str]:
        """The command line, here, of a command there."""
        environ = [f"{name}={value}" for name, value in _ENVIRON.items()]
        return ["nsenter", f"--target={self._pid}", "--all", "--root", "env", "-i", "--chdir=/", *environ, *argv]

    def run(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command there, as root."""
        return subprocess.run(
            self.entered(*argv), input=stdin, capture_output=True, text=True, timeout=60, check=False, errors="replace"
        )

    def done(self, *argv: str, stdin: str = "") -> str:
        """What a command there printed that must succeed."""
        told = self.run(*argv, stdin=stdin)
        assert told.returncode == 0, f"{argv}: {told.returncode}\n{told.stdout}{told.stderr}"
        return told.stdout

    def file(self, path: str) -> Path:
        """A file there, seen from here; not below /run, /dev, /proc."""
        return self.folder / path.lstrip("/")

    def power_off(self) -> None:
        """Every process there is killed."""
        if self._boot is not None:
            # Process 1 takes all others along, and unshare ends with it. Before there is one, unshare is all there is.
            with suppress(ProcessLookupError):
                os.kill(self._pid or self._boot.pid, signal.SIGKILL)
            self._boot.wait(timeout=30)
            self._boot, self._pid = None, 0
        for folder in sorted(self._cgroup.glob("**/"), key=lambda path: len(path.parts), reverse=True):
            until(lambda folder=folder: _removed(folder))  # type: ignore[misc]

    def remove(self) -> None:
        self.power_off()
        shutil.rmtree(self.folder)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # The kernel still buries who was in it.
    return True


def place() -> Path:
    """An empty folder for a machine: in memory where there is room, for a machine is written once and read little."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.statvfs(memory).f_bavail * os.statvfs(memory).f_frsize > 2 << 30
    folder = Path(tempfile.mkdtemp(prefix="ezha-package-", dir=memory if roomy else None))
    folder.chmod(0o755)
    return folder


def until(holds: Callable[[], bool], within: float = 30.0) -> None:
    """Waits for a condition. Fails where it does not come true."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
