"""A volume group is taken by one node at a time. On a recorded LVM (``lvm.py``)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ha.services.errors import ResourceError
from ha.services.resource import Resource
from ha.services.runner import Done, Runner
from ha.services.state import State
from tests.unit.services.resources.lvm import Lvm
from tests.unit.services.resources.world import context, make


@pytest.fixture
def vg() -> Resource:
    return make("vg#0", {"vgname": "vgsvc1"})


def test_start_takes_the_tag_and_activates_and_stop_gives_it_back(tmp_path: Path, vg: Resource) -> None:
    lvm, lines = Lvm(tmp_path / "lvm"), list[str]()
    ctx = context(tmp_path, lines, lvm.env)
    assert vg.status(ctx).state is State.DOWN
    assert vg.abort_check(ctx) == ""
    vg.start(ctx)
    assert vg.activated
    assert (lvm.tags, lvm.active) == (["node1"], True)
    assert vg.status(ctx).state is State.UP
    vg.stop(ctx)
    assert (lvm.tags, lvm.active) == ([], False)
    assert lines == [
        "INFO vgchange --addtag @node1 vgsvc1",
        'INFO output:\n  Volume group "vgsvc1" successfully changed\n',
        "INFO vgchange -a y vgsvc1",
        'INFO output:\n  2 logical volume(s) in volume group "vgsvc1" now active\n',
        "INFO vgchange --deltag @node1 vgsvc1",
        'INFO output:\n  Volume group "vgsvc1" successfully changed\n',
        "INFO kpartx -d /dev/vgsvc1/lvappsvc1",
        "INFO kpartx -d /dev/vgsvc1/lvdatasvc1",
        "INFO vgchange -a n vgsvc1",
        'INFO output:\n  0 logical volume(s) in volume group "vgsvc1" now active\n',
    ], "to the letter of the tutorial"


def test_what_is_up_or_down_already_is_left_alone(tmp_path: Path, vg: Resource) -> None:
    lvm, lines = Lvm(tmp_path / "lvm", active=True), list[str]()
    ctx = context(tmp_path, lines, lvm.env)
    vg.start(ctx)
    assert (lines, vg.activated) == (["INFO vgsvc1 is already up"], False)
    vg.stop(ctx)
    vg.stop(ctx)
    assert lvm.calls[-1] == "vgchange -a n vgsvc1"
    assert len(lvm.calls) == 3, "the second stop does nothing"


def test_the_tag_of_a_node_that_may_be_up_refuses_the_start(tmp_path: Path, vg: Resource) -> None:
    lvm = Lvm(tmp_path / "lvm", "node2", "backed-up-daily")
    ctx = context(tmp_path, None, lvm.env)
    assert vg.abort_check(ctx).startswith("volume group vgsvc1 has the tag of node2, which is not known to be down")
    with pytest.raises(ResourceError, match="has the tag of node2"):
        vg.start(ctx)
    assert (lvm.tags, lvm.calls) == (["backed-up-daily", "node2"], [])


@pytest.mark.parametrize("how", ["cluster", "force"])
def test_without_that_refusal_the_group_of_the_other_node_is_taken(tmp_path: Path, vg: Resource, how: str) -> None:
    """The twin, and what a clusterware and ``--force`` may do; the log says so."""
    lvm, lines = Lvm(tmp_path / "lvm", "node2", "backed-up-daily"), list[str]()
    ctx = context(tmp_path, lines, lvm.env, **{how: True})
    assert vg.abort_check(ctx) == ""
    vg.start(ctx)
    assert (lvm.tags, lvm.active) == (["backed-up-daily", "node1"], True)
    assert lines[0].startswith("WARNING vgsvc1 has the tag of node2, which is taken away: ")


def test_of_two_that_take_it_at_once_nobody_does(tmp_path: Path, vg: Resource) -> None:
    lvm = Lvm(tmp_path / "lvm")
    lvm.put("race", "node2\n")
    with pytest.raises(ResourceError, match="node2 took volume group vgsvc1 at the same time"):
        vg.start(context(tmp_path, None, lvm.env))
    assert (lvm.tags, lvm.active) == (["node2"], False)


def test_a_group_that_stays_active_keeps_its_tag(tmp_path: Path, vg: Resource) -> None:
    lvm = Lvm(tmp_path / "lvm", "node1", active=True)
    lvm.put("refuse")
    with pytest.raises(ResourceError, match="stays active"):
        vg.stop(context(tmp_path, None, lvm.env))
    assert (lvm.tags, lvm.active) == (["node1"], True)
    assert lvm.calls.count("vgchange -a n vgsvc1") == 3


def test_activation_that_does_nothing_is_not_believed(tmp_path: Path, vg: Resource) -> None:
    lvm = Lvm(tmp_path / "lvm")
    lvm.put("refuse")
    with pytest.raises(ResourceError, match="no logical volume of vgsvc1 is active"):
        vg.start(context(tmp_path, None, lvm.env))
    assert vg.activated, "so that the rollback takes the tag away"


def test_what_cannot_be_seen_is_told(tmp_path: Path, vg: Resource) -> None:
    lvm = Lvm(tmp_path / "lvm", "node2", active=True)
    ctx = context(tmp_path, None, lvm.env)
    assert vg.status(ctx).notes == ("is active here, and has the tag of node2",)
    lvm.put("no-driver")
    assert vg.status(ctx).state is State.WARN
    gone = make("vg#1", {"vgname": "nosuch"})
    assert gone.status(ctx).state is State.DOWN
    gone.stop(ctx)
    with pytest.raises(ResourceError, match="not visible"):
        gone.start(ctx)
    without = context(tmp_path, None, {"PATH": "/nowhere"})
    assert vg.status(without).notes == ("vgs exited 127: vgs: No such file or directory",)


def test_a_name_that_lvm_would_take_for_an_option() -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        make("vg#0", {"vgname": "-ff"})


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


@pytest.mark.parametrize("step", ["--addtag", "-a"])
@pytest.mark.parametrize("following", ["start", "stop"])
def test_a_start_that_was_killed_is_finished_or_undone(tmp_path: Path, vg: Resource, step: str, following: str) -> None:
    lvm = Lvm(tmp_path / "lvm")
    ctx = context(tmp_path, None, lvm.env)

    class Mortal(Runner):
        def run(self, argv: Sequence[str], timeout: float, **options: Any) -> Done:
            done = super().run(argv, timeout, **options)
            if step in argv:
                raise Killed
            return done

    with pytest.raises(Killed):
        vg.start(replace(ctx, runner=Mortal(lvm.env)))
    after = make("vg#0", {"vgname": "vgsvc1"})
    if following == "start":
        after.start(ctx)
        assert (lvm.tags, lvm.active) == (["node1"], True)
    after.stop(ctx)
    assert (lvm.tags, lvm.active) == ([], False)
