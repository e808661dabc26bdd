"""A history as bars: which state a service was in on a node, from when to when, and why; where it was physically up;
how long a fault lasted. For the report.

Pure: entries of a trace in, bars out. It knows nothing of how they are drawn.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ha.simulation.plan import VERBS
from ha.simulation.story import comes, goes, sentence
from ha.simulation.trace import Entry, Kind


@dataclass(slots=True)
class Bar:
    """Something that lasts."""

    node: str
    service: str
    """Empty: the node as a whole."""
    begin: float
    end: float
    what: str
    why: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happens at one moment."""

    at: float
    node: str
    service: str
    what: str
    """"fault", "order", "dual", "violation" or "healed"."""
    text: str


@dataclass(frozen=True, slots=True)
class Flight:
    """A message: sent, and arrived."""

    sent: float
    """Where it is not known: when it arrived."""
    arrived: float
    source: str
    dest: str
    path: int
    """The line of its sender in ``monitor``; -1: not known."""


@dataclass(slots=True)
class Lanes:
    """All of it."""

    states: list[Bar] = field(default_factory=list)
    up: list[Bar] = field(default_factory=list)
    both: list[Bar] = field(default_factory=list)
    """Physically up on two nodes at once: the bar lies on the second one."""
    absent: list[Bar] = field(default_factory=list)
    """No nmond runs on the node."""
    faults: list[Bar] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    flights: list[Flight] = field(default_factory=list)


def arrange(entries: Iterable[Entry], nodes_of: Mapping[str, Sequence[str]], end: float) -> Lanes:
    """``nodes_of``: by service; ``end``: of the history, in seconds."""
    loom = _Loom(nodes_of, end)
    for entry in entries:
        loom.take(entry)
    return loom.finish()


class _Loom:
    """Follows the entries, and holds the bars that have not ended yet."""

    def __init__(self, nodes_of: Mapping[str, Sequence[str]], end: float) -> None:
        self._lanes = Lanes()
        self._nodes_of = nodes_of
        self._end = end
        self._states: dict[tuple[str, str], Bar] = {}
        self._last: dict[tuple[str, str], tuple[str, str, tuple[str, ...]]] = {}
        self._up: dict[tuple[str, str], Bar] = {}
        self._both: dict[tuple[str, str], Bar] = {}
        self._absent: dict[str, Bar] = {}
        self._faults: dict[tuple[str, str], list[Bar]] = {}
        nodes = dict.fromkeys(node for names in nodes_of.values() for node in names)
        for node in nodes:
            self._gone(0.0, node, "not switched on yet")

    def take(self, entry: Entry) -> None:
        at, node, service = entry.at, entry.node, entry.service
        match entry.kind:
            case Kind.STATE:
                self._state(at, node, service, entry.dest, entry.text, entry.evidence)
            case Kind.NODE if comes(entry):
                self._come(at, node)
            case Kind.NODE if goes(entry):
                self._gone(at, node, entry.text)
            case Kind.UP:
                self._rise(at, node, service)
            case Kind.DOWN:
                self._fall(at, node, service)
            case Kind.FAULT | Kind.COMMAND:
                self._fault(entry)
            case Kind.HEAL if node:
                waiting = self._faults.get((node, entry.text.removeprefix("over: ")))
                if waiting:
                    waiting.pop(0).end = at
            case Kind.HEAL:
                self._lanes.marks.append(Mark(at, "", "", "healed", entry.text))
            case Kind.VIOLATION | Kind.DUAL:
                self._lanes.marks.append(Mark(at, node, service, entry.kind.value, entry.text))
            case Kind.MESSAGE:
                flight = Flight(entry.since or at, at, entry.source, entry.dest, int(entry.text or -1))
                self._lanes.flights.append(flight)
            case _:
                pass

    def finish(self) -> Lanes:
        lanes = self._lanes
        for bars in (lanes.states, lanes.up, lanes.both, lanes.absent, lanes.faults):
            for bar in bars:
                bar.end = min(bar.end, self._end)
        lanes.states = [bar for bar in lanes.states if bar.end > bar.begin]
        lanes.absent = [bar for bar in lanes.absent if bar.end > bar.begin]
        return lanes

    # ---------------------------------------------------------------------------------------- states

    def _state(self, at: float, node: str, service: str, state: str, why: str, evidence: tuple[str, ...]) -> None:
        key = (node, service)
        self._last[key] = (state, why, evidence)
        bar = self._states.get(key)
        if bar is not None:
            if bar.what == state:
                return
            bar.end = at
        self._states[key] = self._begin(self._lanes.states, Bar(node, service, at, self._end, state, why, evidence))

    def _come(self, at: float, node: str) -> None:
        absent = self._absent.pop(node, None)
        if absent is not None:
            absent.end = at
        for service, nodes in self._nodes_of.items():
            if node in nodes and (node, service) not in self._states:
                last = self._last.get((node, service), ("FROZEN_STOP", "a new service begins frozen", ()))
                self._state(at, node, service, *last)

    def _gone(self, at: float, node: str, why: str) -> None:
        for service in self._nodes_of:
            bar = self._states.pop((node, service), None)
            if bar is not None:
                bar.end = at
        if node not in self._absent:
            self._absent[node] = self._begin(self._lanes.absent, Bar(node, "", at, self._end, "absent", why))

    # --------------------------------------------------------------------------------- physically up

    def _rise(self, at: float, node: str, service: str) -> None:
        others = [n for (n, s), _ in self._up.items() if s == service]
        self._up[node, service] = self._begin(self._lanes.up, Bar(node, service, at, self._end, "up"))
        if others:
            why = f"up on {' and '.join(others)} at the same time"
            self._both[node, service] = self._begin(self._lanes.both, Bar(node, service, at, self._end, "both", why))

    def _fall(self, at: float, node: str, service: str) -> None:
        self._up.pop((node, service)).end = at
        left = [n for (n, s), _ in self._up.items() if s == service]
        for (other, name), bar in list(self._both.items()):
            if name == service and (other == node or len(left) < 2):
                bar.end = at
                del self._both[other, name]

    # ---------------------------------------------------------------------------------------- faults

    def _fault(self, entry: Entry) -> None:
        plain, _, _ = entry.text.partition(" for ")
        verb = plain.partition(" ")[0]
        text = sentence(entry.text)
        kind = "order" if entry.kind is Kind.COMMAND else "fault"
        if VERBS[verb].lasts:
            bar = self._begin(self._lanes.faults, Bar(entry.node, "", entry.at, self._end, verb, text))
            self._faults.setdefault((entry.node, plain), []).append(bar)
        if not VERBS[verb].lasts or kind == "order":
            service = plain.split()[2] if verb == "order" else ""
            self._lanes.marks.append(Mark(entry.at, entry.node, service, kind, text))
        if verb == "power-off" or (verb == "kill" and len(plain.split()) < 3):
            self._gone(entry.at, entry.node, text)

    @staticmethod
    def _begin(bars: list[Bar], bar: Bar) -> Bar:
        bars.append(bar)
        return bar
