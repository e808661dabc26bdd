"""The configuration as a whole: five files and two variables in, one ``Configuration`` out, or all that is wrong.

``parse`` is pure, for the simulator and the tests; ``load`` reads the files of a node.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ha.fsm.config import ClusterConfig
from ha.heartbeats.keys import NO_KEYS, KeyRing
from ha.heartbeats.path import PathLine
from ha.node.config.environment import VARIABLES, defaults
from ha.node.config.facility import parse_facility
from ha.node.config.fencing import check_fencing
from ha.node.config.keyring import load_keys
from ha.node.config.monitor import NumberedPath, parse_monitor
from ha.node.config.nodes import check_own_name, parse_nodes
from ha.node.config.options import Options, parse_options
from ha.node.config.problems import ConfigError, Problem, Report
from ha.node.config.protecting import check_protection, with_protection
from ha.node.config.services import parse_services
from ha.node.config.sizes import check_sizes
from ha.node.config.wires import check_wires
from ha.node.files import read_regular
from ha.node.layout import Layout
from ha.node.trust import DistrustError, require_trust

MAX_FILE = 1024 * 1024
"""Bytes of any of the files."""

KINDS = ("nodes", "monitor", "services", "options", "logfacility")
_OPTIONAL = frozenset(("options", "logfacility"))
_ADVICE = {
    "nodes": "write the name (uname -n) of each node, one a line",
    "monitor": "write a heartbeat path a line, or use hb -a",
    "services": "create it empty, or use service -a",
}

Read = Callable[[str, int], bytes]
"""``read(path, limit)`` returns at most limit + 1 bytes. Raises OSError."""


def _default_names() -> dict[str, str]:
    return {kind: f"conf/{'options.toml' if kind == 'options' else kind}" for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Texts:
    """What stands in the files, and what messages call them."""

    nodes: str
    monitor: str
    services: str = ""
    options: str = ""
    logfacility: str = ""
    names: Mapping[str, str] = field(default_factory=_default_names)
    """By kind ("nodes", "monitor", "services", "options", "logfacility")."""
    private: bool = True
    """Nobody but its owner can read options.toml."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """OpenHA's variables (``ha.node.config.environment``), as far as they are set."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that a node was told, valid as a whole."""

    cluster: ClusterConfig
    lines: tuple[PathLine, ...]
    """In the order of ``monitor``."""
    options: Options
    warnings: tuple[Problem, ...] = ()
    keys: KeyRing = NO_KEYS


def parse(texts: Texts, node: str) -> Configuration:
    """The configuration of ``node``. Raises ConfigError with everything that is wrong."""
    report = Report()
    configuration = _parse(texts, node, report)
    if report.problems:
        raise ConfigError(report.problems)
    return configuration


def load(layout: Layout, node: str, read: Read | None = None) -> Configuration:
    """The configuration in the files of ``layout``, its keys too. Raises ConfigError with everything that is wrong."""
    configuration = parse(load_texts(layout, read), node)
    return replace(configuration, keys=load_keys(layout))


def load_texts(layout: Layout, read: Read | None = None) -> Texts:
    """The files of ``layout``, and the variables of this process, not looked into further.

    Raises ConfigError where a file cannot be read."""
    report = Report()
    paths = {kind: path_of(layout, kind) for kind in KINDS}
    names = {kind: layout.show(path) for kind, path in paths.items()}
    found = {kind: _text(paths[kind], kind, names[kind], read or read_file, report) for kind in KINDS}
    if report.problems:
        raise ConfigError(report.problems)
    environ = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    private = read is not None or _private(paths["options"])
    return Texts(names=names, environ=environ, private=private, **found)


def _private(path: str) -> bool:
    try:
        return not os.stat(path).st_mode & 0o077
    except OSError:
        return True  # Whoever cannot read it now has read it before, or told that it cannot be.


def path_of(layout: Layout, kind: str) -> str:
    """Where the file of this kind stands. Raises KeyError for a kind that is not in ``KINDS``."""
    return {
        "nodes": layout.nodes,
        "monitor": layout.monitor,
        "services": layout.services,
        "options": layout.options,
        "logfacility": layout.logfacility,
    }[kind]


