"""Stand-ins for the tests of nmond's parts: a clock that jumps, a log that is a list, a loop that is turned by hand."""

import time
from collections.abc import Callable

from ha.node.log import Level, Log, LogFile
from ha.node.loop import Loop


class Clock:
    """Stands still until it is told to jump."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


class ListLog(Log):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(LogFile("/nonexistent/log"), None)
        self.lines: list[str] = []

    def write(self, level: Level, text: str, *, always: bool = False, at: float | None = None) -> None:
        self.lines.append(f"{level.name.lower()}: {text}")

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def turn_until(loop: Loop, done: Callable[[], bool], limit_s: float = 5.0) -> None:
    """Turn the loop until something has come about; never longer than ``limit_s`` of real time."""
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, "it did not come about"
        loop.turn(0.005)
