"""svcmgr's actions: the safety net, maintenance, selection, freeze, what status answers, and changes of the file."""

import os
from pathlib import Path

import pytest

from ha.services.context import Paths
from ha.services.errors import ServiceError
from ha.services.lock import Busy
from ha.services.log import formatted
from ha.services.manager import REFUSED, Manager, Options
from ha.services.tree import status_text
from tests.unit.services.fake import NOON

pytestmark = pytest.mark.usefixtures("drivers")
FILE = "[DEFAULT]\nnodes = node1 node2\n\n[fs#0]\nmnt = /a # the first\ntags = one\n\n[fs#1]\nmnt = /b\n"


class Node:
    def __init__(self, place: Path) -> None:
        self.paths = Paths(*(str(place / part) for part in ("etc", "var", "run", "tmp", "log")))
        self.lines: list[str] = []
        os.mkdir(self.paths.etc)
        os.mkdir(self.paths.run)
        self.program = place / "svcmgr"
        self.program.touch()
        self.file = Path(self.paths.etc, "web.env")
        self.file.write_text(FILE)

    def manager(self, host: str = "node1", **options: object) -> Manager:
        self.lines.clear()
        return Manager(
            "web",
            Options(**options),  # type: ignore[arg-type]
            lambda level, who, text: self.lines.append(formatted(level, who, text, NOON)[9:]),
            program=str(self.program),
            paths=self.paths,
            host=host,
        )

    def up(self) -> list[str]:
        return sorted(name.removesuffix(".up") for name in os.listdir(self.paths.run) if name.endswith(".up"))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_start_status_stop(node: Node) -> None:
    manager = node.manager()
    assert manager.status_code(manager.service()) == 3
    assert manager.act("start") == 0
    assert node.up() == ["fs#0", "fs#1"]
    assert manager.status_code(manager.service()) == 0
    assert node.manager(rids=("fs#0",)).act("stop") == 0
    assert node.up() == ["fs#1"]
    assert manager.status_code(manager.service()) == 1, "half of a service is neither up nor down"
    assert node.manager(tags=("one",)).act("start") == 0
    assert manager.act("restart") == 0
    assert manager.act("stop") == 0
    assert node.up() == []


def test_status_says_down_only_where_nothing_is_up(node: Node) -> None:
    node.file.write_text(FILE + "optional = True\n")
    manager = node.manager()
    Path(node.paths.run, "fs#1.up").touch()
    assert manager.service().avail.value == "down"
    assert manager.status_code(manager.service()) == 1
    Path(node.paths.run, "fs#1.up").unlink()
    assert manager.status_code(manager.service()) == 3


def test_status_says_neither_where_it_cannot_see(node: Node) -> None:
    node.file.write_text(FILE + "fails = status\n")
    manager = node.manager()
    assert "# it cannot be seen" in status_text(manager.service())
    assert manager.status_code(manager.service()) == 1


def test_another_resource_than_there_is(node: Node) -> None:
    with pytest.raises(ServiceError, match=r"web has no resource fs#7; it has: app, fs#0, fs#1, sync#i0"):
        node.manager(rids=("fs#7",)).act("start")
    assert node.up() == []


def test_a_node_of_no_part_does_nothing(node: Node) -> None:
    with pytest.raises(ServiceError, match="node3 is not a node of web"):
        node.manager("node3").act("start")


def test_a_broken_file_starts_nothing(node: Node) -> None:
    node.file.write_text(FILE + "[fs#2]\n")
    with pytest.raises(ServiceError, match=r"web.env:10: \[fs#2\] mnt is missing"):
        node.manager().act("start")
    assert node.up() == []


