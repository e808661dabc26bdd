"""Drives the engine: events in, effects done in the order that ``ha.fsm.events.Effects`` states.

This is all that lies between the engine and the world, and it decides nothing: it keeps the order, takes a step back
that could not be persisted, and comes back to it. The world is whatever implements ``World``.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from ha.fsm.config import PathId
from ha.fsm.engine import Engine
from ha.fsm.events import (
    Command,
    Effects,
    Event,
    KillScript,
    MessageReceived,
    Note,
    Reply,
    RunScript,
    Tick,
)
from ha.fsm.message import Heartbeat
from ha.fsm.record import NodeRecord

RETRY_S: Final = 1.0
"""An event whose consequences could not be persisted is tried again after this."""
SLICE_S: Final = 0.01
"""Events are handled for so long before input is looked at again."""


class World(Protocol):
    """What effects are done to. Every method returns at once."""

    def kill(self, order: KillScript) -> None: ...

    def persist(self, record: NodeRecord) -> None:
        """On the disk when it returns. Raises OSError."""

    def send(self, message: Heartbeat) -> None: ...

    def run(self, script: RunScript) -> None: ...

    def tell(self, note: Note) -> None: ...

    def answer(self, reply: Reply) -> None: ...

    def left(self) -> None: ...


class Driver:
    """``post`` events at any time; ``tick`` and ``work`` handle them: messages that wait, a lapse of time, the rest."""

    def __init__(self, engine: Engine, world: World, clock: Callable[[], float]) -> None:
        self.engine = engine
        self._world = world
        self._clock = clock
        self._events: deque[Event | PathId] = deque()
        """A path stands for the message in ``_heard``."""
        self._heard: dict[PathId, MessageReceived] = {}
        self.skipped = 0
        """Messages that were outrun by a newer one on the same path before they could be looked at."""
        self._again: deque[Event] = deque()
        self._again_at = float("inf")
        self._left = False
        self.deadline = engine.next_deadline()
        self.trouble = ""
        """Why the state of record cannot be written at present; empty: it can."""
        self.persist_failures = 0
        self.handled = 0
        self.late_max = 0.0
        """The most that a deadline of the engine was looked at too late, in seconds, since the last ``take_late``."""
        self.late_ever = 0.0

    def start(self) -> None:
        """The first effects. Raises OSError where they cannot be persisted: nothing has begun then."""
        self._do(self.engine.start(self._clock()), None)

    def post(self, event: Event) -> None:
        """To be handled soon, in order; of the messages of a path that wait, only the newest (as a disk tells it)."""
        if not isinstance(event, MessageReceived):
            self._events.append(event)
            return
        waiting = self._heard.get(event.path)
        if waiting is None:
            # Before whatever else waits: a peer must not look silent because we are busy.
            self._heard[event.path] = event
            self._events.appendleft(event.path)
        elif waiting.message.incarnation != event.message.incarnation:
            # Which of the two counts is for the engine to say.
            self._events.append(event)
        else:
            self.skipped += 1
            if event.message.seq > waiting.message.seq:
                self._heard[event.path] = event

    @property
    def busy(self) -> bool:
        return bool(self._events)

    def due(self) -> float:
        """When ``tick`` or ``work`` has something to do."""
        return 0.0 if self._events else min(self.deadline, self._again_at)

    def tick(self) -> None:
        """First after every wake-up, and between two pieces of work: time that has passed, unless a message waits,
        whose step looks at the time itself."""
        now = self._clock()
        if now >= self.deadline:
            self.late_max = max(self.late_max, now - self.deadline)
            self.late_ever = max(self.late_ever, now - self.deadline)
            if not self._heard:
                # Else the message goes first: its step looks at the time, too, and it came before now. By the time
                # alone a claim would be settled with a message unread that forbids it.
                self._step(Tick(), now)
        if now >= self._again_at:
            self._again_at = float("inf")
            again, self._again = self._again, deque()
            for event in again:
                self._step(event, self._clock())

    def work(self, slice_s: float = SLICE_S) -> None:
        """Handle what was posted, for about so long: messages that come meanwhile must not wait for long."""
        end = self._clock() + slice_s
        while self._events and self._clock() <= end:
            self.tick()
            if self._events:
                event = self._events.popleft()
                self._step(self._heard.pop(event) if isinstance(event, PathId) else event, self._clock())

    def take_late(self) -> float:
        """The greatest lateness since the last call, in seconds."""
        late, self.late_max = self.late_max, 0.0
        return late

    # ---------------------------------------------------------------------------------------------- a step

    def _step(self, event: Event, now: float) -> None:
        self.handled += 1
        self._do(self.engine.handle(event, now), event)

    def _do(self, effects: Effects, event: Event | None) -> None:
        world = self._world
        for order in effects.kill:
            world.kill(order)
        if (effects.persist or effects.incarnation) and not self._persisted(event):
            self.deadline = self.engine.next_deadline()
            return
        if effects.send is not None:
            world.send(effects.send)
        for script in effects.run:
            world.run(script)
        for note in effects.notes:
            world.tell(note)
        for reply in effects.replies:
            world.answer(reply)
        self.deadline = self.engine.next_deadline()
        if effects.left and not self._left:
            self._left = True
            world.left()

    def _persisted(self, event: Event | None) -> bool:
        try:
            self._world.persist(self.engine.record())
        except OSError as error:
            if event is None:
                raise
            self.persist_failures += 1
            self.trouble = error.strerror or str(error)
            now = self._clock()
            self.engine.rollback(now)
            self._later(event, now)
            return False
        self.trouble = ""
        return True

    def _later(self, event: Event, now: float) -> None:
        match event:
            case Command(id=name, service=service):
                text = f"nothing was done: the state of record cannot be written ({self.trouble})"
                self._world.answer(Reply(name, service, False, text))
            case Tick() | MessageReceived():
                # The engine has heard the message, and looks at the services of the step again by itself.
                pass
            case _:
                self._again.append(event)
                self._again_at = now + RETRY_S
