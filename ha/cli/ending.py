"""Ends nmond and all that belongs to it, and waits for nmond to come up or to be gone.

Services are left alone. Knows processes and the control socket; knows nothing of states.
"""

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ha.cli.client import ControlError, NotRunning, ask
from ha.cli.guard import CliError
from ha.cli.processes import Process, family

if TYPE_CHECKING:
    from ha.node.layout import Layout

_POLL_S = 0.02
GONE_TIMEOUT_S = 5.0
"""How long processes may take to be gone after SIGKILL; one that waits for a hung disk cannot be."""
_KILL_ANSWER_S = 2.0
"""For an nmond that lives it is plenty, and whoever calls ``ezha kill`` has waited already."""


def wait_until_up(layout: "Layout", timeout_s: float) -> bool:
    """Whether nmond answers within ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = deadline - time.monotonic()
        try:
            ask(layout, {"op": "metrics"}, max(left, _POLL_S))
            return True
        except CliError:
            if time.monotonic() >= deadline:
                return False
        time.sleep(_POLL_S)


def wait_until_gone(layout: "Layout", timeout_s: float) -> bool:
    """Whether supervisor and nmond have ended within ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while _deciders(layout):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _deciders(layout: "Layout") -> list[Process]:
    return [process for process in family(layout.bin, layout.run) if process.program.startswith("nmond")]


def kill_node(layout: "Layout") -> bool:
    """End nmond, its supervisor and its workers at once. False: there was nothing to end.

    Asks nmond first; one that does not answer is ended by SIGKILL, its supervisor before it. Raises CliError where
    something is left after that.
    """
    try:
        ask(layout, {"op": "kill"}, _KILL_ANSWER_S)
        if wait_until_gone(layout, GONE_TIMEOUT_S):
            return True
    except NotRunning:
        if not family(layout.bin, layout.run):
            return False
    except ControlError:
        # It hangs or is out of order, which is a good reason to call this command. Where no process of it can be
        # seen either, the reason is another one (we are not root), and is told.
        if not family(layout.bin, layout.run):
            raise
    _kill_processes(layout)
    # Left behind, it would tell of a crash.
    with suppress(FileNotFoundError):
        os.unlink(layout.pid)
    return True


def _kill_processes(layout: "Layout") -> None:
    # In the order of family(): the supervisor first, or it would start nmond again.
    for process in family(layout.bin, layout.run):
        _kill(process)
    deadline = time.monotonic() + GONE_TIMEOUT_S
    while left := family(layout.bin, layout.run):
        if time.monotonic() >= deadline:
            names = ", ".join(f"{process.title} (pid {process.pid})" for process in left)
            raise CliError(f"not ended by SIGKILL within {GONE_TIMEOUT_S:g} s, waiting for a device?: {names}")
        time.sleep(_POLL_S)


def _kill(process: Process) -> None:
    """SIGKILL, through a descriptor: a pid that was given to another process meanwhile is not hit."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if process.is_still_there():
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise CliError(f"only root may end pid {process.pid}, {process.title}") from None
    finally:
        os.close(descriptor)
