"""What multicast and unicast share: a UDP socket bound to one named interface, watched once a period.

It knows nothing of what a datagram says. Memory does not grow with what arrives: one buffer, and a bounded queue in the
kernel.
"""

import socket

from ha.heartbeats.media.interface import Interface
from ha.heartbeats.media.medium import MediumError, ReplacedError, failure

_SO_RCVBUFFORCE = 33
_RECEIVE_QUEUE = 1 << 20
"""Bytes of kernel memory: about a thousand small datagrams survive a listener that was not scheduled for a moment."""
_BUFFER_SIZE = 65_536
"""More than any datagram has, so that none is cut."""

Address = tuple[str, int] | tuple[str, int, int, int]


class Datagrams:
    """The part of a datagram sender or listener that does not depend on the kind of address."""

    def __init__(self, interface: str, address: str, port: int) -> None:
        self.interface = Interface(interface)
        self.address = address
        self.port = port
        self.ipv6 = ":" in address
        self._sock: socket.socket | None = None
        self._index = 0

    @property
    def label(self) -> str:
        return f"{self.interface.name}:{self.address}:{self.port}"

    def open(self) -> None:
        """Raises MediumError where the interface is missing, down or without carrier, or the system refuses."""
        self.close()
        family = socket.AF_INET6 if self.ipv6 else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise failure(f"{self.label}: no socket", error) from error
        try:
            index = self.interface.require_link(sock)
            self._set_up(sock, index)
        except OSError as error:
            sock.close()
            raise failure(self.label, error) from error
        except BaseException:
            sock.close()
            raise
        self._sock, self._index = sock, index

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def fileno(self) -> int:
        return -1 if self._sock is None else self._sock.fileno()

    def check(self) -> None:
        """Raises MediumError where the interface went away, lost its link, or is another one of the same name now."""
        if self.interface.require_link(self.sock) != self._index:
            raise ReplacedError(f"interface {self.interface.name} was replaced by another one of that name")

    @property
    def sock(self) -> socket.socket:
        if self._sock is None:
            raise MediumError(f"{self.label} is not open")
        return self._sock

    def _set_up(self, sock: socket.socket, index: int) -> None:
        """Options of the concrete medium. May raise OSError."""
        raise NotImplementedError

    def _bind_to_interface(self, sock: socket.socket) -> None:
        """Only what leaves or comes by this interface counts: otherwise a path could look up while its cable is out."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.name.encode() + b"\0")

    def _target(self, index: int) -> Address:
        return (self.address, self.port, 0, index) if self.ipv6 else (self.address, self.port)


class DatagramSender(Datagrams):
    """Sends to one address."""

    def found(self) -> None:
        """There are no slots on a wire."""

    def send(self, data: bytes) -> None:
        """Raises MediumError where the datagram did not leave whole."""
        self.check()
        if not self.ipv6:
            self.interface.require_ipv4(self.sock)
        try:
            sent = self.sock.sendto(data, self._target(self._index))
        except BlockingIOError as error:
            raise MediumError(f"{self.label}: the send queue is full") from error
        except OSError as error:
            raise failure(f"{self.label}: not sent", error) from error
        if sent != len(data):
            raise MediumError(f"{self.label}: only a part was sent")


class DatagramListener(Datagrams):
    """Receives what is sent to one address."""

    burst = 256

    def __init__(self, interface: str, address: str, port: int) -> None:
        super().__init__(interface, address, port)
        self._buffer = bytearray(_BUFFER_SIZE)
        self._view = memoryview(self._buffer)

    def receive(self) -> memoryview | None:
        """The next datagram, or None. Raises MediumError."""
        try:
            size = self.sock.recv_into(self._buffer)
        except BlockingIOError:
            return None
        except OSError as error:
            raise failure(f"{self.label}: cannot receive", error) from error
        return self._view[:size]

    def forget(self) -> None:
        """A datagram comes once."""

    def _enlarge_queue(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_QUEUE)
        except PermissionError:
            # Without CAP_NET_ADMIN the kernel grants what net.core.rmem_max allows.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_QUEUE)
