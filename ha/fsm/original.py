"""A peer that is an original OpenHA node: what its messages mean to this engine, and what this engine owes it.

It sends the digit of every service once a second with the seconds of its wall clock. It acknowledges nothing, keeps no
lease, counts no starts, and shows one digit (7) for a service that is about to start and for one that is frozen while
it runs. So

* its life shows in its seconds: whatever they change to, it lives; a clock that was set back begins another *epoch*,
  which stands where another node has its incarnation;
* a run of it that begins is given the generation that it would have had here;
* a 7 after anything but rest is FROZEN_START; and nobody takes over from a 7 that fell silent, whichever it was;
* a START_FAILED of it is unclean: the original calls no stop after a failed start;
* a claim that it is to see waits for ``GRACE_S`` and then looks again, as its own do, for nothing else would tell
  whether the claim was seen.

Nothing of this proves that it does not run a service when it is silent (docs/migration.md, "What is not protected").
Rules of the original: spec "OpenHA", "The decision". Pure, as all of ``ha.fsm``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from ha.fsm.config import OPENHA, ClusterConfig
from ha.fsm.evidence import Standing, Verdict, holds
from ha.fsm.identity import node_id
from ha.fsm.message import MAX_GENERATION, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.peers import Peer
from ha.fsm.states import Promise, State
from ha.fsm.table import NOT_HOLDING

GRACE_S: Final = 5.0
"""Between a claim and the second look."""
LOOP_S: Final = 2.0
"""So often its nmond looks at every service."""
BEAT_S: Final = 1.0
"""So often it sends, and so seldom: a change waits for the next message."""
COURTESY_S: Final = LOOP_S + 3 * BEAT_S
"""So long an original node is given for a claim of its own to be seen here: its loop, its message, our look at a disk,
and a message more for one that is lost."""
SENT_COURTESY_S: Final = COURTESY_S + GRACE_S + LOOP_S
"""And so long where an operator sent the service there: its nmond may be busy with another one before that."""
_EZHA: Final = 1
"""In the place of an incarnation's random part: it is a node of ezha."""
_RUNNING: Final = frozenset({State.STARTING, State.STARTED})


def is_original(peer: Peer) -> bool:
    """Whether the peer speaks as an original node does; then it does so on every path (``ha.node.config.wires``)."""
    return bool(peer.paths) and peer.paths[0].config.wire == OPENHA


def speaks_only(peer: Peer) -> bool:
    """Whether the peer, which speaks as an original node does, is known to be one of ezha."""
    return peer.newest is not None and peer.newest.incarnation.nonce == _EZHA


def life(peer: Peer) -> str:
    """What began with the peer's last message, which is the first of an incarnation, or of an epoch."""
    if not is_original(peer):
        return "a new incarnation"
    assert peer.newest is not None, peer.name
    kind = "a node of ezha that speaks as OpenHA does" if speaks_only(peer) else "an OpenHA node"
    return kind if peer.newest.incarnation.counter == 1 else f"{kind}, its clock was set back, or it was replaced"


def is_another(peer: Peer, paths: Iterable[str]) -> bool:
    """Whether what was known of a peer came over ``paths`` (their text) in the other language: it counts no more."""
    return is_original(peer) != any(text.endswith(f" {OPENHA}") for text in paths)


# ---------------------------------------------------------------------------------------------- what we hear


def heard(
    config: ClusterConfig,
    node: str,
    listener: str,
    seconds: int,
    states: Iterable[tuple[str, State]],
    by_ezha: bool = False,
) -> Heartbeat:
    """A message of ``node``, as ``listener`` hears it: of the services that the two share, by the configuration here.

    ``seconds``: of the sender's clock, 0 … 2**32-1. Names that the configuration does not know are nobody's.
    ``by_ezha``: it is a node of ezha that speaks as an original one does.
    """
    shared = {name: s.id for name, s in config.services.items() if node in s.nodes and listener in s.nodes}
    entries = (
        ServiceEntry(shared[name], state, 0, unclean=state is State.START_FAILED)
        for name, state in states
        if name in shared
    )
    return Heartbeat(
        cluster=config.cluster_id,
        node=node_id(node),
        incarnation=Incarnation(1, _EZHA if by_ezha else 0),
        seq=seconds + 1,
        promise=Promise.NONE,
        standing=True,
        left=False,
        timeout_ms=round(config.timeout_of(node) * 1000),
        lease_ms=0,
        paths_digest=config.paths_digest,
        services=tuple(sorted(entries, key=lambda entry: entry.id)),
    )


