"""The gate that every request to a node's view of the disk passes, and the fault that stands in it.

Threads of the server wait here while the disk hangs; a new fault wakes them. Knows no FUSE and no socket.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ha.lab.fault import OK, Fault, Verdict


@dataclass(slots=True)
class Counters:
    """Requests since the node's power-on."""

    reads: int = 0
    writes: int = 0
    failed: int = 0
    waiting: int = 0
    """Those that hang now."""


class Gate:
    def __init__(self, fault: Fault = OK) -> None:
        self._changed = threading.Condition()
        self._fault = fault
        self.counters = Counters()

    @property
    def fault(self) -> Fault:
        return self._fault

    def set(self, fault: Fault) -> None:
        """In force for requests that hang or are delayed, too."""
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

    def read(self) -> Verdict:
        """Blocks as long as reads hang. Never WAIT."""
        return self._pass(lambda fault: fault.on_read(), "reads")

    def write(self) -> Verdict:
        return self._pass(lambda fault: fault.on_write(), "writes")

    def _pass(self, verdict_of: Callable[[Fault], Verdict], counter: str) -> Verdict:
        with self._changed:
            setattr(self.counters, counter, getattr(self.counters, counter) + 1)
            if self._fault.delay_s:
                delayed = self._fault
                self._changed.wait_for(lambda: self._fault is not delayed, delayed.delay_s)
            if verdict_of(self._fault) is Verdict.WAIT:
                self.counters.waiting += 1
                self._changed.wait_for(lambda: verdict_of(self._fault) is not Verdict.WAIT)
                self.counters.waiting -= 1
            verdict = verdict_of(self._fault)
            if verdict is Verdict.FAIL:
                self.counters.failed += 1
            return verdict
