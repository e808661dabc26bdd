"""The one definition of what nodes tell each other: a heartbeat.

It knows nothing of bytes (``ha.heartbeats.codec``) nor of how it travels (``ha.heartbeats.media``).
"""

from dataclasses import dataclass

from ha.fsm.states import Promise, State

MAX_COUNTER = 2**40 - 1
"""The largest counter of an incarnation, and the largest sequence number."""
MAX_GENERATION = 2**28 - 1


@dataclass(frozen=True, slots=True, order=True)
class Incarnation:
    """One life of a node's nmond, in the order of their counters.

    ``counter`` (1 … 2**40-1) is kept on disk and grows by one at every start; ``nonce`` (0 … 2**32-1) is random,
    so that two nodes that were given the same name, or a node restored from a snapshot, are told apart.
    """

    counter: int
    nonce: int


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """What a node says about one of its services."""

    id: int
    """``identity.service_id`` (0 … 2**32-1) of name, ordered nodes and protection: unequal configurations differ."""
    state: State
    generation: int
    """Of the present claim or run, or of the last one this node has had (0 … 2**28-1). 0: never."""
    unclean: bool = False
    """START_FAILED only: the cleaning stop failed too, so it may still be running in part."""
    last_ran: bool = False
    """As far as the sender knows the service ran here last. Frozen while a claim is held: rank is computed from it."""
    demoted: bool = False
    """It was just told to stop here: ranks last."""
    lapsed: bool = False
    """The sender has no standing (no lease) for this service: it neither runs nor may claim it."""


@dataclass(frozen=True, slots=True)
class Ack:
    """What the sender has last seen of another node, per path of that node."""

    node: int
    """``identity.node_id`` of the node that is acknowledged."""
    incarnation: Incarnation
    seqs: tuple[int, ...]
    """Newest sequence number of that incarnation seen on each of its lines in ``monitor``, in their order; 0: none."""


@dataclass(frozen=True, slots=True)
class Handover:
    """The sender gives this service up in favour of one node (``ezha switch``)."""

    service: int
    node: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One message. Every path carries the same ones; (incarnation, seq) orders them."""

    cluster: int
    """``identity.cluster_id``."""
    node: int
    """``identity.node_id`` of the sender."""
    incarnation: Incarnation
    seq: int
    """1 … 2**40-1, one more with every message of the incarnation."""
    promise: Promise
    standing: bool
    """The node as a whole may hold services (it has not lapsed)."""
    left: bool
    """The node's ezha was shut down on purpose: it claims nothing until a new incarnation is heard."""
    timeout_ms: int
    """T of the sender: the largest timeout of its lines in ``monitor``. 1 … 2**32-1 ms."""
    lease_ms: int
    """L of the sender, 0 where it keeps no lease."""
    paths_digest: int
    """Digest of the sender's view of ``monitor`` (0 … 2**32-1)."""
    services: tuple[ServiceEntry, ...]
    """In ascending order of id, each id once."""
    acks: tuple[Ack, ...] = ()
    """In ascending order of node, each node once."""
    handovers: tuple[Handover, ...] = ()
