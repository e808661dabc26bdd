"""Somebody on the nodes' network, and at their disk, who is no node: listens, sends, floods, counts what came of it.

What is sent is made here, and goes to the programs that send it as base64, a datagram a line.
"""

import base64
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from ha.fsm.identity import cluster_id
from ha.heartbeats.envelope import decode_block
from ha.heartbeats.keys import KeyRing, Mode
from ha.lab.plan import CLIENT_ADDRESS, MULTICAST
from ha.node.config.keyring import parse_keys
from ha.node.config.problems import Report
from tests.lab.pair import Pair

PORTS = {"node1": 1234, "node2": 4321}
"""On which a node sends, and the other listens."""
OFFSETS = {"node1": 0, "node2": 1024}
SLOT = 1024
CLUSTER = cluster_id("ezha")
LOOKS = ("node1", "node2", "node1")
"""In this order the nodes are asked, so that each is asked before the other once."""
Done = subprocess.CompletedProcess[str]

SEND = """\
import base64, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
for line in sys.stdin:
    sock.sendto(base64.b64decode(line), (sys.argv[2], int(sys.argv[3])))
    time.sleep(0.001)
"""
FLOOD = """\
import base64, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
data = [base64.b64decode(line) for line in sys.stdin]
rate, seconds, sent = int(sys.argv[4]), float(sys.argv[5]), 0
began = time.monotonic()
while (now := time.monotonic() - began) < seconds:
    while sent < now * rate:
        sock.sendto(data[sent % len(data)], (sys.argv[2], int(sys.argv[3])))
        sent += 1
    time.sleep(0.001)
print(sent)
"""
LISTEN = """\
import base64, select, socket, struct, sys, time
socks = []
for port in sys.argv[3:5]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((sys.argv[2], int(port)))
    member = socket.inet_aton(sys.argv[2]) + socket.inet_aton(sys.argv[1])
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    socks.append(sock)
end = time.monotonic() + float(sys.argv[5])
while (left := end - time.monotonic()) > 0:
    for sock in select.select(socks, [], [], left)[0]:
        print(sock.getsockname()[1], base64.b64encode(sock.recv(65536)).decode())
"""


def path_of(pair: Pair, node: str, medium: str, owner: str) -> dict[str, Any]:
    return next(path for path in pair.paths(node) if (path["medium"], path["node"]) == (medium, owner))


def refused(pair: Pair, node: str, medium: str, owner: str) -> int:
    return sum(path_of(pair, node, medium, owner)["refused"].values())


def ring_of(pair: Pair) -> KeyRing:
    """The keys of both nodes."""
    report = Report()
    ring = parse_keys(pair.conf("node1", "keys").read_text(), report)
    assert not report.problems and ring.mode is Mode.ENFORCE
    return ring


def message_of(pair: Pair, node: str) -> bytes:
    """Its last one, as it stands in its slot."""
    with open(f"{pair.lab.folder}/disk.img", "rb") as disk:
        disk.seek(OFFSETS[node])
        return decode_block(disk.read(SLOT))


def client(pair: Pair, code: str, datagrams: Sequence[bytes], *words: str) -> Done:
    """Run a sender on a machine that is on the nodes' network and is no node."""
    text = "".join(base64.b64encode(each).decode() + "\n" for each in datagrams)
    done = pair.lab.exec("client", [sys.executable, "-I", "-c", code, CLIENT_ADDRESS, MULTICAST, *words], input=text)
    assert done.returncode == 0, done.stderr
    return done


def tape(pair: Pair, seconds: float) -> dict[str, list[bytes]]:
    """What each node says on the network, for so long."""
    done = client(pair, LISTEN, (), *map(str, PORTS.values()), f"{seconds:g}")
    names = {str(port): node for node, port in PORTS.items()}
    heard: dict[str, list[bytes]] = {node: [] for node in PORTS}
    for line in done.stdout.splitlines():
        port, _, data = line.partition(" ")
        heard[names[port]].append(base64.b64decode(data))
    return heard


def put_block(pair: Pair, node: str, content: bytes) -> None:
    """Over the slot of a node, past the node."""
    with open(f"{pair.lab.folder}/disk.img", "r+b", buffering=0) as disk:
        os.pwrite(disk.fileno(), content.ljust(SLOT, b"\0"), OFFSETS[node])


def counts(pair: Pair) -> list[dict[str, dict[str, Any]]]:
    """Of the network paths by owner, as the nodes see them one after the other (``LOOKS``)."""
    return [{path["node"]: path for path in pair.paths(node) if path["medium"] == "net"} for node in LOOKS]


def assert_none_missed(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]], least: float) -> None:
    """What was sent between the two inner looks was heard between the two outer ones; more than ``least``."""
    for owner, heard_before, sent_before, sent_after, heard_after in (("node1", 1, 2, 0, 1), ("node2", 0, 1, 1, 2)):
        sent = after[sent_after][owner]["sent"] - before[sent_before][owner]["sent"]
        heard = after[heard_after][owner]["received"] - before[heard_before][owner]["received"]
        assert heard >= sent > least, (owner, sent, heard)


def disturbances(pair: Pair, node: str, since: float) -> list[str]:
    """What the node told of services that moved, and of others that fell silent or were heard anew."""
    entries = pair.history(node, since=since)
    moved = [e["text"] for e in entries if e["kind"] in ("transition", "path")]
    return moved + [
        e["text"] for e in entries if e["kind"] == "peer" and ("silent" in e["text"] or "heard" in e["text"])
    ]
