"""The tutorial's service for real: a volume group with a host tag, two logical volumes, an address, and a launcher.

How each can fail: a volume that is active on two nodes, a file system that is not mounted, an address that nobody or
somebody else answers for; the last test asks for what must be refused.
"""

import json
from collections.abc import Iterator

import pytest

from ha.lab.plan import CLIENT
from ha.lab.spawn import helper_argv
from tests.vm.conftest import T
from tests.vm.machines import NODES, Machines, wait_for

SERVICE = "p26.opensvc.com"
ADDRESS = "192.168.100.201"
_GROUP = "vgsvc1"
_CONF = f"""\
[DEFAULT]
app = MyApp
service_type = TST
autostart_node = node1
nodes = node1 node2

[ip#0]
ipname = {ADDRESS}
ipdev = eth0

[vg#0]
vgname = {_GROUP}

[fs#0]
type = ext3
mnt = /svc1/app
dev = /dev/mapper/{_GROUP}-lvappsvc1

[fs#1]
type = ext3
mnt = /svc1/data
dev = /dev/mapper/{_GROUP}-lvdatasvc1

[sync#i0]
disable = True

[hb#0]
type = OpenHA
"""
_LAUNCHER = """\
#!/bin/sh
case $1 in
start) exec /svc1/app/busybox httpd -p 8080 -h /svc1/data ;;
stop) killall busybox || true ;;
status | *) pidof busybox >/dev/null ;;
esac
"""
_CREATE = f"""\
set -e
pvcreate --quiet /dev/vdc
vgcreate --quiet {_GROUP} /dev/vdc
for volume in lvappsvc1 lvdatasvc1; do
	lvcreate --quiet --yes --size 64M --name $volume {_GROUP}
	mkfs.ext3 -q /dev/{_GROUP}/$volume
done
mount /dev/{_GROUP}/lvappsvc1 /mnt && cp /bin/busybox /mnt/busybox && umount /mnt
mount /dev/{_GROUP}/lvdatasvc1 /mnt && echo "It Works!" >/mnt/index.html && umount /mnt
vgchange --quiet --activate n {_GROUP}
"""


@pytest.fixture
def tutorial(pair: Machines) -> Iterator[Machines]:
    """Both nodes have the service, frozen; ``web``, which has the disk otherwise, is stopped."""
    for node in ("node2", "node1"):
        pair.must(node, "service", "-A", "web", "freeze-stop")
    pair.shell("node1", "wipefs --all --quiet /dev/vdc")
    pair.shell("node1", _CREATE)
    svcmgr = f"{pair.lab.payload.bin}/svcmgr"
    for node in NODES:
        etc = "/etc/opensvc"
        pair.shell(node, f"mkdir -p {etc}/{SERVICE}.d /svc1/app /svc1/data")
        pair.lab.exec(node, ["sh", "-c", f"cat >{etc}/{SERVICE}.conf"], input=_CONF)
        pair.lab.exec(node, ["sh", "-c", f"cat >{etc}/{SERVICE}.d/weblauncher"], input=_LAUNCHER)
        pair.shell(
            node,
            f"cd {etc} && chmod 755 {SERVICE}.d/weblauncher && "
            f"for link in S10 K90 C10; do ln -s weblauncher {SERVICE}.d/${{link}}weblauncher; done && "
            f"for link in cluster stonith; do ln -s {svcmgr} {SERVICE}.$link; done && ln -s {svcmgr} {SERVICE}",
        )
        pair.must(node, "service", "-a", SERVICE, f"{etc}/{SERVICE}.cluster", *NODES, "/bin/true")
    for node in NODES:
        pair.must(node, "service", "-A", SERVICE, "unfreeze")
        wait_for(lambda node=node: pair.state(SERVICE, node) in ("STARTED", "STOPPED"), 90, f"{node} is unfrozen")  # type: ignore[misc]
    yield pair


def _serves(pair: Machines, node: str) -> bool:
    """As a visitor sees it, and as LVM and the kernel of the node do."""
    argv = helper_argv("ha.lab.visitor", json.dumps({"once": True, "address": ADDRESS, "port": 8080}))
    if pair.lab.exec(CLIENT, argv).stdout.strip() != "It Works!" or pair.state(SERVICE, node) != "STARTED":
        return False
    tags = pair.must(node, "vgs", "--noheadings", "-o", "vg_tags", _GROUP).strip()
    mounted = pair.shell(node, "grep -c ' /svc1/' /proc/mounts || true").strip()
    return (tags, mounted) == (node, "2")


def _has_nothing(pair: Machines, node: str) -> bool:
    """No volume of the group is active there, nothing is mounted, and the address is not there."""
    what = f"ls /dev/mapper | grep -c ^{_GROUP}; grep -c ' /svc1/' /proc/mounts; ip -o address | grep -c {ADDRESS}/"
    return pair.run(node, "sh", "-c", what).stdout.split() == ["0", "0", "0"]


def test_start_switch_and_power_off(tutorial: Machines) -> None:
    pair = tutorial
    wait_for(lambda: _serves(pair, "node1"), 90, "node1 serves")
    assert _has_nothing(pair, "node2")
    pair.must("node1", "service", "-A", SERVICE, "stop")
    wait_for(lambda: _serves(pair, "node2"), 90, "node2 serves after a stop on node1")
    assert _has_nothing(pair, "node1")
    pair.lab.power_off("node2")
    wait_for(lambda: _serves(pair, "node1"), T + 90, "node1 serves after the power-off of node2")


def test_a_group_that_a_living_node_holds_is_refused(tutorial: Machines) -> None:
    """By hand, beside the cluster: what an operator does at three in the morning."""
    pair = tutorial
    wait_for(lambda: _serves(pair, "node1"), 90, "node1 serves")
    done = pair.run("node2", f"/etc/opensvc/{SERVICE}", "start")
    assert (done.returncode, "managed by a clusterware" in done.stdout) == (1, True), done
    # Nor through a service of another name that no clusterware manages.
    text = f"[DEFAULT]\nnodes = node1 node2\n\n[vg#0]\nvgname = {_GROUP}\n"
    pair.lab.exec("node2", ["sh", "-c", "cat >/etc/opensvc/other.conf"], input=text)
    pair.shell("node2", f"ln -s {pair.lab.payload.bin}/svcmgr /etc/opensvc/other")
    done = pair.run("node2", "/etc/opensvc/other", "start")
    assert done.returncode != 0
    assert f"volume group {_GROUP} has the tag of node1" in done.stdout + done.stderr
    assert _has_nothing(pair, "node2")
    assert _serves(pair, "node1")
