"""``net``: multicast, IPv4 or IPv6, on a named interface and on no other.

Several lines of ``monitor`` may share a group and a port: each listener gets a copy of every datagram.
"""

import socket
import struct

from ha.heartbeats.media.datagram import DatagramListener, DatagramSender

_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29
_MREQN = struct.Struct("=4s4si")
_MREQ6 = struct.Struct("=16si")
_ANY = bytes(4)


class MulticastSender(DatagramSender):
    """Sends to a group. ``ttl``: how many hops a datagram may take, 1 … 255."""

    def __init__(self, interface: str, group: str, port: int, ttl: int) -> None:
        super().__init__(interface, group, port)
        self.ttl = ttl

    def _set_up(self, sock: socket.socket, index: int) -> None:
        # Loop is on so that the listeners of other namespaces and containers of this host hear it too.
        if self.ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, self.ttl)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _MREQN.pack(_ANY, _ANY, index))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, self.ttl)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)


class MulticastListener(DatagramListener):
    """Joins a group on one interface."""

    def _set_up(self, sock: socket.socket, index: int) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._enlarge_queue(sock)
        # By default Linux gives a socket what any other program of the host joined, on any interface.
        if self.ipv6:
            self._bind_to_interface(sock)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
            # Bound to the group itself, the socket gets nothing that was sent to an address of the host.
            sock.bind(self._target(index))
            group = socket.inet_pton(socket.AF_INET6, self.address)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _MREQ6.pack(group, index))
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            sock.bind(self._target(index))
            group = socket.inet_pton(socket.AF_INET, self.address)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _MREQN.pack(group, _ANY, index))