def test_a_fault_of_ours_is_never_called_clean(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ha.services.action.Action.batches", lambda self: 1 // 0)
    assert node.manager().act("start") == 2
    assert node.lines[-1].endswith("(a fault of svcmgr): resources may be up")


# ---- the safety net

CLUSTERED = FILE + "\n[hb#0]\ntype = OpenHA\n"


@pytest.mark.parametrize("action", ["start", "stop", "restart", "stonith", "syncdrp"])
def test_a_service_of_a_clusterware_is_left_to_it(node: Node, action: str) -> None:
    node.file.write_text(CLUSTERED)
    assert node.manager().act(action) == 1
    assert node.lines == [f"INFO    WEB                     {REFUSED}"]
    assert node.up() == []


def test_the_clusterware_itself_is_not_refused(node: Node) -> None:
    node.file.write_text(CLUSTERED)
    assert node.manager(cluster=True).act("start") == 0
    assert node.up() == ["fs#0", "fs#1"]


@pytest.mark.parametrize("action", ["syncnodes", "postsync", "boot"])
def test_some_actions_are_everybodys(node: Node, action: str) -> None:
    node.file.write_text(CLUSTERED)
    assert node.manager().act(action) == 0


@pytest.mark.parametrize("action", ["start", "stop", "stonith"])
def test_in_maintenance_the_clusterware_gets_no_0(node: Node, action: str) -> None:
    """With 0, nmond would believe that the service started, or is gone."""
    node.file.write_text(CLUSTERED + "disable = True\n")
    assert node.manager(cluster=True).act(action) == 1
    assert node.up() == []
    assert node.manager().act("start") == 0, "and a person may do what he must"
    assert node.up() == ["fs#0", "fs#1"]


def test_a_fence_that_fails_is_no_0(node: Node) -> None:
    assert node.manager().act("stonith") == 0, "nothing to ask"
    node.file.write_text(FILE + "[stonith#0]\n")
    assert node.manager().act("stonith") == 1
    assert node.lines[-1].endswith("the power switch does not answer")


# ---- links


def test_a_look_at_the_heartbeat_mends_both_links(node: Node) -> None:
    node.file.write_text(CLUSTERED)
    etc = node.paths.etc
    status_text(node.manager().service())
    assert node.lines == [
        f"INFO    WEB.HB#0                {etc}/web.{kind}: not regular file nor symlink. fix."
        for kind in ("cluster", "stonith")
    ]
    status_text(node.manager().service())
    assert node.lines == []
    for wrong, told in (
        (lambda path: path.symlink_to("/nowhere"), "broken link"),
        (lambda path: path.write_text("#!/bin/sh\n"), "regular file"),
        (lambda path: path.symlink_to("/bin/true"), "symlink exists but points to wrong file"),
    ):
        path = Path(etc, "web.cluster")
        path.unlink()
        wrong(path)
        status_text(node.manager().service())
        assert [line[32:] for line in node.lines] == [f"{path}: {told}. fix."]
        assert path.readlink() == node.program


def test_a_service_without_a_heartbeat_has_no_such_links(node: Node) -> None:
    status_text(node.manager().service())
    assert os.listdir(node.paths.etc) == ["web.env"]


# ---- locks


def test_one_action_at_a_time(node: Node) -> None:
    with node.manager().locked("start"):
        with pytest.raises(Busy, match=rf"start \(pid {os.getpid()}\) goes on: nothing was done"):
            node.manager(waitlock_s=0.0).act("stop")
        assert "fs#0" in status_text(node.manager().service()), "looking takes no lock"
    assert node.manager(waitlock_s=0.0).act("stop") == 0


def test_no_stop_waits_for_a_copy_and_no_copy_for_that_of_the_other_node(node: Node) -> None:
    other = node.manager()
    with other.locked("syncnodes", "sync"):
        assert node.manager(waitlock_s=0.0).act("stop") == 0
        assert node.manager(waitlock_s=0.0).act("postsync") == 0
        with pytest.raises(Busy, match="syncnodes"):
            node.manager(waitlock_s=0.0).act("syncnodes")
    with other.locked("stop"):
        assert node.manager(waitlock_s=0.0).act("postsync") == 0


# ---- freeze and boot


def test_boot_starts_where_it_should_and_nothing_that_is_frozen(node: Node) -> None:
    assert node.manager().act("boot") == 0
    assert node.up() == []
    node.file.write_text(FILE.replace("node2\n", "node2\nautostart_node = node1\n") + "always_on = nodes\n")
    manager = node.manager()
    manager.freeze(True)
    assert manager.frozen
    assert manager.act("boot") == 0
    assert node.up() == []
    manager.freeze(False)
    assert not manager.frozen
    assert node.manager("node2").act("boot") == 0
    assert node.up() == ["fs#1"], "what is always on"
    assert manager.act("boot") == 0
    assert node.up() == ["fs#0", "fs#1"]


# ---- the file


def test_get_set_and_unset(node: Node) -> None:
    manager = node.manager()
    assert manager.get("fs#0.mnt") == "/a"
    assert manager.set("fs#0.mnt", "/c") == []
    assert manager.set("comment", "hello") == []
    assert manager.set("fs#0.mnt@node2", "/d") == []
    expected = FILE.replace("/a # the first", "/c # the first").replace("node2\n", "node2\ncomment = hello\n")
    expected = expected.replace("tags = one\n", "tags = one\nmnt@node2 = /d\n")
    assert node.file.read_text() == expected
    assert manager.unset("comment") == []
    with pytest.raises(ServiceError, match="has no comment"):
        manager.unset("comment")
    with pytest.raises(ServiceError, match=r"has no fs#0\.size"):
        manager.get("fs#0.size")


def test_a_wrong_value_is_not_written(node: Node) -> None:
    for param, value in (("fs#0.size", "many"), ("fs#0.szie", "1"), ("raid#0.x", "1"), ("fs#0.mnt@node3", "/x")):
        with pytest.raises(ServiceError, match=r"is left as it was"):
            node.manager().set(param, value)
    for param in ("", "fs#0.", ".mnt", "mnt@"):
        with pytest.raises(ServiceError):
            node.manager().set(param, "x")
    assert node.file.read_text() == FILE


def test_a_section_is_built_key_by_key(node: Node) -> None:
    manager = node.manager()
    assert [line.partition("web.env")[2] for line in manager.set("fs#2.size", "3")] == [
        ":11: [fs#2] mnt is missing: where it is mounted"
    ]
    assert manager.set("fs#2.mnt", "/c") == []


def test_enable_and_disable(node: Node) -> None:
    manager = node.manager(rids=("fs#0", "app"))
    assert manager.enable(False) == []
    assert [each.rid for each in manager.service().resources if each.disable] == ["fs#0", "app"]
    manager.enable(True)
    assert not [each.rid for each in manager.service().resources if each.disable]
    with pytest.raises(ServiceError, match="say which resources"):
        node.manager().enable(True)


def test_mode_and_link_of_the_file_stay(node: Node) -> None:
    real = node.file.with_name("shared")
    node.file.rename(real)
    node.file.symlink_to("shared")
    real.chmod(0o600)
    node.manager().set("comment", "x")
    assert node.file.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(node.paths.etc)) == ["shared", "web.env"]
