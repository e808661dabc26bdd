"""The list of mounts that makes a node's view of the machine's files."""

from ha.lab import rootfs
from ha.lab.plan import DISK


def targets(keep: list[str], disk: str = "7:3") -> list[str]:
    return [mount.target for mount in rootfs.node_mounts("/lab/nodes/node1", keep, disk)]


def test_only_what_would_be_hidden_is_brought_back() -> None:
    keep = ["/usr/lib/python3.11", "/root/.pyenv/versions/3", "/root/.pyenv/versions/3/lib", "/srv/ezha", "/rootless"]
    assert rootfs.brought_back(keep) == ["/root/.pyenv/versions/3"]


def test_what_lies_in_usr_local_is_there_anyway_except_below_the_prefix() -> None:
    assert rootfs.brought_back(["/usr/local/lib/python3.11", "/usr/local/cluster/venv"]) == ["/usr/local/cluster/venv"]


def test_kept_paths_come_after_what_hides_them() -> None:
    order = targets(["/root/venv", "/var/lib/venv"])
    assert order.index("/root") < order.index("/root/venv")
    assert order.index("/var/lib") < order.index("/var/lib/venv")
    assert order.index("/usr/local") < order.index("/usr/local/cluster")


def test_proc_comes_last_because_the_others_are_mounted_through_it() -> None:
    assert targets(["/root/venv"])[-1] == "/proc"


def test_only_mount_points_that_a_node_owns_are_ever_made() -> None:
    for mount in rootfs.node_mounts("/lab/nodes/node1", ["/root/venv"], "7:3"):
        if mount.create:
            assert mount.target in ("/usr/local/cluster", "/root/venv")


def test_the_disk_is_a_device_or_a_file() -> None:
    device = next(m for m in rootfs.node_mounts("/lab", [], "7:3") if m.target == DISK)
    file = next(m for m in rootfs.node_mounts("/lab", [], "/lab/disk.img") if m.target == DISK)
    assert (device.kind, device.options) == ("node", "7:3")
    assert (file.kind, file.source) == ("bind", "/lab/disk.img")
