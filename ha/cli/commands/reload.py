"""``ezha reload``: nmond reads its configuration anew, or refuses it whole and keeps what it has."""

from collections.abc import Sequence

from ha.cli.client import converse
from ha.cli.guard import EXIT_FAILED, CliError, complain, say
from ha.cli.options import Parser
from ha.cli.place import layout

RELOAD_TIMEOUT_S = 30.0


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where the new configuration is in force, else 1 with the reasons."""
    Parser("ezha reload", "Make nmond read its configuration anew.").parse_args(argv)
    for answer in converse(layout(), {"op": "reload"}, RELOAD_TIMEOUT_S):
        if not answer.get("final"):
            continue
        for problem in answer.get("errors", []):
            complain(str(problem))
        text = str(answer.get("text", ""))
        if answer.get("ok"):
            if text:
                say(text)
            return 0
        complain(f"ezha reload: {text or 'refused'}")
        return EXIT_FAILED
    raise CliError("nmond closed the connection before it had answered")
