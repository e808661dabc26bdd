"""The one transition table: every cell of (state × trigger), as plain data.

Rules of this file: everything that can change a service's state is a row here; a row says what happens and why in
the words that the log, ``ezha why`` and the diagram print; a cell that is not allowed is refused with its reason.
It does not know how a guard is established (``ha.fsm.evidence``), nor how a row is executed (``ha.fsm.machine``).

Theory of operation. A service that may run somewhere goes STOPPED → START_READY → STARTING → STARTED. START_READY is a
*claim*: it is told to all, and settled when every other node of the service has answered it or is silent; of two
claims at once the lower rank withdraws. STARTING covers the check script, the start script and, where either fails,
the cleaning stop. Everything between STARTING and the end of a stop *holds* the service: nobody else may start it.
Rows of a cell are tried from the top; the last one of a cell has no guard.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from ha.fsm.states import State

S = State


class Trigger(Enum):
    """What can happen to a service on this node."""

    __hash__ = object.__hash__  # that of Enum is ten times as slow, and asked for at every step

    # What an operator asks (the values are those of ``states.Action``).
    START = "start"
    STOP = "stop"
    FREEZE_STOP = "freeze-stop"
    FREEZE_START = "freeze-start"
    UNFREEZE = "unfreeze"
    FORCE_STOP = "force-stop"
    FORCE_START = "force-start"
    SWITCH = "switch"
    # What the engine decides.
    CLAIM = "claim"
    SETTLED = "settled"
    YIELD = "yield"
    # How scripts end.
    CHECK_PASSED = "check passed"
    CHECK_FAILED = "check failed"
    START_DONE = "start done"
    START_ERROR = "start error"
    CLEANED = "cleaned"
    NOT_CLEANED = "not cleaned"
    STOP_DONE = "stop done"
    STOP_ERROR = "stop error"
    FOUND_UP = "found up"
    FOUND_DOWN = "found down"
    FOUND_UNKNOWN = "found unknown"
    # What becomes of the node.
    BOOT = "boot"
    RESTART = "restart"
    LEAVE = "leave"
    LAPSE = "lapse"


class Guard(Enum):
    """A condition of a row. What it looks at is established before the table is asked (``machine.Facts``)."""

    CLEAR = "no other node holds or may claim it"
    CONTROLLER_UP = "the controller says that it is up, and nobody overrides"
    BUSY = "a script of the service runs, and nobody overrides"
    OVERRIDE = "an operator overrides"
    FREEZE = "it was asked to end frozen"
    TARGET_READY = "the other node can take it"
    HELD_ELSEWHERE = "another node was heard meanwhile, and holds it"
    FREEZE_SECONDARY = "this is not the primary, and secondaries boot frozen"


class Do(Enum):
    """The script that a row has run, after the new state is on the disk."""

    __hash__ = object.__hash__

    NOTHING = ""
    CHECK = "check script"
    START = "start script"
    STOP = "stop script"
    STATUS = "status script"


class Mark(Enum):
    """What a row changes in the record beside the state."""

    __hash__ = object.__hash__

    CLAIM = "a new generation"
    RUN = "the generation is now a run's"
    FREEZE = "ends frozen"
    THAW = "no longer ends frozen"
    DEMOTE = "ranks last"
    PROMOTE = "ranks as usual"
    UNCLEAN = "may be up in part"
    CLEAN = "nothing is up"
    HANDOVER = "given to a named node"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``dest`` None: refused, nothing changes."""

    state: State
    trigger: Trigger
    guard: Guard | None
    dest: State | None
    reason: str
    """In words. ``{why}`` stands for what the evidence, the script or the operator said."""
    do: Do = Do.NOTHING
    marks: frozenset[Mark] = frozenset()
    unexpected: bool = False
    """A refused event that should not have come at all: logged as an alert, and counted."""


STATES = tuple(s for s in State if s is not S.FORCE_STOP)
"""All states that a service can be in: FORCE_STOP is reserved and never stored (OpenHA)."""

HOLDING = frozenset({S.STARTING, S.STARTED, S.STOPPING, S.STOP_FAILED, S.FROZEN_START})
"""States in which a node holds the service, besides anything unclean (design, "Who may run", rule 5)."""

