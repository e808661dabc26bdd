"""``ezha confirm-down``: an operator states that a node is off, where nothing else can prove it."""

from collections.abc import Sequence

from ha.cli.act import operator
from ha.cli.client import ask, converse
from ha.cli.guard import CliError, say
from ha.cli.options import Parser
from ha.cli.place import layout
from ha.cli.typed import typed


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where this node counts the other one as down from now on, else 1."""
    parser = Parser("ezha confirm-down", "State that a node is off, so that its services may be started elsewhere.")
    parser.add_argument("node", metavar="NODE")
    node = parser.parse_args(argv).node
    where = layout()
    status = ask(where, {"op": "status"})
    peers = {str(peer["node"]): peer for peer in status.get("peers", [])}
    if node not in peers:
        known = ", ".join(peers) or "there is none"
        raise CliError(f"{node} is not another node of this cluster ({known})")
    if peers[node]["heard"] and not peers[node]["left"]:
        raise CliError(f"{node} is heard at this moment: it is not down")
    typed(
        node,
        f"{node} will count as down until it is heard again, and what it ran is started elsewhere. If it still runs "
        "anything, two nodes will, and data is lost. Be sure that its power is off.",
    )
    typed(
        node,
        f"Once more: its power is off, was seen to be off, and nobody switches it on again before {node} is repaired.",
    )
    request = {"op": "confirm-down", "node": node, "by": operator("ezha confirm-down")}
    final = next((answer for answer in converse(where, request) if answer.get("final")), None)
    if final is None:
        raise CliError("nmond closed the connection before it had answered")
    results = final.get("results") or [{"ok": False, "text": final.get("text", "nmond refuses, and gives no reason")}]
    if not results[0].get("ok"):
        raise CliError(str(results[0].get("text")))
    say(str(results[0].get("text")))
    return 0
