"""The guard of a node: the page, the guardian's looks, the watchdog, and nmond's side with real processes."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ha.fsm.config import ClusterConfig, ServiceConfig
from ha.fsm.states import Promise
from ha.fsm.timing import Timing
from ha.node import guarding as guarding_module
from ha.node import process
from ha.node.fall import Ender, in_initial_namespace
from ha.node.guardfile import SIZE, GuardFile
from ha.node.guardian import AGAIN_S, POLL_S, Guardian, _Asked, run
from ha.node.guarding import Guarding, Plan, plan_of
from ha.node.layout import Layout
from ha.node.loop import Loop
from ha.node.watchdog import KernelDevice, Watchdog, WatchdogError, unstoppable
from tests.unit.fsm.cluster import disk
from tests.unit.node.test_config import configuration
from tests.unit.node.world import ListLog, turn_until

FOREVER = float("inf")
MARGIN = 3.5
NODES = ("node1", "node2", "node3")


# ----------------------------------------------------------------------------------------------- the page


class TestPage:
    def test_a_time_outlives_who_told_it(self, tmp_path: Path) -> None:
        path = str(tmp_path / "guard")
        GuardFile.open(path, "boot").until = 123.456
        assert GuardFile.open(path, "boot").until == 123.456
        assert os.stat(path).st_mode & 0o777 == 0o600

    def test_a_new_one_guards_nothing(self, tmp_path: Path) -> None:
        page = GuardFile.open(str(tmp_path / "guard"), "boot")
        assert (page.until, page.seen, page.watchdog) == (FOREVER, 0.0, 0.0)

    def test_one_of_another_boot_or_damaged_is_made_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "guard"
        GuardFile.open(str(path), "boot").until = 5.0
        assert GuardFile.open(str(path), "another").until == FOREVER
        path.write_bytes(b"x" * SIZE)
        assert GuardFile.open(str(path), "boot").until == FOREVER
        path.write_bytes(b"short")
        assert GuardFile.open(str(path), "boot").until == FOREVER

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").write_bytes(bytes(SIZE))
        (tmp_path / "guard").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError):
            GuardFile.open(str(tmp_path / "guard"), "boot")


# ------------------------------------------------------------------------------------------- the guardian


class FakeEnder:
    def __init__(self) -> None:
        self.ends: list[str] = []
        self.said: list[str] = []
        self.done = True

    def end(self, why: str) -> bool:
        self.ends.append(why)
        return self.done

    def say(self, text: str) -> None:
        self.said.append(text)


class FakeDevice:
    """A watchdog that would reset the machine."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.taken = 0
        self.broken = False

    def __call__(self) -> "FakeDevice":
        if self.broken:
            raise OSError(16, "Device or resource busy")
        self.did.append("open")
        return self

    def set_timeout(self, seconds: int) -> int:
        self.did.append(f"timeout {seconds}")
        return self.taken or seconds

    def feed(self) -> None:
        if self.broken:
            raise OSError(5, "Input/output error")
        self.did.append("feed")

    def close(self, disarm: bool) -> None:
        self.did.append("V" if disarm else "close")


