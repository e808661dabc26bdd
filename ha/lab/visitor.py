"""Someone on the nodes' network who looks at a web page again and again, and hears the heartbeats that pass by.

Runs in a namespace of the lab, as a helper. Writes JSON lines: ``{"page": TEXT, "at": T}`` whenever the answer is
another one than before (empty: no answer), ``{"heard": PORT, "at": T}`` for each datagram. T is CLOCK_BOOTTIME, which
all nodes of the lab share. Knows nothing of the nodes; quick to start (no ssl, no http.client).
"""

import json
import os
import socket
import struct
import sys
import threading
import time
from typing import Any

_EVERY_S = 0.025
_CONNECT_S = 0.04
"""A SYN that nobody answers is given up soon: what the neighbours know of the address may have changed meanwhile."""
_ANSWER_S = 0.25
_MAX_ANSWER = 65536


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def page(address: str, port: int, connect_s: float = _CONNECT_S, answer_s: float = _ANSWER_S) -> str:
    """The body of the page at ``http://ADDRESS:PORT/``; empty where none came."""
    answer = b""
    try:
        with socket.create_connection((address, port), connect_s) as connection:
            deadline = now() + answer_s
            connection.sendall(f"GET / HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
            while len(answer) < _MAX_ANSWER:
                connection.settimeout(max(0.001, deadline - now()))
                part = connection.recv(65536)
                if not part:
                    break
                answer += part
    except OSError:
        return ""
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode(errors="replace").strip() if b" 200 " in head.split(b"\r\n")[0] else ""


def main() -> int:
    """``argv``: JSON of {"address", "port"}, and of {"group", "ports"} where heartbeats are to be heard; or "once"."""
    job = json.loads(sys.argv[1])
    if job.get("once"):
        print(page(job["address"], job["port"], 1.0, 1.0), flush=True)
        return 0
    listeners = [_listener(job["group"], port, job["interface"]) for port in job["ports"]]
    for port, listener in zip(job["ports"], listeners, strict=True):
        threading.Thread(target=_hear, args=(listener, port), daemon=True).start()
    _tell({"page": "", "at": now()})
    last = ""
    while True:
        begun = now()
        body = page(job["address"], job["port"])
        if body != last:
            last = body
            _tell({"page": body, "at": now()})
        time.sleep(max(0.005, begun + _EVERY_S - now()))


def _listener(group: str, port: int, interface: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((group, port))
    membership = struct.pack("4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex(interface))
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return listener


def _hear(listener: socket.socket, port: int) -> None:
    while True:
        listener.recv(65536)
        _tell({"heard": port, "at": now()})


def _tell(what: dict[str, Any]) -> None:
    """One write, so that two threads cannot mix their lines."""
    os.write(1, json.dumps(what).encode() + b"\n")
