"""The runner of scripts, with real processes of a few milliseconds."""

import contextlib
import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.fsm.events import Ended, KillScript, RunScript, ScriptEnded
from ha.fsm.states import ScriptKind
from ha.node import process
from ha.node import runner as runner_module
from ha.node.loop import Loop
from ha.node.runner import Job, Runner
from tests.unit.node.world import ListLog, turn_until


class Bench:
    """A runner, its loop, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = Loop()
        self.log = ListLog()
        self.ended: list[ScriptEnded] = []
        self.before: list[str] = []
        self.runner = self.another()
        self.runner.prepare()

    def another(self) -> Runner:
        return Runner(
            self.loop,
            f"{self.folder}/run",
            f"{self.folder}/log",
            self.log,
            self.ended.append,
            self.before.append,
            {"EZ": "/prefix"},
        )

    def script(self, text: str, service: str = "web", job: int = 1, kind: ScriptKind = ScriptKind.START) -> RunScript:
        path = self.folder / f"{service}.{job}.sh"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return RunScript(service, job, kind, (str(path), kind.value), {"EZ_SERVICE": service})

    def run(self, script: RunScript) -> None:
        self.runner.run(script)
        while self.runner.launch():
            pass

    def result(self) -> ScriptEnded:
        turn_until(self.loop, lambda: bool(self.ended))
        return self.ended.pop(0)

    def record(self, service: str = "web") -> Path:
        return self.folder / "run" / "jobs" / f"{service}.json"

    def output(self, service: str = "web") -> str:
        return (self.folder / "log" / "scripts" / f"{service}.log").read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for job in made.runner.jobs.values():
        # Not yet the leader of a group where it was just forked.
        for kill in (os.kill, os.killpg):
            with contextlib.suppress(ProcessLookupError):
                kill(job.pid, signal.SIGKILL)
        process.reap(job.pid)
    made.loop.close()


def test_an_exit_code_and_the_last_line_are_told(bench: Bench) -> None:
    bench.run(bench.script("echo one; echo 'two  '; echo; exit 3"))
    assert bench.result() == ScriptEnded("web", 1, Ended.EXITED, 3, "two")
    assert bench.runner.outcomes == {"start exited 3": 1}
    assert bench.runner.jobs == {}
    assert not bench.record().exists()


def test_the_detail_is_of_this_job_only(bench: Bench) -> None:
    bench.run(bench.script("echo first"))
    assert bench.result().detail == "first"
    bench.run(bench.script("true", job=2))
    assert bench.result().detail == ""


def test_the_detail_is_short_and_printable(bench: Bench) -> None:
    bench.run(bench.script("printf '\\033[2J'; head -c 5000 /dev/zero | tr '\\0' x"))
    detail = bench.result().detail
    assert len(detail) == 200
    assert detail.isprintable()


def test_a_script_finds_its_environment_and_nothing_else(bench: Bench) -> None:
    bench.run(bench.script("env | sort; pwd; umask; readlink /proc/self/fd/0; ls /proc/self/fd | wc -l"))
    assert bench.result().code == 0
    text = bench.output()
    assert "EZ=/prefix\nEZ_SERVICE=web\nHOME=/\nLANG=C.UTF-8\n" in text
    assert f"PATH={runner_module.PATH}\n" in text
    assert not any(line.startswith(("PYTEST", "USER=")) for line in text.splitlines())
    # 0, 1, 2, and the folder that ls itself reads.
    assert text.splitlines()[-4:] == ["/", "0022", "/dev/null", "4"]


def test_a_script_meets_signals_as_a_fresh_program_does_and_leads_its_session(bench: Bench) -> None:
    bench.run(bench.script("grep -E '^Sig(Blk|Ign)' /proc/self/status; cut -d' ' -f5,6 /proc/$$/stat; echo $$"))
    assert bench.result().code == 0
    blocked, ignored, group_and_session, pid = bench.output().splitlines()[-4:]
    ours = (1 << 31) - 1  # the C library keeps two above these for itself
    assert int(blocked.split()[1], 16) & ours == int(ignored.split()[1], 16) & ours == 0
    assert group_and_session == f"{pid} {pid}"


@pytest.mark.parametrize(
    ("text", "mode", "code"),
    [
        ("", 0o755, errno.ENOEXEC),
        ("touch ran\n", 0o755, errno.ENOEXEC),
        ("#!/bin/sh\n", 0o644, errno.EACCES),
        ("#!/nonexistent/interpreter\n", 0o755, errno.ENOENT),
    ],
)
def test_what_the_kernel_refuses_to_execute_is_not_run_by_a_shell_either(
    bench: Bench, text: str, mode: int, code: int
) -> None:
    path = bench.folder / "controller"
    path.write_text(text)
    path.chmod(mode)
    bench.run(RunScript("web", 1, ScriptKind.START, (str(path), "start")))
    ended = bench.result()
    assert (ended.how, ended.code, ended.detail) == (Ended.NOT_STARTED, code, os.strerror(code))


def test_arguments_reach_a_script_as_they_are(bench: Bench) -> None:
    path = bench.script('for each; do echo "<$each>"; done').argv[0]
    bench.run(RunScript("web", 1, ScriptKind.START, (path, "a b", "", "$(id)", "-c", "*")))
    assert bench.result().code == 0
    assert bench.output().splitlines()[-5:] == ["<a b>", "<>", "<$(id)>", "<-c>", "<*>"]


def test_a_script_that_ends_as_the_launcher_would_has_run(bench: Bench) -> None:
    bench.run(bench.script("echo not found; exit 127"))
    assert bench.result() == ScriptEnded("web", 1, Ended.EXITED, 127, "not found")


def test_a_script_that_cannot_be_executed_is_told_with_its_errno(bench: Bench) -> None:
    bench.run(RunScript("web", 1, ScriptKind.START, ("/nonexistent/script", "start")))
    ended = bench.result()
    assert (ended.how, ended.code) == (Ended.NOT_STARTED, 2)
    assert ended.detail == "No such file or directory"
    assert not bench.record().exists()


def test_a_folder_in_the_place_of_the_log_keeps_no_script_from_running(bench: Bench) -> None:
    (bench.folder / "log" / "scripts" / "web.log").mkdir()
    bench.run(bench.script("true"))
    assert bench.result().how is Ended.EXITED
    assert "the output of start is lost" in bench.log


def test_what_cannot_be_recorded_is_an_outcome_and_not_a_crash(bench: Bench) -> None:
    bench.record().mkdir()
    bench.run(bench.script("true"))
    assert bench.result().how is Ended.NOT_STARTED
    assert "could not be launched" in bench.log


def test_a_daemon_that_keeps_the_output_open_delays_nothing_and_lives_on(bench: Bench) -> None:
    bench.run(bench.script("sleep 60 & echo $!"))
    ended = bench.result()
    assert ended.code == 0
    daemon = int(ended.detail)
    assert process.start_time(daemon) is not None
    os.kill(daemon, signal.SIGKILL)


def test_a_script_is_killed_with_its_whole_group(bench: Bench) -> None:
    bench.run(bench.script("sleep 60 & echo $!; wait"))
    turn_until(bench.loop, lambda: len(bench.output().splitlines()) > 1)
    child = int(bench.output().splitlines()[-1])
    bench.runner.kill(KillScript("web", 1, force=False))
    ended = bench.result()
    assert (ended.how, ended.code) == (Ended.KILLED, signal.SIGTERM)
    turn_until(bench.loop, lambda: process.start_time(child) is None)


def test_a_script_that_ignores_sigterm_ends_by_force(bench: Bench) -> None:
    bench.run(bench.script("trap '' TERM; echo ready; while :; do sleep 0.01; done"))
    turn_until(bench.loop, lambda: "ready" in bench.output())
    bench.runner.kill(KillScript("web", 1, force=False))
    bench.loop.turn(0.02)
    assert bench.ended == []
    bench.runner.kill(KillScript("web", 1, force=True))
    assert (bench.result().code) == signal.SIGKILL


SURVIVOR = "(trap '' TERM; echo ready; while :; do sleep 0.01; done) & wait"
"""The script dies of SIGTERM at once, and what it began does not."""


def leave_survivor(bench: Bench) -> None:
    """SIGTERM has ended the script; the rest of its group lives."""
    bench.run(bench.script(SURVIVOR))
    turn_until(bench.loop, lambda: "ready" in bench.output())
    bench.runner.kill(KillScript("web", 1, force=False))
    turn_until(bench.loop, lambda: bench.runner.jobs["web"].ending is not None)
    assert bench.ended == []


def replace_nmond(bench: Bench) -> None:
    """Another one, in which nothing of this one's goes on."""
    bench.loop.close()
    bench.loop = Loop()
    bench.runner = bench.another()


