"""The supervisor: what it starts again and what not, and what the operator who starts it reads."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.node import process, supervisor
from ha.node.layout import Layout
from ha.node.supervisor import Supervisor, goes_on, next_delay


@pytest.mark.parametrize(
    ("code", "was_ready", "ever_ready", "again"),
    [
        (0, True, True, False),
        (0, False, False, False),
        (1, False, False, False),
        # Another nmond runs.
        (1, False, True, False),
        (1, True, True, True),
        (2, False, False, False),
        # Later, services may run: the file may be mended, and somebody must look after them.
        (2, False, True, True),
        (2, True, True, True),
        (70, False, False, True),
        (70, True, True, True),
        (-9, True, True, True),
        (-9, False, False, True),
    ],
)
def test_what_is_started_again(code: int, was_ready: bool, ever_ready: bool, again: bool) -> None:
    assert goes_on(code, was_ready, ever_ready) is again


def test_the_delay_doubles_within_its_bounds_and_begins_anew_after_a_life() -> None:
    delays, delay = [], 0.0
    for _ in range(9):
        delay = next_delay(0.01, delay)
        delays.append(delay)
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert next_delay(30.0, delay) == 0.0


class Bench:
    """An installation whose nmond is a shell script of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "conf", "log", "run"):
            (folder / name).mkdir()
        self.layout = Layout(str(folder), {"EZ_RUN": f"{folder}/run"})

    def nmond(self, text: str) -> None:
        path = self.folder / "bin" / "nmond"
        path.write_text(f"#!/bin/sh\ncd {self.folder}\n{text}")
        path.chmod(0o755)

    def supervise(self) -> int:
        """Run a supervisor in a process of its own; its exit code."""
        ready, ready_end = os.pipe()
        errors, errors_end = os.pipe()

        def child() -> None:
            supervisor.BACKOFF_S = (0.001, 0.002)
            os._exit(Supervisor(self.layout, ready_end, errors_end).run())

        pid = process.fork(child)
        os.close(ready_end)
        os.close(errors_end)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.said = os.read(errors, 1000).decode()
        self.byte = os.read(ready, 10)
        os.close(ready)
        os.close(errors)
        return code

    @property
    def runs(self) -> int:
        return len((self.folder / "runs").read_text().splitlines())

    def log(self) -> str:
        path = self.folder / "log" / "nmond.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)


def test_an_nmond_that_dies_is_started_again_until_it_ends_on_purpose(bench: Bench) -> None:
    bench.nmond("echo x >> runs; [ $(wc -l < runs) = 1 ] && kill -9 $$; [ $(wc -l < runs) = 2 ] && exit 70; exit 0")
    assert bench.supervise() == 0
    assert bench.runs == 3
    assert "was killed by signal 9; started again" in bench.log()
    assert "ended with exit code 70; started again" in bench.log()


def test_a_wrong_configuration_ends_the_supervisor_and_is_told_to_the_operator(bench: Bench) -> None:
    bench.nmond("echo x >> runs; echo 'nmond: conf/monitor:3: bad' >&2; exit 2")
    assert bench.supervise() == 2
    assert (bench.runs, bench.byte) == (1, b"2")
    assert bench.said == "nmond: conf/monitor:3: bad\n"


def test_a_configuration_broken_while_it_ran_is_tried_again(bench: Bench) -> None:
    bench.nmond(
        "echo x >> runs; case $(wc -l < runs) in 1) echo $$ > run/nmond.pid; kill -9 $$ ;; 2) exit 2 ;; esac; exit 0"
    )
    assert bench.supervise() == 0
    assert bench.runs == 3


def test_without_an_nmond_it_is_still_found_as_a_process_of_ezha(bench: Bench) -> None:
    bench.nmond("ls -l /proc/$PPID/fd > held; [ -e again ] && exit 0; touch again; exit 70")
    assert bench.supervise() == 0
    assert f"{bench.layout.run}/supervisor" in (bench.folder / "held").read_text()


