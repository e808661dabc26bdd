"""Bytes that a path brought: whose message they are, before the engine sees it.

nmond and the simulator share this. It knows nothing of where the bytes came from.
"""

from collections.abc import Callable

from ha.fsm.config import PathId
from ha.fsm.identity import node_id
from ha.fsm.message import Heartbeat, Incarnation
from ha.heartbeats.codec import CodecError, decode


class RefusedError(ValueError):
    """Not a message of the node that owns the path. The text is one of a few: it serves as the key of a counter."""

    def __init__(self, text: str, expected: bool = False) -> None:
        super().__init__(text)
        self.expected = expected
        """Counted only: lines that share a group and port make every listener of it hear what we send ourselves."""


def screen(
    path: PathId, data: bytes, name: str, own: Incarnation, read: Callable[[bytes], Heartbeat] = decode
) -> Heartbeat:
    """The message in ``data``, which came on ``path``. ``name``, ``own``: this node and its present incarnation.

    ``read`` is the decoder, or one that remembers what it decoded. Raises RefusedError.
    """
    try:
        message = read(data)
    except CodecError as error:
        raise RefusedError(str(error)) from None
    if message.node == node_id(path.node):
        return message
    if message.node != node_id(name):
        raise RefusedError("message of a node that does not own the path")
    if message.incarnation == own:
        raise RefusedError("our own message", expected=True)
    raise RefusedError(f"message of another node that calls itself {name}")
