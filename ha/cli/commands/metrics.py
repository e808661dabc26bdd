"""``ezha metrics``: nmond's counters and gauges in the text format of Prometheus, once or over HTTP."""

import signal
import threading
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ha.cli.client import Answer, ControlError, ask
from ha.cli.guard import CliError, UsageError, say
from ha.cli.options import Parser
from ha.cli.place import layout

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from ha.node.layout import Layout

_UP = ("ezha_up", "1 where nmond answers on its control socket")


class Node(Collector):
    """Asks nmond at every scrape: nothing here can go stale."""

    def __init__(self, layout: "Layout") -> None:
        self._layout = layout

    def collect(self) -> Iterable["Metric"]:
        try:
            answer = ask(self._layout, {"op": "metrics"})
        except ControlError:
            return [GaugeMetricFamily(*_UP, value=0)]
        return [GaugeMetricFamily(*_UP, value=1), *families(answer)]


def families(answer: Answer) -> list["Metric"]:
    """The metrics of an answer. A name may carry labels: ``refused{path="eth0",why="checksum"}``."""
    made: dict[str, Metric] = {}
    for kind, family, suffix in (("counters", CounterMetricFamily, "_total"), ("gauges", GaugeMetricFamily, "")):
        for text, value in sorted(answer.get(kind, {}).items()):
            name, labels = _split(text)
            key = f"ezha_{name.removesuffix(suffix) if suffix else name}"
            if key not in made:
                made[key] = family(key, f"{name.replace('_', ' ')}, from nmond", labels=[label for label, _ in labels])
            made[key].add_sample(key + suffix, dict(labels), float(value))
    return list(made.values())


def _split(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Name and labels. Whatever Prometheus does not take in a name becomes an underscore."""
    name, brace, rest = text.partition("{")
    labels = []
    if brace:
        for part in rest.rstrip("}").split('",'):
            label, _, value = part.partition("=")
            labels.append((_clean(label.strip()), value.strip().strip('"')))
    return _clean(name), labels


def _clean(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name.removeprefix("ezha_"))


def run(argv: Sequence[str]) -> int:
    """Print the figures, or serve them until a signal ends the process."""
    parser = Parser("ezha metrics", "Figures for Prometheus.")
    parser.add_argument("--serve", metavar="ADDRESS:PORT", help="serve them over HTTP, on a loopback address only")
    options = parser.parse_args(argv)
    registry = CollectorRegistry(auto_describe=False)
    place = layout()
    if options.serve is None:
        answer = ask(place, {"op": "metrics"})
        registry.register(_Once([GaugeMetricFamily(*_UP, value=1), *families(answer)]))
        say(generate_latest(registry).decode().rstrip("\n"))
        return 0
    host, port = _address(options.serve)
    registry.register(Node(place))
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise CliError(f"cannot serve on {options.serve}: {error.strerror}") from None
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.shutdown()
    return 0


class _Once(Collector):
    def __init__(self, made: list["Metric"]) -> None:
        self._made = made

    def collect(self) -> Iterable["Metric"]:
        return self._made


def _address(text: str) -> tuple[str, int]:
    """``127.0.0.1:9410`` or ``[::1]:9410``. Raises UsageError: nothing but loopback, for the figures tell much."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ip_address(host)
    except ValueError:
        raise UsageError(f"{text} is not ADDRESS:PORT, such as 127.0.0.1:9410") from None
    if not address.is_loopback:
        raise UsageError(f"{host} is not a loopback address; give 127.0.0.1:{port} or [::1]:{port}")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise UsageError(f"{port!r} is not a port, 1 to 65535")
    return host, int(port)
