"""An engine beside an original OpenHA node: what it claims, shows, looks at again, and leaves alone."""

from dataclasses import replace

import pytest

from ha.fsm import original
from ha.fsm.config import OPENHA, ClusterConfig
from ha.fsm.engine import Engine
from ha.fsm.events import (
    Command,
    ConfigChanged,
    Effects,
    Ended,
    Event,
    Leave,
    MessageReceived,
    NoteKind,
    RunScript,
    ScriptEnded,
    Tick,
)
from ha.fsm.freshness import LastHeard
from ha.fsm.message import Incarnation
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import Action, ScriptKind, State

from .cluster import config as own_config

T = 2.0
GRACE = original.GRACE_S


def speaking(config: ClusterConfig, wire: str = OPENHA) -> ClusterConfig:
    suffix = f" {wire}" if wire == OPENHA else ""
    return replace(config, paths=tuple(replace(p, wire=wire, text=p.text + suffix) for p in config.paths))


CONFIG = speaking(own_config(timeout=T))


class Beside:
    """``node`` runs ezha, the other one is an original node that says what the test says, once a second."""

    def __init__(
        self,
        node: str = "node1",
        state: State = State.STOPPED,
        config: ClusterConfig = CONFIG,
        record: NodeRecord | None = None,
    ) -> None:
        self.now, self.seconds, self.tick, self.config = 1000.0, 5000, 1, config
        self.other = "node2" if node == "node1" else "node1"
        record = record or NodeRecord(1, (ServiceRecord("web", state),))
        self.engine = Engine(config, node, record, Incarnation(2, 7), self.now, boot=False)
        self.said: State | None = None
        self.by_ezha = False
        self.started: list[ScriptKind] = []
        self.replies: list[tuple[bool, str]] = []
        self.sent: list[State] = []
        self._done(self.engine.start(self.now))

    @property
    def state(self) -> State:
        return self.engine.services["web"].state

    def say(self, state: State | None) -> None:
        """From now on; None: it is dead."""
        self.said = state
        self._beat()

    def run(self, seconds: float) -> None:
        """In steps of a tenth; scripts take no time."""
        for step in range(round(seconds * 10)):
            self.now += 0.1
            if step % 10 == 9:
                self._beat()
            self.feed(Tick())

    def feed(self, event: Event) -> None:
        self._done(self.engine.handle(event, self.now))

    def ask(self, action: Action, override: bool = False) -> None:
        self.feed(Command("c", "web", action, override))

    def _beat(self) -> None:
        self.seconds += self.tick
        if self.said is None:
            return
        said = [("web", self.said)]
        message = original.heard(self.config, self.other, self.engine.node, self.seconds, said, self.by_ezha)
        path = self.config.paths_of(self.other)[0].id
        self.feed(MessageReceived(message, path, self.now))

    def _done(self, effects: Effects) -> None:
        if effects.send is not None:
            self.sent += [state for _, state in original.told(effects.send, self.config, self.engine.node)]
            assert effects.send.acks == () or self.config is not CONFIG
        self.replies += [(reply.ok, reply.text) for reply in effects.replies if reply.final]
        for script in effects.run:
            self._end(script)

    def _end(self, script: RunScript) -> None:
        self.started.append(script.kind)
        code = 3 if script.kind is ScriptKind.STATUS else 0
        self.feed(ScriptEnded("web", script.job, Ended.EXITED, code))


def test_a_claim_is_shown_for_five_seconds_and_then_goes_ahead() -> None:
    beside = Beside()
    beside.say(State.STOPPED)
    assert beside.state is State.START_READY
    beside.run(GRACE - 0.2)
    assert beside.state is State.START_READY
    beside.run(0.4)
    assert (beside.state, beside.sent[-1]) == (State.STARTED, State.STARTED)


