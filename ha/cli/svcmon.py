"""``svcmon``: heartbeat threads, nodes and services on one screen, a column a node (docs/svcmgr.md).

Asks nmond what it knows and the service controller how the services are here. Where nmond does not run it shows the
rest: it is the first thing that people type when something is wrong.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ha.cli.client import Answer, ControlError, ask
from ha.cli.guard import CliError, guarded, say
from ha.cli.options import Parser
from ha.cli.place import layout
from ha.cli.svcmgr import wants_colour
from ha.services.config import service_names
from ha.services.context import Paths
from ha.services.errors import ServiceError
from ha.services.state import State
from ha.services.tree import COLOURS

_ANSWER_S = 3.0
_CLEAR = "\x1b[H\x1b[J"
_CELLS = {State.UP: "O", State.STDBY_UP: "S", State.DOWN: "X", State.STDBY_DOWN: "X", State.WARN: "!", State.NA: "-"}
_ENGINE = {
    "STARTED": "O",
    "FROZEN_START": "O*",
    "STOPPED": "X",
    "FROZEN_STOP": "X*",
    "START_READY": ">",
    "STARTING": ">",
    "STOPPING": "<",
    "START_FAILED": "!",
    "STOP_FAILED": "!",
}
"""How a state of the engine is shown; any other is not known (?)."""
_PAINTED = {"O": State.UP, "X": State.DOWN, "!": State.WARN, "?": State.WARN, ">": State.WARN, "<": State.WARN}


@dataclass(frozen=True, slots=True)
class Row:
    """A line: what stands left of the bar, and a cell for each node; no cells, no bar."""

    name: str
    state: str = ""
    place: str = ""
    cells: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Screen:
    """All that is shown."""

    nodes: tuple[str, ...]
    threads: tuple[Row, ...]
    machines: tuple[Row, ...]
    services: tuple[Row, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 0, or 1 where something could not be shown."""
    return guarded("svcmon", run, sys.argv[1:] if argv is None else argv)


def run(argv: Sequence[str]) -> int:
    """As ``main``, but raises CliError."""
    parser = Parser("svcmon", "Show heartbeats, nodes and services.")
    parser.add_argument("--color", choices=("auto", "yes", "no"), default="auto")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")
    options = parser.parse_args(argv)
    if options.json and options.watch:
        raise CliError("--json and --watch exclude one another", 1)
    colour = wants_colour(options.color)
    while True:
        status, paths = _engine()
        local = _local()
        if options.json:
            say(json.dumps({"nmond": status, "paths": paths, "services": local}, indent=2))
            return 0
        text = text_of(screen(os.uname().nodename, os.getloadavg()[2], status, paths, local), colour)
        if not options.watch:
            say(text)
            return 0
        say(_CLEAR + text)
        time.sleep(1.0)


def _engine() -> tuple[Answer | None, list[Answer]]:
    """What nmond says, or None where it says nothing."""
    try:
        place = layout()
        return ask(place, {"op": "status"}, _ANSWER_S), list(ask(place, {"op": "paths"}, _ANSWER_S)["paths"])
    except ControlError:
        return None, []


def _local() -> dict[str, dict[str, Any]]:
    """Every service that has a file here, as its controller sees it."""
    found = {}
    paths = Paths()
    for name in service_names(paths):
        found[name] = _look(name, paths)
    return found


def _look(name: str, paths: Paths) -> dict[str, Any]:
    from ha.services.manager import Manager, Options

    try:
        service = Manager(name, Options(), lambda level, who, text: None, program=_svcmgr(), paths=paths).service()
        return {
            "avail": service.avail.value,
            "overall": service.overall.value,
            "nodes": list(service.config.nodes),
            "trouble": "",
        }
    except ServiceError as error:
        return {"avail": "undef", "overall": "warn", "nodes": [], "trouble": str(error).splitlines()[0]}


def _svcmgr() -> str:
    """The program beside this one: links of services lead to it."""
    return os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "svcmgr")


# ---- the screen, pure


def screen(
    node: str, load: float, status: Answer | None, paths: Sequence[Answer], local: dict[str, dict[str, Any]]
) -> Screen:
    """``status`` and ``paths``: nmond's answers; ``local``: what ``_local`` returns."""
    nodes = _nodes(node, status, paths, local)
    peers = {peer["node"]: peer for peer in status["peers"]} if status else {}
    threads = [*_threads(node, nodes, paths), Row("monitor", "running" if status else "stopped")]
    loads = tuple(f"{load:.2f}" if each == node else "" for each in nodes)
    states = tuple(_standing(node, each, peers, status) for each in nodes)
    return Screen(
        nodes,
        tuple(threads),
        (Row("15m", cells=loads), Row("state", cells=states)),
        tuple(_services(node, nodes, status, local)),
    )


