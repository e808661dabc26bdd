"""Commands end in time, tell what they said, and hold the lock of the action that runs them."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from ha.services.errors import ResourceError
from ha.services.lock import Busy, Lock
from ha.services.runner import MAX_OUTPUT, NOT_RUN, Runner, descendants

SH = "/bin/sh"


def test_what_a_command_says_and_how_it_ends() -> None:
    done = Runner().run([SH, "-c", "echo out; echo err >&2; exit 3"], 10)
    assert (done.code, done.out, done.err, done.said) == (3, "out\n", "err\n", "out\nerr\n")
    assert done.why() == "/bin/sh exited 3: err"
    assert Runner().run([SH, "-c", "kill -9 $$"], 10).why() == "/bin/sh was ended by SIGKILL"


def test_no_such_program_is_an_exit_code() -> None:
    done = Runner().run(["/nowhere"], 10)
    assert (done.code, done.why()) == (NOT_RUN, "/nowhere exited 127: /nowhere: No such file or directory")


def test_a_node_that_can_start_no_process_says_nothing_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken for an answer, it would be a service that is down."""

    def no_memory(*argv: object, **options: object) -> NoReturn:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(subprocess, "Popen", no_memory)
    monkeypatch.setattr(os, "fork", no_memory)
    with pytest.raises(ResourceError, match=r"^/bin/sh cannot be started: Cannot allocate memory$"):
        Runner().run([SH, "-c", "exit 0"], 10)
    with pytest.raises(ResourceError, match=r"^no process can be started: Cannot allocate memory$"):
        Runner().call(lambda: b"", 10)


def test_a_command_that_was_ended_has_not_answered() -> None:
    assert Runner().run([SH, "-c", "exit 1"], 10).answered
    assert not Runner().run([SH, "-c", "kill -9 $$"], 10).answered
    assert not Runner().run(["/bin/sleep", "1000"], 0.01).answered


def test_a_bare_environment_and_no_input() -> None:
    done = Runner({"OPENSVC_SVCNAME": "web"}).run([SH, "-c", "cat; env | sort; pwd"], 10, env={"X": "1"})
    names = [line.partition("=")[0] for line in done.out.splitlines()[:-1]]
    assert names == ["HOME", "LANG", "OPENSVC_SVCNAME", "PATH", "PWD", "X"]
    assert done.out.endswith("\n/\n")
    assert Runner().run(["cat"], 10, stdin=b"a=1\n").out == "a=1\n"


def test_a_command_past_its_time_ends_with_what_it_started(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    fd = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    done = Runner().run([SH, "-c", f"sleep 1000 >{tmp_path}/alive & echo at last; sleep 1000"], 0.1)
    assert done.timed_out
    assert done.why() == "/bin/sh did not end in time: at last"
    os.set_blocking(fd, True)
    assert os.read(fd, 1) == b"", "the end of the file comes once nobody is left who could write"
    os.close(fd)


def test_a_daemon_that_keeps_the_output_open_is_not_waited_for() -> None:
    done = Runner().run([SH, "-c", "sleep 1000 & echo $!"], 10)
    assert not done.timed_out
    os.kill(int(done.out), signal.SIGKILL)


def test_more_output_than_anybody_reads_is_dropped() -> None:
    done = Runner().run([SH, "-c", f"head -c {MAX_OUTPUT + 100_000} /dev/zero"], 10)
    assert (done.code, len(done.out)) == (0, MAX_OUTPUT)


def test_output_goes_to_a_file_where_told(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file:
        done = Runner().run([SH, "-c", "echo a; echo b >&2"], 10, output=file.fileno())
    assert (done.said, (tmp_path / "log").read_text()) == ("", "a\nb\n")


def test_a_look_in_a_process_of_its_own() -> None:
    def fails() -> bytes:
        raise OSError(errno.ESTALE, "stale")

    def hangs() -> bytes:
        signal.pause()
        return b""

    runner = Runner()
    before = set(descendants(os.getpid()))
    assert runner.call(lambda: b"seen", 10) == b"seen"
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)) as raised:
        runner.call(fails, 10)
    assert raised.value.errno == errno.ESTALE
    with pytest.raises(TimeoutError):
        runner.call(hangs, 0.02)
    assert set(descendants(os.getpid())) <= before, "nothing is left of it"


_HOLDER = """
import sys
from ha.services.lock import Lock
from ha.services.runner import Runner
with Lock(sys.argv[1], "web", "start", 0.0) as lock:
    runner = Runner(keep=lock.fds if sys.argv[2] == "guarded" else tuple)
    runner.run(["/bin/sh", "-c", sys.argv[3]], 1000.0)
"""


@pytest.mark.parametrize("guard", ["guarded", "not guarded"])
def test_an_action_that_was_killed_is_not_over_while_its_command_lives(tmp_path: Path, guard: str) -> None:
    """A umount that waits for a dead disk: nothing else may be done beside it. The twin takes the guard away."""
    for name in ("pid", "never"):
        os.mkfifo(tmp_path / name)
    command = f"echo $$ >{tmp_path}/pid; read never <{tmp_path}/never"
    folder = str(tmp_path / "run")
    action = subprocess.Popen([sys.executable, "-c", _HOLDER, folder, guard, command])
    pid = 0
    try:
        pid = int((tmp_path / "pid").read_text())
        action.kill()
        action.wait()
        if guard == "guarded":
            with pytest.raises(Busy), Lock(folder, "web", "stop", 0.0):
                pass
        else:
            with Lock(folder, "web", "stop", 0.0):
                pass
    finally:
        action.kill()
        action.wait()
        if pid:
            os.kill(pid, signal.SIGKILL)
