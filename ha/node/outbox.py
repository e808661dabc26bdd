"""What is told after a decision, in idle moments: history, log, notify command, and the ``STATE`` files of OpenHA.

None of it may delay a decision or a heartbeat, so it waits in queues, and is done one small piece at a time. The one
promise that does not wait: the own ``STATE`` of a service is written before a script of that service runs.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from ha.fsm.engine import Engine
from ha.fsm.events import Note, NoteKind
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import State
from ha.node.history import History
from ha.node.log import Level, Log
from ha.node.notify import Notifier
from ha.node.store import Store

REMOTE_EVERY_S: Final = 1.0
"""What others said is exported at most this often."""
_LEVELS: Final = {
    NoteKind.TRANSITION: Level.NOTICE,
    NoteKind.REFUSED: Level.WARNING,
    NoteKind.PATH: Level.WARNING,
    NoteKind.PEER: Level.WARNING,
    NoteKind.ALERT: Level.ERROR,
}


class Outbox:
    """``told`` and ``persisted`` return at once; ``note``, ``local`` and ``remote`` are idle work of the loop."""

    def __init__(
        self,
        node: str,
        store: Store,
        history: History,
        notifier: Notifier,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self._store = store
        self._history = history
        self._notifier = notifier
        self._log = log
        self._clock = clock
        self._notes: deque[tuple[Note, float, float]] = deque()
        self._known: dict[str, ServiceRecord] = {}
        self._local: dict[str, State] = {}
        self._walk: Iterator[None] | None = None
        self._walked_at = float("-inf")
        self.remote_changed = True
        """Somebody said something new since the last export."""
        self.last: dict[str, tuple[float, str]] = {}
        """By service: when it came to its present state (epoch seconds), and the last decision or refusal."""
        self.lost = 0
        """Lines of history and state files that could not be written."""
        self._trouble = ""

    # ---------------------------------------------------------------------------------------------- notes

    def told(self, note: Note) -> None:
        wall = time.time()
        if note.service:
            moved = note.kind is NoteKind.TRANSITION and note.source is not note.dest
            since = wall if moved or note.service not in self.last else self.last[note.service][0]
            self.last[note.service] = (since, note.text)
        self._notes.append((note, wall, self._clock()))

    def note(self) -> bool:
        """Tell the next note; False when there is none."""
        if not self._notes:
            return False
        note, wall, at = self._notes.popleft()
        self._log.write(_LEVELS[note.kind], sentence(note), at=wall)
        for evidence in note.evidence:
            self._log.write(Level.DEBUG, f"    {evidence}", at=wall)
        try:
            self._history.append((note,), wall, at)
        except OSError as error:
            self._failed("history", error)
        self._notifier.tell(note)
        return True

    @property
    def waiting(self) -> int:
        return len(self._notes) + len(self._local)

    # -------------------------------------------------------------------------------------------- exports

    def persisted(self, record: NodeRecord) -> None:
        """The record is on the disk: whatever changed in it is to be exported."""
        for service in record.services:
            if self._known.get(service.name) is not service:
                self._known[service.name] = service
                self._local[service.name] = service.state

    def before_script(self, service: str) -> None:
        """Export the own state of ``service`` now."""
        state = self._local.pop(service, None)
        if state is not None:
            self._export(service, self._node, state)

    def local(self) -> bool:
        """Export the own state of the next service; False when all are."""
        if not self._local:
            return False
        self.before_script(next(iter(self._local)))
        return True

    def remote(self, engine: Engine) -> bool:
        """Export what other nodes said of the next service; False when there is nothing new, or it is too early."""
        if self._walk is None:
            now = self._clock()
            if not self.remote_changed or now - self._walked_at < REMOTE_EVERY_S:
                return False
            self.remote_changed = False
            self._walked_at = now
            self._walk = self._exports(engine)
        if next(self._walk, False) is False:
            self._walk = None
        return self._walk is not None

    def _exports(self, engine: Engine) -> Iterator[None]:
        for name in list(engine.services):
            service = engine.services.get(name)
            if service is None:
                continue
            for node in service.config.nodes:
                if node != self._node and node in engine.peers:
                    self._export(name, node, engine.peer_state(node, name))
            yield

    def _export(self, service: str, node: str, state: State) -> None:
        try:
            self._store.export_remote(service, node, state)
        except (OSError, ValueError) as error:
            self._failed(f"STATE.{node} of {service}", error)

    def _failed(self, what: str, error: Exception) -> None:
        self.lost += 1
        text = f"{what} cannot be written: {error}"
        if text != self._trouble:
            self._log.error(text)
        self._trouble = text

    def forget(self, service: str, nodes: tuple[str, ...]) -> None:
        """A service was taken out of the configuration."""
        for kept in (self._known, self._local, self.last):
            kept.pop(service, None)
        try:
            self._store.forget(service, nodes)
        except (OSError, ValueError) as error:
            self._failed(f"the removal of the state files of {service}", error)


def sentence(note: Note) -> str:
    """A note as one line of the log."""
    head = f"{note.service}: " if note.service else ""
    tail = "" if note.by == "ezha" else f" (asked by {note.by})"
    if note.kind is NoteKind.TRANSITION and note.source is not None and note.dest is not None:
        return f"{head}{note.source.name} → {note.dest.name}: {note.text}{tail}"
    if note.kind is NoteKind.REFUSED:
        return f"{head}refused: {note.text}{tail}"
    return f"{head}{note.text}{tail}"