class Bench:
    def __init__(
        self, folder: Path, device: FakeDevice | None = None, *, seconds: int = 4, margin: float = MARGIN
    ) -> None:
        self.page = GuardFile.open(str(folder / "guard"), "boot")
        self.ender = FakeEnder()
        watchdog = Watchdog(seconds, device) if device is not None else None
        self.guardian = Guardian(self.page, self.ender, watchdog, margin)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class TestGuardian:
    def test_ends_what_runs_when_its_time_has_come_and_not_before(self, bench: Bench) -> None:
        bench.page.until = 100.0
        assert bench.guardian.look(90.0) == POLL_S
        assert bench.guardian.look(99.99) == pytest.approx(0.01)
        assert bench.ender.ends == []
        bench.guardian.look(100.002)
        assert len(bench.ender.ends) == 1
        assert "0.002 s ago" in bench.ender.ends[0]

    def test_a_lease_that_is_renewed_in_time_ends_nothing(self, bench: Bench) -> None:
        for step in range(1000):
            now = float(step)
            bench.page.until = now + 1.5
            bench.guardian.look(now)
        bench.page.until = FOREVER
        bench.guardian.look(1e9)
        assert bench.ender.ends == []
        assert bench.page.seen == 1e9

    def test_what_was_done_is_not_done_again_until_another_time_is_told(self, bench: Bench) -> None:
        bench.page.until = 100.0
        for now in (100.0, 101.0, 500.0):
            bench.guardian.look(now)
        assert len(bench.ender.ends) == 1
        bench.page.until = 600.0
        bench.guardian.look(601.0)
        assert len(bench.ender.ends) == 2

    def test_what_failed_is_tried_again(self, bench: Bench) -> None:
        bench.ender.done = False
        bench.page.until = 100.0
        for tenth in range(35):
            bench.guardian.look(100.0 + tenth / 10)
        assert len(bench.ender.ends) == 4
        assert AGAIN_S == 1.0

    def test_another_guardian_does_not_repeat_what_was_done(self, bench: Bench) -> None:
        bench.page.until = 100.0
        bench.guardian.look(101.0)
        second = FakeEnder()
        Guardian(bench.page, second, None, MARGIN).look(102.0)
        assert second.ends == []

    def test_is_idle_only_where_nothing_is_to_be_ended(self, bench: Bench) -> None:
        assert bench.guardian.idle
        bench.page.until = 100.0
        assert not bench.guardian.idle


