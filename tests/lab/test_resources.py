"""The drivers of resources on real addresses, block devices, file systems and processes, in the network and mount
namespaces of two nodes. Each test leaves the nodes as it found them.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ha.lab.lab import Lab
from tests.lab import actor
from tests.lab.conftest import wait_for

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call of a driver came to."""

    error: str
    lines: list[str]
    activated: bool
    took: float
    state: str = ""
    notes: tuple[str, ...] = ()
    result: Any = None
    kind: str = ""

    @property
    def log(self) -> str:
        return "\n".join(self.lines)


class Section:
    """One section of a service's file, on a node."""

    def __init__(self, lab: Lab, node: str, section: str, **keys: str) -> None:
        self.lab = lab
        self.node = node
        self._order = {"section": section, "keys": keys, "node": node}

    def call(self, action: str, **more: Any) -> Answer:
        order = json.dumps({**self._order, "action": action, **more})
        argv = [sys.executable, str(actor.__file__), order]
        done = self.lab.exec(self.node, argv, env={"PYTHONPATH": str(ROOT)})
        assert done.returncode == 0, done.stderr
        return Answer(**json.loads(done.stdout))

    def ok(self, action: str, **more: Any) -> Answer:
        answer = self.call(action, **more)
        assert answer.error == "", answer
        return answer

    def on(self, node: str) -> "Section":
        return Section(self.lab, node, str(self._order["section"]), **dict(self._order["keys"]))  # type: ignore[arg-type]

    @property
    def state(self) -> str:
        return self.ok("status").state


@pytest.fixture(scope="module")
def nodes() -> Iterator[Lab]:
    place = tempfile.mkdtemp(prefix="ezha-resources-test-")
    lab = Lab(f"{place}/lab")
    lab.up()
    try:
        yield lab
    finally:
        lab.down()
        shutil.rmtree(place, ignore_errors=True)


def run(lab: Lab, node: str, *argv: str) -> str:
    done = lab.exec(node, argv)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


# -------------------------------------------------------------------------------------------------------- addresses


def addresses(lab: Lab, node: str) -> list[str]:
    """``address/prefix`` on eth0, in the kernel's order."""
    words = run(lab, node, "ip", "-o", "addr", "show", "dev", "eth0").split()
    return [words[place + 1] for place, word in enumerate(words) if word in ("inet", "inet6")]


@pytest.fixture
def free(nodes: Lab) -> Iterator[str]:
    """An IPv4 address of the lab's network that nobody has. Gone from both nodes afterwards."""
    base = addresses(nodes, "node1")[0].partition("/")[0].rpartition(".")[0]
    yield f"{base}.201"
    for node in ("node1", "node2"):
        for word in addresses(nodes, node):
            if word.startswith((f"{base}.2", "fd00::2")) and not word.startswith((f"{base}.2/", f"{base}.20/")):
                nodes.exec(node, ["ip", "addr", "del", word, "dev", "eth0"])


def test_an_address_comes_and_goes(nodes: Lab, free: str) -> None:
    ip = Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth0")
    assert ip.state == "down"
    assert ip.ok("abort_check").result == ""
    started = ip.ok("start")
    prefix = addresses(nodes, "node1")[0].partition("/")[2]
    assert f"{free}/{prefix}" in addresses(nodes, "node1"), "with the netmask of the device"
    assert started.activated
    assert ip.state == "up"
    again = ip.ok("start")
    assert not again.activated
    assert "already up" in again.log
    stopped = ip.ok("stop")
    assert "checking" in stopped.log
    assert "WARNING" not in stopped.log
    assert ip.state == "down"
    ip.ok("stop")


def test_an_address_that_a_neighbour_has_refuses_the_start(nodes: Lab, free: str) -> None:
    run(nodes, "node2", "ip", "addr", "add", f"{free}/24", "dev", "eth0")
    answer = Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth0").ok("abort_check")
    mac = run(nodes, "node2", "cat", "/sys/class/net/eth0/address").strip()
    assert answer.result == f"{free} is in use by {mac}"
    assert f"INFO checking {free} availability" in answer.lines


def test_without_the_probe_both_nodes_have_the_address(nodes: Lab, free: str) -> None:
    """The twin: ``start`` alone asks nobody, and the kernel does not mind."""
    run(nodes, "node2", "ip", "addr", "add", f"{free}/24", "dev", "eth0")
    Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth0").ok("start")
    assert f"{free}/24" in addresses(nodes, "node1")
    assert f"{free}/24" in addresses(nodes, "node2")