@pytest.mark.parametrize("grace", [GRACE, 0.0])
def test_without_the_five_seconds_a_run_of_the_other_that_begins_meanwhile_would_be_joined(
    grace: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(original, "GRACE_S", grace)
    beside = Beside()
    beside.say(State.STOPPED)
    beside.run(0.2)
    beside.say(State.STARTING)  # it had claimed a moment before us, and its message was slow
    beside.run(2 * GRACE)
    assert (ScriptKind.START in beside.started) is (grace == 0.0)


def test_a_primary_goes_ahead_of_a_claim_and_a_secondary_withdraws() -> None:
    for node, starts in (("node1", True), ("node2", False)):
        beside = Beside(node)
        beside.say(State.STOPPED)
        beside.run(original.COURTESY_S + 0.2 if node == "node2" else 0.2)
        assert beside.state is State.START_READY
        beside.run(1)
        beside.say(State.START_READY)
        beside.run(GRACE)
        assert (ScriptKind.START in beside.started) is starts, node


def test_a_secondary_claims_at_once_from_a_node_that_froze_it_and_gives_others_time() -> None:
    frozen, stopped = Beside("node2"), Beside("node2")
    frozen.say(State.FROZEN_STOP)
    stopped.say(State.STOPPED)
    assert (frozen.state, stopped.state) == (State.START_READY, State.STOPPED)
    stopped.run(original.COURTESY_S + 0.3)
    assert stopped.state is State.START_READY


@pytest.mark.parametrize("said", [State.STARTED, State.STARTING, State.STOPPING, State.START_READY, State.STOP_FAILED])
def test_what_the_other_holds_claims_or_failed_to_stop_is_not_claimed(said: State) -> None:
    beside = Beside()
    beside.say(said)
    beside.run(2 * GRACE)
    assert (beside.state, beside.started) == (State.STOPPED, [])
    beside.ask(Action.START)
    assert beside.replies[-1][0] is False


def test_its_failed_start_is_not_taken_over_from() -> None:
    beside = Beside()
    beside.say(State.START_FAILED)
    beside.run(2 * GRACE)
    assert beside.started == []


def test_a_dead_node_is_taken_over_from_after_its_timeout_and_the_grace() -> None:
    beside = Beside()
    beside.say(State.STARTED)
    beside.run(3)
    beside.say(None)
    beside.run(T + GRACE - 1.2)
    assert beside.started == []
    beside.run(1.4)
    assert beside.state is State.STARTED


@pytest.mark.parametrize("before", [State.STARTED, State.STOPPED])
def test_a_seven_is_not_taken_over_from_before_somebody_looked(before: State) -> None:
    beside = Beside(state=State.FROZEN_STOP)
    beside.say(before)
    beside.say(State.START_READY)
    beside.run(0.2)
    beside.say(None)
    beside.ask(Action.UNFREEZE)
    beside.run(4 * GRACE)
    assert (beside.state, beside.started) == (State.STOPPED, [])
    waits = str(beside.engine.status(beside.now)[0]["waits"])
    assert ("FROZEN_START" if before is State.STARTED else "fell silent as it said 7") in waits


def test_a_node_whose_clock_stands_is_dead() -> None:
    beside = Beside()
    beside.say(State.STARTED)
    beside.tick = 0
    beside.run(T + GRACE + 0.5)
    assert beside.state is State.STARTED


def test_a_node_whose_clock_is_set_back_lives() -> None:
    beside = Beside()
    beside.say(State.STARTED)
    beside.seconds -= 3600
    beside.run(T + GRACE + 2)
    assert beside.started == []


def test_a_node_that_was_given_the_service_has_it_and_the_mark_of_the_stop_goes() -> None:
    beside = Beside()
    beside.say(State.STOPPED)
    beside.run(GRACE + 0.2)
    beside.feed(Command("s", "web", Action.SWITCH))
    assert beside.state is State.STOPPED
    beside.run(3)
    assert beside.state is State.STOPPED  # it is given the time that it needs
    for said in (State.START_READY, State.STARTING, State.STARTED):
        beside.say(said)
        beside.run(1)
    assert beside.replies[-1] == (True, "STARTED on node2")
    assert not beside.engine.services["web"].record.demoted
    assert not beside.engine.services["web"].last_ran


def test_a_node_that_leaves_says_that_what_it_leaves_frozen_will_be_taken_over() -> None:
    beside = Beside()
    beside.say(State.STOPPED)
    beside.run(GRACE + 0.2)
    beside.ask(Action.FREEZE_START)
    effects = beside.engine.handle(Leave(), beside.now)
    told = [note.text for note in effects.notes if note.kind is NoteKind.ALERT]
    assert told[0].startswith("it stays up here, frozen, and node2 runs OpenHA")


def test_what_waits_says_for_how_long() -> None:
    beside = Beside()
    beside.say(State.STOPPED)
    beside.run(1)
    assert beside.engine.status(beside.now)[0]["waits"] == "the claim is shown to the OpenHA node for 4.0 s more"


def test_a_claim_goes_on_over_an_exec() -> None:
    beside = Beside()
    beside.say(State.STOPPED)
    beside.run(3)
    beside.engine = Engine.restore(beside.engine.snapshot(), CONFIG, "node1", beside.now)
    beside.run(GRACE - 3.2)
    assert beside.started == []
    beside.run(0.4)
    assert beside.state is State.STARTED


def test_the_language_of_the_paths_stays_while_the_other_node_runs_openha() -> None:
    beside, own = Beside(state=State.FROZEN_STOP), own_config(timeout=T)
    assert beside.engine.deafens(own) == []  # nobody is heard
    beside.say(State.STOPPED)
    assert beside.engine.deafens(own) == [
        'wire = "openha" has to stay: node2 runs OpenHA, which would take this node for dead and start what runs here; '
        "replace it first"
    ]
    assert beside.engine.deafens(CONFIG) == []
    beside.by_ezha = True
    beside.say(State.STOPPED)
    assert beside.engine.deafens(own) == []
    beside.by_ezha = False
    beside.say(State.STOPPED)  # it went back to OpenHA
    assert beside.engine.deafens(own) != []
    beside.say(None)
    beside.run(T + 1)
    assert beside.engine.deafens(own) == []


def test_a_node_that_is_replaced_is_heard_at_once() -> None:
    beside = Beside()
    beside.say(State.STARTED)
    beside.by_ezha = True
    beside.say(State.STOPPED)
    assert beside.engine.peer_state("node2", "web") is State.STOPPED


def test_what_a_node_of_ezha_said_before_does_not_make_an_original_one_of_its_name_deaf() -> None:
    heard = LastHeard("node2", Incarnation(9, 77), 2**39)
    record = NodeRecord(1, (ServiceRecord("web", State.FROZEN_STOP),), heard=(heard,))
    beside = Beside(record=record)
    beside.say(State.STARTED)
    assert beside.engine.peer_state("node2", "web") is State.STARTED
    assert beside.engine.record().heard == ()


def test_a_peer_that_speaks_another_language_from_now_on_is_listened_to_anew() -> None:
    beside = Beside(state=State.FROZEN_STOP)
    beside.say(State.STARTED)
    own = own_config(timeout=T)
    again = Engine.restore(beside.engine.snapshot(), own, "node1", beside.now)
    beside.feed(ConfigChanged(own))
    for engine in (beside.engine, again):
        peer = engine.peers["node2"]
        assert (peer.newest, peer.entries, [path.seq for path in peer.paths]) == (None, {}, [0, 0])
    assert beside.engine.peers["node2"].since == beside.now
