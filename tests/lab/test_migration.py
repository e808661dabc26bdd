"""A node that runs ezha beside one that runs OpenHA, and a cluster that goes from the one to the other.

Every wait is on a state as agents read it. The times are the original's own (5 s before a start, a look every 2 s), so
what can go on side by side does: services of their own, and the two stories in a lab of each.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from ha.lab.plan import PREFIX
from tests.lab.conftest import wait_for
from tests.lab.openha_pair import FROZEN_STOP, NODES, PATHS, READY, STARTED, STOPPED, Mixed, T, openha_pair

GRACE_S = 5.0
SLACK_S = 6.0
"""For a busy machine, beside what the rules take: a loop of 2 s, a message of 1 s, a look at a disk of T."""


def boot(pair: Mixed, *nodes: str) -> None:
    """The boot scripts, side by side."""
    scripts = [pair.begin(node, "ezha.init", "start") for node in nodes]
    assert [script.wait(30) for script in scripts] == [0] * len(nodes)


def edit(pair: Mixed, node: str, *changes: str) -> None:
    """``options.toml``, as ``ezha migrate plan`` has it typed, and nmond told."""
    words = [word for change in changes for word in ("-e", change)]
    done = pair.lab.exec(node, ["sed", "-i", *words, f"{PREFIX}/conf/options.toml"], 10.0)
    assert done.returncode == 0, done.stderr
    pair.run(node, "bin/ezha", "check")
    pair.run(node, "bin/ezha", "reload")


def up_on_the_original(pair: Mixed, service: str) -> None:
    """It runs on node2, without the time that its nmond would take."""
    script = str(pair.arena / f"{service}.cluster")
    assert pair.lab.exec("node2", [script, "start"], 10.0).returncode == 0
    pair.act("node2", service, "force-start")
    pair.wait_on("node1", service, STARTED, of="node2")


def beside() -> None:
    """node1 runs ezha, node2 the original. What was frozen where it runs stays, and nothing ever runs twice."""
    with openha_pair({"ours": "node1", "theirs": "node2", "iced": "node2"}) as pair:
        pair.install("node1")
        boot(pair, *NODES)
        wait_for(lambda: pair.run("node1", "bin/hb", "-s").count(" UP, updated at ") == PATHS, what="all paths are UP")
        assert pair.run("node1", "bin/hb", "-s").count(", wire openha\n") == PATHS

        # Both claim at once.
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda node: pair.act(node, "ours", "unfreeze"), NODES))
        for name in ("theirs", "iced"):
            up_on_the_original(pair, name)
        pair.act("node2", "iced", "freeze-start")
        pair.wait_on("node1", "iced", READY, of="node2")
        pair.act("node1", "iced", "unfreeze")
        wait_for(lambda: pair.starts("ours"), timeout=20, what="one of them starts it")
        first = pair.starts("ours")[0]
        pair.wait_on("node1", "ours", STARTED, of=first)
        pair.wait_on("node2", "ours", STARTED, of=first)
        assert pair.starts("ours") == [first]

        # A switch each way, side by side.
        if first == "node2":
            pair.act("node2", "ours", "freeze-stop")
            pair.wait("ours", node1=STARTED, node2=FROZEN_STOP)
            pair.act("node2", "ours", "unfreeze")
            pair.wait_on("node1", "ours", STOPPED, of="node2")
        pair.act("node1", "theirs", "unfreeze")
        switch = pair.begin("node1", "bin/ezha", "switch", "ours")
        pair.act("node2", "theirs", "freeze-stop")
        pair.wait("ours", node1=STOPPED, node2=STARTED, timeout=2 * GRACE_S + SLACK_S)
        pair.wait("theirs", node1=STARTED, node2=FROZEN_STOP)
        assert switch.wait(20) == 0

        # The original dies.
        pair.lab.power_off("node2")
        off = time.monotonic()
        pair.wait_on("node1", "ours", STARTED, timeout=T + GRACE_S + SLACK_S)
        assert time.monotonic() - off >= GRACE_S
        assert pair.digit("node1", "iced") == STOPPED
        assert pair.runs("iced") == []
        pair.act("node1", "iced", "freeze-stop")

        # It is back, and then ezha's node dies.
        pair.place("node2", "services", "iced", "STATE.node2").write_bytes(FROZEN_STOP + b"\0")
        pair.lab.power_on("node2")
        boot(pair, "node2")
        pair.wait("ours", node1=STARTED, node2=STOPPED)
        assert pair.runs("ours") == ["node1"]
        pair.lab.power_off("node1")
        pair.wait_on("node2", "ours", STARTED, timeout=T + GRACE_S + SLACK_S)
        assert [pair.starts(name)[-1] for name in ("ours", "theirs")] == ["node2", "node1"]


def migration() -> None:
    """As ``ezha migrate plan`` says it. The service stops only to move, and never runs twice."""
    with openha_pair({"web": "node1"}) as pair:
        boot(pair, *NODES)
        pair.act("node1", "web", "unfreeze")
        pair.wait("web", node1=STARTED, node2=FROZEN_STOP)
        pair.act("node2", "web", "unfreeze")

        pair.run("node2", "ezha.init", "stop")
        pair.install("node2")
        boot(pair, "node2")
        pair.wait("web", node1=STARTED, node2=STOPPED)
        told = pair.run("node2", "bin/service", "-s")
        assert told.endswith("Primary  : node1, STARTED\n        Secondary: node2, STOPPED\n")

        pair.act("node1", "web", "freeze-stop")
        pair.wait("web", node1=FROZEN_STOP, node2=STARTED)
        pair.act("node1", "web", "unfreeze")

        pair.run("node1", "ezha.init", "stop")
        pair.install("node1")
        boot(pair, "node1")
        pair.wait("web", node1=STOPPED, node2=STARTED)

        pair.act("node2", "web", "freeze-start")
        pair.act("node1", "web", "freeze-stop")
        pair.wait("web", node1=FROZEN_STOP, node2=READY)
        for node in ("node2", "node1"):
            edit(pair, node, 's/^wire = .*/protection = "none"/', "/^ttl = /d")
        ask = [partial(pair.run, node, "bin/hb", "-s") for node in NODES]
        wait_for(
            lambda: all(each().count(" UP, updated at ") == PATHS for each in ask), what="all paths are UP on both"
        )
        assert not [each for each in ask if "wire" in each()]
        for node in ("node2", "node1"):
            pair.act(node, "web", "unfreeze")
        pair.wait("web", node1=STOPPED, node2=STARTED)
        assert pair.runs("web") == ["node2"]
        assert pair.starts("web") == ["node1", "node2"]

        # A lease over the shared disk, from one moment to the next, over a service that runs.
        for node in ("node2", "node1"):
            edit(pair, node, "/^protection = /d")
        assert "lease for T = 2 s" in pair.run("node2", "bin/ezha", "check")
        time.sleep(T)  # longer than a lease of T lasts: it was renewed
        assert pair.runs("web") == ["node2"]

        # From here on a takeover needs no grace, and a switch takes a moment.
        pair.run("node2", "bin/ezha", "switch", "web")
        pair.wait("web", node1=STARTED, node2=STOPPED)

        # OpenHA comes back on node2 with the states of this moment.
        pair.run("node2", "ezha.init", "stop")
        pair.install("node2", "--undo")
        assert pair.digit("node2", "web") == STOPPED
        assert "openha_peer" in pair.place("node2", "ezha.init").read_text()
        assert pair.starts("web") == ["node1", "node2", "node1"]


@pytest.fixture(scope="module")
def stories() -> Iterator[dict[str, "Future[None]"]]:
    """Both begin with the first test that asks."""
    with ThreadPoolExecutor(2) as pool:
        yield {story.__name__: pool.submit(story) for story in (beside, migration)}


def test_ezha_beside_openha_collides_switches_and_takes_over_both_ways(stories: dict[str, "Future[None]"]) -> None:
    stories["beside"].result()


def test_a_cluster_migrates_a_node_at_a_time_and_back(stories: dict[str, "Future[None]"]) -> None:
    stories["migration"].result()
