"""``ezha switch`` among three nodes: refused where nobody could take the service, and answered whatever comes."""

from dataclasses import replace

import pytest

from ha.fsm.claims import Claims
from ha.fsm.events import ConfigChanged, Guarded, Leave
from ha.fsm.record import NodeRecord
from ha.fsm.service import Service
from ha.fsm.sight import Sight
from ha.fsm.states import Action, Promise, ScriptKind, State
from tests.unit.fsm.cluster import Cluster, T, config

NODES = ("node1", "node2", "node3")


def three(protection: str = "none", **more: Promise) -> Cluster:
    """It runs on node1, and the others stand by."""
    plain = config(NODES, paths=1 if protection == "disk" else 2, protection=protection)
    cluster = Cluster(replace(plain, **more))  # type: ignore[arg-type]
    cluster.run(3.0)
    for node in NODES:
        cluster.ask(node, Action.UNFREEZE)
        cluster.run(3.0)
    assert cluster.states() == ["STARTED", "STOPPED", "STOPPED"]
    return cluster


def forget(cluster: Cluster, node: str) -> None:
    """Its record cannot be read after a restart."""
    cluster.boot(node, NodeRecord(9), boot=False, unreadable=True)


def told(cluster: Cluster, asked: str) -> str:
    """The final answer on node1, if there is one."""
    answer = cluster.answer("node1", asked)
    return "" if answer is None else f"{'done' if answer.ok else 'not'}: {answer.text}"


def silent_and_unpromised() -> Cluster:
    """node3 could not stop it, promised nothing that would end it, and is silent; an operator started it on node1."""
    cluster = three("disk", self_fence=Promise.NONE)
    for node in NODES:
        cluster.feed(node, Guarded(Promise.NONE))
    cluster.run(2.0)
    cluster.ask("node1", Action.SWITCH, target="node3")
    cluster.run(3.0)
    cluster.stopping = 1
    cluster.ask("node3", Action.STOP)
    cluster.run(3.0)
    cluster.stopping = 0
    cluster.power_off("node3")
    cluster.run(1.5 * T)
    cluster.ask("node1", Action.FORCE_START, override=True)
    cluster.run(3.0)
    assert cluster.states() == ["STARTED", "STOPPED", "STOP_FAILED"]
    return cluster


def test_refused_beside_a_silent_node_that_only_a_person_can_clear() -> None:
    cluster = silent_and_unpromised()
    asked = cluster.ask("node1", Action.SWITCH)
    assert told(cluster, asked).startswith("not: node2 could not start it: node3 is silent")
    assert "promised nothing that would end it" in told(cluster, asked)
    cluster.run(3 * T)
    assert cluster.states()[0] == "STARTED"


def test_twin_that_looks_at_the_target_alone_leaves_it_running_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = silent_and_unpromised()
    monkeypatch.setattr(Sight, "_barring", lambda self, service, now: "")
    cluster.ask("node1", Action.SWITCH)
    cluster.run(30 * T)
    assert cluster.states()[:2] == ["STOPPED", "STOPPED"]


def test_the_start_of_the_target_counts_more_than_a_third_node_that_forgot() -> None:
    cluster = three()
    asked = cluster.ask("node1", Action.SWITCH, target="node3")
    while ScriptKind.START not in [job.kind for job in cluster.hosts["node3"].jobs.values()]:
        for host in cluster.hosts.values():
            if any(job.kind is not ScriptKind.START for job in host.jobs.values()):
                cluster.end(host.name)
        cluster.run(0.1, scripts=False)
    forget(cluster, "node2")
    cluster.run(2.0, scripts=False)
    assert cluster.states() == ["STOPPED", "UNKNOWN", "STARTING"]
    assert told(cluster, asked) == ""
    cluster.run(3.0)
    assert told(cluster, asked) == "done: STARTED on node3"


def test_answered_where_the_configurations_differ_since() -> None:
    cluster = three("disk")
    asked = cluster.ask("node1", Action.SWITCH, target="node2")
    cluster.settle(scripts=False)
    other = tuple(replace(p, text="another line") if p.id.node == "node1" else p for p in cluster.config.paths)
    cluster.feed("node3", ConfigChanged(replace(cluster.config, paths=other)))
    cluster.run(6 * T)
    assert cluster.states() == ["STOPPED", "STOPPED", "STOPPED"]
    why = "node3 has another conf/monitor: compare it on both"
    assert told(cluster, asked) == f"not: it is stopped here, and nobody may start it: {why}"


def test_answered_where_an_old_failure_is_heard_of_since() -> None:
    """node3 failed to stop it in an older run, and was cut off: its silence was believed, its return is not."""
    cluster = three()
    cluster.ask("node1", Action.SWITCH, target="node3")
    cluster.run(3.0)
    cluster.stopping = 1
    cluster.ask("node3", Action.STOP)
    cluster.run(3.0)
    cluster.stopping = 0
    for node in ("node1", "node2"):
        cluster.sever("node3", node)
        cluster.sever(node, "node3")
    cluster.run(2.5 * T)
    assert cluster.states() == ["STARTED", "STOPPED", "STOP_FAILED"]
    asked = cluster.ask("node1", Action.SWITCH, target="node2")
    cluster.settle(scripts=False)
    cluster.heal()
    cluster.run(0.5, scripts=False)
    cluster.run(6 * T)
    assert told(cluster, asked).startswith("not: ")
    assert "node3" in told(cluster, asked)


def test_a_node_without_the_service_that_leaves_is_no_obstacle() -> None:
    cluster = three()
    cluster.feed("node3", ConfigChanged(replace(cluster.config, services={})))
    cluster.run(1.0)
    cluster.feed("node3", Leave())
    cluster.run(0.5)
    cluster.power_off("node3")
    asked = cluster.ask("node1", Action.SWITCH)
    cluster.run(3 * T)
    assert told(cluster, asked) == "done: STARTED on node2"


@pytest.mark.parametrize("guarded", [True, False])
def test_a_stop_on_the_node_that_it_is_sent_to_counts_more(monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """Typed while its claim is on its way: the third node takes it. Twin: who it is sent to is not asked what came."""
    if not guarded:
        defers = Claims._defers

        def deaf(self: Claims, service: Service, now: float) -> tuple[str, float]:
            return defers(self, replace(service, record=replace(service.record, demoted=False)), now)

        monkeypatch.setattr(Claims, "_defers", deaf)
    cluster = three()
    cluster.ask("node1", Action.SWITCH, target="node2")
    cluster.sever("node2", "node3")
    assert cluster.end("node1") is ScriptKind.STOP
    cluster.run(0)
    assert cluster.states() == ["STOPPED", "START_READY", "STOPPED"]
    cluster.ask("node2", Action.STOP)
    assert (cluster.hosts["node2"].state() is State.STOPPED) is guarded
    cluster.heal()
    cluster.run(3.0)
    assert cluster.states() == (["STOPPED", "STOPPED", "STARTED"] if guarded else ["STOPPED", "STARTED", "STOPPED"])
