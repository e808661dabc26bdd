"""The tables ``[fence."NODE"]`` of options.toml: how a node is fenced (docs/fencing.md).

Names follow what administrators know from ``pcs stonith`` and the agents of ClusterLabs. How a fencing is carried out
is ``ha.node.fencing``'s matter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ha.fsm.config import ClusterConfig
from ha.node.config.problems import Report
from ha.node.config.values import Check, boolean, command, kind_of, seconds

MAX_PARAMETERS: Final = 64
MAX_VALUE: Final = 1024
"""Characters of a parameter's value. All of them together fit into the pipe that an agent reads them from."""
ACTIONS: Final = ("off", "reboot")
STONITH_SUFFIX: Final = ".stonith"
"""OpenSVC's convention: a check script of this name is the service's fence command."""
_SECRET: Final = re.compile(r"passw|secret|token|community|(api|private)_?key|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FenceMethod:
    """How one node is fenced: by an agent with parameters, or by a command."""

    agent: str = ""
    """``fence_ipmilan``, or an absolute path; empty: ``command`` counts."""
    command: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """For the agent's standard input."""
    action: str = "off"
    """``off`` or ``reboot``."""
    timeout: float = 60.0
    """Seconds that one call of the agent or command may take."""
    delay: float = 5.0
    """Seconds for which a node that stands behind this one in ``nodes`` waits before it fences it."""
    verify: bool = True
    """After ``off`` the agent is asked for the status, and must say that the node is off."""

    @property
    def program(self) -> str:
        return self.agent or self.command[0]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that nobody is shown."""
        return tuple(value for name, value in self.parameters if value and _SECRET.search(name))


def _agent(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'is {kind_of(value)}; give the name of an agent in quotes, as "fence_ipmilan"')
    if not re.fullmatch(r"fence_[A-Za-z0-9_-]{1,60}|/[^\0\n]{1,1000}", value):
        raise ValueError(f'is {value[:80]!r}; give the name of an agent, as "fence_ipmilan", or its absolute path')
    return value


def _action(value: object) -> str:
    if value not in ACTIONS:
        raise ValueError(f'is {value!r:.40}; give "off" or "reboot"')
    return str(value)


def _parameters(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError(f'is {kind_of(value)}; write [fence."NODE".parameters] above them')
    if len(value) > MAX_PARAMETERS:
        raise ValueError(f"are {len(value)}; give at most {MAX_PARAMETERS}")
    return tuple((name, _parameter(name, inner)) for name, inner in value.items())


def _parameter(name: str, value: object) -> str:
    """As fence-agents read it from a line ``name=value``, of which they strip blanks at both ends."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
        raise ValueError(f"have the name {name[:80]!r}; give names as the agent's `-o metadata` lists them")
    if name in ("action", "option"):
        raise ValueError(f"hold {name}; set the key action of the table instead")
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"hold {name}, which is {kind_of(value)}; give a string, a number, true or false")
    if len(value) > MAX_VALUE or not value.isprintable():
        raise ValueError(f"hold {name}, which is longer than {MAX_VALUE} characters, or has a control character")
    if value != value.strip():
        raise ValueError(f"hold {name}, which begins or ends with a blank; agents do not see that: take it out")
    return value


FENCE: Final[Mapping[str, Check]] = {
    "agent": _agent,
    "command": command,
    "parameters": _parameters,
    "action": _action,
    "timeout": seconds(1, 600),
    "delay": seconds(0, 60),
    "verify": boolean,
}


def make_fence(values: Mapping[str, Any]) -> FenceMethod:
    """From checked values. Raises ValueError, with a whole sentence, where they do not go together."""
    if bool(values.get("agent")) == bool(values.get("command")):
        raise ValueError("give either agent or command, and not both")
    if values.get("command"):
        for key in ("parameters", "verify"):
            if key in values:
                raise ValueError(f"{key} is for an agent; a command has its arguments, and its exit code")
    return FenceMethod(**values)


def method_for(node: str, fences: Mapping[str, FenceMethod], cluster: ClusterConfig) -> FenceMethod | None:
    """How ``node`` is fenced: its own table, else OpenSVC's convention, else None.

    The convention: the check script of a service of that node with ``protection = "stonith"`` is called
    ``SERVICE.stonith``, and is the command.
    """
    if node in fences:
        return fences[node]
    for service in cluster.services.values():
        if node in service.nodes and service.by_fencing and service.check_script.endswith(STONITH_SUFFIX):
            return FenceMethod(command=(service.check_script,))
    return None


def check_fencing(
    cluster: ClusterConfig, fences: Mapping[str, FenceMethod], node: str, report: Report, file: str
) -> None:
    """Reports the nodes that ``node`` may have to fence, where nothing says how."""
    needed: dict[str, str] = {}
    for service in cluster.services.values():
        if service.by_fencing and node in service.nodes:
            needed |= {other: service.name for other in service.nodes if other != node}
    for other, service_name in needed.items():
        if method_for(other, fences, cluster) is None:
            text = f'protection "{cluster.services[service_name].protection}" of {service_name} needs to fence {other}'
            report.problem(file, 0, f'{text}; say how in a table [fence."{other}"]')
