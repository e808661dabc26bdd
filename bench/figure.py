"""A measured figure: its samples, the limit that it is held to, and the line that tells of it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

GATE = 3.0
"""The short run fails where a figure is over so many times its limit: decay, not the noise of a busy machine."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, in ``unit``. ``median`` and ``worst`` are limits, each where there is one."""

    what: str
    unit: str
    samples: Sequence[float]
    median: float | None = None
    worst: float | None = None
    exact: bool = False
    """The limit is no matter of speed: nothing over it is ever allowed."""
    note: str = ""
    digits: int = 0

    def __post_init__(self) -> None:
        assert self.samples, f"nothing was measured: {self.what}"

    def missed(self, slack: float = 1.0) -> str:
        """Why the figure is over ``slack`` times a limit; empty where it is not."""
        slack = 1.0 if self.exact else slack
        found = []
        for name, value, limit in (
            ("median", statistics.median(self.samples), self.median),
            ("worst", max(self.samples), self.worst),
        ):
            if limit is not None and value > limit * slack:
                found.append(f"{name} {self._show(value)} is over {self._show(limit * slack)}")
        return " and ".join(found)

    def limits(self) -> str:
        told = [f"median ≤ {self._show(self.median)}"] if self.median is not None else []
        told += [f"worst ≤ {self._show(self.worst)}"] if self.worst is not None else []
        return ", ".join(told) or "-"

    def measured(self) -> str:
        low, middle, high = min(self.samples), statistics.median(self.samples), max(self.samples)
        if len(self.samples) == 1:
            return self._show(middle)
        return f"{self._show(middle)} ({self._show(low)} to {self._show(high)}), n = {len(self.samples)}"

    def line(self) -> str:
        verdict = self.missed()
        tail = f"; {self.note}" if self.note else ""
        return f"{'MISSED' if verdict else 'ok':6}  {self.what}: {self.measured()} [{self.limits()}]{tail}"

    def _show(self, value: float) -> str:
        return f"{value:.{self.digits}f} {self.unit}".rstrip()
