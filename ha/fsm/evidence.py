"""Whether another node may hold a service: rules 1 and 2 of "Who may run" (docs/design.md).

Evidence is judged node by node, for *every* other node of the service. This module looks at what was heard; it
decides nothing and changes nothing.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from ha.fsm.message import ServiceEntry
from ha.fsm.peers import Peer
from ha.fsm.states import Promise, State
from ha.fsm.table import HOLDING, NOT_HOLDING

_REMEMBERED: Final = 32


class Standing(Enum):
    """What another node is to a service, as far as is known here."""

    CLEAR = "it does not hold the service"
    HOLDS = "it holds the service, or may hold it"
    CLAIMS = "it claims the service"
    UNSURE = "it has not said, or not answered yet"
    UNEQUAL = "its configuration of the service differs"
    UNDECIDED = "it is silent, and only a person can say that it does not run the service"
    UNPROVEN = "it is silent, which does not prove that it does not run the service: it has to be fenced"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on one node, and the sentence that says why."""

    node: str
    standing: Standing
    text: str

    @property
    def clear(self) -> bool:
        return self.standing is Standing.CLEAR


@dataclass(frozen=True, slots=True)
class Terms:
    """What the protection of a service asks for, beside T, before the silence of a node is believed."""

    disk: bool = False
    """Its slots were looked at, after it had been silent for T and after our claim was known."""
    fencing: bool = False
    """Or it was fenced."""
    etcd: bool = False
    """The arbiter has given the service to us."""
    ours: bool = False
    """It has."""
    known_at: float = float("-inf")
    """Since when our claim is confirmed on a disk; ``inf``: it is not yet. (``-inf``: there is no claim.)"""
    devices: frozenset[str] = frozenset()
    """Disks that are proven to be shared (rule 6)."""
    accept_unfenced: bool = False
    paths_digest: int = 0
    """Of our own view of ``monitor`` (rule 9)."""

    @property
    def leased(self) -> bool:
        return self.disk or self.etcd


_BY_HAND: Final = "confirm-down it, or accept_unfenced"
NO_TERMS: Final = Terms()
"""``protection = "none"``: silence alone."""


def holds(entry: ServiceEntry) -> bool:
    """Rule 5: these all hold, alike."""
    return entry.state in HOLDING or entry.unclean


def judge(peer: Peer, service: int, acknowledged: int, needed: int, now: float, terms: Terms = NO_TERMS) -> Verdict:
    """What ``peer`` is to ``service``.

    ``acknowledged``: the newest sequence number of ours that it saw (0: none of this incarnation);
    ``needed``: at least this one must be seen (1: anything of this incarnation; of a claim: its first message).
    """
    entry = peer.entries.get(service)
    said = None if entry is None else (entry.state, entry.unclean)
    if peer.left:
        needed = 1  # it answers no more; but that it left since our start it must have said
    key = (now, peer.silent, peer.down, peer.not_before, peer.limit, said, acknowledged < needed, needed > 1, terms)
    known = peer.verdicts.get(key)
    if known is None:
        if len(peer.verdicts) >= _REMEMBERED:
            peer.verdicts.clear()
        known = peer.verdicts[key] = _judge(peer, entry, acknowledged, needed, now, terms)
    return known


def remembered(peer: Peer, service: str, terms: Terms) -> Verdict | None:
    """What an earlier nmond had heard of ``peer`` last, where that bars whatever its silence proves now."""
    before = peer.before
    if peer.newest is not None or peer.down or before is None:
        return None
    heard = "when it was last heard, by the nmond before this one"
    if service in before.frozen:
        return Verdict(peer.name, Standing.HOLDS, f"{peer.name} ran it frozen (FROZEN_START) {heard}")
    if peer.silent and terms.disk and service in before.unpromised and not terms.accept_unfenced:
        text = f"{peer.name} may run it, and promised nothing that would end it, {heard}: {_BY_HAND}"
        return Verdict(peer.name, Standing.UNPROVEN if terms.fencing else Standing.UNDECIDED, text)
    return None


