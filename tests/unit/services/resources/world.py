"""What drivers are tried with here: a real runner and real folders, but no namespaces, devices or mounts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ha.services.context import Context, Paths
from ha.services.runner import Runner
from ha.services.state import State
from tests.lab import actor

make = actor.make
"""``make("fs#0", {"type": "ext3", …})``: the driver of a section. Raises ValueError where it has a problem."""


def paths(folder: Path) -> Paths:
    return Paths(*(f"{folder}/{name}" for name in ("etc", "var", "run", "tmp", "log")))


def context(folder: Path, lines: list[str] | None = None, env: dict[str, str] | None = None, **changes: Any) -> Context:
    """On node1 of node1 and node2; everything else of the service is up."""
    said: list[str] = [] if lines is None else lines
    made = replace(actor.context({}, said), paths=paths(folder), runner=Runner(env), **changes)
    return made if "group_state" in changes else replace(made, group_state=lambda groups: State.UP)
