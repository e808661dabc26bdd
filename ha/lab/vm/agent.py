"""Running commands in a guest through qemu's guest agent, over a serial port that no cut of the network touches.

https://www.qemu.org/docs/master/interop/qemu-ga-ref.html. Much quicker than ssh in an emulated machine: no key exchange
there, and no login. A connection is made for each request and given up after it, so that a command that takes long does
not keep others out.
"""

import base64
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ha.lab.errors import LabError
from ha.lab.vm.sockets import Lines

_ANSWER_S = 30.0
"""For one request, in a guest that has little of the processor."""
_SOON_S, _LATE_S = 0.02, 0.25
"""How long between two looks whether a command has ended; it grows with the time that it takes."""
NOT_FOUND, CANNOT_RUN = 127, 126


class Silent(LabError):
    """The agent does not answer: the guest boots, hangs, or is paused."""


class Agent:
    """Of one machine."""

    def __init__(self, path: str, name: str) -> None:
        """``path`` of its socket; ``name`` of the node, for people."""
        self._path = path
        self._name = name

    def answers(self, patience_s: float) -> bool:
        """Whether it is there."""
        try:
            self._ask("guest-ping", patience_s)
        except Silent:
            return False
        return True

    def run(
        self, argv: Sequence[str], timeout_s: float, input: str | None, env: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Wait for a command; the code is 128 + N after signal N. Past ``timeout_s`` it is killed.

        Raises subprocess.TimeoutExpired, LabError.
        """
        begun = time.monotonic()
        pid = self.start(argv, input, env)
        if isinstance(pid, subprocess.CompletedProcess):
            return pid
        while True:
            status = self._ask("guest-exec-status", pid=pid)
            if status["exited"]:
                break
            taken = time.monotonic() - begun
            if taken > timeout_s:
                self._ask("guest-exec", path="kill", arg=["-KILL", str(pid)])
                raise subprocess.TimeoutExpired(list(argv), timeout_s)
            time.sleep(min(_LATE_S, max(_SOON_S, taken / 8)))
        code = int(status["exitcode"]) if "exitcode" in status else 128 + int(status["signal"])
        return subprocess.CompletedProcess(list(argv), code, _text(status, "out-data"), _text(status, "err-data"))

    def start(
        self, argv: Sequence[str], input: str | None = None, env: Mapping[str, str] | None = None
    ) -> "int | subprocess.CompletedProcess[str]":
        """Begin a command and do not wait for it: its pid in the guest, or the end of one that could not begin."""
        arguments: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        arguments["env"] = [f"{key}={value}" for key, value in (env or {}).items()]
        if input is not None:
            arguments["input-data"] = base64.b64encode(input.encode()).decode()
        try:
            return int(self._ask("guest-exec", **arguments)["pid"])
        except _Refused as error:
            why = str(error)
        found = "No such file" not in why
        return subprocess.CompletedProcess(list(argv), CANNOT_RUN if found else NOT_FOUND, "", f"{why}\n")

    def _ask(self, command: str, patience_s: float = _ANSWER_S, **arguments: Any) -> Any:
        deadline = time.monotonic() + patience_s
        try:
            lines = Lines(self._path, patience_s)
        except OSError as error:
            raise Silent(f"{self._name} cannot be entered ({error}); is it powered off?") from None
        try:
            # What is left of somebody else's answer ends at the byte that no JSON holds.
            mark = random.getrandbits(31)  # tells answers apart, and keeps no secret
            lines.send({"execute": "guest-sync-delimited", "arguments": {"id": mark}}, b"\xff")
            while True:
                lines.until(b"\xff", deadline)
                if lines.receive(deadline).get("return") == mark:
                    break
            lines.send({"execute": command, "arguments": arguments})
            answer = lines.receive(deadline)
        except (OSError, ValueError) as error:
            raise Silent(
                f"{self._name} does not answer ({error or 'too late'}): it boots, hangs or is paused"
            ) from None
        finally:
            lines.close()
        if "error" in answer:
            raise _Refused(str(answer["error"].get("desc")))
        return answer["return"]


class _Refused(LabError):
    """The agent answers that it cannot."""


def _text(status: Mapping[str, Any], name: str) -> str:
    return base64.b64decode(status.get(name, "")).decode(errors="replace")
