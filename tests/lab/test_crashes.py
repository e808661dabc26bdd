"""nmond and its workers may be killed or stopped at any moment: nothing is run twice, and nothing is forgotten."""

import os
import random
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.lab.plan import PREFIX
from ha.lab.process import ProcessId
from tests.lab.conftest import wait_for
from tests.lab.pair import BIN, GATE_SHELL, NODES, Pair, Service, boottime, standing

PATIENCE = 10.0
"""A timeout that no restart of nmond outlasts, however busy the machine is: the peer sits still while one is dead."""
T = 1.0
"""Where time is what is looked at."""
BARE = 'protection = "none"\n'
"""No lease: a node whose nmond hangs is left as it is, and can be looked at."""
ROUNDS = int(os.environ.get("EZHA_CRASH_ROUNDS", "6"))
"""Kills at random moments."""
RESTART = "restart"
"""Of nmond itself, among the actions that a kill may interrupt."""
_SERVICES = [f"web{number}" for number in range(20)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Pair]:
    with standing(PATIENCE, _SERVICES) as pair:
        yield pair


@pytest.fixture
def web(shared: Pair) -> Service:
    """A service that no other test uses, frozen on both nodes of a pair that all tests share."""
    for node in NODES:
        # One that dies right after its start is started again with a delay, which may outlast the lease in the end.
        wait_for(lambda node=node: _age(shared.need_nmond(node)) > 1.1)
    return next(each for each in shared.services.values() if not each.transitions("node1"))


# ------------------------------------------------------------------------------------- kill -9 of nmond


def test_a_running_service_is_adopted(web: Service) -> None:
    web.take()
    ran, since = web.holder("node1"), boottime()
    web.pair.kill_nmond("node1")
    wait_for(lambda: "its controller says that it is up: adopted" in web.texts("node1", since))
    assert web.state("node1") == "STARTED"
    assert web.holder("node1") == ran is not None
    assert web.calls() == ["start"]
    assert web.transitions("node2", since) == []
    web.assert_nothing_twice()


@pytest.mark.parametrize("state", ["FROZEN_STOP", "STOPPED", "FROZEN_START"])
def test_a_service_that_rests_stays_as_it_was(web: Service, state: str) -> None:
    victim = "node2" if state == "STOPPED" else "node1"
    if state != "FROZEN_STOP":
        web.take()
    if state == "FROZEN_START":
        web.act("node1", "freeze-start")
    web.wait(victim, state)
    calls, since = web.calls(), boottime()
    web.pair.kill_nmond(victim)
    web.pair.wait_all_up(victim)
    assert web.state(victim) == state
    assert web.calls() == calls
    assert [web.transitions(node, since) for node in NODES] == [[], []]


def test_a_start_script_goes_on_without_nmond_and_is_finished(web: Service) -> None:
    web.behave(GATE_SHELL + "on_start() { shut started; }")
    web.act("node1", "unfreeze")
    wait_for(lambda: web.calls() == ["start"], what="the start script runs")
    web.act("node2", "unfreeze")
    web.pair.kill_nmond("node1")
    assert web.state("node1") == "STARTING"
    assert any("its start script is still running: waited for" in text for text in web.texts("node1"))
    web.pair.open("started")
    web.wait("node1", "STARTED")
    assert web.calls() == ["start"]
    assert web.running() == ["node1"]
    assert web.transitions("node2") == ["STOPPED"]
    web.assert_nothing_twice()


def test_a_start_script_that_fails_without_nmond_is_cleaned_up(web: Service) -> None:
    """Nobody sees its exit code: the controller is asked, and what is not up is stopped before anybody may start it."""
    web.behave(GATE_SHELL + "on_start() { shut failed; rm $arena/$name.sh; return 1; }")
    web.act("node1", "unfreeze")
    wait_for(lambda: web.calls() == ["start"], what="the start script runs")
    web.act("node2", "unfreeze")
    web.pair.kill_nmond("node1")
    web.pair.open("failed")
    wait_for(lambda: len(web.running()) == 1, what="it runs in the end")
    assert [(call.action, call.what) for call in web.log()[:4]] == [
        ("start", "begin"),
        ("start", "exit-1"),
        ("stop", "begin"),
        ("stop", "exit-0"),
    ]
    assert web.calls() == ["start", "stop", "start"]
    web.assert_nothing_twice()


