"""Whether the paths that speak as OpenHA does (``wire = "openha"``) can carry what the configuration wants of them.

The original knows pairs of nodes, whole seconds, IPv4 and fields of fixed size. It knows nothing of ezha's messages, so
a node speaks one of the two languages on all of its lines, and all nodes of a service speak the same.
"""

from collections.abc import Sequence

from ha.fsm.config import OPENHA, OWN_WIRE, ClusterConfig
from ha.heartbeats import openha
from ha.node.config.monitor import NumberedPath
from ha.node.config.problems import Report

MIN_TIMEOUT = 2
"""Seconds, the least that OpenHA takes (spec: OpenHA, "Configuration files")."""
FEW_BEATS = 4
"""Seconds of which three messages may be lost."""


def check_wires(
    cluster: ClusterConfig, paths: Sequence[NumberedPath], report: Report, monitor: str, services: str
) -> None:
    """Reports what an original node could not understand, and what would be silence to one of two.

    ``monitor``, ``services``: the files as messages name them."""
    first: dict[str, NumberedPath] = {}
    for numbered in paths:
        path = numbered.path
        other = first.setdefault(path.node, numbered)
        if other.path.wire != path.wire:
            text = f"{path.label} has wire {path.wire}, {other.path.label} (line {other.number}) has {other.path.wire}"
            report.problem(monitor, numbered.number, f"{text}; give all lines of {path.node} the same in options.toml")
        if path.is_openha:
            _check_path(numbered, report, monitor)
    _check_services(cluster, report, services)


def _check_path(numbered: NumberedPath, report: Report, file: str) -> None:
    path = numbered.path
    if path.timeout != int(path.timeout) or path.timeout < MIN_TIMEOUT:
        text = f"timeout {path.timeout:g}: OpenHA takes whole seconds from {MIN_TIMEOUT} on"
        report.problem(file, numbered.number, f"{text}; give the same on both nodes")
    elif path.timeout < FEW_BEATS:
        text = (
            f"timeout {path.timeout:g}: OpenHA sends once a second, so that one or two lost messages make a path DOWN"
        )
        report.warn(file, numbered.number, f"{text}; give {FEW_BEATS} s or more")
    if ":" in path.address:
        text = f"address {path.address}: OpenHA knows IPv4 only"
        report.problem(file, numbered.number, f"{text}; give an IPv4 address")


def _check_services(cluster: ClusterConfig, report: Report, file: str) -> None:
    count = dict.fromkeys(cluster.nodes, 0)
    for service in cluster.services.values():
        wires = {node: OPENHA if cluster.is_original(node) else OWN_WIRE for node in service.nodes}
        if OPENHA not in wires.values():
            continue
        for node in service.nodes:
            count[node] += 1
        if len(set(wires.values())) > 1:
            told = ", ".join(f"{node} {wire}" for node, wire in wires.items())
            text = f"the nodes of service {service.name} do not speak the same wire ({told})"
            report.problem(file, 0, f"{text}; give their lines the same in options.toml")
        if len(service.nodes) != 2:
            text = f"service {service.name} has {len(service.nodes)} nodes, OpenHA knows pairs"
            report.problem(file, 0, f'{text}; give it two until no path has wire = "{OPENHA}" any more')
        if service.by_etcd:
            text = f'protection "{service.protection}" of {service.name}: OpenHA\'s node asks no arbiter'
            report.problem(file, 0, f'{text}; choose none or stonith until no path has wire = "{OPENHA}" any more')
        if len(service.name) > openha.MAX_SERVICE_NAME:
            text = f"the name of service {service.name} has {len(service.name)} characters"
            report.problem(file, 0, f"{text}; OpenHA's messages hold {openha.MAX_SERVICE_NAME}")
    for node, services in count.items():
        if services > openha.MAX_SERVICES:
            text = f"{node} has {services} services, a message of OpenHA's names at most {openha.MAX_SERVICES}"
            report.problem(file, 0, f"{text}; take some out until both nodes run ezha")
