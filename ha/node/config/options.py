"""The file ``options.toml``: what OpenHA's files have no place for (docs/configuration.md, "options.toml").

Every key is optional. An unknown key, a wrong type or a value out of range is refused, with its line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ha.fsm.config import OPENHA, OWN_WIRE
from ha.node.config.problems import Report
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


@dataclass(frozen=True, slots=True)
class PathTuning:
    """What a heartbeat path does beside its line in ``monitor``."""

    ttl: int = 1
    """Hops of a multicast datagram, 1 … 255."""
    slot: int = 0
    """Blocks of 512 bytes for a slot on a disk, 1 … 128; 0: up to the next offset."""
    wire: str = OWN_WIRE
    """Whose messages travel: ``ezha``'s own, or ``openha``'s."""


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

Check = Callable[[object], Any]
"""Takes what TOML holds, returns what ``Options`` holds; raises ValueError with words that follow the key."""


def _seconds(low: float, high: float) -> Check:
    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"is {_kind(value)}; give seconds, {low:g} to {high:g}")
        if not low <= value <= high:
            raise ValueError(f"is {str(value)[:20]} s; give {low:g} to {high:g} s")
        return float(value)

    return check


def _integer(low: int, high: int, unit: str) -> Check:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"is {_kind(value)}; give a whole number of {unit}, {low} to {high}")
        if not low <= value <= high:
            raise ValueError(f"is {str(value)[:20]}; give {low} to {high} {unit}")
        return value

    return check


def _exit_codes(value: object) -> tuple[int, ...]:
    codes = value if isinstance(value, list) else [value]
    if not codes or any(isinstance(c, bool) or not isinstance(c, int) or not 0 <= c <= 255 for c in codes):
        raise ValueError("is not a list of exit codes; give numbers from 0 to 255, as in [0, 4]")
    if len(set(codes)) != len(codes):
        raise ValueError("names an exit code twice; give each once")
    return tuple(codes)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {_kind(value)}; give true or false")
    return value


def _cluster(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {_kind(value)}; give a name in quotes")
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


def _command(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        import shlex

        try:
            words: list[object] = list(shlex.split(value))
        except ValueError as error:
            raise ValueError(f"cannot be split into words ({error}); give a list of strings") from None
    elif isinstance(value, list):
        words = value
    else:
        raise ValueError(f"is {_kind(value)}; give a command as a list of strings, or in one string")
    argv = tuple(w for w in words if isinstance(w, str))
    if len(argv) != len(words):
        raise ValueError("holds something other than strings; put every argument in quotes")
    if len(argv) > 64 or any(len(w) > 1024 or "\0" in w for w in argv):
        raise ValueError("is too long, or holds a NUL; give at most 64 arguments of at most 1024 characters")
    if argv and not argv[0].startswith("/"):
        raise ValueError(f"begins with {argv[0]!r}; give the program as an absolute path (no shell looks for it)")
    return argv


def _metrics(value: object) -> tuple[str, int] | None:
    """Raises ValueError for anything but a loopback address: the figures are nobody else's business."""
    if value == "":
        return None
    advice = 'give a loopback address and a port, as "127.0.0.1:9410" or "[::1]:9410"'
    if not isinstance(value, str):
        raise ValueError(f"is {_kind(value)}; {advice}")
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


_KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a table",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a date or time")


_SERVICE: dict[str, Check] = {
    "start_timeout": _seconds(0.1, 86_400),
    "stop_timeout": _seconds(0.1, 86_400),
    "status_timeout": _seconds(0.1, 3_600),
    "check_timeout": _seconds(0.1, 3_600),
    "kill_grace": _seconds(0, 600),
    "status_up": _exit_codes,
    "status_down": _exit_codes,
}
_PATH: dict[str, Check] = {
    "ttl": _integer(1, 255, "hops"),
    "slot": _integer(1, MAX_SLOT_BLOCKS, "blocks of 512 bytes"),
    "wire": _wire,
}
_NODE: dict[str, Check] = {
    "cluster": _cluster,
    "notify": _command,
    "metrics": _metrics,
    "freeze_secondary_on_start": _boolean,
    "talk_delay": _seconds(0, MAX_TALK_DELAY_S),
    "log_level": _log_level,
}


class _Reader:
    """Goes through the tables of one file."""

    def __init__(self, report: Report, file: str, lines: "KeyLines") -> None:
        self._report = report
        self._file = file
        self._lines = lines

    def options(self, table: Mapping[str, object], defaults: Options) -> Options:
        top = {key: value for key, value in table.items() if key not in ("service", "path")}
        values = self._values((), top, {**_NODE, **_SERVICE, **_PATH})
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
            **_only(values, _NODE),
        )

    def _tables(self, kind: str, table: Mapping[str, object]) -> list[tuple[str, Mapping[str, object]]]:
        """The tables ``[kind."NAME"]``."""
        outer = table.get(kind, {})
        if not isinstance(outer, dict):
            self._problem((kind,), f'{kind} is {_kind(outer)}; write [{kind}."NAME"] above its keys')
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
