"""The file ``monitor``: a heartbeat path a line (spec: OpenHA, "Configuration files").

::

    NODE net     IFACE  MULTICAST_IP PORT TIMEOUT
    NODE unicast IFACE  REMOTE_IP    PORT TIMEOUT
    NODE dio     DEVICE OFFSET       TIMEOUT
    NODE disk    DEVICE OFFSET       TIMEOUT
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ha.heartbeats.path import PROGRAMS, PathLine
from ha.node.config.addresses import address_trouble, packed
from ha.node.config.lines import Line, counted, read_lines, seconds, whole_number
from ha.node.config.options import Options
from ha.node.config.problems import Report
from ha.node.config.slots import place_slots

MAX_LINES = 64
MIN_TIMEOUT = 0.2
MAX_TIMEOUT = 120.0
"""Seconds."""
MAX_OFFSET = 2**40
MAX_INTERFACE = 15
"""Characters of an interface name (IFNAMSIZ, without its NUL)."""

NET_FORM = "NODE net|unicast INTERFACE ADDRESS PORT TIMEOUT"
DISK_FORM = "NODE dio|disk DEVICE OFFSET TIMEOUT"


@dataclass(frozen=True, slots=True)
class NumberedPath:
    """A path and where it stands."""

    number: int
    path: PathLine


def parse_monitor(
    text: str, nodes: Sequence[str], options: Options, report: Report, file: str = "conf/monitor"
) -> tuple[NumberedPath, ...]:
    """The paths in the order of the file. What is wrong goes to ``report``, and is left out of the answer."""
    paths: list[NumberedPath] = []
    next_index: dict[str, int] = {}
    first_line: dict[tuple[object, ...], int] = {}
    for line in read_lines(text, file, report, MAX_LINES):
        path = _parse_line(line, nodes, report, file)
        if path is None:
            continue
        # The place among the lines of the node counts a refused twin, too, but then nothing is used anyway.
        index = next_index.get(path.node, 0)
        next_index[path.node] = index + 1
        where = first_line.setdefault(_identity(path), line.number)
        if where != line.number:
            report.problem(file, line.number, f"node {path.node} has the path {path.label} on line {where}; remove one")
            continue
        tuning = options.path(path.label)
        paths.append(NumberedPath(line.number, replace(path, index=index, ttl=tuning.ttl, wire=tuning.wire)))
    _warn_of_sharing(paths, report, file)
    _warn_of_missing(paths, nodes, report, file)
    placed = place_slots([(p.number, p.path) for p in paths], options, report, file)
    return tuple(NumberedPath(p.number, path) for p, path in zip(paths, placed, strict=True))


def _parse_line(line: Line, nodes: Sequence[str], report: Report, file: str) -> PathLine | None:
    words = line.words
    medium = words[1] if len(words) > 1 else ""
    if medium not in PROGRAMS:
        said = f"medium {medium} is unknown" if medium else "a single word"
        report.problem(file, line.number, f"{said}; the form is {NET_FORM}, or {DISK_FORM}")
        return None
    is_disk = medium in ("dio", "disk")
    count, form = (5, DISK_FORM) if is_disk else (6, NET_FORM)
    if len(words) != count:
        report.problem(file, line.number, f"{counted(len(words), 'word')} instead of {count}; the form is {form}")
        return None
    troubles = [_node_trouble(words[0], nodes), *(_disk_troubles(words) if is_disk else _net_troubles(words))]
    troubles.append(_timeout_trouble(words[-1]))
    for trouble in filter(None, troubles):
        report.problem(file, line.number, trouble)
    if any(troubles):
        return None
    timeout = float(words[-1])
    if is_disk:
        return PathLine(words[0], 0, medium, words[2], offset=int(words[3]), timeout=timeout)
    return PathLine(words[0], 0, medium, words[2], words[3], int(words[4]), timeout=timeout)


def _node_trouble(node: str, nodes: Sequence[str]) -> str:
    return "" if node in nodes else f"node {node} is not in the file nodes (there: {', '.join(nodes) or 'none'})"


def _net_troubles(words: tuple[str, ...]) -> list[str]:
    _, medium, device, address, port_word, _ = words
    troubles = []
    if len(device) > MAX_INTERFACE or "/" in device or device in (".", ".."):
        troubles.append(f"{device} is no interface name; give one that `ip link` shows")
    elif ":" in device:
        troubles.append(f"{device} is a label of an address; give the interface, {device.partition(':')[0]}")
    trouble = address_trouble(address, multicast=medium == "net")
    if trouble:
        troubles.append(f"address {address} {trouble}")
    port = whole_number(port_word)
    if port is None or not 1 <= port <= 65535:
        troubles.append(f"port {port_word} is not a number from 1 to 65535")
    return troubles


def _disk_troubles(words: tuple[str, ...]) -> list[str]:
    _, _, device, offset_word, _ = words
    troubles = []
    if not device.startswith("/") or "//" in device or ".." in device.split("/") or device.endswith("/"):
        troubles.append(f"device {device} is not a plain absolute path; give one as /dev/disk/by-id/NAME")
    offset = whole_number(offset_word)
    if offset is None or offset > MAX_OFFSET:
        troubles.append(f"offset {offset_word} is not a number of 512-byte blocks from 0 to {MAX_OFFSET}")
    return troubles


def _timeout_trouble(word: str) -> str:
    advice = f"give {MIN_TIMEOUT:g} to {MAX_TIMEOUT:g} s"
    timeout = seconds(word)
    if timeout is None:
        return f"timeout {word} is not a number of seconds with at most three decimals; {advice}"
    if timeout < MIN_TIMEOUT:
        return f"timeout {word} is below {MIN_TIMEOUT:g} s; {advice}"
    if timeout > MAX_TIMEOUT:
        return f"timeout {word} is above {MAX_TIMEOUT:g} s; {advice}"
    return ""


def _identity(path: PathLine) -> tuple[object, ...]:
    """What makes two lines of a node the same path, whatever their timeouts and the spelling of the address."""
    if path.is_disk:
        return (path.node, path.device, path.offset)
    return (path.node, path.device, packed(path.address), path.port)


def _warn_of_sharing(paths: Sequence[NumberedPath], report: Report, file: str) -> None:
    """Two senders to one group and port: each listener hears both, and the line says only one of them."""
    first: dict[tuple[object, ...], NumberedPath] = {}
    for numbered in paths:
        path = numbered.path
        if path.medium != "net":
            continue
        other = first.setdefault(_identity(path)[1:], numbered)
        if other.path.node != path.node:
            text = f"{path.node} and {other.path.node} (line {other.number}) both send to {path.label}"
            report.warn(file, numbered.number, f"{text}; give each node a port of its own")


def _warn_of_missing(paths: Sequence[NumberedPath], nodes: Sequence[str], report: Report, file: str) -> None:
    senders = {p.path.node for p in paths}
    for node in nodes:
        if node not in senders:
            report.warn(file, 0, f"node {node} has no line: it sends nothing, the others will take it for dead")
