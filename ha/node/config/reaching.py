"""For ``ezha check``: whether the fence agents and the etcd that options.toml names are there and as it says.

Runs the agents (for their metadata) and asks each endpoint once: nothing that nmond does when it reads the files. And
what follows from these tables, for people.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ha.fsm.lease import timing_of
from ha.node.arbiter.arithmetic import request_timeout, ttl
from ha.node.config.etcd import EtcdOptions
from ha.node.config.fencing import FenceMethod, method_for
from ha.node.config.problems import Report
from ha.node.trust import distrust

if TYPE_CHECKING:
    from ha.node.config.whole import Configuration

TIMEOUT_S: Final = 2.0
_ENVIRON: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
ScriptTrouble = Callable[[str], str]


def check_fences(
    fences: dict[str, tuple[FenceMethod, int]], script_trouble: ScriptTrouble, report: Report, file: str
) -> None:
    """``fences``: by node, with the line of its table."""
    from ha.node.fencing import metadata  # runs programs, and costs start-up time
    from ha.node.fencing.agent import find

    for node, (method, line) in fences.items():
        path = find(method.agent) if method.agent else method.command[0]
        trouble = script_trouble(path) or _distrust(path)
        if trouble:
            what = f"agent {method.agent}" if method.agent else "command"
            advice = "; the agents are in the package fence-agents" if method.agent and not os.path.exists(path) else ""
            report.problem(file, line, f'[fence."{node}"]: {what}: {path} {trouble}{advice}')
            continue
        if not method.agent:
            continue
        try:
            problems, warnings = metadata.objections(method, metadata.ask(method.agent, _ENVIRON))
        except (ValueError, OSError) as error:
            problems, warnings = [f"{method.agent} {error}"], []
        for text in problems:
            report.problem(file, line, f'[fence."{node}"]: {text}')
        for text in warnings:
            report.warn(file, line, f'[fence."{node}"]: {text}')


def _distrust(path: str) -> str:
    try:
        return distrust(path)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"


def check_etcd(options: EtcdOptions, line: int, report: Report, file: str) -> None:
    """One that does not answer now is a warning; two clusters are a problem."""
    from ha.node.arbiter.gateway import Gateway, tls_context

    for key, path in (("password_file", options.password_file), ("key", options.key)):
        try:
            trouble = distrust(path, secret=True) if path else ""
        except OSError as error:
            trouble = f"cannot be read: {error.strerror}"
        if trouble:
            report.problem(file, line, f"[etcd]: {key} {path} {trouble}")
            return
    if any(endpoint.tls for endpoint in options.endpoints):
        try:
            tls_context(options)
        except OSError as error:
            text = f"[etcd]: cacert, cert or key cannot be used: {error.strerror or error}"
            report.problem(file, line, text)
            return
    for endpoint in options.endpoints:
        if not endpoint.tls and not endpoint.host.startswith("127.") and endpoint.host not in ("::1", "localhost"):
            text = f"[etcd]: {endpoint} is not encrypted: whoever reaches the network can give services away"
            report.warn(file, line, f"{text}; use https://")
        if not _is_address(endpoint.host):
            text = f"[etcd]: {endpoint} is a name: looking it up may take longer than a lease"
            report.warn(file, line, f"{text}; give the address, or have the name in /etc/hosts")
    gateway = Gateway(options, TIMEOUT_S)
    try:
        found = gateway.identify()
    finally:
        gateway.close()
    clusters = {cluster for cluster in found.values() if isinstance(cluster, int)}
    for endpoint, said in found.items():
        if isinstance(said, str):
            report.warn(file, line, f"[etcd]: {endpoint} {said}")
        elif len(clusters) > 1:
            text = f"[etcd]: {endpoint} belongs to the etcd cluster {said:x}"
            report.problem(file, line, f"{text}, others do not; name the endpoints of one cluster")


def _is_address(host: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def fence_figures(configuration: "Configuration", node: str) -> list[str]:
    """How the node is fenced, and who waits before that."""
    cluster = configuration.cluster
    method = method_for(node, configuration.options.fences, cluster)
    if method is None:
        return []
    verified = ", verified by its status" if method.agent and method.action == "off" and method.verify else ""
    behind = cluster.nodes[cluster.nodes.index(node) + 1 :]
    waits = f"; {', '.join(behind)} waits {method.delay:g} s before" if behind and method.delay else ""
    return [f"fenced by {method.program}: {method.action}{verified}, within {method.timeout:g} s{waits}"]


def etcd_figures(configuration: "Configuration") -> list[str]:
    """The times of the keys, for each T that services with an arbiter have."""
    cluster, options = configuration.cluster, configuration.options.etcd
    if options is None:
        return []
    timings = {timing_of(cluster, service) for service in cluster.services.values() if service.by_etcd}
    period = max(cluster.period_of(node) for node in cluster.nodes)
    count = len(options.endpoints)
    return [
        f"etcd (T = {timing.timeout:g} s): a key goes {ttl(timing)} s after its last renewal, which is sent every "
        f"{period:g} s; one attempt at one of {count} endpoint(s) takes at most "
        f"{request_timeout(timing, period, count):.3g} s"
        for timing in sorted(timings, key=lambda timing: timing.timeout)
    ]
