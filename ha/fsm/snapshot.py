"""Engine state as plain data and back, for a hand-over by exec.

Only the classes named here are ever made from a snapshot; anything else raises ValueError.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from ha.fsm.config import ClusterConfig, PathId, ServiceConfig
from ha.fsm.events import Command
from ha.fsm.freshness import LastHeard
from ha.fsm.message import Ack, Handover, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.original import is_another
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.service import Job, Service
from ha.fsm.states import Action, Promise, ScriptKind, State

if TYPE_CHECKING:
    from ha.fsm.engine import Engine

_CLASSES: dict[str, type] = {
    c.__name__: c
    for c in (
        Ack,
        Action,
        Command,
        Handover,
        Heartbeat,
        Incarnation,
        Job,
        LastHeard,
        NodeRecord,
        PathId,
        Promise,
        ScriptKind,
        Service,
        ServiceConfig,
        ServiceEntry,
        ServiceRecord,
        State,
    )
}


def dump(value: Any) -> Any:
    """Plain data: None, bool, int, float, str, lists, and dicts with a ``"!"`` that names a class."""
    if isinstance(value, Enum):
        return {"!": type(value).__name__, "=": value.value}
    if is_dataclass(value) and not isinstance(value, type):
        return {"!": type(value).__name__} | {f.name: dump(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [dump(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{type(value).__name__} cannot be handed over")


def unattended(service: Service) -> Service:
    """The service as it is when nobody waits for the outcome of what an operator asked for.

    What was asked for is still to be done. Its number is dropped: the next nmond gives the same ones out again."""
    pending, queued = (c and replace(c, id="") for c in (service.pending, service.queued))
    return replace(service, waiting=None, pending=pending, queued=queued)


def load(plain: Any) -> Any:
    """What ``dump`` was given. Raises ValueError for anything it did not make."""
    if isinstance(plain, list):
        return tuple(load(v) for v in plain)
    if not isinstance(plain, dict):
        return plain
    made = _CLASSES.get(str(plain.get("!")))
    if made is None:
        raise ValueError(f"unknown kind {plain.get('!')!r} in a hand-over")
    try:
        if issubclass(made, Enum):
            return made(plain["="])
        return made(**{k: load(v) for k, v in plain.items() if k != "!"})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{made.__name__} in a hand-over: {error}") from error


def restore_engine(
    cls: "type[Engine]", plain: Mapping[str, Any], config: ClusterConfig, node: str, now: float
) -> "Engine":
    """See ``Engine.restore``."""
    try:
        services: list[Service] = [load(s) for s in plain["services"]]
        incarnation = load(plain["incarnation"])
        records = (*(s.record for s in services), *map(load, plain["strays"]))
        record = NodeRecord(incarnation.counter, records, bool(plain.get("lost", False)))
        orphans = {str(name): ScriptKind(kind) for name, kind in plain["orphans"].items()}
        engine = cls(config, node, record, incarnation, now, boot=False, orphans=orphans)
        engine.seq = int(plain["seq"])
        engine.leaving, engine.left = bool(plain["leaving"]), bool(plain["left"])
        engine.started_at = float(plain["started_at"])
        engine.counters = dict(plain["counters"])
        engine.resume(
            services,
            job=int(plain["job"]),
            next_send=float(plain["next_send"]),
            last_step=float(plain["last_step"]),
            wakes={str(name): float(at) for name, at in plain["wakes"].items()},
            alerted={str(key): float(at) for key, at in plain["alerted"].items()},
            unsaved_until=plain.get("unsaved_until"),
            returned=[*plain.get("returned", ()), *(r.name for r in map(load, plain["strays"]))],
        )
        for each in plain["peers"]:
            peer = engine.peers.get(each["name"])
            if peer is None or (each["paths"] and is_another(peer, (text for text, *_ in each["paths"]))):
                continue
            newest = load(each["newest"])
            peer.down, *at = each["down"]
            peer.down_at_seq = (int(at[0]), int(at[1]))
            peer.since, peer.arrival, peer.silent = float(each["since"]), float(each["arrival"]), bool(each["silent"])
            peer.newest, peer.not_before = newest, float(each["not_before"])
            peer.before = load(each.get("before"))
            peer.entries = {e.id: e for e in newest.services} if newest is not None else {}
            known = {text: rest for text, *rest in each["paths"]}
            for path in peer.paths:
                if path.config.text in known:
                    path.seq, path.last, path.up, read, foreign = known[path.config.text]
                    path.read, path.foreign = (float("-inf") if t is None else float(t) for t in (read, foreign))
        engine.resume_leases(plain["lease"], now)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"the hand-over is not understood: {error!r}") from error
    return engine
