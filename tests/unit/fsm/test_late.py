"""A node that comes late reads what came meanwhile before it calls a peer silent."""

import pytest

from ha.fsm import engine as engine_module
from ha.fsm.events import MessageReceived, News, Tick
from ha.fsm.states import Action, State
from tests.unit.fsm.cluster import Cluster, T, config

LOOK_S = 0.005
"""A little more than the engine looks around for after a claim."""


def _late() -> State:
    """node1 runs the service; nothing comes from it for T less two periods, then something does, and lies unread
    because node2's nmond is not scheduled for these two. What node2 then makes of it."""
    cluster = Cluster(config(paths=1), {"node1": State.STOPPED, "node2": State.STOPPED})
    cluster.run(8)
    assert cluster.states() == ["STARTED", "STOPPED"]
    cluster.sever("node1", "node2")
    cluster.run(T - 2)
    cluster.now += 1
    said = cluster.hosts["node1"].engine.handle(Tick(), cluster.now).send
    assert said is not None
    came = cluster.now
    cluster.now += 1
    cluster.feed("node2", Tick())
    cluster.now += LOOK_S
    cluster.feed("node2", Tick())
    cluster.feed("node2", MessageReceived(said, cluster.config.paths_of("node1")[0].id, came))
    return cluster.hosts["node2"].state()


def test_what_came_while_nmond_was_late_is_read_before_silence_is_judged() -> None:
    assert _late() is State.STOPPED


def test_twin_without_the_wait_it_starts_beside_the_node_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "STALL_S", 1e9)
    assert _late() is State.STARTING


def _paused_in_a_claim() -> Cluster:
    """node1 was silent, node2 has just claimed, and is not scheduled for a long while: node1 may be back since."""
    cluster = Cluster(config(paths=1), {"node1": State.STOPPED, "node2": State.STOPPED})
    cluster.power_off("node1")
    host = cluster.hosts["node2"]
    while host.state() is not State.START_READY:
        cluster.now = max(cluster.now, host.engine.next_deadline())
        cluster.feed("node2", Tick())
    cluster.now += 3 * T
    cluster.feed("node2", Tick())
    return cluster


def test_a_silence_of_before_a_pause_is_not_believed_after_it_until_somebody_listened() -> None:
    cluster = _paused_in_a_claim()
    assert cluster.states()[1] == "START_READY"
    assert "it listens first" in cluster.hosts["node2"].engine.waits_for("web", cluster.now)
    cluster.run(T / 2 + LOOK_S, scripts=False)
    assert cluster.states()[1] == "STARTING", "the wait has an end"


def test_twin_without_listening_first_it_starts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module.Engine, "_listen", lambda self, peer, until: None)
    cluster = _paused_in_a_claim()
    cluster.run(LOOK_S, scripts=False)
    assert cluster.states()[1] == "STARTING"


def _asleep_in_a_claim() -> list[str]:
    """node2 claims, and sleeps before it reads the answer; node1 takes it for dead, and the service; node2 wakes up."""
    cluster = Cluster(config(paths=1), {"node1": State.FROZEN_STOP, "node2": State.FROZEN_STOP})
    cluster.run(3)
    cluster.ask("node2", Action.UNFREEZE)
    (claim,) = cluster.hosts["node2"].outbox
    answer = cluster.feed("node1", MessageReceived(claim, cluster.config.paths_of("node2")[0].id, cluster.now)).send
    assert answer is not None
    came = cluster.now
    sleeper = cluster.hosts["node2"]
    sleeper.alive = False
    cluster.hosts["node1"].outbox.clear()
    cluster.ask("node1", Action.UNFREEZE)
    cluster.run(T + 1)
    assert cluster.states() == ["STARTED", "START_READY"]
    cluster.feed("node2", News((MessageReceived(answer, cluster.config.paths_of("node1")[0].id, came),)))
    cluster.now += LOOK_S
    cluster.feed("node2", Tick())
    return cluster.states()


def test_a_claim_that_was_answered_before_a_sleep_is_made_anew() -> None:
    assert _asleep_in_a_claim() == ["STARTED", "START_READY"]


def test_twin_with_the_old_answers_it_starts_beside_the_other_node(monkeypatch: pytest.MonkeyPatch) -> None:
    real = engine_module.Engine._look_at_own_time

    def forgets(self: engine_module.Engine, now: float) -> None:
        kept = {name: self.services[name] for name in self._claims}
        real(self, now)
        self.services.update(kept)

    monkeypatch.setattr(engine_module.Engine, "_look_at_own_time", forgets)
    assert _asleep_in_a_claim() == ["STARTED", "STARTING"]