def test_neighbours_learn_at_once_where_the_address_is_now(nodes: Lab, free: str) -> None:
    one = Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth0")
    two = one.on("node2")
    one.ok("start")
    run(nodes, "client", "ping", "-c1", "-W2", free) if shutil.which("ping") else _touch(nodes, free)
    one.ok("stop")
    two.ok("start")
    mac = run(nodes, "node2", "cat", "/sys/class/net/eth0/address").strip()
    wait_for(lambda: mac in nodes.exec("client", ["ip", "neigh", "show", free]).stdout, what="the client knows")
    two.ok("stop")


def _touch(lab: Lab, address: str) -> None:
    """Have the client look the address up."""
    code = f"import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('{address}', 9))"
    run(lab, "client", sys.executable, "-c", code)
    wait_for(lambda: "lladdr" in lab.exec("client", ["ip", "neigh", "show", address]).stdout, what="it is looked up")


def test_several_addresses_also_of_ipv6(nodes: Lab, free: str) -> None:
    names = f"{free} {free[:-1]}2/32 fd00::201/64"
    ip = Section(nodes, "node1", "ip#0", ipname=names, ipdev="eth0")
    assert ip.ok("abort_check").result == ""
    started = ip.ok("start")
    assert "unsolicited neighbour advertisement of fd00::201" in started.log
    have = addresses(nodes, "node1")
    assert "fd00::201/64" in have
    assert f"{free[:-1]}2/32" in have
    assert ip.state == "up"
    taken = ip.on("node2").ok("abort_check").result
    assert taken.count("is in use by") == 3, taken
    run(nodes, "node1", "ip", "addr", "del", f"{free[:-1]}2/32", "dev", "eth0")
    half = ip.ok("status")
    assert (half.state, half.notes) == ("warn", (f"{free[:-1]}2 is missing",)) or half.notes == [
        f"{free[:-1]}2 is missing"
    ]
    ip.ok("stop")
    assert ip.state == "down"


def test_an_ipv6_duplicate_is_found_also_while_it_starts(nodes: Lab, free: str) -> None:
    for name in ("accept_dad", "dad_transmits"):  # the lab's nodes do without, to be up sooner
        run(nodes, "node1", "sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/eth0/{name}")
    run(nodes, "node2", "ip", "addr", "add", "fd00::203/64", "dev", "eth0", "nodad")
    ip = Section(nodes, "node1", "ip#0", ipname="fd00::203/64", ipdev="eth0")
    assert "is in use by" in ip.ok("abort_check").result
    failed = ip.call("start")
    assert "is in use by another machine" in failed.error
    assert failed.activated
    ip.ok("stop")
    assert ip.state == "down"


def test_with_the_first_address_of_a_network_no_other_goes(nodes: Lab, free: str) -> None:
    """Without ``promote_secondaries`` the kernel deletes every address of a network along with its first one."""
    run(nodes, "node1", "sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/eth0/promote_secondaries")
    run(nodes, "node1", "sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/all/promote_secondaries")
    one = Section(nodes, "node1", "ip#0", ipname="198.51.100.201/24", ipdev="eth0")
    two = Section(nodes, "node1", "ip#1", ipname="198.51.100.202/24", ipdev="eth0")
    one.ok("start")
    two.ok("start")
    one.ok("stop")
    assert "198.51.100.202/24" in addresses(nodes, "node1")
    assert "198.51.100.201/24" not in addresses(nodes, "node1")
    two.ok("stop")


def test_a_stop_needs_no_resolver(nodes: Lab, free: str) -> None:
    """What the start has added is removed, whatever has become of the name."""
    hosts = Path(nodes.files("node1")) / "etc/hosts"
    before = hosts.read_text()
    hosts.write_text(f"{before}{free} service.example\n")
    ip = Section(nodes, "node1", "ip#0", ipname="service.example", ipdev="eth0")
    try:
        ip.ok("start")
        assert ip.state == "up"
    finally:
        hosts.write_text(before)
    assert ip.ok("status").state == "warn"
    assert "does not resolve" in ip.ok("stop").log
    assert not any(word.startswith(f"{free}/") for word in addresses(nodes, "node1"))


def test_a_device_that_is_not_there_is_told(nodes: Lab, free: str) -> None:
    ip = Section(nodes, "node1", "ip#0", ipname=free, ipdev="eth7")
    assert ip.call("abort_check").error.startswith("there is no network device eth7; there are: eth0")
    assert ip.state == "down"
    ip.ok("stop")
