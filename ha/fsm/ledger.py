"""The books of a step: the services as they stand, what changed, and what the driver will owe.

Base of the engine. It decides nothing: it only remembers, so that a step can be told as ``Effects`` or taken back.
"""

from collections.abc import Iterable
from heapq import heappop, heappush

from ha.fsm.config import ClusterConfig
from ha.fsm.events import KillScript, Note, NoteKind, Reply, RunScript
from ha.fsm.identity import node_id
from ha.fsm.message import Incarnation, ServiceEntry
from ha.fsm.peers import Peer
from ha.fsm.service import Job, Service
from ha.fsm.states import Action, State

ALERT_AGAIN_S = 60.0
"""The same alert is told once a minute; every one is counted."""


class Ledger:
    """What the engine holds."""

    def __init__(self, config: ClusterConfig, node: str, incarnation: Incarnation, now: float) -> None:
        self.node = node
        self.id = node_id(node)
        self.config = config
        self.incarnation = incarnation
        self.seq = 0
        self.period = config.period_of(node)
        self.leaving = False
        self.left = False
        self.started_at = now
        self.counters: dict[str, int] = {}
        self.peers: dict[str, Peer] = {}
        self.services: dict[str, Service] = {}
        self._ids: dict[int, str] = {}
        self._neighbours: dict[str, list[str]] = {}
        """The services that each peer has in common with this node."""
        # Services that time or messages can move without being told of by name, in a fixed order.
        self._busy: dict[str, Job] = {}
        self._pressing: list[tuple[float, str]] = []
        """A heap of the deadlines of their scripts; those that no longer hold are dropped when they come up."""
        self._claims: dict[str, None] = {}
        self._switching: dict[str, None] = {}
        self._job = 0
        self._next_send = now
        self._send_now = True
        self._last_step = now
        self._wakes: dict[str, float] = {}
        self._alerted: dict[str, float] = {}
        self._entries: tuple[ServiceEntry, ...] | None = None
        self._dirty: dict[str, None] = {}
        self._persist_all = False
        self._unsaved_until: float | None = None
        """Records could not be written: tried again then, and before any script is run. None: all are on the disk."""
        self._returned: tuple[str, ...] = ()
        """Services that the configuration names again, and that are still to be adopted: a step that did it could not
        be persisted."""
        self._uncompared: set[str] = set()
        """Peers whose word led to a step that was taken back: compared anew, all of it, at their next message."""
        self._begin()

    def _begin(self) -> None:
        self._undo: dict[str, Service] = {}
        self._undo_node = (self.incarnation, self.left)
        self._undo_returned = self._returned
        self._persist: dict[str, None] = {}
        self._kills: list[KillScript] = []
        self._runs: list[RunScript] = []
        self._notes: list[Note] = []
        self._replies: list[Reply] = []
        self._bumped = False

    def _put(self, name: str, service: Service) -> None:
        """Replace a service; the old one is kept for a rollback."""
        old = self.services[name]
        self._undo.setdefault(name, old)
        self.services[name] = service
        if service.record is not old.record:
            if service.record != old.record:
                self._persist[name] = None
            self._entries = None
        self._track(name)

    def _put_quietly(self, name: str, service: Service) -> None:
        """As ``_put``, for what no record holds."""
        self._undo.setdefault(name, self.services[name])
        self.services[name] = service

    def _track(self, name: str) -> None:
        """Keep the sets of services that time or messages can move without being told of by name."""
        service = self.services[name]
        job = service.job
        if job is None:
            self._busy.pop(name, None)
        elif self._busy.get(name) is not job:
            self._busy[name] = job
            if job.killed < 3:
                heappush(self._pressing, (job.deadline, name))
        for chosen, member in (
            (self._claims, service.state is State.START_READY),
            (self._switching, service.waiting is not None and service.waiting.action is Action.SWITCH),
        ):
            if member:
                chosen[name] = None
            else:
                chosen.pop(name, None)

    def _presses_at(self) -> float:
        """When the next script is past its time."""
        while self._pressing:
            when, name = self._pressing[0]
            job = self._busy.get(name)
            if job is not None and job.killed < 3 and job.deadline == when:
                return when
            heappop(self._pressing)
        return float("inf")

    def _mark(self, names: Iterable[str]) -> None:
        for name in names:
            self._dirty[name] = None

    def _reply(self, command: str, service: str, ok: bool, text: str, *, final: bool = True) -> None:
        """An answer; to a command that has lost its client, which a hand-over leaves without an id, to nobody."""
        if command:
            self._replies.append(Reply(command, service, ok, text, final))

    def _note(
        self,
        kind: NoteKind,
        service: str,
        text: str,
        *,
        source: State | None = None,
        dest: State | None = None,
        by: str = "ezha",
        evidence: tuple[str, ...] = (),
        generation: int = 0,
    ) -> None:
        self._notes.append(Note(kind, service, text, source, dest, by, evidence, generation))

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    def _alert(self, key: str, now: float, text: str, service: str = "") -> None:
        """Something unexpected: counted always, told once a minute for each kind."""
        self._count(key.split(" ")[0] if key.startswith("both_hold") else key.replace(" ", "_"))
        if now - self._alerted.get(key, float("-inf")) >= ALERT_AGAIN_S:
            self._alerted[key] = now
            self._note(NoteKind.ALERT, service, text)