class TestWatchdog:
    def test_is_armed_while_something_runs_and_fed_while_its_lease_stands(self, tmp_path: Path) -> None:
        device = FakeDevice()
        bench = Bench(tmp_path, device)
        bench.guardian.look(90.0)
        assert device.did == []
        bench.page.until = 100.0 + MARGIN
        bench.guardian.look(91.0)
        assert device.did == ["open", "timeout 4", "feed"]
        assert bench.page.watchdog == 4.0
        bench.guardian.look(91.5)
        bench.guardian.look(92.0)
        assert device.did[3:] == ["feed"], "a quarter of its timeout later"
        bench.guardian.look(100.0)
        bench.guardian.look(103.0)
        assert device.did[4:] == [], "hungry: its lease is over, and it is not disarmed"
        bench.page.until = FOREVER
        bench.guardian.look(103.1)
        assert device.did[4:] == ["V"]
        assert bench.page.watchdog == 0.0

    def test_is_not_armed_for_a_lease_that_is_over(self, tmp_path: Path) -> None:
        """An nmond that starts again past the end of its lease: only the guardian's own time counts then."""
        device = FakeDevice()
        bench = Bench(tmp_path, device)
        bench.page.until = 100.0
        bench.guardian.look(98.0)
        assert device.did == []

    @pytest.mark.parametrize("what", ["taken", "broken"])
    def test_one_that_cannot_guard_is_told_once_and_not_promised(self, tmp_path: Path, what: str) -> None:
        device = FakeDevice()
        setattr(device, what, 60)
        bench = Bench(tmp_path, device)
        bench.page.until = 100.0
        for now in (90.0, 91.0, 92.0):
            bench.guardian.look(now)
        assert bench.page.watchdog == 0.0
        assert len(bench.ender.said) == 1
        assert "this process guards alone" in bench.ender.said[0]
        bench.guardian.look(100.0)
        assert len(bench.ender.ends) == 1

    def test_one_that_takes_no_food_any_more_is_not_promised(self, tmp_path: Path) -> None:
        device = FakeDevice()
        bench = Bench(tmp_path, device)
        bench.page.until = 100.0
        bench.guardian.look(90.0)
        device.broken = True
        bench.guardian.look(92.0)
        assert bench.page.watchdog == 0.0

    @pytest.mark.parametrize("to_let_go", [True, False])
    def test_is_closed_by_a_guardian_that_nmond_lets_go_while_something_runs(
        self, tmp_path: Path, to_let_go: bool
    ) -> None:
        """Twin: one that was killed leaves it armed, and nobody feeds it."""
        device = FakeDevice()
        bench = Bench(tmp_path, device)
        bench.page.until = 1000.0
        asked = _Asked()
        asked(signal.SIGUSR1 if to_let_go else signal.SIGKILL, None)
        if to_let_go:
            run(bench.guardian, lambda: 90.0, asked)
            bench.guardian.close()
        else:
            bench.guardian.look(90.0)
        assert (device.did[-1] == "V", bench.page.watchdog == 0.0) == (to_let_go, to_let_go)

    def test_a_request_to_end_counts_for_nothing_while_something_runs(self, bench: Bench) -> None:
        class OverError(Exception):
            pass

        def clock() -> float:
            turns.append(None)
            if len(turns) > 2:
                raise OverError
            return 90.0

        turns: list[None] = []
        bench.page.until = 1000.0
        asked = _Asked()
        asked(signal.SIGTERM, None)
        with pytest.raises(OverError):
            run(bench.guardian, clock, asked)
        assert not asked.to_end

    def test_that_a_guardian_left_armed_is_stopped_by_the_next_where_nothing_runs_any_more(
        self, tmp_path: Path
    ) -> None:
        """Its guardian was killed, and the last service was stopped before there was another one."""
        device = FakeDevice()
        bench = Bench(tmp_path, device)
        bench.page.watchdog = 4.0
        bench.guardian.look(90.0)
        assert device.did == ["open", "timeout 4", "feed", "V"]
        bench.guardian.look(90.1)
        assert (len(device.did), bench.page.watchdog) == (4, 0.0)

    @pytest.mark.parametrize(("margin", "starves"), [(0.35 * 3, False), (0.35 * 10, True)])
    def test_of_two_leases_it_is_fed_by_the_shorter(self, tmp_path: Path, margin: float, starves: bool) -> None:
        """T of 10 s and of 3 s. Twin: reckoned with the longer margin it would reset a machine whose leases stand."""
        device = FakeDevice()
        bench = Bench(tmp_path, device, seconds=1, margin=margin)
        bench.page.until = 100.0 + 8.5
        bench.guardian.look(100.0)
        for tenth in range(1, 50):
            now = 100.0 + tenth / 10
            bench.page.until = 100.0 + tenth // 6 * 0.6 + 0.85 * 3
            bench.guardian.look(now)
        fed = device.did.count("feed")
        assert (fed == 1) is starves, fed

    def test_one_that_cannot_be_stopped_is_not_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "dev/char").mkdir(parents=True)
        (tmp_path / "dev/char/1:3").symlink_to("../../devices/watchdog1")
        (tmp_path / "class/watchdog/watchdog1").mkdir(parents=True)
        said = tmp_path / "class/watchdog/watchdog1/nowayout"
        assert not unstoppable("/dev/null", str(tmp_path))
        said.write_text("0\n")
        assert not unstoppable("/dev/null", str(tmp_path))
        said.write_text("1\n")
        assert unstoppable("/dev/null", str(tmp_path))
        monkeypatch.setattr("ha.node.watchdog.unstoppable", lambda path: True)
        with pytest.raises(WatchdogError, match="nowayout"):
            KernelDevice("/dev/null")

    def test_an_error_says_what_it_was(self) -> None:
        device = FakeDevice()
        device.broken = True
        with pytest.raises(WatchdogError, match="cannot be opened: Device or resource busy"):
            Watchdog(4, device).keep(True, True, 0.0)


# ---------------------------------------------------------------------------------------------- the end


@pytest.fixture
def script() -> Iterator[subprocess.Popen[bytes]]:
    """A script under way, leader of its own group."""
    running = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield running
    running.kill()
    running.wait()


def record(jobs: Path, pid: int, start: int) -> None:
    jobs.mkdir(exist_ok=True)
    (jobs / "web.json").write_text(json.dumps({"pid": pid, "start": start}))