def test_a_stop_script_goes_on_without_nmond_and_is_finished(web: Service) -> None:
    web.take()
    web.behave(GATE_SHELL + "on_stop() { shut stopped; }")
    web.act("node1", "freeze-stop", "--no-wait")
    wait_for(lambda: web.calls() == ["start", "stop"], what="the stop script runs")
    web.pair.kill_nmond("node1")
    assert web.state("node1") == "STOPPING"
    web.pair.open("stopped")
    web.wait("node1", "FROZEN_STOP")
    # How the first one ended nobody saw, so it is called once more; only then may node2 have it.
    web.wait("node2", "STARTED")
    assert web.calls() == ["start", "stop", "stop", "start"]
    assert web.running() == ["node2"]
    web.assert_nothing_twice()


@pytest.mark.parametrize("script", ["check", "start", "stop"])
def test_killed_between_the_state_file_and_the_script(web: Service, script: str) -> None:
    """The new state is on the disk, the script not launched: nmond is held there by a log that cannot be opened."""
    pair = web.pair
    log = pair.cluster("node1", "log", "scripts", f"{web.name}.log")
    if script == "check":
        os.mkfifo(log)
        web.act("node1", "unfreeze", "--no-wait")
    elif script == "start":
        # The check script's last deed.
        web.behave(f"[ $EZ_ACTION = check ] && rm {log} && mkfifo {log}")
        web.act("node1", "unfreeze", "--no-wait")
    else:
        web.take()
        log.unlink()
        os.mkfifo(log)
        web.act("node1", "freeze-stop", "--no-wait")
    web.wait("node1", "STOPPING" if script == "stop" else "STARTING")
    old = pair.need_nmond("node1")
    wait_for(lambda: _opens_a_fifo(old), what="nmond waits for its log")
    assert script not in web.calls()
    web.behave("")
    pair.kill(old)
    log.unlink()
    pair.next_nmond("node1", old)
    if script == "stop":
        web.wait("node1", "FROZEN_STOP")
        web.wait("node2", "STARTED")
        assert web.calls() == ["start", "stop", "start"]
        assert web.running() == ["node2"]
    else:
        # Its controller says that it is down: what was begun is cleaned up, and then it is started as any other.
        web.wait("node1", "STARTED")
        assert web.calls() == ["stop", "start"]
        assert web.running() == ["node1"]
    web.assert_nothing_twice()


def _opens_a_fifo(who: ProcessId) -> bool:
    return Path(f"/proc/{who.pid}/wchan").read_text() in ("wait_for_partner", "fifo_open", "pipe_wait")


def test_a_restarted_nmond_waits_for_a_command_that_works_on_its_record(web: Service) -> None:
    pair = web.pair
    web.take()
    got, go_on = pair.arena / f"{web.name}.got", pair.arena / f"{web.name}.go-on"
    command = f"touch {got}; while [ ! -e {go_on} ]; do sleep 0.01; done"
    # It stands in line for the lock, so it has it before any other nmond does.
    holder = pair.lab.popen("node1", ["flock", "/run/ezha/nmond.lock", "sh", "-c", command])
    try:
        old = pair.need_nmond("node1")
        wait_for(lambda: any(title.startswith("flock ") for title in pair.processes("node1").values()))
        pair.kill(old)
        wait_for(got.exists, what="the command has the lock")
        wait_for(lambda: pair.nmond("node1") not in (None, old), what="a new nmond")
        go_on.touch()
        pair.next_nmond("node1", old)
    finally:
        holder.kill()
        holder.wait()
    wait_for(lambda: "its controller says that it is up: adopted" in web.texts("node1"))
    assert web.calls() == ["start"]


