"""A line of ``monitor``: who sends where (spec: OpenHA, "Configuration files").

This module knows the form of a line; the file it stands in is ``ha.node.config``'s matter.
"""

from dataclasses import dataclass

from ha.fsm.config import OPENHA, OWN_WIRE, PathConfig, PathId

BLOCK = 512
"""Offsets on a disk count blocks of this many bytes."""
SLOT_END = 4
"""Bytes at the end of a slot that a message leaves free: for the mark of a slot that was claimed by force."""

PROGRAMS = {
    "net": ("heartd", "heartc"),
    "unicast": ("heartd_unicast", "heartc_unicast"),
    "disk": ("heartd_raw", "heartc_raw"),
    "dio": ("heartd_dio", "heartc_dio"),
}
"""Sender and listener of each medium, as OpenHA names them: agents look for these in ``ps``."""


@dataclass(frozen=True, slots=True)
class PathLine:
    """One heartbeat path. ``node`` sends on it, every other node listens."""

    node: str
    index: int
    """0, 1, … among the lines of ``node``."""
    medium: str
    """net, unicast, dio or disk."""
    device: str
    """Interface (net, unicast) or device file (dio, disk)."""
    address: str = ""
    """IPv4 or IPv6 address (net: multicast group; unicast: the remote end)."""
    port: int = 0
    offset: int = 0
    """In blocks of 512 bytes."""
    timeout: float = 10.0
    """Seconds, 0.2 … 120."""
    ttl: int = 1
    """Hops a multicast datagram may take, 1 … 255 (options.toml)."""
    slot_blocks: int = 0
    """dio, disk: blocks up to the next offset configured on the device, or a default."""
    wire: str = OWN_WIRE
    """Whose messages travel on it: ``ezha``'s own, or ``openha``'s (options.toml)."""

    @property
    def is_openha(self) -> bool:
        return self.wire == OPENHA

    @property
    def is_disk(self) -> bool:
        return self.medium in ("dio", "disk")

    @property
    def id(self) -> PathId:
        return PathId(self.node, self.index)

    @property
    def label(self) -> str:
        """As ``hb -s`` shows it."""
        if self.is_disk:
            return f"{self.device}:{self.offset}"
        return f"{self.device}:{self.address}:{self.port}"

    @property
    def text(self) -> str:
        """The line in its normal form, and whose messages travel there where they are not ezha's own."""
        where = f"{self.device} {self.offset}" if self.is_disk else f"{self.device} {self.address} {self.port}"
        return f"{self.node} {self.medium} {where} {self.timeout:g}{f' {self.wire}' if self.wire != OWN_WIRE else ''}"

    def title(self, bin_dir: str, sender: bool) -> str:
        """The process title that agents recognise in ``ps -ef`` (spec: OpenHA, "The processes")."""
        program = PROGRAMS[self.medium][0 if sender else 1]
        where = f"{self.device} {self.offset}" if self.is_disk else f"{self.device} {self.address} {self.port}"
        tail = "" if sender else f" {self.timeout:g}"
        return f"{bin_dir}/{program} {where}{tail}"

    def config(self) -> PathConfig:
        """The engine's view of this line."""
        return PathConfig(self.id, self.label, self.medium, self.timeout, self.text, self.wire)
