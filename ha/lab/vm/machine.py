"""The command line of a machine's qemu. Pure: what a node has, as words.

One processor, a network card on a tap of the lab's switch, four disks (its own, the shared one for heartbeats, a shared
one for a file system or volumes, and one that is read at the first boot), a watchdog, and serial lines: a console, the
guest agent's, and one for whatever a test wants to hear. Sockets are named relative to the folder that qemu runs in.
"""

import json
from dataclasses import dataclass
from typing import Any

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 384
_TRANSLATED_MIB = 96
"""What the translated code of a machine may take, beside its memory."""
ROOT_NODE = "root"
"""The name of its own disk in qemu: snapshots are kept in it."""
WITNESS_PORT = "org.ezha.witness"
"""The serial port of a guest (/dev/virtio-ports/…) that ends in the file ``run/NODE.witness``."""
INITS = {"systemd": "/lib/systemd/systemd", "sysvinit": "/sbin/init"}


@dataclass(frozen=True, slots=True)
class Files:
    """What a machine is made of, as paths of the host."""

    kernel: str
    initrd: str
    root: str
    """qcow2, this machine's own."""
    heartbeats: str
    volumes: str
    seed: str
    """A tar archive that the initial ramdisk unpacks over the root at the first boot, raw, read-only."""
    seed_id: str


def sockets(name: str) -> dict[str, str]:
    """What can be talked to, by purpose: file names in the folder that qemu runs in."""
    return {purpose: f"{name}.{purpose}" for purpose in ("qmp", "events", "agent", "console")}


def argv(name: str, number: int, files: Files, init: str, standing: bool = False) -> list[str]:
    """``number`` of the node, 1 to 16. ``init``: a key of INITS. ``standing``: it waits for ``cont``."""
    place = sockets(name)
    words = [QEMU, "-name", name, "-no-user-config", "-nodefaults", "-display", "none", "-msg", "timestamp=on"]
    # No KVM: the lab runs where there is none, and behaves the same where there is one.
    words += ["-machine", "pc,usb=off,vmport=off", "-accel", f"tcg,thread=multi,tb-size={_TRANSLATED_MIB}"]
    words += ["-cpu", "qemu64", "-smp", "1", "-m", str(MEMORY_MIB)]
    words += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    words += ["-kernel", files.kernel, "-initrd", files.initrd, "-append", _kernel_line(files, init)]
    words += _disk(ROOT_NODE, {"driver": "qcow2", "discard": "unmap", "file": _file(files.root)})
    shared = {"locking": "off"}
    words += _disk("heartbeats", {"driver": "raw", "file": _file(files.heartbeats, direct=True, **shared)}, shared=True)
    words += _disk("volumes", {"driver": "raw", "file": _file(files.volumes, direct=True, **shared)}, shared=True)
    words += _disk("seed", {"driver": "raw", "read-only": True, "file": _file(files.seed)})
    words += ["-netdev", f"tap,id=net,ifname={name},script=no,downscript=no"]
    words += ["-device", f"virtio-net-pci,netdev=net,mac=52:54:00:e2:4a:{number:02x},romfile="]
    words += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
    words += ["-chardev", f"socket,id=agent,path={place['agent']},server=on,wait=off"]
    words += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
    # A file, and no socket: who writes to it waits for nobody.
    words += ["-chardev", f"file,id=witness,path={name}.witness,append=on"]
    words += ["-device", f"virtserialport,chardev=witness,name={WITNESS_PORT}"]
    words += ["-chardev", f"socket,id=console,path={place['console']},server=on,wait=off,logfile={name}.boot"]
    words += ["-device", "isa-serial,chardev=console"]
    words += ["-device", "i6300esb", "-action", "watchdog=reset"]
    for purpose in ("qmp", "events"):
        words += ["-chardev", f"socket,id={purpose},path={place[purpose]},server=on,wait=off"]
        words += ["-mon", f"chardev={purpose},mode=control"]
    return [*words, "-S"] if standing else words


def _kernel_line(files: Files, init: str) -> str:
    return (
        "console=ttyS0 quiet net.ifnames=0 mitigations=off random.trust_cpu=on "
        f"lab.init={INITS[init]} lab.seed={files.seed_id}"
    )


def _file(path: str, direct: bool = False, **more: str) -> dict[str, Any]:
    # The host does not lose its power in the lab: what a guest flushes need not be forced out of the host's memory.
    return {"driver": "file", "filename": path, "cache": {"direct": direct, "no-flush": True}, **more}


def _disk(name: str, driver: dict[str, Any], shared: bool = False) -> list[str]:
    device = f"virtio-blk-pci,drive={name},serial={name},werror=report,rerror=report"
    return [
        "-blockdev",
        json.dumps({"node-name": name, "cache": driver["file"]["cache"], **driver}),
        "-device",
        device + ",share-rw=on" * shared,
    ]
