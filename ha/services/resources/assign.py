"""Adding and removing addresses over netlink: one change at a time on this node, and of no other address."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator

from ha.services.context import Context
from ha.services.errors import ResourceError
from ha.services.folders import make_own
from ha.services.resources.addresses import Assigned, Device, devices
from ha.services.resources.steps import Budget, until


@contextlib.contextmanager
def host_lock(ctx: Context, budget: Budget) -> Iterator[None]:
    """One change of addresses at a time on this node: putting back what went along must not meet another's removal.

    Raises ResourceError.
    """
    path = f"{ctx.paths.run}/ip.lock"
    try:
        make_own(ctx.paths.run)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ResourceError(f"{path} cannot be locked: {error.strerror or error}") from None
    try:
        if not until(lambda: _locked(fd), budget, budget.left()):
            raise ResourceError(f"{path} is held by another action")
        yield
    finally:
        os.close(fd)


def load() -> None:
    """Load what a change needs, which takes a while: best while there is something to wait for."""
    import pyroute2  # noqa: F401


def add(device: Device, assigned: Assigned) -> None:
    """One that is there already is fine. Raises ResourceError."""
    _change("add", device, assigned)


def remove(ctx: Context, device: Device, assigned: Assigned) -> None:
    """Delete one address, and no other.

    With the first IPv4 address of a network the kernel deletes all others of it, those of other services too, unless
    ``promote_secondaries`` is set: they are put back at once. Raises ResourceError.
    """
    before = devices().get(device.name, device).assigned
    _change("delete", device, assigned)
    after = devices().get(device.name, Device(device.name)).assigned
    for each in before:
        if each not in after and each != assigned and each.address.version == 4:
            ctx.log.info(f"ip addr add {each.address}/{each.prefix} dev {device.name} (the kernel had removed it, too)")
            add(device, each)


def _change(what: str, device: Device, assigned: Assigned) -> None:
    """Add or delete an address. What is there, or gone, already is fine. Raises ResourceError."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    settled = errno.EEXIST if what == "add" else errno.EADDRNOTAVAIL
    broadcast: dict[str, str] = {}
    if assigned.address.version == 4 and assigned.prefix < 31 and what == "add":
        broadcast = {"broadcast": str(assigned.network.broadcast_address)}
    try:
        with IPRoute() as netlink:
            index = socket.if_nametoindex(device.name)
            netlink.addr(what, index=index, address=str(assigned.address), prefixlen=assigned.prefix, **broadcast)
    except NetlinkError as error:
        if error.code != settled:
            raise ResourceError(
                f"ip addr {what} {assigned.address} dev {device.name}: {os.strerror(error.code)}"
            ) from None
    except OSError as error:
        raise ResourceError(f"ip addr {what} {assigned.address} dev {device.name}: {error.strerror or error}") from None


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
