"""``ezha fence``: an operator fences a node, or tries whether it works. nmond need not run."""

import os
from collections.abc import Sequence

from ha.cli.act import operator
from ha.cli.guard import EXIT_FAILED, CliError, complain, say
from ha.cli.options import Parser
from ha.cli.place import layout
from ha.cli.typed import typed
from ha.node.config import ConfigError, load
from ha.node.config.fencing import method_for
from ha.node.fencing.agent import fence
from ha.node.layout import node_name
from ha.node.log import Log, LogFile, Syslog
from ha.node.runner import PATH


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where the node was fenced, else 1."""
    parser = Parser("ezha fence", "Fence another node now: its services, and all else that runs on it, end.")
    parser.add_argument("node", metavar="NODE")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(argv)
    where, own, node = layout(), node_name(), options.node
    try:
        configuration = load(where, own)
    except ConfigError as error:
        raise CliError("\n".join(str(problem) for problem in error.problems)) from None
    if node == own:
        raise CliError(f"{node} is this node; a node does not fence itself: use reboot, or ezha switch before it")
    if node not in configuration.cluster.nodes:
        raise CliError(f"{node} is no node of this cluster ({', '.join(configuration.cluster.nodes)})")
    method = method_for(node, configuration.options.fences, configuration.cluster)
    if method is None:
        raise CliError(f'nothing says how {node} is fenced: give [fence."{node}"] in {where.show(where.options)}')
    if not options.yes:
        typed(node, f"{node} is going to lose its power or be reset ({method.program}, {method.action}).")
    environ = {key: os.environ[key] for key in os.environ if key.startswith("EZ")}
    outcome = fence(method, node, {**environ, "PATH": PATH, "HOME": "/", "LANG": "C.UTF-8", "EZ_NODE": own})
    by = operator("ezha fence")
    log = Log(LogFile(f"{where.log}/nmond.log"), Syslog(configuration.options.facility))
    told = f"fencing of {node}, asked for by {by}: {'done' if outcome.ok else 'failed'}: {outcome.text}"
    (log.notice if outcome.ok else log.error)(told)
    for line in outcome.output:
        complain(f"    {line}")
    if not outcome.ok:
        complain(f"ezha fence: {node} was not fenced: {outcome.text}")
        return EXIT_FAILED
    say(f"{node} was fenced: {outcome.text}")
    return 0
