"""nmond as a whole, in this process: one node, the real engine, store and scripts, and workers that only confirm."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ha.fsm.config import PathId
from ha.fsm.events import Effects, Note, NoteKind, Reply, RunScript
from ha.fsm.identity import cluster_id, node_id
from ha.fsm.message import Heartbeat, Incarnation, ServiceEntry
from ha.fsm.states import Promise, ScriptKind, State
from ha.heartbeats import channel as wire
from ha.heartbeats import worker as heartbeat_worker
from ha.heartbeats.codec import decode, encode
from ha.heartbeats.path import PathLine
from ha.node import bridge, daemon, process
from ha.node.daemon import Daemon, Unusable
from ha.node.driver import Driver
from ha.node.handover import HandoverError
from ha.node.layout import Layout
from ha.node.lock import node_lock
from tests.unit.node.world import turn_until

CONTROLLER = """#!/bin/sh
echo "$1" >> {folder}/calls
cat {folder}/services/web/STATE.node1 >> {folder}/states
[ "$1" = status ] && {{ [ -e {folder}/up ] && exit 0; exit 3; }}
[ "$1" = start ] && touch {folder}/up
[ "$1" = stop ] && rm -f {folder}/up
exit 0
"""


def confirm(line: PathLine, channel: socket.socket, **_: Any) -> None:
    """A sender that sends nowhere."""
    while raw := channel.recv(wire.MAX_RECORD):
        record = wire.decode(raw)
        assert isinstance(record, wire.Handed)
        channel.send(wire.encode(wire.Sent(record.seq, record.at)))


def listen(line: PathLine, channel: socket.socket, **_: Any) -> None:
    """A listener that hears nothing."""
    channel.recv(1)


class Bench:
    """An installation below a folder of the test, and the nmond that runs there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "conf", "log", "run"):
            (folder / name).mkdir()
        self.layout = Layout(str(folder), {"EZ_RUN": f"{folder}/run"})
        self.script = folder / "web.cluster"
        self.script.write_text(CONTROLLER.format(folder=folder))
        self.script.chmod(0o755)
        self.write("nodes", "node1\nnode2\n")
        self.write("monitor", "node1 net lo 239.131.50.10 1234 2\nnode2 net lo 239.131.50.10 4321 2\n")
        self.write("services", f"web\t{self.script}\tnode1\tnode2\t/bin/true\n")
        self.daemon: Daemon | None = None
        self.peer_seq = 0

    def write(self, name: str, text: str) -> None:
        (self.folder / "conf" / name).write_text(text)

    def start(self) -> Daemon:
        self.daemon = Daemon(self.layout, foreground=True)
        self.daemon.begin(-1)
        return self.daemon

    @property
    def node(self) -> Any:
        assert self.daemon is not None
        return self.daemon.node

    def until(self, done: Callable[[], bool]) -> None:
        assert self.daemon is not None
        turn_until(self.daemon.loop, done)

    def ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Every line of the answer."""
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(self.layout.control)
            end.setblocking(False)
            end.sendall(json.dumps(request).encode() + b"\n")
            got = bytearray()

            def read() -> bool:
                try:
                    got.extend(end.recv(100_000))
                except BlockingIOError:
                    return False
                return b'"final":true' in got

            self.until(read)
        return [json.loads(line) for line in got.splitlines()]

    def peer_says(self, state: State = State.FROZEN_STOP, node: str = "node2", **changes: Any) -> None:
        """A heartbeat of node2 that acknowledges all we have sent."""
        from ha.fsm.message import Ack

        self.peer_seq += 1
        engine = self.node.driver.engine
        service = engine.services["web"]
        message = Heartbeat(
            cluster=cluster_id("ezha"),
            node=node_id(node),
            incarnation=Incarnation(1, 99),
            seq=self.peer_seq,
            promise=Promise.NONE,
            standing=True,
            left=False,
            timeout_ms=2000,
            lease_ms=0,
            paths_digest=engine.config.paths_digest,
            services=(ServiceEntry(service.id, state, 0),),
            acks=(Ack(node_id("node1"), engine.incarnation, (engine.seq,)),),
        )
        self.node.intake.received(PathId("node2", 0), self.node.loop.clock(), encode(replace(message, **changes)))

    def state(self) -> str:
        return str(self.node.driver.engine.services["web"].state.name)

    def log(self) -> str:
        return (self.folder / "log" / "nmond.log").read_text()

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().split() if path.exists() else []

    def end(self) -> None:
        if self.daemon is not None:
            self.daemon.loop.stop()
            self.daemon._end()
            self.daemon.lock.release()
            self.daemon.loop.close()
            for end in self.daemon._wake:
                end.close()
            self.daemon = None


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    import gc
    import signal
    import sys

    monkeypatch.setattr(heartbeat_worker, "run_sender", confirm)
    monkeypatch.setattr(heartbeat_worker, "run_listener", listen)
    monkeypatch.setattr(daemon, "node_name", lambda: "node1")
    handlers = {n: signal.getsignal(n) for n in (15, 2, 1, 10, 12)}
    hook = sys.excepthook
    made = Bench(tmp_path)
    yield made
    made.end()
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    sys.excepthook = hook
    gc.unfreeze()


def started(bench: Bench) -> None:
    """web runs here."""
    bench.start()
    bench.peer_says()
    bench.ask({"op": "action", "action": "unfreeze", "service": "web"})

    def there() -> bool:
        bench.peer_says()
        return bench.state() == "STARTED"

    bench.until(there)


def test_a_first_start_counts_its_incarnation_and_begins_frozen(bench: Bench) -> None:
    bench.start()
    (status,) = bench.ask({"op": "status"})
    assert (status["node"], status["pid"], status["incarnation"]) == ("node1", os.getpid(), 1)
    assert status["services"][0]["nodes"] == [
        {"node": "node1", "state": "FROZEN_STOP"},
        {"node": "node2", "state": "UNKNOWN"},
    ]
    assert status["services"][0]["frozen"] is True
    assert (bench.folder / "run" / "nmond.pid").read_text() == f"{os.getpid()}\n"


def test_an_unfrozen_service_is_started_and_its_state_is_on_the_disk_before_its_script_runs(bench: Bench) -> None:
    started(bench)
    assert bench.calls() == ["start"]
    assert (bench.folder / "states").read_text().startswith("3 STARTING")
    bench.until(lambda: (bench.folder / "services/web/STATE.node1").read_text() == "2 STARTED\n")


def test_an_action_tells_its_progress_and_its_outcome(bench: Bench) -> None:
    started(bench)
    answers = bench.ask({"op": "action", "action": "freeze-stop", "service": "web", "by": "alice"})
    assert answers[-1] == {
        "final": True,
        "ok": True,
        "results": [{"service": "web", "ok": True, "text": "FROZEN_STOP"}],
    }
    assert answers[0]["final"] is False
    assert "asked by alice" in bench.log()


def test_an_action_need_not_be_waited_for(bench: Bench) -> None:
    started(bench)
    (answer,) = bench.ask({"op": "action", "action": "freeze-stop", "service": None, "wait": False})
    assert answer["ok"]
    assert bench.state() in ("STARTED", "STOPPING", "FROZEN_STOP")
    bench.until(lambda: bench.state() == "FROZEN_STOP")


def test_an_action_that_was_not_taken_up_yet_is_not_called_accepted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand services some wait for a later turn of the loop: their refusals must be told all the same."""
    started(bench)
    driver = bench.node.driver
    work, turns = driver.work, iter(range(5))
    monkeypatch.setattr(driver, "work", lambda: driver.tick() if next(turns, None) is not None else work())
    (answer,) = bench.ask({"op": "action", "action": "start", "service": "web", "wait": False})
    assert not answer["ok"]
    assert answer["results"] == [{"service": "web", "ok": False, "text": "it is started already"}]