NOT_HOLDING = frozenset({S.STOPPED, S.FROZEN_STOP, S.START_FAILED})
"""States that are evidence that a node does not hold the service, unless they are unclean (rule 1)."""


def _go(
    states: State | Iterable[State],
    trigger: Trigger,
    dest: State | None,
    reason: str,
    guard: Guard | None = None,
    do: Do = Do.NOTHING,
    *marks: Mark,
) -> list[Row]:
    """Rows for one or several states. ``dest`` None means refused."""
    sources = (states,) if isinstance(states, State) else tuple(states)
    return [Row(s, trigger, guard, dest, reason, do, frozenset(marks)) for s in sources]


def _stay(states: Iterable[State], trigger: Trigger, reason: str, do: Do = Do.NOTHING) -> list[Row]:
    """Allowed, and the state stays."""
    return [Row(s, trigger, None, s, reason, do) for s in states]


T = Trigger
_RESTING = (S.STOPPED, S.START_FAILED, S.STOP_FAILED, S.FROZEN_STOP, S.START_READY, S.UNKNOWN)

_RULES: list[Row] = [
    # ------------------------------------------------------------------ the engine decides
    *_go(S.STOPPED, T.CLAIM, S.START_READY, "{why}", None, Do.NOTHING, Mark.CLAIM, Mark.THAW),
    *_go(S.START_READY, T.SETTLED, S.STARTING, "{why}", None, Do.CHECK, Mark.PROMOTE),
    *_go(S.START_READY, T.YIELD, S.STOPPED, "claim withdrawn: {why}", None, Do.NOTHING, Mark.THAW),
    # ------------------------------------------------------------------ start
    *_go(
        S.STOPPED,
        T.START,
        S.START_READY,
        "an operator asked for the start; {why}",
        Guard.CLEAR,
        Do.NOTHING,
        Mark.CLAIM,
        Mark.THAW,
    ),
    *_go(
        S.UNKNOWN,
        T.START,
        S.START_READY,
        "an operator asked for the start; {why}",
        Guard.CLEAR,
        Do.NOTHING,
        Mark.CLAIM,
        Mark.THAW,
        Mark.UNCLEAN,  # it may be up already: a claim that is withdrawn must not declare it stopped
    ),
    *_go((S.STOPPED, S.UNKNOWN), T.START, None, "{why}"),
    *_go(S.START_READY, T.START, None, "it is about to start already"),
    *_go(S.STARTING, T.START, None, "its start script is running already"),
    *_go(S.STARTED, T.START, None, "it is started already"),
    *_go(S.FROZEN_START, T.START, None, "it is started already (and frozen)"),
    *_go(S.STOPPING, T.START, None, "its stop script is running: wait for its end"),
    *_go(S.START_FAILED, T.START, None, "its last start failed: mend it, then freeze-stop and unfreeze"),
    *_go(S.STOP_FAILED, T.START, None, "its last stop failed: stop what is left, then freeze-stop and unfreeze"),
    *_go(S.FROZEN_STOP, T.START, None, "it is frozen: unfreeze it"),
    # ------------------------------------------------------------------ stop
    *_go(
        (S.STARTED, S.UNKNOWN),
        T.STOP,
        S.STOPPING,
        "an operator asked for the stop",
        None,
        Do.STOP,
        Mark.DEMOTE,
        Mark.THAW,
    ),
    *_go(
        S.START_READY,
        T.STOP,
        S.STOPPED,
        "an operator asked for the stop: claim withdrawn",
        None,
        Do.NOTHING,
        Mark.DEMOTE,
        Mark.THAW,
    ),
    *_go(S.STOPPED, T.STOP, None, "it is stopped already (freeze-stop keeps it so)"),
    *_go(S.STOPPING, T.STOP, None, "its stop script is running already"),
    *_go(S.STARTING, T.STOP, None, "its start script is running: wait for its end, or force-stop --i-know"),
    *_go(S.START_FAILED, T.STOP, None, "its start failed, it is not started: freeze-stop puts it aside"),
    *_go(S.STOP_FAILED, T.STOP, None, "its last stop failed: stop what is left, then freeze-stop"),
    *_go(S.FROZEN_STOP, T.STOP, None, "it is stopped already, and frozen"),
    *_go(S.FROZEN_START, T.STOP, None, "it is frozen: unfreeze it first"),
    # ------------------------------------------------------------------ switch
    *_go(
        S.STARTED,
        T.SWITCH,
        S.STOPPING,
        "an operator gives it to {why}",
        Guard.TARGET_READY,
        Do.STOP,
        Mark.DEMOTE,
        Mark.HANDOVER,
        Mark.THAW,
    ),
    *_go(S.STARTED, T.SWITCH, None, "{why}"),
    *_go([s for s in STATES if s is not S.STARTED], T.SWITCH, None, "it does not run here, so it cannot be given away"),
    # ------------------------------------------------------------------ freeze-stop
    *_go(S.STOPPED, T.FREEZE_STOP, S.FROZEN_STOP, "an operator froze it"),
    *_go(
        (S.START_FAILED, S.STOP_FAILED),
        T.FREEZE_STOP,
        S.FROZEN_STOP,
        "an operator put the failure aside and froze it",
        None,
        Do.STATUS,
        Mark.THAW,
    ),
    *_go(
        S.START_READY,
        T.FREEZE_STOP,
        S.FROZEN_STOP,
        "an operator froze it: claim withdrawn",
        None,
        Do.NOTHING,
        Mark.THAW,
    ),
    *_go(
        S.STARTED,
        T.FREEZE_STOP,
        S.STOPPING,
        "an operator asked to stop and freeze it",
        None,
        Do.STOP,
        Mark.FREEZE,
        Mark.DEMOTE,
    ),
    *_go(S.STOPPING, T.FREEZE_STOP, None, "its stop script is running: wait for its end"),
    *_go(S.STARTING, T.FREEZE_STOP, None, "its start script is running: wait for its end"),
    *_go(S.FROZEN_STOP, T.FREEZE_STOP, None, "it is stopped and frozen already"),
    *_go(S.FROZEN_START, T.FREEZE_STOP, None, "it is frozen while started: unfreeze it first"),
    *_go(S.UNKNOWN, T.FREEZE_STOP, None, "its state here is not known: stop it, or force-stop it"),
    # ------------------------------------------------------------------ freeze-start
    *_go(S.STARTED, T.FREEZE_START, S.FROZEN_START, "an operator froze it"),
    *_go(
        S.STOPPED,
        T.FREEZE_START,
        S.START_READY,
        "an operator asked to start and freeze it; {why}",
        Guard.CLEAR,
        Do.NOTHING,
        Mark.CLAIM,
        Mark.FREEZE,
    ),
    *_go(S.STOPPED, T.FREEZE_START, None, "{why}"),
    *_go(S.START_READY, T.FREEZE_START, None, "it is about to start: wait until it is STARTED"),
    *_go(S.STARTING, T.FREEZE_START, None, "its start script is running: wait for its end"),
    *_go(S.STOPPING, T.FREEZE_START, None, "its stop script is running: wait for its end"),
    *_go(S.FROZEN_START, T.FREEZE_START, None, "it is started and frozen already"),
    *_go(S.FROZEN_STOP, T.FREEZE_START, None, "it is frozen while stopped: unfreeze it first"),
    *_go(S.START_FAILED, T.FREEZE_START, None, "its last start failed: mend it, then freeze-stop and unfreeze"),
    *_go(S.STOP_FAILED, T.FREEZE_START, None, "its last stop failed: stop what is left, then freeze-stop and unfreeze"),
    *_go(S.UNKNOWN, T.FREEZE_START, None, "its state here is not known: start, stop or force-stop it"),
    # ------------------------------------------------------------------ unfreeze
    *_go(S.FROZEN_STOP, T.UNFREEZE, S.STOPPED, "an operator unfroze it"),
    *_go(S.FROZEN_START, T.UNFREEZE, S.STARTED, "an operator unfroze it"),
    *_go([s for s in STATES if s not in (S.FROZEN_STOP, S.FROZEN_START)], T.UNFREEZE, None, "it is not frozen"),
    # ------------------------------------------------------------------ force-stop, force-start
    *_go(STATES, T.FORCE_STOP, None, "a script of it is running: wait for its end (--i-know ends it)", Guard.BUSY),
    *_go(
        STATES,
        T.FORCE_STOP,
        None,
        "its controller says that it is up: stop it (--i-know declares it stopped all the same)",
        Guard.CONTROLLER_UP,
    ),
    *_go(
        STATES,
        T.FORCE_STOP,
        S.STOPPED,
        "an operator declared it stopped{why}",
        None,
        Do.NOTHING,
        Mark.DEMOTE,
        Mark.THAW,
        Mark.CLEAN,
    ),
    *_go(STATES, T.FORCE_START, None, "a script of it is running: wait for its end (--i-know ends it)", Guard.BUSY),
    *_go(
        STATES,
        T.FORCE_START,
        S.STARTED,
        "an operator declared it started, without proof that no other node runs it{why}",
        Guard.OVERRIDE,
        Do.NOTHING,
        Mark.CLAIM,
        Mark.RUN,
        Mark.THAW,
        Mark.PROMOTE,
        Mark.CLEAN,
    ),
    *_go(
        STATES,
        T.FORCE_START,
        S.STARTED,
        "an operator declared it started{why}",
        Guard.CLEAR,
        Do.NOTHING,
        Mark.CLAIM,
        Mark.RUN,
        Mark.THAW,
        Mark.PROMOTE,
        Mark.CLEAN,
    ),
    *_go(STATES, T.FORCE_START, None, "{why} (--i-know declares it started all the same)"),
    # ------------------------------------------------------------------ the start's scripts
    *_go(
        S.STARTING,
        T.CHECK_PASSED,
        S.STOPPED,
        "withdrawn before anything was started: {why}",
        Guard.HELD_ELSEWHERE,
        Do.NOTHING,
        Mark.THAW,
    ),
    *_go(S.STARTING, T.CHECK_PASSED, S.STARTING, "the check script allows the start", None, Do.START, Mark.RUN),
    *_go(
        S.STARTING,
        T.CHECK_FAILED,
        S.START_FAILED,
        "the check script forbids the start: {why}",
        None,
        Do.NOTHING,
        Mark.THAW,
    ),
    *_go(
        S.STARTING,
        T.START_DONE,
        S.FROZEN_START,
        "the start script is done; frozen as asked",
        Guard.FREEZE,
        Do.NOTHING,
        Mark.THAW,
        Mark.CLEAN,
    ),
    *_go(S.STARTING, T.START_DONE, S.STARTED, "the start script is done", None, Do.NOTHING, Mark.CLEAN),
    *_go(S.STARTING, T.START_ERROR, S.STARTING, "the start failed: {why}; it is cleaned up", None, Do.STOP),
    *_go(
        S.STARTING,
        T.CLEANED,
        S.START_FAILED,
        "the start failed, and was cleaned up: another node may take it",
        None,
        Do.NOTHING,
        Mark.CLEAN,
        Mark.THAW,
    ),
    *_go(
        S.STARTING,
        T.NOT_CLEANED,
        S.START_FAILED,
        "the start failed, and so did the cleaning stop: {why}; parts may be up, so nobody takes it",
        None,
        Do.NOTHING,
        Mark.UNCLEAN,
        Mark.THAW,
    ),
    # ------------------------------------------------------------------ the stop's script
    *_go(
        S.STOPPING,
        T.STOP_DONE,
        S.FROZEN_STOP,
        "the stop script is done; frozen as asked",
        Guard.FREEZE,
        Do.NOTHING,
        Mark.CLEAN,
        Mark.THAW,
    ),
    *_go(S.STOPPING, T.STOP_DONE, S.STOPPED, "the stop script is done", None, Do.NOTHING, Mark.CLEAN),
    *_go(
        S.STOPPING,
        T.STOP_ERROR,
        S.STOP_FAILED,
        "the stop failed: {why}; parts may be up, so nobody takes it",
        None,
        Do.NOTHING,
        Mark.UNCLEAN,  # what was to end frozen does so after a boot
    ),
    # ------------------------------------------------------------------ what the controller says
    *_go(S.STARTED, T.FOUND_UP, S.STARTED, "its controller says that it is up: adopted"),
    *_go(S.STARTED, T.FOUND_UNKNOWN, S.STARTED, "its controller does not tell ({why}): adopted as running"),
    *_go(S.STARTED, T.FOUND_DOWN, S.STOPPING, "its controller says that it is down: cleaned up", None, Do.STOP),
    *_go(
        S.STARTING,
        T.FOUND_UP,
        S.FROZEN_START,
        "its controller says that it is up: the start was finished; frozen as asked",
        Guard.FREEZE,
        Do.NOTHING,
        Mark.THAW,
        Mark.CLEAN,
    ),
    *_go(
        S.STARTING,
        T.FOUND_UP,
        S.STARTED,
        "its controller says that it is up: the start was finished",
        None,
        Do.NOTHING,
        Mark.CLEAN,
    ),
    *_go(
        S.STARTING,
        T.FOUND_DOWN,
        S.STOPPING,
        "its controller says that it is down: the half-done start is cleaned up",
        None,
        Do.STOP,
        Mark.THAW,
    ),
    *_go(
        S.STARTING,
        T.FOUND_UNKNOWN,
        S.STOPPING,
        "its controller does not tell ({why}): the half-done start is cleaned up",
        None,
        Do.STOP,
        Mark.THAW,
    ),
    *_go(S.FROZEN_START, T.FOUND_UP, S.FROZEN_START, "its controller says that it is up; it is frozen"),
    *_go(S.FROZEN_START, T.FOUND_DOWN, S.FROZEN_START, "its controller says that it is down, but it is frozen"),
    *_go(S.FROZEN_START, T.FOUND_UNKNOWN, S.FROZEN_START, "its controller does not tell ({why}); it is frozen"),
    *_go(
        S.FROZEN_STOP,
        T.FOUND_DOWN,
        S.FROZEN_STOP,
        "its controller says that nothing is up",
        None,
        Do.NOTHING,
        Mark.CLEAN,
    ),
    *_go(S.FROZEN_STOP, T.FOUND_UP, S.FROZEN_STOP, "its controller says that it is still up: nobody takes it"),
    *_go(S.FROZEN_STOP, T.FOUND_UNKNOWN, S.FROZEN_STOP, "its controller does not tell ({why})"),
    *_go(S.STOPPED, T.FOUND_DOWN, S.STOPPED, "its controller says that nothing is up", None, Do.NOTHING, Mark.CLEAN),
    *_go(S.STOPPED, T.FOUND_UP, S.STOPPED, "its controller says that parts are still up"),
    *_go(S.STOPPED, T.FOUND_UNKNOWN, S.STOPPED, "its controller does not tell ({why})"),
    # ------------------------------------------------------------------ boot, restart, leave
    *_go(
        (S.STOPPING, S.STOP_FAILED),
        T.BOOT,
        S.FROZEN_STOP,
        "the machine booted: it was to be stopped and frozen",
        Guard.FREEZE,
        Do.NOTHING,
        Mark.CLEAN,
        Mark.THAW,
    ),
    *_go(
        [s for s in STATES if s not in (S.FROZEN_STOP, S.FROZEN_START, S.UNKNOWN)],
        T.BOOT,
        S.FROZEN_STOP,
        "the machine booted, and secondaries boot frozen",
        Guard.FREEZE_SECONDARY,
        Do.NOTHING,
        Mark.CLEAN,
        Mark.THAW,
    ),
    *_go(S.FROZEN_STOP, T.BOOT, S.FROZEN_STOP, "the machine booted", None, Do.NOTHING, Mark.CLEAN),
    *_go(
        S.FROZEN_START,
        T.BOOT,
        S.FROZEN_STOP,
        "the machine booted: it was frozen, so it stays stopped",
        None,
        Do.NOTHING,
        Mark.CLEAN,
    ),
    *_go(
        S.UNKNOWN,
        T.BOOT,
        S.FROZEN_STOP,
        "the machine booted, and its last state cannot be read: it stays frozen until an operator unfreezes it",
        None,
        Do.NOTHING,
        Mark.CLEAN,
    ),
    *_go(
        [s for s in STATES if s not in (S.FROZEN_STOP, S.FROZEN_START, S.UNKNOWN)],
        T.BOOT,
        S.STOPPED,
        "the machine booted: nothing runs yet",
        None,
        Do.NOTHING,
        Mark.CLEAN,
        Mark.THAW,
    ),
    *_stay((S.STARTED, S.FROZEN_START), T.RESTART, "nmond restarted: its controller is asked", Do.STATUS),
    *_stay((S.STARTING,), T.RESTART, "nmond restarted in the middle of a start: its controller is asked", Do.STATUS),
    *_stay((S.STOPPING,), T.RESTART, "nmond restarted in the middle of a stop: stopped once more", Do.STOP),
    *_stay(_RESTING, T.RESTART, "nmond restarted"),
    # ------------------------------------------------------------------ the lease
    *_go(S.START_READY, T.LAPSE, S.STOPPED, "claim withdrawn: {why}", None, Do.NOTHING, Mark.THAW),
    *_go(
        (S.STARTED, S.STARTING, S.STOPPING, S.STOP_FAILED, S.START_FAILED, S.STOPPED),
        T.LAPSE,
        S.STOPPING,
        "{why}; its running script is killed first",
        Guard.BUSY,
        Do.NOTHING,
        Mark.UNCLEAN,
    ),
    *_go(
        (S.FROZEN_START, S.UNKNOWN, S.FROZEN_STOP),
        T.LAPSE,
        S.STOPPING,
        "{why}; its running script is killed first, and it ends frozen",
        Guard.BUSY,
        Do.NOTHING,
        Mark.UNCLEAN,
        Mark.FREEZE,
    ),
    *_go(
        S.FROZEN_START,
        T.LAPSE,
        S.STOPPING,
        "{why}: emergency stop, before the other nodes knew that it is frozen",
        None,
        Do.STOP,
        Mark.UNCLEAN,
        Mark.FREEZE,
    ),
    *_go(
        S.UNKNOWN,
        T.LAPSE,
        S.STOPPING,
        "{why}: emergency stop; it ends frozen, for it may have been frozen before its state was lost",
        None,
        Do.STOP,
        Mark.UNCLEAN,
        Mark.FREEZE,
    ),
    *_go(
        (S.STARTED, S.STARTING, S.START_FAILED),
        T.LAPSE,
        S.STOPPING,
        "{why}: emergency stop",
        None,
        Do.STOP,
        Mark.UNCLEAN,
        Mark.THAW,
    ),
    *_go(S.STOP_FAILED, T.LAPSE, S.STOPPING, "{why}: emergency stop", None, Do.STOP, Mark.UNCLEAN),
    *_go(S.STOPPING, T.LAPSE, S.STOPPING, "{why}: emergency stop", None, Do.STOP),
    *_go(S.STOPPED, T.LAPSE, S.STOPPING, "{why}: emergency stop, for parts may be up", None, Do.STOP),
    *_go(
        S.FROZEN_STOP,
        T.LAPSE,
        S.STOPPING,
        "{why}: emergency stop, for parts may be up; it ends frozen",
        None,
        Do.STOP,
        Mark.FREEZE,
    ),
    *_go(S.STARTED, T.LEAVE, S.STOPPING, "this node leaves the cluster", None, Do.STOP, Mark.THAW),
    *_go(S.START_READY, T.LEAVE, S.STOPPED, "this node leaves the cluster: claim withdrawn"),
    *_go((S.STARTING, S.STOPPING), T.LEAVE, None, "its script is running: waited for"),
    *_stay(
        [s for s in STATES if s not in (S.STARTED, S.START_READY, S.STARTING, S.STOPPING)],
        T.LEAVE,
        "this node leaves the cluster; the state stays",
    ),
]


def _complete(rules: list[Row]) -> tuple[Row, ...]:
    """Every cell that no rule names is an event that cannot come in that state: refused, alerted, counted."""
    written = {(r.state, r.trigger) for r in rules}
    rest = [
        Row(s, t, None, None, f"“{t.value}” came while {s.name}, which cannot be: ignored", unexpected=True)
        for s in STATES
        for t in Trigger
        if (s, t) not in written
    ]
    return tuple(rules + rest)


TABLE: tuple[Row, ...] = _complete(_RULES)


def cells() -> dict[tuple[State, Trigger], tuple[Row, ...]]:
    """The table by cell, each cell's rows in the order in which they are tried."""

    def key(row: Row) -> tuple[int, int]:
        return (STATES.index(row.state), list(Trigger).index(row.trigger))

    ordered = sorted(TABLE, key=key)  # stable: keeps the order of rows within a cell
    return {(g[0].state, g[0].trigger): tuple(g) for g in (list(rows) for _, rows in groupby(ordered, key))}
