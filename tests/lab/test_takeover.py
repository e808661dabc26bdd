"""Which node runs a service, when, and why: power failures, cuts, collisions, an operator's verbs, a node's end."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.lab.conftest import wait_for
from tests.lab.pair import BIN, NODES, Pair, Service, boottime, standing
from tests.lab.transcript import Shell

T = 1.0
PERIOD = T / 5
LONG_T = 10.0
AT_ONCE = 4.0
"""Seconds in which a takeover that waits for no timeout must be done, on a busy machine too: far less than LONG_T."""
COLLISIONS = int(os.environ.get("EZHA_COLLISIONS", "8"))
RESTARTS = int(os.environ.get("EZHA_RESTARTS", "3"))
"""On each node."""


@pytest.fixture(scope="module")
def quick() -> Iterator[Pair]:
    with standing(T, [f"web{number}" for number in range(4)]) as pair:
        yield pair


@pytest.fixture(scope="module")
def patient() -> Iterator[Pair]:
    """Here a timeout is too long to be mistaken for anything else."""
    with standing(LONG_T, [f"web{number}" for number in range(8)]) as pair:
        yield pair


def wait_until(moment: float) -> None:
    """Of ``boottime``: that nothing happened can be said of a time only when it is over."""
    wait_for(lambda: boottime() > moment, timeout=moment - boottime() + 5)


def unused(pair: Pair) -> Service:
    """A service that no other test uses, frozen on both nodes."""
    return next(each for each in pair.services.values() if not each.transitions("node1"))


# --------------------------------------------------------------------------------- power failures and cuts


def test_a_power_failure_is_taken_over_from_and_what_comes_after_it_is_a_boot() -> None:
    with standing(T, ("web", "cold", "iced")) as pair:
        web, cold, iced = pair.services.values()
        web.take()
        iced.take()
        iced.act("node1", "freeze-start")
        wait_for(lambda: iced.state("node2", of="node1") == "FROZEN_START")

        off = boottime()
        pair.lab.power_off("node1")
        web.wait("node2", "STARTED", timeout=T + AT_ONCE)
        silent = next(e for e in pair.history("node2", "", off) if e["text"].startswith("node1 is silent for "))
        assert silent["boottime"] >= off + T - PERIOD - 0.1
        claim = next(e for e in pair.history("node2", "web", off) if e["to"] == "START_READY")
        assert silent["boottime"] <= claim["boottime"]
        why = pair.run("node2", "ezha", "why", "web").stdout
        assert "node2: STOPPED → START_READY (generation 2), decided by ezha: node1 is silent for " in why
        assert f"(limit {T:g} s), its last word was STARTED" in why
        pair.wait_down("node2", ["net node1", "dio node1"])
        # Nobody takes over what was frozen where it runs.
        assert iced.transitions("node2", off) == []
        ran = web.holder("node2")
        assert ran is not None

        on = boottime()
        pair.lab.power_on("node1", start=True)
        pair.wait_all_up()
        assert _booted(web, on) == ("STARTED", "STOPPED", "the machine booted: nothing runs yet")
        assert _booted(iced, on)[:2] == ("FROZEN_START", "FROZEN_STOP")
        assert (cold.state("node1"), cold.calls()) == ("FROZEN_STOP", [])
        assert (web.state("node1"), web.calls("node1")) == ("STOPPED", ["start"])
        assert (web.state("node2"), web.holder("node2")) == ("STARTED", ran)
        # Now that node1 is known not to run it, the node that is not frozen may.
        iced.wait("node2", "STARTED")
        for service in (web, iced):
            assert service.running() == ["node2"]
            service.assert_nothing_twice()


def _booted(service: Service, since: float) -> tuple[str, str, str]:
    """What the boot of node1 made of a service: from, to, and why."""
    entries = service.pair.history("node1", service.name, since)
    first = next(e for e in entries if e["kind"] == "transition")
    return first["from"], first["to"], first["text"]


@pytest.mark.parametrize("what", ["net", "disk"])
def test_a_cut_with_the_other_path_alive_moves_nothing(quick: Pair, what: str) -> None:
    web = unused(quick)
    web.take()
    quick.wait_all_up()
    ran, since = web.holder("node1"), boottime()
    # A multicast into a cut cable is sent; a write to a dead disk is not done.
    down = (
        {"node1": ["net node2"], "node2": ["net node1"]}
        if what == "net"
        else {"node1": ["dio node1", "dio node2"], "node2": ["dio node1"]}
    )
    quick.lab.cut(what, "node1")
    try:
        for node in NODES:
            quick.wait_down(node, down[node])
        seen = boottime()
        for node, peer in (NODES, NODES[::-1]):
            medium = "net eth0:239.131.50.10:" if what == "net" else "dio /dev/mapper/"
            told = quick.run(node, "ezha", "why").stdout.splitlines()
            assert any(
                f"  {node}: {medium}" in line and f" is DOWN: nothing new from {peer} for " in line for line in told
            )
        # As long again as it takes to call a node silent, and then some.
        wait_until(seen + 2 * T)
        assert {node: quick.down(node) for node in NODES} == down
        for node in NODES:
            told = quick.history(node, since=since)
            assert {entry["kind"] for entry in told if "IN JEOPARDY" not in entry["text"]} == {"path"}
            assert any("IN JEOPARDY" in entry["text"] for entry in told), "one path is left: that is said"
        assert [web.state(node) for node in NODES] == ["STARTED", "STOPPED"]
        assert web.holder("node1") == ran is not None
        assert web.calls() == ["start"]

        # What is decided meanwhile rests on the path that is left, and says so.
        web.act("node1", "freeze-stop")
        web.wait("node2", "STARTED", timeout=AT_ONCE)
        claim = next(e for e in quick.history("node2", web.name, since) if e["to"] == "START_READY")
        ages = {line.split()[2]: float(line.split()[-3]) for line in claim["evidence"] if ": last news " in line}
        dead, alive = ("net", "dio") if what == "net" else ("dio", "net")
        assert ages[alive] < T < 2 * T < ages[dead]
    finally:
        quick.lab.heal()
    quick.wait_all_up()
    for node in NODES:
        assert quick.texts(node, "", since)[-1].endswith(" is UP")
    assert web.running() == ["node2"]
    web.assert_nothing_twice()


# ----------------------------------------------------------------------------------------------- collisions


@pytest.mark.parametrize(
    ("cut", "rounds"), [("", COLLISIONS), ("net", COLLISIONS // 2)], ids=["all-paths", "disk-only"]
)
def test_both_unfrozen_at_the_same_instant_start_once(quick: Pair, cut: str, rounds: int) -> None:
    """On the disk alone, where news takes a period, a fixed time to wait for it is what fails."""
    web = unused(quick)
    quick.wait_all_up()
    collided = 0
    with ExitStack() as stack:
        if cut:
            stack.callback(quick.lab.heal)
            quick.lab.cut(cut)
        shells = {node: Shell(quick.lab, node) for node in NODES}
        for shell in shells.values():
            stack.callback(shell.close)
        pool = stack.enter_context(ThreadPoolExecutor(len(NODES)))
        for number in range(rounds):
            since, before = boottime(), len(web.calls())
            typed = pool.map(lambda node: shells[node].run(f"{BIN}/service -A {web.name} unfreeze"), NODES)
            assert list(typed) == [("", 0), ("", 0)]
            wait_for(lambda: _agreed(web), what=f"one STARTED, one STOPPED, in round {number}")
            story = {node: web.texts(node, since) for node in NODES}
            assert web.calls()[before:] == ["start"], (number, story)
            assert len(web.running()) == 1, (number, story)
            collided += all("START_READY" in web.transitions(node, since) for node in NODES)
            for node in sorted(NODES, key=web.state, reverse=True):  # STOPPED before STARTED: it must not take over
                assert shells[node].run(f"{BIN}/service -A {web.name} freeze-stop") == ("", 0)
            assert web.calls()[before:] == ["start", "stop"], (number, story)
    web.assert_nothing_twice()
    print(f"{collided} of {rounds} times both claimed")


def _agreed(web: Service) -> bool:
    """One runs it, the other does not, and each knows the other's state."""
    own = {node: web.state(node) for node in NODES}
    told = {"node1": web.state("node2", of="node1"), "node2": web.state("node1", of="node2")}
    return sorted(own.values()) == ["STARTED", "STOPPED"] and own == told


