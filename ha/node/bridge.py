"""Keeps a node's heartbeats and decisions going while its nmond turns into another program.

An exec keeps the process, its children and its files, but the new program is deaf and mute until it has loaded. So
nmond first forks: the copy, the *bridge*, goes on as before, and when the new program is ready to listen, it tells it
all it knows, right after a heartbeat, and ends. At any time just one of the two reads, decides and speaks.

Workers and scripts are not the bridge's children: what runs goes on, what is to be run or has ended waits for the new
program. The bridge dies with nmond, and ends by itself where nobody asks it within ``LIMIT_S``.
"""

import os
import socket
from collections.abc import Callable
from typing import Any, Final

from setproctitle import setproctitle

from ha.node import handover, process
from ha.node.running import Node

LIMIT_S: Final = 5.0
"""A new program that has not loaded by then begins as after a crash."""
SOON_S: Final = 0.1
"""A heartbeat that is due within this time is sent before the new program is told."""
_NOW: Final = b"n"


def fork(node: Node, alone: Callable[[], None]) -> tuple[int, int]:
    """The new program's end of the line to the bridge, and the bridge's pid: 0 in the bridge. Raises OSError.

    ``alone`` is called in the bridge: it drops what only nmond itself may use.
    """
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid:
        theirs.close()
        return ours.detach(), pid
    begun = False
    try:
        ours.close()
        process.die_with_parent(parent)
        setproctitle(f"{node.layout.bin}/nmond (bridge)")
        node.prompt()
        node.loop.renew()
        alone()
        node.hold()
        bridge = _Bridge(node, theirs)
        node.loop.watch(theirs.fileno(), bridge.asked)
        node.loop.after(LIMIT_S, _end)
        begun = True
    finally:
        if not begun:
            os._exit(70)  # nothing may be raised from here into what goes on as nmond
    return -1, 0


def take(fd: int) -> dict[str, Any]:
    """In the new program: what the bridge knows; it has ended then. Raises HandoverError."""
    with socket.socket(fileno=fd) as line:
        line.settimeout(LIMIT_S)
        parts = []
        try:
            line.sendall(_NOW)
            while part := line.recv(1 << 20):
                parts.append(part)
        except OSError as error:
            raise handover.HandoverError(f"the bridge does not answer: {error}") from error
    return handover.unpacked(b"".join(parts))


class _Bridge:
    def __init__(self, node: Node, line: socket.socket) -> None:
        self._node = node
        self._line = line

    def asked(self) -> None:
        """The new program is ready, or is no more."""
        if not self._line.recv(1):
            _end()
        node = self._node
        node.loop.unwatch(self._line.fileno())
        due = node.driver.deadline - node.loop.clock()
        if due > SOON_S:
            self._tell()
        else:
            # Not from within the engine's step that sends it: the rest of its effects comes first.
            node.sent = self._after_heartbeat
            node.loop.after(2 * SOON_S, self._tell)

    def _after_heartbeat(self) -> None:
        self._node.loop.after(0.0, self._tell)

    def _tell(self) -> None:
        node = self._node
        node.settle()
        while node.runner.launch() or node.outbox.note() or node.outbox.local():
            node.settle()
        self._line.setblocking(True)
        self._line.sendall(handover.packed(node.packed()))
        _end()


def _end() -> None:
    os._exit(0)
