"""A history as one HTML page that needs nothing else: no network, no other file.

The page is ``report.html`` beside this module; here it gets its data, escaped. What the bars mean is
``ha.simulation.lanes``' matter, the words are ``ha.simulation.story``'s.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from html import escape

from ha.fsm.config import ClusterConfig
from ha.simulation.history import Outcome
from ha.simulation.lanes import Flight, Lanes, arrange
from ha.simulation.story import Line, clock, tell
from ha.simulation.trace import Entry, Kind

MAX_FLIGHTS = 40_000
"""More messages make a page that no browser likes; those nearest to the violation, or to the beginning, are kept."""
_PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "report.html")
_MARK = re.compile("@([A-Z]+)@")
_VERDICTS = {
    "clean": "clean",
    "dual": "ran twice: nothing arbitrates",
    "safety": "safety violation",
    "liveness": "liveness violation",
}


def render(outcome: Outcome, cluster: ClusterConfig, again: str, title: str, zero: float = 0.0) -> str:
    """The page. ``again``: the command that replays the history; ``title``: what it is called; ``zero``: seconds of the
    history at which the page begins."""
    with open(_PAGE, encoding="utf-8") as file:
        page = file.read()
    findings = outcome.findings
    broken = "safety" if findings.safety else "liveness" if findings.liveness else ""
    kind = broken or ("dual" if findings.dual else "clean")
    found = [*findings.safety, *findings.liveness]
    parts = {
        "TITLE": escape(title),
        "KIND": kind,
        "VERDICT": _VERDICTS[kind],
        "ABOUT": _about(outcome, cluster, zero),
        "FOUND": f'<div class="found">{"".join(f"<p>{escape(text)}</p>" for text in found)}</div>' if found else "",
        "STORY": "".join(_items(tell(outcome.entries), zero, outcome.seconds - zero >= 3600)),
        "PLAN": escape(outcome.plan.text),
        "AGAIN": escape(again),
        "DATA": _data(outcome, cluster, zero),
    }
    # In one pass: what stands in a text is never taken for a mark of the page.
    return _MARK.sub(lambda mark: parts[mark[1]], page)


def _about(outcome: Outcome, cluster: ClusterConfig, zero: float) -> str:
    plan, findings = outcome.plan, outcome.findings
    told = [
        f"{plan.seconds - zero:g} s with faults, {outcome.seconds - plan.seconds:.0f} s after them",
        f"rules: {escape(plan.rules)}",
        f"setting: <code>{escape(plan.setting)}</code>",
        ", ".join(f"T of {escape(node)} = {cluster.timeout_of(node):g} s" for node in cluster.nodes),
    ]
    if plan.mix:
        told.append(f"trouble: {escape(plan.mix.replace('+', ', '))}")
    if findings.dual:
        told.append(f"{findings.dual} dual run(s) that protection “none” cannot prevent")
    return " · ".join(told)


def _items(lines: list[Line], zero: float, long: bool) -> list[str]:
    items = []
    for line in lines:
        at = line.at - zero
        if at < 0:
            continue
        kinds = f"{line.tone.value}{' below' if line.below else ''}"
        time = clock(at, long).strip()
        items.append(
            f'<li class="{kinds}" data-at="{at:.6f}"><span class="time">{time}</span>'
            f'<span class="node">{escape(line.node)}</span><span>{escape(line.text)}</span></li>\n'
        )
    return items


def _data(outcome: Outcome, cluster: ClusterConfig, zero: float) -> str:
    nodes_of = {service.name: service.nodes for service in cluster.services.values()}
    lanes = arrange(_since(outcome.entries, zero), nodes_of, outcome.seconds - zero)
    flights = _nearest(lanes)
    left = len(lanes.flights) - len(flights)
    places = {node: place for place, node in enumerate(cluster.nodes)}
    data = {
        "end": outcome.seconds - zero,
        "nodes": list(cluster.nodes),
        "services": [{"name": name, "nodes": list(nodes)} for name, nodes in nodes_of.items()],
        "paths": {node: [f"{path.kind} {path.label}" for path in cluster.paths_of(node)] for node in cluster.nodes},
        "states": [asdict(bar) for bar in lanes.states],
        "up": [asdict(bar) for bar in lanes.up],
        "both": [asdict(bar) for bar in lanes.both],
        "absent": [asdict(bar) for bar in lanes.absent],
        "faults": [asdict(bar) for bar in lanes.faults],
        "marks": [asdict(mark) for mark in lanes.marks],
        "flights": [[round(f.sent, 6), round(f.arrived, 6), places[f.source], places[f.dest], f.path] for f in flights],
        "left": f" ({left} more are not in this page)" if left else "",
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    # Inside <script>, nothing may look like the end of it.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _since(entries: Iterable[Entry], zero: float) -> Iterator[Entry]:
    """What was before ``zero`` lasts no time: only what came of it can be seen."""
    for entry in entries:
        if entry.at >= zero or entry.kind in (Kind.STATE, Kind.UP, Kind.DOWN, Kind.NODE):
            yield replace(entry, at=max(entry.at - zero, 0.0), since=max(entry.since - zero, 0.0))


def _nearest(lanes: Lanes) -> list[Flight]:
    """The messages that the page holds."""
    if len(lanes.flights) <= MAX_FLIGHTS:
        return lanes.flights
    centre = next((mark.at for mark in lanes.marks if mark.what == "violation"), 0.0)
    near = sorted(lanes.flights, key=lambda flight: abs(flight.arrived - centre))[:MAX_FLIGHTS]
    return sorted(near, key=lambda flight: flight.arrived)
