"""What this node and an original OpenHA node tell each other: the engine's messages, and the bytes of the struct.

nmond and the simulator share this. What the messages mean is ``ha.fsm.original``'s matter.
"""

from ha.fsm import original
from ha.fsm.config import ClusterConfig, PathId
from ha.fsm.message import Heartbeat
from ha.heartbeats import openha
from ha.heartbeats.envelope import CodecError
from ha.node.screening import RefusedError


def compose(message: Heartbeat, config: ClusterConfig, node: str, seconds: float) -> bytes:
    """``message`` of this node as OpenHA's struct. ``seconds``: since 1970. Raises CodecError where it does not fit.

    Port, address and pid are left to the process that sends it (``ha.heartbeats.media.original``)."""
    services = original.told(message, config, node)
    beat = openha.Beat(node, int(seconds) % 2**32, services, up=bool(services), hostid=openha.EZHA_HOSTID)
    return openha.encode(beat)


def read(path: PathId, data: bytes, config: ClusterConfig, listener: str) -> Heartbeat:
    """The message in ``data``, which came on ``path``, as ``listener`` hears it. Raises RefusedError."""
    try:
        beat = openha.decode(data)
    except CodecError as error:
        raise RefusedError(str(error)) from None
    if beat.node != path.node:
        raise RefusedError("message of a node that does not own the path", expected=beat.node == listener)
    by_ezha = beat.hostid == openha.EZHA_HOSTID
    return original.heard(config, beat.node, listener, beat.seconds, beat.services, by_ezha)
