"""Start, stop and rollback: order, what a failure means, and exit codes that tell the truth."""

import threading
from pathlib import Path

import pytest

from ha.services.action import DONE, FAILED, UNCLEAN, Action
from ha.services.errors import ResourceError, StillRunning
from ha.services.journal import Journal
from tests.unit.services.fake import Fake, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def whole(world: World) -> dict[str, Fake]:
    return {rid: world.add(rid) for rid in ("app", "fs#1", "ip#0", "fs#0", "vg#0", "sync#i0", "hb#0")}


def action(world: World, told: bool = False, **more: object) -> Action:
    return Action(world.service(), Journal(world.paths.run, world.name), lambda: told, **more)  # type: ignore[arg-type]


def record(world: World) -> str:
    path = Path(world.paths.run, "web.start")
    return path.read_text() if path.exists() else ""


def test_a_start_asks_all_before_it_touches_one_and_a_stop_goes_the_other_way(world: World) -> None:
    whole(world)
    assert action(world).start() == DONE
    order = ["ip#0", "vg#0", "fs#0", "fs#1", "app"]
    assert world.done == [f"check {rid}" for rid in order] + [f"start {rid}" for rid in order]
    world.done.clear()
    assert action(world).stop() == DONE
    assert world.done == [f"stop {rid}" for rid in reversed(order)]
    assert not record(world)


def test_a_start_of_what_is_up_changes_nothing_and_is_fine(world: World) -> None:
    resources = whole(world)
    action(world).start()
    for each in resources.values():
        each.activated = False
    assert action(world).start() == DONE
    assert not any(each.activated for each in resources.values())
    assert action(world).stop() == DONE
    assert action(world).stop() == DONE


def test_a_conflict_refuses_the_whole_start(world: World) -> None:
    whole(world)["ip#0"].conflict = "37.59.71.26 is in use by 52:54:00:db:db:29"
    assert action(world).start() == FAILED
    assert world.done == ["check ip#0"]
    assert world.lines[-2:] == [
        "ERROR   WEB                     'start' action stopped on execution error: "
        "start aborted due to resource ip#0 conflict",
        "INFO    WEB                     skip rollback start: no resource activated",
    ]


def test_a_check_that_crashes_is_no_yes(world: World) -> None:
    fake = whole(world)["ip#0"]
    fake.abort_check = lambda ctx: 1 // 0  # type: ignore[method-assign,assignment,return-value]
    assert action(world).start() == FAILED
    assert not [done for done in world.done if done.startswith("start")]


@pytest.mark.parametrize("how", ["start", "start!"])
def test_a_failed_start_is_rolled_back(world: World, how: str) -> None:
    resources = whole(world)
    resources["vg#0"].up = True  # before us: it is left alone
    resources["fs#1"].fails = {how}
    assert action(world).start() == FAILED
    stopped = [done for done in world.done if done.startswith("stop")]
    assert stopped == (["stop fs#1"] if how == "start!" else []) + ["stop fs#0", "stop ip#0"]
    assert [rid for rid, each in resources.items() if each.up] == ["vg#0"]
    assert not record(world)


def test_a_rollback_that_fails_is_not_clean(world: World) -> None:
    resources = whole(world)
    resources["app"].fails = {"start"}
    resources["fs#0"].fails = {"stop"}
    assert action(world).start() == UNCLEAN
    assert [done for done in world.done if done.startswith("stop")] == ["stop fs#1", "stop fs#0"]
    assert record(world).split() == ["ip#0", "vg#0", "fs#0"], "the next start knows what is left"


def test_what_a_killed_start_left_is_rolled_back_by_the_next_one_that_fails(world: World) -> None:
    resources = whole(world)
    Path(world.paths.run).mkdir()
    Path(world.paths.run, "web.start").write_text("ip#0\n")
    resources["ip#0"].up = True
    resources["vg#0"].fails = {"start"}
    assert action(world).start() == FAILED
    assert not resources["ip#0"].up
    assert not record(world)


def test_without_the_record_what_a_killed_start_left_would_be_called_clean(world: World) -> None:
    """The twin of the test above."""
    resources = whole(world)
    resources["ip#0"].up = True
    resources["vg#0"].fails = {"start"}
    assert action(world).start() == FAILED
    assert resources["ip#0"].up


def test_no_start_without_a_record_of_it(world: World) -> None:
    whole(world)
    Path(world.paths.run).write_text("a file where the folder should be")
    assert action(world).start() == FAILED
    assert not [done for done in world.done if done.startswith("start")]


def test_a_command_that_nobody_could_end_leaves_all_as_it_is(world: World) -> None:
    resources = whole(world)
    resources["fs#0"].fails = {"start!"}
    resources["fs#0"].error = StillRunning
    assert action(world).start() == UNCLEAN
    assert not [done for done in world.done if done.startswith("stop")]


def test_rollback_may_be_switched_off_and_is_then_not_clean(world: World) -> None:
    resources = whole(world)
    resources["fs#0"].fails = {"start"}
    assert action(world, rollback=False).start() == UNCLEAN
    assert resources["ip#0"].up


def test_an_optional_resource_fails_alone(world: World) -> None:
    resources = whole(world)
    optional = world.add("fs#2", optional=True)
    optional.fails = {"start!"}
    assert action(world).start() == DONE
    assert resources["app"].up
    assert not optional.up


