"""Collects garbage when nothing waits: the collector must not pause nmond between a deadline and what it asks for.

It knows nothing of what waits; whoever drives it says how much time there is.
"""

import gc
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 10.0
"""A collection this often at most: what nmond makes in a day is mostly freed without one."""
AT_LAST_S: Final = 60.0
"""After this it is done however little time there is."""
ROOM_S: Final = 0.05
"""It takes a few milliseconds; more time than this has to be left until the next deadline."""


class Tidying:
    """Idle work of the loop. From its making on, nothing else collects."""

    def __init__(self, clock: Callable[[], float], deadline: Callable[[], float]) -> None:
        """``deadline``: when nmond has something to do next."""
        self._clock = clock
        self._deadline = deadline
        self._last = clock()
        gc.disable()

    def __call__(self) -> bool:
        """There is never more to do."""
        now = self._clock()
        waited = now - self._last
        if waited >= AT_LAST_S or (waited >= EVERY_S and self._deadline() - now >= ROOM_S):
            gc.collect()
            self._last = now
        return False
