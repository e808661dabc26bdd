"""``ezha check``: the configuration, and whether this machine has what it speaks of.

Everything that can be wrong on this node only (a script, an interface, a device), and the figures that follow from
the files. Nothing here is needed to run.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace

from ha.heartbeats.keys import MEANING
from ha.heartbeats.path import BLOCK, PathLine
from ha.node.config.editing import numbered
from ha.node.config.keyring import load_keys
from ha.node.config.lines import counted
from ha.node.config.problems import ConfigError, Problem, Report
from ha.node.config.protecting import single_disk, timelines, unprotected
from ha.node.config.reaching import check_etcd, check_fences, etcd_figures, fence_figures
from ha.node.config.sizes import largest_message
from ha.node.config.whole import Configuration, Read, Texts, load_texts, parse
from ha.node.layout import Layout
from ha.node.trust import distrust


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What an operator is told."""

    problems: tuple[Problem, ...]
    """What makes the configuration, or a service, unusable: exit code 1."""
    warnings: tuple[Problem, ...]
    """What may come late, or was probably not meant."""
    figures: tuple[str, ...]
    """A sentence each: timeouts, periods, sizes. Empty where the files are refused."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is asked of this machine; tests put another one in its place."""

    script_trouble: Callable[[str], str]
    """Why a path is no program that can be run; empty where it is one."""
    has_interface: Callable[[str], bool]
    device: Callable[[str], "Device | str"]
    """A device, or why there is none."""


@dataclass(frozen=True, slots=True)
class Device:
    """A disk, or a file that stands for one."""

    identity: tuple[int, int]
    """The same for two names of one device."""
    sector: int
    """Bytes of a logical sector; 0 where it is not known."""
    size: int
    """Bytes; 0 where it is not known."""


def check(layout: Layout, node: str, read: Read | None = None, machine: Machine | None = None) -> CheckReport:
    """All that is wrong, all that is odd, and the derived figures. Raises nothing for what it finds."""
    try:
        texts = load_texts(layout, read)
        configuration = replace(parse(texts, node), keys=load_keys(layout))
    except ConfigError as error:
        return CheckReport(error.problems, (), ())
    report = Report()
    places = _Places(texts)
    machine = machine or Machine(_script_trouble, _has_interface, _device)
    _warn_of_originals(configuration, places, report)
    _check_scripts(configuration, node, places, machine, report)
    _check_interfaces(configuration, places, machine, report)
    _check_devices(configuration, places, machine, report)
    _check_outside(configuration, places, machine, report)
    _warn_of_cuts(configuration, places, report)
    return CheckReport(report.problems, configuration.warnings + report.warnings, figures(configuration))


def figures(configuration: Configuration) -> tuple[str, ...]:
    """What follows from the files, for people."""
    cluster = configuration.cluster
    told = [
        f"cluster {cluster.cluster}: {counted(len(cluster.nodes), 'node')}, "
        f"{counted(len(cluster.paths), 'path')}, {counted(len(cluster.services), 'service')}"
    ]
    for node in cluster.nodes:
        own = [line for line in configuration.lines if line.node == node]
        if not own:
            continue
        size = largest_message(cluster, node)
        told.append(
            f"{node}: silent after T = {cluster.timeout_of(node):g} s, a heartbeat every "
            f"{cluster.period_of(node):g} s of at most {size} bytes"
        )
        told.extend(f"    {_path_figure(line, size)}" for line in own)
        told.extend(f"    {text}" for text in timelines(cluster, configuration.options.protecting, node))
        told.extend(f"    {text}" for text in fence_figures(configuration, node))
    told.extend(etcd_figures(configuration))
    told.append(MEANING[configuration.keys.mode])
    return tuple(told)


def _path_figure(line: PathLine, size: int) -> str:
    told = f"{line.medium} {line.label}: DOWN after {line.timeout:g} s"
    if line.is_disk:
        told += f", slot of {line.slot_blocks * BLOCK} bytes, {size * 100 // (line.slot_blocks * BLOCK)} % used"
    elif line.medium == "net":
        told += f", ttl {line.ttl}"
    return f"{told}, wire {line.wire}" if line.is_openha else told


class _Places:
    """On which line a service or a path stands, for messages. The texts are known to be valid."""

    def __init__(self, texts: Texts) -> None:
        self.services_file = texts.names["services"]
        self.monitor_file = texts.names["monitor"]
        self.options_file = texts.names["options"]
        self._services = {words[0]: number for number, words in numbered(texts.services)}
        self._paths = [number for number, _ in numbered(texts.monitor)]

    def service(self, name: str) -> int:
        return self._services.get(name, 0)

    def path(self, place: int) -> int:
        """``place``: 0, 1, … in ``Configuration.lines``, which has a path for each line that says something."""
        return self._paths[place]


def _warn_of_originals(configuration: Configuration, places: _Places, report: Report) -> None:
    """What a node loses that speaks as OpenHA does."""
    cluster = configuration.cluster
    place = next((place for place, line in enumerate(configuration.lines) if line.is_openha), None)
    if place is None:
        return
    longest = max(cluster.timeout_of(node) for node in cluster.nodes)
    told = "OpenHA's messages are not signed and not acknowledged, and there is no lease"
    harm = f"where every path is cut, or a node is paused for longer than {longest:g} s, both nodes may run a service"
    report.warn(places.monitor_file, places.path(place), f'wire = "openha": {told}: {harm}; see docs/migration.md')
    text = (
        "a start waits 5 s, and nobody takes over from a node that falls silent as a service is frozen there, or starts"
    )
    report.warn(places.monitor_file, places.path(place), f'wire = "openha": {text}')


