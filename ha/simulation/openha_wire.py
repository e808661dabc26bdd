"""What nodes of the original tell each other: who, the seconds of its wall clock, and a state a service, by name.

The layout is the simulator's own; the size, and that nothing is checked, are the original's. It knows nothing of paths.
"""

from collections.abc import Iterable
from dataclasses import dataclass

SIZE = 9_384
"""Bytes of every heartbeat: seven IP fragments (hazard H14)."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat as its receiver understands it. Nothing in it can be trusted."""

    node: str
    seconds: int
    """Of the sender's wall clock."""
    states: tuple[tuple[str, int], ...]
    """By the name of the service, the digit."""


def encode(node: str, seconds: int, states: Iterable[tuple[str, int]]) -> bytes:
    lines = [f"{node} {seconds}", *(f"{service} {digit}" for service, digit in states)]
    return "\n".join(lines).encode().ljust(SIZE, b"\0")


def decode(data: bytes) -> Beat:
    """Whatever can be read from it; nothing is refused. All zeros, or no bytes: nobody's, of second 0."""
    lines = data.rstrip(b"\0").decode(errors="replace").split("\n")
    node, _, seconds = lines[0].partition(" ")
    states = []
    for line in lines[1:]:
        service, _, digit = line.partition(" ")
        if service and digit in tuple("0123456789"):
            states.append((service, int(digit)))
    return Beat(node, int(seconds) if seconds.isascii() and seconds.isdigit() else 0, tuple(states))


def is_zero(data: bytes) -> bool:
    """A block that was never written."""
    return not data.strip(b"\0")