def test_a_killed_script_is_over_when_nothing_of_its_group_is_left(bench: Bench) -> None:
    leave_survivor(bench)
    bench.runner.kill(KillScript("web", 1, force=True))
    ended = bench.result()
    assert (ended.how, ended.code) == (Ended.KILLED, signal.SIGTERM)
    assert not bench.record().exists()


def test_the_rest_of_a_killed_group_is_known_after_a_hand_over(bench: Bench) -> None:
    leave_survivor(bench)
    packed = bench.runner.packed()
    replace_nmond(bench)
    bench.runner.unpack(json.loads(json.dumps(packed)))
    bench.runner.kill(KillScript("web", 1, force=True))
    ended = bench.result()
    assert (ended.how, ended.code) == (Ended.KILLED, signal.SIGTERM)


def test_the_rest_of_a_killed_group_is_found_after_a_crash(bench: Bench) -> None:
    leave_survivor(bench)
    replace_nmond(bench)
    assert bench.runner.adopt() == {"web": ScriptKind.START}
    assert bench.ended == []
    bench.runner.kill(KillScript("web", 0, force=True))
    assert bench.result().how is Ended.LOST
    assert not bench.record().exists()


def test_a_script_that_has_not_begun_is_taken_off_the_queue(bench: Bench) -> None:
    bench.runner.run(bench.script(f"touch {bench.folder}/ran"))
    bench.runner.kill(KillScript("web", 1, force=False))
    assert bench.result().how is Ended.KILLED
    assert not bench.runner.launch()
    assert not (bench.folder / "ran").exists()


