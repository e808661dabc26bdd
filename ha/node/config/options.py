"""The file ``options.toml``: what OpenHA's files have no place for (docs/configuration.md, "options.toml").

Every key is optional. An unknown key, a wrong type or a value out of range is refused, with its line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ha.fsm.config import OPENHA, OWN_WIRE
from ha.node.config.etcd import ETCD, EtcdOptions, make_etcd
from ha.node.config.fencing import FENCE, FenceMethod, make_fence
from ha.node.config.problems import Report
from ha.node.config.protecting import PROTECTING, PROTECTION, Protecting
from ha.node.config.values import Check, boolean, command, integer, kind_of, seconds
from ha.node.names import name_trouble

if TYPE_CHECKING:
    from ha.node.config.toml_lines import KeyLines

LOG_LEVELS = ("error", "warning", "info", "debug")
MAX_SLOT_BLOCKS = 128
"""64 KiB, what a path worker reads at once."""
MAX_TALK_DELAY_S = 300.0


@dataclass(frozen=True, slots=True)
class ServiceTuning:
    """How the scripts of a service are run. Times in seconds."""

    start_timeout: float = 300.0
    stop_timeout: float = 300.0
    status_timeout: float = 10.0
    check_timeout: float = 60.0
    kill_grace: float = 5.0
    status_up: tuple[int, ...] = (0,)
    status_down: tuple[int, ...] = (3,)
    protection: str = ""
    """What protects it from running twice; empty: what its paths allow."""


@dataclass(frozen=True, slots=True)
class PathTuning:
    """What a heartbeat path does beside its line in ``monitor``."""

    ttl: int = 1
    """Hops of a multicast datagram, 1 … 255."""
    slot: int = 0
    """Blocks of 512 bytes for a slot on a disk, 1 … 128; 0: up to the next offset."""
    wire: str = OWN_WIRE
    """Whose messages travel: ``ezha``'s own, or ``openha``'s."""


def _nowhere(key: tuple[str, ...]) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Options:
    """All of ``options.toml``, and the facility of ``logfacility``."""

    cluster: str = "ezha"
    default_service: ServiceTuning = ServiceTuning()
    services: Mapping[str, ServiceTuning] = field(default_factory=dict)
    """Where a ``[service."NAME"]`` changes something: the whole of it."""
    default_path: PathTuning = PathTuning()
    paths: Mapping[str, PathTuning] = field(default_factory=dict)
    """By label (``eth0:239.131.50.10:1234``, ``/dev/sdb:0``)."""
    notify: tuple[str, ...] = ()
    """Command run on every transition, as an argument list; empty: none."""
    metrics: tuple[str, int] | None = None
    """Loopback address and port of the metrics server; None: none."""
    freeze_secondary_on_start: bool = False
    talk_delay: float = 0.0
    """Seconds after the start of nmond before it starts a service by itself."""
    log_level: str = "info"
    facility: str = "daemon"
    fences: Mapping[str, FenceMethod] = field(default_factory=dict)
    """How a node is fenced, by its name."""
    etcd: EtcdOptions | None = None
    """The arbiter; None: there is none."""
    protecting: Protecting = field(default_factory=Protecting)
    """What ends this node when a lease is over."""
    line_of: Callable[[tuple[str, ...]], int] = field(default=_nowhere, compare=False, repr=False)
    """Where a key stands, for messages about what is found later."""

    @property
    def secret(self) -> str:
        """Which table holds a password, for messages; empty: none does."""
        return next((f'[fence."{node}"]' for node, fence in self.fences.items() if fence.secrets), "")

    def service(self, name: str) -> ServiceTuning:
        return self.services.get(name, self.default_service)

    def path(self, label: str) -> PathTuning:
        return self.paths.get(label, self.default_path)


def parse_options(
    text: str, report: Report, file: str = "conf/options.toml", defaults: Options | None = None
) -> Options:
    """What is wrong goes to ``report``; its default stands in the answer then. ``facility`` is not set here.

    ``defaults``: what counts for the keys of the node that ``text`` does not set."""
    defaults = defaults or Options()
    if all(not line.strip() or line.lstrip().startswith("#") for line in text.split("\n")):
        return defaults  # As installed: spares the import of the TOML parser.
    import tomllib

    from ha.node.config.toml_lines import KeyLines

    try:
        table = tomllib.loads(text.replace("\r\n", "\n"))
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        line, what = _syntax(str(error), text)
        report.problem(file, line, f"is not TOML: {what}")
        return defaults
    except RecursionError:
        report.problem(file, 0, "is nested too deeply; use the tables of docs/configuration.md only")
        return defaults
    return _Reader(report, file, KeyLines(text)).options(table, defaults)


def _syntax(message: str, text: str) -> tuple[int, str]:
    """tomllib says where only inside its sentence: "… (at line 3, column 5)"."""
    what, _, where = message.rpartition(" (at ")
    if where.startswith("line "):
        number = where.removeprefix("line ").split(",")[0]
        return (int(number) if number.isdigit() else 0), what
    return text.count("\n") + 1, what or message


# ------------------------------------------------------------------------------------------- values


def _exit_codes(value: object) -> tuple[int, ...]:
    codes = value if isinstance(value, list) else [value]
    if not codes or any(isinstance(c, bool) or not isinstance(c, int) or not 0 <= c <= 255 for c in codes):
        raise ValueError("is not a list of exit codes; give numbers from 0 to 255, as in [0, 4]")
    if len(set(codes)) != len(codes):
        raise ValueError("names an exit code twice; give each once")
    return tuple(codes)


def _cluster(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {kind_of(value)}; give a name in quotes")
    trouble = name_trouble(value)
    if trouble:
        raise ValueError(f"{value[:80]!r} {trouble}")
    return value


def _wire(value: object) -> str:
    if value not in (OWN_WIRE, OPENHA):
        raise ValueError(f'is {value!r:.40}; give "{OWN_WIRE}", or "{OPENHA}" to pair with an original OpenHA node')
    return str(value)


def _log_level(value: object) -> str:
    if not isinstance(value, str) or value.lower() not in LOG_LEVELS:
        raise ValueError(f"is not a log level; give one of {', '.join(LOG_LEVELS)}")
    return value.lower()


def _metrics(value: object) -> tuple[str, int] | None:
    """Raises ValueError for anything but a loopback address: the figures are nobody else's business."""
    if value == "":
        return None
    advice = 'give a loopback address and a port, as "127.0.0.1:9410" or "[::1]:9410"'
    if not isinstance(value, str):
        raise ValueError(f"is {kind_of(value)}; {advice}")
    host, colon, port = value.rpartition(":")
    host = {"localhost": "127.0.0.1", "[::1]": "::1"}.get(host, host)
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{value[:80]!r} has no port; {advice}")
    if host != "::1" and not _is_loopback4(host):
        raise ValueError(f"{host[:80]!r} is not a loopback address; {advice}")
    return host, int(port)


