"""ARP, byte by byte as another implementation has it."""

from ipaddress import IPv4Address

import pytest
from scapy.layers.l2 import ARP, Ether

from ha.services.resources import arp

MAC, OTHER = "52:54:00:db:db:29", "52:54:00:00:00:07"
OURS = bytes.fromhex(MAC.replace(":", ""))
IP = "192.0.2.7"


def ether(**fields: object) -> bytes:
    return bytes(Ether(src=fields["hwsrc"], dst="ff:ff:ff:ff:ff:ff") / ARP(**fields))


def test_a_probe_and_both_announcements() -> None:
    nobody, everybody = "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"
    asked = ether(op="who-has", hwsrc=MAC, psrc="0.0.0.0", hwdst=nobody, pdst=IP)
    assert arp.probe(OURS, IPv4Address(IP)) == asked
    assert arp.announcements(OURS, IPv4Address(IP)) == [
        ether(op="who-has", hwsrc=MAC, psrc=IP, hwdst=nobody, pdst=IP),
        ether(op="is-at", hwsrc=MAC, psrc=IP, hwdst=everybody, pdst=IP),
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"op": "is-at", "psrc": IP, "pdst": "0.0.0.0"}, IP),
        ({"op": "who-has", "psrc": IP, "pdst": "192.0.2.9"}, IP),
        ({"op": "who-has", "psrc": "0.0.0.0", "pdst": IP}, IP),
    ],
)
def test_who_has_an_address_and_who_is_about_to_take_it(fields: dict[str, str], said: str) -> None:
    padded = ether(hwsrc=OTHER, **fields) + b"\0" * 18
    assert arp.claimed(padded, {OURS}) == (IPv4Address(said), OTHER)
    assert arp.claimed(ether(hwsrc=MAC, **fields), {OURS}) is None, "our own"


def test_anything_else_says_nothing() -> None:
    good = ether(op="is-at", hwsrc=OTHER, psrc=IP, pdst=IP)
    assert arp.claimed(good, ()) is not None
    for end in range(len(good)):
        assert arp.claimed(good[:end], ()) is None
    for at in (12, 13, 14, 15, 16, 17, 18, 19):  # another protocol, another kind of network, other lengths
        assert arp.claimed(good[:at] + b"\x77" + good[at + 1 :], ()) is None
