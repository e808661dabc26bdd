"""Whether an address of ``monitor`` can be what its line says. Knows nothing of lines and files."""

from socket import AF_INET, AF_INET6, inet_pton

_MAPPED = bytes(10) + b"\xff\xff"


def packed(address: str) -> bytes | None:
    """4 bytes of an IPv4 address, 16 of an IPv6 address; None for anything else, host names included."""
    for family in (AF_INET, AF_INET6):
        try:
            return inet_pton(family, address)
        except (OSError, ValueError):
            continue
    return None


def address_trouble(address: str, multicast: bool) -> str:
    """Why ``address`` cannot be a multicast group (or, not ``multicast``, a single host); empty where it can.

    The words follow the address in a sentence.
    """
    if "%" in address:
        return "has a zone; leave it out, the interface of the line is taken"
    raw = packed(address)
    if raw is None:
        return "is not an IPv4 or IPv6 address; host names are not looked up"
    if raw.startswith(_MAPPED):
        return "is an IPv4 address in IPv6 form; write it as IPv4"
    group = raw[0] == 0xFF if len(raw) == 16 else 224 <= raw[0] <= 239
    if multicast:
        return "" if group else "is not a multicast address; net needs 224.0.0.0 to 239.255.255.255, or ff00::/8"
    if group:
        return "is a multicast address; unicast needs the address of the other node"
    if not any(raw) or raw == b"\xff\xff\xff\xff":
        return "is not the address of one host; give that of the other node"
    return ""
