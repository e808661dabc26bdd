"""The shortest story that still ends badly: leaves out faults, then shortens, calms and rounds what is left.

Delta debugging (ddmin, Zeller and Hildebrandt 2002) over the faults of a plan, then smaller clusters, less noise,
shorter faults and shorter waits, until none of these steps keeps the violation. A step counts only where a violation
of the same kind comes out of it, so that one bug does not turn into another on the way. Which violations there are is
the checkers' matter.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ha.node.config import Texts
from ha.simulation.history import NOISE, Outcome, run, texts_of
from ha.simulation.plan import VERBS, Fault, Plan
from ha.simulation.scenario import OWN, cluster_of
from ha.simulation.settings import Setting
from ha.simulation.trace import Kind

RUNS = 1500
"""Histories that a shrinking may cost."""
FIRST_S = 2.0
"""Before the first fault: both machines have booted, and hear each other."""
CALM = ("drift", "loss", "boot-spread", "start-spread", "stop-spread")
"""Noise that can be nought."""
_NAMES = re.compile("(?:node|svc)[0-9]+")
_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+)?")
_MOMENTS = 5
"""Violations that are tried as the end of the history."""
_TWICE = "physically up on"
_LENGTHS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0)


class CleanError(ValueError):
    """The history that was to be shrunk is clean."""


@dataclass(frozen=True, slots=True)
class Harm:
    """A kind of violation: what stays the same while its history shrinks."""

    safety: bool
    text: str
    """Without names and numbers."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What is left."""

    plan: Plan
    harm: Harm
    outcome: Outcome
    runs: int
    """Histories that it cost."""


def harms(outcome: Outcome, names: Iterable[str] = ()) -> list[Harm]:
    """All kinds of a history, the first first. ``names``: of the user's own nodes and services."""
    findings = outcome.findings
    own = [re.escape(name) for name in sorted(names, key=len, reverse=True)]
    any_name = re.compile(r"(?<![\w.-])(" + "|".join((_NAMES.pattern, *own)) + r")(?![\w-])")

    def plain(text: str) -> str:
        return _NUMBERS.sub("#", any_name.sub("…", text))

    found = [Harm(True, plain(text)) for text in findings.safety]
    found += [Harm(False, plain(text)) for text in findings.liveness]
    return list(dict.fromkeys(found))


def worst(found: Sequence[Harm]) -> Harm:
    """What runs is what counts: rather a service that is up twice than a rule that was broken on the way there."""
    return min(found, key=lambda harm: (not harm.safety, _TWICE not in harm.text))


def shrink(
    plan: Plan,
    given: Mapping[str, Texts] | None = None,
    runs: int = RUNS,
    progress: Callable[[int, Plan], None] = lambda runs, plan: None,
) -> Shrunk:
    """Raises CleanError. ``progress``: told after every history, with the shortest plan so far."""
    outcome = run(plan, given, keep=False)
    cluster = cluster_of(texts_of(plan, given))
    names = (*cluster.nodes, *cluster.services)
    found = harms(outcome, names)
    if not found:
        raise CleanError("the history is clean")
    plan = replace(plan, mix="")  # what is left is no longer what was drawn
    search = _Search(plan, outcome, worst(found), names, given, runs, progress)
    search.shrink()
    return Shrunk(search.plan, search.harm, search.outcome, search.runs)