def _nodes(
    node: str, status: Answer | None, paths: Sequence[Answer], local: dict[str, dict[str, Any]]
) -> tuple[str, ...]:
    """Sorted: the screen is the same on every node."""
    found = {node, *(path["node"] for path in paths)}
    for service in status["services"] if status else ():
        found.update(member["node"] for member in service["nodes"])
    for seen in local.values():
        found.update(seen["nodes"])
    return tuple(sorted(found))


def _threads(node: str, nodes: tuple[str, ...], paths: Sequence[Answer]) -> list[Row]:
    """A sender and a listener for each line of a node in ``monitor``; ``hb#1`` is the first of every node."""
    place: dict[str, int] = {}
    rows: dict[str, tuple[list[str], str, dict[str, str]]] = {}
    for path in paths:
        number = place[path["node"]] = place.get(path["node"], 0) + 1
        name = f"hb#{number}.{'tx' if path['role'] == 'sender' else 'rx'}"
        states, address, cells = rows.get(name, ([], _address(path), {}))
        states.append("running" if path["pid"] else "stopped")
        cells[path["node"]] = "/" if path["node"] == node else ("O" if path["up"] else "X")
        rows[name] = (states, address, cells)
    found = []
    for name in sorted(rows, key=lambda name: (int(name[3:-3]), name)):
        states, address, cells = rows[name]
        state = "running" if all(each == "running" for each in states) else "stopped"
        shown = {**cells, node: "/"}
        found.append(Row(name, state, address, tuple(shown.get(each, "") for each in nodes)))
    return found


def _address(path: Answer) -> str:
    if path["medium"] in ("dio", "disk"):
        return f"{path['device']}:{path['offset']}"
    return f"{path['address']}:{path['port']}"


def _standing(node: str, each: str, peers: dict[str, Answer], status: Answer | None) -> str:
    """Nothing where all is well, as in the tutorial."""
    if each == node or status is None:
        return ""
    peer = peers.get(each)
    if peer is None:
        return "?"
    return "left" if peer["left"] else "" if peer["heard"] else "silent"


def _services(node: str, nodes: tuple[str, ...], status: Answer | None, local: dict[str, dict[str, Any]]) -> list[Row]:
    engine = {service["name"]: service for service in status["services"]} if status else {}
    rows = []
    for name in sorted({*engine, *local}):
        seen = local.get(name, {"overall": "", "avail": "undef", "nodes": []})
        states = {member["node"]: member["state"] for member in engine.get(name, {}).get("nodes", ())}
        order = [member["node"] for member in engine[name]["nodes"]] if name in engine else seen["nodes"]
        cells = []
        for each in nodes:
            if each not in order:
                cell = "/"
            elif each in states:
                cell = _ENGINE.get(states[each], "?")
            else:
                cell = _CELLS.get(State(seen["avail"]), "?") if each == node else "?"
            cells.append(cell + ("^" if order and each == order[0] else ""))
        rows.append(Row(name, seen["overall"], "cluster" if name in engine else "", tuple(cells)))
    return rows


def text_of(shown: Screen, colour: bool = False) -> str:
    """The three blocks, in the tutorial's layout, without a newline at the end."""
    rows = (*shown.threads, *shown.machines, *shown.services)
    widths = [max((len(getattr(row, part)) for row in rows), default=0) for part in ("name", "state", "place")]
    cells = [max(len(node), *(len(row.cells[i]) for row in rows if row.cells)) for i, node in enumerate(shown.nodes)]
    left = 1 + sum(widths) + sum(1 for width in widths[1:] if width)
    lines: list[str] = []
    for title, block in (("Threads", shown.threads), ("Nodes", shown.machines), ("Services", shown.services)):
        if lines:
            lines.append("")
        lines.append(_joined(f"{title:{left + 3}}", shown.nodes, cells, False))
        for row in block:
            parts = zip((row.name, row.state, row.place), widths, strict=True)
            head = f"{' ' + ' '.join(f'{text:{width}}' for text, width in parts if width):{left}}"
            lines.append(_joined(f"{head} | ", row.cells, cells, colour) if row.cells else head.rstrip())
    return "\n".join(lines)


def _joined(head: str, texts: Sequence[str], widths: Sequence[int], colour: bool) -> str:
    padded = [f"{text:{width}}" for text, width in zip(texts, widths, strict=True)]
    line = (head + " ".join(padded)).rstrip()
    if not colour:
        return line
    painted = [_paint(text) + " " * (width - len(text)) for text, width in zip(texts, widths, strict=True)]
    return (head + " ".join(painted)).rstrip()


def _paint(text: str) -> str:
    state = _PAINTED.get(text[:1])
    return f"\x1b[{COLOURS[state]}m{text}\x1b[0m" if state else text


if __name__ == "__main__":
    sys.exit(main())
