"""``service -a|-r`` and ``hb -a|-r``: what an operator wrote into the files stays, and nothing broken is written."""

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.node.config import ConfigError, PathWords, add_path, add_service, load, locking, remove_path, remove_service
from ha.node.config.editing import added_service, removed_service
from ha.node.layout import Layout
from tests.unit.node.test_config import DISK, MONITOR, NODES, SERVICES

P26 = ("p26.opensvc.com", "/etc/opensvc/p26.opensvc.com.cluster", "node1", "node2", "/bin/true")
NET = PathWords("node1", "net", "eth0", "239.131.50.10", "1234")
DIO = PathWords("node2", "dio", DISK, "2")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/nodes").write_text(NODES)
    (tmp_path / "conf/monitor").write_text(MONITOR)
    (tmp_path / "conf/services").write_text("")
    return Layout(str(tmp_path))


def services(layout: Layout) -> str:
    return Path(layout.services).read_text()


def monitor(layout: Layout) -> str:
    return Path(layout.monitor).read_text()


def test_the_tutorials_service_becomes_a_line_with_tabs(layout: Layout) -> None:
    add_service(layout, "node1", *P26)
    assert services(layout) == SERVICES
    remove_service(layout, "node1", P26[0])
    assert services(layout) == ""


def test_a_file_that_is_not_there_yet_is_made(layout: Layout) -> None:
    os.unlink(layout.services)
    add_service(layout, "node1", *P26)
    assert services(layout) == SERVICES
    assert os.stat(layout.services).st_mode & 0o7777 == 0o644
    assert sorted(os.listdir(layout.conf)) == ["monitor", "nodes", "services"]


def test_comments_and_order_stay(layout: Layout) -> None:
    Path(layout.services).write_text("# ours\n\nweb /web node1 node2 /bin/true # shop\n#end")
    add_service(layout, "node1", *P26)
    assert services(layout) == f"# ours\n\nweb /web node1 node2 /bin/true # shop\n#end\n{SERVICES}"
    remove_service(layout, "node1", "web")
    assert services(layout) == f"# ours\n\n#end\n{SERVICES}"


def test_mode_and_links_stay(layout: Layout, tmp_path: Path) -> None:
    real = tmp_path / "kept-elsewhere"
    real.write_text("")
    real.chmod(0o640)
    os.unlink(layout.services)
    os.symlink(real, layout.services)
    add_service(layout, "node1", *P26)
    assert os.path.islink(layout.services)
    assert real.read_text() == SERVICES
    assert real.stat().st_mode & 0o7777 == 0o640


def refused(change: object, *args: object) -> str:
    assert callable(change)
    with pytest.raises(ConfigError) as caught:
        change(*args)
    return str(caught.value)


def test_a_service_that_is_there_is_not_added_again(layout: Layout) -> None:
    add_service(layout, "node1", *P26)
    assert refused(add_service, layout, "node1", *P26) == (
        "conf/services:1: service p26.opensvc.com is there already; remove it first (service -r p26.opensvc.com)"
    )


def test_a_service_that_is_not_there_is_not_removed(layout: Layout) -> None:
    assert refused(remove_service, layout, "node1", "web") == (
        "conf/services: there is no service web; service -s lists them"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("../x", "/a", "node1", "node2", "/bin/true"),
        ("web", "/a b", "node1", "node2", "/bin/true"),
        ("web", "/a\nevil /b", "node1", "node2", "/bin/true"),
        ("web", "/a", "node1", "node9", "/bin/true"),
        ("web", "/a", "node1", "node1", "/bin/true"),
        ("#web", "/a", "node1", "node2", "/bin/true"),
        ("web", "", "node1", "node2", "/bin/true"),
        ("web", "/a", "node1", "node2", "true"),
    ],
)
def test_nothing_is_written_that_would_not_be_valid(layout: Layout, words: tuple[str, str, str, str, str]) -> None:
    add_service(layout, "node1", *P26)
    before = os.stat(layout.services)
    assert "services" in refused(add_service, layout, "node1", *words)
    assert services(layout) == SERVICES
    assert os.stat(layout.services).st_ino == before.st_ino


