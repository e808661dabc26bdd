"""What goes into the engine and what comes out of it.

Events are facts ("this message came", "this script ended with 1"); effects are what the driver (nmond, or the
simulator) must do, with the order that it owes. Neither decides anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ha.fsm.config import ClusterConfig, PathId
from ha.fsm.message import Heartbeat, Incarnation
from ha.fsm.record import ServiceRecord
from ha.fsm.states import Action, Promise, ScriptKind, State

# --------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: sent at ``Engine.next_deadline()`` or later."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """An authentic, well-formed message of a peer came on one of its paths."""

    message: Heartbeat
    path: PathId
    arrival: float
    """Monotonic seconds at which it came (not at which it is looked at)."""


@dataclass(frozen=True, slots=True)
class News:
    """All messages that lay ready when the paths were read: taken in together, before anything is concluded from one.

    A claim must not be settled on the strength of one message while another, unread, forbids it.
    """

    messages: tuple[MessageReceived, ...]
    reads: tuple["SlotRead", ...] = ()
    """Looks at slots that ended meanwhile; what they showed is among the messages."""
    written: tuple["Written", ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The disk confirmed that one of our messages is in our slot: the heartbeat renews the lease (rule 3)."""

    index: int
    """Which of our own lines in ``monitor``."""
    seq: int
    at: float
    """Monotonic seconds at which it was known to be confirmed."""


class SlotView(Enum):
    """What a look at another node's slot showed."""

    SAME = "the same bytes as the look before"
    NEW = "a message, that came as an event of its own"
    EMPTY = "zeros: never written, or cleared"
    FOREIGN = "other bytes than before, of which nothing can be accepted"
    FAILED = "it could not be read"


@dataclass(frozen=True, slots=True)
class SlotRead:
    """A look at the slot of another node ended. One that failed proves nothing."""

    path: PathId
    begun: float
    """Monotonic seconds at which the read was begun."""
    view: SlotView


@dataclass(frozen=True, slots=True)
class OwnSlot:
    """One of our own disk lines was opened: whose bytes were found in our slot."""

    index: int
    found: Incarnation | None
    """Of the message of ours that is in it; None: there is none."""
    seq: int = 0
    """Of that message."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What would end this node's services now if nmond did not: watchdog, guardian, or nothing."""

    promise: Promise


@dataclass(frozen=True, slots=True)
class Fenced:
    """A fencing of another node ended."""

    node: str
    ok: bool
    """Only True (exit code 0 of the fence command) is evidence that the node is down."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Arbitrated:
    """What the arbiter (etcd) says of a service: whose it is."""

    service: str
    ours: bool
    """It is ours until ``asked`` + L; False: it is another's, or was given back."""
    asked: float
    """Monotonic seconds at which the request was sent that was answered so."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ConfirmDown:
    """An operator states that a node is off. Valid until the node is heard."""

    id: str
    node: str
    by: str = "operator"


@dataclass(frozen=True, slots=True)
class Command:
    """An operator's wish."""

    id: str
    """Comes back in the ``Reply``. Unique among the commands under way."""
    service: str
    action: Action
    override: bool = False
    """``--i-know``."""
    target: str = ""
    """SWITCH: the node that is to take it; empty: the next one."""
    by: str = "operator"
    """Who asked, for the history."""


class Ended(Enum):
    """How a script ended."""

    EXITED = "exited"
    KILLED = "killed"
    """By a signal: ours after a timeout, or a stranger's."""
    NOT_STARTED = "not started"
    """exec failed: no such file, not executable, fork failed."""
    LOST = "lost"
    """It was left over from a killed nmond and has ended; how is not known."""


@dataclass(frozen=True, slots=True)
class ScriptEnded:
    service: str
    job: int
    how: Ended
    code: int = 0
    """Exit code (EXITED), signal number (KILLED) or errno (NOT_STARTED)."""
    detail: str = ""
    """Last line of output or the error, for the history. At most 200 characters."""