def test_an_order_for_another_job_kills_nothing(bench: Bench) -> None:
    bench.run(bench.script("exit 0"))
    bench.runner.kill(KillScript("web", 99, force=True))
    bench.runner.kill(KillScript("mail", 1, force=True))
    assert bench.result().how is Ended.EXITED


def test_two_scripts_of_a_service_never_run_at_once(bench: Bench) -> None:
    bench.run(bench.script("sleep 60"))
    bench.run(bench.script(f"touch {bench.folder}/ran", job=2))
    ended = bench.result()
    assert (ended.job, ended.how) == (2, Ended.NOT_STARTED)
    assert not (bench.folder / "ran").exists()
    assert "fault of ezha" in bench.log


def test_a_record_exists_before_the_script_does_anything(bench: Bench) -> None:
    bench.run(bench.script(f"cp {bench.record()} {bench.folder}/seen"))
    pid = bench.runner.jobs["web"].pid
    assert bench.result().code == 0
    seen = json.loads((bench.folder / "seen").read_text())
    assert (seen["pid"], seen["service"], seen["kind"], seen["job"]) == (pid, "web", "start", 1)


def test_without_a_record_a_script_does_not_run(bench: Bench) -> None:
    bench.record().mkdir()
    bench.run(bench.script(f"touch {bench.folder}/ran"))
    assert bench.result().how is Ended.NOT_STARTED
    assert not (bench.folder / "ran").exists()
    assert bench.runner.jobs == {}


def test_a_child_whose_nmond_died_before_it_was_let_go_does_nothing(bench: Bench) -> None:
    """nmond dies between the fork and the record: nothing may run that no record tells of."""
    script = bench.script(f"touch {bench.folder}/ran")

    def nmond() -> None:
        bench.runner._write_record = lambda job: os._exit(9)  # type: ignore[method-assign]
        bench.run(script)

    def supervisor() -> None:
        process.become_subreaper()
        os.waitpid(process.fork(nmond), 0)
        os.waitpid(-1, 0)  # the child that was left alone

    assert os.waitpid(process.fork(supervisor), 0)[1] == 0
    assert not (bench.folder / "ran").exists()


def test_scripts_are_launched_in_order_and_checks_last(bench: Bench) -> None:
    bench.runner.run(bench.script("true", "a", kind=ScriptKind.CHECK))
    bench.runner.run(bench.script("true", "b", kind=ScriptKind.STOP))
    bench.runner.run(bench.script("true", "c", kind=ScriptKind.START))
    assert bench.runner.waiting == 3
    while bench.runner.launch():
        pass
    assert bench.before == ["b", "c", "a"]
    turn_until(bench.loop, lambda: len(bench.ended) == 3)


