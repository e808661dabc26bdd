"""The recipe of the machines' Debian: which packages, and what the lab changes in them. Made by ``mmdebstrap``.

This file and those of ``guest`` are what the hash of an image's Debian is made of (``recipe``): a change of theirs
makes another one. It knows nothing of ezha, nor of where images are kept.
"""

import os
import shutil
from pathlib import Path

from ha.lab.errors import LabError
from ha.lab.vm import cpio
from ha.lab.vm.tools import run, run_in

SUITE = "bookworm"
PACKAGES = (
    # Both init systems: what boots is chosen by the kernel's command line.
    *("systemd", "udev", "sysvinit-core", "initscripts", "sysv-rc", "insserv", "orphan-sysvinit-scripts"),
    # A kernel with every watchdog and device mapper; the ramdisk is our own, so the smallest maker of another will do.
    *("linux-image-amd64", "tiny-initramfs", "kmod", "busybox-static", "qemu-guest-agent"),
    *("python3", "iproute2", "netbase", "procps", "psmisc", "rsync", "wget", "ca-certificates", "openssh-client"),
    # What ezha's own package depends on.
    *("python3-msgpack", "python3-prometheus-client", "python3-pyroute2", "python3-rich", "python3-scapy"),
    *("python3-sdnotify", "python3-setproctitle", "python3-transitions"),
    *("lvm2", "dmsetup", "e2fsprogs", "util-linux", "mount", "fdisk", "logsave"),
)
_NOT_UNPACKED = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/lib/modules/*/kernel/sound/*",
    "/lib/modules/*/kernel/drivers/*",
    "/lib/modules/*/kernel/net/wireless/*",
)
_DRIVERS = ("md/*", "block/*", "virtio/*", "watchdog/*", "char/*", "dax/*", "net/*virtio*", "net/*failover*")
_UNPACKED_ALL_THE_SAME = tuple(f"/lib/modules/*/kernel/drivers/{part}" for part in _DRIVERS)
"""Of the kernel's drivers a machine has few; a whole set is most of an image."""
_MASKED = (
    *("getty@tty1.service", "getty-static.service", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"),
    *("systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "dev-hugepages.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "systemd-sysusers.service", "systemd-pstore.service", "systemd-random-seed.service"),
    *("systemd-networkd-wait-online.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
)
_GUEST = Path(__file__).parent / "guest"


def recipe() -> bytes:
    """All that decides what ``make`` makes, but for what Debian has mended meanwhile."""
    parts = [Path(__file__).read_bytes(), Path(cpio.__file__).read_bytes()]
    parts += [path.read_bytes() for path in sorted(_GUEST.iterdir()) if path.is_file()]
    return b"\0".join(parts)


def make(tree: str, kernel: str, initrd: str) -> None:
    """Fill the empty folder ``tree``, and write a kernel and an initial ramdisk for it. Raises LabError, OSError."""
    _debian(tree)
    _adapt(tree)
    _take_kernel(tree, kernel, initrd)


def _debian(tree: str) -> None:
    words = ["mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--format=directory"]
    words += [f"--include={','.join(PACKAGES)}"]
    words += [f"--dpkgopt=path-exclude={glob}" for glob in _NOT_UNPACKED]
    words += [f"--dpkgopt=path-include={glob}" for glob in _UNPACKED_ALL_THE_SAME]
    # No daemon is started while packages are configured, now and when ezha's own comes.
    deny = 'printf "#!/bin/sh\\nexit 101\\n" >"$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d"'
    # From where mmdebstrap takes a stable Debian, and what it mended, unless it is told otherwise.
    words += [f"--essential-hook={deny}", SUITE, tree]
    run(words, "mmdebstrap")


def _adapt(tree: str) -> None:
    """What the lab's machines have of their own."""
    _copy("boot", tree, "usr/local/lib/ezha-lab/boot", 0o755)
    _copy("lab-node.service", tree, "etc/systemd/system/lab-node.service", 0o644)
    _copy("lab-node.init", tree, "etc/init.d/lab-node", 0o755)
    _copy("inittab", tree, "etc/inittab", 0o644)
    _copy("console.conf", tree, "etc/systemd/system/serial-getty@ttyS0.service.d/lab.conf", 0o644)
    _write(f"{tree}/etc/fstab", "/dev/vda / ext4 defaults 0 0\n")
    _write(f"{tree}/etc/modules", "virtio_net\ndm-mod\n")
    run_in(tree, ["update-rc.d", "lab-node", "defaults"])
    run_in(tree, ["systemctl", "enable", "lab-node.service"])
    run_in(tree, ["systemctl", "set-default", "multi-user.target"])
    # Nobody reads a screen here, and nothing is to wake up by itself while something is measured.
    run_in(tree, ["systemctl", "mask", *_MASKED])
    for name in ("var/lib/apt/lists", "var/cache/apt"):
        shutil.rmtree(f"{tree}/{name}", ignore_errors=True)
    for name in ("etc/machine-id", "etc/hostname", "etc/resolv.conf"):
        _write(f"{tree}/{name}", "")


def _take_kernel(tree: str, kernel: str, initrd: str) -> None:
    """Out of the tree: qemu loads them, so the machine's disk needs no boot loader."""
    releases = sorted(os.listdir(f"{tree}/lib/modules"))
    if len(releases) != 1:
        raise LabError(f"the image's Debian has {len(releases)} kernels; one is needed")
    Path(initrd).write_bytes(cpio.ramdisk(tree, releases[0], (_GUEST / "initrd").read_bytes()))
    shutil.copyfile(f"{tree}/boot/vmlinuz-{releases[0]}", kernel)
    shutil.rmtree(f"{tree}/boot")
    os.mkdir(f"{tree}/boot", 0o755)


def _copy(name: str, tree: str, target: str, mode: int) -> None:
    path = f"{tree}/{target}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _write(path, (_GUEST / name).read_text(encoding="ascii"))
    os.chmod(path, mode)


def _write(path: str, text: str) -> None:
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
