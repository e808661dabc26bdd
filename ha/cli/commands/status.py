"""``ezha status``: the node, its services and its heartbeat paths on one screen."""

import json
import sys
import time
from collections.abc import Sequence

from ha.cli.client import Answer, ask
from ha.cli.guard import say
from ha.cli.options import Parser
from ha.cli.place import layout
from ha.cli.tables import authentication_text

Cell = tuple[str, str]
"""A text and the style in which a terminal shows it."""

STYLES = {
    "STARTED": "bold green",
    "FROZEN_START": "green",
    "STOPPED": "default",
    "FROZEN_STOP": "cyan",
    "START_READY": "yellow",
    "STARTING": "yellow",
    "STOPPING": "yellow",
    "START_FAILED": "bold red",
    "STOP_FAILED": "bold red",
    "UNKNOWN": "magenta",
}


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where nmond answers."""
    parser = Parser("ezha status", "The node, its services and heartbeat paths.")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(argv)
    place = layout()
    status, paths = ask(place, {"op": "status"}), ask(place, {"op": "paths"})
    authentication = str(paths.get("authentication", "unauthenticated"))
    if options.json:
        whole = {key: value for key, value in status.items() if key not in ("final", "ok")}
        say(json.dumps({**whole, "authentication": authentication, "paths": paths["paths"]}, indent=2))
        return 0
    head = "\n".join(head_lines(status, authentication))
    services, heartbeats = service_rows(status["services"], time.time()), path_rows(paths["paths"], time.time())
    if sys.stdout.isatty():
        _show_rich(head, services, heartbeats)
    else:
        say("\n\n".join([head, plain(services), plain(heartbeats)]))
    return 0


def head_lines(status: Answer, authentication: str) -> list[str]:
    """The node in a line, and below it what an operator must know before anything else."""
    lines = [f"node {status['node']}, nmond pid {status['pid']}, {authentication_text(authentication)}"]
    if status.get("trouble"):
        lines.append(f"NOTHING IS STARTED OR STOPPED: the state of record cannot be written ({status['trouble']})")
    if status.get("leaving"):
        lines.append("this node leaves the cluster")
    lines += [f"{peer['node']} left the cluster" for peer in status.get("peers", []) if peer.get("left")]
    return lines


def service_rows(services: Sequence[Answer], now: float) -> list[list[Cell]]:
    """A head line, then a line a service: its name, its state on each node, since when, and the last decision."""
    rows: list[list[Cell]] = [[("SERVICE", "bold"), ("STATES", "bold"), ("SINCE", "bold"), ("LAST DECISION", "bold")]]
    for service in services:
        states = [f"{member['node']} {member['state']}" for member in service["nodes"]]
        worst = max((member["state"] for member in service["nodes"]), key=_weight, default="UNKNOWN")
        since = service.get("since")
        rows.append(
            [
                (service["name"], "default"),
                (", ".join(states), STYLES.get(worst, "default")),
                (_ago(now - since) if since else "", "default"),
                (str(service.get("reason") or ""), "default"),
            ]
        )
    return rows


def _weight(state: str) -> int:
    """What of several states decides the colour of the line: a failure before anything, a run before a rest."""
    order = ("STOPPED", "FROZEN_STOP", "UNKNOWN", "FROZEN_START", "STARTED")
    if state.endswith("_FAILED"):
        return 100
    return order.index(state) if state in order else 50


def path_rows(paths: Sequence[Answer], now: float) -> list[list[Cell]]:
    """A head line, then a line a path: whose, which, its state, when it was last updated, what is wrong."""
    rows: list[list[Cell]] = [
        [("PATH OF", "bold"), ("MEDIUM", "bold"), ("WHERE", "bold"), ("STATE", "bold"), ("UPDATED", "bold"), ("", "")]
    ]
    for path in paths:
        up = bool(path["up"])
        wrong = [path["trouble"]] if path.get("trouble") else []
        wrong += [f"{count} refused ({why})" for why, count in sorted(path.get("refused", {}).items())]
        updated = path.get("updated")
        rows.append(
            [
                (f"{path['node']} ({path['role']})", "default"),
                (path["medium"], "default"),
                (path["label"], "default"),
                ("UP" if up else "DOWN", "green" if up else "bold red"),
                (_ago(now - updated) if updated else "never", "default"),
                ("; ".join(wrong), "yellow"),
            ]
        )
    return rows


def _ago(seconds: float) -> str:
    """Coarse, for eyes: ``0.4 s``, ``12 s``, ``3 min``, ``2 h``, ``5 d`` ago."""
    seconds = max(0.0, seconds)
    if seconds < 2:
        return f"{seconds:.1f} s ago"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def plain(rows: Sequence[Sequence[Cell]]) -> str:
    """Columns two blanks apart, nothing at the ends of lines."""
    widths = [max(len(row[column][0]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [text.ljust(width) for (text, _), width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _show_rich(head: str, *tables: Sequence[Sequence[Cell]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(head, style="bold"))
    for rows in tables:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(Text(text, style=style) for text, style in row))
        console.print()
        console.print(table)
