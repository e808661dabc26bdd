"""Whether somebody on the network has an address already, and telling all that it is here now.

ARP by RFC 5227 (IPv4 address conflict detection), neighbour solicitation by RFC 4862 (section 5.4) for IPv6, and an
ICMP echo where a device has no neighbours to ask. The frames of IPv6 and ICMP are scapy's, which is slow to load: so
those of ARP, which nearly every start needs, are ``ha.services.resources.arp``'s.

RFC 5227 has a host listen for seven seconds, for it may be the first of hundreds on a slow net. A failover has no such
time: three probes a fifth of a second apart find any neighbour that is awake, and one that is not could not be found
by more.
"""

import ipaddress
import logging
import os
import select
import socket
import time
from collections.abc import Callable, Collection, Iterable

from ha.services.resources import arp
from ha.services.resources.addresses import Address, Device

PROBES = 3
INTERVAL_S = 0.2
_ANNOUNCEMENTS = 3
_ANNOUNCE_INTERVAL_S = 0.05
_ETH_P_IPV6 = 0x86DD
_FRAME = 2048
_ALL_NODES_MAC = "33:33:00:00:00:01"
_ALL_NODES = "ff02::1"

logging.getLogger("scapy").setLevel(logging.ERROR)  # it warns, when it is loaded, of things that nobody needs here


def taken(
    device: Device,
    addresses: Collection[Address],
    own: Collection[bytes],
    rounds: int = PROBES,
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[Address, str]:
    """Which of the addresses somebody has, and who: its link-layer address, or its IP address where we asked by ICMP.

    ``own`` are the link-layer addresses of this machine, whose frames do not count. It takes ``rounds`` times
    INTERVAL_S, less where all have answered. ``meanwhile`` is called while the neighbours think about the first probe:
    the kernel keeps their answers. Raises OSError where the device cannot be used.
    """
    found: dict[Address, str] = {}
    for version, ask in ((4, _arp), (6, _solicit)):
        wanted = {address for address in addresses if address.version == version}
        if wanted and device.arp:
            found |= ask(device, wanted, own, rounds, meanwhile)
        elif wanted:
            found |= _echo(wanted, rounds)
    return found


def announce(device: Device, addresses: Iterable[Address]) -> None:
    """Tell the neighbours that these addresses are here: gratuitous ARP, unsolicited neighbour advertisement.

    Said more than once, for a lost frame would leave a neighbour sending to the node that failed. Raises OSError.
    """
    frames = [frame for address in addresses for frame in _announcements(device, address)]
    if not frames or not device.arp:
        return
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((device.name, 0))
        for turn in range(_ANNOUNCEMENTS):
            if turn:
                time.sleep(_ANNOUNCE_INTERVAL_S)
            for frame in frames:
                wire.send(frame)


def _announcements(device: Device, address: Address) -> list[bytes]:
    if isinstance(address, ipaddress.IPv4Address):
        return arp.announcements(device.mac, address)
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
    from scapy.layers.l2 import Ether

    mac, text = device.mac.hex(":"), str(address)
    advertisement = ICMPv6ND_NA(tgt=text, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    header = Ether(src=mac, dst=_ALL_NODES_MAC) / IPv6(src=text, dst=_ALL_NODES, hlim=255)
    return [bytes(header / advertisement)]


def _arp(
    device: Device, wanted: set[Address], own: Collection[bytes], rounds: int, meanwhile: Callable[[], None]
) -> dict[Address, str]:
    probes = [arp.probe(device.mac, each) for each in wanted if isinstance(each, ipaddress.IPv4Address)]
    return _ask(device, arp.ETHERTYPE, probes, lambda frame: arp.claimed(frame, own), wanted, rounds, meanwhile)


def _solicit(
    device: Device, wanted: set[Address], own: Collection[bytes], rounds: int, meanwhile: Callable[[], None]
) -> dict[Address, str]:
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
    from scapy.layers.l2 import Ether

    mac, ours = device.mac.hex(":"), {each.hex(":") for each in own}
    probes = []
    for each in wanted:
        last = int(each) & 0xFFFFFF
        group = ipaddress.IPv6Address(int(ipaddress.IPv6Address("ff02::1:ff00:0")) | last)
        to = "33:33:ff:" + last.to_bytes(3, "big").hex(":")
        header = Ether(src=mac, dst=to) / IPv6(src="::", dst=str(group), hlim=255)
        probes.append(bytes(header / ICMPv6ND_NS(tgt=str(each))))

    def answer(frame: bytes) -> tuple[Address, str] | None:
        packet = Ether(frame)
        if IPv6 not in packet or packet[IPv6].hlim != 255 or packet.src in ours:
            return None  # a hop limit below 255 means that it came from beyond the link (RFC 4861, 7.1)
        if ICMPv6ND_NA in packet:
            return ipaddress.IPv6Address(packet[ICMPv6ND_NA].tgt), str(packet.src)
        if ICMPv6ND_NS in packet and packet[IPv6].src == "::":
            return ipaddress.IPv6Address(packet[ICMPv6ND_NS].tgt), str(packet.src)
        return None

    return _ask(device, _ETH_P_IPV6, probes, answer, wanted, rounds, meanwhile)


def _ask(
    device: Device,
    protocol: int,
    probes: Iterable[bytes],
    answer: Callable[[bytes], tuple[Address, str] | None],
    wanted: set[Address],
    rounds: int,
    meanwhile: Callable[[], None],
) -> dict[Address, str]:
    """Send the probes ``rounds`` times, and listen for a while after each."""
    found: dict[Address, str] = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol)) as wire:
        wire.bind((device.name, protocol))
        for number in range(rounds):
            for probe in probes:
                wire.send(probe)
            until = time.monotonic() + INTERVAL_S
            if number == 0:
                meanwhile()
            while len(found) < len(wanted) and (left := until - time.monotonic()) > 0:
                if not select.select([wire], [], [], left)[0]:
                    break
                said = answer(wire.recv(_FRAME))
                if said is not None and said[0] in wanted:
                    found[said[0]] = said[1]
            if len(found) == len(wanted):
                break
    return found


