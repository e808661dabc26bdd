"""What the heartbeat says, and fencing on the strength of it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ha.services.context import Context
from ha.services.errors import ResourceError
from ha.services.resource import Fencer
from ha.services.resources.hb import OpenHA
from ha.services.runner import Runner
from ha.services.state import State
from tests.unit.services.resources.world import context, make


class Heartbeat(OpenHA):
    """With a daemon that runs, or does not: no process of this machine is asked."""

    alive = True

    def running(self) -> bool:
        return self.alive


def heartbeat(folder: Path, **states: str) -> Heartbeat:
    made = Heartbeat("hb#0", make("hb#0", {"type": "OpenHA"}).values)
    made.environ = {"EZ": str(folder)}
    place = folder / "services/svc1"
    place.mkdir(parents=True, exist_ok=True)
    for node, text in states.items():
        (place / f"STATE.{node}").write_bytes(text.encode())
    return made


@pytest.mark.parametrize(
    ("text", "state", "notes"),
    [
        ("2 STARTED\n", State.UP, ()),
        ("2\0", State.UP, ()),
        ("0 STOPPED\n", State.DOWN, ()),
        ("6 FROZEN_STOP\n", State.WARN, ("cluster service status is FROZEN_STOP",)),
        ("7 FROZEN_START\n", State.WARN, ("cluster service status is FROZEN_START",)),
        ("7\0", State.WARN, ("cluster service status is START_READY",)),
        ("", State.WARN, ("cluster service status is UNKNOWN",)),
        ("\xff" * 100, State.WARN, ("cluster service status is UNKNOWN",)),
        ("2 rm -rf\n", State.UP, ()),
    ],
)
def test_the_local_state_is_the_resource_s(tmp_path: Path, text: str, state: State, notes: tuple[str, ...]) -> None:
    seen = heartbeat(tmp_path, node1=text).status(context(tmp_path))
    assert (seen.state, seen.notes) == (state, notes)


def test_without_the_daemon_the_states_are_of_the_past(tmp_path: Path) -> None:
    made = heartbeat(tmp_path, node1="2 STARTED\n")
    made.alive = False
    assert made.status(context(tmp_path)).notes == ("open-ha daemons are not running",)
    assert made.label == "hb.openha"


def test_a_fifo_or_a_link_in_the_place_of_a_state_holds_nobody_up(tmp_path: Path) -> None:
    made = heartbeat(tmp_path)
    os.mkfifo(tmp_path / "services/svc1/STATE.node1")
    (tmp_path / "services/svc1/STATE.node2").symlink_to("/etc/passwd")
    ctx = context(tmp_path)
    assert [made.state_of(ctx, node) for node in ("node1", "node2", "node3")] == ["UNKNOWN"] * 3


# -------------------------------------------------------------------------------------------------------- stonith


def fencer(folder: Path, code: int = 0) -> Fencer:
    program = folder / "fence"
    program.write_text(f'#!/bin/sh\necho "$@" >>{folder}/fenced\nexit {code}\n')
    program.chmod(0o755)
    made = make("stonith#0", {"type": "callout", "cmd": f"{program} --now", "target": "node2-ilo"})
    assert isinstance(made, Fencer)
    return made


def world(folder: Path, hb: OpenHA | None, lines: list[str], **changes: object) -> Context:
    return context(folder, lines, siblings=lambda group: (hb,) if hb else (), **changes)


def test_a_peer_that_is_heard_is_not_fenced(tmp_path: Path) -> None:
    lines: list[str] = []
    fencer(tmp_path).fence(world(tmp_path, heartbeat(tmp_path, node2="0 STOPPED\n"), lines))
    assert lines == ["INFO stonith bypassed"]
    assert not (tmp_path / "fenced").exists()


@pytest.mark.parametrize("peer", ["8 UNKNOWN\n", "8\0", "", "garbage"])
def test_a_peer_that_is_unknown_is_fenced(tmp_path: Path, peer: str) -> None:
    fencer(tmp_path).fence(world(tmp_path, heartbeat(tmp_path, node2=peer), []))
    assert (tmp_path / "fenced").read_text() == "--now node2-ilo\n"


def test_a_fencing_that_fails_forbids_the_start(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"the peer may still be on: .*fence exited 1"):
        fencer(tmp_path, code=1).fence(world(tmp_path, heartbeat(tmp_path, node2="8 UNKNOWN\n"), []))


def test_nobody_is_taken_for_heard_where_nobody_listens(tmp_path: Path) -> None:
    stale = heartbeat(tmp_path, node2="0 STOPPED\n")
    stale.alive = False
    for hb, why in ((stale, "daemons are not running"), (None, "no enabled hb resource")):
        with pytest.raises(ResourceError, match=why):
            fencer(tmp_path).fence(world(tmp_path, hb, []))
    fencer(tmp_path).fence(world(tmp_path, None, [], force=True))
    assert (tmp_path / "fenced").exists(), "a person insisted"


def test_a_fence_agent_is_told_all_on_its_standard_input(tmp_path: Path) -> None:
    """A password is not seen in ``ps``, nor in the log."""
    (tmp_path / "bin").mkdir()
    agent = tmp_path / "bin/fence_lab"
    agent.write_text(f'#!/bin/sh\necho "$#" >{tmp_path}/told; cat >>{tmp_path}/told\n')
    agent.chmod(0o755)
    keys = {"type": "fence_lab", "target": "10.0.0.9", "username": "admin", "password": "secret=1"}
    made = make("stonith#0", keys)
    assert isinstance(made, Fencer)
    lines: list[str] = []
    ctx = world(tmp_path, heartbeat(tmp_path, node2="8 UNKNOWN\n"), lines)
    made.fence(replace(ctx, runner=Runner({"PATH": f"{tmp_path}/bin:/usr/bin:/bin"})))
    told = (tmp_path / "told").read_text().splitlines()
    assert told == ["0", "username=admin", "password=secret=1", "action=off", "ip=10.0.0.9"]
    assert lines == ["INFO fence_lab"]


def test_ilo_is_the_agent_of_that_name(tmp_path: Path) -> None:
    assert make("stonith#0", {"type": "ilo", "target": "10.0.0.9"}).label == "fence_ilo 10.0.0.9"
    with pytest.raises(ValueError, match="names no fence agent"):
        make("stonith#0", {"type": "../../bin/sh"})
    with pytest.raises(ValueError, match="is not an absolute path"):
        make("stonith#0", {"type": "callout", "cmd": "fence", "target": "node2"})
