"""A monitored resource that died: restarts in place, then monitor_action, and never a game of ping-pong."""

import os
from pathlib import Path

import pytest

from ha.services.config import ServiceConfig
from ha.services.context import Paths
from ha.services.errors import StillRunning
from ha.services.keys import Values
from ha.services.monitor import HOUR_S, Monitor, Outcome
from ha.services.state import State
from ha.services.watch import Watch
from tests.unit.services.drivers import drivers as drivers
from tests.unit.services.fake import World


class Clocked:
    """A service that is STARTED here: ``hb#0`` says so."""

    def __init__(self, place: Path, **values: object) -> None:
        self.world = World(place)
        self.now = 1_000_000.0
        self.values = Values({"monitor_action": "failover", "failovers_per_hour": 2, **values})
        self.heart = self.world.add("hb#0")
        self.heart.state = State.UP
        self.app = self.world.add("app#0", monitor=True, restart=2, restart_delay=1.0)
        self.slept = 0.0

    def look(self, frozen: bool = False) -> Outcome:
        service = self.world.service()
        config = service.config
        service.config = ServiceConfig(
            config.name, config.path, config.node, config.nodes, config.drpnodes, self.values, config.resources
        )
        return Monitor(service, frozen, lambda: self.now, self._sleep).look()

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds


@pytest.fixture
def clocked(tmp_path: Path) -> Clocked:
    return Clocked(tmp_path)


LOST = Outcome("failover", "app#0 is down after 2 restarts")


def test_what_is_up_is_left_alone(clocked: Clocked) -> None:
    clocked.app.up = True
    assert clocked.look() == Outcome()
    assert clocked.world.done == []


def test_a_restart_in_place_is_enough(clocked: Clocked) -> None:
    assert clocked.look() == Outcome()
    assert clocked.app.up
    assert clocked.world.done == ["stop app#0", "start app#0"]
    assert clocked.slept == 0.0


def test_what_does_not_come_up_sends_the_service_away(clocked: Clocked) -> None:
    clocked.app.fails = {"start"}
    assert clocked.look() == LOST
    assert clocked.world.done == ["stop app#0", "start app#0"] * 2
    assert clocked.slept == pytest.approx(2.0)
    assert clocked.world.lines[-1].endswith("app#0 is down after 2 restarts; monitor_action is failover")


def test_a_resource_that_takes_its_time_is_waited_for(clocked: Clocked) -> None:
    clocked.app.state = State.DOWN

    def slow(seconds: float) -> None:
        clocked.slept += seconds
        if clocked.slept > 0.5:
            clocked.app.state = State.UP

    clocked._sleep = slow  # type: ignore[method-assign]
    assert clocked.look() == Outcome()
    assert clocked.world.done == ["stop app#0", "start app#0"]


def test_a_program_that_lives_and_does_not_work_counts(clocked: Clocked) -> None:
    clocked.app.state, clocked.app.failed, clocked.app.notes = State.WARN, True, ("runs, but its check fails",)
    assert clocked.look() == Outcome("failover", "app#0 does not work after 2 restarts (runs, but its check fails)")


@pytest.mark.parametrize("state", [State.WARN, State.NA, State.STDBY_UP])
def test_what_cannot_be_judged_does_not_count(clocked: Clocked, state: State) -> None:
    clocked.app.state = state
    assert clocked.look() == Outcome()
    assert clocked.world.done == []


@pytest.mark.parametrize("state", [State.DOWN, State.WARN])
def test_where_the_service_does_not_run_nothing_is_monitored(clocked: Clocked, state: State) -> None:
    """While it stops, its resources are down rightly: restarting one would leave it up."""
    clocked.heart.state = state
    assert clocked.look() == Outcome()
    assert clocked.world.done == []


def test_frozen_is_left_alone(clocked: Clocked) -> None:
    assert clocked.look(frozen=True) == Outcome()
    assert clocked.world.done == []


def test_what_is_not_monitored_or_disabled_does_not_count(clocked: Clocked) -> None:
    clocked.app.up = True
    clocked.world.add("fs#0")
    clocked.world.add("fs#1", monitor=True, disable=True)
    assert clocked.look() == Outcome()


