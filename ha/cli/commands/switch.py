"""``ezha switch``: an orderly move of a service to another node."""

from collections.abc import Sequence

from ha.cli.act import act, operator
from ha.cli.options import Parser
from ha.cli.place import layout


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where the other node has it, else 1."""
    parser = Parser("ezha switch", "Give a service up here, so that another node takes it.")
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("node", metavar="NODE", nargs="?", default="", help="who is to take it (default: the next one)")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the outcome")
    parser.add_argument("--i-know", action="store_true", help="override what protects against a mistake; is logged")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON")
    options = parser.parse_args(argv)
    return act(
        layout(),
        "switch",
        options.service,
        by=operator("ezha switch"),
        wait=not options.no_wait,
        override=options.i_know,
        target=options.node,
        as_json=options.json,
    )
