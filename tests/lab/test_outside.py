"""Protection without a shared disk: a node is fenced before it is taken over from, or etcd says whose a service is.

The fence agent asks the test, which takes the node's power away as a power strip would.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from ha.lab.process import ProcessId
from tests.lab.conftest import wait_for
from tests.lab.etcd_server import needs_etcd
from tests.lab.pair import BIN, NODES, Pair, boottime, standing

T = 1.0
ETCD_T = 2.0
"""The shortest lease that etcd grants by default is 2 s."""
SECRET = "s3cret-of-the-strip"
_AGENT = """\
#!/bin/sh
# Speaks as fence-agents do: name=value lines on standard input; status 2 says off.
while IFS='=' read -r name value; do
	case $name in
	action) action=$value ;;
	plug) plug=$value ;;
	password) password=$value ;;
	esac
done
echo "logging in with $password"
if [ "$action" = status ]; then
	[ -e "{arena}/off.$plug" ] && exit 2
	exit 0
fi
[ -e "{arena}/broken" ] && {{ echo "the strip does not answer"; exit 1; }}
echo "$action" >"{arena}/wanted.$plug"
while [ ! -e "{arena}/off.$plug" ]; do sleep 0.02; done
"""


@contextmanager
def strip(pair: Pair) -> Iterator[None]:
    """Takes the power of a node when its agent asks for it."""
    done = Event()

    def serve() -> None:
        while not done.wait(0.02):
            for node in NODES:
                if (pair.arena / f"wanted.{node}").exists() and not (pair.arena / f"off.{node}").exists():
                    pair.lab.power_off(node)
                    (pair.arena / f"off.{node}").touch()

    thread = Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def fenced(services: tuple[str, ...] = ("web",)) -> Iterator[Pair]:
    """Two nodes that fence each other, with ezha running."""
    with standing(T, services, start=False) as pair:
        agent = pair.arena / "fence_strip"
        agent.write_text(_AGENT.format(arena=pair.arena))
        agent.chmod(0o755)
        options = 'protection = "stonith"\n'
        for node in NODES:
            options += f'[fence."{node}"]\nagent = "{agent}"\ndelay = 2\n'
            options += f'[fence."{node}".parameters]\nplug = "{node}"\npassword = "{SECRET}"\n'
        for node in NODES:
            pair.conf(node, "options.toml").write_text(options)
            pair.conf(node, "options.toml").chmod(0o600)
        pair.start()
        with strip(pair):
            yield pair


def cut_all(pair: Pair) -> float:
    since = boottime()
    pair.lab.cut("net")
    pair.lab.cut("disk")
    return since


def alive(pair: Pair) -> list[str]:
    return [report.name for report in pair.lab.report() if report.name in NODES and report.power == "on"]


def test_a_silent_node_is_fenced_and_then_taken_over_from() -> None:
    with fenced() as pair:
        web = pair.services["web"]
        web.take()
        since = cut_all(pair)
        web.wait("node2", "STARTED", timeout=T + 10)
        took = boottime() - since
        assert alive(pair) == ["node2"]
        assert web.holder("node2") is not None
        web.assert_nothing_twice()
        told = "\n".join(pair.texts("node2", "", since))
        assert "node1 has been fenced: " in told
        assert "off, and its status says so" in told
        everything = b"".join(path.read_bytes() for path in pair.cluster("node2", "log").rglob("*") if path.is_file())
        assert b"logging in with ***" in everything
        assert SECRET.encode() not in everything
        print(f"taken over {took:.2f} s after the cut; T = {T:g} s, delay of node2 2 s")


def test_one_that_cannot_be_fenced_is_not_taken_over_from() -> None:
    """The twin: all is as above but the success of the agent."""
    with fenced() as pair:
        web = pair.services["web"]
        web.take()
        (pair.arena / "broken").touch()
        since = cut_all(pair)
        wait_for(lambda: any("the fencing of node1 failed" in text for text in pair.texts("node2", "", since)), T + 10)
        time.sleep(T)
        assert web.running() == ["node1"]
        assert "node2" not in {call.node for call in web.log() if call.action == "start"}
        # Somebody pulls the plug, and says so.
        pair.lab.power_off("node1")
        typed = f"printf 'node1\\nnode1\\n' | {BIN}/ezha confirm-down node1"
        done = pair.lab.exec("node2", ["/bin/sh", "-c", typed])
        assert (done.returncode, done.stdout) == (0, "node1 counts as down until it is heard\n"), done.stderr
        web.wait("node2", "STARTED")
        web.assert_nothing_twice()


def test_of_two_that_would_fence_each_other_one_is_left() -> None:
    """Each has a service of its own: the one that comes first in the file nodes does not wait, the other does."""
    with fenced(("web", "db")) as pair:
        web, db = pair.services["web"], pair.services["db"]
        web.take()
        db.act("node2", "unfreeze")
        db.wait("node2", "STARTED")
        db.act("node1", "unfreeze")
        db.wait("node1", "STOPPED")
        cut_all(pair)
        db.wait("node1", "STARTED", timeout=T + 10)
        assert alive(pair) == ["node1"]
        assert web.holder("node1") is not None
        assert db.holder("node1") is not None
        for service in (web, db):
            service.assert_nothing_twice()


# ------------------------------------------------------------------------------------------------------- etcd


@contextmanager
def with_etcd(options: str) -> Iterator[Pair]:
    """A server on the lab's bridge, beside the nodes."""
    with standing(ETCD_T, ("web",), start=False) as pair:
        program = shutil.which("etcd")
        assert program is not None
        url, peer = "http://192.168.100.1:2379", "http://127.0.0.1:2380"
        words = {
            "--data-dir": f"{pair.arena}/etcd",
            "--listen-client-urls": url,
            "--advertise-client-urls": url,
            "--listen-peer-urls": peer,
            "--initial-advertise-peer-urls": peer,
            "--initial-cluster": f"default={peer}",
        }
        argv = [program, *(word for item in words.items() for word in item)]
        with Path(pair.arena, "etcd.log").open("wb") as log:
            server = pair.lab.popen("client", argv, stdout=log, stderr=log)
        try:
            for node in NODES:
                pair.conf(node, "options.toml").write_text(f'{options}[etcd]\nendpoints = ["{url}"]\n')
            pair.start()
            yield pair
        finally:
            server.kill()
            server.wait()