def _check_scripts(configuration: Configuration, node: str, places: _Places, machine: Machine, report: Report) -> None:
    for service in configuration.cluster.services.values():
        if node not in service.nodes:
            continue
        for what, path in (("script", service.script), ("check script", service.check_script)):
            trouble = machine.script_trouble(path)
            if trouble:
                text = f"{what} {path} of service {service.name} {trouble}"
                report.problem(places.services_file, places.service(service.name), text)
    options = configuration.options
    for key, command in (("notify", options.notify), ("fence_command", options.protecting.fence_command)):
        trouble = machine.script_trouble(command[0]) if command else ""
        if trouble:
            report.problem(places.options_file, options.line_of((key,)), f"{key}: {command[0]} {trouble}")


def _check_outside(configuration: Configuration, places: _Places, machine: Machine, report: Report) -> None:
    options = configuration.options
    fences = {node: (method, options.line_of(("fence", node))) for node, method in options.fences.items()}
    if fences:
        check_fences(fences, machine.script_trouble, report, places.options_file)
    if options.etcd is not None:
        check_etcd(options.etcd, options.line_of(("etcd",)), report, places.options_file)


def _warn_of_cuts(configuration: Configuration, places: _Places, report: Report) -> None:
    """What is lost beforehand, when these things come together: better read now than that night."""
    cluster, options = configuration.cluster, configuration.options
    for name in unprotected(cluster):
        text = f"nothing protects {name} from running on two nodes that lose sight of each other"
        report.warn(places.services_file, places.service(name), f'{text} (protection "none"; docs/safety.md)')
    for device, names in single_disk(cluster).items():
        text = f"when {device} is lost while the other node is off, nobody runs {', '.join(names[:5])}"
        text += f" and {len(names) - 5} more" if len(names) > 5 else ""
        report.warn(places.monitor_file, 0, f"{text}: their lease rests on that disk alone")
    if options.protecting.self_fence == "stop" and any(s.leased for s in cluster.services.values()):
        text = 'self_fence = "stop": a service that cannot be stopped in time runs on while another node starts it'
        report.warn(places.options_file, options.line_of(("self_fence",)), text)


def _check_interfaces(configuration: Configuration, places: _Places, machine: Machine, report: Report) -> None:
    told: set[str] = set()
    for place, line in enumerate(configuration.lines):
        if line.is_disk or line.device in told or machine.has_interface(line.device):
            continue
        told.add(line.device)
        text = f"there is no interface {line.device} at present: its paths are DOWN until it comes"
        report.warn(places.monitor_file, places.path(place), text)


def _check_devices(configuration: Configuration, places: _Places, machine: Machine, report: Report) -> None:
    file = places.monitor_file
    told: set[str] = set()
    seen: list[tuple[int, PathLine, Device]] = []
    for place, line in enumerate(configuration.lines):
        if not line.is_disk:
            continue
        device = machine.device(line.device)
        number = places.path(place)
        if isinstance(device, str):
            if line.device not in told:
                report.warn(file, number, f"device {line.device} {device}; its paths are DOWN until it comes")
            told.add(line.device)
            continue
        _check_place(number, line, device, report, file)
        for other_number, other, other_device in seen:
            if other_device.identity == device.identity and other.device != line.device and _overlap(line, other):
                text = (
                    f"{line.device} is the same device as {other.device} (line {other_number}), and the slots overlap"
                )
                report.problem(file, number, f"{text}; use one name, and an offset of its own for each line")
        seen.append((number, line, device))


def _check_place(number: int, line: PathLine, device: Device, report: Report, file: str) -> None:
    per_sector = device.sector // BLOCK
    if per_sector > 1 and (line.offset % per_sector or line.slot_blocks < per_sector):
        text = f"{line.device} has sectors of {device.sector} bytes"
        report.problem(file, number, f"{text}; give offsets that are multiples of {per_sector} blocks")
    elif per_sector > 1 and line.is_openha:
        text = f"{line.device} has sectors of {device.sector} bytes, OpenHA writes {line.slot_blocks} blocks of {BLOCK}"
        report.problem(file, number, f"{text}; give a disk with sectors of {BLOCK} bytes")
    end = (line.offset + line.slot_blocks) * BLOCK
    if device.size and end > device.size:
        text = f"the slot at {line.label} ends at byte {end}, the device has {device.size}"
        report.problem(file, number, f"{text}; give a smaller offset")


def _overlap(a: PathLine, b: PathLine) -> bool:
    return a.offset < b.offset + b.slot_blocks and b.offset < a.offset + a.slot_blocks


# ------------------------------------------------------------------------------------ this machine


def _script_trouble(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    if not stat.S_ISREG(mode):
        return "is not a file"
    if not os.access(path, os.X_OK):
        return "is not executable; chmod +x it"
    try:
        return distrust(path)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"


def _has_interface(name: str) -> bool:
    return os.path.exists(f"/sys/class/net/{name}")


def _device(path: str) -> Device | str:
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            return Device((status.st_dev, status.st_ino), 0, status.st_size)
        if stat.S_ISCHR(status.st_mode):
            return Device((0, status.st_rdev), 0, 0)
        if not stat.S_ISBLK(status.st_mode):
            return "is neither a device nor a file"
        base = f"/sys/dev/block/{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        # A partition has no queue of its own; its disk's is beside it.
        sector = _number(f"{base}/queue/logical_block_size") or _number(f"{base}/../queue/logical_block_size")
        return Device((1, status.st_rdev), sector, _number(f"{base}/size") * BLOCK)
    except OSError as error:
        return f"cannot be used: {error.strerror}"


def _number(path: str) -> int:
    """0 where the kernel does not tell."""
    try:
        with open(path, encoding="ascii") as file:
            word = file.read(32).strip()
    except OSError:
        return 0
    return int(word) if word.isdigit() else 0
