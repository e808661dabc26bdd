"""What the lab remembers: it reads back as written, and nothing of another boot or hand is believed."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ha.lab import process, state, where
from ha.lab.errors import LabError
from ha.lab.process import ProcessId
from ha.lab.state import LabState, NodeState

NODE = NodeState(
    "node1", 1, ProcessId(10, 20), (ProcessId(11, 21), ProcessId(12, 22)), "/dev/loop3", mute=True, fault="eio",
    paused=True, stopped_before=(ProcessId(13, 23),),
)  # fmt: skip


def lab() -> LabState:
    return LabState("abcd", state.boot_id(), (NodeState("client", 0), NODE), up=True, helpers=(ProcessId(14, 24),))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state.save(str(tmp_path), lab())
    assert state.load(str(tmp_path)) == lab()
    assert os.stat(tmp_path / "state.json").st_mode & 0o777 == 0o600
    assert where.first_process(str(tmp_path), "node1") == (10, 20)


def test_after_a_reboot_of_the_machine_no_recorded_process_is_believed(tmp_path: Path) -> None:
    state.save(str(tmp_path), replace(lab(), boot="another"))
    loaded = state.load(str(tmp_path))
    assert loaded is not None
    assert loaded.helpers == () and loaded.node("node1").init is None and loaded.node("node1").disk == ()
    assert loaded.node("node1").fault == "eio"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"version": 2}', '{"version": 1, "nodes": [{"name": 1}]}', "\xff"]
)
def test_a_file_that_is_not_ours_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text, encoding="latin-1")
    with pytest.raises(LabError, match="is not a lab's state"):
        state.load(str(tmp_path))
    with pytest.raises(LabError, match="is not a lab's state"):
        where.first_process(str(tmp_path), "node1")


def test_an_unknown_or_powered_off_node_is_named(tmp_path: Path) -> None:
    state.save(str(tmp_path), lab())
    for find in (lambda name: where.first_process(str(tmp_path), name), lab().node):
        with pytest.raises(LabError, match="unknown node 'node7'; this lab has client, node1"):
            find("node7")
    with pytest.raises(LabError, match="client is powered off"):
        where.first_process(str(tmp_path), "client")
    with pytest.raises(LabError, match=r"no lab in .*; make one with: ezha lab up"):
        where.first_process(str(tmp_path / "nowhere"), "client")


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    state.check_owner(str(tmp_path))
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(LabError):
        state.check_owner(str(link))
    tmp_path.chmod(0o770)
    with pytest.raises(LabError):
        state.check_owner(str(tmp_path))


def test_a_lock_on_a_removed_file_is_no_lock(tmp_path: Path) -> None:
    with state.locked(str(tmp_path)):
        state.remove_lock(str(tmp_path))
        with state.locked(str(tmp_path)):  # a new lab in the same folder does not wait for the old one's end
            assert (tmp_path / "lock").exists()


def test_a_pid_with_another_start_time_is_another_process() -> None:
    ourselves = process.identify(os.getpid())
    assert ourselves is not None and process.alive(ourselves)
    reused = replace(ourselves, start=ourselves.start + 1)
    assert not process.alive(reused)
    assert process.send(reused, 0) is False
    assert process.send(ourselves, 0) is True
    assert process.wait_gone([reused], 1.0) == []
    assert process.wait_gone([ourselves], 0.0) == [ourselves]


def test_the_record_is_plain_json(tmp_path: Path) -> None:
    state.save(str(tmp_path), lab())
    assert json.loads((tmp_path / "state.json").read_text())["nodes"][1]["init"] == {"pid": 10, "start": 20}
