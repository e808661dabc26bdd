"""A restart by exec must change nothing: the engine that comes out of a snapshot decides as the one that went in."""

from dataclasses import replace

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ha.fsm.engine import Engine
from ha.fsm.events import Effects, Event, Leave, NoteKind, Tick
from ha.fsm.states import Action, ScriptKind, State

from .cluster import Cluster, T, config

NODES = ("node1", "node2", "node3")
SERVICES = ("web", "db")


class Twins(Cluster):
    """Engines with a twin each, once ``split`` is called: it is told the same, and must owe the same."""

    def __init__(self, protection: str) -> None:
        self.twins: dict[str, Engine] = {}
        super().__init__(config(nodes=NODES, services=SERVICES, protection=protection))

    def split(self) -> None:
        for name, host in self.hosts.items():
            plain = host.engine.snapshot()
            packed = msgpack.unpackb(msgpack.packb(plain))
            twin = Engine.restore(packed, self.config, name, self.now)
            assert twin.snapshot() == plain
            assert twin.next_deadline() == host.engine.next_deadline()
            self.twins[name] = twin
            # A restored engine owes a message, tells the guard anew, and looks at all of its services.
            host.engine._guard_told = None
            host.engine._send_now = True
            host.engine._mark(host.engine.services)

    def feed(self, name: str, event: Event) -> Effects:
        twin = self.twins.get(name)
        told = twin.handle(event, self.now) if twin is not None else None
        effects = super().feed(name, event)
        if twin is not None and told is not None:
            # Nobody waits for a command that was asked before.
            assert replace(told, replies=()) == replace(effects, replies=())
            assert twin.next_deadline() == self.hosts[name].engine.next_deadline()
            assert twin.snapshot() == self.hosts[name].engine.snapshot()
        return effects

    def restart(self, name: str, **more: object) -> object:  # type: ignore[override]
        self.twins.pop(name, None)
        return super().restart(name, **more)  # type: ignore[arg-type]


_node = st.sampled_from(NODES)
_service = st.sampled_from(SERVICES)
_step = st.one_of(
    st.tuples(st.just("run"), st.sampled_from((0.0, 0.3, 1.0, 4.0, T + 0.1)), st.booleans()),
    st.tuples(st.just("stall"), _node, st.sampled_from((1.0, 3.0, T, 3 * T))),
    st.tuples(st.just("ask"), _node, st.sampled_from(list(Action)), _service, st.booleans()),
    st.tuples(st.just("end"), _node, _service, st.sampled_from((0, 1, 3))),
    st.tuples(st.just("cut"), _node, _node),
    st.tuples(st.just("heal")),
    st.tuples(st.just("off"), _node),
    st.tuples(st.just("boot"), _node, st.booleans()),
    st.tuples(st.just("leave"), _node),
)


def play(cluster: Twins, step: tuple[object, ...]) -> None:
    match step:
        case ("run", float(seconds), bool(scripts)):
            cluster.run(seconds, scripts=scripts)
        case ("stall", str(node), float(seconds)):
            # Nobody is driven for a while; this one comes back first.
            cluster.now += seconds
            if cluster.hosts[node].alive:
                cluster.feed(node, Tick())
        case ("ask", str(node), Action() as action, str(service), bool(override)):
            if cluster.hosts[node].alive:
                cluster.ask(node, action, service, override=override)
        case ("end", str(node), str(service), int(code)):
            host = cluster.hosts[node]
            if host.alive and any(job.service == service for job in host.jobs.values()):
                cluster.end(node, service, code)
        case ("cut", str(one), str(other)):
            cluster.sever(one, other)
        case ("heal",):
            cluster.heal()
        case ("off", str(node)):
            cluster.power_off(node)
        case ("boot", str(node), bool(boot)):
            cluster.restart(node, boot=boot)
        case ("leave", str(node)):
            if cluster.hosts[node].alive:
                cluster.feed(node, Leave())
        case _:
            raise AssertionError(step)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    protection=st.sampled_from(("none", "disk")),
    before=st.lists(_step, max_size=12),
    after=st.lists(_step, min_size=1, max_size=12),
)
def test_a_restored_engine_decides_as_the_one_that_it_was_taken_from(
    protection: str, before: list[tuple[object, ...]], after: list[tuple[object, ...]]
) -> None:
    cluster = Twins(protection)
    for name in NODES:
        cluster.ask(name, Action.UNFREEZE)
    for step in before:
        play(cluster, step)
    cluster.split()
    for step in after:
        play(cluster, step)


def taken_over(cluster: Cluster, name: str) -> None:
    """nmond replaces itself by exec."""
    host = cluster.hosts[name]
    host.engine = Engine.restore(host.engine.snapshot(), cluster.config, name, cluster.now)


def running() -> Cluster:
    cluster = Cluster()
    for name in ("node1", "node2"):
        cluster.ask(name, Action.UNFREEZE)
        cluster.run(1)
    assert cluster.states() == ["STARTED", "STOPPED"]
    return cluster


def test_a_slow_exec_is_not_the_peers_silence() -> None:
    """What the peer sent meanwhile lies unread: the new nmond must read it before it calls the peer silent."""
    cluster = running()
    cluster.now += T + 5
    taken_over(cluster, "node2")
    effects = cluster.feed("node2", Tick())
    assert [n.text for n in effects.notes if n.kind is NoteKind.ALERT] == [
        "this node's nmond was not scheduled for 15.000 s"
    ]
    assert cluster.hosts["node2"].state() is State.STOPPED
    cluster.run(1)
    assert cluster.states() == ["STARTED", "STOPPED"]


def test_the_patience_after_a_stall_outlasts_an_exec() -> None:
    cluster = running()
    cluster.now += T + 5
    cluster.feed("node2", Tick())
    taken_over(cluster, "node2")
    cluster.now += 1
    cluster.feed("node2", Tick())
    assert cluster.hosts["node2"].state() is State.STOPPED


@pytest.mark.parametrize("action", [Action.SWITCH, Action.STOP])
def test_a_command_that_waits_for_the_controller_is_answered_to_nobody_after_an_exec(action: Action) -> None:
    cluster = running()
    cluster.restart("node1")
    cluster.ask("node1", action)  # its controller is asked just now whether it is up
    taken_over(cluster, "node1")
    host = cluster.hosts["node1"]
    host.replies.clear()
    assert cluster.end("node1", code=3) is ScriptKind.STATUS
    cluster.run(2)
    assert not host.replies


@pytest.mark.parametrize("override", [False, True])
def test_a_forced_stop_that_waits_for_a_script_is_done_after_an_exec(override: bool) -> None:
    """An operator's wish is never lost."""
    cluster = running()
    if override:
        cluster.ask("node1", Action.FREEZE_STOP)
        cluster.ask("node1", Action.FORCE_STOP, override=True)
    else:
        cluster.ask("node1", Action.FORCE_STOP)
    taken_over(cluster, "node1")
    kind = cluster.end("node1", code=3)
    assert kind is (ScriptKind.STOP if override else ScriptKind.STATUS)
    cluster.run(0)
    notes = cluster.hosts["node1"].notes
    assert any("declared it stopped" in note.text for note in notes), [note.text for note in notes]
