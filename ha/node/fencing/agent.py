"""One fencing, from its beginning to its end: blocks, so nmond does it in a process of its own.

An agent of ClusterLabs' fence-agents reads ``name=value`` lines from its standard input (the Fence Agent API), so that
no password ever stands in a list of processes. Its exit codes: 0 done, anything else not; of ``status`` 0 means on,
2 off. A command of the administrator's own has its arguments, and three variables. Only exit code 0 is a success.

What a program prints is kept to its last lines, without what is secret. This module knows nothing of nmond.
"""

import base64
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, quote_plus

from ha.node import process
from ha.node.config.fencing import FenceMethod
from ha.node.log import printable
from ha.node.trust import require_trust

STATUS_OFF: Final = 2
"""Exit code of an agent's action ``status``."""
BYPASSED: Final = "stonith bypassed"
"""What OpenSVC's ``SERVICE.stonith`` says, with exit code 0, where its heartbeat resource calls the peer alive."""
KEPT_BYTES: Final = 8192
KEPT_LINES: Final = 5
LINE_CHARS: Final = 300
KILL_S: Final = 2.0
"""So long a killed program is waited for: one that hangs in the kernel is left to it."""
FOLDERS: Final = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin")
HIDDEN: Final = "***"
_CHUNK: Final = 65_536
_PAUSE_S: Final = 0.005
"""Between two chunks: a program that prints without end waits for us, and takes no processor away."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a fencing ended."""

    ok: bool
    text: str
    """One clause: what was done, or why it was not."""
    output: tuple[str, ...] = ()
    """The last lines that the program printed, without secrets."""

    def packed(self) -> bytes:
        return json.dumps([self.ok, self.text, list(self.output)]).encode()

    @classmethod
    def unpacked(cls, data: bytes) -> "Outcome":
        """Raises ValueError for anything that ``packed`` did not make."""
        match json.loads(data):
            case [bool(ok), str(text), list(output)] if all(isinstance(line, str) for line in output):
                return cls(ok, text, tuple(output))
        raise ValueError("is no outcome of a fencing")


@dataclass(frozen=True, slots=True)
class Call:
    """How a program ended."""

    code: int | None
    """Exit code; negative: the signal that ended it; None: it ran too long, and was killed."""
    output: tuple[str, ...]


def fence(method: FenceMethod, target: str, environ: Mapping[str, str]) -> Outcome:
    """Fence the node ``target``. Takes up to twice ``method.timeout``, and never raises for what a program does."""
    done, said = _action(method, method.action, target, environ)
    if done is None:
        return Outcome(False, said)
    if done.code != 0:
        return Outcome(False, f"{method.program}: {method.action} {said}", done.output)
    if any(BYPASSED in line for line in done.output):
        return Outcome(False, f"{method.program} has fenced nobody: it says {BYPASSED!r}", done.output)
    if not method.agent or method.action != "off" or not method.verify:
        return Outcome(True, f"{method.program}: {method.action} {said}", done.output)
    status, said = _action(method, "status", target, environ)
    if status is not None and status.code == STATUS_OFF:
        return Outcome(True, f"{method.program}: off, and its status says so", done.output + status.output)
    wrong = "says that it is on" if status is not None and status.code == 0 else said
    output = done.output + (status.output if status is not None else ())
    return Outcome(False, f"{method.program}: off was done, but the status asked for afterwards {wrong}", output)


def _action(method: FenceMethod, action: str, target: str, environ: Mapping[str, str]) -> tuple[Call | None, str]:
    """The call, or None where the program cannot be run, and how it ended in words."""
    argv = method.command or (find(method.agent),)
    env = {**environ, "EZ_TARGET": target, "EZ_ACTION": action}
    given = "".join(f"{name}={value}\n" for name, value in (("action", action), *method.parameters))
    try:
        require_trust(argv[0])
        done = call(argv, given if method.agent else "", env, method.timeout, hidden(method))
    except OSError as error:
        return None, f"{argv[0]} cannot be run: {error.strerror or error}"
    if done.code is None:
        return done, f"was killed after {method.timeout:g} s"
    if done.code < 0:
        return done, f"was ended by signal {-done.code}"
    last = f": {done.output[-1]}" if done.code and done.output else ""
    return done, f"ended with exit code {done.code}{last}"