def test_killed_at_random_moments(web: Service) -> None:
    """While an action is under way, and soon after; what is believed and what runs agree again each time."""
    seed = int(os.environ.get("EZHA_CRASH_SEED", "0")) or secrets.randbits(32)
    draw = random.Random(seed)
    web.behave("on_start() { sleep 0.1; }; on_stop() { sleep 0.1; }")
    web.take()
    story = [f"seed {seed}"]
    try:
        for _ in range(ROUNDS):
            node = draw.choice(NODES)
            action = draw.choice(("freeze-stop", "unfreeze", "stop", "start", RESTART))
            delay = draw.choice((0.0, draw.uniform(0, 0.05), draw.uniform(0, 0.4)))
            story.append(f"{node} {action} {delay:.3f}")
            _kill_during(web, node, action, delay)
            wait_for(lambda: _settled(web), 15)
            web.assert_nothing_twice()
        for node in NODES:
            if web.state(node) == "FROZEN_STOP":
                web.act(node, "unfreeze")
        wait_for(lambda: web.running() and _settled(web), 15)
        web.assert_nothing_twice()
    except AssertionError as error:
        told = [f"{node}: {text}" for node in NODES for text in (web.state(node), *web.texts(node))]
        raise AssertionError(f"{story}: {error}; {web.running()}; {told}") from error


def _kill_during(web: Service, node: str, action: str, delay: float) -> None:
    pair = web.pair
    # What it says is no matter: it may well be refused, or cut off.
    argv = [f"{PREFIX}/ezha.init", "restart"] if action == RESTART else [f"{BIN}/service", "-A", web.name, action]
    asking = pair.lab.popen(node, argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        victim, until = pair.need_nmond(node), time.monotonic() + delay
        wait_for(lambda: time.monotonic() >= until, every=0.001)
        pair.kill(victim)
        pair.next_nmond(node, victim)
    finally:
        asking.kill()
        asking.wait()


def _settled(web: Service) -> bool:
    """No script under way, what is believed is what runs, and it runs unless it is frozen."""
    states = [web.state(node) for node in NODES]
    runs = web.running()
    believed = [node for node, state in zip(NODES, states, strict=True) if state == "STARTED"]
    restful = all(state in ("STARTED", "STOPPED", "FROZEN_STOP") for state in states)
    return restful and runs == believed and (len(runs) == 1 or "STOPPED" not in states)


# ------------------------------------------------------------------------------------ workers and hangs


@pytest.fixture(scope="module")
def quick() -> Iterator[Pair]:
    with standing(T, options=BARE) as pair:
        yield pair


def test_a_killed_worker_is_back_within_a_period_and_the_peer_notices_nothing(quick: Pair) -> None:
    period = T / 5
    quick.wait_all_up()
    workers = quick.workers("node1")
    assert len(workers) == 4
    before, since = {path["label"]: path["restarts"] for path in quick.paths("node1")}, boottime()
    for title, worker in workers.items():
        # One that dies right after its start is started again with a delay.
        wait_for(lambda worker=worker: _age(worker) > 1.1)
        killed = time.monotonic()
        quick.kill(worker)
        wait_for(lambda title=title, worker=worker: quick.workers("node1").get(title, worker) != worker, every=0.002)
        assert time.monotonic() - killed < period, title
    quick.wait_all_up()
    assert {path["label"]: path["restarts"] for path in quick.paths("node1")} == {k: n + 1 for k, n in before.items()}
    for node in NODES:
        assert quick.history(node, since=since) == []


def _age(who: ProcessId) -> float:
    """Seconds."""
    return boottime() - who.start / os.sysconf("SC_CLK_TCK")


def test_an_nmond_that_hangs_looks_dead_though_its_workers_live(quick: Pair) -> None:
    """A message proves that decisions are made, not that a process is there to send it."""
    web = quick.services["web"]
    web.take()
    nmond, workers, since = quick.need_nmond("node1"), quick.workers("node1"), boottime()
    quick.kill(nmond, signal.SIGSTOP)
    try:
        web.wait("node2", "STARTED", timeout=T + 5)
        silent = next(e for e in quick.history("node2", "", since) if e["text"].startswith("node1 is silent"))
        assert T - 0.3 <= silent["boottime"] - since <= T + 0.5
        wait_for(lambda: quick.down("node2") == ["net node1", "dio node1"])
        assert quick.workers("node1") == workers
    finally:
        quick.kill(nmond, signal.SIGCONT)
    # It knows that it was away, is heard again, and calls no script for it.
    wait_for(lambda: any("was not scheduled for" in text for text in quick.texts("node1", "", since)))
    quick.wait_all_up()
    assert quick.need_nmond("node1") == nmond
    assert [web.calls(node) for node in NODES] == [["start"], ["start"]]
