"""Randomness that is the same everywhere: one seed, one sequence, on any Python.

Only ``random()`` is used, whose sequence Python guarantees for a seed; everything else is made of it here. Each part of
the world has a stream of its own, named, so that taking a fault out of a history leaves the rest as it was.
"""

import math
import random
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Draw:
    """A stream of random numbers. ``name``: what it is for, with the seed in it."""

    __slots__ = ("_random",)

    def __init__(self, name: str) -> None:
        self._random = random.Random(name).random  # noqa: S311 (not for secrets)

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def between(self, low: float, high: float) -> float:
        """Evenly, low included."""
        return low + (high - low) * self._random()

    def whole(self, low: int, high: int) -> int:
        """Evenly, both ends included."""
        return low + int(self._random() * (high - low + 1))

    def pick(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._random() * len(choices))]

    def about(self, mean: float) -> float:
        """Exponentially distributed: mostly less than ``mean``, sometimes much more, never more than 20 times."""
        return min(-math.log(1.0 - self._random()), 20.0) * mean

    def weighted(self, choices: Sequence[tuple[_T, float]]) -> _T:
        """By weight; weights need not add up to 1."""
        point = self._random() * sum(weight for _, weight in choices)
        for choice, weight in choices:
            point -= weight
            if point < 0:
                return choice
        return choices[-1][0]
