"""What the nodes send on the network, with the kernel's time of each datagram.

``Tap`` runs this file as a program of its own in the lab's switch, where every frame passes; it imports nothing of
ezha, so that what is measured does not depend on what measures.
"""

import os
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from ha.lab.lab import Lab

_BRIDGE = "br0"
_ETHERTYPE_IPV4 = 0x0800
_UDP = 17
_SO_TIMESTAMPNS = 35
_SNAPSHOT = 64
"""Bytes of a frame that are looked at: the headers."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One that passed the switch."""

    at: float
    """Seconds of CLOCK_REALTIME."""
    source: str
    port: int
    size: int
    """Bytes of payload, of all fragments together."""
    fragmented: bool


class Tap:
    """Records while it is open."""

    def __init__(self, lab: "Lab", place: Path) -> None:
        self._path = place
        self._file: IO[bytes] = place.open("wb")
        program = [sys.executable, "-I", str(Path(__file__).resolve())]
        self._child = lab.popen("client", program, stdout=self._file, stdin=subprocess.DEVNULL)

    def datagrams(self) -> list[Datagram]:
        """All since the beginning."""
        found = []
        for line in self._path.read_text().split("\n")[:-1]:
            at, source, port, size, fragmented = line.split()
            found.append(Datagram(int(at) / 1e9, source, int(port), int(size), fragmented == "1"))
        return found

    def last(self, source: str) -> float:
        """When the newest datagram of an address passed."""
        return max(each.at for each in self.datagrams() if each.source == source)

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        self._file.close()


def main() -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETHERTYPE_IPV4)) as tap:
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        tap.bind((_BRIDGE, _ETHERTYPE_IPV4))
        while True:
            data, ancillary, _flags, _address = tap.recvmsg(_SNAPSHOT, 64)
            line = _describe(data, ancillary)
            if line:
                os.write(1, line.encode())


def _describe(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> str:
    """The line of a datagram's first fragment; empty for any other frame."""
    head = (data[0] & 15) * 4
    fragment = struct.unpack_from("!H", data, 6)[0]
    if data[9] != _UDP or fragment & 0x1FFF or len(data) < head + 8:
        return ""
    port, size = struct.unpack_from("!HH", data, head + 2)
    stamps = [struct.unpack("@qq", raw) for _level, kind, raw in ancillary if kind == _SO_TIMESTAMPNS]
    at = stamps[0][0] * 1_000_000_000 + stamps[0][1]
    more = 1 if fragment & 0x2000 else 0
    return f"{at} {socket.inet_ntoa(data[12:16])} {port} {size - 8} {more}\n"


if __name__ == "__main__":
    main()
