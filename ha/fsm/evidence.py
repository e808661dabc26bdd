"""Whether another node may hold a service: rules 1 and 2 of "Who may run" (docs/design.md).

Evidence is judged node by node, for *every* other node of the service. This module looks at what was heard; it
decides nothing and changes nothing.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from ha.fsm.message import ServiceEntry
from ha.fsm.peers import Peer
from ha.fsm.record import ServiceRecord
from ha.fsm.states import State
from ha.fsm.table import HOLDING, NOT_HOLDING

_REMEMBERED: Final = 32


class Standing(Enum):
    """What another node is to a service, as far as is known here."""

    CLEAR = "it does not hold the service"
    HOLDS = "it holds the service, or may hold it"
    CLAIMS = "it claims the service"
    UNSURE = "it has not said, or not answered yet"
    UNEQUAL = "its configuration of the service differs"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on one node, and the sentence that says why."""

    node: str
    standing: Standing
    text: str

    @property
    def clear(self) -> bool:
        return self.standing is Standing.CLEAR


def holds(entry: ServiceEntry) -> bool:
    """Rule 5: these all hold, alike."""
    return entry.state in HOLDING or entry.unclean


def may_run(record: ServiceRecord) -> bool:
    """The service may be up here, as far as its record tells."""
    return record.state in HOLDING or record.state is State.UNKNOWN or record.unclean


def judge(peer: Peer, service: int, acknowledged: int, needed: int, now: float) -> Verdict:
    """What ``peer`` is to ``service``.

    ``acknowledged``: the newest sequence number of ours that it saw (0: none of this incarnation);
    ``needed``: at least this one must be seen (1: anything of this incarnation; of a claim: its first message).
    """
    entry = peer.entries.get(service)
    said = None if entry is None else (entry.state, entry.unclean)
    key = (now, peer.silent, peer.not_before, peer.timeout, said, acknowledged < needed, needed > 1)
    known = peer.verdicts.get(key)
    if known is None:
        if len(peer.verdicts) >= _REMEMBERED:
            peer.verdicts.clear()
        known = peer.verdicts[key] = _judge(peer, entry, acknowledged, needed, now)
    return known


def _judge(peer: Peer, entry: ServiceEntry | None, acknowledged: int, needed: int, now: float) -> Verdict:
    if entry is not None and entry.state is State.FROZEN_START:
        return Verdict(peer.name, Standing.HOLDS, f"{peer.name} runs it frozen (FROZEN_START){_age(peer, now)}")
    if peer.silent and now < peer.not_before:
        text = f"{peer.name} was silent, but this node was not scheduled for a while: it listens first"
        return Verdict(peer.name, Standing.UNSURE, text)
    if peer.silent:
        return Verdict(peer.name, Standing.CLEAR, _silence(peer, entry, now))
    if peer.newest is None:
        return Verdict(
            peer.name,
            Standing.UNSURE,
            f"nothing was heard of {peer.name} in the {now - peer.since:.1f} s since this node listens "
            f"(silent after {peer.timeout:g} s)",
        )
    if entry is None:
        return Verdict(
            peer.name,
            Standing.UNEQUAL,
            f"{peer.name} does not have this service with the same nodes: compare conf/services on both",
        )
    if entry.state is State.START_READY:
        return Verdict(peer.name, Standing.CLAIMS, f"{peer.name} claims it (START_READY){_age(peer, now)}")
    if holds(entry):
        part = ", parts may be up" if entry.unclean else ""
        return Verdict(peer.name, Standing.HOLDS, f"{peer.name} holds it ({entry.state.name}{part}){_age(peer, now)}")
    if entry.state not in NOT_HOLDING:
        text = f"{peer.name} says that its state is {entry.state.name}, so it may run there{_age(peer, now)}"
        return Verdict(peer.name, Standing.HOLDS, text)
    if acknowledged < needed and not peer.left:
        what = "the claim" if needed > 1 else "this node"
        return Verdict(peer.name, Standing.UNSURE, f"{peer.name} has not answered {what} yet")
    said = f"{peer.name} left, its last word is" if peer.left else f"{peer.name} says"
    return Verdict(peer.name, Standing.CLEAR, f"{said} {entry.state.name}{_age(peer, now)}")


def _age(peer: Peer, now: float) -> str:
    return f", heard {now - peer.arrival:.3f} s ago"


def _silence(peer: Peer, entry: ServiceEntry | None, now: float) -> str:
    if peer.newest is None:
        listened = now - peer.since
        return f"{peer.name} was never heard in the {listened:.3f} s since this node listens (limit {peer.timeout:g} s)"
    last = f", its last word was {entry.state.name}" if entry is not None else ""
    return f"{peer.name} is silent for {now - max(peer.arrival, peer.since):.3f} s (limit {peer.timeout:g} s){last}"
