"""From what a person writes to addresses: names, and netmasks in either form. A name is never waited for for long."""

import ipaddress
import socket
import threading
from typing import Any

from ha.services.errors import ResourceError
from ha.services.resources.addresses import Address

PATIENCE_S = 4.0
"""How long a name may take to resolve. glibc gives up on one server after five seconds."""
IMPATIENCE_S = 0.25
"""How long one may take once another did not in time: a status asks for many names, and must end all the same."""
_late = threading.Event()
"""A name did not resolve in time, in this process."""


def prefix_length(mask: str, version: int = 4) -> int | None:
    """The length of a netmask in either form; None where it is none."""
    if mask.isascii() and mask.isdigit():
        return int(mask[:4]) if int(mask[:4]) <= (32 if version == 4 else 128) else None
    try:
        network = ipaddress.IPv4Network(f"0.0.0.0/{mask}")
    except ValueError:
        return None
    # The library takes the inverted form as well, which is no netmask.
    return network.prefixlen if version == 4 and str(network.netmask) == mask else None


def resolve(name: str) -> Address:
    """An address as it is; else the first IPv4 address of the name, else its first IPv6 address.

    Raises ResourceError where it does not resolve in time.
    """
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:  # a name that no name can be, such as one of 300 characters
            answers.append(error)

    # The resolver has no timeout that we could set, so it is left alone when it is late.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    patience_s = IMPATIENCE_S if _late.is_set() else PATIENCE_S
    asking.join(patience_s)
    if not answers:
        _late.set()
        raise ResourceError(f"{name} does not resolve: no answer within {patience_s:g} s")
    if isinstance(answers[0], Exception):
        why = getattr(answers[0], "strerror", None) or answers[0]
        raise ResourceError(f"{name} does not resolve: {why}")
    found = [ipaddress.ip_address(answer[4][0].partition("%")[0]) for answer in answers[0]]
    return min(found, key=lambda address: address.version)