def test_while_scripts_wait_to_be_launched_the_ends_of_others_are_told_together(bench: Bench) -> None:
    for service in ("a", "b"):
        bench.run(bench.script("exit 0", service))
    bench.runner.run(bench.script("exit 0", "c"))
    bench.runner._loop.clock = lambda: 0.0  # no time passes
    turn_until(bench.loop, lambda: all(job.ending for job in bench.runner.jobs.values()))
    assert bench.ended == []
    bench.runner.kill(KillScript("a", 1, force=True))  # too late: it has ended
    assert bench.runner.launch(), "what waits goes first"
    assert bench.ended == []
    assert bench.runner.launch(), "then the ends"
    assert sorted(end.service for end in bench.ended) == ["a", "b"]
    assert not bench.runner.launch()
    turn_until(bench.loop, lambda: len(bench.ended) == 3)


def test_the_end_of_a_script_is_told_soon_though_others_wait_to_be_launched(bench: Bench) -> None:
    bench.run(bench.script("exit 0", "a"))
    bench.runner.run(bench.script("exit 0", "b"))
    bench.runner.run(bench.script("exit 0", "c"))
    turn_until(bench.loop, lambda: bench.runner.jobs["a"].ending is not None)
    bench.runner._over_at = 0.0
    assert bench.runner.launch()
    assert [end.service for end in bench.ended] == ["a"]
    assert bench.runner.waiting == 2


def test_no_check_script_is_answered_at_once(bench: Bench) -> None:
    check = RunScript("web", 7, ScriptKind.CHECK, ("/bin/true",), {})
    bench.runner.run(check)
    assert bench.ended == [ScriptEnded("web", 7, Ended.EXITED, 0)]
    assert bench.runner.waiting == 0 and not bench.runner.jobs and not bench.before


def test_the_log_of_a_service_is_rotated_when_a_script_starts(bench: Bench) -> None:
    log = bench.folder / "log" / "scripts" / "web.log"
    log.write_bytes(b"x" * (runner_module.ROTATE_BYTES + 1))
    bench.run(bench.script("echo fresh"))
    assert bench.result().detail == "fresh"
    assert log.stat().st_size < 1000
    assert log.with_name("web.log.1").stat().st_size == runner_module.ROTATE_BYTES + 1


# --------------------------------------------------------------------------- left over by a killed nmond


def test_a_script_that_a_killed_nmond_left_is_found_and_its_end_told_as_lost(bench: Bench) -> None:
    os.mkfifo(f"{bench.folder}/web.1.sh.fifo")
    bench.run(bench.script("read x < $0.fifo"))
    old = bench.runner.jobs.pop("web")
    bench.loop.unwatch(old.pidfd)
    bench.runner = bench.another()
    assert bench.runner.adopt() == {"web": ScriptKind.START}
    os.kill(old.pid, signal.SIGKILL)
    ended = bench.result()
    assert (ended.how, ended.job) == (Ended.LOST, 0)
    assert not bench.record().exists()


def test_an_orphan_can_be_killed_whatever_number_its_job_had(bench: Bench) -> None:
    bench.run(bench.script("sleep 60", job=7))
    old = bench.runner.jobs.pop("web")
    bench.loop.unwatch(old.pidfd)
    bench.runner = bench.another()
    bench.runner.adopt()
    bench.runner.kill(KillScript("web", 0, force=True))
    assert bench.result().how is Ended.LOST


def test_a_process_that_only_has_the_number_of_an_orphan_is_not_killed(bench: Bench) -> None:
    bench.run(bench.script("sleep 60"))
    job = bench.runner.jobs["web"]
    job.orphan = True
    job.start -= 1  # what had this number then is another process by now
    bench.runner.kill(KillScript("web", 1, force=True))
    bench.loop.turn(0.02)
    assert process.start_time(job.pid) is not None
    job.start += 1
    bench.runner.kill(KillScript("web", 1, force=True))
    assert bench.result().how is Ended.LOST