# ------------------------------------------------------------------------------------- an operator's verbs


@pytest.mark.parametrize("actions", [("stop",), ("freeze-stop", "unfreeze")])
def test_what_an_operator_stops_the_other_node_takes(patient: Pair, actions: tuple[str, ...]) -> None:
    web = unused(patient)
    web.take()
    since = boottime()
    for action in actions:
        web.act("node1", action)
    web.wait("node2", "STARTED", timeout=AT_ONCE)
    web.wait("node1", "STOPPED")
    assert boottime() - since < AT_ONCE
    assert _ends(web) == [("node1", "start"), ("node1", "stop"), ("node2", "start")]
    assert web.transitions("node2", since) == ["START_READY", "STARTING", "STARTED"]
    # It stays there: to have stopped it is a reason not to start it.
    wait_for(lambda: web.state("node1", of="node2") == "STARTED")
    assert "START_READY" not in web.transitions("node1", since)
    assert web.running() == ["node2"]
    web.assert_nothing_twice()


def _ends(web: Service) -> list[tuple[str, str]]:
    """Node and action of each script that ended well. Asserts that each ended before the next began."""
    log = [call for call in web.log() if call.action in ("start", "stop")]
    assert [call.what for call in log] == ["begin", "exit-0"] * (len(log) // 2), log
    return [(call.node, call.action) for call in log[1::2]]


@pytest.mark.parametrize("verbs", [("restart",), ("stop", "start"), ("kill", "start")], ids="-".join)
def test_frozen_where_it_runs_it_survives_another_nmond(patient: Pair, verbs: tuple[str, ...]) -> None:
    web = unused(patient)
    web.take()
    web.act("node1", "freeze-start")
    ran, since = web.holder("node1"), boottime()
    for verb in verbs:
        done = patient.run("node1", "ezha.init", verb)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    patient.wait_all_up()
    assert web.state("node1") == "FROZEN_START"
    assert web.holder("node1") == ran is not None
    assert [web.transitions(node, since) for node in NODES] == [[], []]
    web.act("node1", "unfreeze")
    web.wait("node1", "STARTED")
    assert web.calls() == ["start"]


# ----------------------------------------------------------------------- the end of a node, and its restart


def test_a_node_that_leaves_is_taken_over_from_at_once(patient: Pair) -> None:
    web = unused(patient)
    web.take()
    since = boottime()
    done = patient.run("node1", "ezha.init", "stop")
    web.wait("node2", "STARTED", timeout=AT_ONCE)
    assert boottime() - since < AT_ONCE
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # The claim rests on what node1 said, not on a silence.
    told = "".join(web.texts("node2", since))
    assert "STOPPED, heard " in told and "silent" not in told
    assert _ends(web) == [("node1", "start"), ("node1", "stop"), ("node2", "start")]
    assert not [title for title in patient.processes("node1").values() if title.startswith(BIN)]
    assert patient.run("node1", "ezha.init", "status").returncode == 3

    ran, back = web.holder("node2"), boottime()
    done = patient.run("node1", "ezha.init", "start")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    patient.wait_all_up()
    assert web.state("node1") == "STOPPED"
    assert [web.transitions(node, back) for node in NODES] == [[], []]
    assert web.holder("node2") == ran is not None
    web.assert_nothing_twice()


def test_a_restart_is_noticed_by_nobody() -> None:
    with standing(0.5) as pair:
        web = pair.services["web"]
        web.take()
        pair.wait_all_up()
        ran = web.holder("node1")
        for node, peer in (NODES, NODES[::-1]) * RESTARTS:
            nmond, workers, since = pair.need_nmond(node), pair.workers(node), boottime()
            done = pair.run(node, "ezha.init", "restart")
            for _ in range(5):
                if "less busy" not in done.stderr:
                    break
                since = boottime()  # as a person would, who is asked to
                done = pair.run(node, "ezha.init", "restart")
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            wait_until(since + 2 * 0.5)
            log = pair.cluster(node, "log", "nmond.log").read_text()
            assert pair.history(peer, since=since) == [], log
            # Where the machine is busy, it may well say that it was away for longer than usual; it saw nothing else.
            assert [e for e in pair.history(node, since=since) if e["kind"] != "alert"] == [], log
            assert [web.state(each) for each in NODES] == ["STARTED", "STOPPED"]
            assert web.holder("node1") == ran is not None
            # By exec: the same process goes on with another program, and so do those that depend on it.
            assert "nmond replaces itself by exec" in log
            assert (pair.nmond(node), pair.workers(node)) == (nmond, workers)
            assert [pair.down(each) for each in NODES] == [[], []]
        assert web.calls() == ["start"]
        web.assert_nothing_twice()


def test_a_restart_that_the_peer_would_take_for_a_death_is_refused() -> None:
    """A program that loads slowly, as any does on a machine that is busy enough."""
    with standing(0.5) as pair:
        web = pair.services["web"]
        web.take()
        pair.wait_all_up()
        launcher = pair.cluster("node1", "bin", "nmond")
        first, rest = launcher.read_text().split("\n", 1)
        launcher.write_text(f"{first}\nimport time\ntime.sleep(0.5)\n{rest}")
        nmond, ran, since = pair.need_nmond("node1"), web.holder("node1"), boottime()
        done = pair.run("node1", "ezha.init", "restart")
        assert (done.returncode, done.stdout) == (1, "")
        assert "not restarted: the new program takes " in done.stderr
        assert "after 0.5 s of silence the other nodes take over" in done.stderr
        assert [pair.history(node, since=since) for node in NODES] == [[], []]
        assert (pair.nmond("node1"), web.holder("node1")) == (nmond, ran)


def test_a_second_nmond_refuses_to_run(patient: Pair) -> None:
    since, nmond = boottime(), patient.need_nmond("node1")
    for program in ("nmond", "nmond-supervisor"):
        done = patient.run("node1", program)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("nmond: nmond already runs here, pid ")
    # An init script that finds it running has nothing to do, and no service is declared stopped for it.
    done = patient.run("node1", "ezha.init", "start")
    assert (done.returncode, done.stdout) == (0, "")
    assert patient.need_nmond("node1") == nmond
    assert [patient.history(node, since=since) for node in NODES] == [[], []]


@pytest.mark.parametrize(
    ("file", "broken", "complaint"),
    [
        (
            "services",
            "fresh /bin/true node1 node2 /bin/true\nbroken /bin/true\n",
            "conf/services:10: 2 words instead of 5",
        ),
        ("monitor", "node1 net eth0 239.131.50.10 5555 10\nnode1 net eth0\n", "conf/monitor:6: "),
        ("options.toml", "start_timeout = 7\nnonsense = 1\n", "conf/options.toml:2: unknown key 'nonsense'"),
        ("nodes", "node3\nnode 4\n", "conf/nodes:4: "),
    ],
    ids=["services", "monitor", "options.toml", "nodes"],
)
def test_a_broken_file_is_refused_whole(patient: Pair, file: str, broken: str, complaint: str) -> None:
    """What is right in it is not taken over either."""
    path, since = patient.conf("node1", file), boottime()
    log = patient.cluster("node1", "log", "nmond.log")
    good, shown = path.read_text(), patient.run("node1", "service", "-s", "-c").stdout
    workers, told = patient.workers("node1"), len(log.read_text())
    path.write_text(good + broken)
    try:
        done = patient.run("node1", "ezha", "reload")
        assert (done.returncode, done.stdout) == (1, "")
        first, *_others, last = done.stderr.splitlines()
        assert first.startswith(complaint)
        assert last == "ezha reload: not taken over, the old configuration stays in force"
        patient.kill(patient.need_nmond("node1"), signal.SIGHUP)
        wait_for(lambda: log.read_text()[told:].count(complaint) == 2, what="SIGHUP is refused, too")
        assert patient.run("node1", "service", "-s", "-c").stdout == shown
        assert patient.workers("node1") == workers
    finally:
        path.write_text(good)
    done = patient.run("node1", "ezha", "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert patient.workers("node1") == workers
    assert [patient.history(node, since=since) for node in NODES] == [[], []]
