"""A network interface by its name: its index today, and whether anything can leave by it.

An interface may be missing, late, down, without a cable or an address, or come back under another index: each is told
in words, and each is asked anew every period. It knows nothing of datagrams.
"""

import errno
import socket
import struct
from fcntl import ioctl

from ha.heartbeats.media.medium import MediumError, failure

_SIOCGIFFLAGS = 0x8913
_SIOCGIFADDR = 0x8915
_SIOCGIFINDEX = 0x8933
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_IFREQ = struct.Struct("16s24x")
_NAME_MAX = 15


class Interface:
    """One interface, asked through a socket of the caller."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._request = _IFREQ.pack(name.encode()[:_NAME_MAX])

    def index(self, sock: socket.socket) -> int:
        """Its present index. Raises MediumError where there is no such interface."""
        if not 0 < len(self.name.encode()) <= _NAME_MAX:
            raise MediumError(f"{self.name!r} is not the name of an interface")
        index: int = struct.unpack_from("i", self._ask(sock, _SIOCGIFINDEX), 16)[0]
        return index

    def require_link(self, sock: socket.socket) -> int:
        """Its index. Raises MediumError unless it is up and has a carrier."""
        index = self.index(sock)
        (flags,) = struct.unpack_from("H", self._ask(sock, _SIOCGIFFLAGS), 16)
        if not flags & _IFF_UP:
            raise MediumError(f"interface {self.name} is down")
        if not flags & _IFF_RUNNING:
            raise MediumError(f"interface {self.name} has no carrier")
        return index

    def require_ipv4(self, sock: socket.socket) -> None:
        """Raises MediumError where it has no IPv4 address to send from: the kernel would borrow another's."""
        try:
            self._ask(sock, _SIOCGIFADDR)
        except MediumError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL:
                raise MediumError(f"interface {self.name} has no IPv4 address yet") from cause
            raise

    def _ask(self, sock: socket.socket, request: int) -> bytes:
        try:
            return ioctl(sock.fileno(), request, self._request)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise MediumError(f"there is no interface {self.name}") from error
            raise failure(f"interface {self.name}", error) from error
