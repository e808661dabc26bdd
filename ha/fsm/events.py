"""What goes into the engine and what comes out of it.

Events are facts ("this message came", "this script ended with 1"); effects are what the driver (nmond, or the
simulator) must do, with the order that it owes. Neither decides anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ha.fsm.config import ClusterConfig, PathId
from ha.fsm.message import Heartbeat
from ha.fsm.record import ServiceRecord
from ha.fsm.states import Action, ScriptKind, State

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


Event = Tick | MessageReceived | News | Command | ScriptEnded | ScriptsEnded | ConfigChanged | Leave

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

    1. ``kill``: these scripts are signalled;
    2. ``persist``: all of these records, and the incarnation, are on the disk (one write for all);
       where that fails nothing below happens, and ``Engine.rollback`` takes the step back;
    3. ``send``: this message is handed to every path of this node;
    4. ``run``: these scripts are started;
    5. ``notes`` and ``replies``: told to history, log, notify command and operators.
    """

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