def read_file(path: str, limit: int) -> bytes:
    """``Read`` on this machine. A symbolic link is followed: configuration may be kept elsewhere.

    Raises DistrustError, an OSError, where others than root may write the file.
    """
    require_trust(path)
    return read_any(path, limit)


def read_any(path: str, limit: int) -> bytes:
    """As ``read_file``, for files that nothing on this machine is ruled by: whoever may write them."""
    return read_regular(path, limit, follow=True)


def _text(path: str, kind: str, name: str, read: Read, report: Report) -> str:
    try:
        data = read(path, MAX_FILE)
    except FileNotFoundError:
        if kind not in _OPTIONAL:
            report.problem(name, 0, f"does not exist; {_ADVICE[kind]}")
        return ""
    except DistrustError as error:
        report.problem(name, 0, str(error.strerror))
        return ""
    except OSError as error:
        report.problem(name, 0, f"cannot be read: {error.strerror or error}")
        return ""
    if len(data) > MAX_FILE:
        report.problem(name, 0, f"is larger than {MAX_FILE} bytes; this is no configuration of ezha")
        return ""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.problem(name, line, f"byte {data[error.start]:#04x} is not UTF-8; write the file in UTF-8")
        return ""


def _parse(texts: Texts, node: str, report: Report) -> Configuration:
    names = texts.names
    options = parse_options(texts.options, report, names["options"], defaults(texts.environ, report))
    options = replace(options, facility=parse_facility(texts.logfacility, report, names["logfacility"]))
    nodes = parse_nodes(texts.nodes, report, names["nodes"])
    if nodes:
        check_own_name(node, nodes, report, names["nodes"])
    paths = parse_monitor(texts.monitor, nodes, options, report, names["monitor"])
    services = parse_services(texts.services, nodes, options, report, names["services"])
    lines = tuple(p.path for p in paths)
    cluster = ClusterConfig(
        options.cluster, nodes, tuple(line.config() for line in lines), services, options.talk_delay
    )
    wanted = {name: options.service(name).protection for name in services}
    cluster = with_protection(cluster, wanted, options.protecting)
    if not report.problems:  # Half a configuration has no sizes worth a word.
        check_protection(
            cluster, options.protecting, options.etcd is not None, report, names["options"], options.line_of
        )
        check_fencing(cluster, options.fences, node, report, names["options"])
        check_sizes(cluster, paths, report, names["monitor"], names["services"])
        check_wires(cluster, paths, report, names["monitor"], names["services"])
    _warn_of_strangers(options, cluster, paths, report, names["options"])
    if options.secret and not texts.private:
        text = f"{options.secret} holds a password, and others than its owner may read the file"
        report.problem(names["options"], 0, f"{text}; chmod 600 it")
    return Configuration(cluster, lines, options, report.warnings)


def _warn_of_strangers(
    options: Options, cluster: ClusterConfig, paths: tuple[NumberedPath, ...], report: Report, file: str
) -> None:
    """A table for a service or path that is not there: left over, or a slip of the pen."""
    for name in options.services:
        if name not in cluster.services:
            report.warn(file, 0, f'[service."{name}"] changes nothing: the file services has no such service')
    for node in options.fences:
        if node not in cluster.nodes:
            report.warn(file, 0, f'[fence."{node}"] changes nothing: the file nodes has no such node')
    media = {p.path.label: p.path.medium for p in paths}
    for label, tuning in options.paths.items():
        if label not in media:
            report.warn(file, 0, f'[path."{label}"] changes nothing: the file monitor has no such path')
        elif media[label] != "net" and tuning.ttl != options.default_path.ttl:
            report.warn(file, 0, f'[path."{label}"] has a ttl, which counts for net only')
        elif media[label] in ("net", "unicast") and tuning.slot != options.default_path.slot:
            report.warn(file, 0, f'[path."{label}"] has a slot, which counts for dio and disk only')
