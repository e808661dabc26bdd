"""``ezha ps``: the processes of ezha on this node. Asks /proc, not nmond, so that it also works when nmond hangs."""

import json
import os
from collections.abc import Sequence

from ha.cli.guard import EXIT_FAILED, CliError, complain, say
from ha.cli.options import Parser
from ha.cli.place import layout
from ha.cli.processes import processes


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where nmond is among them, else 1."""
    parser = Parser("ezha ps", "The processes of ezha on this node.")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(argv)
    if os.geteuid() != 0:
        raise CliError("only root sees the processes of ezha")
    found = processes(layout().bin)
    alive = any(process.program == "nmond" for process in found)
    if options.json:
        say(json.dumps([{"pid": p.pid, "ppid": p.parent, "title": p.title} for p in found], indent=2))
        return 0 if alive else EXIT_FAILED
    if found:
        say(f"{'PID':>7} {'PPID':>7} COMMAND")
    for process in found:
        say(f"{process.pid:>7} {process.parent:>7} {process.title}")
    if not alive:
        complain("ezha ps: nmond is not running on this node")
        return EXIT_FAILED
    return 0
