"""ARP in Ethernet frames (RFC 826), as far as an address needs it: a probe, an announcement, and what is heard.

Pure: bytes in, bytes out. Written out here, for a library that does it takes longer to load than a start without it:
0.2 s of processor time in the middle of a takeover. The tests hold it against that library.
"""

import struct
from collections.abc import Collection
from ipaddress import IPv4Address

ETHERTYPE = 0x0806
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
"""Destination, source, EtherType; hardware, protocol, their lengths, operation; sender and target, each MAC and IP."""
_FIXED = (1, 0x0800, 6, 4)
"""Ethernet and IPv4, and the lengths of their addresses."""
_REQUEST, _REPLY = 1, 2
_BROADCAST = b"\xff" * 6
_NOBODY = b"\0" * 6
_UNSPECIFIED = IPv4Address(0)


def probe(mac: bytes, address: IPv4Address) -> bytes:
    """Who has it? Asked from no address, so that nobody's cache is changed (RFC 5227, section 2.1.1)."""
    return _frame(_REQUEST, mac, _UNSPECIFIED, _NOBODY, address)


def announcements(mac: bytes, address: IPv4Address) -> list[bytes]:
    """Both forms, request and reply: some neighbours learn from one only (RFC 5227, section 3)."""
    return [_frame(_REQUEST, mac, address, _NOBODY, address), _frame(_REPLY, mac, address, _BROADCAST, address)]


def claimed(frame: bytes, own: Collection[bytes]) -> tuple[IPv4Address, str] | None:
    """Which address somebody has, and who; None where the frame says nothing of it, or comes from one of ``own``.

    Whoever sends from an address has it; whoever probes for it is about to take it (RFC 5227, section 2.1.1).
    """
    if len(frame) < _FRAME.size:
        return None
    _, _, kind, *fixed, operation, mac, sender, _, target = _FRAME.unpack_from(frame)
    if kind != ETHERTYPE or tuple(fixed) != _FIXED or mac in own:
        return None
    address = IPv4Address(sender)
    if address == _UNSPECIFIED and operation == _REQUEST:
        address = IPv4Address(target)
    return address, mac.hex(":")


def _frame(operation: int, mac: bytes, sender: IPv4Address, to: bytes, target: IPv4Address) -> bytes:
    return _FRAME.pack(_BROADCAST, mac, ETHERTYPE, *_FIXED, operation, mac, sender.packed, to, target.packed)
