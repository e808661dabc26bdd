"""A node's own files: making them on the machine, and the list of mounts that puts them in the node's sight.

Of its own a node has /etc (a copy of the machine's), /usr/local/cluster, /var/lib, /var/log, /var/tmp and /root, which
survive its power-off, and /run, /dev, /proc and /sys, which do not. Everything else is the machine's.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable

from ha.lab import linux
from ha.lab.errors import LabError
from ha.lab.mounts import Mount
from ha.lab.plan import CLIENT, DISK, PREFIX

_KEPT = {"/etc": "etc", "/var/lib": "var-lib", "/var/log": "var-log", "/var/tmp": "var-tmp", "/root": "root"}  # noqa: S108
_MODES = {"var-tmp": 0o1777, "root": 0o700}
_FRESH_RUN = "mode=755,size=64m"
_HIDDEN = (*_KEPT, "/run", PREFIX)
_RC_FOLDERS = ("rc0.d", "rc3.d", "rcS.d")


def prepare(folder: str, name: str, hosts: str, rootless: bool) -> None:
    """Make the files of a node (or the client) below ``folder``, or bring kept ones up to date. Raises LabError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if name == CLIENT:
        _write(f"{folder}/hosts", hosts)
        return
    for part in (*_KEPT.values(), "cluster"):
        if part == "etc" and not os.path.isdir(f"{folder}/etc"):
            _copy_etc(f"{folder}/etc", rootless)
        os.makedirs(f"{folder}/{part}", exist_ok=True)
        os.chmod(f"{folder}/{part}", _MODES.get(part, 0o755))
    os.makedirs(f"{folder}/etc/opensvc", exist_ok=True)
    for part in _RC_FOLDERS:
        os.makedirs(f"{folder}/etc/rc.d/{part}", exist_ok=True)
    _write(f"{folder}/etc/hosts", hosts)
    _write(f"{folder}/etc/hostname", f"{name}\n")


def _write(path: str, text: str) -> None:
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)


def _copy_etc(target: str, rootless: bool) -> None:
    """``cp -a``. A copy cut short by a crash is not taken for a whole one: it gets its name last."""
    part = target + ".part"
    shutil.rmtree(part, ignore_errors=True)
    # Without root some files cannot be read (shadow, private keys): the node does without them.
    ourselves = os.getpid()

    def follow() -> None:
        linux.die_with_parent(signal.SIGKILL)
        if os.getppid() != ourselves:
            os._exit(1)

    done = subprocess.run(["cp", "-a", "/etc", part], capture_output=True, text=True, check=False, preexec_fn=follow)
    if not os.path.isdir(part) or (done.returncode != 0 and not rootless):
        raise LabError(f"cannot copy /etc to {part}: {(done.stderr.splitlines() or ['cp failed'])[0]}")
    os.chmod(part, 0o755)  # noqa: S103  # as /etc is everywhere; the lab's folder above is private
    os.rename(part, target)


def below(path: str, folder: str) -> bool:
    """Whether ``path`` lies strictly below ``folder``."""
    return path != folder and path.startswith(folder.rstrip("/") + "/")


def brought_back(keep: Iterable[str]) -> list[str]:
    """Those of ``keep`` that the node's own folders would hide, outermost first, none inside another."""
    result: list[str] = []
    for path in sorted(set(keep)):
        if any(below(path, folder) for folder in _HIDDEN) and not any(below(path, outer) for outer in result):
            result.append(path)
    return result


def node_mounts(folder: str, keep: Iterable[str], disk: str) -> list[Mount]:
    """``keep``: paths that must stay visible (the interpreter, …). ``disk``: ``MAJOR:MINOR``, or a file's path."""
    mounts = [Mount("dev", "/dev")]
    if disk.startswith("/"):
        mounts.append(Mount("bind", DISK, source=disk, create=True))
    else:
        mounts.append(Mount("node", DISK, options=disk))
    mounts += [
        Mount("mirror", os.path.dirname(PREFIX)),
        Mount("bind", PREFIX, source=f"{folder}/cluster", create=True),
        *(Mount("bind", target, source=f"{folder}/{part}") for target, part in _KEPT.items()),
        Mount("tmpfs", "/run", options=_FRESH_RUN),
        *(Mount("bind", path, source=path, create=True) for path in brought_back(keep)),
        Mount("sys", "/sys"),
        Mount("proc", "/proc"),
    ]
    return mounts


def client_mounts(folder: str) -> list[Mount]:
    """The client is the machine itself on the lab's network: it only knows the nodes' names besides."""
    mounts = [Mount("dev", "/dev")]
    if os.path.isfile("/etc/hosts"):
        mounts.append(Mount("bind", "/etc/hosts", source=f"{folder}/hosts"))
    return [*mounts, Mount("sys", "/sys"), Mount("proc", "/proc")]
