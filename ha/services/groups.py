"""The groups of resources: in which order they act and are shown, and what their state counts for. Data alone.

From the specification (OpenSVC, "Order, rollback, locks, exit codes" and "print status").
"""

from dataclasses import dataclass
from enum import Enum


class Branch(Enum):
    """The branch of the status tree in which a group stands."""

    AVAIL = "avail"
    SYNC = "sync"
    HB = "hb"
    STONITH = "stonith"


@dataclass(frozen=True, slots=True)
class Group:
    """A kind of resource by the name that its sections begin with (``fs`` of ``[fs#0]``)."""

    name: str
    branch: Branch
    start: int = 0
    """Place in a start; a stop goes the other way. 0: neither starts nor stops with the service."""


GROUPS = {
    group.name: group
    for group in (
        # In the order in which they are shown.
        Group("vg", Branch.AVAIL, start=2),
        Group("disk", Branch.AVAIL, start=2),
        Group("fs", Branch.AVAIL, start=3),
        Group("ip", Branch.AVAIL, start=1),
        Group("app", Branch.AVAIL, start=4),
        Group("sync", Branch.SYNC),
        Group("hb", Branch.HB),
        Group("stonith", Branch.STONITH),
    )
}
"""By name, in the order in which ``print status`` shows them."""
