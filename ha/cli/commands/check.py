"""``ezha check``: all configuration validated, told with file and line, and the figures that follow from it."""

from collections.abc import Sequence

from ha.cli.guard import EXIT_FAILED, complain, say
from ha.cli.options import Parser
from ha.cli.place import layout
from ha.node.config import ConfigError, load
from ha.node.config.checking import check
from ha.node.layout import node_name


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where nothing is wrong (warnings may be told), else 1."""
    parser = Parser("ezha check", "Validate the configuration of this node and show what follows from it.")
    parser.add_argument(
        "--syntax", action="store_true", help="only what nmond would refuse: the files, not the scripts and devices"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(argv)
    if options.syntax:
        try:
            load(layout(), node_name())
        except ConfigError as error:
            complain("\n".join(str(problem) for problem in error.problems))
            return EXIT_FAILED
        return 0
    found = check(layout(), node_name())
    if options.json:
        import json
        from dataclasses import asdict

        say(json.dumps(asdict(found), indent=2))
        return EXIT_FAILED if found.problems else 0
    for problem in found.problems:
        complain(f"error: {problem}")
    for warning in found.warnings:
        complain(f"warning: {warning}")
    if found.figures:
        say("\n".join(found.figures))
    if found.problems:
        complain(f"ezha check: {len(found.problems)} problem(s), {len(found.warnings)} warning(s)")
        return EXIT_FAILED
    return 0