def speaker(pair: Pair, node: str) -> ProcessId | None:
    """The process that speaks with etcd."""
    return next((each for each, title in pair.processes(node).items() if title == f"{BIN}/nmond (etcd)"), None)


@needs_etcd
def test_cut_off_from_each_other_and_from_etcd_nobody_runs_it() -> None:
    with with_etcd('protection = "etcd"\nself_fence = "stop"\n') as pair:
        web = pair.services["web"]
        web.take()
        # It goes through a restart of nmond.
        old = speaker(pair, "node1")
        assert old is not None
        assert pair.run("node1", "ezha.init", "restart").returncode == 0
        assert speaker(pair, "node1") == old
        assert (web.state("node1"), web.calls()) == ("STARTED", ["start"])
        cut_all(pair)
        wait_for(lambda: not web.running(), ETCD_T + 3, what="node1 has given it up")
        time.sleep(2 * ETCD_T)
        assert web.running() == []
        assert "node2" not in {call.node for call in web.log() if call.action == "start"}
        pair.lab.heal()
        wait_for(lambda: len(web.running()) == 1, 6 * ETCD_T + 10, what="one of them runs it again")
        web.assert_nothing_twice()


def test_without_either_both_run_it() -> None:
    """The twin of all of the above."""
    with standing(T, ("web",), 'protection = "none"\n') as pair:
        web = pair.services["web"]
        web.take()
        cut_all(pair)
        wait_for(lambda: len(web.running()) == 2, T + 5, what="both run it")


def isolate(pair: Pair) -> float:
    since = boottime()
    pair.lab.cut("net", "node1")
    pair.lab.cut("disk", "node1")
    return since


@needs_etcd
def test_etcd_gives_the_service_of_a_node_that_is_cut_off_to_the_other() -> None:
    with with_etcd('protection = "etcd"\nself_fence = "stop"\n') as pair:
        web = pair.services["web"]
        web.take()
        since = isolate(pair)
        web.wait("node2", "STARTED", timeout=4 * ETCD_T + 5)
        took = boottime() - since
        assert web.running() == ["node2"]
        web.assert_nothing_twice()
        print(f"taken over {took:.2f} s after the cut; T = {ETCD_T:g} s")
        # Back again, it takes its place behind the other.
        pair.lab.heal()
        pair.wait_all_up()
        assert web.running() == ["node2"]