def test_the_record_of_a_process_that_is_gone_is_removed(bench: Bench) -> None:
    job = Job("web", 1, ScriptKind.START, os.getpid(), 1, "/x", 0)  # our pid, with another start time
    bench.record().write_text(json.dumps(job.packed()))
    assert bench.runner.adopt() == {}
    assert not bench.record().exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\x00",
        '{"version": 2}',
        '{"version":1,"service":"web","job":1,"kind":"dance","pid":5,"start":1,"log":"/x","offset":0,"orphan":false}',
        '{"version":1,"service":"web","job":1,"kind":"stop","pid":1,"start":1,"log":"/x","offset":0,"orphan":false}',
        '{"version":1,"service":"web","job":1,"kind":"stop","pid":"5","start":1,"log":"/x","offset":0,"orphan":false}',
        '{"version":1,"service":"mail","job":1,"kind":"stop","pid":5,"start":1,"log":"/x","offset":0,"orphan":false}',
    ],
)
def test_what_is_no_record_is_removed_loudly(bench: Bench, text: str) -> None:
    bench.record().write_text(text)
    assert bench.runner.adopt() == {}
    assert not bench.record().exists()
    assert "not a record of a script" in bench.log


def test_a_job_goes_on_over_a_hand_over(bench: Bench) -> None:
    fifo = f"{bench.folder}/web.1.sh.fifo"
    os.mkfifo(fifo)
    bench.run(bench.script("read x < $0.fifo; exit 4"))
    packed = bench.runner.packed()
    bench.loop.unwatch(bench.runner.jobs.pop("web").pidfd)
    bench.runner = bench.another()
    bench.runner.unpack(json.loads(json.dumps(packed)))
    turn_until(bench.loop, lambda: _let_go(fifo))
    ended = bench.result()
    assert (ended.how, ended.code) == (Ended.EXITED, 4)


def test_what_waits_to_be_launched_is_kept_for_the_nmond_that_follows(bench: Bench) -> None:
    bench.run(bench.script("exit 0", "ended"))
    bench.runner.held = True
    bench.runner.run(bench.script("exit 3", "check", 5, ScriptKind.CHECK))
    bench.runner.run(bench.script("exit 4", "start", 6))
    turn_until(bench.loop, lambda: bench.runner.jobs["ended"].ending is not None)
    while bench.runner.launch():
        pass
    assert [end.service for end in bench.ended] == ["ended"], "what has ended is told"
    bench.ended.clear()
    packed = json.loads(json.dumps(bench.runner.packed()))
    assert packed["jobs"] == []
    bench.runner = bench.another()
    bench.runner.unpack(packed)
    while bench.runner.launch():
        pass
    turn_until(bench.loop, lambda: len(bench.ended) == 2)
    assert {(end.service, end.job, end.code) for end in bench.ended} == {("start", 6, 4), ("check", 5, 3)}
    assert bench.before == ["ended", "start", "check"]


def _let_go(fifo: str) -> bool:
    try:
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    os.write(fd, b"x\n")
    os.close(fd)
    return True


def test_a_script_runs_although_its_output_cannot_be_kept(bench: Bench) -> None:
    """A full disk for logs must not keep a service from being stopped, or from being taken over."""
    full = bench.folder / "log" / "scripts" / "web.log"
    full.symlink_to("/dev/full")
    bench.run(bench.script("echo said; exit 4"))
    told = bench.result()
    assert (told.how, told.code, told.detail) == (Ended.EXITED, 4, "")
    assert "the output of start is lost" in bench.log


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_a_script_that_others_may_write_is_not_run(bench: Bench, kind: ScriptKind) -> None:
    """Not once, however often it was run before: it is looked at right before each run."""
    script = bench.script("echo ran >>$0.ran", kind=kind)
    ran = Path(f"{script.argv[0]}.ran")
    bench.run(script)
    assert bench.result().how is Ended.EXITED
    assert ran.read_text() == "ran\n"
    Path(script.argv[0]).chmod(0o775)
    bench.run(script)
    end = bench.result()
    assert (end.how, end.code) == (Ended.NOT_STARTED, errno.EPERM)
    assert end.detail.startswith("may be written by others than root (owner root, group root, mode 0775): chmod go-w ")
    assert any(f"{script.argv[0]} may be written by others" in line for line in bench.log.lines)
    assert ran.read_text() == "ran\n"
    Path(script.argv[0]).chmod(0o755)
    bench.run(script)
    assert bench.result().how is Ended.EXITED
    assert ran.read_text() == "ran\nran\n"