def test_no_more_than_so_many_times_an_hour(clocked: Clocked) -> None:
    clocked.app.fails = {"start"}
    assert [clocked.look() for _ in range(3)] == [LOST, LOST, Outcome("none", LOST.why)]
    assert clocked.world.lines[-1].endswith("it was done 2 times within an hour here, see failovers_per_hour")
    clocked.now += HOUR_S + 1
    assert clocked.look() == LOST


def test_without_the_limit_two_sick_nodes_play_ping_pong(tmp_path: Path) -> None:
    """The twin of the test above."""
    clocked = Clocked(tmp_path, failovers_per_hour=10_000)
    clocked.app.fails = {"start"}
    assert [clocked.look() for _ in range(10)] == [LOST] * 10


def test_a_clock_that_was_set_back_lifts_no_limit(clocked: Clocked) -> None:
    clocked.app.fails = {"start"}
    assert [clocked.look().action for _ in range(2)] == ["failover"] * 2
    clocked.now -= 1_000.0
    assert clocked.look().action == "none"


def test_without_a_record_there_is_no_action(clocked: Clocked) -> None:
    clocked.app.fails = {"start"}
    Path(clocked.world.paths.var).write_text("a file where the folder should be")
    with pytest.raises(Exception, match="no action is taken"):
        clocked.look()


def test_no_action_is_configured(tmp_path: Path) -> None:
    clocked = Clocked(tmp_path, monitor_action="none")
    clocked.app.fails = {"start"}
    assert clocked.look() == Outcome("none", LOST.why)
    assert not os.path.exists(f"{clocked.world.paths.var}/web.actions")


# ---- when

FILE = "[DEFAULT]\nmonitor_interval = 10\n[fs#0]\nmnt = /a\nmonitor = True\n"


class Look:
    """Stands for a process."""

    def __init__(self) -> None:
        self.ended = False

    def poll(self) -> int | None:
        return 0 if self.ended else None


@pytest.mark.usefixtures("drivers")
def test_each_service_is_looked_at_on_its_own_schedule(tmp_path: Path) -> None:
    paths = Paths(etc=str(tmp_path))
    web, db, plain = (tmp_path / f"{name}.env" for name in ("web", "db", "plain"))
    web.write_text(FILE)
    db.write_text(FILE.replace("10", "20"))
    plain.write_text(FILE.replace("monitor = True", ""))
    looks: list[tuple[str, Look]] = []

    def launch(name: str) -> Look:
        looks.append((name, Look()))
        return looks[-1][1]

    watch = Watch(paths, "node1", launch)  # type: ignore[arg-type]

    def turns(*times: float) -> list[str]:
        before = len(looks)
        for at in times:
            watch.turn(at)
        return [name for name, _ in looks[before:]]

    assert turns(0.0, 9.9) == []
    assert turns(10.0, 15.0) == ["web"]
    assert turns(20.0, 29.0) == ["db"], "web's first look has not ended"
    for _, look in looks:
        look.ended = True
    assert turns(30.0, 39.9) == []
    assert turns(40.0) == ["web"]
    web.write_text(FILE.replace("[fs#0]", "[fs#0"))
    assert turns(50.0) == ["db"]
    for _, look in looks:
        look.ended = True
    assert turns(60.0, 70.0) == ["web"], "a file that is being edited ends nothing"
    web.write_text(FILE.replace("monitor = True", "monitor = False"))
    looks[-1][1].ended = True
    assert turns(76.0, 90.0) == ["db"]
    web.unlink()
    assert turns(96.0, 200.0) == []


def test_nothing_is_restarted_beside_a_command_that_nobody_could_end(clocked: Clocked) -> None:
    clocked.app.fails = {"stop"}
    clocked.app.error = StillRunning
    assert clocked.look() == LOST
    assert clocked.world.done == ["stop app#0"]


def test_a_service_that_is_told_to_stop_is_not_kept_waiting(clocked: Clocked) -> None:
    """The stop waits for the lock of the look: no further restart, no long delay, and nothing for monitor_action."""
    clocked.app.values = Values({"restart": 5, "restart_delay": 300.0})
    clocked.app.fails = {"start"}

    def stopping(seconds: float) -> None:
        clocked.slept += seconds
        clocked.heart.state = State.WARN

    clocked._sleep = stopping  # type: ignore[method-assign]
    assert clocked.look() == Outcome()
    assert clocked.world.done == ["stop app#0", "start app#0"]
    assert clocked.slept < 1
