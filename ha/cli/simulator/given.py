"""What a user gives to ``ezha sim``: a folder of configuration, a scenario file, numbers."""

import os
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import replace

from ha.cli.guard import CliError, complain
from ha.cli.place import layout
from ha.node.config import ConfigError, Texts, load_texts, parse
from ha.node.config.whole import read_any
from ha.node.layout import Layout
from ha.simulation import scenario
from ha.simulation.guard import GuardKind, guarding
from ha.simulation.mix import SECONDS, draw_plan
from ha.simulation.plan import Plan, PlanError
from ha.simulation.promises import FULL, Cover
from ha.simulation.settings import Setting

MAX_SCENARIO = 16 * 1024 * 1024
MAX_HOURS = 24.0 * 366


class Told(CliError):
    """What is wrong with configuration: a line for each problem, as ``ezha check`` tells it."""

    def __init__(self, error: ConfigError) -> None:
        super().__init__("the configuration is not valid:\n" + "\n".join(str(problem) for problem in error.problems))


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """A type for ``add_argument``: a number in ``lowest`` … ``highest``."""

    def parse_number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not lowest <= value <= highest:
            raise ArgumentTypeError(f"{text} is not a number from {lowest:g} to {highest:g}")
        return value

    return parse_number


def own(folder: str | None) -> dict[str, Texts] | None:
    """The configuration in ``folder``, by node; None where none was named. Raises CliError."""
    if folder is None:
        return None
    if not os.path.isdir(folder):
        raise CliError(f"{folder}: no such folder; --conf wants one that holds nodes, monitor and services")
    clean = folder.rstrip("/") or "/"
    place = Layout("/", {"EZ_CONF": os.path.abspath(folder)})
    try:
        texts = load_texts(place, read_any)
        texts = replace(texts, names={kind: f"{clean}/{os.path.basename(n)}" for kind, n in texts.names.items()})
        return _checked(texts)
    except ConfigError as error:
        raise Told(error) from None


def installed() -> tuple[dict[str, Texts], str] | None:
    """The configuration of this installation, and what it is called; None where there is none. Raises CliError."""
    place = layout()
    if not os.path.exists(place.nodes):
        return None
    try:
        return _checked(load_texts(place)), place.conf
    except ConfigError as error:
        raise Told(error) from None


def _checked(texts: Texts) -> dict[str, Texts]:
    given = scenario.everywhere(texts)
    first = next(iter(given))
    configuration = parse(texts, first)
    for warning in configuration.warnings:
        complain(f"warning: {warning}")
    return given


def setting(text: str | None) -> Setting | None:
    """Raises CliError."""
    try:
        return None if text is None else Setting.parse(text)
    except PlanError as error:
        raise CliError(str(error)) from None


def drawn(
    seed: int,
    hours: float | None,
    rules: str,
    given: dict[str, Texts] | None,
    made: Setting | None,
    mix: str = FULL,
) -> Plan:
    """The plan of a seed, for the user's configuration, a setting, or whatever the seed draws."""
    seconds = SECONDS if hours is None else hours * 3600.0
    if given is None:
        return draw_plan(seed, seconds, rules=rules, setting=made, mix=mix)
    cluster = scenario.cluster_of(given)
    timeout = max((cluster.timeout_of(node) for node in cluster.nodes), default=10.0)
    services = tuple(cluster.services)
    if not services:
        raise CliError("the configuration has no service: there is nothing to simulate")
    first = next(iter(given))
    how = guarding(parse(given[first], first), first)
    cover = Cover(any(s.leased for s in cluster.services.values()), how.kind is GuardKind.WATCHDOG)
    nodes = tuple(cluster.nodes)
    return draw_plan(seed, seconds, rules=rules, nodes=nodes, services=services, timeout=timeout, mix=mix, cover=cover)


def scenario_file(path: str, given: dict[str, Texts] | None) -> Plan:
    """Raises CliError."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_SCENARIO + 1)
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CliError(f"{path}: not a scenario: it is not UTF-8") from None
    if len(text) > MAX_SCENARIO:
        raise CliError(f"{path}: larger than {MAX_SCENARIO} bytes; this is no scenario")
    try:
        return scenario.read(text, given, path)
    except PlanError as error:
        raise CliError(str(error)) from None


def save(path: str, text: str) -> None:
    """Raises CliError."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CliError(f"{path}: cannot be written: {error.strerror}") from None
