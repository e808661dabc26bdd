"""Telling a machine's qemu what to do, and hearing what happens to the machine: QMP, the QEMU Machine Protocol.

https://www.qemu.org/docs/master/interop/qmp-spec.html. A monitor serves one client at a time; the others wait.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ha.lab.errors import LabError
from ha.lab.vm.sockets import Lines

PATIENCE_S = 60.0
"""For one command, on a machine that is busy with other things. Those that wait for a disk may take long."""
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to the machine: SHUTDOWN, RESET, STOP, RESUME, WATCHDOG …"""

    name: str
    at: float
    """time.monotonic() when it was received."""
    data: dict[str, Any]


class Monitor:
    """A connection to one of the machine's monitors. Raises LabError."""

    def __init__(self, path: str, name: str, patience_s: float = PATIENCE_S) -> None:
        """``name`` is the node's, for people."""
        self._name = name
        self._patience_s = patience_s
        self.events: list[Event] = []
        """Those that came while something else was waited for, the oldest first."""
        try:
            self._lines = Lines(path, patience_s)
        except OSError as error:
            raise LabError(f"the machine of {name} cannot be reached ({error}); is it powered off?") from None
        try:
            self._receive(time.monotonic() + patience_s)  # the greeting
            self.execute("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._lines.close()

    def fileno(self) -> int:
        return self._lines.fileno()

    def execute(self, command: str, **arguments: Any) -> Any:
        """The value that it returns. ``_`` in the name of an argument stands for ``-``."""
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        deadline = time.monotonic() + self._patience_s
        try:
            self._lines.send(request)
        except OSError as error:
            raise LabError(f"the machine of {self._name} does not take {command} ({error})") from None
        while True:
            answer = self._receive(deadline)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise LabError(f"the machine of {self._name} refuses {command}: {answer['error'].get('desc')}")
            self._note(answer)

    def job(self, command: str, **arguments: Any) -> None:
        """Run a command that is a job to its end."""
        name = f"{command}-{time.monotonic_ns()}"
        self.execute(command, job_id=name, **arguments)
        deadline = time.monotonic() + self._patience_s
        while True:
            found = [job for job in self.execute("query-jobs") if job["id"] == name]
            if found and found[0]["status"] == "concluded":
                break
            if not found or time.monotonic() > deadline:
                raise LabError(f"the machine of {self._name} does not come to the end of {command}")
            time.sleep(_POLL_S)
        self.execute("job-dismiss", id=name)
        if "error" in found[0]:
            raise LabError(f"the machine of {self._name}: {command}: {found[0]['error']}")

    def take_events(self, wait_s: float = 0.0) -> list[Event]:
        """What has happened since it was last asked; waits ``wait_s`` for the first.

        Raises LabError once the machine has ended, and all that it told before has been taken.
        """
        deadline = time.monotonic() + wait_s
        while True:
            try:
                self._note(self._lines.receive(deadline if not self.events else time.monotonic()))
            except TimeoutError:
                break
            except (OSError, ValueError) as error:
                if self.events:
                    break
                raise LabError(f"the machine of {self._name} tells nothing any more ({error})") from None
        taken, self.events = self.events, []
        return taken

    def _receive(self, deadline: float) -> dict[str, Any]:
        try:
            return self._lines.receive(deadline)
        except (OSError, ValueError) as error:
            raise LabError(f"the machine of {self._name} does not answer ({error or 'too late'})") from None

    def _note(self, answer: dict[str, Any]) -> None:
        if "event" in answer:
            self.events.append(Event(str(answer["event"]), time.monotonic(), answer.get("data", {})))


@contextmanager
def monitor(path: str, name: str, patience_s: float = PATIENCE_S) -> Iterator[Monitor]:
    """A connection for a few commands."""
    connection = Monitor(path, name, patience_s)
    try:
        yield connection
    finally:
        connection.close()
