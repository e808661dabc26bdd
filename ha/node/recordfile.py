"""The state of record of a node as bytes, and back.

::

    ezha record 1
    {"node":"node1","boot":"…","incarnation":12,"heard":[…],"lost":false,"shared":[…],"down":[…],"services":1}
    {"name":"web","state":"STARTED","generation":3,"last_run":3,"seen":3,"unclean":false,…}
    sha256 <64 hexadecimal digits, of everything above>

A person can read it; nothing but ``encode`` may write it. What ``encode`` accepts, ``decode`` gives back; anything
else is refused whole, for a state that is guessed may start a service twice (hazards H9, H12).
This module knows nothing of files.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ha.fsm.freshness import LastHeard
from ha.fsm.message import MAX_COUNTER, MAX_GENERATION, Incarnation
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import State
from ha.node.names import name_trouble

VERSION = 1
MAX_BYTES = 4 * 1024 * 1024
MAX_SERVICES = 2000
"""Twice what the configuration allows: a service that was removed may still have a record."""
MAX_TIMEOUT_MS = 2**32 - 1
MAX_LISTED = 1000
"""Entries of each list in the first line."""

_MAGIC = b"ezha record "
_SUM = b"sha256 "
_HEARD = [str, int, int, int, int, list, list]
"""Of a node, its incarnation (two numbers) and sequence number; then what came later: see ``LastHeard``."""
_SERVICE_KEYS = frozenset(
    ("name", "state", "generation", "last_run", "seen", "unclean", "demoted", "freeze", "handover")
)
_NODE_KEYS = frozenset(("node", "boot", "incarnation", "heard", "lost", "shared", "down", "services"))
_LATER_NODE_KEYS: dict[str, Any] = {"heard": [], "lost": False, "shared": [], "down": []}
"""Keys that came later: an upgrade must read the records that stand without them, and mean this."""


class RecordError(ValueError):
    """These bytes are no record of this node. The text says why, in words that follow the name of the file."""


@dataclass(frozen=True, slots=True)
class Decoded:
    record: NodeRecord
    boot_id: str
    """Of the boot in which it was written."""


class Encoder:
    """Writes records of one node. Remembers the line of each service: most do not change from record to record."""

    def __init__(self, node: str) -> None:
        _check_name("node", node)
        self._node = node
        self._lines: dict[str, tuple[ServiceRecord, bytes]] = {}

    def encode(self, record: NodeRecord, boot_id: str) -> bytes:
        """Raises ValueError for a record that ``decode`` would refuse."""
        if not _good_boot_id(boot_id):
            raise ValueError(f"boot id {boot_id!r}")
        _check_range("incarnation", record.incarnation, MAX_COUNTER)
        if len(record.services) > MAX_SERVICES:
            raise ValueError(f"{len(record.services)} services, more than {MAX_SERVICES}")
        heard = [_of_last(each) for each in record.heard]
        head = (
            f'{{"node":"{self._node}","boot":"{boot_id}","incarnation":{record.incarnation},"heard":{_compact(heard)},'
            f'"lost":{_json(record.lost)},"shared":{_compact(record.shared)},"down":{_compact(record.down)},'
            f'"services":{len(record.services)}}}\n'
        )
        before = self._lines
        lines: dict[str, tuple[ServiceRecord, bytes]] = {}
        for service in record.services:
            known = before.get(service.name)
            lines[service.name] = known if known and known[0] is service else (service, _service_line(service))
        if len(lines) != len(record.services):
            raise ValueError("two records of one service")
        self._lines = lines
        text = b"".join((b"%s%d\n" % (_MAGIC, VERSION), head.encode(), *(line for _, line in lines.values())))
        return text + _SUM + sha256(text).hexdigest().encode() + b"\n"


def decode(data: bytes, node: str) -> Decoded:
    """Raises RecordError for anything but what an ``Encoder`` of ``node`` made, and no other error."""
    text = _verified(data)
    lines = text.decode("ascii").split("\n")[1:-1]
    head = _table(lines[0] if lines else "", _NODE_KEYS)
    if head["node"] != node:
        raise RecordError(f"is the record of node {head['node']!s:.64}, this is {node} (uname -n)")
    boot_id = head["boot"]
    if not isinstance(boot_id, str) or not _good_boot_id(boot_id):
        raise RecordError("has no boot id")
    services = tuple(_service(line) for line in lines[1:])
    if head["services"] != len(services) or len(services) > MAX_SERVICES:
        raise RecordError(f"holds {len(services)} services, and says something else")
    if len({service.name for service in services}) != len(services):
        raise RecordError("holds a service twice")
    incarnation = head["incarnation"]
    try:
        _check_range("incarnation", incarnation, MAX_COUNTER)
    except ValueError as error:
        raise RecordError(f"has a wrong {error}") from None
    if type(head["lost"]) is not bool:
        raise RecordError("has a wrong flag")
    listed = (_shared(head["shared"]), _down(head["down"]), _heard(head["heard"]))
    record = NodeRecord(incarnation, services, head["lost"], *listed)
    return Decoded(record, boot_id)


def _shared(lines: object) -> tuple[str, ...]:
    if not isinstance(lines, list) or len(lines) > MAX_LISTED or not all(isinstance(line, str) for line in lines):
        raise RecordError("has a wrong list of shared disks")
    return tuple(lines)


def _down(nodes: object) -> tuple[tuple[str, int, int, str], ...]:
    if not isinstance(nodes, list) or len(nodes) > MAX_LISTED:
        raise RecordError("has a wrong list of nodes that are down")
    for each in nodes:
        if not isinstance(each, list) or [type(part) for part in each] != [str, int, int, str]:
            raise RecordError("has a wrong list of nodes that are down")
    return tuple((name, counter, seq, why) for name, counter, seq, why in nodes)


def _heard(nodes: object) -> tuple[LastHeard, ...]:
    wrong = RecordError("has a wrong list of nodes that were heard")
    if not isinstance(nodes, list) or len(nodes) > MAX_LISTED:
        raise wrong
    for each in nodes:
        if not isinstance(each, list) or [type(part) for part in each] not in (_HEARD, _HEARD[:4]):
            raise wrong
        if not (1 <= each[1] <= MAX_COUNTER and 0 <= each[2] < 2**32 and 1 <= each[3] <= MAX_COUNTER):
            raise wrong
        if each[4:] and not 0 <= each[4] <= MAX_TIMEOUT_MS:
            raise wrong
        for names in each[5:]:
            if len(names) > MAX_SERVICES or any(not isinstance(name, str) or name_trouble(name) for name in names):
                raise wrong
    return tuple(_last(*each) for each in nodes)


def _last(
    node: str,
    counter: int,
    nonce: int,
    seq: int,
    timeout_ms: int = 0,
    frozen: Iterable[str] = (),
    unpromised: Iterable[str] = (),
) -> LastHeard:
    return LastHeard(node, Incarnation(counter, nonce), seq, timeout_ms, tuple(frozen), tuple(unpromised))


def _of_last(last: LastHeard) -> list[object]:
    at = (last.incarnation.counter, last.incarnation.nonce, last.seq)
    return [last.node, *at, last.timeout_ms, last.frozen, last.unpromised]


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _verified(data: bytes) -> bytes:
    """What the checksum covers."""
    if not data:
        raise RecordError("is empty")
    if len(data) > MAX_BYTES:
        raise RecordError(f"is larger than {MAX_BYTES} bytes")
    if not data.startswith(_MAGIC):
        raise RecordError("is not a record of ezha")
    version = data[len(_MAGIC) :].partition(b"\n")[0]
    if version != b"%d" % VERSION:
        said = version[:12].decode("ascii", "replace")
        raise RecordError(f"has version {said!r}, this ezha reads {VERSION}; run the newer ezha, or mend it")
    end = len(data) - len(_SUM) - 65
    text, tail = data[: max(end, 0)], data[max(end, 0) :]
    if not tail.startswith(_SUM) or not tail.endswith(b"\n") or not text.endswith(b"\n"):
        raise RecordError("is torn: it has no checksum at its end")
    if tail[len(_SUM) : -1] != sha256(text).hexdigest().encode():
        raise RecordError("is damaged: its checksum is wrong")
    if not text.isascii():
        raise RecordError("holds bytes that are not ASCII")
    return text


def _service_line(service: ServiceRecord) -> bytes:
    _check_service(service)
    return (
        f'{{"name":"{service.name}","state":"{service.state.name}","generation":{service.generation},'
        f'"last_run":{service.last_run},"seen":{service.seen},"unclean":{_json(service.unclean)},'
        f'"demoted":{_json(service.demoted)},"freeze":{_json(service.freeze)},"handover":"{service.handover}"}}\n'
    ).encode()


def _service(line: str) -> ServiceRecord:
    table = _table(line, _SERVICE_KEYS)
    state = table["state"]
    if not isinstance(state, str) or state not in State.__members__:
        raise RecordError(f"holds an unknown state {state!s:.32}")
    table["state"] = State[state]
    service = ServiceRecord(**table)
    try:
        _check_service(service)
    except ValueError as error:
        raise RecordError(f"has a wrong {error}") from None
    return service


def _table(line: str, keys: frozenset[str]) -> dict[str, Any]:
    try:
        table = json.loads(line)
    except (ValueError, RecursionError):
        raise RecordError("holds a line that is not JSON") from None
    if isinstance(table, dict) and keys is _NODE_KEYS:
        table = _LATER_NODE_KEYS | table
    if not isinstance(table, dict) or table.keys() != keys:
        raise RecordError("holds a line with other keys than this version writes")
    return table


def _check_service(service: ServiceRecord) -> None:
    """Raises ValueError, with the name of what is wrong."""
    _check_name("service", service.name)
    if service.handover:
        _check_name("handover", service.handover)
    elif service.handover != "":
        raise ValueError("handover")
    if service.state is State.FORCE_STOP:
        raise ValueError("state of service " + service.name)
    _check_range("generation", service.generation, MAX_GENERATION)
    _check_range("last_run", service.last_run, MAX_GENERATION)
    _check_range("seen", service.seen, MAX_GENERATION)
    for flag in (service.unclean, service.demoted, service.freeze):
        if type(flag) is not bool:
            raise ValueError("flag of service " + service.name)


def _check_name(what: str, name: object) -> None:
    if not isinstance(name, str) or name_trouble(name):
        raise ValueError(f"{what} name {name!s:.80}")


def _check_range(what: str, value: object, most: int) -> None:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{what} {value!s:.20}")


def _good_boot_id(boot_id: str) -> bool:
    return 0 < len(boot_id) <= 128 and all(c.isascii() and (c.isalnum() or c in "-:._") for c in boot_id)


def _json(flag: bool) -> str:
    return "true" if flag else "false"
