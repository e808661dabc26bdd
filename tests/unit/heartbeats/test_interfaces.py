"""Interfaces that are late, lose their cable, vanish and come back. Needs root: each test makes its own namespace."""

import socket
import sys
import time
from collections.abc import Callable
from functools import wraps

import pytest

from ha.heartbeats import channel, codec
from ha.heartbeats.channel import Handed, Received, Record, Sent, Trouble
from ha.heartbeats.media import listener_for, sender_for
from ha.heartbeats.media.interface import Interface
from ha.heartbeats.media.medium import MediumError, ReplacedError
from ha.heartbeats.path import PathLine
from ha.heartbeats.worker import ListenerWorker, SenderWorker

from .namespaces import in_new_network, ip, may_make_networks, other_host
from .samples import CLUSTER, NODE1, heartbeat
from .test_net import taken

pytestmark = pytest.mark.skipif(not may_make_networks(), reason="network namespaces need root")

IPV4, IPV6 = "239.131.50.10", "ff15::ec2a"
GOOD = codec.encode(heartbeat())


def in_a_network(test: Callable[..., None]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        in_new_network(lambda: test(*args, **kwargs))

    return run


def net(device: str, group: str = IPV4) -> PathLine:
    return PathLine("node1", 0, "net", device, group, 1234)


def carries(name: str, wanted: bool = True) -> None:
    """Wait until the interface has a carrier (or none): the kernel tells it a little after its other end changed."""
    until = time.monotonic() + 10
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        while time.monotonic() < until:
            try:
                Interface(name).require_link(sock)
            except MediumError:
                if not wanted:
                    return
            else:
                if wanted:
                    return
            time.sleep(0.001)
    raise AssertionError(f"{name} has {'no' if wanted else 'a'} carrier")


def cable(left: str, right: str, number: int = 1, addresses: bool = True) -> None:
    """Two interfaces joined by a cable."""
    ip("link", "add", left, "type", "veth", "peer", "name", right)
    for side, end in enumerate((left, right), 1):
        ip("link", "set", end, "up")
        if addresses:
            ip("addr", "add", f"10.9.{number}.{side}/24", "dev", end)
            ip("addr", "add", f"fd00:{number}::{side}/64", "dev", end, "nodad")
    for end in (left, right):
        carries(end)


@pytest.mark.parametrize("group", [IPV4, IPV6, "ff12::ec2a"])
@in_a_network
def test_multicast_crosses_a_cable(group: str) -> None:
    cable("left", "right")
    listener, sender = listener_for(net("right", group)), sender_for(net("left", group), NODE1, CLUSTER)
    listener.open()
    sender.open()
    for size in (10, 9_000):
        sender.send(b"m" * size)
        assert taken(listener) == b"m" * size
    listener.close()
    sender.close()


@pytest.mark.parametrize("group", [IPV4, IPV6])
@in_a_network
def test_a_listener_hears_its_own_interface_only(group: str) -> None:
    """Or a path would look up while its own cable is out."""
    cable("left1", "right1", 1)
    cable("left2", "right2", 2)
    first, second = listener_for(net("right1", group)), listener_for(net("right2", group))
    first.open()
    second.open()
    sender = sender_for(net("left1", group), NODE1, CLUSTER)
    sender.open()
    sender.send(b"on the first cable")
    assert taken(first) == b"on the first cable"
    assert second.receive() is None
    for end in (first, second, sender):
        end.close()


_SEND = """
import socket, sys
address = sys.argv[1]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto(sys.argv[2].encode(), (address, 1234))
"""


@pytest.mark.parametrize(("address", "prefix", "via"), [("10.9.1.2", 32, "10.9.2.2"), ("fd00:1::2", 128, "fd00:2::2")])
@in_a_network
def test_unicast_listens_on_its_own_interface_only(address: str, prefix: int, via: str) -> None:
    """Linux takes a packet to any of its addresses by any interface: the second cable must not prove the first."""
    with other_host() as peer:
        cable("left1", "right1", 1)
        cable("left2", "right2", 2)
        peer.take("left2")
        peer.run("ip", "link", "set", "left2", "up")
        peer.run("ip", "addr", "add", "10.9.2.1/24", "dev", "left2")
        peer.run("ip", "addr", "add", "fd00:2::1/64", "dev", "left2", "nodad")
        peer.run("ip", "route", "add", f"{address}/{prefix}", "via", via)
        listener = listener_for(PathLine("node1", 0, "unicast", "right1", address, 1234))
        control = listener_for(PathLine("node1", 0, "unicast", "right2", address, 1234))
        listener.open()
        control.open()
        peer.run(sys.executable, "-I", "-c", _SEND, address, "by the second cable")
        assert taken(control) == b"by the second cable"
        assert listener.receive() is None
        listener.close()
        control.close()


@in_a_network
def test_trouble_is_told_in_words() -> None:
    ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    sender, listener = sender_for(net("left"), NODE1, CLUSTER), listener_for(net("left"))
    for end in (sender, listener):
        with pytest.raises(MediumError, match=r"^interface left is down$"):
            end.open()
    ip("link", "set", "left", "up")
    for end in (sender, listener):
        with pytest.raises(MediumError, match=r"^interface left has no carrier$"):
            end.open()
    ip("link", "set", "right", "up")
    carries("left")
    listener.open()
    sender.open()
    with pytest.raises(MediumError, match=r"^interface left has no IPv4 address yet$"):
        sender.send(b"x")
    ip("addr", "add", "10.9.1.1/24", "dev", "left")
    sender.send(b"x")
    ip("link", "set", "right", "down")
    carries("left", False)
    with pytest.raises(MediumError, match="no carrier"):
        sender.send(b"x")
    with pytest.raises(MediumError, match="no carrier"):
        listener.check()
    ip("link", "del", "left")
    for call in (lambda: sender.send(b"x"), listener.check, listener.open):
        with pytest.raises(MediumError, match=r"^there is no interface left$"):
            call()
    listener.close()
    sender.close()


@in_a_network
def test_an_ipv6_sender_without_an_address_is_in_trouble() -> None:
    ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    for end in ("left", "right"):
        ip("link", "set", end, "addrgenmode", "none")
        ip("link", "set", end, "up")
    carries("left")
    sender = sender_for(net("left", IPV6), NODE1, CLUSTER)
    sender.open()
    with pytest.raises(MediumError, match="not sent"):
        sender.send(b"x")
    sender.close()


@in_a_network
def test_a_replaced_interface_is_noticed_by_its_index() -> None:
    cable("left", "right")
    sender, listener = sender_for(net("left"), NODE1, CLUSTER), listener_for(net("right"))
    sender.open()
    listener.open()
    ip("link", "del", "left")
    cable("left", "right")
    with pytest.raises(ReplacedError):
        sender.send(b"x")
    with pytest.raises(ReplacedError):
        listener.check()
    sender.close()
    listener.close()


@pytest.mark.parametrize("group", [IPV4, IPV6])
@in_a_network
def test_workers_live_through_the_loss_and_return_of_their_interface(group: str) -> None:
    now = 0.0

    def clock() -> float:
        return now

    def heard(end: socket.socket) -> list[Record]:
        found = []
        while True:
            try:
                found.append(channel.decode(end.recv(channel.MAX_RECORD, socket.MSG_DONTWAIT)))
            except BlockingIOError:
                return found

    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    (send_end, hand), (listen_end, hear) = pairs
    sender = SenderWorker(
        sender_for(net("left", group), NODE1, CLUSTER), send_end, timeout=10.0, period=1.0, clock=clock
    )
    listener = ListenerWorker(
        listener_for(net("right", group)), listen_end, cluster_id=CLUSTER, period=1.0, clock=clock
    )

    def period(seq: int) -> tuple[list[Record], list[Record]]:
        """One period: the listener looks, a message is sent, the listener takes it."""
        nonlocal now
        now += 1.0
        assert listener.turn()
        hand.send(channel.encode(Handed(seq, now, codec.encode(heartbeat(seq=seq)))))
        assert sender.turn()
        now += 0.5
        if listener._fd >= 0:
            assert listener.turn()
        now -= 0.5
        return heard(hand), heard(hear)

    try:
        missing = "there is no interface {}"
        assert period(1) == ([Trouble(1.0, missing.format("left"))], [Trouble(1.0, missing.format("right"))])
        cable("left", "right")
        assert period(2) == (
            [Sent(2, 2.0), Trouble(2.0, "")],
            [Trouble(2.0, ""), Received(2.5, codec.encode(heartbeat(seq=2)))],
        )
        ip("link", "del", "left")
        cable("left", "right")
        assert period(3) == ([Sent(3, 3.0)], [Received(3.5, codec.encode(heartbeat(seq=3)))]), (
            "the peer notices nothing"
        )
    finally:
        sender.close()
        listener.close()
        for pair in pairs:
            for end in pair:
                end.close()