def _echo(wanted: set[Address], rounds: int) -> dict[Address, str]:
    """Ask by ICMP, over whatever route there is; where there is none, nobody answers."""
    found: dict[Address, str] = {}
    ident = os.getpid() & 0xFFFF
    for address in wanted:
        with _echo_socket(address.version) as wire:
            for number in range(rounds):
                try:
                    wire.sendto(_echo_request(address.version, ident, number), (str(address), 0))
                except OSError:
                    break  # no route to it: it cannot be asked
                if _answered(wire, address, ident):
                    found[address] = str(address)
                    break
    return found


def _echo_socket(version: int) -> socket.socket:
    if version == 4:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)


def _echo_request(version: int, ident: int, number: int) -> bytes:
    if version == 4:
        from scapy.layers.inet import ICMP

        return bytes(ICMP(type="echo-request", id=ident, seq=number))
    from scapy.layers.inet6 import ICMPv6EchoRequest

    return bytes(ICMPv6EchoRequest(id=ident, seq=number))  # the kernel fills in the checksum (RFC 3542, 3.1)


def _answered(wire: socket.socket, address: Address, ident: int) -> bool:
    until = time.monotonic() + INTERVAL_S
    while (left := until - time.monotonic()) > 0 and select.select([wire], [], [], left)[0]:
        data, sender = wire.recvfrom(_FRAME)
        if address.version == 4:  # the IP header comes along, its length in words of four bytes
            data = data[(data[0] & 0x0F) * 4 :]
        echo_reply = 0 if address.version == 4 else 129
        if sender[0] == str(address) and data[:1] == bytes((echo_reply,)) and data[4:6] == ident.to_bytes(2, "big"):
            return True
    return False
