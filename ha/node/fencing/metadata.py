"""What an agent says of itself (``-o metadata``), and whether a fence method agrees with it: for ``ezha check``.

The form is the Fence Agent API's, XML. It runs the agent, so nothing that must be quick may ask for it.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ha.node.config.fencing import FenceMethod
from ha.node.fencing.agent import find

TIMEOUT_S: Final = 10.0
LARGEST: Final = 1 << 20
"""Bytes of XML that are looked at."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an agent understands."""

    parameters: frozenset[str]
    required: tuple[frozenset[str], ...]
    """Of each set one name must be given: the present one and those that it replaces."""
    actions: frozenset[str]


def ask(agent: str, environ: Mapping[str, str]) -> Metadata:
    """Run the agent. Raises ValueError with words that follow its name, or OSError."""
    import subprocess

    try:
        done = subprocess.run(
            (find(agent), "-o", "metadata"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(environ),
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"does not tell what it understands (-o metadata) within {TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        raise ValueError(f"does not tell what it understands: -o metadata ended with exit code {done.returncode}")
    return parse(done.stdout)


def parse(text: bytes) -> Metadata:
    """Raises ValueError where it is not what an agent says."""
    if len(text) > LARGEST:
        raise ValueError(f"says more than {LARGEST} bytes of itself")
    try:
        # An agent runs as root with our passwords: its XML is no more dangerous than itself.
        root = ElementTree.fromstring(text)  # noqa: S314
    except ElementTree.ParseError as error:
        raise ValueError(f"says something of itself that is not XML: {error}") from None
    names: set[str] = set()
    required: list[frozenset[str]] = []
    for parameter in root.iterfind("parameters/parameter"):
        name = parameter.get("name", "")
        old = set(filter(None, parameter.get("obsoletes", "").split(",")))
        names |= {name, *old}
        if parameter.get("required") == "1" and parameter.get("deprecated") != "1" and name not in ("action", "option"):
            required.append(frozenset({name, *old}))
    actions = frozenset(action.get("name", "") for action in root.iterfind("actions/action"))
    if not actions:
        raise ValueError("names no actions; is it a fence agent?")
    return Metadata(frozenset(names), tuple(required), actions)


def objections(method: FenceMethod, metadata: Metadata) -> tuple[list[str], list[str]]:
    """What makes the method unusable, and what is probably not meant."""
    problems = []
    given = {name for name, _ in method.parameters}
    unknown = sorted(given - metadata.parameters)
    if unknown:
        problems.append(
            f"{method.agent} knows no parameter {', '.join(unknown)}; {method.agent} -o metadata lists what it knows"
        )
    if method.action not in metadata.actions:
        problems.append(f"{method.agent} has no action {method.action}; it has {', '.join(sorted(metadata.actions))}")
    if method.action == "off" and method.verify and "status" not in metadata.actions:
        problems.append(f"{method.agent} has no action status, so it cannot be verified: set verify = false")
    warnings = [
        f"{method.agent} wants the parameter {' or '.join(sorted(names))}, which is not given"
        for names in metadata.required
        if not names & given
    ]
    return problems, warnings
