"""A shared disk that hangs or fails takes its own path down, and nothing else: heartbeats over the net, decisions and
``hb -s`` go on, nothing moves, and the path is back when the disk is.
"""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ha.lab import process
from ha.lab.plan import DISK
from tests.lab.conftest import wait_for
from tests.lab.pair import NODES, Pair, boottime, standing

T = 1.0
TIMES = 2
USUAL_S = 0.3
"""As in test_scripts.py: a decision takes less than a tenth of a second, what hangs has no end."""
_SHORT = "".join(f"[service.stuck-{how}]\nstart_timeout = 0.5\nkill_grace = 0.2\n" for how in ("exec", "child"))


@pytest.fixture(scope="module")
def shared() -> Iterator[Pair]:
    with standing(T, ("web", "other1", "other2", "stuck-exec", "stuck-child", "moves"), _SHORT) as pair:
        pair.services["web"].take()
        yield pair


@pytest.fixture
def pair(shared: Pair) -> Iterator[Pair]:
    """All paths UP, before and, once the disks are well again, after."""
    shared.wait_all_up()
    yield shared
    shared.lab.heal()
    shared.wait_all_up()


def assert_all_goes_on(pair: Pair) -> None:
    """Both nodes decide as quickly as ever, and ``hb -s`` answers."""
    others = [pair.services["other1"], pair.services["other2"]]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda other, node: other.decision_times(node, TIMES), others, NODES))
    assert all(statistics.median(times) < USUAL_S for times in both), both
    for node in NODES:
        began = time.monotonic()
        done = pair.run(node, "hb", "-s")
        assert time.monotonic() - began < 1.0
        lines = done.stdout.splitlines()
        assert [("UP" in line) for line in lines if "eth0" in line] == [True, True], done.stdout


def troubles(pair: Pair, node: str) -> dict[str, str]:
    return {f"{path['medium']} {path['node']}": path["trouble"] for path in pair.paths(node)}


@pytest.mark.parametrize(
    ("fault", "down1", "down2"),
    [
        # What cannot be read on node1 is news of node2; what cannot be written there, news of node1.
        ("hang-read", ["dio node2"], []),
        ("hang", ["dio node1", "dio node2"], ["dio node1"]),
        ("eio-read", ["dio node2"], []),
        ("eio", ["dio node1", "dio node2"], ["dio node1"]),
        # A write that is lost, though success was reported, is missed by whoever reads.
        ("lost", [], ["dio node1"]),
    ],
)
def test_a_disk_that_is_broken_on_one_node(pair: Pair, fault: str, down1: list[str], down2: list[str]) -> None:
    since = boottime()
    pair.lab.set_disk_fault("node1", fault)
    wait_for(lambda: (pair.down("node1"), pair.down("node2")) == (down1, down2), what=f"{down1} and {down2} are DOWN")
    assert_all_goes_on(pair)
    assert (pair.down("node1"), pair.down("node2")) == (down1, down2)
    if fault.startswith("eio"):
        said = troubles(pair, "node1")
        assert all("Input/output error" in said[path] for path in down1), said
        assert all(not said[path] for path in said if path not in down1), said
    pair.lab.heal()
    pair.wait_all_up()
    assert [pair.services["web"].transitions(node, since) for node in NODES] == [[], []]
    assert not any("silent" in text for node in NODES for text in pair.texts(node, "", since))


def test_a_disk_that_hangs_on_both_nodes(pair: Pair) -> None:
    since = boottime()
    pair.lab.cut("disk", how="hang")
    both = ["dio node1", "dio node2"]
    wait_for(lambda: [pair.down(node) for node in NODES] == [both, both], what="every disk path is DOWN")
    assert_all_goes_on(pair)
    assert [pair.services["web"].transitions(node, since) for node in NODES] == [[], []]


def test_a_disk_that_is_slow_is_no_worse_than_that(pair: Pair) -> None:
    """A quarter of the timeout for each request: late news, and no reason to call a path DOWN."""
    pair.lab.set_disk_fault("node1", f"delay={T / 4}")
    before = pair.lab.disk_counters("node1")
    wait_for(lambda: pair.lab.disk_counters("node1")["reads"] >= before["reads"] + 4)
    assert [pair.down(node) for node in NODES] == [[], []]
    assert_all_goes_on(pair)


def test_a_takeover_while_the_disk_hangs(pair: Pair) -> None:
    web = pair.services["moves"]
    web.take()
    pair.lab.set_disk_fault("node2", "hang")
    wait_for(lambda: pair.down("node2") == ["dio node1", "dio node2"])
    web.act("node1", "stop", "--no-wait")
    web.wait("node2", "STARTED", timeout=5)
    assert web.calls() == ["start", "stop", "start"]
    assert web.running() == ["node2"]
    # With it node2 would not outlive what follows: a start of nmond takes longer than so short a lease.
    web.act("node2", "stop")
    web.wait("node1", "STARTED")
    web.assert_nothing_twice()


def test_nmond_killed_while_its_disk_hangs(pair: Pair) -> None:
    """Its workers cannot die before the disk answers. The next nmond decides and sends without them, and starts no
    second writer of a slot beside the first.
    """
    since = boottime()
    pair.lab.set_disk_fault("node2", "hang")
    wait_for(lambda: pair.down("node2") == ["dio node1", "dio node2"])
    hung = [worker for title, worker in pair.workers("node2").items() if "_dio " in title]
    assert len(hung) == 2
    pair.kill_nmond("node2")
    wait_for(lambda: "net node1" not in pair.down("node2"))
    wait_for(lambda: "has not ended yet" in troubles(pair, "node2")["dio node2"])
    assert all(process.alive(worker) for worker in hung)
    assert not [title for title, worker in pair.workers("node2").items() if "_dio " in title and worker not in hung]
    assert_all_goes_on(pair)
    pair.lab.heal()
    pair.wait_all_up()
    assert not any(process.alive(worker) for worker in hung)
    assert [pair.services["web"].transitions(node, since) for node in NODES] == [[], []]


@pytest.mark.parametrize("how", ["exec", "child"])
def test_a_script_that_waits_for_the_disk_cannot_be_killed_and_holds_up_nobody(pair: Pair, how: str) -> None:
    """Whether it is the script itself that waits, or a program that it called: nothing is run beside it, anywhere."""
    web = pair.services[f"stuck-{how}"]
    begin = "exec" if how == "exec" else ""
    web.behave(f"on_start() {{ {begin} dd if={DISK} of=/dev/null bs=512 count=1 iflag=direct; }}")
    pair.lab.set_disk_fault("node1", "hang-read")
    web.act("node1", "unfreeze", "--no-wait")
    stuck = wait_for(lambda: next((w for w, t in pair.processes("node1").items() if t.startswith("dd ")), None))
    web.act("node2", "unfreeze")
    wait_for(lambda: any("cannot be killed" in text for text in web.texts("node1")), what="it is given up")
    assert process.alive(stuck)
    assert_all_goes_on(pair)
    assert [web.state(node) for node in NODES] == ["START_FAILED", "STOPPED"]
    assert web.calls() == ["start"]
    pair.lab.heal()
    wait_for(lambda: not process.alive(stuck), what="it dies of the SIGKILL that it had")
    # Somebody has looked, and the other node may have it.
    web.behave("")
    wait_for(lambda: any("could not be killed, is over" in text for text in web.texts("node1")))
    web.act("node1", "freeze-stop")
    web.wait("node2", "STARTED")
    assert web.running() == ["node2"]
    web.assert_nothing_twice()