def _is_loopback4(host: str) -> bool:
    from socket import AF_INET, inet_pton

    try:
        return inet_pton(AF_INET, host)[0] == 127
    except (OSError, ValueError):
        return False


_SERVICE: dict[str, Check] = {
    "start_timeout": seconds(0.1, 86_400),
    "stop_timeout": seconds(0.1, 86_400),
    "status_timeout": seconds(0.1, 3_600),
    "check_timeout": seconds(0.1, 3_600),
    "kill_grace": seconds(0, 600),
    "status_up": _exit_codes,
    "status_down": _exit_codes,
    **PROTECTION,
}
_PATH: dict[str, Check] = {
    "ttl": integer(1, 255, "hops"),
    "slot": integer(1, MAX_SLOT_BLOCKS, "blocks of 512 bytes"),
    "wire": _wire,
}
_NODE: dict[str, Check] = {
    "cluster": _cluster,
    "notify": command,
    "metrics": _metrics,
    "freeze_secondary_on_start": boolean,
    "talk_delay": seconds(0, MAX_TALK_DELAY_S),
    "log_level": _log_level,
}


class _Reader:
    """Goes through the tables of one file."""

    def __init__(self, report: Report, file: str, lines: "KeyLines") -> None:
        self._report = report
        self._file = file
        self._lines = lines

    def options(self, table: Mapping[str, object], defaults: Options) -> Options:
        top = {key: value for key, value in table.items() if key not in ("service", "path", "fence", "etcd")}
        values = self._values((), top, {**_NODE, **_SERVICE, **_PATH, **PROTECTING})
        default_service = self._service((), ServiceTuning(), values)
        default_path = replace(PathTuning(), **_only(values, _PATH))
        services = {
            name: self._service(("service", name), default_service, self._values(("service", name), inner, _SERVICE))
            for name, inner in self._tables("service", table)
        }
        paths = {
            label: replace(default_path, **self._values(("path", label), inner, _PATH))
            for label, inner in self._tables("path", table)
        }
        return replace(
            defaults,
            default_service=default_service,
            services=services,
            default_path=default_path,
            paths=paths,
            fences=self._fences(table),
            etcd=self._etcd(table),
            protecting=Protecting(**_only(values, PROTECTING)),
            line_of=self._lines.line_of,
            **_only(values, _NODE),
        )

    def _fences(self, table: Mapping[str, object]) -> dict[str, FenceMethod]:
        fences = {}
        for node, inner in self._tables("fence", table):
            values = self._values(("fence", node), inner, FENCE)
            if len(values) < len(inner):
                continue  # What is wrong has been told.
            try:
                fences[node] = make_fence(values)
            except ValueError as error:
                self._problem(("fence", node), str(error))
        return fences

    def _etcd(self, table: Mapping[str, object]) -> EtcdOptions | None:
        inner = table.get("etcd")
        if inner is None:
            return None
        if not isinstance(inner, dict):
            self._problem(("etcd",), f"etcd is {kind_of(inner)}; write [etcd] above its keys")
            return None
        values = self._values(("etcd",), inner, ETCD)
        if len(values) < len(inner):
            return None
        try:
            return make_etcd(values)
        except ValueError as error:
            self._problem(("etcd",), str(error))
            return None

    def _tables(self, kind: str, table: Mapping[str, object]) -> list[tuple[str, Mapping[str, object]]]:
        """The tables ``[kind."NAME"]``."""
        outer = table.get(kind, {})
        if not isinstance(outer, dict):
            self._problem((kind,), f'{kind} is {kind_of(outer)}; write [{kind}."NAME"] above its keys')
            return []
        found: list[tuple[str, Mapping[str, object]]] = []
        for name, inner in outer.items():
            if isinstance(inner, dict):
                found.append((name, inner))
            else:
                self._problem((kind, name), f'[{kind}] has no key of its own; write [{kind}."NAME"] above its keys')
        return found

    def _values(
        self, where: tuple[str, ...], table: Mapping[str, object], known: Mapping[str, Check]
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in table.items():
            check = known.get(key)
            if check is None:
                self._problem((*where, key), f"unknown key {key!r}; known here: {', '.join(known)}")
                continue
            try:
                values[key] = check(value)
            except ValueError as error:
                self._problem((*where, key), f"{key} {error}")
        return values

    def _service(self, where: tuple[str, ...], default: ServiceTuning, values: Mapping[str, Any]) -> ServiceTuning:
        tuning = replace(default, **_only(values, _SERVICE))
        both = sorted(set(tuning.status_up) & set(tuning.status_down))
        if both:
            key = "status_up" if "status_up" in values else "status_down"
            self._problem((*where, key), f"exit code {both[0]} means both up and down; take it out of one list")
            return default
        return tuning

    def _problem(self, key: tuple[str, ...], text: str) -> None:
        self._report.problem(self._file, self._lines.line_of(key), text)


def _only(values: Mapping[str, Any], keys: Mapping[str, Check]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in keys}
