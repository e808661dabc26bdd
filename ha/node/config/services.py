"""The file ``services``: ``NAME SCRIPT PRIMARY SECONDARY CHECK_SCRIPT`` a line (spec: OpenHA, "Configuration files").

SECONDARY may be a list with commas, in the order in which the nodes take over.
"""

from collections.abc import Sequence

from ha.fsm.config import ServiceConfig
from ha.node.config.lines import Line, counted, good_name, read_lines
from ha.node.config.options import Options
from ha.node.config.problems import Report

MAX_SERVICES = 1000
FORM = "NAME SCRIPT PRIMARY SECONDARY CHECK_SCRIPT"


def parse_services(
    text: str, nodes: Sequence[str], options: Options, report: Report, file: str = "conf/services"
) -> dict[str, ServiceConfig]:
    """The services in the order of the file. What is wrong goes to ``report``, and is left out of the answer."""
    services: dict[str, ServiceConfig] = {}
    first_line: dict[str, int] = {}
    ids: dict[int, str] = {}
    for line in read_lines(text, file, report, MAX_SERVICES):
        service = _parse_line(line, nodes, options, report, file)
        if service is None:
            continue
        if service.name in first_line:
            where = first_line[service.name]
            report.problem(file, line.number, f"service {service.name} stands already on line {where}; remove one")
            continue
        other = ids.setdefault(service.id, service.name)
        if other != service.name:
            text_ = f"service {service.name} has the same short id as service {other}; rename one of them"
            report.problem(file, line.number, text_)
            continue
        first_line[service.name] = line.number
        services[service.name] = service
    return services


def _parse_line(line: Line, nodes: Sequence[str], options: Options, report: Report, file: str) -> ServiceConfig | None:
    if len(line.words) != 5:
        report.problem(file, line.number, f"{counted(len(line.words), 'word')} instead of 5; the form is {FORM}")
        return None
    name, script, primary, secondary, check = line.words
    good = good_name(name, "service", line, file, report)
    for what, path in (("script", script), ("check script", check)):
        if not path.startswith("/"):
            report.problem(file, line.number, f"{what} {path} is not an absolute path; give one that begins with /")
            good = False
    order = (primary, *secondary.split(","))
    if not _good_order(order, nodes, line, report, file):
        good = False
    if not good:
        return None
    tuning = options.service(name)
    return ServiceConfig(
        name=name,
        script=script,
        nodes=order,
        check_script=check,
        start_timeout=tuning.start_timeout,
        stop_timeout=tuning.stop_timeout,
        status_timeout=tuning.status_timeout,
        check_timeout=tuning.check_timeout,
        kill_grace=tuning.kill_grace,
        status_up=tuning.status_up,
        status_down=tuning.status_down,
    )


def _good_order(order: tuple[str, ...], nodes: Sequence[str], line: Line, report: Report, file: str) -> bool:
    good = True
    for place, node in enumerate(order):
        role = "primary" if place == 0 else "secondary"
        if not node:
            report.problem(file, line.number, f"a {role} node is empty; separate the nodes with single commas")
            good = False
        elif "," in node:
            report.problem(file, line.number, f"primary {node} is a list; give one node, the others are secondaries")
            good = False
        elif node not in nodes:
            listed = ", ".join(nodes) or "none"
            report.problem(file, line.number, f"{role} node {node} is not in the file nodes (there: {listed})")
            good = False
        elif node in order[:place]:
            report.problem(file, line.number, f"node {node} is named twice; name each node of the service once")
            good = False
    return good