def _judge(peer: Peer, entry: ServiceEntry | None, acknowledged: int, needed: int, now: float, terms: Terms) -> Verdict:
    if peer.down:
        return Verdict(peer.name, Standing.CLEAR, f"{peer.name} is down: {peer.down}")
    if entry is not None and entry.state is State.FROZEN_START:
        return Verdict(peer.name, Standing.HOLDS, f"{peer.name} runs it frozen (FROZEN_START){_age(peer, now)}")
    if terms.leased and peer.newest is not None and (unequal := _unequal(peer, terms)):
        return Verdict(peer.name, Standing.UNEQUAL, unequal)
    if terms.leased and peer.newest is not None and entry is None and not peer.left:
        text = f"{peer.name} did not have this service with the same nodes: what it ran before may run there yet"
        return Verdict(peer.name, Standing.UNEQUAL, f"{text}; compare conf/services on both, or confirm-down it")
    if peer.silent and now < peer.not_before:
        text = f"{peer.name} was silent, but this node was not scheduled for a while: it listens first"
        return Verdict(peer.name, Standing.UNSURE, text)
    if peer.silent:
        return _of_silence(peer, entry, now, terms)
    if peer.newest is None:
        return Verdict(
            peer.name,
            Standing.UNSURE,
            f"nothing was heard of {peer.name} in the {now - peer.since:.1f} s since this node listens "
            f"(silent after {peer.limit:g} s)",
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
    if acknowledged < needed:
        what = "the claim" if needed > 1 else "this node"
        return Verdict(peer.name, Standing.UNSURE, f"{peer.name} has not answered {what} yet")
    if peer.left and (open_yet := _unseen(peer, terms.known_at, terms)):
        return Verdict(peer.name, Standing.UNSURE, f"{peer.name} left, and may come back: {open_yet}")
    said = f"{peer.name} left, its last word is" if peer.left else f"{peer.name} says"
    return Verdict(peer.name, Standing.CLEAR, f"{said} {entry.state.name}{_age(peer, now)}")


def _unequal(peer: Peer, terms: Terms) -> str:
    """Rule 9: in what its last message differs from our configuration, in words."""
    newest = peer.newest
    assert newest is not None
    if newest.paths_digest != terms.paths_digest:
        return f"{peer.name} has another conf/monitor: compare it on both"
    if newest.timeout_ms != round(peer.timeout * 1000):
        return (
            f"{peer.name} counts with a timeout of {newest.timeout_ms / 1000:g} s, conf/monitor says {peer.timeout:g} s"
        )
    return ""


def _of_silence(peer: Peer, entry: ServiceEntry | None, now: float, terms: Terms) -> Verdict:
    """It was not heard for T: what that proves depends on the protection."""
    silence = _silence(peer, entry, now)
    doubt, standing = "", Standing.UNSURE
    if terms.etcd and not terms.ours:
        doubt = "the arbiter has not given the service to this node"
    elif terms.disk and (doubt := _unpromised(peer, entry, terms)):
        standing = Standing.UNDECIDED
    elif terms.disk:
        doubt = _unseen(peer, max(peer.quiet_at, terms.known_at), terms)
    elif terms.fencing and not terms.etcd:
        doubt = "it was not fenced"
    if not doubt:
        return Verdict(peer.name, Standing.CLEAR, silence)
    return Verdict(peer.name, Standing.UNPROVEN if terms.fencing else standing, f"{silence}; but {doubt}")


def _unpromised(peer: Peer, entry: ServiceEntry | None, terms: Terms) -> str:
    """Rule 4: nothing would end what runs on a node that promised nothing."""
    newest = peer.newest
    if newest is None or newest.promise is not Promise.NONE or terms.accept_unfenced:
        return ""
    if entry is not None and not holds(entry) and entry.state in NOT_HOLDING:
        return ""
    return f"{peer.name} promised nothing that would end it: {_BY_HAND}"


def _unseen(peer: Peer, since: float, terms: Terms) -> str:
    """What is missing of a look at its slots that began at ``since`` or later; empty: nothing, or none is asked for."""
    if not terms.disk:
        return ""
    if since == float("inf"):
        return "our claim is not on the disk yet"
    if peer.looked(terms.devices) >= since:
        return ""
    if any(path.foreign > path.read for path in peer.paths):
        return f"its slot changes, and nothing in it can be accepted (other key or version): see hb -s on {peer.name}"
    return "its slot on the shared disk has not been read since"


def _age(peer: Peer, now: float) -> str:
    return f", heard {now - peer.arrival:.3f} s ago"


def _silence(peer: Peer, entry: ServiceEntry | None, now: float) -> str:
    if peer.newest is None:
        listened = now - peer.since
        return f"{peer.name} was never heard in the {listened:.3f} s since this node listens (limit {peer.limit:g} s)"
    last = f", its last word was {entry.state.name}" if entry is not None else ""
    return f"{peer.name} is silent for {now - max(peer.arrival, peer.since):.3f} s (limit {peer.timeout:g} s){last}"
