"""The one clock of a running node: CLOCK_BOOTTIME, which no one can set and which counts a suspend too.

Wall-clock time is for people's eyes only (``wall``), never for a decision.
"""

import time

_BOOTTIME = time.CLOCK_BOOTTIME


def now() -> float:
    """Seconds since the machine was started, suspends included."""
    return time.clock_gettime(_BOOTTIME)


def wall(at: float, now_at: float) -> float:
    """The epoch seconds, as the wall clock counts them today, of the moment ``at`` of the monotonic clock."""
    return time.time() - (now_at - at)
