"""Many histories, on all cores, and what they came to together.

It knows nothing of how progress is shown.
"""

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from ha.node.config import Texts
from ha.simulation.coverage import Cell
from ha.simulation.history import run
from ha.simulation.mix import draw_plan
from ha.simulation.plan import Plan

BATCH = 5
"""Histories that a process takes at once."""

Planner = Callable[[int], Plan]


@dataclass(slots=True)
class Found:
    """A history that was not clean."""

    seed: int
    safety: list[str]
    liveness: list[str]


@dataclass(slots=True)
class Tally:
    """The sum of many histories."""

    histories: int = 0
    seconds: float = 0.0
    """Simulated, with both phases."""
    dual: int = 0
    """Dual runs that no promise covers: under protection "none", or where what ends a node was paused with it."""
    window: float = 0.0
    """The longest of them after a pause that stopped the watchdog, too, in T."""
    found: list[Found] = field(default_factory=list)
    cells: Counter[Cell] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    situations: Counter[str] = field(default_factory=Counter)
    wall: float = 0.0

    def add(self, other: "Tally") -> None:
        self.histories += other.histories
        self.seconds += other.seconds
        self.dual += other.dual
        self.window = max(self.window, other.window)
        self.found += other.found
        self.cells.update(other.cells)
        self.faults.update(other.faults)
        self.situations.update(other.situations)

    @property
    def safety(self) -> list[Found]:
        return [f for f in self.found if f.safety]

    @property
    def liveness(self) -> list[Found]:
        return [f for f in self.found if f.liveness and not f.safety]


def one(
    seed: int, planner: Planner = draw_plan, given: Mapping[str, Texts] | None = None, twice: bool = False
) -> Tally:
    """A single history. ``twice``: it is run again, and must be the same, byte for byte."""
    tally = Tally(histories=1)
    outcome = run(planner(seed), given, keep=False, cells=tally.cells)
    findings = outcome.findings
    if twice and run(planner(seed), given, keep=False).digest != outcome.digest:
        findings.safety.append("run again it is another history: the simulator itself is at fault")
    tally.seconds, tally.dual, tally.window = outcome.seconds, findings.dual, findings.window
    tally.faults.update(outcome.faults)
    tally.situations.update(findings.situations)
    if not outcome.clean:
        tally.found.append(Found(seed, findings.safety, findings.liveness))
    return tally


def hunt(
    seeds: Iterable[int],
    jobs: int = 1,
    seconds: float | None = None,
    planner: Planner = draw_plan,
    given: Mapping[str, Texts] | None = None,
    progress: Callable[[Tally], None] = lambda tally: None,
    twice: bool = False,
    enough: Callable[[Tally], bool] = lambda tally: False,
    so_far: Tally | None = None,
) -> Tally:
    """Every seed's history. ``seconds``: of real time, after which no further batch is begun; nor is one where what
    there is was ``enough``. ``so_far``: what other seeds came to, added to. ``planner`` and ``given`` reach the other
    processes by fork."""
    began = time.monotonic()
    total = Tally()
    if so_far is not None:
        total.add(so_far)
    before = so_far.wall if so_far is not None else 0.0

    def over() -> bool:
        took = time.monotonic() - began
        total.wall = before + took
        progress(total)
        return enough(total) or (seconds is not None and took >= seconds)

    batches = _batches(seeds)
    if jobs <= 1:
        for batch in batches:
            total.add(_batch(batch, planner, given, twice))
            if over():
                break
        return total
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, _take, (planner, given, twice)) as pool:
        for tally in pool.imap(_work, batches):
            total.add(tally)
            if over():
                break
    return total


def _batches(seeds: Iterable[int]) -> Iterable[list[int]]:
    rest = iter(seeds)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _batch(seeds: list[int], planner: Planner, given: Mapping[str, Texts] | None, twice: bool) -> Tally:
    total = Tally()
    for seed in seeds:
        total.add(one(seed, planner, given, twice))
    return total


_given: tuple[Planner, Mapping[str, Texts] | None, bool] = (draw_plan, None, False)


def _take(planner: Planner, given: Mapping[str, Texts] | None, twice: bool) -> None:
    """In a process of the pool: what the histories are made of."""
    global _given
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's matter: it ends the pool
    _given = (planner, given, twice)


def _work(seeds: list[int]) -> Tally:
    return _batch(seeds, *_given)
