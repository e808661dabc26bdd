"""What workers report, as events of the engine."""

from dataclasses import dataclass, field
from typing import cast

import pytest

from ha.fsm.config import PathId
from ha.fsm.engine import Engine
from ha.fsm.events import Event, MessageReceived, OwnSlot, SlotRead, SlotView, Written
from ha.fsm.identity import cluster_id, node_id
from ha.fsm.message import Heartbeat, Incarnation
from ha.fsm.states import Promise
from ha.heartbeats import codec
from ha.node.intake import Intake

PATH = PathId("node2", 1)
OWN = Incarnation(3, 7)


def message(node: str, cluster: str = "ezha", incarnation: Incarnation = OWN) -> Heartbeat:
    return Heartbeat(cluster_id(cluster), node_id(node), incarnation, 5, Promise.NONE, True, False, 2000, 1000, 3, ())


@dataclass
class Config:
    cluster_id: int = field(default_factory=lambda: cluster_id("ezha"))

    def is_original(self, node: str) -> bool:
        return False


@dataclass
class StandIn:
    incarnation: Incarnation = OWN
    config: Config = field(default_factory=Config)


class Bench:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refused: list[tuple[str, bool]] = []
        self.heard: list[PathId] = []
        self.intake = Intake(
            "node1",
            lambda: cast(Engine, StandIn()),
            self.events.append,
            lambda path, message: self.heard.append(path),
            lambda path, why, expected: self.refused.append((why, expected)),
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_message_and_the_look_that_showed_it(bench: Bench) -> None:
    said = message("node2", incarnation=Incarnation(9, 9))
    bench.intake.received(PATH, 10.0, codec.encode(said))
    bench.intake.looked(PATH, 9.0, SlotView.NEW)
    assert bench.events == [MessageReceived(said, PATH, 10.0), SlotRead(PATH, 9.0, SlotView.NEW)]
    assert bench.heard == [PATH]


@pytest.mark.parametrize("data", [codec.encode(message("node3")), b"another version"])
def test_what_is_no_message_of_the_owner_of_the_slot_is_foreign(bench: Bench, data: bytes) -> None:
    """The bytes changed, so somebody writes there: that must forbid a takeover, not allow it."""
    bench.intake.received(PATH, 10.0, data)
    bench.intake.looked(PATH, 9.0, SlotView.NEW)
    bench.intake.looked(PATH, 11.0, SlotView.SAME)
    assert bench.events == [SlotRead(PATH, 9.0, SlotView.FOREIGN), SlotRead(PATH, 11.0, SlotView.SAME)]
    assert len(bench.refused) == 1


def test_one_path_is_not_judged_by_another(bench: Bench) -> None:
    bench.intake.received(PATH, 10.0, codec.encode(message("node2", incarnation=Incarnation(9, 9))))
    bench.intake.looked(PathId("node2", 0), 9.0, SlotView.NEW)
    assert bench.events[-1] == SlotRead(PathId("node2", 0), 9.0, SlotView.FOREIGN)


def test_a_confirmed_write_renews(bench: Bench) -> None:
    bench.intake.written(1, 7, 10.0)
    assert bench.events == [Written(1, 7, 10.0)]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (codec.encode(message("node1")), OWN),
        (codec.encode(message("node2")), None),
        (codec.encode(message("node1", cluster="other")), None),
        (b"", None),
        (b"no message", None),
    ],
)
def test_the_own_slot_shows_a_life_of_this_node_or_nothing(
    bench: Bench, data: bytes, found: Incarnation | None
) -> None:
    bench.intake.found(1, data)
    assert bench.events == [OwnSlot(1, found, codec.decode(data).seq if found is not None else 0)]
