"""Datagrams over the loopback interface."""

import os
import select
import socket

import pytest

from ha.heartbeats.media import listener_for, sender_for
from ha.heartbeats.media.datagram import DatagramListener, DatagramSender
from ha.heartbeats.media.medium import Listener, MediumError
from ha.heartbeats.path import PathLine

from .samples import CLUSTER, NODE1

GROUP = f"239.{131 + os.getpid() % 100}.{os.getpid() // 100 % 250}.10"
"""One for each run, for others may test on this machine too."""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def line(medium: str = "net", device: str = "lo", address: str = GROUP, port: int | None = None) -> PathLine:
    return PathLine("node1", 0, medium, device, address, free_port() if port is None else port)


def taken(listener: Listener, wait_ms: int = 2_000) -> bytes | None:
    """What comes within the time; the wait is for the kernel, and ends with the datagram."""
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    poll.poll(wait_ms)
    data = listener.receive()
    return None if data is None else bytes(data)


@pytest.mark.parametrize(
    ("medium", "address"),
    [("net", GROUP), ("unicast", "127.0.0.1"), ("unicast", "::1")],
    ids=["multicast", "unicast IPv4", "unicast IPv6"],
)
def test_what_is_sent_is_received(medium: str, address: str) -> None:
    path = line(medium, address=address)
    sender, listener = sender_for(path, NODE1, CLUSTER), listener_for(path)
    listener.open()
    sender.open()
    for size in (0, 1, 1024, 9000, 60_000):
        sender.send(b"m" * size)
        assert taken(listener) == b"m" * size
    assert listener.receive() is None
    sender.close()
    listener.close()


def test_several_lines_share_a_group_and_a_port() -> None:
    path = line()
    listeners = [listener_for(path) for _ in range(3)]
    for listener in listeners:
        listener.open()
    sender = sender_for(path, NODE1, CLUSTER)
    sender.open()
    sender.send(b"to all")
    assert [taken(listener) for listener in listeners] == [b"to all"] * 3
    for end in (*listeners, sender):
        end.close()


def test_a_group_is_not_heard_on_a_port_or_group_of_another_line() -> None:
    path = line()
    listener = listener_for(path)
    listener.open()
    elsewhere = [line(), line(address=GROUP.rsplit(".", 1)[0] + ".11", port=path.port)]
    others = [listener_for(other) for other in elsewhere]
    for other, its_line in zip(others, elsewhere, strict=True):
        # The group of the other line is joined on this host, which by Linux's default would be enough for a copy.
        other.open()
        sender = sender_for(its_line, NODE1, CLUSTER)
        sender.open()
        sender.send(b"not for you")
        sender.close()
        assert taken(other) == b"not for you"
    assert listener.receive() is None
    for end in (listener, *others):
        end.close()


def test_a_datagram_to_an_address_of_the_host_is_not_multicast() -> None:
    path = line()
    listener = listener_for(path)
    listener.open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"unicast", ("127.0.0.1", path.port))
    assert listener.receive() is None
    listener.close()


def test_ttl_is_set() -> None:
    sender = sender_for(PathLine("node1", 0, "net", "lo", GROUP, 1, ttl=7), NODE1, CLUSTER)
    sender.open()
    assert isinstance(sender, DatagramSender)
    with sender.sock.dup() as view:
        assert view.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 7
        assert view.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 1
    sender.close()


@pytest.mark.parametrize("medium", ["net", "unicast"])
@pytest.mark.parametrize("device", ["ezhanone0", "a-name-that-is-too-long", ""])
def test_a_missing_interface_is_trouble(medium: str, device: str) -> None:
    path = line(medium, device=device)
    for end in (sender_for(path, NODE1, CLUSTER), listener_for(path)):
        with pytest.raises(MediumError, match=r"there is no interface|is not the name of an interface"):
            end.open()


def test_unicast_to_an_address_that_is_not_ours_is_trouble() -> None:
    with pytest.raises(MediumError, match="Cannot assign requested address"):
        listener_for(line("unicast", address="192.0.2.1")).open()


def test_unicast_shares_its_port_with_nobody() -> None:
    path = line("unicast", address="127.0.0.1")
    first = listener_for(path)
    first.open()
    with pytest.raises(MediumError, match="Address already in use"):
        listener_for(path).open()
    first.close()


def test_a_message_too_large_for_a_datagram_is_trouble() -> None:
    sender = sender_for(line(), NODE1, CLUSTER)
    sender.open()
    with pytest.raises(MediumError, match="Message too long"):
        sender.send(bytes(65_536))
    sender.close()


def test_memory_for_a_flood_is_bounded() -> None:
    listener = DatagramListener("lo", "127.0.0.1", 1)
    assert len(listener._buffer) == 65_536


def test_no_socket_is_left_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(MediumError):
            listener_for(line(device="ezhanone0")).open()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_unknown_medium_is_an_error_of_the_caller() -> None:
    for make in (lambda: sender_for(line("carrier-pigeon"), 1, 2), lambda: listener_for(line("carrier-pigeon"))):
        with pytest.raises(ValueError, match="no medium"):
            make()