class TestEnder:
    @pytest.fixture
    def ender(self, tmp_path: Path) -> Ender:
        return Ender(str(tmp_path / "jobs"), str(tmp_path / "log"), "command", ("/bin/true",), 5.0)

    def test_ends_the_process_groups_of_scripts_under_way(
        self, ender: Ender, tmp_path: Path, script: subprocess.Popen[bytes]
    ) -> None:
        record(tmp_path / "jobs", script.pid, process.start_time(script.pid) or 0)
        assert ender.kill_groups() == 1
        assert script.wait(5) == -signal.SIGKILL

    def test_a_number_that_is_anothers_by_now_is_left_alone(
        self, ender: Ender, tmp_path: Path, script: subprocess.Popen[bytes]
    ) -> None:
        record(tmp_path / "jobs", script.pid, 1)
        assert ender.kill_groups() == 0
        assert script.poll() is None

    @pytest.mark.parametrize("text", ["", "[]", '{"pid": 1, "start": 1}', '{"pid": "x", "start": 1}', "\0" * 9000])
    def test_a_record_that_is_none_hinders_nothing(self, ender: Ender, tmp_path: Path, text: str) -> None:
        (tmp_path / "jobs").mkdir()
        (tmp_path / "jobs" / "web.json").write_text(text)
        assert ender.kill_groups() == 0

    def test_a_command_that_ends_with_0_has_done_it(self, ender: Ender, tmp_path: Path) -> None:
        assert ender.end("it is time")
        log = (tmp_path / "log").read_text()
        assert "it is time: /bin/true (self_fence)" in log
        assert "fence_command /bin/true ended with exit code 0" in log

    @pytest.mark.parametrize(
        ("argv", "says"),
        [
            (("/bin/false",), "ended with exit code 1; a service may still run here"),
            (("/no/such/program",), "No such file or directory; a service may still run here"),
            (("/bin/sleep", "60"), "did not end within 0.1 s; a service may still run here"),
        ],
    )
    def test_a_command_that_did_not_do_it_is_told(self, tmp_path: Path, argv: tuple[str, ...], says: str) -> None:
        ender = Ender(str(tmp_path / "jobs"), str(tmp_path / "log"), "command", argv, 0.1)
        assert not ender.end("it is time")
        assert says in (tmp_path / "log").read_text()

    def test_stop_ends_nothing_and_says_so(self, tmp_path: Path, script: subprocess.Popen[bytes]) -> None:
        record(tmp_path / "jobs", script.pid, process.start_time(script.pid) or 0)
        assert Ender(str(tmp_path / "jobs"), str(tmp_path / "log"), "stop", (), 1.0).end("it is time")
        assert script.poll() is None
        assert "it is time: nothing more is done (self_fence = stop)" in (tmp_path / "log").read_text()

    def test_a_log_that_hangs_does_not_keep_the_end_waiting(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "log")  # opening it for writing waits for a reader
        began = time.monotonic()
        Ender(str(tmp_path / "jobs"), str(tmp_path / "log"), "stop", (), 1.0).end("it is time")
        assert time.monotonic() - began < 1.0
        os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)  # lets the child that waits go

    def test_a_mode_that_there_is_not_is_refused(self) -> None:
        for mode, argv in (("halt", ()), ("command", ())):
            with pytest.raises(ValueError):
                Ender("/jobs", "/log", mode, argv, 1.0)

    def test_the_machines_own_processes_are_told_from_a_containers(self) -> None:
        own = os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"
        assert in_initial_namespace() is own


# ---------------------------------------------------------------------------------------- nmond's side


