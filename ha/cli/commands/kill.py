"""``ezha kill``: ends ezha on this node at once. Services run on; to the other nodes this one falls silent."""

from collections.abc import Sequence

from ha.cli.ending import kill_node
from ha.cli.guard import complain
from ha.cli.options import Parser
from ha.cli.place import layout


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where nothing of ezha runs any more."""
    Parser("ezha kill", "End ezha on this node at once; services run on.").parse_args(argv)
    if not kill_node(layout()):
        complain("ezha kill: ezha does not run on this node")
    return 0