def test_paths_are_added_and_removed(layout: Layout) -> None:
    remove_path(layout, "node1", NET)
    assert monitor(layout) == MONITOR.split("\n", 1)[1]
    add_path(layout, "node1", NET)
    assert monitor(layout) == MONITOR.split("\n", 1)[1] + MONITOR.split("\n", 1)[0] + "\n"
    remove_path(layout, "node1", DIO)
    assert f"node2 dio {DISK}" not in monitor(layout)
    add_path(layout, "node1", PathWords("node2", "dio", DISK, "8", timeout="0.5"))
    assert monitor(layout).endswith(f"node2 dio {DISK} 8 0.5\n")
    assert load(layout, "node1").lines[-1].timeout == 0.5


def test_a_path_is_the_same_whatever_its_timeout_and_spelling(layout: Layout) -> None:
    v6 = PathWords("node1", "net", "eth0", "ff02::1", "5")
    add_path(layout, "node1", v6)
    again = PathWords("node1", "net", "eth0", "ff02:0::01", "05", "3")
    assert "the path is there already (node1 net eth0 ff02::1 5 10)" in refused(add_path, layout, "node1", again)
    remove_path(layout, "node1", again)
    assert monitor(layout) == MONITOR


def test_which_port_is_meant_must_be_clear(layout: Layout) -> None:
    add_path(layout, "node1", PathWords("node1", "net", "eth0", "239.131.50.10", "1235"))
    without_port = PathWords("node1", "net", "eth0", "239.131.50.10")
    assert refused(remove_path, layout, "node1", without_port) == (
        "conf/monitor: 2 paths fit; say which port (-p): 1234, 1235"
    )
    remove_path(layout, "node1", NET)
    remove_path(layout, "node1", without_port)
    assert "eth0 239.131.50.10 12" not in monitor(layout)


def test_a_path_that_is_not_there_is_not_removed(layout: Layout) -> None:
    gone = PathWords("node1", "dio", DISK, "4")
    assert refused(remove_path, layout, "node1", gone).endswith(
        f"there is no path node1 dio {DISK} 4; hb -s lists them"
    )


def test_a_slot_of_somebody_else_is_not_taken(layout: Layout) -> None:
    mine = PathWords("node1", "disk", DISK, "2")
    assert "is the slot of node" in refused(add_path, layout, "node1", mine)
    assert monitor(layout) == MONITOR


def test_nothing_is_added_to_broken_files_but_a_broken_line_can_be_removed(layout: Layout) -> None:
    Path(layout.services).write_text("a b\nc d\nweb /web node1 node2 /bin/true\n")
    assert "conf/services:1: 2 words" in refused(add_service, layout, "node1", *P26)
    remove_service(layout, "node1", "a")
    assert services(layout) == "c d\nweb /web node1 node2 /bin/true\n"
    assert "conf/services:1: 2 words" in refused(remove_service, layout, "node1", "web")
    remove_service(layout, "node1", "c")
    remove_service(layout, "node1", "web")
    assert services(layout) == ""


def test_two_edits_at_once_do_not_lose_one(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "WAIT", 0.0)
    fd = os.open(layout.conf, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert "another command has been changing it" in refused(add_service, layout, "node1", *P26)
    finally:
        os.close(fd)
    add_service(layout, "node1", *P26)


def test_a_disk_that_refuses_leaves_the_file_and_says_so(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    add_service(layout, "node1", *P26)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = refused(add_service, layout, "node1", "web", *P26[1:])
    assert message == "conf/services: cannot be changed: No space left on device"
    assert services(layout) == SERVICES
    assert sorted(os.listdir(layout.conf)) == ["monitor", "nodes", "services"]


TEXT = st.lists(st.sampled_from(["", "# c", "  ", "a /a n m /c", "b\t/b n m /c # x", "\r"])).map("\n".join)


@given(TEXT, st.booleans())
def test_what_was_added_can_be_removed_and_nothing_else_has_changed(text: str, ended: bool) -> None:
    before = text + ("\n" if ended and text else "")
    after = removed_service(added_service(before, "new\t/n\tn\tm\t/c"), "new")
    assert after.removesuffix("\n") == before.removesuffix("\n")
