"""The file ``nodes``: a node name a line (spec: OpenHA, "Configuration files")."""

from ha.fsm.identity import node_id
from ha.node.config.lines import counted, good_name, read_lines
from ha.node.config.problems import Report

MAX_NODES = 16


def parse_nodes(text: str, report: Report, file: str = "conf/nodes") -> tuple[str, ...]:
    """The names in their order. What is wrong goes to ``report``, and is left out of the answer."""
    nodes: list[str] = []
    first_line: dict[str, int] = {}
    ids: dict[int, str] = {}
    lines = read_lines(text, file, report, MAX_NODES)
    for line in lines:
        name = line.words[0]
        if len(line.words) > 1:
            report.problem(
                file, line.number, f"{counted(len(line.words), 'word')}; give one node name (uname -n) a line"
            )
            continue
        if not good_name(name, "node", line, file, report):
            continue
        if name in first_line:
            report.problem(file, line.number, f"node {name} stands already on line {first_line[name]}; remove one")
            continue
        other = ids.setdefault(node_id(name), name)
        if other != name:
            report.problem(file, line.number, f"node {name} has the same short id as node {other}; rename one of them")
            continue
        first_line[name] = line.number
        nodes.append(name)
    if not lines:
        report.problem(file, 0, "names no node; give the name (uname -n) of each node, one a line")
    return tuple(nodes)


def check_own_name(node: str, nodes: tuple[str, ...], report: Report, file: str = "conf/nodes") -> None:
    """The node that reads the file must stand in it, or it would never send."""
    if node in nodes:
        return
    alike = [n for n in nodes if n.partition(".")[0].lower() == node.partition(".")[0].lower()]
    hint = f"; {alike[0]} is, which differs from it" if alike else ""
    report.problem(
        file, 0, f"this node, {node} (uname -n), is not listed{hint}; write the names as uname -n prints them"
    )