def test_an_action_whose_client_went_away_goes_on(bench: Bench) -> None:
    started(bench)
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(bench.layout.control)
        end.sendall(b'{"op":"action","action":"freeze-stop","service":"web"}\n')
        bench.until(lambda: bench.node.driver.engine.services["web"].state is not State.STARTED)
    bench.until(lambda: bench.state() == "FROZEN_STOP")


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"op": "dance"}, "no operation"),
        ({"op": "action", "action": "dance"}, "no action"),
        ({"op": "action", "action": "switch"}, "needs the name"),
        ({"op": "action", "action": "switch", "service": "web", "target": "node9"}, "no node"),
        ({"op": "action", "action": "stop", "override": "yes"}, "override"),
        ({"op": "action", "action": 5}, "action"),
    ],
)
def test_what_is_not_understood_is_refused(bench: Bench, request_: dict[str, Any], text: str) -> None:
    bench.start()
    (answer,) = bench.ask(request_)
    assert answer["ok"] is False
    assert text in answer["text"]


def test_an_unknown_service_is_refused_by_name(bench: Bench) -> None:
    bench.start()
    answer = bench.ask({"op": "action", "action": "stop", "service": "../etc"})[-1]
    assert answer["ok"] is False
    assert answer["results"][0]["service"] == "../etc"