@dataclass(slots=True)
class _Search:
    """The shortest plan so far, and the way on."""

    plan: Plan
    outcome: Outcome
    harm: Harm
    names: tuple[str, ...]
    given: Mapping[str, Texts] | None
    most: int
    progress: Callable[[int, Plan], None]
    runs: int = 1
    _tried: set[str] = field(default_factory=set)

    def shrink(self) -> None:
        while True:
            before = self.plan
            self._end()
            self._drop()
            self._any(self._settings)
            self._any(self._calmer)
            self._each()
            self._closer()
            if self.plan == before or self._spent:
                break

    @property
    def _spent(self) -> bool:
        return self.runs >= self.most

    def _keeps(self, plan: Plan) -> bool:
        """Whether the same harm comes of ``plan``; it is the shortest so far then."""
        text = plan.text
        if self._spent or plan == self.plan or text in self._tried:
            return False
        self._tried.add(text)
        self.runs += 1
        outcome = run(plan, self.given, keep=False)
        kept = self.harm in harms(outcome, self.names)
        if kept:
            self.plan, self.outcome = plan, outcome
        self.progress(self.runs, self.plan)
        return kept

    def _any(self, candidates: Callable[[], Iterable[Plan]]) -> None:
        """Take what keeps the harm, and look again, until nothing does."""
        while any(self._keeps(plan) for plan in candidates()):
            pass

    # --------------------------------------------------------------------------------------- when it ends

    def _end(self) -> None:
        """Nothing after the harm matters."""
        plan = self.plan
        if self.harm.safety:  # other kinds may have come before
            ends = sorted({e.at for e in self.outcome.entries if e.kind is Kind.VIOLATION})[:_MOMENTS]
        else:
            ends = [max((f.at + (f.lasts or 0.0) for f in plan.faults), default=0.0)]
        for end in ends:
            seconds = float(int(end) + 1)
            faults = tuple(f for f in plan.faults if f.at <= seconds)
            if seconds < plan.seconds and self._keeps(replace(plan, seconds=seconds, faults=faults)):
                return

    # --------------------------------------------------------------------------------------- fewer faults

    def _drop(self) -> None:
        """ddmin: leave out ever smaller parts, for as long as one of them is not needed."""
        parts = 2
        while len(self.plan.faults) > 1:
            number = len(self.plan.faults)
            size = -(-number // parts)
            shorter = (range(at, min(at + size, number)) for at in range(0, number, size))
            if any(self._keeps(self.plan.without(part)) for part in shorter):
                parts = max(parts - 1, 2)
            elif size == 1 or self._spent:
                break
            else:
                parts = min(parts * 2, number)
        self._keeps(replace(self.plan, faults=()))

    # ----------------------------------------------------------------------------------- a smaller cluster

    def _settings(self) -> Iterator[Plan]:
        plan = self.plan
        if plan.setting == OWN:
            return
        setting = Setting.parse(plan.setting)
        smaller = []
        if setting.services > 1:
            smaller.append(replace(setting, services=1))
        if setting.nodes > 2:
            smaller.append(replace(setting, nodes=2))
        if len(setting.paths) > 1:
            smaller += [replace(setting, paths=tuple(p for p in setting.paths if p != path)) for path in setting.paths]
        for each in smaller:
            yield replace(plan, setting=each.text, faults=tuple(_fitting(plan.faults, each)))

    # -------------------------------------------------------------------------------------------- no noise

    def _calmer(self) -> Iterator[Plan]:
        """First all noise at once, then a kind at a time."""
        given = dict(self.plan.noise)
        calm = tuple((name, 0.0) for name in CALM)
        is_calm = set(self.plan.noise) <= set(calm)
        rest: tuple[tuple[tuple[str, float], ...], ...] = () if is_calm else ((), calm)
        for noise in rest:
            yield replace(self.plan, noise=noise)
        for name in given:
            if given[name] != NOISE[name] and not (name in CALM and given[name] == 0.0):
                yield replace(self.plan, noise=tuple(pair for pair in self.plan.noise if pair[0] != name))

    # ---------------------------------------------------------------------------------------- each fault

    def _each(self) -> None:
        """Every fault: rounder, shorter, with less to it."""
        for place in range(len(self.plan.faults)):
            for simpler in _simpler(self.plan.faults[place]):
                if self._keeps(_with(self.plan, place, simpler)):
                    break

    def _closer(self) -> None:
        """Everything from a fault on, earlier: waits that nothing needs."""
        for place in range(len(self.plan.faults)):
            fault = self.plan.faults[place]
            before = self.plan.faults[place - 1].at if place else FIRST_S
            gap = fault.at - before
            for wait in (0.0, 1.0, 5.0, 10.0, 20.0, 40.0, gap / 2):
                if wait < gap and self._keeps(_earlier(self.plan, place, gap - wait)):
                    break
            self._keeps(_earlier(self.plan, place, round(fault.at % 1.0, 6)))


def _fitting(faults: Sequence[Fault], setting: Setting) -> Iterator[Fault]:
    """Faults that the smaller cluster can have."""
    nodes = {f"node{i + 1}" for i in range(setting.nodes)}
    services = {f"svc{i + 1}" for i in range(setting.services)}
    for fault in faults:
        named = [word for word in fault.words if _NAMES.fullmatch(word)]
        if fault.once is not None:
            named += [fault.once.node, fault.once.service]
        line = fault.verb == "cut" and fault.words[0].isdigit() and int(fault.words[0]) >= len(setting.paths)
        if all(word in nodes or word in services for word in named) and not line:
            yield fault


def _simpler(fault: Fault) -> Iterator[Fault]:
    """The simplest first."""
    if fault.once is not None:
        yield replace(fault, once=None)
        if fault.once.after:
            yield replace(fault, once=replace(fault.once, after=0.0))
    if fault.lasts is not None:
        for lasts in _LENGTHS:
            if lasts < fault.lasts:
                yield replace(fault, lasts=lasts)
        if fault.lasts != int(fault.lasts):
            yield replace(fault, lasts=float(int(fault.lasts) + 1))
    needed = len([word for word in VERBS[fault.verb].words.split() if not word.startswith("[")])
    if len(fault.words) > needed:
        yield replace(fault, words=fault.words[:-1])
    for at in (float(int(fault.at)), float(int(fault.at) + 1), round(fault.at, 1), round(fault.at, 2)):
        if len(f"{at:g}") < len(f"{fault.at:.6f}".rstrip("0").rstrip(".")):
            yield replace(fault, at=at)


def _with(plan: Plan, place: int, fault: Fault) -> Plan:
    """Faults stay in the order of their times."""
    faults = [*plan.faults[:place], fault, *plan.faults[place + 1 :]]
    return replace(plan, faults=tuple(sorted(faults, key=lambda each: each.at)))


def _earlier(plan: Plan, place: int, by: float) -> Plan:
    """The fault at ``place`` and all after it come earlier."""
    if by <= 0:
        return plan
    moved = [replace(fault, at=_micro(fault.at - by)) for fault in plan.faults[place:]]
    if moved[0].at < 0:
        return plan
    faults = sorted((*plan.faults[:place], *moved), key=lambda each: each.at)
    return replace(plan, faults=tuple(faults))


def _micro(seconds: float) -> float:
    """To what a scenario file holds."""
    return round(seconds, 6)