@dataclass(frozen=True, slots=True)
class ScriptsEnded:
    """Several ends, in their order, as one fact: what follows from all of them is persisted at once."""

    ends: tuple[ScriptEnded, ...]


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """The configuration was read anew, and is valid as a whole."""

    config: ClusterConfig


@dataclass(frozen=True, slots=True)
class Leave:
    """``ezha.init stop``: give every STARTED service up, then say "left"."""


Event = (
    Tick
    | MessageReceived
    | News
    | Written
    | SlotRead
    | OwnSlot
    | Guarded
    | Fenced
    | Arbitrated
    | ConfirmDown
    | Command
    | ScriptEnded
    | ScriptsEnded
    | ConfigChanged
    | Leave
)

# -------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class RunScript:
    """Start this script. At most one job of a service exists at any time; the engine sees to it."""

    service: str
    job: int
    kind: ScriptKind
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KillScript:
    """Signal the process group of this job."""

    service: str
    job: int
    force: bool
    """False: SIGTERM. True: SIGKILL."""


@dataclass(frozen=True, slots=True)
class FenceNode:
    """Fence another node: run its fence command. ``Fenced`` tells how it ended; it is asked for again with back-off."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Arbitrate:
    """Ask the arbiter for a service and keep it renewed, or give it back. ``Arbitrated`` tells the answers."""

    service: str
    want: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of a command."""

    id: str
    service: str
    ok: bool
    text: str
    """One sentence for the operator."""
    final: bool = True
    """False: progress (``text`` says what goes on)."""


class NoteKind(Enum):
    TRANSITION = "transition"
    REFUSED = "refused"
    """A command or a decision that was not taken, and why."""
    PATH = "path"
    PEER = "peer"
    ALERT = "alert"
    """A state of the world that was not expected: logged loudly and counted."""


@dataclass(frozen=True, slots=True)
class Note:
    """A line of history: what was decided, and on what evidence."""

    kind: NoteKind
    service: str
    """Empty where it concerns the node as a whole."""
    text: str
    """The reason, in words."""
    source: State | None = None
    dest: State | None = None
    by: str = "ezha"
    evidence: tuple[str, ...] = ()
    """One sentence for each path or node that the decision rests on, with ages."""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Effects:
    """What the driver owes after an event, in this order, each step finished before the next begins:

    1. ``self_fence``: this machine is ended, as ``self_fence`` in options.toml says: nothing below matters any more;
    2. ``kill``: these scripts are signalled;
    3. ``persist``: all of these records, and the incarnation, are on the disk (one write for all);
       where that fails nothing below happens, and ``Engine.rollback`` takes the step back (but see ``urgent``);
    4. ``guard``: watchdog and guardian know until when they must hold still;
    5. ``send``: this message is handed to every path of this node;
    6. ``look``: every slot of another node is read, from now on;
    7. ``fence``, ``arbitrate``: these are asked for;
    8. ``run``: these scripts are started;
    9. ``notes`` and ``replies``: told to history, log, notify command and operators.
    """

    self_fence: str = ""
    """Why; empty: no."""
    guard: float | None = None
    """None: as before. Monotonic seconds: unless a later time is told before then, what still runs here is to be ended
    with the machine; ``inf``: nothing runs that a lease covers."""
    urgent: bool = False
    """Nothing but lapses: where the records cannot be persisted, the rest is done all the same, and ``Engine.unsaved``
    is told. What is stopped does not depend on what the disk says of it; that it is stopped does."""
    look: bool = False
    fence: tuple[FenceNode, ...] = ()
    arbitrate: tuple[Arbitrate, ...] = ()
    kill: tuple[KillScript, ...] = ()
    persist: tuple[ServiceRecord, ...] = ()
    incarnation: int = 0
    """Not 0: the counter of the incarnation changed and must be persisted, too."""
    send: Heartbeat | None = None
    run: tuple[RunScript, ...] = ()
    notes: tuple[Note, ...] = ()
    replies: tuple[Reply, ...] = ()
    left: bool = False
    """Nothing is left to stop: the driver may send the last message and end."""


NOTHING = Effects()