def test_paths_and_metrics_are_told(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: bool(bench.node.workers.confirmed(1)))
    (paths,) = bench.ask({"op": "paths"})
    assert [(p["node"], p["role"], p["up"]) for p in paths["paths"]] == [
        ("node1", "sender", True),
        ("node2", "listener", False),
    ]
    (metrics,) = bench.ask({"op": "metrics"})
    assert metrics["counters"]["heartbeats_made"] >= 1
    assert metrics["gauges"]['path_up{node="node2",path="lo:239.131.50.10:4321"}'] == 0.0
    bench.peer_says()
    bench.until(lambda: not bench.node.driver.busy)
    assert bench.ask({"op": "paths"})[0]["paths"][1]["up"] is True


# ------------------------------------------------------------------------------------------ what is heard


def test_a_message_of_a_node_that_does_not_own_the_path_changes_nothing_and_is_told_once(bench: Bench) -> None:
    bench.start()
    for _ in range(5):
        bench.peer_says(node="node7")
    assert not bench.node.driver.busy
    (path,) = [p for p in bench.ask({"op": "paths"})[0]["paths"] if p["role"] == "listener"]
    assert sum(path["refused"].values()) == 5
    bench.until(lambda: "does not own the path" in bench.log())
    assert bench.log().count("does not own the path") == 1


def test_our_own_messages_on_a_shared_group_are_no_alarm(bench: Bench) -> None:
    bench.start()
    bench.peer_says(node="node1", incarnation=bench.node.driver.engine.incarnation)
    assert not bench.node.driver.busy
    bench.node.loop.drain()
    assert "refused" not in bench.log()


def test_another_node_of_our_name_is_an_alarm(bench: Bench) -> None:
    bench.start()
    bench.peer_says(node="node1")
    bench.node.loop.drain()
    assert "another node that calls itself node1" in bench.log()