def test_a_stop_that_leaves_an_optional_resource_is_not_clean(world: World) -> None:
    """The other node mounts the same disk on the strength of a 0."""
    whole(world)
    optional = world.add("fs#2", optional=True)
    action(world).start()
    optional.fails = {"stop"}
    world.done.clear()
    assert action(world).stop() == UNCLEAN
    assert world.done[-1] == "stop ip#0", "all others are stopped"


def test_a_stop_that_fails_goes_no_deeper(world: World) -> None:
    resources = whole(world)
    action(world).start()
    resources["fs#0"].fails = {"stop"}
    assert action(world).stop() == UNCLEAN
    assert world.done[-1] == "stop fs#0"
    assert resources["vg#0"].up


def test_a_disabled_resource_is_left_alone(world: World) -> None:
    whole(world)
    world.add("fs#2", disable=True)
    action(world).start()
    action(world).stop()
    assert not [done for done in world.done if "fs#2" in done]


def test_what_is_always_on_stays_up(world: World) -> None:
    always = world.add("fs#0", always_on=("nodes",))
    action(world).start()
    assert action(world).stop() == DONE
    assert always.up
    assert action(world, only=[always]).stop() == DONE
    assert not always.up, "unless it is named"


def test_a_signal_ends_a_start_at_the_next_resource(world: World) -> None:
    resources = whole(world)
    service = world.service()
    came = Action(service, Journal(world.paths.run, "web"), lambda: resources["vg#0"].up)
    assert came.start() == FAILED
    assert [done for done in world.done if not done.startswith("check")] == [
        "start ip#0",
        "start vg#0",
        "stop vg#0",
        "stop ip#0",
    ]


def test_a_signal_ends_a_stop_and_that_is_not_clean(world: World) -> None:
    whole(world)
    assert action(world, told=True).stop() == UNCLEAN


def test_a_subset_acts_together_and_after_those_without_one(world: World) -> None:
    barrier = threading.Barrier(2, timeout=10)

    class Meeting(Fake):
        def start(self, ctx: object) -> None:
            barrier.wait()
            super().start(ctx)  # type: ignore[arg-type]

    plain = world.add("fs#9")
    for rid in ("fs#0", "fs#1"):
        world.resources.append(Meeting(rid, world, subset="a"))
    assert action(world).start() == DONE
    assert next(done for done in world.done if done.startswith("start")) == f"start {plain.rid}"


def test_a_fault_of_a_driver_is_a_failure_and_no_crash(world: World) -> None:
    resources = whole(world)
    resources["fs#0"].fails = {"start!"}
    resources["fs#0"].error = ZeroDivisionError
    assert action(world).start() == FAILED
    assert not resources["fs#0"].up
    assert any("a fault of the driver" in line for line in world.lines)


@pytest.mark.parametrize("what", ["start", "stop"])
def test_what_a_killed_start_changed_and_nobody_acts_on_any_more_is_not_clean(world: World, what: str) -> None:
    resources = whole(world)
    Path(world.paths.run).mkdir()
    Path(world.paths.run, "web.start").write_text("fs#1\nfs#7\n")
    resources["vg#0"].fails = {"start"}
    code = action(world).start() if what == "start" else action(world).stop()
    assert code == UNCLEAN
    assert "fs#7 may be up: a start that was cut short has changed it" in world.lines[-1]
    assert record(world).split() == ["fs#7"] if what == "start" else "fs#7" in record(world)
    Path(world.paths.run, "web.start").unlink()
    assert action(world).stop() == DONE, "once somebody has seen to it"


def test_a_stop_ends_the_record_of_a_killed_start(world: World) -> None:
    whole(world)
    Path(world.paths.run).mkdir()
    Path(world.paths.run, "web.start").write_text("fs#1\n")
    assert action(world).stop() == DONE
    assert not record(world)


def test_a_start_that_is_refused_undoes_what_a_killed_one_left(world: World) -> None:
    """Its exit code says that nothing is left, and the record of the killed one ends with it."""
    resources = whole(world)
    Path(world.paths.run).mkdir()
    Path(world.paths.run, "web.start").write_text("ip#0\nfs#0\n")
    resources["ip#0"].up = resources["fs#0"].up = True
    resources["fs#1"].conflict = "/dev/sdb1 is in use on this machine"
    assert action(world).start() == FAILED
    assert not resources["ip#0"].up
    assert not resources["fs#0"].up
    assert not record(world)


def test_a_start_of_some_resources_keeps_the_record_of_the_others(world: World) -> None:
    resources = whole(world)
    Path(world.paths.run).mkdir()
    Path(world.paths.run, "web.start").write_text("ip#0\n")
    resources["ip#0"].up = True
    assert action(world, only=[resources["fs#0"]]).start() == DONE
    assert record(world) == "ip#0\n"
    resources["fs#1"].fails = {"start"}
    assert action(world, only=[resources["fs#1"]]).start() == UNCLEAN
    assert "none of those that were chosen; a stop of the whole service sees to it" in world.lines[-1]
    assert action(world).stop() == DONE
    assert not record(world)


def test_a_full_disk_ends_no_rollback(world: World) -> None:
    resources = whole(world)

    def fill(ctx: object) -> None:
        Path(world.paths.run, "web.start.new").mkdir()  # from now on the record cannot be written
        raise ResourceError("no space left on device")

    resources["fs#1"].start = fill  # type: ignore[method-assign]
    assert action(world).start() == FAILED
    assert not [rid for rid, each in resources.items() if each.up]
    assert any("web.start cannot be written" in line for line in world.lines)
    assert not record(world)
