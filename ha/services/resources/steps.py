"""One step of a start or stop: a command that is logged as the tutorial shows it, within the time of the whole.

Knows nothing of what the commands are for.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from ha.services.context import Context
from ha.services.errors import ResourceError
from ha.services.runner import Done


class Budget:
    """The time that an action has in all; its steps share it."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def left(self, at_most: float = float("inf")) -> float:
        """Seconds left, of ``at_most``. Raises ResourceError where there are none."""
        left = self._end - self._clock()
        if left <= 0:
            raise ResourceError(f"not done within {self._seconds:g} s")
        return min(left, at_most)

    def left_or_none(self) -> float:
        """Seconds left; 0 where there are none."""
        return max(0.0, self._end - self._clock())


def until(condition: Callable[[], bool], budget: Budget, at_most: float, every: float = 0.02) -> bool:
    """Poll ``condition`` for ``at_most`` seconds, each ``every`` seconds. Raises ResourceError at the budget's end."""
    end = time.monotonic() + budget.left(at_most)
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(every)
    return True


def attempt(
    ctx: Context, argv: Sequence[str], budget: Budget, *, env: Mapping[str, str] | None = None, stdin: bytes = b""
) -> Done:
    """Log the command, run it, log what it printed. Its failure is the caller's to judge. Raises StillRunning."""
    ctx.log.info(" ".join(argv))
    done = ctx.runner.run(argv, budget.left(), env=env, stdin=stdin)
    ctx.log.output(done.said)
    return done


def must(
    ctx: Context,
    argv: Sequence[str],
    budget: Budget,
    *,
    good: Collection[int] = (0,),
    env: Mapping[str, str] | None = None,
) -> Done:
    """``attempt``, and raises ResourceError where the exit code is not ``good``."""
    done = attempt(ctx, argv, budget, env=env)
    if done.timed_out or done.code not in good:
        raise ResourceError(done.why())
    return done
