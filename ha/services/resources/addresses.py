"""The network devices of this machine and their addresses, as the C library lists them (getifaddrs(3)).

A look costs a millisecond, where the import of a netlink library costs a quarter of a second: so ``print status``
uses this, and only a start or stop the library. Changes nothing, asks nobody outside.
"""

import ctypes
import ipaddress
import os
import socket
import sys
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_IFF_UP = 0x1
_IFF_NOARP = 0x80
_IFF_RUNNING = 0x40
_ARPHRD_ETHER = 1
_DAD_FAILED = 0x08
_TENTATIVE = 0x40


@dataclass(frozen=True, slots=True)
class Assigned:
    """An address on a device, with the length of its network's prefix."""

    address: Address
    prefix: int

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network(f"{self.address}/{self.prefix}", strict=False)


@dataclass(slots=True)
class Device:
    """A network device."""

    name: str
    flags: int = 0
    mac: bytes = b""
    ethernet: bool = False
    """Its link-layer addresses are Ethernet's."""
    assigned: list[Assigned] = field(default_factory=list)

    @property
    def up(self) -> bool:
        return bool(self.flags & _IFF_UP)

    @property
    def carrier(self) -> bool:
        """Whether the cable is in and the other side alive, as far as the driver knows."""
        return bool(self.flags & _IFF_RUNNING)

    @property
    def arp(self) -> bool:
        """Whether neighbours can be asked there, by ARP or IPv6's neighbour discovery."""
        return self.ethernet and not self.flags & _IFF_NOARP

    def holds(self, address: Address) -> bool:
        return any(each.address == address for each in self.assigned)


class _Sockaddr(ctypes.Structure):
    _fields_ = (("family", ctypes.c_ushort), ("data", ctypes.c_ubyte * 26))


class _Ifaddrs(ctypes.Structure):
    pass


_Ifaddrs._fields_ = (
    ("next", ctypes.POINTER(_Ifaddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("addr", ctypes.POINTER(_Sockaddr)),
    ("netmask", ctypes.POINTER(_Sockaddr)),
    ("other", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
)


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.getifaddrs.argtypes = [ctypes.POINTER(ctypes.POINTER(_Ifaddrs))]
    libc.freeifaddrs.argtypes = [ctypes.POINTER(_Ifaddrs)]
    libc.freeifaddrs.restype = None
    return libc


def devices() -> dict[str, Device]:
    """All network devices of this network namespace, by name. Raises OSError."""
    libc = _libc()
    first = ctypes.POINTER(_Ifaddrs)()
    if libc.getifaddrs(ctypes.byref(first)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"getifaddrs: {os.strerror(number)}")
    found: dict[str, Device] = {}
    try:
        entry = first
        while entry:
            _take(entry.contents, found)
            entry = entry.contents.next
    finally:
        libc.freeifaddrs(first)
    return found


def _take(entry: Any, found: dict[str, Device]) -> None:
    # An address with a label, such as ``eth0:1``, is listed by that: it is on eth0 all the same.
    name = entry.name.decode(errors="replace").partition(":")[0]
    device = found.setdefault(name, Device(name))
    device.flags |= entry.flags
    if not entry.addr:
        return
    family, data = entry.addr.contents.family, bytes(entry.addr.contents.data)
    if family == socket.AF_PACKET:  # sockaddr_ll: protocol, index, hatype, pkttype, length, address
        device.ethernet = int.from_bytes(data[6:8], sys.byteorder) == _ARPHRD_ETHER
        device.mac = data[10 : 10 + data[9]]
    elif family in _PLACES:
        first, length = _PLACES[family]
        mask = bytes(entry.netmask.contents.data)[first : first + length] if entry.netmask else b"\xff" * length
        address = ipaddress.ip_address(data[first : first + length])
        device.assigned.append(Assigned(address, int.from_bytes(mask, "big").bit_count()))


_PLACES = {socket.AF_INET: (2, 4), socket.AF_INET6: (6, 16)}
"""Where the address stands in ``sockaddr_in`` and ``sockaddr_in6``, after the family, and its length."""


def ipv6_flags(address: ipaddress.IPv6Address, device: str) -> tuple[bool, bool]:
    """Whether an address of a device is tentative still, and whether its duplicate was found (RFC 4862)."""
    with open("/proc/net/if_inet6", encoding="ascii") as file:
        for line in file:
            number, _, _, _, flags, name = line.split()
            if name == device and int(number, 16) == int(address):
                return bool(int(flags, 16) & _TENTATIVE), bool(int(flags, 16) & _DAD_FAILED)
    return False, False