def test_a_second_nmond_ends_the_supervisor(bench: Bench) -> None:
    bench.nmond("echo x >> runs; exit 1")
    assert bench.supervise() == 1
    assert (bench.runs, bench.byte) == (1, b"1")


def test_a_missing_program_is_one_clear_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert bench.supervise() == 2
    assert bench.said == "nmond-supervisor: /nonexistent/python cannot be executed: No such file or directory\n"


def test_an_nmond_that_was_ready_once_is_not_given_the_operators_pipe_again(bench: Bench) -> None:
    bench.nmond(
        'echo "${EZ_READY_FD:-none}" >> runs; echo $$ > run/nmond.pid; [ $(wc -l < runs) = 1 ] && exit 70; exit 0'
    )
    assert bench.supervise() == 0
    assert (bench.folder / "runs").read_text().splitlines()[1] == "none"


def test_orphans_of_nmond_do_not_confuse_it(bench: Bench) -> None:
    bench.nmond("sh -c 'exit 3' & exit 0")
    assert bench.supervise() == 0


def test_a_signal_to_end_is_forwarded_and_nmond_is_not_started_again(bench: Bench) -> None:
    # The script signals its parent, the supervisor, which hands the signal back.
    bench.nmond(
        "echo x >> runs; trap 'echo told > told; exit 75' TERM; kill -TERM $PPID\n"
        "i=0; while [ $i -lt 500 ]; do i=$((i+1)); sleep 0.01; done"
    )
    assert bench.supervise() == 75
    assert bench.runs == 1
    assert (bench.folder / "told").exists()


def test_the_operator_gets_the_prompt_back_when_nmond_is_ready(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ready, ready_end = os.pipe()
    errors, errors_end = os.pipe()
    os.write(errors_end, b"nmond: a warning\n")
    os.write(ready_end, b"0")
    assert supervisor._await(ready, errors) == 0
    for fd in (ready, ready_end, errors, errors_end):
        os.close(fd)


def test_the_operator_reads_why_nmond_did_not_start(capfd: pytest.CaptureFixture[str]) -> None:
    ready, ready_end = os.pipe()
    errors, errors_end = os.pipe()
    os.write(errors_end, b"nmond: conf/nodes:1: bad\n")
    os.write(ready_end, b"2")
    assert supervisor._await(ready, errors) == 2
    assert capfd.readouterr().err == "nmond: conf/nodes:1: bad\n"
    for fd in (ready, ready_end, errors, errors_end):
        os.close(fd)


def test_a_start_that_takes_too_long_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "READY_TIMEOUT_S", 0.001)
    ready, ready_end = os.pipe()
    errors, errors_end = os.pipe()
    assert supervisor._await(ready, errors) == 1
    assert "not ready yet" in capfd.readouterr().err
    for fd in (ready, ready_end, errors, errors_end):
        os.close(fd)


def test_closed_standard_streams_are_given_to_nothing_else(bench: Bench) -> None:
    """A boot may close all three: the pipe to the operator, or a file of nmond, must not become one of them."""
    bench.nmond('ls -l /proc/self/fd >fds; echo 0 >&"$EZ_READY_FD"; echo $$ >run/nmond.pid; exit 0\n')
    environ = {**os.environ, "EZ": str(bench.folder), "EZ_BIN": f"{bench.folder}/bin", "EZ_RUN": f"{bench.folder}/run"}
    program = [sys.executable, "-m", "ha.node.supervisor"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *program],
        env=environ,
        cwd=Path(supervisor.__file__).parents[2],
        timeout=30,
    )
    assert done.returncode == 0
    streams = dict(line.split()[-3::2] for line in (bench.folder / "fds").read_text().splitlines() if "->" in line)
    assert streams["0"] == "/dev/null"
    assert streams["2"].startswith("pipe:"), "what nmond says goes to the operator until it is ready"
