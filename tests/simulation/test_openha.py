"""The original's rules, one by one: what each command, the boot script and the end of a node do to its state files."""

import pytest

from ha.fsm.config import PathId
from ha.fsm.states import State
from ha.node.layout import Layout
from ha.simulation import openha_wire
from ha.simulation.agenda import Agenda
from ha.simulation.draw import Draw
from ha.simulation.history import History, run, texts_of
from ha.simulation.mix import draw_plan
from ha.simulation.network import FRAGMENT, Network
from ha.simulation.openha import OpenHA
from ha.simulation.plan import Plan, PlanError, parse_fault
from ha.simulation.trace import Kind

NODES, SERVICES = ("node1", "node2"), ("svc1",)


def _told(*sentences: str, until: float = 100.0, seed: str = "1", rules: str = "openha") -> History:
    faults = tuple(parse_fault(sentence, NODES, SERVICES) for sentence in sentences)
    setting = "nodes=2 timeout=2 paths=net+dio services=1"
    plan = Plan(seed, until, tuple(sorted(faults, key=lambda f: f.at)), rules, (), setting)
    history = History(plan, texts_of(plan, None))
    history.agenda.run(until)
    return history


def _states(history: History) -> list[State]:
    """Of each node, as it says itself."""
    found = []
    for name in NODES:
        program = history.machines[name].program
        assert isinstance(program, OpenHA)
        found.append(program.state("svc1", name))
    return found


def _replies(history: History) -> list[str]:
    return [e.text for e in history.trace.entries if e.kind is Kind.REPLY]


RUNNING = ("order node1 svc1 unfreeze at 10", "order node2 svc1 unfreeze at 30")


def test_a_new_service_is_frozen_and_the_primary_starts_it() -> None:
    assert _states(_told(until=9.0)) == [State.FROZEN_STOP, State.FROZEN_STOP]
    history = _told(*RUNNING)
    assert _states(history) == [State.STARTED, State.STOPPED]
    assert history.machines["node1"].up == {"svc1"}


@pytest.mark.parametrize(
    ("sentence", "states", "reply"),
    [
        ("order node2 svc1 start at 60", [State.STARTED, State.STOPPED], "start was refused, or failed"),
        ("order node1 svc1 unfreeze at 60", [State.STARTED, State.STOPPED], "unfreeze was refused, or failed"),
        ("order node1 svc1 freeze-stop at 60", [State.FROZEN_STOP, State.STARTED], "is FROZEN_STOP"),
        ("order node2 svc1 freeze-stop at 60", [State.STARTED, State.FROZEN_STOP], "is FROZEN_STOP"),
        ("order node1 svc1 freeze-start at 60", [State.START_READY, State.STOPPED], "is FROZEN_START"),
        ("order node2 svc1 force-start at 60", [State.STARTED, State.STARTED], "is STARTED"),
        ("order node1 svc1 switch at 60", [State.STARTED, State.STOPPED], "switch was refused, or failed"),
    ],
)
def test_commands(sentence: str, states: list[State], reply: str) -> None:
    history = _told(*RUNNING, sentence)
    assert _states(history) == states
    assert _replies(history)[-1].endswith(reply)


def test_a_frozen_running_service_is_told_from_no_claim_on_disk_and_can_be_unfrozen() -> None:
    history = _told(*RUNNING, "order node1 svc1 freeze-start at 60")
    assert history.machines["node1"].files.files[Layout().state("svc1", "node1")] == b"7\0"
    history = _told(*RUNNING, "order node1 svc1 freeze-start at 60", "order node1 svc1 unfreeze at 70")
    assert _states(history) == [State.STARTED, State.STOPPED]


def test_a_boot_stops_all_that_is_not_frozen() -> None:
    history = _told(RUNNING[0], "power-off node1 at 60 for 5", until=66.0)
    assert _states(history) == [State.STOPPED, State.FROZEN_STOP]


def test_leaving_stops_the_services_while_the_paths_tell() -> None:
    history = _told(*RUNNING, "leave node1 at 60 for 30")
    assert history.machines["node1"].up == set()
    assert _states(history) == [State.STOPPED, State.STARTED]


def test_a_restart_comes_back() -> None:
    history = _told(RUNNING[0], "restart node1 at 60")
    assert _states(history) == [State.STARTED, State.FROZEN_STOP]
    assert len([e for e in history.trace.entries if e.text == "openha starts" and e.node == "node1"]) == 2


def test_nmond_alone_can_be_stopped() -> None:
    """Its senders go on, and its decisions come once it goes on itself."""
    history = _told(*RUNNING, "pause node2 at 50 for 40", "power-off node1 at 60", until=90.0)
    assert history.machines["node2"].up == set()
    history.agenda.run(100.0)
    assert history.machines["node2"].up == {"svc1"}


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seed_gives_the_same_history(seed: int) -> None:
    plan = draw_plan(seed, 120.0, rules="openha")
    assert run(plan).digest == run(plan).digest


# ------------------------------------------------------------------------------------------------------- wire


def test_wire() -> None:
    data = openha_wire.encode("node1", 17, [("svc1", 2), ("svc2", 7)])
    assert len(data) == openha_wire.SIZE
    assert openha_wire.decode(data) == openha_wire.Beat("node1", 17, (("svc1", 2), ("svc2", 7)))
    assert not openha_wire.is_zero(data)
    assert openha_wire.is_zero(b"") and openha_wire.is_zero(bytes(512))


def test_nothing_is_refused() -> None:
    data = openha_wire.encode("node1", 17, [("svc1", 2)])
    draw = Draw("garbage")
    for length in range(20):
        openha_wire.decode(data[:length])
        openha_wire.decode(bytes(draw.whole(0, 255) for _ in range(length)))
    assert openha_wire.decode(b"\xff 1\xb2\nx y z\n 3\nsvc \xc2\xb2").states == ()


# ------------------------------------------------------------------------------------------------------ world


def _share_lost(size: int) -> float:
    agenda, arrived = Agenda(), []
    network = Network(agenda, Draw("x"), lambda *came: arrived.append(came), latency=0.001, loss=0.0)
    network.add(PathId("node1", 0), ["node2"])
    network.links[PathId("node1", 0)][0].loss = 0.1
    for _ in range(1000):
        network.send(PathId("node1", 0), bytes(size))
    agenda.run(1.0)
    return 1.0 - len(arrived) / 1000


def test_a_long_datagram_is_lost_with_any_of_its_fragments() -> None:
    assert _share_lost(FRAGMENT) == pytest.approx(0.1, abs=0.04)
    assert _share_lost(openha_wire.SIZE) == pytest.approx(1 - 0.9**7, abs=0.06)


def test_processes_that_are_paused_find_what_came_meanwhile() -> None:
    """Their sockets kept it: a pause of less than T changes nothing for ezha."""
    history = _told(*RUNNING, "pause-processes node2 at 60 for 1.5", rules="ezha")
    assert history.machines["node1"].up == {"svc1"} and history.machines["node2"].up == set()
    assert not history.checkers.findings.safety


@pytest.mark.parametrize(
    "sentence",
    [
        "forge node1 node2 svc1 RUNNING at 5",
        "forge node1 svc1 STARTED at 5",
        "kill-listeners node1 at 5 for 3",
        "truncate 101 node1 at 5",
        "stray node3 at 5",
    ],
)
def test_sentences_that_mean_nothing(sentence: str) -> None:
    with pytest.raises(PlanError):
        parse_fault(sentence, NODES, SERVICES)
