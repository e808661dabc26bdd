"""Files that others than root may write are refused, with the command that mends it."""

import os
import subprocess
from pathlib import Path

import pytest

from ha.node import trust
from ha.node.config import ConfigError, load
from ha.node.layout import Layout
from ha.node.trust import DistrustError, distrust, require_trust
from tests.unit.node.test_config import MONITOR, NODES, SERVICES

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """In two folders of its own, below pytest's, which stands in /tmp."""
    path = tmp_path / "svc" / "web" / "web.cluster"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o755)
    return path


def mended(why: str) -> None:
    """Run the command that stands at the end of a sentence."""
    subprocess.run(why.rpartition(": ")[2].split(), check=True)


def test_what_is_roots_alone_is_trusted(script: Path) -> None:
    assert distrust(str(script)) == ""


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o2775])
def test_a_file_that_others_may_write(script: Path, mode: int) -> None:
    script.chmod(mode)
    why = distrust(str(script))
    assert why.startswith("may be written by others than root (owner root, group root, mode "), why
    assert why.endswith(f"mode {mode:04o}): chmod go-w {script}")
    mended(why)
    assert distrust(str(script)) == ""


@pytest.mark.parametrize("up", [0, 1])
def test_a_folder_that_others_may_write(script: Path, up: int) -> None:
    folder = script.parents[up]
    folder.chmod(0o775)
    why = distrust(str(script))
    assert why.startswith(f"stands in {folder}, which others than root may write (owner root, ")
    mended(why)
    assert distrust(str(script)) == ""
    folder.chmod(0o1777)
    assert distrust(str(script)) == ""


@needs_root
def test_owners(script: Path) -> None:
    os.chown(script, NOBODY, 0)
    why = distrust(str(script))
    assert why == f"belongs to nobody, not to root: chown root {script}"
    mended(why)
    os.chown(script.parent, NOBODY, 0)
    why = distrust(str(script))
    assert why == f"stands in {script.parent}, which belongs to nobody, not to root: chown root {script.parent}"
    mended(why)
    assert distrust(str(script)) == ""


@needs_root
def test_in_a_user_namespace_what_belongs_to_nobody_inside_is_another_worlds(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(script, NOBODY, 0)
    monkeypatch.setattr(trust, "_MAP", str(script.parent / "map"))
    (script.parent / "map").write_text("         0       1000          1\n")
    assert distrust(str(script)) == ""
    script.chmod(0o666)
    assert distrust(str(script)).startswith("may be written by others than root")


def test_a_link_is_followed_and_where_it_stands_is_looked_at(script: Path, tmp_path: Path) -> None:
    link = tmp_path / "links" / "web"
    link.parent.mkdir()
    link.symlink_to(script)
    assert distrust(str(link)) == ""
    link.parent.chmod(0o777)
    assert distrust(str(link)).startswith(f"stands in {link.parent}, ")
    link.parent.chmod(0o755)
    script.parent.chmod(0o777)
    assert distrust(str(link)).startswith(f"stands in {script.parent}, ")
    script.parent.chmod(0o755)
    script.chmod(0o777)
    assert distrust(str(link)).startswith("may be written by others than root")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_is_nobody_elses_to_read(script: Path, mode: int) -> None:
    script.chmod(mode)
    why = distrust(str(script), secret=True)
    assert why == f"is not root's alone (owner root, group root, mode {mode:04o}): chmod 0600 {script}"
    mended(why)
    assert distrust(str(script), secret=True) == ""


def test_what_cannot_be_looked_at(script: Path) -> None:
    with pytest.raises(FileNotFoundError):
        require_trust(f"{script}.gone")
    script.chmod(0o777)
    with pytest.raises(DistrustError) as caught:
        require_trust(str(script))
    assert caught.value.filename == str(script)
    assert "chmod go-w" in str(caught.value.strerror)


def test_links_that_lead_nowhere_or_in_circles(script: Path) -> None:
    link = script.parent / "link"
    link.symlink_to("link")
    with pytest.raises(OSError, match="Too many levels"):
        distrust(str(link))
    link.unlink()
    link.symlink_to("../web/./web.cluster")
    assert distrust(str(link)) == ""
    script.chmod(0o777)
    assert distrust(str(link)).startswith("may be written by others than root")


def test_nothing_is_looked_at_on_the_file_system_of_another_machine(script: Path) -> None:
    script.chmod(0o777)
    assert distrust(str(script), beyond={str(script.parent)}) == ""
    link = script.parents[1] / "link"
    link.symlink_to(script)
    assert distrust(str(link), beyond={str(script.parent)}) == ""
    script.parents[1].chmod(0o777)
    assert distrust(str(link), beyond={str(script.parent)}) != ""


def test_which_file_systems_are_of_another_machine(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "40 22 0:50 / /srv/my\\040files rw - nfs4 server:/files rw\n"
        "41 22 0:51 / /srv/some rw,relatime - fuse.sshfs x:/ rw\n"
        "42 22 0:52 / /srv/tmp rw,relatime - tmpfs x rw\n"
    )
    remote = trust.RemoteMounts(str(mounts))
    assert remote.points() == {"/srv/my files", "/srv/some"}
    assert "/" not in trust.RemoteMounts().points()


# --------------------------------------------------------------------------------------------- configuration


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(str(tmp_path))
    (tmp_path / "conf").mkdir(mode=0o755)
    for path, text in ((made.nodes, NODES), (made.monitor, MONITOR), (made.services, SERVICES), (made.options, "")):
        Path(path).write_text(text)
        Path(path).chmod(0o644)
    return made


@pytest.mark.parametrize("file", ["nodes", "monitor", "services", "options.toml"])
def test_a_configuration_that_others_may_write_is_refused_in_one_line(layout: Layout, file: str) -> None:
    assert load(layout, "node1").cluster.nodes
    path = Path(layout.conf, file)
    path.chmod(0o664)
    with pytest.raises(ConfigError) as caught:
        load(layout, "node1")
    why = str(caught.value)
    assert why == (
        f"conf/{file}: may be written by others than root (owner root, group root, mode 0664): chmod go-w {path}"
    )
    mended(why)
    assert load(layout, "node1").cluster.nodes


def test_a_folder_of_the_configuration_that_others_may_write(layout: Layout) -> None:
    Path(layout.conf).chmod(0o777)
    with pytest.raises(ConfigError) as caught:
        load(layout, "node1")
    assert {p.file for p in caught.value.problems} == {
        "conf/nodes",
        "conf/monitor",
        "conf/services",
        "conf/options.toml",
    }
    assert all(p.text.endswith(f": chmod go-w {layout.conf}") for p in caught.value.problems)
