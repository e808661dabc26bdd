"""The engine of a new nmond: what the state of record becomes at the start. nmond and the simulator share this."""

from collections.abc import Mapping
from typing import TypeVar

from ha.fsm.engine import Engine
from ha.fsm.lease import NEVER
from ha.fsm.message import Incarnation
from ha.fsm.record import NodeRecord
from ha.fsm.states import ScriptKind
from ha.node.config import Configuration
from ha.node.store import Loaded

E = TypeVar("E", bound=Engine)


def first_engine(
    kind: type[E],
    configuration: Configuration,
    node: str,
    loaded: Loaded,
    nonce: int,
    now: float,
    orphans: Mapping[str, ScriptKind],
    guard_until: float = NEVER,
) -> E:
    """An engine of ``kind`` after a boot, a stop or a crash, not started yet.

    ``nonce``: the random part of the incarnation, 0 … 2**32-1; ``orphans``: scripts that are left over, by service;
    ``guard_until``: by when what the nmond before this one left ends, ``inf`` where it left nothing that needs a lease.
    """
    record = loaded.record or NodeRecord(0)
    return kind(
        configuration.cluster,
        node,
        record,
        Incarnation(record.incarnation + 1, nonce),
        now,
        boot=loaded.boot,
        unreadable=loaded.unreadable,
        orphans=orphans,
        freeze_secondary=configuration.options.freeze_secondary_on_start,
        guard_until=guard_until,
    )
