"""A service's file, read and checked: which resources it has on a node, each with typed values.

Everything is checked before anything is done: what is wrong is told with file, section and line, and nothing is
guessed. Drivers declare their keys (``Resource.keys``); the keys of ``[DEFAULT]`` are declared here.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ha.services.context import Paths
from ha.services.errors import ServiceError
from ha.services.ini import MAX_BYTES, Entry, Ini, Problem, Section
from ha.services.keys import Key, Kind, Values
from ha.services.registry import driver
from ha.services.resource import COMMON_KEYS, Resource

DEFAULT = "DEFAULT"
SUFFIXES = (".env", ".conf")
"""Of a service's file; the first is OpenSVC's older one, and the tutorial's."""
MAX_RESOURCES = 256
SERVICE_KEYS = (
    Key("app", doc="name of the application, for people"),
    Key("service_type", doc="what the service is for: PRD, TST, DEV, …", default="TST"),
    Key("env", doc="the newer name of service_type"),
    Key("comment", doc="whatever people should know"),
    Key("nodes", Kind.WORDS, "nodes where the service may run, the preferred one first", scopable=False),
    Key("drpnode", doc="the preferred node of the recovery site", scopable=False),
    Key("drpnodes", Kind.WORDS, "nodes of the recovery site", scopable=False),
    Key("autostart_node", Kind.WORDS, "nodes where boot starts the service, unless a clusterware does", scopable=False),
    Key(
        "monitor_action",
        doc="what is done where a monitored resource fails and cannot be restarted",
        choices=("none", "freezestop", "failover", "reboot", "crash"),
        default="none",
    ),
    Key("monitor_interval", Kind.SECONDS, "time between two looks at the monitored resources", default=10.0),
    Key("failovers_per_hour", Kind.INTEGER, "how often in an hour monitor_action may be taken", default=2),
)
_GROUP_SCOPES = ("nodes", "drpnodes")
_RID = re.compile(r"([a-z][a-z0-9]*)(?:#([A-Za-z0-9_-]{1,32}))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
"""A node's name: it becomes part of the names of files, and an argument of ssh."""
_TAKEN = (".cluster", ".stonith", ".d", ".dir", *SUFFIXES)


class ConfigError(ServiceError):
    """A service's file cannot be used. ``problems`` tells each thing that is wrong with it."""

    def __init__(self, path: str, problems: Iterable[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.told(path) for problem in self.problems))


def check_name(name: str) -> str:
    """``name``, where a service can have it. Raises ServiceError: it becomes the name of files."""
    if not _NAME.fullmatch(name):
        raise ServiceError(f"{name[:140]!r} cannot be the name of a service: letters, digits and . _ -, at most 128")
    for ending in _TAKEN:
        if name.endswith(ending):
            raise ServiceError(
                f"{name} cannot be the name of a service: {ending} is the ending of a service's own files"
            )
    return name


def service_names(paths: Paths) -> list[str]:
    """All services that have a file on this node, sorted."""
    try:
        names = os.listdir(paths.etc)
    except FileNotFoundError:
        return []
    found = set()
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        if dot + suffix in SUFFIXES and name != "node.conf" and _NAME.fullmatch(stem) and not stem.endswith(_TAKEN):
            found.add(stem)
    return sorted(found)


def find(paths: Paths, name: str) -> str:
    """The path of a service's file. Raises ServiceError where there is none, or two."""
    check_name(name)
    found = [path for suffix in SUFFIXES if os.path.lexists(path := f"{paths.etc}/{name}{suffix}")]
    if not found:
        wanted = " or ".join(name + suffix for suffix in SUFFIXES)
        raise ServiceError(
            f"there is no service {name}: {paths.etc} holds no {wanted}; svcmgr -s {name} create makes one"
        )
    if len(found) > 1:
        raise ServiceError(f"{found[0]} and {found[1]} both describe the service {name}: remove one of them")
    return found[0]


def read(path: str) -> Ini:
    """The file, as text in sections. Raises ServiceError where it cannot be read or is not safe to follow as root."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            data = file.read(MAX_BYTES + 1) if stat.S_ISREG(found.st_mode) else b""
    except OSError as error:
        raise ServiceError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise ServiceError(f"{path} is not a regular file")
    if found.st_uid not in (0, os.geteuid()):
        raise ServiceError(f"{path} belongs to uid {found.st_uid}; what it says is done as root: chown root {path}")
    if found.st_mode & 0o022:
        raise ServiceError(
            f"{path} can be written by others than its owner; what it says is done as root: chmod go-w {path}"
        )
    if len(data) > MAX_BYTES:
        raise ServiceError(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        return Ini(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, [Problem(line, "", "is not UTF-8; retype the line")]) from None


def node_name(nodes: Iterable[str], host: str) -> str:
    """How ``nodes`` write the name of ``host`` (``uname -n``): as it is, or without its domain; else as it is."""
    short = host.partition(".")[0]
    known = set(nodes)
    return short if host not in known and short in known else host


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """A service as it is on one node."""

    name: str
    path: str
    node: str
    nodes: tuple[str, ...]
    drpnodes: tuple[str, ...]
    values: Values
    """Of ``[DEFAULT]``."""
    resources: tuple[Resource, ...]
    """In the order of the file, implicit ones last."""

    @property
    def everywhere(self) -> tuple[str, ...]:
        """``nodes``, then ``drpnodes``."""
        return tuple(dict.fromkeys((*self.nodes, *self.drpnodes)))


def load(paths: Paths, name: str, host: str) -> ServiceConfig:
    """The service ``name`` as it is on ``host``. Raises ServiceError, ConfigError."""
    path = find(paths, name)
    return interpret(read(path), path, name, host, launchers=os.path.lexists(f"{paths.etc}/{name}.d"))


def interpret(ini: Ini, path: str, name: str, host: str, launchers: bool = True) -> ServiceConfig:
    """``ini`` as it is on ``host``. ``launchers``: there is an ``S.d``. Raises ConfigError with all that is wrong."""
    problems = list(ini.problems)
    section = ini.sections.get(DEFAULT) or Section(DEFAULT, 0)
    plain = _typed(section, SERVICE_KEYS, _Scopes("", (), ()), False, [])
    nodes, drpnodes = plain.words("nodes") or (host,), plain.words("drpnodes")
    if plain.text("drpnode"):
        drpnodes = tuple(dict.fromkeys((plain.text("drpnode"), *drpnodes)))
    node = node_name((*nodes, *drpnodes), host)
    scopes = _Scopes(node, nodes, drpnodes)
    values = _typed(section, SERVICE_KEYS, scopes, False, problems)
    for entry in section.entries:
        if entry.name.lower() in ("nodes", "drpnode", "drpnodes"):
            wrong = [word for word in re.split(r"[\s,]+", entry.value) if word and not _NODE.fullmatch(word)]
            text = "cannot be the name of a node: names are separated by blanks or commas"
            problems += [Problem(entry.line, DEFAULT, f"{entry.name}: {word!r} {text}") for word in wrong]
        if entry.name.lower() == "autostart_node":
            strange = [word for word in values.words("autostart_node") if word not in nodes]
            problems += [Problem(entry.line, DEFAULT, f"autostart_node {word} is not one of nodes") for word in strange]
    resources = list(_resources(ini, scopes, problems))
    if len(resources) > MAX_RESOURCES:
        problems.append(Problem(0, "", f"has {len(resources)} resources; a service takes at most {MAX_RESOURCES}"))
    if not problems:
        resources += _implicit(ini, resources, len({*nodes, *drpnodes}), launchers)
        return ServiceConfig(name, path, node, nodes, drpnodes, values, tuple(resources))
    raise ConfigError(path, sorted(problems, key=lambda problem: problem.line))


def validate(ini: Ini, path: str, name: str) -> list[Problem]:
    """All that is wrong on any node of the service, in the order of lines."""
    section = ini.sections.get(DEFAULT) or Section(DEFAULT, 0)
    plain = _typed(section, SERVICE_KEYS, _Scopes("", (), ()), False, [])
    hosts = (*plain.words("nodes"), plain.text("drpnode"), *plain.words("drpnodes"))
    found: set[Problem] = set()
    for host in {host for host in hosts if host} or {""}:
        try:
            interpret(ini, path, name, host)
        except ConfigError as error:
            found.update(error.problems)
    return sorted(found, key=lambda problem: (problem.line, problem.section, problem.text))


@dataclass(frozen=True, slots=True)
class _Scopes:
    """What ``@…`` means on a node."""

    node: str
    nodes: tuple[str, ...]
    drpnodes: tuple[str, ...]

    def rank(self, scope: str) -> int:
        """How well a scope fits this node: higher wins, negative does not fit."""
        if not scope:
            return 0
        if scope == self.node:
            return 2
        if (scope == "nodes" and self.node in self.nodes) or (scope == "drpnodes" and self.node in self.drpnodes):
            return 1
        return -1

    def knows(self, scope: str) -> bool:
        return scope in _GROUP_SCOPES or scope in self.nodes or scope in self.drpnodes


def _typed(
    section: Section, keys: tuple[Key, ...], scopes: _Scopes, open_keys: bool, problems: list[Problem]
) -> Values:
    """The values of a section on a node. What is wrong is added to ``problems``."""
    known = {key.name: key for key in keys}  # a driver's own declaration stands after the common one, and wins
    typed: dict[str, Any] = {key.name: key.default for key in known.values() if key.default is not None}
    extra: dict[str, str] = {}
    ranks: dict[str, int] = {}
    wrong_keys: set[str] = set()
    for entry in section.entries:
        name = entry.name if entry.name in known else entry.name.lower()
        key = known.get(name)
        if wrong := _misplaced(entry, key, scopes, known, open_keys):
            problems.append(Problem(entry.line, section.name, wrong))
            continue
        try:
            value: Any = key.parse(entry.value) if key else entry.value
        except ValueError as error:
            problems.append(Problem(entry.line, section.name, f"{entry.key}: {error}"))
            wrong_keys.add(name)
            continue
        rank = scopes.rank(entry.scope)
        if rank >= ranks.get(name, 0) and rank >= 0:
            ranks[name] = rank
            if key:
                typed[name] = value
            else:
                extra[entry.name] = entry.value
    for key in known.values():
        if key.required and typed.get(key.name) is None and key.name not in wrong_keys:
            elsewhere = any(entry.name.lower() == key.name for entry in section.entries)
            where = f" on {scopes.node}" if elsewhere else ""
            text = f"{key.name} is missing{where}: {key.doc}"
            problems.append(Problem(section.line, section.name, text, incomplete=True))
    return Values(typed, extra)


def _misplaced(entry: Entry, key: Key | None, scopes: _Scopes, known: dict[str, Key], open_keys: bool) -> str:
    """Why the key cannot stand there, or empty."""
    if key is None and not open_keys:
        from difflib import get_close_matches

        like = get_close_matches(entry.name.lower(), known, 1)
        hint = f"is it {like[0]}?" if like else f"there are: {', '.join(sorted(known))}"
        return f"{entry.name} is not a key of this section; {hint}"
    if entry.scope and key is not None and not key.scopable:
        return f"{entry.key}: {key.name} is the same on all nodes, and takes no @"
    if entry.scope and scopes.nodes and not scopes.knows(entry.scope):
        return f"{entry.key}: {entry.scope} is not a node of this service; give one, or nodes or drpnodes"
    return ""


def _resources(ini: Ini, scopes: _Scopes, problems: list[Problem]) -> Iterator[Resource]:
    for section in ini.sections.values():
        if section.name == DEFAULT:
            continue
        match = _RID.fullmatch(section.name)
        if not match:
            text = "is not the name of a resource: write a kind and a number, such as fs#0"
            problems.append(Problem(section.line, section.name, text))
            continue
        kind = _effective(section, "type", scopes)
        try:
            cls = driver(match[1], kind)
        except ServiceError as error:
            entry = section.find("type")
            problems.append(Problem(entry.line if entry else section.line, section.name, str(error)))
            continue
        if not match[2] and match[1] not in ("app", "sync"):
            text = f"a resource of this kind has a number: write {match[1]}#0"
            problems.append(Problem(section.line, section.name, text))
            continue
        before = len(problems)
        values = _typed(section, (*COMMON_KEYS, *cls.keys), scopes, cls.open_keys, problems)
        if len(problems) > before:
            continue
        resource = cls(section.name, values)
        for name, text in resource.problems():
            found = section.find(name, scopes.node) or section.find(name)
            problems.append(Problem(found.line if found else section.line, section.name, f"{name} {text}", not found))
        yield resource


def _effective(section: Section, name: str, scopes: _Scopes) -> str:
    """The text of a key on this node, before its kind is known."""
    fitting = [entry for entry in section.entries if entry.name.lower() == name and scopes.rank(entry.scope) >= 0]
    return max(fitting, key=lambda entry: scopes.rank(entry.scope)).value if fitting else ""


def _implicit(ini: Ini, there: list[Resource], nodes: int, launchers: bool) -> Iterator[Resource]:
    """What a service has without a section: its launchers in ``S.d``, and the copy of its files on other nodes."""
    rids = {resource.rid for resource in there}
    groups = {resource.group for resource in there}
    if "app" not in rids and (launchers or "app" not in groups):
        yield _bare("app", "app")
    if "sync#i0" not in rids and nodes > 1:
        yield _bare("sync", "sync#i0")


def _bare(group: str, rid: str) -> Resource:
    cls = driver(group, "")
    keys = {key.name: key for key in (*COMMON_KEYS, *cls.keys)}
    return cls(rid, Values({key.name: key.default for key in keys.values() if key.default is not None}))
