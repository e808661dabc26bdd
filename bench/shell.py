"""A shell that stays in a node: a command given to it starts in a moment, and tells when it began and ended."""

import select
import subprocess
import time
from dataclasses import dataclass

from ha.lab.lab import Lab

_MARK = "@@@"
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended. Times in seconds of CLOCK_REALTIME."""

    began: float
    ended: float
    code: int
    output: str


class Shell:
    """``begin`` a command, then ``end`` it; ``run`` does both."""

    def __init__(self, lab: Lab, node: str) -> None:
        self.node = node
        self._child = lab.popen(
            node,
            ["/bin/bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self._buffer = b""
        self.run(":")

    def begin(self, command: str) -> None:
        assert self._child.stdin is not None
        line = f"echo {_MARK} $EPOCHREALTIME; {command} </dev/null; code=$?; echo {_MARK} $EPOCHREALTIME $code\n"
        self._child.stdin.write(line.encode())

    def end(self, timeout: float = _TIMEOUT_S) -> Done:
        deadline = time.monotonic() + timeout
        began = float(self._until_mark(deadline)[1][0])
        output, words = self._until_mark(deadline)
        return Done(began, float(words[0]), int(words[1]), output)

    def run(self, command: str, timeout: float = _TIMEOUT_S) -> Done:
        self.begin(command)
        return self.end(timeout)

    def must(self, command: str, timeout: float = _TIMEOUT_S) -> str:
        """The output of a command that has to succeed."""
        done = self.run(command, timeout)
        if done.code:
            raise RuntimeError(f"{self.node}: {command}: exit code {done.code}: {done.output.strip()}")
        return done.output

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def _until_mark(self, deadline: float) -> tuple[str, list[str]]:
        """What was said before the next mark, and the words behind it."""
        assert self._child.stdout is not None
        said = ""
        while True:
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self._child.stdout], [], [], left)[0]:
                    raise TimeoutError(f"{self.node}: a command does not end; so far it said: {said}")
                chunk = self._child.stdout.read(65536)
                if not chunk:
                    raise RuntimeError(f"{self.node}: the shell has ended")
                self._buffer += chunk
            raw, _, self._buffer = self._buffer.partition(b"\n")
            line = raw.decode(errors="replace")
            if line.startswith(_MARK):
                return said, line.split()[1:]
            said += line + "\n"
