"""A scenario file with the cluster that it is about: drawn settings stand in the file, a user's own files do not.

It reads no file: texts in, a plan out.
"""

from collections.abc import Mapping

from ha.fsm.config import ClusterConfig
from ha.node.config import ConfigError, Texts, parse
from ha.node.config.nodes import parse_nodes
from ha.node.config.problems import Report
from ha.simulation.history import texts_of
from ha.simulation.plan import Plan, PlanError, parse_plan

OWN = "own"
"""What stands for the setting where the configuration is the user's."""


def everywhere(texts: Texts) -> dict[str, Texts]:
    """The same files on every node that they name. Raises ConfigError."""
    report = Report()
    nodes = parse_nodes(texts.nodes, report, texts.names["nodes"])
    if report.problems:
        raise ConfigError(report.problems)
    for node in nodes:
        parse(texts, node)
    return dict.fromkeys(nodes, texts)


def cluster_of(given: Mapping[str, Texts]) -> ClusterConfig:
    """What the files say. Raises ConfigError."""
    first = next(iter(given))
    return parse(given[first], first).cluster


def read(text: str, own: Mapping[str, Texts] | None, name: str) -> Plan:
    """The plan of a scenario file. Raises PlanError."""
    setting = _setting(text)
    if setting == OWN and own is None:
        raise PlanError(f"{name}: it was made for a configuration of its own: give that with --conf DIR")
    if setting != OWN and own is not None:
        raise PlanError(f"{name}: it brings its own cluster (setting {setting}), so --conf does not go with it")
    try:
        given = texts_of(Plan("0", 0.0, setting=setting), own)
    except PlanError as error:
        raise PlanError(f"{name}: {error}") from None
    cluster = cluster_of(given)
    return parse_plan(text, cluster.nodes, cluster.services, name)


def _setting(text: str) -> str:
    for line in text.splitlines():
        word, _, value = line.partition("#")[0].strip().partition(" ")
        if word == "setting":
            return value.strip()
    return Plan("0", 0.0).setting
