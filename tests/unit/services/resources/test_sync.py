"""Copies on the other nodes: when they are made, from where, and who needs one. rsync and ssh are on PATH, and note
what they are called with.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.services.context import Context
from ha.services.errors import ResourceError
from ha.services.resources.sync import Sync
from ha.services.state import State
from tests.unit.services.resources.world import context, make

NIGHT = 1_700_000_000.0 - 1_700_000_000 % 86_400 + 4.5 * 3600
"""04:30 UTC."""


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def sync(now: float = NIGHT, **keys: str) -> Sync:
    made = make("sync#i0", keys)
    assert isinstance(made, Sync)
    made.now = lambda: now  # type: ignore[misc]
    return made


def world(folder: Path, lines: list[str], **changes: object) -> Context:
    """With programs that note their arguments, and fail where ``fail`` names the node."""
    (folder / "bin").mkdir(exist_ok=True)
    for name in ("rsync", "ssh"):
        program = folder / "bin" / name
        program.write_text(
            f'#!/bin/sh\necho {name} "$*" >>{folder}/calls\n'
            f'case "$*" in *"$(cat {folder}/fail 2>/dev/null || echo nobody)"*) echo "no route" >&2; exit 12;; esac\n'
        )
        program.chmod(0o755)
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc/svc1.env").write_text("[DEFAULT]\n")
    if not (folder / "etc/svc1.d").is_symlink():
        (folder / "etc/svc1.d").symlink_to("/svc1/app/init.d")
    env = {"PATH": f"{folder}/bin:/usr/bin:/bin"}
    changes = {"config": f"{folder}/etc/svc1.env", **changes}
    return context(folder, lines, env, **changes)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


def test_a_copy_goes_to_the_other_nodes_and_they_are_told(tmp_path: Path) -> None:
    lines: list[str] = []
    ctx = world(tmp_path, lines, force=True)
    assert sync().label == "rsync svc config to drpnodes, nodes"
    assert sync().status(ctx).notes == ("node2 need update",)
    sync().copy(ctx, "nodes")
    etc = f"{tmp_path}/etc"
    var = f"{tmp_path}/var/svc1.sync#i0"
    ssh = "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=10"
    assert calls(tmp_path) == [
        f"rsync -a --timeout=60 -e {ssh} -- {etc}/svc1.env {etc}/svc1.d node2:{etc}/",
        f"rsync -a --timeout=60 -e {ssh} -- {var}.node1 {var}.node2 node2:{tmp_path}/var/",
        f"{ssh} -- node2 svcmgr -s svc1 --waitlock 3600 postsync",
    ]
    assert lines == ["INFO exec 'svcmgr -s svc1 --waitlock 3600 postsync' on node node2"]
    assert sync().status(ctx).state is State.UP
    assert sync(NIGHT + 27 * 3600).status(ctx).state is State.DOWN, "it is late by now"
    assert sync(NIGHT - 3600).status(ctx).state is State.DOWN, "a copy of the future is none: the clock was set back"


def test_a_passive_node_knows_whether_it_has_a_copy(tmp_path: Path) -> None:
    ctx = world(tmp_path, [], node="node2", group_state=lambda groups: State.DOWN)
    assert (sync().status(ctx).state, sync().status(ctx).notes) == (State.WARN, ("passive node needs update",))
    sync().received(ctx)
    assert sync().status(ctx).state is State.UP
    alone = world(tmp_path, [], nodes=("node1",))
    assert sync().status(alone).state is State.NA


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (NIGHT + 12 * 3600, "INFO skip sync: not in allowed period (['03:59', '05:59'])"),
        (NIGHT + 60, "INFO skip sync: last copy was made 0:01:00 ago, and sync_interval is 2:01:00"),
    ],
)
def test_without_force_the_schedule_holds(tmp_path: Path, now: float, said: str) -> None:
    lines: list[str] = []
    ctx = world(tmp_path, lines)
    sync(NIGHT).copy(ctx, "nodes")
    assert len(calls(tmp_path)) == 3, "in the window, and none was made yet"
    lines.clear()
    sync(now).copy(ctx, "nodes")
    assert (lines, len(calls(tmp_path))) == ([said], 3)


def test_a_window_over_midnight(tmp_path: Path) -> None:
    ctx = world(tmp_path, [])
    sync(NIGHT, schedule="22:00-02:00").copy(ctx, "nodes")
    assert calls(tmp_path) == []
    sync(NIGHT - 4 * 3600, schedule="22:00-02:00").copy(ctx, "nodes")
    assert len(calls(tmp_path)) == 3


def test_nothing_is_copied_from_where_the_service_is_not_up(tmp_path: Path) -> None:
    """Even with ``--force``: the files of a passive node are the older ones."""
    lines: list[str] = []
    sync().copy(world(tmp_path, lines, force=True, group_state=lambda groups: State.DOWN), "nodes")
    assert calls(tmp_path) == []
    assert "not up here" in lines[0]
    sync().copy(world(tmp_path, lines, force=True), "nodes")
    assert len(calls(tmp_path)) == 3, "the twin: up, it copies"


def test_where_there_are_only_applications_they_tell_where_it_is_up(tmp_path: Path) -> None:
    seen = {"app": State.DOWN}
    group_state = lambda groups: seen.get(next(iter(groups)), State.UNDEF)  # noqa: E731
    ctx = world(tmp_path, [], force=True, group_state=group_state)
    sync().copy(ctx, "nodes")
    assert calls(tmp_path) == []
    seen["app"] = State.UP
    sync().copy(ctx, "nodes")
    assert len(calls(tmp_path)) > 1


def test_a_node_that_cannot_be_reached_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    lines: list[str] = []
    ctx = world(tmp_path, lines, force=True, nodes=("node1", "node2", "node3"))
    (tmp_path / "fail").write_text("node2:")
    with pytest.raises(ResourceError, match="node2 got no copy"):
        sync().copy(ctx, "nodes")
    assert lines[0] == "ERROR node2: rsync exited 12: no route"
    assert sync().status(ctx).notes == ("node2 need update",)


def test_other_files_go_where_the_section_says(tmp_path: Path) -> None:
    more = sync(src="/srv/site /srv/keys", dst="/srv", target="nodes")
    ctx = world(tmp_path, [], force=True, drpnodes=("drp1",))
    more.copy(ctx, "drpnodes")
    assert calls(tmp_path) == []
    more.copy(ctx, "nodes")
    assert calls(tmp_path)[0].endswith("-- /srv/site /srv/keys node2:/srv/")
    assert os.listdir(tmp_path / "var")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"src": "/srv/site"}, "belong together"),
        ({"src": "site", "dst": "/srv"}, "not an absolute path"),
        ({"src": "/srv", "dst": "/srv/$(reboot)"}, "has a character"),
        ({"target": "everybody"}, "neither nodes nor drpnodes"),
        ({"schedule": "04-06"}, "no time of day"),
    ],
)
def test_what_cannot_be_meant(keys: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        sync(**keys)
