"""``ezha wire decode``: what stands in a datagram, a slot of a disk or a capture, as JSON.

It shows what the bytes say and trusts nothing in them; whether a signature holds is told, too. Names of services and
nodes that ezha's own messages carry as short numbers are looked up in the configuration of this machine, where there
is one.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ha.cli.guard import CliError, say
from ha.cli.options import Parser
from ha.cli.place import layout
from ha.fsm.identity import node_id
from ha.fsm.message import Heartbeat
from ha.heartbeats import codec, openha
from ha.heartbeats.envelope import MAGIC, CodecError, leading, origin_of, verify
from ha.heartbeats.keys import NO_KEY, NO_KEYS, KeyRing, shown
from ha.heartbeats.media.guard import is_empty, split
from ha.node.config import ConfigError
from ha.node.config.keyring import load_keys
from ha.node.config.nodes import parse_nodes
from ha.node.config.problems import Report
from ha.node.config.whole import load_texts, parse

MAX_FILE = 16 * 1024 * 1024
"""Bytes that are read: a capture of some minutes."""
_CAPTURES = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a")
"""How files of tcpdump begin (pcap in both byte orders and resolutions, pcapng)."""

Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Names:
    """Names by the short numbers that messages carry."""

    nodes: dict[int, str] = field(default_factory=dict)
    services: dict[int, str] = field(default_factory=dict)
    ring: KeyRing = NO_KEYS
    """Keys that signatures are verified with."""


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where every message could be read, else 1."""
    parser = Parser("ezha wire", "Show what a heartbeat says, of ezha's own codec or of an original OpenHA node.")
    parser.add_argument("verb", metavar="decode", choices=("decode",))
    parser.add_argument(
        "file", metavar="FILE|-", help="a datagram, a slot of a disk, or a capture of tcpdump; -: standard input"
    )
    options = parser.parse_args(argv)
    told = read(_contents(options.file), _known())
    say(json.dumps(told if len(told) != 1 else told[0], indent=2))
    return 1 if any("refused" in each for each in told) else 0


def read(data: bytes, names: Names) -> list[Told]:
    """What a file holds, message by message. Raises CliError where it holds none."""
    if data[:4] in _CAPTURES:
        told = [{"from": source, "to": target} | _of_capture(raw, names) for source, target, raw in _datagrams(data)]
        if not told:
            raise CliError(
                "this capture holds no whole UDP datagram; capture with: tcpdump -s 0 -w FILE udp "
                "(a port in the filter would lose every fragment but the first)"
            )
        return told
    try:
        return [message(data, names)]
    except CodecError as error:
        raise CliError(f"no heartbeat of ezha or OpenHA: {error}") from None


def message(data: bytes, names: Names) -> Told:
    """The message at the beginning of ``data``: a datagram, or a slot with whatever stands behind it.

    Raises CodecError.
    """
    if not data:
        raise CodecError("there are no bytes")
    content, mark = split(data)
    if is_empty(content):
        return {"codec": "", "empty": True, "bytes": len(data), "claimed_by_force": bool(mark)}
    if data.startswith(MAGIC):
        first, rest = leading(data)
        signature = _signature(first, names.ring)
        told = _ezha(codec.parse(first, origin_of(first)), names)
        return told | signature | {"bytes": len(first), "bytes_behind": len(rest)}
    if len(data) < openha.SIZE:
        raise CodecError("too short, and no message of ezha")
    told = _openha(openha.decode(openha.struct_of(data)))
    return told | {"bytes": openha.SIZE, "bytes_behind": len(data) - openha.SIZE}


def _of_capture(data: bytes, names: Names) -> Told:
    try:
        return message(data, names)
    except CodecError as error:
        return {"refused": str(error), "bytes": len(data)}


def _signature(data: bytes, ring: KeyRing) -> Told:
    """With which key a message is signed, and whether it is: None where this machine does not have that key.

    Raises CodecError for one that is not signed, and not whole."""
    key = origin_of(data).key
    if key == NO_KEY:
        verify(data)
        return {"signed_with": None, "verified": None}
    try:
        verify(data, ring)
    except CodecError as error:
        return {"signed_with": shown(key), "verified": False if ring.has(key) else None, "why": str(error)}
    return {"signed_with": shown(key), "verified": True}


