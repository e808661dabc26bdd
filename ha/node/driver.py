"""Drives the engine: events in, effects done in the order that ``ha.fsm.events.Effects`` states.

This is all that lies between the engine and the world, and it decides nothing: it keeps the order, takes a step back
that could not be persisted, and comes back to it. The world is whatever implements ``World``.

A pause may come between any two lines (SIGSTOP, a virtual machine that is moved). So whatever leaves this node, a
message, a script, an answer, asks first whether a lease has ended since the engine was last told the time (``lapsed``);
then it waits until the engine has been told.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final, Protocol

from ha.fsm.config import PathId
from ha.fsm.engine import Engine
from ha.fsm.events import (
    NOTHING,
    Arbitrate,
    Command,
    ConfigChanged,
    Effects,
    Event,
    FenceNode,
    KillScript,
    MessageReceived,
    News,
    Note,
    OwnSlot,
    Reply,
    RunScript,
    ScriptEnded,
    ScriptsEnded,
    SlotRead,
    SlotView,
    Tick,
    Written,
)
from ha.fsm.message import Heartbeat
from ha.fsm.record import NodeRecord

RETRY_S: Final = 1.0
"""An event whose consequences could not be persisted is tried again after this."""
FAREWELLS: Final = 3
"""The last message is sent so many times: a datagram may be lost, and a peer that hears it need not wait for T."""
FAREWELL_GAP_S: Final = 0.02
SLICE_S: Final = 0.01
"""Events are handled for so long before input is looked at again."""


MAX_ENDS: Final = 64
"""So many ends of scripts are one step at most: it takes a few milliseconds."""


class World(Protocol):
    """What effects are done to. Every method returns at once."""

    def self_fence(self, why: str) -> None:
        """End this machine, as its configuration says. Returns where nothing is to be ended, or it takes a moment."""

    def kill(self, order: KillScript) -> None: ...

    def persist(self, record: NodeRecord) -> None:
        """On the disk when it returns. Raises OSError."""

    def guard(self, until: float) -> None:
        """Unless told anew before ``until`` (monotonic seconds; ``inf``: never), whatever still runs here is ended."""

    def send(self, message: Heartbeat) -> None: ...

    def look(self) -> None:
        """Begin to read every slot of another node."""

    def fence(self, order: FenceNode) -> None: ...

    def arbitrate(self, order: Arbitrate) -> None: ...

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
        self._events: deque[Event] = deque()
        self._heard: dict[PathId, MessageReceived] = {}
        self._odd: list[MessageReceived] = []
        """Of another incarnation than the message that waits on its path."""
        self._reads: dict[tuple[PathId, SlotView | None], SlotRead] = {}
        """The newest look at each slot; and beside it, the newest that failed and the newest that showed something
        foreign: a later look takes back neither."""
        self._written: dict[int, Written] = {}
        """The newest confirmed message of each of our lines."""
        self._opened: set[int] = set()
        """Of our disk lines those that were opened anew, which the engine does not know yet: what they confirm since
        then is on another disk, perhaps, and waits."""
        self.now = clock()
        """The engine's time: it goes on only in ``tick``, when what the paths brought until then has been read."""
        self.skipped = 0
        """Messages that were outrun by a newer one on the same path before they could be looked at."""
        self._again: deque[Event] = deque()
        self._again_at = float("inf")
        self._left = False
        self._replies: deque[Reply] = deque()
        """Not given yet."""
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
        self.now = self._clock()
        self._do(self.engine.start(self.now), None)

    def post(self, event: Event) -> None:
        """To be handled soon, in order; of the messages of a path that wait, only the newest (as a disk tells it)."""
        match event:
            case MessageReceived():
                self._hear(event)
            case SlotRead(path=path, view=view):
                apart = view if view in (SlotView.FOREIGN, SlotView.FAILED) else None
                self._reads.pop((path, apart), None)  # they stay in the order in which they ended
                self._reads[path, apart] = event
            case Written(index=index):
                self._written[index] = event
            case OwnSlot(index=index):
                self._written.pop(index, None)  # it was written to what was open before
                self._opened.add(index)
                self._events.append(event)
            case _:
                self._events.append(event)

    def _hear(self, event: MessageReceived) -> None:
        waiting = self._heard.get(event.path)
        if waiting is None:
            self._heard[event.path] = event
        elif waiting.message.incarnation != event.message.incarnation:
            self._odd.append(event)  # Which of the two counts is for the engine to say.
        else:
            self.skipped += 1
            if event.message.seq > waiting.message.seq:
                self._heard[event.path] = event

    @property
    def busy(self) -> bool:
        return bool(self._events or self._heard or self._reads or self._written)

    @property
    def waits(self) -> bool:
        """Something that happened is not on record yet, and is told to the engine again soon. Nobody else knows it."""
        return bool(self._again)

    @property
    def lapsed(self) -> bool:
        """A lease may have ended, and the engine does not know yet how late it is: nothing may leave this node."""
        return self.now < self.engine.lapses_at <= self._clock()

    def due(self) -> float:
        """When ``work`` has something to do."""
        return 0.0 if self.busy else min(self.deadline, self._again_at)

    def tick(self) -> None:
        """Right after the paths were read: time that has passed, and first what they brought meanwhile."""
        before, self.now = self.now, self._clock()
        now = self.now
        if now >= self.deadline:
            self.late_max = max(self.late_max, now - self.deadline)
            self.late_ever = max(self.late_ever, now - self.deadline)
        written: Collection[Written] = self._written.values()
        if self._opened:
            written = [event for index, event in self._written.items() if index not in self._opened]
        if self._heard or self._reads or written:
            news = News((*self._heard.values(), *self._odd), tuple(self._reads.values()), tuple(written))
            self._heard.clear()
            self._odd.clear()
            self._reads.clear()
            if self._opened:
                self._written = {index: event for index, event in self._written.items() if index in self._opened}
            else:
                self._written.clear()
            self._step(news)
        elif now >= self.deadline or before < self.engine.lapses_at <= now:
            self._step(Tick())
        if now >= self._again_at:
            self._again_at = float("inf")
            again, self._again = self._again, deque()
            for event in again:
                self._step(event)

    def work(self, slice_s: float = SLICE_S) -> None:
        """``tick``, then handle what else was posted, for about so long: then the paths are to be read again.

        Within a slice no time passes for the engine: it must not conclude from a silence that nobody listened to.
        """
        self.tick()
        if not self._events:
            return
        end = self._clock() + slice_s
        while self._events and self._clock() <= end and not self.lapsed:
            self._step(self._next())

    def _next(self) -> Event:
        """Scripts that end together are one step: one write of the record, not one each."""
        event = self._events.popleft()
        if isinstance(event, OwnSlot):
            self._opened.discard(event.index)
        if not isinstance(event, ScriptEnded):
            return event
        ends = [event]
        while len(ends) < MAX_ENDS and self._events and isinstance(following := self._events[0], ScriptEnded):
            self._events.popleft()
            ends.append(following)
        return ScriptsEnded(tuple(ends)) if len(ends) > 1 else event

    def take_late(self) -> float:
        """The greatest lateness since the last call, in seconds."""
        late, self.late_max = self.late_max, 0.0
        return late

    # ---------------------------------------------------------------------------------------------- a step

    def _step(self, event: Event) -> None:
        self.handled += 1
        self._do(self.engine.handle(event, self.now), event)

    def _do(self, effects: Effects, event: Event | None) -> None:
        if effects is NOTHING and not self._replies:
            self.deadline = self.engine.next_deadline()
            return
        world = self._world
        if effects.self_fence:
            world.self_fence(effects.self_fence)
        for order in effects.kill:
            world.kill(order)
        if (effects.persist or effects.incarnation) and not self._persisted(event, effects):
            self.deadline = self.engine.next_deadline()
            return
        if effects.guard is not None:
            world.guard(effects.guard)
        if effects.send is not None:
            world.send(effects.send)
        if effects.look:
            world.look()
        for fencing in effects.fence:
            world.fence(fencing)
        for wish in effects.arbitrate:
            world.arbitrate(wish)
        for script in effects.run:
            world.run(script)
        for note in effects.notes:
            world.tell(note)
        self._replies.extend(effects.replies)
        while self._replies and not self.lapsed:
            world.answer(self._replies.popleft())
        self.deadline = self.engine.next_deadline()
        if effects.left and not self._left:
            self._left = True
            world.left()

    def _persisted(self, event: Event | None, effects: Effects) -> bool:
        """Whether the step goes on."""
        try:
            self._world.persist(self.engine.record())
        except OSError as error:
            if event is None:
                raise
            self.persist_failures += 1
            self.trouble = error.strerror or str(error)
            now = self._clock()
            if effects.urgent:
                self.engine.unsaved(now)
                return True
            self.engine.rollback(now)
            self._later(event, effects.notes, now)
            return False
        self.trouble = ""
        return True

    def _later(self, event: Event, notes: Iterable[Note], now: float) -> None:
        match event:
            case Command(id=name, service=service):
                text = f"nothing was done: the state of record cannot be written ({self.trouble})"
                self._world.answer(Reply(name, service, False, text))
            case Tick() | MessageReceived() | News() | ConfigChanged():
                # The engine has heard the message, or has another configuration, and looks at the services of the step
                # again by itself. Who was heard or fell silent is not taken back, nor found again.
                for note in notes:
                    if not note.service:
                        self._world.tell(note)
            case _:
                self._again.append(event)
                self._again_at = now + RETRY_S
