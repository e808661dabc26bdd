"""One service as the engine holds it: its record, and what need not outlive nmond.

Immutable, so that a step can be taken back by putting the old objects in place again (``Engine.rollback``).
"""

from dataclasses import dataclass

from ha.fsm.config import ServiceConfig
from ha.fsm.events import Command
from ha.fsm.message import ServiceEntry
from ha.fsm.record import ServiceRecord, may_run
from ha.fsm.states import Action, ScriptKind, State

ORPHAN = 0
"""The job number of a script that was left over from a killed nmond."""


@dataclass(frozen=True, slots=True)
class Job:
    """A script that runs. Times are monotonic seconds."""

    id: int
    kind: ScriptKind
    started: float
    deadline: float
    """When the next harder measure is taken: SIGTERM, SIGKILL, given up."""
    killed: int = 0
    """Measures taken: 0 none, 1 SIGTERM, 2 SIGKILL, 3 given up: it cannot be killed, and nothing runs beside it."""
    over: bool = False
    """It has ended, which could not be put on record: its end comes again soon."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command whose outcome somebody waits for."""

    command: str
    action: Action
    good: frozenset[State]
    bad: frozenset[State]
    target: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """Record, configuration, and the volatile rest."""

    config: ServiceConfig
    id: int
    record: ServiceRecord
    job: Job | None = None
    claim_seq: int = 0
    """First message that carried the present claim; 0: not sent yet."""
    claim_last_ran: bool = False
    """Frozen when the claim is made, so that both sides of a collision rank the same facts."""
    waiting: Waiting | None = None
    pending: Command | None = None
    """A force-stop or force-start that waits for the controller's answer, or for the end of a script."""
    queued: Command | None = None
    """A command that came while the controller was being asked: carried out at the answer."""
    adopting: bool = False
    """nmond restarted: once the leftover script ends, the controller is asked."""
    outranked_since: float | None = None
    """Since when the evidence would allow a claim, but a node that ranks higher is given time for its own."""

    lapsed_at: float | None = None
    """When the lease lapsed under which it ran, until it is known to be stopped."""
    exempt: bool = False
    """FROZEN_START, and all others know it: nobody takes it over, so no lease is needed."""
    claimed_at: float = 0.0
    """When the present claim was sent first. Monotonic seconds."""
    claim_saw: State = State.UNKNOWN
    """What the other node was then, where that is an original OpenHA node (``ha.fsm.original``)."""

    @property
    def state(self) -> State:
        return self.record.state

    def moved(self, record: ServiceRecord, claim_last_ran: bool) -> "Service":
        """After a row of the table. (``dataclasses.replace`` takes several times as long: a thousand move at once.)"""
        return Service(
            self.config,
            self.id,
            record,
            self.job,
            0,
            claim_last_ran,
            self.waiting,
            self.pending,
            self.queued,
            self.adopting,
            None,
            self.lapsed_at if may_run(record) else None,
            self.exempt and record.state is State.FROZEN_START,
        )

    def busy(self, job: Job) -> "Service":
        """With its script. As ``moved``, for speed."""
        return Service(
            self.config,
            self.id,
            self.record,
            job,
            self.claim_seq,
            self.claim_last_ran,
            self.waiting,
            self.pending,
            self.queued,
            self.adopting,
            self.outranked_since,
            self.lapsed_at,
            self.exempt,
            self.claimed_at,
            self.claim_saw,
        )

    @property
    def last_ran(self) -> bool:
        """As far as we know nobody ran it after us."""
        return 0 < self.record.last_run >= self.record.seen

    def entry(self, leaving: bool = False) -> ServiceEntry:
        """What our messages say about it. ``leaving``: a node that leaves the cluster is no better one for anything."""
        record = self.record
        claiming = record.state is State.START_READY
        ahead = claiming or record.state is State.STARTING
        return ServiceEntry(
            self.id,
            record.state,
            record.generation if ahead else record.last_run,
            record.unclean,
            self.claim_last_ran if claiming else self.last_ran,
            record.demoted or leaving,
            self.lapsed_at is not None,
        )


OUTCOMES: dict[Action, tuple[frozenset[State], frozenset[State]]] = {
    Action.START: (
        frozenset({State.STARTED, State.FROZEN_START}),
        frozenset({State.START_FAILED, State.STOP_FAILED, State.STOPPED, State.FROZEN_STOP}),
    ),
    Action.FREEZE_START: (
        frozenset({State.FROZEN_START}),
        frozenset({State.START_FAILED, State.STOP_FAILED, State.STOPPED, State.FROZEN_STOP}),
    ),
    Action.STOP: (frozenset({State.STOPPED}), frozenset({State.STOP_FAILED, State.FROZEN_STOP})),
    Action.FREEZE_STOP: (frozenset({State.FROZEN_STOP}), frozenset({State.STOP_FAILED, State.STOPPED})),
    Action.UNFREEZE: (frozenset({State.STOPPED, State.STARTED}), frozenset()),
    Action.FORCE_STOP: (frozenset({State.STOPPED}), frozenset()),
    Action.FORCE_START: (frozenset({State.STARTED}), frozenset()),
    Action.SWITCH: (frozenset(), frozenset({State.STOP_FAILED, State.FROZEN_STOP, State.STARTED, State.START_FAILED})),
}
"""States that end the waiting for a command, well or badly. (SWITCH ends well when the other node is STARTED.)"""
