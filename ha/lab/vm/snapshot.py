"""A lab of machines as it was at one moment: memory, own disks and shared disks of all, to go back to again and again.

All machines stand still while it is made, and while it is gone back to, so no message is on its way then. Their clocks
are part of it: a machine that is put back has missed nothing, but its wall clock is behind the world's.
"""

import os

from ha.lab.plan import CLIENT
from ha.lab.vm.lab import MachineLab
from ha.lab.vm.machine import ROOT_NODE

_SHARED = ("disk.img", "volumes.img")


def save(lab: MachineLab, tag: str) -> None:
    """``tag``: letters and digits. Raises LabError where a machine is off."""
    names = [report.name for report in lab.report() if report.name != CLIENT]
    lab.for_all(names, lambda name: _tell(lab, name, "stop"))
    lab.for_all(names, lambda name: _job(lab, name, "snapshot-save", tag))
    for disk in _SHARED:
        copy(f"{lab.folder}/{disk}", f"{lab.folder}/nodes/{tag}.{disk}")
    _go(lab, names)


def restore(lab: MachineLab, tag: str) -> None:
    """Whatever has become of the machines meanwhile. Raises LabError.

    Into new machines: the counter of an emulated processor never goes back in one and the same qemu, so the clocks of a
    guest that was put back there would leap ahead by all that it has run since.
    """
    names = lab.replace_all()
    for disk in _SHARED:
        copy(f"{lab.folder}/nodes/{tag}.{disk}", f"{lab.folder}/{disk}")
    lab.for_all(names, lambda name: _job(lab, name, "snapshot-load", tag))
    _go(lab, names)


def copy(source: str, target: str) -> None:
    """A file with holes, in the place of what ``target`` holds: who has that open sees it. Raises OSError."""
    into = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    out_of = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(out_of).st_size
        os.ftruncate(into, 0)
        os.ftruncate(into, size)
        end = 0
        while end < size:
            try:
                begin = os.lseek(out_of, end, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole from here on
                break
            end = os.lseek(out_of, begin, os.SEEK_HOLE)
            while begin < end:
                begin += os.copy_file_range(out_of, into, end - begin, begin, begin)
    finally:
        os.close(into)
        os.close(out_of)


def _go(lab: MachineLab, names: list[str]) -> None:
    lab.for_all(names, lambda name: _tell(lab, name, "cont"))


def _tell(lab: MachineLab, name: str, command: str) -> None:
    with lab.monitor(name) as monitor:
        monitor.execute(command)


def _job(lab: MachineLab, name: str, command: str, tag: str) -> None:
    with lab.monitor(name) as monitor:
        monitor.job(command, tag=tag, vmstate=ROOT_NODE, devices=[ROOT_NODE])
