"""What a section may say, before anything of it is tried: problems, labels, order, the kernel's list of mounts."""

import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ha.services.errors import ResourceError
from ha.services.resources import mounts, resolving
from ha.services.resources.resolving import prefix_length, resolve
from ha.services.resources.steps import Budget
from ha.services.runner import Runner
from tests.unit.services.resources.world import context, make

FS = {"type": "ext3", "dev": "/dev/mapper/vgsvc1-lvappsvc1", "mnt": "/svc1/app"}


@pytest.mark.parametrize(
    ("section", "keys", "why"),
    [
        ("fs#0", {**FS, "type": "ext33"}, "is not one of: ext2, ext3"),
        ("fs#0", {**FS, "mnt": "/"}, "is the root of the system"),
        ("fs#0", {**FS, "dev": "sdb1"}, "is not an absolute path"),
        ("fs#0", {**FS, "dev": "-obind"}, "is not an absolute path"),
        ("fs#0", {**FS, "type": "nfs"}, "is no export"),
        ("fs#0", {"type": "xfs", "mnt": "/srv/a"}, "is missing; a file system of type xfs needs one"),
        ("ip#0", {"ipname": "10.0.0.1", "ipdev": "../eth0"}, "cannot be a network device"),
        ("ip#0", {"ipname": "10.0.0.1", "ipdev": "eth0", "netmask": "255.0.255.0"}, "is no netmask"),
        ("ip#0", {"ipname": "10.0.0.1/40", "ipdev": "eth0"}, "does not appear to be"),
        ("disk#0", {"type": "loop", "file": "/srv/a.img", "dev": "/srv/a"}, "does not lie below /dev"),
        ("disk#0", {"type": "loop", "file": "/dev/sda", "dev": "/dev/mapper/a"}, "lies below /dev"),
        ("app#1", {"type": "forking", "start": "/bin/a"}, "nothing else could end"),
        ("app#1", {"type": "simple", "start": "a"}, "is not an absolute path"),
        ("app#1", {"type": "ocf:heartbeat"}, "names no agent"),
        ("app#1", {"type": "ocf:../../bin:sh"}, "names no agent"),
        ("app#1", {"type": "ocf:heartbeat:Dummy", "state; rm": "1"}, "cannot be a parameter"),
        ("hb#0", {"type": "OpenHA", "name": "../x"}, "cannot be the name of a service"),
    ],
)
def test_what_cannot_be_meant(section: str, keys: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make(section, keys)


def test_labels_are_the_tutorial_s() -> None:
    assert make("fs#0", FS).label == "/dev/mapper/vgsvc1-lvappsvc1@/svc1/app"
    assert make("ip#0", {"ipname": "p26.opensvc.com", "ipdev": "eth0"}).label == "p26.opensvc.com@eth0"
    assert make("vg#0", {"vgname": "vgsvc1"}).label == "vgsvc1"
    assert make("app", {}).label == "app"


def test_file_systems_are_mounted_from_the_top_down() -> None:
    points = ["/srv/a/b", "/srv-x", "/srv/a", "/srv"]
    made = sorted((make("fs#0", {**FS, "mnt": point}) for point in points), key=lambda each: each.order())
    assert [each.values.text("mnt") for each in made] == ["/srv", "/srv/a", "/srv/a/b", "/srv-x"]


MOUNTINFO = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
40 22 7:3 / /svc1/app rw,relatime shared:9 master:2 propagate_from:3 - ext3 /dev/loop3 rw
41 40 0:45 /sub /svc1/app/da\040ta rw - btrfs /dev/sdb ro,subvol=/sub
42 22 8:1 /srv/x /svc1/app ro - ext4 /dev/sda1 rw
torn line
"""


def test_the_kernel_s_list_of_mounts() -> None:
    table = mounts.parse(MOUNTINFO)
    assert [mount.point for mount in table] == ["/", "/svc1/app", "/svc1/app/da ta", "/svc1/app"]
    seen = mounts.at("/svc1/app", table)
    assert seen is not None
    assert (seen.id, seen.device, seen.root, seen.read_only) == (42, "8:1", "/srv/x", True), (
        "the later hides the earlier"
    )
    assert mounts.at("/svc1", table) is None
    below = mounts.covering("/svc1/app/da ta/file", table)
    assert below is not None
    assert (below.id, below.read_only) == (41, True), "by the file system, though not by the mount"
    assert not mounts.within("/svc10", "/svc1")


def test_a_name_that_no_name_can_be_is_told_at_once() -> None:
    with pytest.raises(ResourceError, match="does not resolve: "):
        resolve("a" * 300)


def test_a_resolver_that_does_not_answer_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: silent.wait())
    monkeypatch.setattr(resolving, "PATIENCE_S", 0.02)
    monkeypatch.setattr(resolving, "IMPATIENCE_S", 0.01)
    monkeypatch.setattr(resolving, "_late", threading.Event())
    for seconds in ("0.02", "0.01", "0.01"):
        with pytest.raises(ResourceError, match=f"no answer within {re.escape(seconds)} s"):
            resolve("web.example")
    assert str(resolve("192.0.2.7")) == "192.0.2.7", "an address needs none"
    silent.set()


def test_netmasks_in_either_form() -> None:
    masks = ("255.255.255.224", "27", "33", "0.0.0.255", "")
    assert [prefix_length(mask) for mask in masks] == [27, 27, None, None, None]
    assert [prefix_length(mask, 6) for mask in ("64", "255.255.255.0", "129")] == [64, None, None]


class DeadDisk(Runner):
    """Every look at a device hangs."""

    def call(self, function: Callable[[], bytes], timeout: float) -> bytes:
        raise TimeoutError(f"no answer within {timeout:g} s")


def test_a_stop_needs_no_answer_of_a_device_that_is_not_mounted(tmp_path: Path) -> None:
    """A passive node whose disk is gone is down all the same; a start there is refused."""
    lines: list[str] = []
    fs = make("fs#0", {**FS, "mnt": str(tmp_path)})
    ctx = replace(context(tmp_path, lines), runner=DeadDisk())
    fs.stop(ctx)
    assert lines == [f"WARNING {FS['dev']} hangs: no answer within 5 s; it is mounted nowhere on this machine"]
    with pytest.raises(ResourceError, match="hangs"):
        fs.abort_check(ctx)


def test_the_steps_of_an_action_share_its_time() -> None:
    now = [100.0]
    budget = Budget(5.0, lambda: now[0])
    assert (budget.left(), budget.left(2.0)) == (5.0, 2.0)
    now[0] = 104.5
    assert budget.left(2.0) == 0.5
    now[0] = 105.0
    assert budget.left_or_none() == 0.0
    with pytest.raises(ResourceError, match="not done within 5 s"):
        budget.left()


@pytest.mark.parametrize(
    ("keys", "command"),
    [
        ({"type": "nfs", "dev": "filer:/vol/a", "mnt_opt": "hard,vers=4"}, "-t nfs -o hard,vers=4 filer:/vol/a"),
        ({"type": "bind", "dev": "/usr/share", "mnt_opt": "ro"}, "-o bind,ro /usr/share"),
        ({"type": "tmpfs", "mnt_opt": "size=1m"}, "-t tmpfs -o size=1m tmpfs"),
    ],
)
def test_what_is_asked_of_mount_and_that_its_word_is_not_taken(
    tmp_path: Path, keys: dict[str, str], command: str
) -> None:
    """A mount that reports success and mounts nothing: there is no NFS server, and no right to mount, here."""
    (tmp_path / "mount").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/told\n')
    (tmp_path / "mount").chmod(0o755)
    point = f"{tmp_path.resolve()}/point"
    fs = make("fs#0", {**keys, "mnt": point})
    with pytest.raises(ResourceError, match=f"mount reported success, but .* is not mounted on {point}"):
        fs.start(context(tmp_path, None, {"PATH": f"{tmp_path}:/usr/bin:/bin"}))
    assert (tmp_path / "told").read_text() == f"{command} {point}\n"
    assert fs.activated, "it is rolled back"
