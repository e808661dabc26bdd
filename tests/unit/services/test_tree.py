"""``print status`` to the letter of the tutorial."""

from pathlib import Path

import pytest

from ha.services.state import State
from ha.services.tree import coloured, status_data, status_text
from tests.unit.services.fake import Fake, World


def shown(fake: Fake, label: str, state: State, *notes: str) -> None:
    fake.labelled, fake.state, fake.notes = label, state, notes


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, "p26.opensvc.com")
    for rid, label, state, *notes in (
        ("ip#0", "p26.opensvc.com@eth0", State.UP),
        ("vg#0", "vgsvc1", State.UP),
        ("fs#0", "/dev/mapper/vgsvc1-lvappsvc1@/svc1/app", State.UP),
        ("app", "app", State.NA, "no checkup scripts"),
        ("sync#i0", "rsync svc config to drpnodes, nodes", State.DOWN, "node2 need update"),
    ):
        shown(world.add(rid), label, state, *notes)
    return world


SAMPLE = """\
p26.opensvc.com
overall                   warn
|- avail                  up
|  |- vg#0           .... up       vgsvc1
|  |- fs#0           .... up       /dev/mapper/vgsvc1-lvappsvc1@/svc1/app
|  |- ip#0           .... up       p26.opensvc.com@eth0
|  '- app            .... n/a      app
|                                  # no checkup scripts
|- sync                   down
|  '- sync#i0        .... down     rsync svc config to drpnodes, nodes
|                                  # node2 need update
'- hb                     n/a"""


def test_the_sample_of_the_specification(world: World) -> None:
    assert status_text(world.service()) == SAMPLE


def test_a_heartbeat_stands_last(world: World) -> None:
    shown(world.add("hb#0"), "hb.openha", State.WARN, "open-ha daemons are not running")
    assert status_text(world.service()).endswith(
        "'- hb                     warn\n"
        "   '- hb#0           .... warn     hb.openha\n"
        "                                   # open-ha daemons are not running"
    )


def test_flags_and_disabled_resources(world: World) -> None:
    world.add("fs#1", monitor=True, disable=True, optional=True)
    text = status_text(world.service())
    assert "|  |- fs#1           MDO. n/a      label of fs#1\n" in text


def test_a_disabled_or_optional_resource_does_not_count(world: World) -> None:
    shown(world.add("fs#1", optional=True), "x", State.DOWN)
    shown(world.add("fs#2", disable=True), "y", State.DOWN)
    assert world.service().avail is State.UP


def test_colours_change_no_letter(world: World) -> None:
    import re

    text = status_text(world.service(), coloured)
    assert "\x1b[31mdown\x1b[0m" in text
    assert re.sub(r"\x1b\[[0-9]*m", "", text) == SAMPLE


def test_what_a_driver_found_cannot_steer_the_terminal(world: World) -> None:
    shown(world.add("ip#1"), "eth0\x1b[2J", State.UP, "a\nb")
    assert "eth0?[2J\n|  |                               # a?b\n" in status_text(world.service())


def test_the_same_as_data(world: World) -> None:
    data = status_data(world.service())
    assert (data["overall"], data["avail"], data["sync"], data["hb"]) == ("warn", "up", "down", "n/a")
    assert data["resources"]["sync#i0"]["notes"] == ["node2 need update"]
    assert list(data["resources"]) == ["vg#0", "fs#0", "ip#0", "app", "sync#i0"]


def test_a_driver_that_crashes_hides_no_other_resource(world: World) -> None:
    broken = world.add("fs#1")
    broken.status = lambda ctx: 1 // 0  # type: ignore[method-assign,assignment,return-value]
    text = status_text(world.service())
    assert "|  |- fs#1           .... warn     label of fs#1\n" in text
    assert "# ZeroDivisionError: integer division or modulo by zero (a fault of the driver)" in text
    assert "|  |- fs#0           .... up " in text
