"""The driver of the engine: the order that effects are owed in, and what becomes of a step that cannot be persisted."""

from collections.abc import Callable
from typing import cast

import pytest

from ha.fsm.config import PathId
from ha.fsm.engine import Engine
from ha.fsm.events import (
    Arbitrate,
    Command,
    Effects,
    Ended,
    Event,
    FenceNode,
    KillScript,
    Leave,
    MessageReceived,
    News,
    Note,
    NoteKind,
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
from ha.fsm.message import Heartbeat, Incarnation
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import Action, Promise, ScriptKind
from ha.node.driver import MAX_ENDS, Driver
from tests.unit.node.world import Clock

PATH = PathId("node2", 0)
SCRIPT = RunScript("web", 1, ScriptKind.START, ("/x", "start"))
ENDED = ScriptEnded("web", 1, Ended.EXITED)
PERSIST = (ServiceRecord("web"),)


def heartbeat(seq: int, counter: int = 1) -> Heartbeat:
    return Heartbeat(1, 2, Incarnation(counter, 7), seq, Promise.NONE, True, False, 2000, 0, 3, ())


class FakeEngine:
    """Answers every event with what the test put there."""

    def __init__(self) -> None:
        self.effects: Callable[[Event], Effects] = lambda event: Effects()
        self.events: list[Event] = []
        self.times: list[float] = []
        self.rolled_back = 0
        self.deadline = 2000.0
        self.lapses_at = float("inf")

    def start(self, now: float) -> Effects:
        return self.effects(Tick())

    def handle(self, event: Event, now: float) -> Effects:
        self.events.append(event)
        self.times.append(now)
        if isinstance(event, Tick):
            self.deadline = now + 1.0
        return self.effects(event)

    def next_deadline(self) -> float:
        return self.deadline

    def rollback(self, now: float) -> None:
        self.rolled_back += 1

    def record(self) -> NodeRecord:
        return NodeRecord(1, PERSIST)


class FakeWorld:
    """Notes what is done, in order."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.replies: list[Reply] = []
        self.told: list[Note] = []
        self.full = False

    def self_fence(self, why: str) -> None:
        self.did.append("self_fence")

    def guard(self, until: float) -> None:
        self.did.append("guard")

    def look(self) -> None:
        self.did.append("look")

    def fence(self, order: FenceNode) -> None:
        self.did.append("fence")

    def arbitrate(self, order: Arbitrate) -> None:
        self.did.append("arbitrate")

    def kill(self, order: KillScript) -> None:
        self.did.append("kill")

    def persist(self, record: NodeRecord) -> None:
        self.did.append("persist")
        if self.full:
            raise OSError(28, "No space left on device")

    def send(self, message: Heartbeat) -> None:
        self.did.append("send")

    def run(self, script: RunScript) -> None:
        self.did.append("run")

    def tell(self, note: Note) -> None:
        self.did.append("tell")
        self.told.append(note)

    def answer(self, reply: Reply) -> None:
        self.did.append("answer")
        self.replies.append(reply)

    def left(self) -> None:
        self.did.append("left")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def driver(engine: FakeEngine, world: FakeWorld, clock: Clock) -> Driver:
    return Driver(cast(Engine, engine), world, clock)


def everything(event: Event) -> Effects:
    return Effects(
        self_fence="the lease lapsed",
        guard=5.0,
        look=True,
        fence=(FenceNode("node2", "silent"),),
        arbitrate=(Arbitrate("web", True),),
        kill=(KillScript("web", 1, False),),
        persist=PERSIST,
        send=heartbeat(1),
        run=(SCRIPT,),
        notes=(Note(NoteKind.ALERT, "web", "x"),),
        replies=(Reply("1", "web", True, "ok"),),
        left=True,
    )


def test_effects_are_done_in_their_stated_order(driver: Driver, engine: FakeEngine, world: FakeWorld) -> None:
    engine.effects = everything
    driver.post(ENDED)
    driver.work()
    assert world.did == [
        *("self_fence", "kill", "persist", "guard", "send", "look", "fence", "arbitrate", "run", "tell", "answer"),
        "left",
    ]


def test_what_cannot_be_persisted_is_not_sent_nor_run_nor_told(
    driver: Driver, engine: FakeEngine, world: FakeWorld
) -> None:
    engine.effects, world.full = everything, True
    driver.post(ENDED)
    driver.work()
    assert world.did == ["self_fence", "kill", "persist"]
    assert engine.rolled_back == 1
    assert driver.trouble == "No space left on device"


@pytest.mark.parametrize(("event", "told"), [(Tick(), ["silent"]), (ENDED, [])])
def test_who_fell_silent_is_told_though_the_step_is_taken_back(
    driver: Driver, engine: FakeEngine, world: FakeWorld, event: Event, told: list[str]
) -> None:
    """The engine does not find it again; what it decided it does, and so it does of an event that comes again."""
    notes = (Note(NoteKind.PEER, "", "silent"), Note(NoteKind.TRANSITION, "web", "claimed"))
    engine.effects, world.full = lambda event: Effects(persist=PERSIST, notes=notes), True
    driver._step(event)
    assert [note.text for note in world.told] == told


def test_the_end_of_a_script_that_could_not_be_persisted_is_tried_again_after_a_second(
    driver: Driver, engine: FakeEngine, world: FakeWorld, clock: Clock
) -> None:
    engine.effects, world.full = everything, True
    driver.post(ENDED)
    driver.work()
    assert driver.due() == clock.at + 1.0
    assert driver.waits, "no other nmond could know it"
    driver.tick()
    assert engine.events == [ENDED]
    clock.at += 1.0
    driver.tick()
    assert engine.events == [ENDED, ENDED]
    world.full = False
    clock.at += 1.0
    driver.tick()
    assert engine.events == [ENDED, ENDED, ENDED]
    assert driver.trouble == "" and not driver.waits
    clock.at += 100.0
    engine.deadline = driver.deadline = clock.at + 1
    driver.tick()
    assert engine.events.count(ENDED) == 3


def test_a_command_that_cannot_be_persisted_is_refused_and_not_tried_again(
    driver: Driver, engine: FakeEngine, world: FakeWorld, clock: Clock
) -> None:
    engine.effects, world.full = everything, True
    driver.post(Command("c1", "web", Action.STOP))
    driver.work()
    assert [(reply.id, reply.ok) for reply in world.replies] == [("c1", False)]
    assert "No space left" in world.replies[0].text
    assert driver.due() == 2000.0


def test_a_new_incarnation_alone_is_persisted_before_it_is_sent(
    driver: Driver, engine: FakeEngine, world: FakeWorld
) -> None:
    engine.effects = lambda event: Effects(incarnation=5, send=heartbeat(1))
    driver.post(ENDED)
    driver.work()
    assert world.did == ["persist", "send"]


def test_a_lapse_of_time_comes_before_any_event(driver: Driver, engine: FakeEngine, clock: Clock) -> None:
    driver.post(ENDED)
    clock.at = 2000.0
    driver.work()
    assert engine.events == [Tick(), ENDED]


def test_messages_that_wait_are_looked_at_together_and_before_time_alone_settles_anything(
    driver: Driver, engine: FakeEngine, clock: Clock
) -> None:
    """By the time alone, or by one message, a claim would be settled with one unread that forbids it."""
    messages = [MessageReceived(heartbeat(5), PathId("node2", index), 1000.0) for index in range(2)]
    for message in messages:
        driver.post(message)
    clock.at = engine.deadline
    driver.tick()
    assert engine.events == [News(tuple(messages))]
    driver.tick()
    assert engine.events[1:] == [Tick()], "what the step of the messages did not do is still due"


def test_looks_and_confirmed_writes_come_with_the_messages_in_one_event(
    driver: Driver, engine: FakeEngine, clock: Clock
) -> None:
    message = MessageReceived(heartbeat(5), PATH, 1000.0)
    read, written = SlotRead(PATH, 999.0, SlotView.NEW), Written(1, 7, 999.5)
    driver.post(read)
    assert driver.busy
    driver.post(Written(1, 6, 999.0))
    driver.post(message)
    driver.post(written)
    driver.post(Written(0, 7, 999.9))
    driver.tick()
    assert engine.events == [News((message,), (read,), (written, Written(0, 7, 999.9)))]
    assert not driver.busy


def test_what_a_disk_confirms_counts_after_the_engine_knows_that_it_was_opened(
    driver: Driver, engine: FakeEngine
) -> None:
    """It may be another disk than the one that was proven to be shared."""
    opened, written, other = OwnSlot(1, None), Written(1, 8, 999.6), Written(0, 8, 999.7)
    driver.post(Written(1, 7, 999.5))  # what was open before confirmed that
    driver.post(opened)
    driver.post(written)
    driver.post(other)
    driver.tick()
    assert engine.events == [News((), (), (other,))]
    driver.work()
    driver.work()
    assert engine.events[1:] == [opened, News((), (), (written,))]
    assert not driver.busy


def test_a_later_look_takes_back_neither_a_failed_one_nor_one_that_showed_something_foreign(
    driver: Driver, engine: FakeEngine
) -> None:
    """SAME means the same as the look before: behind a FOREIGN it says that the foreign bytes still stand there."""
    good = [SlotRead(PATH, 1000.0 + number, SlotView.SAME) for number in range(4)]
    failed = [SlotRead(PATH, 1010.0 + number, SlotView.FAILED) for number in range(2)]
    foreign = [SlotRead(PATH, 1020.0 + number, SlotView.FOREIGN) for number in range(2)]
    for read in (good[0], foreign[0], failed[0], good[1], good[2], failed[1], foreign[1], good[3]):
        driver.post(read)
    driver.tick()
    assert engine.events == [News((), (failed[1], foreign[1], good[3]), ())]


def lapse(engine: FakeEngine, at: float, after: Effects) -> None:
    """The lease ends at ``at``; the engine sees it in the first event that comes with that time or a later one."""
    engine.lapses_at = at

    def effects(event: Event) -> Effects:
        if engine.times[-1] >= engine.lapses_at:
            engine.lapses_at = float("inf")
            return after
        return Effects(send=heartbeat(1), run=(SCRIPT,), replies=(Reply("1", "web", True, "started"),))

    engine.effects = effects


KILL = Effects(kill=(KillScript("web", 1, True),))


def test_an_event_that_waited_through_a_pause_is_looked_at_after_the_lapse(
    driver: Driver, engine: FakeEngine, world: FakeWorld, clock: Clock
) -> None:
    lapse(engine, 1010.0, KILL)
    driver.post(ENDED)
    clock.at = 1500.0
    driver.work()
    assert engine.events == [Tick(), ENDED]
    assert world.did[0] == "kill"


def test_a_pause_between_two_events_lets_the_second_wait_for_the_lapse(
    driver: Driver, engine: FakeEngine, world: FakeWorld, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP in the middle of a slice: within it no time passes for the engine, but the lease has ended."""
    lapse(engine, 1010.0, KILL)
    send = world.send

    def paused(message: Heartbeat) -> None:
        send(message)
        clock.at = 1010.0

    monkeypatch.setattr(world, "send", paused)
    driver.post(ENDED)
    driver.post(Command("c", "web", Action.START))
    driver.work()
    assert engine.events == [ENDED], "the paths are read first"
    assert driver.lapsed
    driver.work()
    assert engine.events[1] == Tick()
    assert not driver.lapsed


def test_no_answer_goes_out_between_a_pause_and_the_lapse(
    driver: Driver, engine: FakeEngine, world: FakeWorld, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lapse(engine, 1010.0, KILL)
    monkeypatch.setattr(world, "run", lambda script: setattr(clock, "at", 1020.0))
    driver.post(ENDED)
    driver.work()
    assert world.replies == []
    driver.tick()
    assert world.did[-2:] == ["kill", "answer"], "it is given once the lapse was acted on"
    assert [reply.text for reply in world.replies] == ["started"]


def test_the_twins_without_the_look_at_the_time_let_both_out(
    driver: Driver, engine: FakeEngine, world: FakeWorld, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Driver, "lapsed", property(lambda driver: False))
    lapse(engine, 1010.0, KILL)
    monkeypatch.setattr(world, "send", lambda message: setattr(clock, "at", 1010.0))
    driver.post(ENDED)
    driver.post(Command("c", "web", Action.START))
    driver.work(slice_s=100.0)
    assert [type(event) for event in engine.events] == [ScriptEnded, Command]
    assert [reply.text for reply in world.replies] == ["started", "started"]


def test_a_lapse_that_the_engine_has_seen_holds_nothing_up(
    driver: Driver, engine: FakeEngine, world: FakeWorld, clock: Clock
) -> None:
    engine.lapses_at = 1010.0
    clock.at = 1011.0
    driver.tick()
    assert (engine.events, driver.lapsed) == ([Tick()], False)
    driver.post(ENDED)
    driver.work()
    assert engine.events == [Tick(), ENDED]


def test_no_time_passes_for_the_engine_between_two_reads_of_the_paths(
    driver: Driver, engine: FakeEngine, clock: Clock
) -> None:
    def slow(event: Event) -> Effects:
        clock.at += 0.004
        return Effects()

    engine.effects = slow
    driver.post(Leave())
    driver.post(Leave())
    driver.work()
    assert engine.times == [1000.0, 1000.0]
    driver.post(ENDED)
    driver.work()
    assert engine.times[2] == 1000.008


def ended(number: int) -> ScriptEnded:
    return ScriptEnded(f"web{number}", number, Ended.EXITED)


def test_scripts_that_end_together_are_one_step_and_one_write(
    driver: Driver, engine: FakeEngine, world: FakeWorld
) -> None:
    engine.effects = lambda event: Effects(persist=PERSIST)
    for event in (ended(1), ended(2), Leave(), ended(3)):
        driver.post(event)
    driver.work()
    assert engine.events == [ScriptsEnded((ended(1), ended(2))), Leave(), ended(3)], "in their order"
    assert world.did == ["persist"] * 3


def test_no_step_takes_more_than_so_many_ends(driver: Driver, engine: FakeEngine) -> None:
    ends = [ended(number) for number in range(MAX_ENDS + 2)]
    for each in ends:
        driver.post(each)
    driver.work()
    assert engine.events == [ScriptsEnded(tuple(ends[:MAX_ENDS])), ScriptsEnded(tuple(ends[MAX_ENDS:]))]


def test_ends_that_cannot_be_persisted_are_told_again(
    driver: Driver, engine: FakeEngine, world: FakeWorld, clock: Clock
) -> None:
    engine.effects = lambda event: Effects(persist=PERSIST)
    world.full = True
    driver.post(ended(1))
    driver.post(ended(2))
    driver.work()
    assert engine.rolled_back == 1
    world.full = False
    clock.at += 1.0
    driver.tick()
    assert engine.events == [ScriptsEnded((ended(1), ended(2)))] * 2


def heard(engine: FakeEngine) -> list[MessageReceived]:
    return [message for event in engine.events if isinstance(event, News) for message in event.messages]


def test_of_the_messages_of_a_path_that_wait_only_the_newest_is_looked_at(driver: Driver, engine: FakeEngine) -> None:
    for seq in (5, 7, 6):
        driver.post(MessageReceived(heartbeat(seq), PATH, 1000.0 + seq))
    driver.work()
    assert [(e.message.seq, e.arrival) for e in heard(engine)] == [(7, 1007.0)]
    assert driver.skipped == 2


def test_a_repeated_message_does_not_renew_the_arrival_of_the_first(driver: Driver, engine: FakeEngine) -> None:
    driver.post(MessageReceived(heartbeat(5), PATH, 1000.0))
    driver.post(MessageReceived(heartbeat(5), PATH, 1001.0))
    driver.work()
    assert [e.arrival for e in heard(engine)] == [1000.0]


def test_messages_of_two_incarnations_both_reach_the_engine(driver: Driver, engine: FakeEngine) -> None:
    driver.post(MessageReceived(heartbeat(5, counter=1), PATH, 1000.0))
    driver.post(MessageReceived(heartbeat(1, counter=2), PATH, 1001.0))
    driver.work()
    assert len(heard(engine)) == 2


def test_messages_come_before_commands_that_wait(driver: Driver, engine: FakeEngine) -> None:
    for number in range(3):
        driver.post(Command(str(number), "web", Action.STOP))
    message = MessageReceived(heartbeat(5), PATH, 1000.0)
    driver.post(message)
    driver.work()
    assert engine.events[0] == News((message,))


def test_a_long_queue_is_worked_off_in_slices(driver: Driver, engine: FakeEngine, clock: Clock) -> None:
    def slow(event: Event) -> Effects:
        clock.at += 0.004
        return Effects()

    engine.effects = slow
    for number in range(100):
        driver.post(Command(str(number), "web", Action.STOP))
    driver.work()
    assert 1 <= len(engine.events) < 10
    assert driver.due() == 0.0


def test_a_start_that_cannot_be_persisted_has_not_begun(driver: Driver, engine: FakeEngine, world: FakeWorld) -> None:
    """What the boot made of the states must not be lost: nmond ends, and is started again."""
    engine.effects = everything
    world.full = True
    with pytest.raises(OSError):
        driver.start()
    assert world.did == ["self_fence", "kill", "persist"]


def test_lateness_is_measured(driver: Driver, engine: FakeEngine, clock: Clock) -> None:
    clock.at = 2000.0 + 0.1
    driver.tick()
    assert driver.take_late() == pytest.approx(0.1)
    assert driver.take_late() == 0.0


def test_having_left_is_told_once(driver: Driver, engine: FakeEngine, world: FakeWorld) -> None:
    engine.effects = lambda event: Effects(left=True)
    driver.post(ENDED)
    driver.post(ENDED)
    driver.work()
    assert world.did == ["left"]