def test_neither_a_heartbeat_nor_a_script_leaves_this_node_until_a_lapse_was_acted_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a pause interrupted: the message was made before it, the script was decided before it."""
    started(bench)
    node = bench.node
    monkeypatch.setattr(Driver, "lapsed", property(lambda driver: True))
    sent = node.messages_sent
    node.run(RunScript("web", 99, ScriptKind.STATUS, (str(bench.script), "status")))
    launch = node.loop.idle[0]
    assert launch(), "there is work"
    node.send(node.driver.engine._message(node.loop.clock()))
    node._hand_over_message()
    assert (node.messages_sent, node.runner.waiting) == (sent, 1)
    monkeypatch.undo()
    node._hand_over_message()
    assert launch()
    assert (node.messages_sent, node.runner.waiting) == (sent + 1, 0)


def test_garbage_is_counted_and_changes_nothing(bench: Bench) -> None:
    bench.start()
    bench.node.intake.received(PathId("node2", 0), bench.node.loop.clock(), b"garbage")
    assert not bench.node.driver.busy
    assert sum(bench.node.workers.all[PathId("node2", 0)].refused.values()) == 1


def test_only_the_last_message_of_a_turn_is_sent(bench: Bench) -> None:
    bench.start()
    sent: list[Heartbeat] = []
    bench.node.workers.hand = lambda seq, at, data, language: sent.append(decode(data))
    engine = bench.node.driver.engine
    for _ in range(3):
        engine._send_now = True
        bench.node.driver._do(engine.handle(_tick(), bench.node.loop.clock()), None)
    assert sent == []
    bench.node._hand_over_message()
    assert [message.seq for message in sent] == [engine.seq]


def _tick() -> Any:
    from ha.fsm.events import Tick

    return Tick()


# ------------------------------------------------------------------------------------- life of the process


def test_a_restart_in_the_same_boot_adopts_what_runs(bench: Bench) -> None:
    started(bench)
    bench.end()
    bench.start()
    bench.until(lambda: bench.calls() == ["start", "status"])
    bench.until(lambda: "adopted" in bench.log())
    assert bench.state() == "STARTED"
    assert bench.node.driver.engine.incarnation.counter == 2


def test_to_leave_stops_services_says_so_on_every_path_and_ends(bench: Bench) -> None:
    started(bench)
    said: list[bool] = []
    hand = bench.node.workers.hand

    def spy(seq: int, at: float, data: bytes, *rest: object) -> None:
        said.append(decode(data).left)
        hand(seq, at, data, *rest)

    bench.node.workers.hand = spy
    answers = bench.ask({"op": "stop"})
    assert answers[-1]["ok"] is True
    assert {"final": False, "service": "web", "text": "STOPPED: the stop script is done"} in answers
    assert bench.calls() == ["start", "stop"]
    assert said.count(True) >= 3
    assert bench.daemon is not None
    assert bench.daemon.loop._running is False


def test_a_second_nmond_refuses_to_start(bench: Bench) -> None:
    lock = node_lock(bench.layout)
    Path(bench.layout.pid).write_text(f"{os.getpid()}\n")
    other = Daemon(bench.layout, foreground=True)
    with pytest.raises(Unusable, match=f"already runs here, pid {os.getpid()}") as refused:
        other.begin(-1)
    assert refused.value.code == 1
    lock.release()
    other.loop.close()


def test_a_command_that_works_on_the_record_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = node_lock(bench.layout)
    monkeypatch.setattr("ha.node.daemon.LOCK_WAIT_S", 0.05)
    late = Daemon(bench.layout, foreground=True)
    with pytest.raises(Unusable, match="does not let go of it") as refused:
        late.begin(-1)
    assert refused.value.code == 70
    late.loop.close()

    monkeypatch.setattr("ha.node.daemon.time.sleep", lambda seconds: lock.release())
    bench.start()


def test_a_broken_configuration_is_told_line_by_line(bench: Bench) -> None:
    bench.write("services", "web relative node1 node2 /bin/true\n")
    bench.write("monitor", "node1 net lo 1.2.3.4 1234 2\n")
    broken = Daemon(bench.layout, foreground=True)
    with pytest.raises(Unusable) as refused:
        broken.begin(-1)
    assert refused.value.code == 2
    lines = str(refused.value).splitlines()
    assert len(lines) >= 2
    assert any(line.startswith("conf/services:1: ") for line in lines)
    broken.lock.release()
    broken.loop.close()


@pytest.mark.parametrize(("foreground", "ends"), [(True, (70, 5.0)), (False, (2, 0.0))])
def test_a_broken_configuration_is_tried_again_where_an_nmond_died(
    bench: Bench, foreground: bool, ends: tuple[int, float]
) -> None:
    """Under systemd, code 2 is final: what runs would stay unguarded after the files are mended."""
    bench.write("services", "web relative node1 node2 /bin/true\n")
    Path(bench.layout.pid).write_text("1\n")
    broken = Daemon(bench.layout, foreground=foreground)
    with pytest.raises(Unusable) as refused:
        broken.begin(-1)
    assert (refused.value.code, refused.value.pause) == ends
    broken.lock.release()
    broken.loop.close()


def test_an_unreadable_record_starts_nothing_and_says_so(bench: Bench) -> None:
    started(bench)
    bench.end()
    record = bench.folder / "services" / ".record"
    data = bytearray(record.read_bytes())
    data[len(data) // 2] ^= 1
    record.write_bytes(bytes(data))
    bench.start()
    assert "error" in bench.log()
    assert bench.state() != "STOPPED"
    assert bench.calls().count("start") == 1


# ----------------------------------------------------------------------------------------------- reload


def test_a_new_service_is_taken_over_and_an_old_one_forgotten(bench: Bench) -> None:
    bench.start()
    bench.until(lambda: (bench.folder / "services/web/STATE.node1").exists())
    bench.write("services", f"mail\t{bench.script}\tnode1\tnode2\t/bin/true\n")
    (answer,) = bench.ask({"op": "reload"})
    assert (answer["ok"], answer["errors"]) == (True, [])
    assert "1 service added (mail)" in answer["text"]
    assert list(bench.node.driver.engine.services) == ["mail"]
    assert not (bench.folder / "services/web").exists()


def test_a_broken_file_is_refused_whole_and_the_old_configuration_kept(bench: Bench) -> None:
    bench.start()
    bench.write("services", f"mail\t{bench.script}\tnode1\tnode2\t/bin/true\nweb relative node1 node2 /bin/true\n")
    (answer,) = bench.ask({"op": "reload"})
    assert answer["ok"] is False
    assert answer["errors"][0].startswith("conf/services:2: ")
    assert list(bench.node.driver.engine.services) == ["web"]
    assert "conf/services:2: " in bench.log()


def test_a_service_that_runs_here_cannot_be_removed(bench: Bench) -> None:
    started(bench)
    bench.write("services", "")
    (answer,) = bench.ask({"op": "reload"})
    assert answer["ok"] is False
    assert "STARTED here" in answer["errors"][0]
    assert bench.state() == "STARTED"


def test_another_cluster_name_needs_a_stop_and_says_so(bench: Bench) -> None:
    bench.start()
    bench.write("options.toml", 'cluster = "other"\n')
    (answer,) = bench.ask({"op": "reload"})
    assert "stopped and started" in answer["errors"][0]


def test_options_take_effect_at_once(bench: Bench) -> None:
    bench.start()
    bench.write("options.toml", 'notify = ["/bin/true"]\nlog_level = "debug"\n')
    bench.ask({"op": "reload"})
    assert bench.node.notifier.command == ("/bin/true",)
    assert bench.node.log.level.name == "DEBUG"


def test_a_path_that_was_added_gets_its_worker(bench: Bench) -> None:
    bench.start()
    bench.write(
        "monitor",
        "node1 net lo 239.131.50.10 1234 2\nnode2 net lo 239.131.50.10 4321 2\nnode2 net lo 239.131.50.11 4321 2\n",
    )
    bench.ask({"op": "reload"})
    assert len(bench.node.workers.all) == 3
    assert all(process.start_time(w.pid) for w in bench.node.workers.all.values())


# ---------------------------------------------------------------------------------------------- persistence


def test_a_full_disk_stops_what_depends_on_it_and_is_told_once(bench: Bench) -> None:
    bench.start()
    bench.peer_says()
    store = bench.node._store
    save = store.save

    def full(record: object, boot_id: str) -> None:
        raise OSError(28, "No space left on device")

    store.save = full
    answer = bench.ask({"op": "action", "action": "unfreeze", "service": "web"})[-1]
    assert answer["ok"] is False
    assert "No space left on device" in answer["results"][0]["text"]
    assert bench.state() == "FROZEN_STOP"
    assert bench.log().count("cannot be written") == 1
    assert bench.ask({"op": "status"})[0]["trouble"] == "No space left on device"
    store.save = save
    assert bench.ask({"op": "action", "action": "unfreeze", "service": "web"})[-1]["ok"] is True
    assert "can be written again" in bench.log()


def test_a_hand_over_carries_engine_counters_and_workers(bench: Bench) -> None:
    started(bench)
    packed = bench.node.packed()
    seq = bench.node.driver.engine.seq
    from ha.node import handover
    from ha.node.running import Node

    fd = handover.write(packed)
    data = handover.read(fd)
    os.close(fd)
    old = bench.node
    for worker in old.workers.all.values():
        old.loop.unwatch(worker.pidfd)
        old.loop.unwatch(worker.channel.fileno())
        worker.channel.detach()
    assert bench.daemon is not None
    new = Node(old.layout, "node1", old.configuration, old._boot_id, old.log, old.loop, old._store)
    new.unpack(data)
    bench.daemon.node = new
    assert new.driver.engine.incarnation == old.driver.engine.incarnation
    assert {w.pid for w in new.workers.all.values()} == {w.pid for w in old.workers.all.values()}
    bench.until(lambda: new.sent_at > old.sent_at)
    assert new.driver.engine.seq > seq
    assert bench.state() == "STARTED"
    assert new.handover_silence > 0


def bridged(bench: Bench) -> tuple[int, int]:
    """A bridge of the daemon, which goes on until it ends itself: the line to it, and its pid."""
    daemon = bench.daemon
    assert daemon is not None
    line, pid = bridge.fork(bench.node, lambda: daemon.control.close(unlink=False))
    if not pid:
        try:
            daemon.loop.run()
        finally:
            os._exit(71)
    return line, pid


def test_a_bridge_beats_and_decides_on_until_it_is_asked_and_then_tells_all(bench: Bench) -> None:
    started(bench)
    seq = bench.node.driver.engine.seq
    theirs, ours = socket.socketpair()
    handed = bench.node.workers.hand

    def hand(number: int, *rest: Any) -> None:
        handed(number, *rest)
        theirs.send(b"%d\n" % number)

    bench.node.workers.hand = hand
    line, pid = bridged(bench)
    bench.node.workers.hand = handed
    theirs.close()
    ours.settimeout(5.0)
    assert [int(ours.recv(16)) for _ in range(2)] == [seq + 1, seq + 2]
    data = bridge.take(line)
    assert os.waitpid(pid, 0)[1] == 0, "it has ended"
    assert data["engine"]["seq"] >= seq + 2
    assert {packed["pid"] for packed in data["workers"]} == bench.node.workers.pids
    assert bench.ask({"op": "status"})[0]["final"], "what was only nmond's is untouched"


def test_a_bridge_ends_when_nobody_can_ask_it_any_more(bench: Bench) -> None:
    started(bench)
    line, pid = bridged(bench)
    os.close(line)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_bridge_that_died_is_no_inheritance(bench: Bench) -> None:
    started(bench)
    line, pid = bridged(bench)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(HandoverError):
        bridge.take(line)


def test_a_bridge_dies_with_its_nmond(bench: Bench) -> None:
    started(bench)
    read, write = os.pipe()

    def nmond() -> None:
        bridged(bench)
        os._exit(0)

    os.waitpid(process.fork(nmond), 0)
    os.close(write)
    assert os.read(read, 1) == b"", "nobody holds the other end any more"
    os.close(read)


# ------------------------------------------------------------------------------------------------- call


def test_a_wrong_call_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert daemon.main(["--dance"]) == 2
    assert capfd.readouterr().err.startswith("usage: nmond")


def test_an_unexpected_exception_is_logged_and_asks_for_a_new_nmond(bench: Bench) -> None:
    def nmond() -> None:
        failing = bench.start()
        failing.loop.at(0.0, lambda: [][1])
        try:
            failing.run()
        except IndexError as error:
            failing._crashed(type(error), error, error.__traceback__)

    _, status = os.waitpid(process.fork(nmond), 0)
    assert os.waitstatus_to_exitcode(status) == 70
    assert "error: nmond failed and ends: IndexError: list index out of range; services run on" in bench.log()
    assert "Traceback (most recent call last)" in bench.log()


def test_replies_to_nobody_are_dropped(bench: Bench) -> None:
    bench.start()
    bench.node.answered(Reply("unknown", "web", True, "x"))
    bench.node.driver._do(Effects(notes=(Note(NoteKind.ALERT, "", "told"),)), None)
    bench.node.loop.drain()
    assert "told" in bench.log()


def test_the_end_is_no_failure_where_somebody_removed_the_pid_file(bench: Bench) -> None:
    """A failure would have the supervisor start the nmond that was told to end."""
    bench.start()
    os.unlink(bench.layout.pid)
    bench.end()
    assert "nmond has ended" in bench.log()