def _openha(beat: openha.Beat) -> Told:
    return {
        "codec": "openha",
        "node": beat.node,
        "seconds": beat.seconds,
        "port": beat.port,
        "address": beat.address,
        "up": beat.up,
        "hostid": f"{beat.hostid:08x}",
        "pid": beat.pid,
        "services": [{"name": name, "state": state.name} for name, state in beat.services],
    }


def _ezha(beat: Heartbeat, names: Names) -> Told:
    return {
        "codec": "ezha",
        "node": names.nodes.get(beat.node),
        "node_id": f"{beat.node:08x}",
        "cluster_id": f"{beat.cluster:08x}",
        "incarnation": beat.incarnation.counter,
        "nonce": f"{beat.incarnation.nonce:08x}",
        "seq": beat.seq,
        "promise": beat.promise.name,
        "standing": beat.standing,
        "left": beat.left,
        "timeout": beat.timeout_ms / 1000,
        "lease": beat.lease_ms / 1000,
        "paths_digest": f"{beat.paths_digest:08x}",
        "services": [
            {
                "name": names.services.get(entry.id),
                "id": f"{entry.id:08x}",
                "state": entry.state.name,
                "generation": entry.generation,
                "flags": [flag for flag in ("unclean", "last_ran", "demoted", "lapsed") if getattr(entry, flag)],
            }
            for entry in beat.services
        ],
        "acks": [
            {
                "node": names.nodes.get(ack.node),
                "node_id": f"{ack.node:08x}",
                "incarnation": ack.incarnation.counter,
                "seqs": list(ack.seqs),
            }
            for ack in beat.acks
        ],
        "handovers": [
            {"service": names.services.get(each.service), "node": names.nodes.get(each.node)} for each in beat.handovers
        ],
    }


def _contents(path: str) -> bytes:
    """Raises CliError."""
    if path == "-":
        data = sys.stdin.buffer.read(MAX_FILE + 1)
    else:
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_FILE + 1)
        except OSError as error:
            raise CliError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise CliError(f"{path} is larger than {MAX_FILE} bytes; give one message, slot or short capture")
    return data


def _known() -> Names:
    """From the configuration of this machine. Where it has none, or a broken one, there are no names to show."""
    try:
        ring = load_keys(layout())
    except (ConfigError, CliError):
        ring = NO_KEYS
    try:
        texts = load_texts(layout())
        nodes = parse_nodes(texts.nodes, Report(), texts.names["nodes"])
        cluster = parse(texts, nodes[0] if nodes else "").cluster
    except (ConfigError, CliError):
        return Names(ring=ring)
    services = {service.id: name for name, service in cluster.services.items()}
    return Names({node_id(node): node for node in cluster.nodes}, services, ring)


def _datagrams(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Sender, addressee and payload of every UDP datagram in a capture, put together from its fragments.

    Raises CliError.
    """
    import io
    import logging

    import scapy.layers.l2  # noqa: F401  (the kinds of link that a capture may be of)
    from scapy.layers.inet import IP, UDP, defragment
    from scapy.layers.inet6 import IPv6
    from scapy.utils import rdpcap

    logging.getLogger("scapy").setLevel(logging.CRITICAL + 1)  # what cannot be read is told below, in a line
    logging.getLogger("scapy.runtime").setLevel(logging.CRITICAL + 1)
    try:
        packets = list(defragment(rdpcap(io.BytesIO(data))))  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  (its dissectors raise whatever they meet)
        raise CliError(f"this capture cannot be read: {error}") from None
    for packet in packets:
        network = next((layer for layer in (IP, IPv6) if packet.haslayer(layer)), None)
        if network is not None and packet.haslayer(UDP):
            udp = packet[UDP]
            payload = bytes(udp.payload)
            # A first fragment without the others is no datagram, whatever this release of scapy makes of it.
            if len(payload) >= udp.len - 8:
                yield f"{packet[network].src}:{udp.sport}", f"{packet[network].dst}:{udp.dport}", payload