def placed(message: Heartbeat, peer: Peer, index: int, floors: Mapping[int, int]) -> Heartbeat:
    """The same message with its epoch, and with what the messages before it tell of its states.

    ``index``: the path that brought it. ``floors``: by service, the highest generation known here.
    """
    epoch, kind = 1, message.incarnation.nonce
    if peer.newest is not None:
        epoch = peer.newest.incarnation.counter
        if message.seq <= peer.newest.seq:
            kind = peer.newest.incarnation.nonce  # what a disk kept of the node that was replaced is no news
        if message.seq < peer.paths[index].seq or kind != peer.newest.incarnation.nonce:
            epoch += 1
    entries = tuple(_entry(each, peer.entries.get(each.id), floors.get(each.id, 0)) for each in message.services)
    if peer.newest is not None and entries == peer.newest.services:
        entries = peer.newest.services  # the very same ones: so that nobody compares them again
    return replace(message, incarnation=Incarnation(epoch, kind), services=entries)


def _entry(entry: ServiceEntry, before: ServiceEntry | None, floor: int) -> ServiceEntry:
    at_rest = before is not None and not holds(before) and before.state in (*NOT_HOLDING, State.START_READY)
    if entry.state is State.START_READY and not at_rest:
        entry = replace(entry, state=State.FROZEN_START)
    known = 0 if before is None else before.generation
    if holds(entry) and (before is None or not holds(before)):
        return replace(entry, generation=min(1 + max(floor, known), MAX_GENERATION))
    return replace(entry, generation=known)


def judged(peer: Peer, entry: ServiceEntry | None, verdict: Verdict) -> Verdict:
    """The verdict on an original node: a 7 that fell silent may be a run that was frozen, unless the node is off. Where
    it can be fenced that is what it takes, and nothing is believed before."""
    seven = entry is not None and entry.state is State.START_READY
    if not seven or peer.down or verdict.standing in (Standing.CLAIMS, Standing.UNPROVEN):
        return verdict
    text = f"{peer.name} fell silent as it said 7 (START_READY, or frozen while it runs): it may run there"
    return Verdict(peer.name, Standing.HOLDS, text)


# ------------------------------------------------------------------------------------------------- our claims


def seen(peer: Peer, service: int) -> State:
    """The state of a service as the original's rules count it: of a node that is not heard, UNKNOWN."""
    entry = peer.entries.get(service)
    return entry.state if entry is not None and peer.living else State.UNKNOWN


def objection(primary: bool, before: State, now: State, verdict: Verdict) -> str:
    """The second look, at the end of the grace: why a claim of ours is withdrawn; empty: nothing speaks against it.

    ``before`` and ``now``: of the other node, when the claim was made and at present. As the original: a secondary
    withdraws where anything changed, a primary only where the other starts or runs it; and both where it holds it in
    any other way that the original would not notice.
    """
    if now in _RUNNING or verdict.standing in (Standing.HOLDS, Standing.UNEQUAL):
        return verdict.text
    if not primary and now is not before:
        return f"{verdict.node} is {now.name}, it was {before.name} when this secondary node made its claim"
    return ""


# ---------------------------------------------------------------------------------------------- what we tell it


def told(message: Heartbeat, config: ClusterConfig, node: str) -> tuple[tuple[str, State], ...]:
    """What a message of ours (``node``) says in the original's terms: names and states in the order of ``services``.

    What a failed stop left unclean is a failed stop to it, whatever became of it since: it must not start there.
    """
    entries = {entry.id: entry for entry in message.services}
    own = ((s.name, entries[s.id]) for s in config.services.values() if node in s.nodes and s.id in entries)
    return tuple(
        (name, State.STOP_FAILED if entry.unclean and entry.state in NOT_HOLDING else entry.state)
        for name, entry in own
    )
