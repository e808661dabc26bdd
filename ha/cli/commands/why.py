"""``ezha why``: the last transitions of a service as sentences. Reads the history file: works without nmond."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from ha.cli.client import ask
from ha.cli.guard import CliError, complain, say
from ha.cli.options import Parser, integer
from ha.cli.place import layout
from ha.node.history import MAX_TAIL, sentences, tail
from ha.node.layout import Layout
from ha.node.names import name_trouble

_LAST = 10


def _waits(place: Layout, service: str) -> str:
    """Why nothing happens to the service at present, where nmond is there to say so."""
    try:
        services = ask(place, {"op": "status"})["services"]
    except CliError:
        return ""
    found = next((each for each in services if each["name"] == service), None)
    return f"{found['state']}: {found['waits']}" if found and found.get("waits") else ""


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where there is something to tell, else 1."""
    parser = Parser("ezha why", "Tell what happened to a service: when, decided by whom, on what evidence.")
    parser.add_argument("service", metavar="SERVICE", nargs="?", default="", help="default: all, and the node itself")
    parser.add_argument("--last", metavar="N", type=integer(1, MAX_TAIL), default=_LAST, help=f"default: {_LAST}")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(argv)
    if options.service and (trouble := name_trouble(options.service)):
        raise CliError(f"{options.service!r} {trouble}")
    place = layout()
    try:
        told = tail(place.history, options.service, options.last)
    except OSError as error:
        raise CliError(f"{place.history} cannot be read: {error.strerror}") from None
    if told.skipped:
        lines = "1 line" if told.skipped == 1 else f"{told.skipped} lines"
        complain(f"ezha why: passed over {lines} of {place.history} that say nothing")
    if options.json:
        say(json.dumps([asdict(entry) for entry in told.entries], indent=2))
    elif told.entries:
        say("\n".join(sentences(told.entries)))
        if options.service and (now := _waits(place, options.service)):
            say(f"now: {now}")
    if not told.entries:
        what = f"of service {options.service}" if options.service else "yet"
        raise CliError(f"nothing is told {what} in {place.history}")
    return 0
