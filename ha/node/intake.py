"""What the path workers report, turned into events of the engine.

Here bytes become messages and confirmations become facts; what they mean for a service is the engine's matter. It knows
nothing of processes and channels (``ha.node.workers``).
"""

from collections.abc import Callable

from ha.fsm.config import PathId
from ha.fsm.engine import Engine
from ha.fsm.events import Event, MessageReceived, OwnSlot, SlotRead, SlotView, Written
from ha.fsm.identity import node_id
from ha.fsm.message import Heartbeat
from ha.heartbeats.codec import CodecError, decode
from ha.node.screening import RefusedError, screen


class Intake:
    """``ha.node.workers.Ear``."""

    def __init__(
        self,
        name: str,
        engine: Callable[[], Engine],
        post: Callable[[Event], None],
        heard: Callable[[PathId, Heartbeat], None],
        refuse: Callable[[PathId, str, bool], None],
    ) -> None:
        """``name``: this node; ``heard`` is called with every message that was taken in; ``refuse`` with what was not,
        why, and whether that was to be expected."""
        self._name = name
        self._engine = engine
        self._post = post
        self._heard = heard
        self._refuse = refuse
        self._accepted: dict[PathId, bool] = {}
        """Whether the last message that a path brought could be taken for one of its owner."""

    def received(self, path: PathId, arrival: float, data: bytes) -> None:
        self._accepted[path] = False
        try:
            message = screen(path, data, self._name, self._engine().incarnation)
        except RefusedError as error:
            self._refuse(path, str(error), error.expected)
            return
        self._accepted[path] = True
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
            message = decode(data) if data else None
        except CodecError:
            message = None  # of a version of ezha that this one cannot read: it proves nothing
        engine = self._engine()
        ours = (
            message is not None and message.node == node_id(self._name) and message.cluster == engine.config.cluster_id
        )
        self._post(OwnSlot(index, message.incarnation if ours and message is not None else None))
