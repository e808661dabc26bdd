"""Starting the lab's own processes so that none can be lost: record first, then go.

A helper module splits off the process that is to stay, tells its pid, and waits. Only when the caller has written the
pid down does it send the job; if the caller dies before, the pipe closes and the newborn ends. So whatever works is on
record.
"""

import json
import os
import select
import subprocess
import sys
import time
from typing import Any

import ha
from ha.lab.errors import LabError

_BOOT = (
    "import sys; path, module = sys.argv[1:3]; del sys.argv[1:3]; sys.path[:] = path.split(':'); "
    "from importlib import import_module; sys.exit(import_module(module).main())"
)
PATIENCE_S = 30.0
"""How long a newborn may take for a step, on a busy machine."""


def import_path() -> list[str]:
    """Where this process found its modules, ``ha`` first: a helper finds the same ones, however ezha was installed."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(ha.__file__)))
    paths = [package, *(os.path.abspath(path) for path in sys.path if path)]
    return [path for path in dict.fromkeys(paths) if ":" not in path]


def helper_argv(module: str, *args: str) -> list[str]:
    """argv that runs ``module.main()`` in a fresh interpreter, quickly: isolated, without site."""
    return [sys.executable, "-I", "-S", "-c", _BOOT, ":".join(import_path()), module, *args]


class Newborn:
    """A helper process between its start and its going to work."""

    def __init__(self, module: str, job: dict[str, Any], log: str) -> None:
        """``log``: where its error messages go."""
        with open(log, "ab") as errors:
            self._launcher = subprocess.Popen(
                helper_argv(module, json.dumps(job)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd="/",
                start_new_session=True,
            )
        self._log = log

    def pids(self) -> list[int]:
        """The pids of those that will stay. Raises LabError."""
        answer = self._read()
        return [int(pid) for pid in answer["pids"]]

    def go(self, job: dict[str, Any]) -> None:
        """Have it begin; ``ready`` waits for it."""
        assert self._launcher.stdin is not None
        try:
            self._launcher.stdin.write(json.dumps(job).encode() + b"\n")
            self._launcher.stdin.close()
        except BrokenPipeError:
            raise LabError(f"a process of the lab ended before its work began; see {self._log}") from None

    def ready(self) -> dict[str, Any]:
        """What it said when it was ready. Raises LabError with what it said otherwise."""
        answer = self._read()
        self.close()
        return answer

    def close(self) -> None:
        """Give it up, or let it go on alone."""
        for pipe in (self._launcher.stdin, self._launcher.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._launcher.wait()

    def _read(self) -> dict[str, Any]:
        assert self._launcher.stdout is not None
        fd = self._launcher.stdout.fileno()
        deadline = time.monotonic() + PATIENCE_S
        data = b""
        while not data.endswith(b"\n"):
            if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise LabError(f"a process of the lab did not answer within {PATIENCE_S:g} s; see {self._log}")
            part = os.read(fd, 65536) if len(data) < 65536 else b""
            if not part:
                raise LabError(f"a process of the lab ended unexpectedly; see {self._log}")
            # It answers and then waits: never more than a line is on its way.
            data += part
        answer: dict[str, Any] = json.loads(data)
        if "error" in answer:
            raise LabError(str(answer["error"]))
        return answer


def say(answer: dict[str, Any]) -> None:
    """Helper's side: one answer to the caller."""
    os.write(1, json.dumps(answer).encode() + b"\n")


def hear() -> dict[str, Any] | None:
    """Helper's side: the job, or None when the caller is gone."""
    data = b""
    while not data.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            return None
        data += part
    job: dict[str, Any] = json.loads(data)
    return job


def detach() -> dict[str, Any]:
    """Go on in a child with a session of its own, which is on record before it is given its job: that is returned.

    Where there is no job, since whoever started this died, the child ends. Raises OSError where there can be no child.
    """
    child = os.fork()
    if child:
        say({"pids": [child]})
        os._exit(0)
    os.setsid()
    job = hear()
    if job is None:
        os._exit(0)
    return job


def let_go() -> None:
    """Helper's side: drop the pipes to the caller; standard error stays the log."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
