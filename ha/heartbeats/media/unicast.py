"""``unicast``: datagrams to one address of the other node, over a named interface and no other."""

import socket

from ha.heartbeats.media.datagram import DatagramListener, DatagramSender


class UnicastSender(DatagramSender):
    """Sends to the address on the line of ``monitor``, which is one of the other node."""

    def _set_up(self, sock: socket.socket, index: int) -> None:
        self._bind_to_interface(sock)


class UnicastListener(DatagramListener):
    """Listens on the address of the line, which is one of this node. No one else may listen there."""

    def _set_up(self, sock: socket.socket, index: int) -> None:
        self._bind_to_interface(sock)
        self._enlarge_queue(sock)
        if self.ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(self._target(index))
