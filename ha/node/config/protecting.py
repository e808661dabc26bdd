"""What protects a service from running twice, and what ends this node when its lease is over (docs/safety.md).

The keys ``protection`` (of a service, or for all), ``self_fence``, ``fence_command``, ``watchdog``, ``split_brain``,
``accept_unfenced`` and ``realtime`` of options.toml, and whether they go together with the other files. What follows
from them is the engine's matter, and ``ha.node.guarding``'s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ha.fsm.config import ClusterConfig, ServiceConfig
from ha.fsm.lease import timing_of
from ha.fsm.states import Promise
from ha.node.config.problems import Report
from ha.node.config.values import Check, boolean, command, kind_of

PROTECTIONS: Final = ("none", "disk", "stonith", "etcd", "disk+stonith", "etcd+stonith")
SELF_FENCES: Final = {"reboot": Promise.REBOOT, "command": Promise.COMMAND, "stop": Promise.STOP}
REPORT: Final = "report"
STOP_LOWEST_RANK: Final = "stop-lowest-rank"


@dataclass(frozen=True, slots=True)
class Protecting:
    """Of the node as a whole. ``protection`` of a service is in ``ServiceTuning``."""

    self_fence: str = "reboot"
    """``reboot``, ``command`` or ``stop``: what is done at the hard deadline, where the emergency stop did not do."""
    fence_command: tuple[str, ...] = ()
    watchdog: str = ""
    """The device; empty: none."""
    split_brain: str = REPORT
    """``report`` or ``stop-lowest-rank``: what is done where two nodes run one service after all."""
    accept_unfenced: bool = False
    realtime: bool = True
    """nmond and its workers run before everything that has no real-time priority."""


def _choice(*known: str) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            what = f"is {value[:40]!r}" if isinstance(value, str) else f"is {kind_of(value)}"
            raise ValueError(f"{what}; give one of {', '.join(known)}")
        return value

    return check


def _protection(value: object) -> str:
    """``disk+stonith`` and ``["stonith", "disk"]`` mean the same; an empty one: what the paths allow."""
    if value == "":
        return ""
    words = value.split("+") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"is {kind_of(value)}; give one of {', '.join(PROTECTIONS)}")
    text = "+".join(sorted(word.strip() for word in words))
    if text not in PROTECTIONS:
        raise ValueError(f"{text[:40]!r} is none that there is; give one of {', '.join(PROTECTIONS)}")
    return text


def _device(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'is {kind_of(value)}; give a device in quotes, as "/dev/watchdog"')
    if value and not (value.startswith("/") and value.isprintable() and len(value) <= 255):
        raise ValueError(f'is {value[:80]!r}; give an absolute path, as "/dev/watchdog"')
    return value


PROTECTING: Final[dict[str, Check]] = {
    "self_fence": _choice(*SELF_FENCES),
    "fence_command": command,
    "watchdog": _device,
    "split_brain": _choice(REPORT, STOP_LOWEST_RANK),
    "accept_unfenced": boolean,
    "realtime": boolean,
}
"""Keys of the node."""
PROTECTION: Final[dict[str, Check]] = {"protection": _protection}
"""Keys of a service."""


def with_protection(cluster: ClusterConfig, wanted: Mapping[str, str], options: Protecting) -> ClusterConfig:
    """``cluster`` with the protection of each service: what is wanted (by service), else what its paths allow."""
    services = {
        name: replace(service, protection=wanted.get(name, "") or default_protection(cluster, service))
        for name, service in cluster.services.items()
    }
    return replace(
        cluster,
        services=services,
        self_fence=SELF_FENCES[options.self_fence],
        accept_unfenced=options.accept_unfenced,
        stop_lowest_rank=options.split_brain == STOP_LOWEST_RANK,
    )


def default_protection(cluster: ClusterConfig, service: ServiceConfig) -> str:
    """``disk`` where every node of the service has a disk path, else ``none``."""
    return "none" if lacking(cluster, service) else "disk"


def lacking(cluster: ClusterConfig, service: ServiceConfig) -> str:
    """Why no lease on a disk can cover the service; empty: one can."""
    for node in service.nodes:
        if cluster.is_original(node):
            return f"{node} is an original OpenHA node, which keeps no lease"
        if not any(path.device for path in cluster.paths_of(node)):
            return f"conf/monitor has no dio or disk path of {node}"
    return ""


LineOf = Callable[[tuple[str, ...]], int]
"""The line of a key in options.toml, by its whole path; 0 where it does not stand there."""


def check_protection(
    cluster: ClusterConfig, options: Protecting, arbiter: bool, report: Report, file: str, line_of: LineOf
) -> None:
    """Whether it all goes together. ``arbiter``: there is an etcd."""
    for name, service in cluster.services.items():
        line = line_of(("service", name, "protection")) or line_of(("protection",))
        if service.on_disk and (why := lacking(cluster, service)):
            text = f'protection "{service.protection}" of {name}: {why}; add the path, or choose another protection'
            report.problem(file, line, text)
        if service.by_etcd and not arbiter:
            text = f'protection "{service.protection}" of {name} needs a table [etcd] that says where the arbiter is'
            report.problem(file, line, text)
        timing = timing_of(cluster, service)
        if service.leased and timing.slack < 0:
            text = f"with T = {timing.timeout:g} s nothing is left between the end of a node and a takeover of {name}"
            report.problem(file, line, f"{text}; give longer timeouts in conf/monitor")
        if service.leased and options.watchdog and not timing.watchdog:
            text = f"a watchdog counts whole seconds, and T = {timing.timeout:g} s of {name} leaves it less than one"
            report.problem(file, line_of(("watchdog",)), f"{text}; give timeouts of 2.5 s or more, or no watchdog")
    if options.self_fence == "command" and not options.fence_command:
        report.problem(file, line_of(("self_fence",)), 'self_fence is "command": say which, with fence_command')
    if options.fence_command and options.self_fence != "command":
        text = f'fence_command changes nothing: self_fence is "{options.self_fence}"'
        report.warn(file, line_of(("fence_command",)), text)


# ------------------------------------------------------------------------------------------------ for people


_LAST: Final = {"reboot": "this machine is rebooted", "command": "fence_command runs", "stop": "nothing more is done"}


def timelines(cluster: ClusterConfig, options: Protecting, node: str) -> list[str]:
    """What happens on ``node`` when its lease is not renewed any more, for each T that its leases have."""
    told = []
    leased = [s for s in cluster.services.values() if s.leased and node in s.nodes]
    for timing in sorted({timing_of(cluster, s) for s in leased}, key=lambda t: t.timeout):
        hungry = f", the watchdog ({timing.watchdog} s) is fed no more" if options.watchdog else ""
        told += [
            f"lease for T = {timing.timeout:g} s: after the last heartbeat that was confirmed,",
            f"  {timing.lease:g} s: it lapses{hungry}: emergency stop",
            f"  {timing.hard:g} s: what is not stopped by now: {_LAST[options.self_fence]}",
            f"  {timing.ended:g} s: nothing runs here any more",
            f"  {timing.timeout:g} s: another node may start it ({timing.slack:.3g} s to spare)",
        ]
    return told


def unprotected(cluster: ClusterConfig) -> list[str]:
    """Services that nothing protects from running on two nodes which lose sight of each other."""
    return [name for name, service in cluster.services.items() if service.protection == "none"]


def single_disk(cluster: ClusterConfig) -> dict[str, list[str]]:
    """By disk: services whose lease rests on that one alone, so that nobody runs them when it is lost while the peer
    is off."""
    found: dict[str, list[str]] = {}
    for name, service in cluster.services.items():
        devices = {path.device for node in service.nodes for path in cluster.paths_of(node) if path.device}
        if service.on_disk and not service.by_fencing and len(devices) == 1:
            found.setdefault(devices.pop(), []).append(name)
    return found
