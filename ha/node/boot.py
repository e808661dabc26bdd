"""Which boot of this machine (or container) this is: a restart of nmond is not a boot (design: "The core").

The kernel's boot id changes with the machine; the start time of pid 1 changes with a container or a namespace of the
lab on the same kernel. Both together name a boot.
"""

from collections.abc import Callable

BOOT_ID = "/proc/sys/kernel/random/boot_id"
PID1_STAT = "/proc/1/stat"


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(4096)


def boot_identity(read: Callable[[str], str] = _read) -> str:
    """``<boot id>:<clock ticks from the kernel's boot to the start of pid 1>``.

    Raises OSError where /proc is missing or hides pid 1, ValueError where it holds something else.
    """
    boot_id = read(BOOT_ID).strip()
    if not boot_id or len(boot_id) > 64 or not all(c.isascii() and (c.isalnum() or c == "-") for c in boot_id):
        raise ValueError(f"{BOOT_ID} holds {boot_id[:64]!r}, which is no boot id")
    # The name of the process stands in parentheses and may hold anything; what follows the last one is numbers.
    fields = read(PID1_STAT).rpartition(")")[2].split()
    start = fields[19] if len(fields) > 19 else ""  # Field 22 of the line, counted from the name on.
    if not start.isdigit():
        raise ValueError(f"{PID1_STAT} does not tell when pid 1 started")
    return f"{boot_id}:{start}"
