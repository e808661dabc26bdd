"""The kernel's watchdog (/dev/watchdog): armed it resets the machine unless it is fed in time, whatever hangs.

It is armed while something runs here that a lease covers, fed only while that lease stands, and closed with the magic
'V' where nothing needs it any more. This module knows neither leases nor services (``ha.node.guardian``).
"""

import fcntl
import os
import stat
import struct
from typing import Protocol

_SETTIMEOUT = 0xC0045706
_GETTIMEOUT = 0x80045707
_KEEPALIVE = 0x80045705
_MAGIC = b"V"
_LEGACY = os.makedev(10, 130)
"""/dev/watchdog: another name of the first one, /dev/watchdog0."""


class WatchdogError(Exception):
    """It cannot be used, and why."""


class Device(Protocol):
    """A watchdog device that is open: it counts already."""

    def set_timeout(self, seconds: int) -> int:
        """The timeout that it took. Raises OSError."""

    def feed(self) -> None:
        """Raises OSError."""

    def close(self, disarm: bool) -> None:
        """Let go of it; armed or, with ``disarm``, not (where the driver allows that)."""


def unstoppable(path: str, sysfs: str = "/sys") -> bool:
    """Whether the kernel says that this device, once it is open, counts for ever (``nowayout``)."""
    try:
        found = os.stat(path)
        device = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        legacy = stat.S_ISCHR(found.st_mode) and found.st_rdev == _LEGACY
        name = "watchdog0" if legacy else os.path.basename(os.readlink(f"{sysfs}/dev/char/{device}"))
        with open(f"{sysfs}/class/watchdog/{name}/nowayout", "rb") as file:
            return file.read(8).strip() == b"1"
    except OSError:
        return False  # a kernel that does not say


class KernelDevice:
    """The real one. Raises OSError where it is not there, or another program (systemd, sbd) has it, and WatchdogError
    for one that would reset the machine some seconds after the last service was stopped."""

    def __init__(self, path: str) -> None:
        if unstoppable(path):
            raise WatchdogError(
                f"the watchdog {path} could not be stopped again when nothing runs any more (nowayout); "
                "load its driver with nowayout=0"
            )
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def set_timeout(self, seconds: int) -> int:
        fcntl.ioctl(self._fd, _SETTIMEOUT, struct.pack("i", seconds))
        taken: int = struct.unpack("i", fcntl.ioctl(self._fd, _GETTIMEOUT, struct.pack("i", 0)))[0]
        return taken

    def feed(self) -> None:
        fcntl.ioctl(self._fd, _KEEPALIVE, struct.pack("i", 0))

    def close(self, disarm: bool) -> None:
        try:
            if disarm:
                os.write(self._fd, _MAGIC)
        finally:
            os.close(self._fd)


class Watchdog:
    """Armed and fed by ``keep``."""

    def __init__(self, seconds: int, device: "DeviceMaker") -> None:
        """``seconds``: its timeout, at least 1; ``device`` opens it."""
        self.seconds = seconds
        self._make = device
        self._device: Device | None = None
        self._fed = float("-inf")

    @property
    def armed(self) -> bool:
        return self._device is not None

    def keep(self, needed: bool, standing: bool, now: float) -> None:
        """``needed``: something runs that a lease covers; ``standing``: the lease has not ended. Raises WatchdogError.

        Where the lease has ended the device is left armed and hungry.
        """
        if not needed:
            self.disarm()
            return
        if not standing:
            return
        if self._device is None:
            self._arm()
        elif now - self._fed < self.seconds / 4:
            return
        assert self._device is not None
        try:
            self._device.feed()
        except OSError as error:
            raise WatchdogError(f"the watchdog cannot be fed: {error.strerror}") from error
        self._fed = now

    def disarm(self) -> None:
        """Nothing runs that needs it."""
        device, self._device = self._device, None
        if device is not None:
            try:
                device.close(disarm=True)
            except OSError as error:
                raise WatchdogError(f"the watchdog cannot be disarmed: {error.strerror}") from error

    def _arm(self) -> None:
        try:
            device = self._make()
        except OSError as error:
            raise WatchdogError(f"the watchdog cannot be opened: {error.strerror}") from error
        try:
            taken = device.set_timeout(self.seconds)
        except OSError as error:
            device.close(disarm=True)
            raise WatchdogError(f"the watchdog takes no timeout: {error.strerror}") from error
        if taken > self.seconds:
            device.close(disarm=True)
            raise WatchdogError(f"the watchdog takes {taken} s instead of {self.seconds} s, which is too late")
        self._device = device


class DeviceMaker(Protocol):
    """Opens a watchdog device. Raises OSError."""

    def __call__(self) -> Device: ...