class Node:
    """nmond's side, with guardians that are real and never reboot anything."""

    def __init__(self, folder: Path) -> None:
        (folder / "run").mkdir()
        (folder / "log").mkdir()
        self.layout = Layout(str(folder), {"EZ_RUN": f"{folder}/run"})
        self.loop = Loop()
        self.log = ListLog()
        self.told: list[Promise] = []
        self.guarding = self.another()

    def another(self) -> Guarding:
        return Guarding(self.loop, self.layout, self.log, self.told.append)

    def until(self, done: Callable[[], bool]) -> None:
        turn_until(self.loop, done)

    def log_text(self) -> str:
        return Path(self.layout.log, "nmond.log").read_text()

    def begin(self, plan: Plan | None, boot: str = "boot") -> None:
        self.guarding.open(boot)
        self.guarding.use(plan)


COMMAND = Plan("command", MARGIN, ("/bin/true",))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.guarding.held = True
    if made.guarding.pid:
        os.kill(made.guarding.pid, signal.SIGKILL)
        turn_until(made.loop, lambda: made.guarding.pid == 0)
    made.loop.close()


class TestGuarding:
    def test_promises_what_is_ready_and_no_sooner(self, node: Node) -> None:
        node.begin(COMMAND)
        assert node.told == []
        node.until(lambda: node.told == [Promise.COMMAND])
        assert process.start_time(node.guarding.pid) is not None
        title = Path(f"/proc/{node.guarding.pid}/comm").read_text()
        assert title == "ezha-guardian\n"

    def test_a_guardian_that_died_is_replaced_and_not_promised_meanwhile(self, node: Node) -> None:
        node.begin(COMMAND)
        node.until(lambda: node.told == [Promise.COMMAND])
        first = node.guarding.pid
        os.kill(first, signal.SIGKILL)
        node.until(lambda: len(node.told) == 3)
        assert node.told == [Promise.COMMAND, Promise.STOP, Promise.COMMAND]
        assert node.guarding.pid != first
        assert "has died; another one is started" in node.log

    def test_one_that_does_not_move_guards_nothing(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(guarding_module, "STALE_S", 0.2)
        node.begin(COMMAND)
        node.until(lambda: node.told == [Promise.COMMAND])
        os.kill(node.guarding.pid, signal.SIGSTOP)
        node.until(lambda: len(node.told) == 3)
        assert node.told[1:] == [Promise.STOP, Promise.COMMAND]

    def test_after_a_pause_of_the_whole_machine_the_guardian_is_given_time_to_wake(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guarding_module, "STALE_S", 0.2)
        node.begin(COMMAND)
        node.until(lambda: node.told == [Promise.COMMAND])
        guarding, pid = node.guarding, node.guarding.pid
        os.kill(pid, signal.SIGSTOP)
        guarding._looked_at -= 60.0  # neither of the two has run for a minute
        guarding._seen_at -= 60.0
        guarding._look()
        os.kill(pid, signal.SIGCONT)
        page = GuardFile.open(f"{node.layout.run}/guard", "boot")
        seen = page.seen
        node.until(lambda: page.seen > seen + 0.3)
        assert (guarding.pid, node.told) == (pid, [Promise.COMMAND])

    def test_one_that_runs_its_command_is_not_taken_for_one_that_hangs(
        self, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guarding_module, "STALE_S", 0.2)
        command = tmp_path / "off"
        command.write_text(f"#!/bin/sh\necho once >>{tmp_path}/fenced\nsleep 0.8\n")
        command.chmod(0o755)
        node.begin(Plan("command", MARGIN, (str(command),)))
        node.until(lambda: node.told == [Promise.COMMAND])
        pid = node.guarding.pid
        node.guarding.until(node.loop.clock() + 0.1)
        node.until(lambda: Path(node.layout.log, "nmond.log").exists() and "exit code 0" in node.log_text())
        assert node.guarding.pid == pid
        assert (tmp_path / "fenced").read_text() == "once\n"

    def test_the_next_nmond_finds_the_guardian_and_the_end_of_the_lease(self, node: Node) -> None:
        node.begin(COMMAND)
        node.until(lambda: node.told == [Promise.COMMAND])
        pid, later = node.guarding.pid, node.loop.clock() + 1000.0
        node.guarding.until(later)
        node.loop.unwatch(node.guarding._pidfd)  # as after kill -9 of nmond
        os.close(node.guarding._pidfd)
        node.told.clear()
        node.guarding._timer_off()
        node.guarding = node.another()
        node.begin(COMMAND)
        assert node.guarding.left_until == later
        assert node.told == [Promise.COMMAND], "at once: it was there all the time"
        assert node.guarding.pid == pid

    def test_after_a_boot_or_for_the_first_time_no_lease_is_known(self, node: Node) -> None:
        node.guarding.open("boot")
        assert node.guarding.left_until == float("-inf")
        node.guarding.until(500.0)
        second = node.another()
        second.open("another boot")
        assert second.left_until == FOREVER

    def test_what_an_nmond_before_left_in_the_page_ends_nothing_where_nothing_runs(self, node: Node) -> None:
        node.guarding.open("boot")
        node.guarding.until(node.loop.clock() + 1.0)
        second = node.another()
        second.open("boot")
        second.begun()
        assert GuardFile.open(f"{node.layout.run}/guard", "boot").until == FOREVER

    def test_at_the_guard_time_the_command_runs_though_nmond_does_nothing(self, node: Node, tmp_path: Path) -> None:
        mark = tmp_path / "fenced"
        node.begin(Plan("command", MARGIN, ("/bin/mkdir", str(mark))))
        node.until(lambda: node.told == [Promise.COMMAND])
        node.guarding.until(node.loop.clock() + 0.2)
        assert not mark.exists()
        node.until(mark.exists)
        node.until(lambda: "exit code 0" in node.log_text())
        assert "nmond did not renew the lease" in node.log_text()

    def test_nmond_may_ask_for_the_end_at_once(self, node: Node, tmp_path: Path) -> None:
        mark = tmp_path / "fenced"
        node.begin(Plan("command", MARGIN, ("/bin/mkdir", str(mark))))
        node.until(lambda: node.told == [Promise.COMMAND])
        node.guarding.until(node.loop.clock() + 1000.0)
        node.guarding.end_machine("web is STARTED 3 s after its lease lapsed")
        node.until(mark.exists)
        assert "web is STARTED 3 s after its lease lapsed (self_fence = command)" in node.log

    def test_without_a_guardian_nmond_does_it_itself(self, node: Node, tmp_path: Path) -> None:
        mark = tmp_path / "fenced"
        node.guarding.held = True
        node.begin(Plan("command", MARGIN, ("/bin/mkdir", str(mark))))
        node.guarding.end_machine("it is time")
        node.until(mark.exists)

    def test_stop_says_so_and_nothing_else(self, node: Node) -> None:
        node.begin(Plan("stop", MARGIN))
        node.guarding.end_machine("it is time")
        assert node.log.lines == ["error: it is time (self_fence = stop)"]

    def test_an_orderly_end_ends_a_guardian_that_guards_nothing(self, node: Node) -> None:
        node.begin(COMMAND)
        node.until(lambda: node.told == [Promise.COMMAND])
        node.guarding.close()
        assert not node.guarding.gone
        node.until(lambda: node.guarding.gone)
        assert node.guarding.pid == 0
        assert node.log.lines == []

    def test_an_orderly_end_starts_no_other_in_place_of_one_that_is_let_go(self, node: Node) -> None:
        node.begin(COMMAND)
        node.until(lambda: node.told == [Promise.COMMAND])
        node.guarding.use(Plan("command", MARGIN, ("/bin/false",)))
        node.guarding.close()
        node.until(lambda: node.guarding.gone)
        assert node.guarding.pid == 0

    def test_a_guardian_with_something_to_guard_stays_and_that_is_told(self, node: Node) -> None:
        node.begin(COMMAND)
        node.until(lambda: node.told == [Promise.COMMAND])
        assert node.guarding.outlook() == ""
        node.guarding.until(node.loop.clock() + 1000.0)
        assert "fence_command runs in 1000.0 s" in node.guarding.outlook()
        node.guarding.close()
        pid = node.guarding.pid
        os.kill(pid, signal.SIGTERM)
        page = GuardFile.open(f"{node.layout.run}/guard", "boot")
        seen = page.seen
        node.until(lambda: page.seen > seen + 2 * POLL_S)
        assert process.start_time(pid) is not None
        assert "the guardian stays, and ends them with this machine" in node.log

    def test_another_configuration_gets_another_guardian(self, node: Node) -> None:
        node.begin(COMMAND)
        node.until(lambda: node.told == [Promise.COMMAND])
        pid = node.guarding.pid
        node.guarding.use(Plan("stop", MARGIN))
        node.until(lambda: node.guarding.pid not in (0, pid) and node.guarding._ready)
        assert node.told == [Promise.COMMAND, Promise.STOP]
        assert [line for line in node.log.lines if line.startswith("error")] == []
        node.guarding.use(None)
        node.until(lambda: node.guarding.pid == 0)

    def test_there_is_one_guardian_at_a_time(self, node: Node) -> None:
        node.begin(COMMAND)
        node.until(lambda: node.told == [Promise.COMMAND])
        job = {"run": node.layout.run, "digest": "x"}
        argv = guarding_module.command(node.layout)
        done = subprocess.run(argv, input=json.dumps(job).encode(), capture_output=True, check=False, timeout=10)
        assert done.returncode == 1

    def test_a_job_that_is_none_is_one_clear_line(self, node: Node) -> None:
        argv = guarding_module.command(node.layout)
        done = subprocess.run(argv, input=b"{}", capture_output=True, check=False, timeout=10)
        assert done.returncode == 2
        assert done.stderr == b"ezha-guardian: cannot guard: KeyError: 'run'\n"

    def test_one_that_cannot_start_is_tried_again_and_never_promised(self, node: Node) -> None:
        bin_dir = Path(node.layout.bin)
        bin_dir.mkdir()
        (bin_dir / "ezha-guardian").write_text("#!/bin/sh\nexit 3\n")
        (bin_dir / "ezha-guardian").chmod(0o755)
        node.begin(COMMAND)
        node.until(lambda: node.guarding.restarts >= 2)
        assert node.told == []
        assert "ended right after its start; tried again in 0.1 s" in node.log

    def test_a_script_waits_for_the_watchdog_and_not_for_ever(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guarding_module, "ARM_S", 0.2)
        node.begin(Plan("command", MARGIN, ("/bin/true",), watchdog="/no/such/device", watchdog_s=4))
        node.until(lambda: node.told == [Promise.COMMAND])
        assert not node.guarding.arming
        node.guarding.until(node.loop.clock() + 1000.0)
        assert node.guarding.arming
        node.until(lambda: not node.guarding.arming)
        assert "the watchdog cannot be opened: No such file or directory" in node.log_text()
        assert node.told == [Promise.COMMAND]


def test_a_plan_follows_from_the_shortest_timeout() -> None:
    found = configuration(options='protection = "disk"\nwatchdog = "/dev/watchdog"\n')
    plan = plan_of(found.cluster, "node1", found.options.protecting)
    margin = pytest.approx(3.5)
    assert plan == Plan("reboot", margin, (), 10.0, "/dev/watchdog", 4)  # type: ignore[arg-type]
    assert plan_of(found.cluster, "elsewhere", found.options.protecting) is None
    lines = [disk(node, 0, 2.5 if node == "node3" else 10.0) for node in NODES]
    pairs = {"web": ("node1", "node2"), "db": ("node1", "node3")}
    services = {name: ServiceConfig(name, "/x", nodes, "/y", protection="disk") for name, nodes in pairs.items()}
    plan = plan_of(ClusterConfig("c", NODES, tuple(lines), services), "node1", found.options.protecting)
    assert plan is not None
    assert (plan.margin, plan.watchdog_s) == (Timing(2.5).margin, 1)
    bare = configuration(options='protection = "none"\n')
    assert plan_of(bare.cluster, "node1", bare.options.protecting) is None