def find(agent: str) -> str:
    """The path of an agent; its name in the first folder where there is none. nmond's own PATH does not count."""
    if agent.startswith("/"):
        return agent
    places = [f"{folder}/{agent}" for folder in FOLDERS]
    return next((path for path in places if os.path.isfile(path)), places[0])


def hidden(method: FenceMethod) -> tuple[str, ...]:
    """All that is taken out of what the agent prints: its secrets, also as programs write them in URLs, JSON and HTTP
    headers."""
    users = [value for name, value in method.parameters if name in ("login", "username", "user")]
    forms: set[str] = set()
    for secret in method.secrets:
        forms |= {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
        for text in (secret, *(f"{user}:{secret}" for user in users)):
            forms.add(base64.b64encode(text.encode()).decode())
    return tuple(sorted(forms, key=len, reverse=True))


def call(argv: Iterable[str], given: str, env: Mapping[str, str], timeout: float, hide: Iterable[str] = ()) -> Call:
    """Run a program with ``given`` as its standard input. It ends with this process. Raises OSError."""
    parent = os.getpid()
    # A file, not a pipe: it holds whatever is given, and nobody waits for a program that does not read.
    stdin = os.memfd_create("ezha-fence", os.MFD_CLOEXEC)
    try:
        os.write(stdin, given.encode())
        os.lseek(stdin, 0, os.SEEK_SET)
        child = subprocess.Popen(
            tuple(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=dict(env),
            start_new_session=True,
            preexec_fn=lambda: process.die_with_parent(parent),
        )
    finally:
        os.close(stdin)
    assert child.stdout is not None
    try:
        os.set_blocking(child.stdout.fileno(), False)
        tail = Tail()
        ended = _follow(child, tail, time.monotonic() + timeout)
        if not ended:
            _kill(child)
        return Call(child.returncode if ended else None, _lines(tail, hide))
    finally:
        child.stdout.close()


class Tail:
    """The end of what a program printed. A line whose beginning is lost is dropped: half a password is one, too."""

    def __init__(self, kept: int = KEPT_BYTES) -> None:
        self._kept = kept
        self._data = b""
        self._cut = False

    def add(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._kept:
            self._data = self._data[-self._kept :]
            self._cut = True

    def text(self) -> str:
        data = self._data
        if self._cut:
            data = data.partition(b"\n")[2]
        return data.decode(errors="replace")


def _follow(child: "subprocess.Popen[bytes]", tail: Tail, until: float) -> bool:
    """Read what it prints until it ends, which a daemon that it leaves behind does not delay. False: it did not."""
    assert child.stdout is not None
    out = child.stdout.fileno()
    pidfd = os.pidfd_open(child.pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(out, select.POLLIN)
    try:
        while True:
            left = until - time.monotonic()
            ready = {fd for fd, _ in poll.poll(max(0, int(left * 1000) + 1))} if left > 0 else set()
            if out in ready and not _read(out, tail):
                poll.unregister(out)
            if pidfd in ready:
                child.wait()
                _read(out, tail)
                return True
            if left <= 0:
                return False
    finally:
        os.close(pidfd)


def _read(fd: int, tail: Tail) -> bool:
    """One chunk; False at the end."""
    try:
        data = os.read(fd, _CHUNK)
    except BlockingIOError:
        return True
    tail.add(data)
    time.sleep(_PAUSE_S)
    return bool(data)


def _kill(child: "subprocess.Popen[Any]") -> None:
    """The whole group. A process that hangs in the kernel ends when that lets it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(KILL_S)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        return


def _lines(tail: Tail, hide: Iterable[str]) -> tuple[str, ...]:
    text = tail.text()
    for secret in hide:
        text = text.replace(secret, HIDDEN)
    lines = [printable(line).strip()[:LINE_CHARS] for line in text.splitlines()]
    return tuple(line for line in lines if line)[-KEPT_LINES:]
