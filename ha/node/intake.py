"""What the path workers report, turned into events of the engine.

Here bytes become messages and confirmations become facts; what they mean for a service is the engine's matter. It knows
nothing of processes and channels (``ha.node.workers``).
"""

from collections.abc import Callable
from dataclasses import dataclass

from ha.fsm.config import PathId
from ha.fsm.engine import Engine
from ha.fsm.events import Event, MessageReceived, OwnSlot, SlotRead, SlotView, Written
from ha.fsm.identity import node_id
from ha.fsm.message import Heartbeat
from ha.heartbeats.codec import CodecError, decode
from ha.heartbeats.envelope import origin_of
from ha.heartbeats.keys import NO_KEYS, KeyRing
from ha.node import originals
from ha.node.screening import RefusedError, screen


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """What the last message of another node told of its keys."""

    signs: int
    """The id of the key that it is signed with; 0: none."""
    newest: int
    """The id of the newest key that it accepts; 0: none."""
    at: float
    """When it came."""


class Intake:
    """``ha.node.workers.Ear``."""

    def __init__(
        self,
        name: str,
        engine: Callable[[], Engine],
        post: Callable[[Event], None],
        heard: Callable[[PathId, Heartbeat], None],
        refuse: Callable[[PathId, str, bool], None],
        keys: Callable[[], KeyRing] = lambda: NO_KEYS,
    ) -> None:
        """``name``: this node; ``heard`` is called with every message that was taken in; ``refuse`` with what was not,
        why, and whether that was to be expected; ``keys``: those in force."""
        self._name = name
        self._engine = engine
        self._post = post
        self._heard = heard
        self._refuse = refuse
        self._keys = keys
        self.peer_keys: dict[str, PeerKeys] = {}
        """By node, of those that were heard."""
        self._accepted: dict[PathId, bool] = {}
        """Whether the last message that a path brought could be taken for one of its owner."""

    def received(self, path: PathId, arrival: float, data: bytes) -> None:
        self._accepted[path] = False
        engine = self._engine()
        own_wire = not engine.config.is_original(path.node)
        try:
            if own_wire:
                message = screen(path, data, self._name, engine.incarnation, self._decode)
            else:
                message = originals.read(path, data, engine.config, self._name)
        except RefusedError as error:
            self._refuse(path, str(error), error.expected)
            return
        self._accepted[path] = True
        if own_wire:
            origin = origin_of(data)
            self.peer_keys[path.node] = PeerKeys(origin.key, origin.newest_key, arrival)
        self._heard(path, message)
        self._post(MessageReceived(message, path, arrival))

    def looked(self, path: PathId, begun: float, view: SlotView) -> None:
        if view is SlotView.NEW and not self._accepted.get(path, False):
            view = SlotView.FOREIGN  # whole, as its listener saw, but no message of the node whose slot it is
        self._post(SlotRead(path, begun, view))

    def written(self, index: int, seq: int, at: float) -> None:
        self._post(Written(index, seq, at))

    def found(self, index: int, data: bytes) -> None:
        """``data``: the message in our own slot; no bytes: there is none."""
        try:
            message = self._decode(data) if data else None
        except CodecError:
            message = None  # of a version of ezha that this one cannot read: it proves nothing
        engine = self._engine()
        if message is None or message.node != node_id(self._name) or message.cluster != engine.config.cluster_id:
            self._post(OwnSlot(index, None))
        else:
            self._post(OwnSlot(index, message.incarnation, message.seq))

    def _decode(self, data: bytes) -> Heartbeat:
        """Verified once more: a worker may not know yet which keys are in force. Raises CodecError."""
        return decode(data, self._keys())
