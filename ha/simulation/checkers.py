"""What must never be, judged from outside: by what physically runs, what stands on disks, and what went over the wire.

The checkers believe no node. What a lease on the disk covers never runs twice, and ``ha.simulation.leases`` looks at
when it must have ended. Where protection is "none" there is no arbiter, so a dual run that nothing in the world could
have told the starting node of is not called a violation: it is counted as *dual* (hazards H3, H4). The fact that
excuses it is the world's, not the engine's: nothing newer of the other node reached the starting one for its timeout.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ha.fsm.config import ClusterConfig, PathId
from ha.fsm.events import Command, ConfirmDown, Ended, Note, NoteKind, Reply
from ha.fsm.evidence import holds
from ha.fsm.freshness import LastHeard
from ha.fsm.identity import node_id
from ha.fsm.message import Heartbeat, Incarnation, ServiceEntry
from ha.fsm.original import GRACE_S
from ha.fsm.record import NodeRecord
from ha.fsm.states import Action, ScriptKind, State
from ha.fsm.table import HOLDING
from ha.node import statefile
from ha.node.driver import RETRY_S
from ha.node.layout import Layout
from ha.simulation.agenda import Agenda
from ha.simulation.leases import Leases
from ha.simulation.machine import Machine
from ha.simulation.scripts import Script
from ha.simulation.trace import Entry, Kind, Trace

TICK_S = 0.002
"""A decision may be later than its deadline by so much where nmond is scheduled."""
_LAYOUT = Layout()
_NOTES = {
    NoteKind.TRANSITION: Kind.STATE,
    NoteKind.REFUSED: Kind.REFUSED,
    NoteKind.PATH: Kind.PATH,
    NoteKind.PEER: Kind.PEER,
    NoteKind.ALERT: Kind.ALERT,
}
_THAWS = frozenset(
    {Action.START, Action.UNFREEZE, Action.FREEZE_START, Action.FORCE_START, Action.FORCE_STOP, Action.SWITCH}
)
_RIGHT = {
    ScriptKind.CHECK: frozenset({State.STARTING}),
    ScriptKind.START: frozenset({State.STARTING}),
    ScriptKind.STOP: frozenset({State.STOPPING, State.STARTING}),
}
"""What must stand on the disk before a script runs."""


_RUNNING = frozenset({State.START_READY, State.STARTING, State.STARTED, State.STOPPING})
"""What a node that leaves may not have any more."""
_WITHDRAWN = (State.START_READY, State.STOPPED)
"""On record and said: a claim that lapsed."""
_STALL_PERIODS = 2
_STALL_S = 0.05
"""A node that was not scheduled for longer than so many periods and seconds listens before it calls others silent."""


@dataclass(slots=True)
class Hearing:
    """What truly reached one node of another, as the wire knows it."""

    newest: tuple[int, int, int] = (0, 0, 0)
    """Counter, nonce and sequence number of the newest message."""
    at: float | None = None
    """True time at which something newer last came; None: never, in the life of this nmond."""
    before: float | None = None
    """When the last news came that were not at the same moment."""
    message: Heartbeat | None = None
    states: Mapping[int, State] = field(default_factory=dict)
    """By service, what an original node said last."""


@dataclass(slots=True)
class Asked:
    """A command under way."""

    command: Command
    node: str
    life: int
    accepted: bool = False
    finals: int = 0
    gone: bool = False
    """Nobody waits for its answer any more."""


@dataclass(slots=True)
class Findings:
    """What a history came to."""

    safety: list[str] = field(default_factory=list)
    liveness: list[str] = field(default_factory=list)
    dual: int = 0
    window: float = 0.0
    """The longest time, in T, that a service ran beside another after a pause that stopped the watchdog, too."""
    situations: Counter[str] = field(default_factory=Counter)


class Checkers:
    """Hears and sees everything (``machine.Watcher``, ``ezha.Ear``), and writes it into the trace."""

    def __init__(
        self,
        trace: Trace,
        agenda: Agenda,
        machines: dict[str, Machine],
        timeout_of: Callable[[Machine, str], float],
        service_id: Callable[[Machine, str], int | None],
        nodes_of: Callable[[str], tuple[str, ...]],
        config_of: Callable[[Machine], ClusterConfig],
        originals: Iterable[str] = (),
    ) -> None:
        """``timeout_of(machine, other)``: T of the other node as this one has it; ``nodes_of(service)``. ``originals``:
        nodes that follow the original's rules beside others that do not. What they do wrong of their own accord is
        their own harm (docs/migration.md), and told apart."""
        self.trace = trace
        self._agenda = agenda
        self.findings = Findings()
        self.machines = machines
        self._timeout_of = timeout_of
        self._service_id = service_id
        self._nodes_of = nodes_of
        self._config_of = config_of
        self._originals = frozenset(originals)
        self.leases = Leases(agenda, machines, config_of, self._unleased)
        self._confirms: dict[str, tuple[str, str]] = {}
        """Where an operator has stated that which node is off."""
        self._shown: dict[tuple[str, str], float] = {}
        """When each node made its last claim of a service."""
        self._names: dict[int, str] = {}
        self._began: dict[str, float] = {}
        self._hearing: dict[tuple[str, str], Hearing] = {}
        self._ever: dict[tuple[str, str], tuple[int, int, int]] = {}
        """``newest`` in the lives of earlier nmonds."""
        self._sent: dict[str, tuple[int, int]] = {}
        self._said: dict[str, tuple[ServiceEntry, ...]] = {}
        """What each node's last message said of its services."""
        self._claims: dict[tuple[str, str], tuple[Incarnation, int, int]] = {}
        """By node and service: the incarnation, the generation and the first message of the last claim."""
        self._ending: set[tuple[str, str]] = set()
        """Machine and service: a lapse is being acted on, whether or not the disk can be written."""
        self._alive: set[tuple[str, str]] = set()
        """The first takes the second for alive."""
        self._reloaded: dict[str, float] = {}
        self._checked: set[tuple[str, str]] = set()
        """Where the check script has allowed the next start."""
        self._stopped: dict[tuple[str, str], float] = {}
        """When an operator had a service stopped on a node, which is to rank last until somebody has started it."""
        self._told_to_stop: set[tuple[str, str]] = set()
        """(node, service) whose present STOPPING an operator has asked for."""
        self._let_go: dict[tuple[str, str], float] = {}
        """When a node last came to a state in which it does not hold a service, from one in which it did."""
        self._latest: dict[tuple[str, str], str] = {}
        """The last command of each service on a node."""
        self._over: dict[tuple[str, str, int], float] = {}
        """When each job ended of which the present nmond was told."""
        self._posted: dict[tuple[int, int, int], float] = {}
        """When each message was sent, where messages are kept in the trace."""
        self.entered: Callable[[str, str, State], None] = lambda node, service, state: None
        """Told of each state that a service comes to on a node."""
        self.frozen: set[tuple[str, str]] = set()
        self.asked: dict[str, Asked] = {}
        self.overridden: set[str] = set()
        """Services in which an operator overrode the rules (``--i-know``, force-start): outside every zero."""
        self.duals: set[str] = set()
        """Services that ran twice without anybody being able to know, until an operator ends it."""
        self._contested: set[tuple[str, str, str]] = set()
        """By service: a node that went ahead because of the silence of another, which lives, and claimed or held it;
        until either of them gives that up (as ``ha.simulation.explore.Place`` has it)."""

    def begin(self, services: Iterable[str]) -> None:
        """All machines are there. A new service is frozen everywhere."""
        self._names = {node_id(name): name for name in self.machines}
        self.frozen = {(node, service) for service in services for node in self._nodes_of(service)}

    # -------------------------------------------------------------------------------------------- telling

    def _say(self, kind: Kind, node: str, service: str, text: str) -> None:
        self.trace.add(Entry(self._agenda.now, kind, node, service, text))

    def violation(self, text: str, node: str, service: str = "") -> None:
        if node in self._originals:
            self.findings.situations["harm of an original node's own"] += 1
            self._say(Kind.ALERT, node, service, text)
            return
        self._say(Kind.VIOLATION, node, service, text)
        self.findings.safety.append(f"{service + ': ' if service else ''}{text}")

    def _unleased(self, text: str, node: str, service: str) -> None:
        if service not in self.overridden:
            self.violation(text, node, service)

    def told(self, machine: Machine, text: str) -> None:
        self._say(Kind.NODE, machine.name, "", text)

    def noted(self, machine: Machine, note: Note) -> None:
        source = note.source.name if note.source is not None else ""
        dest = note.dest.name if note.dest is not None else ""
        at = machine.agenda.now
        entry = Entry(at, _NOTES[note.kind], machine.name, note.service, note.text, source, dest, note.evidence)
        self.trace.add(entry)
        program = machine.program
        ours = program is not None and program.acknowledges
        if note.kind is NoteKind.TRANSITION:
            if note.dest is not None:
                self.entered(machine.name, note.service, note.dest)
                if note.source in HOLDING and note.dest not in HOLDING:
                    self._let_go[machine.name, note.service] = machine.agenda.now
                if note.dest is not State.START_READY and note.dest not in HOLDING:
                    self._contested = {c for c in self._contested if c[0] != note.service or machine.name not in c[1:]}
            self.findings.situations[f"{source} → {dest}"] += 1
            if ours and note.source is State.START_READY and note.dest is State.STARTING:
                self._evidence(machine, note.service)
            elif ours and note.dest is State.START_READY:
                self._shown[machine.name, note.service] = machine.agenda.now
                self._claimed(machine, note)
            elif note.source in (State.STOPPING, State.START_READY) and note.dest is State.STOPPED:
                asked = self.asked.get(self._latest.get((machine.name, note.service), ""))
                if asked is not None and asked.command.action is Action.STOP and not asked.finals:
                    place = (machine.name, note.service)
                    # One that waits unread, or died with the nmond that it was typed to, has stopped nothing.
                    if place in self._told_to_stop or note.by != "ezha":
                        self._stopped[place] = machine.agenda.now
            if note.dest is State.STOPPING and note.by != "ezha":
                self._told_to_stop.add((machine.name, note.service))
            elif note.dest is not State.STOPPING:
                self._told_to_stop.discard((machine.name, note.service))
        elif ours and note.kind is NoteKind.PEER:
            self._peers(machine)

    # ------------------------------------------------------------------------------------------- messages

    def sent(self, machine: Machine, message: Heartbeat) -> None:
        key = (message.incarnation.counter, message.seq)
        before = self._sent.get(machine.name, (0, 0))
        if key <= before and not machine.record_lost:
            self.violation(f"message {key} after {before}: incarnations and sequence numbers only rise", machine.name)
        self._sent[machine.name] = key
        self.leases.sent(machine, message)
        for ack in message.acks:
            known = self._hearing.get((machine.name, self._names.get(ack.node, "")))
            late = known is not None and known.at is not None and known.at < machine.agenda.now - TICK_S
            if known is not None and late and ack.incarnation.counter < known.newest[0]:
                text = f"answers life {ack.incarnation.counter} of {self._names[ack.node]}, having heard a later one"
                self.violation(text, machine.name)
        if message.services is not self._said.get(machine.name) or key[1] == 1:
            self._said[machine.name] = message.services
            self.leases.says(machine, message)
            self._told_is_kept(machine, message)
        if self.trace.messages:
            self._posted[message.node, *key] = machine.agenda.now
        self.trace.event(machine.agenda.now, 1, message.node, message.seq)

    def _told_is_kept(self, machine: Machine, message: Heartbeat) -> None:
        """What is told stands on the disk before it leaves."""
        program = machine.program
        if program is None:
            return
        told = {entry.id: entry for entry in message.services}
        for service in program.config.services:
            entry = told.get(self._service_id(machine, service) or 0)
            if entry is None:
                continue
            if entry.state is State.START_READY:
                claim = (message.incarnation, entry.generation)
                if self._claims.get((machine.name, service), (None, 0, 0))[:2] != claim:
                    self._claims[machine.name, service] = (*claim, message.seq)
            found = None if machine.record_lost else program.recorded(service)
            # A lapse does not wait for a disk that cannot be written: less is said to run than is on record. Nor does
            # its emergency stop, where nothing can be run beside a script that cannot be killed.
            ends = entry.lapsed and entry.state in (State.STOPPING, State.STOP_FAILED)
            if ends or (found, entry.state) == _WITHDRAWN:
                self._ending.add((machine.name, service))
                continue
            self._ending.discard((machine.name, service))
            if machine.record_lost or found is entry.state:
                continue
            if found is not None or entry.state is not State.FROZEN_STOP:
                text = f"says that it is {entry.state.name}, though its disk says {_name(found)}"
                self.violation(text, machine.name, service)

    def heard(self, machine: Machine, path: PathId, message: Heartbeat, at: float) -> None:
        sender = self._names.get(message.node, "")
        now = machine.agenda.now
        self.trace.event(now, 2, message.node, message.seq)
        if sender == machine.name or not sender:
            return
        known = self._hearing.get((machine.name, sender))
        if known is None:
            known = self._hearing[machine.name, sender] = Hearing()
        key = (message.incarnation.counter, message.incarnation.nonce, message.seq)
        if self.trace.messages:
            since = self._posted.get((message.node, message.incarnation.counter, message.seq), now)
            self.trace.add(
                Entry(now, Kind.MESSAGE, machine.name, "", str(path.index), sender, machine.name, since=since)
            )
        if key[0] < known.newest[0] or (key[0] == known.newest[0] and known.message and key[1] != known.newest[1]):
            return
        if key[::2] > known.newest[::2]:
            self.leases.heard(machine, sender, message)
            if known.at is None or at - known.at > TICK_S:
                known.before = known.at
            known.newest, known.at, known.message = key, at, message

    def reached(
        self,
        machine: Machine,
        sender: str,
        number: int,
        at: float | None = None,
        states: Mapping[int, State] = MappingProxyType({}),
    ) -> None:
        """Something newer of ``sender`` came, of a kind that has neither incarnation nor acknowledgements."""
        now = machine.agenda.now
        self.trace.event(now, 2, node_id(sender), number)
        if self.trace.messages:
            self.trace.add(Entry(now, Kind.MESSAGE, machine.name, "", "", sender, machine.name))
        known = self._hearing.setdefault((machine.name, sender), Hearing())
        at = now if at is None else at
        if known.at is None or at - known.at > TICK_S:
            known.before = known.at
        known.at, known.states = at, states

    @staticmethod
    def _period_of(machine: Machine) -> float:
        assert machine.program is not None
        return machine.program.config.period_of(machine.name)

    def _quiet_since(self, machine: Machine, other: str) -> float:
        """Since when nothing newer of ``other`` has reached this nmond."""
        known = self._hearing.get((machine.name, other))
        return max(self._began.get(machine.name, 0.0), known.at if known is not None and known.at is not None else 0.0)

    def _silent(self, machine: Machine, other: str) -> bool:
        """Nothing newer of ``other`` reached this nmond for T, by true time and the rate of its clock."""
        limit = self._timeout_of(machine, other) / machine.clock.rate
        return machine.agenda.now - self._quiet_since(machine, other) >= limit - TICK_S

    def _peers(self, machine: Machine) -> None:
        """Whom this nmond takes for alive has changed: rightly, and in time?"""
        program = machine.program
        assert program is not None
        for other in self.machines:
            pair = (machine.name, other)
            if other == machine.name or other not in program.config.nodes:
                continue
            if program.hears(other):
                self._alive.add(pair)
            elif pair in self._alive:
                self._alive.discard(pair)
                self._fell_silent(machine, other)

    def _fell_silent(self, machine: Machine, other: str) -> None:
        known = self._hearing.get((machine.name, other))
        if known is None or known.at is None or machine.lateness:
            return
        now, rate = machine.agenda.now, machine.clock.rate
        limit = self._timeout_of(machine, other) / rate
        last = known.at if known.at < now - TICK_S else known.before  # what has just come may not be read yet
        if last is not None and now - last < limit - TICK_S:
            text = f"takes {other} for silent, of which something newer came {now - last:.3f} s ago"
            self.violation(text, machine.name)
        awake = now - machine.awoke
        period = self._period_of(machine)
        told = self._reloaded.get(machine.name, 0.0) < machine.awoke  # it listens for half of what T was then
        if told and machine.lapse > _STALL_PERIODS * period + _STALL_S + TICK_S and awake < limit / 2 - TICK_S:
            text = f"takes {other} for silent {awake:.3f} s after it was not scheduled itself for {machine.lapse:.3f} s"
            self.violation(text, machine.name)
        undisturbed = max(machine.disturbed, self._reloaded.get(machine.name, 0.0)) < known.at < now
        if undisturbed and now - known.at > limit + TICK_S:
            text = f"takes {other} for silent {now - known.at - limit:.3f} s too late"
            self.violation(text, machine.name)

    # ------------------------------------------------------------------------------------------- evidence

    def _claimed(self, machine: Machine, note: Note) -> None:
        """A claim is a new generation, and what an operator had stopped here is left to those who can take it."""
        service = note.service
        number = self._service_id(machine, service)
        stopped = self._stopped.get((machine.name, service))
        if stopped is not None and (service in self.duals or self._had_elsewhere(machine, service, stopped)):
            stopped = None  # somebody had it after the stop
        for other in self._nodes_of(service):
            known = self._hearing.get((machine.name, other)) if other != machine.name else None
            message = known.message if known is not None else None
            entry = _entry(message, number)
            if message is None or entry is None:
                continue
            if entry.generation >= note.generation:
                text = f"claims it as generation {note.generation}, though {other} has said {entry.generation}"
                self.violation(text, machine.name, service)
            program = machine.program
            ready = entry.state is State.STOPPED and not entry.demoted and not message.left and not message.handovers
            if stopped is None or note.by != "ezha" or machine.record_lost or program is None or not ready:
                continue
            grace = self._timeout_of(machine, other) / machine.clock.rate
            if program.hears(other) and machine.agenda.now - stopped < grace - TICK_S:
                text = f"takes back what an operator has just had stopped there, though {other} could take it"
                self.violation(text, machine.name, service)

    def _had_elsewhere(self, machine: Machine, service: str, since: float) -> bool:
        others = [node for node in self._nodes_of(service) if node != machine.name]
        return any(service in self.machines[n].up or self._let_go.get((n, service), 0.0) >= since for n in others)

    def _evidence(self, machine: Machine, service: str) -> None:
        """A claim was settled: every other node was silent, or has said that it does not hold the service."""
        if service in self.overridden:
            return
        number = self._service_id(machine, service)
        others = [node for node in self._nodes_of(service) if node != machine.name]
        silent = [(node, self._quiet_since(machine, node)) for node in others if self._silent(machine, node)]
        self.leases.settled(machine, service, silent)
        for other in self._nodes_of(service):
            if other == machine.name:
                continue
            if self._config_of(machine).is_original(other):
                self._evidence_beside(machine, service, other)
                continue
            known = self._hearing.get((machine.name, other))
            message = known.message if known is not None else None
            entry = _entry(message, number)
            if entry is not None and entry.state is State.FROZEN_START:
                self.violation(f"starts, though {other} said last that it is FROZEN_START", machine.name, service)
            elif self._silent(machine, other):
                continue
            elif message is None or entry is None:
                self.violation(
                    f"starts, though {other} is not silent and has said nothing of it", machine.name, service
                )
            elif holds(entry) or entry.state in (State.START_READY, State.UNKNOWN):
                part = " and unclean" if entry.unclean else ""
                text = f"starts, though {other} said last that it is {entry.state.name}{part}"
                self.violation(text, machine.name, service)
            elif not message.left and not self._answers(machine, service, message):
                self.violation(f"starts, though {other} has not answered its claim", machine.name, service)

    def _evidence_beside(self, machine: Machine, service: str, other: str) -> None:
        """As ``_evidence``, of an original node: the claim was shown for as long as it takes, and what had reached this
        node when it looked again did not forbid the start (``ha.fsm.original``)."""
        shown = (machine.agenda.now - self._shown.get((machine.name, service), 0.0)) * machine.clock.rate
        if shown < GRACE_S - TICK_S:
            self.violation(f"starts {shown:.3f} s after its claim beside an original node", machine.name, service)
        known = self._hearing.get((machine.name, other))
        said = known.states.get(self._service_id(machine, service) or 0) if known is not None else None
        if said is State.START_READY and (self._silent(machine, other) or self._nodes_of(service)[0] != machine.name):
            self.violation(f"starts, though {other} said 7 last", machine.name, service)
        elif not self._silent(machine, other) and said not in (State.STOPPED, State.FROZEN_STOP, State.START_READY):
            self.violation(f"starts, though {other} said last that it is {_name(said)}", machine.name, service)

    def _answers(self, machine: Machine, service: str, message: Heartbeat) -> bool:
        """Its sender has seen the present claim."""
        incarnation, _, first = self._claims.get((machine.name, service), (None, 0, 0))
        ack = next((a for a in message.acks if a.node == node_id(machine.name)), None)
        return ack is not None and ack.incarnation == incarnation and max(ack.seqs, default=0) >= first

    # ------------------------------------------------------------------------------------------- machines

    def launched(self, machine: Machine, script: Script) -> None:
        service, kind = script.service, script.kind
        self._say(Kind.SCRIPT, machine.name, service, f"{kind.value} script begins")
        for running in machine.scripts.get(service, ()):
            self.violation(f"{kind.value} script beside its {running.kind.value} script", machine.name, service)
        right = _RIGHT.get(kind)
        lapsed = kind is ScriptKind.STOP and (machine.name, service) in self._ending
        if right is not None and not lapsed:
            found = machine.program.recorded(service) if machine.program is not None else None
            if found not in right:
                text = f"{kind.value} script, though its disk says {_name(found)}"
                self.violation(text, machine.name, service)
            told = _exported(machine, service)
            if told is not None and found is not None and told is not found:
                self.violation(f"{kind.value} script, though STATE says {told.name}", machine.name, service)
        if kind is ScriptKind.START and (machine.name, service) in self.frozen and service not in self.overridden:
            self.violation("starts where it is frozen", machine.name, service)

        place = (machine.name, service)
        if kind is ScriptKind.START:
            ours = machine.program is not None and machine.program.acknowledges
            if ours and place not in self._checked:
                self.violation("start script, though no check script allowed it", machine.name, service)
            if ours:
                self.leases.may_start(machine, service)
        if kind in (ScriptKind.START, ScriptKind.CHECK):
            self._checked.discard(place)
            for node in self.machines:  # somebody has taken it, whatever becomes of that
                self._stopped.pop((node, service), None)
        if kind is ScriptKind.CHECK:
            self._goes_ahead(machine, service)

    def _goes_ahead(self, machine: Machine, service: str) -> None:
        """A claim was settled. Who was taken for dead lives?"""
        for other in self._nodes_of(service):
            program = self.machines[other].program
            held = program.held(service) if program is not None and other != machine.name else None
            contends = held is not None and (held.state is State.START_READY or held.state in HOLDING)
            if contends and self._silent(machine, other):
                self._contested.add((service, machine.name, other))

    def ended(self, machine: Machine, script: Script, how: Ended, code: int) -> None:
        self._over[machine.name, script.service, script.job] = machine.agenda.now
        if script.kind is ScriptKind.CHECK and how is Ended.EXITED and code == 0:
            self._checked.add((machine.name, script.service))
        self._say(Kind.SCRIPT, machine.name, script.service, f"{script.kind.value} script {how.value} {code}")
        if how is not Ended.EXITED or code:
            self.findings.situations[f"{script.kind.value} script: {how.value} {code}"] += 1

    def signalled(self, machine: Machine, service: str, job: int) -> None:
        """An end is known, also where it could not be persisted at once."""
        now = machine.agenda.now
        ended = self._over.get((machine.name, service, job))
        if ended is None or any(script.job == job for script in machine.scripts.get(service, ())):
            return
        if not machine.lateness and now > max(ended, machine.awoke, machine.disturbed) + RETRY_S + 2 * TICK_S:
            text = f"signals a script that ended {now - ended:.3f} s ago"
            self.violation(text, machine.name, service)

    def up(self, machine: Machine, service: str) -> None:
        self._say(Kind.UP, machine.name, service, "physically up")
        self.leases.up(machine, service)
        for other in self.machines.values():
            if other is machine or service not in other.up:
                continue
            if self.leases.protected(machine, service):
                self._twice(machine, service, other)
            elif self._silent(machine, other.name):
                self._dual(machine, service, f"up on {other.name}, too, of which nothing newer came for its timeout")
            elif (service, other.name, machine.name) in self._contested:
                text = f"up on {other.name}, too, which had heard nothing of {machine.name} for its timeout"
                self._dual(machine, service, text)
            elif service in self.overridden:
                self._dual(machine, service, f"up on {other.name}, too: an operator overrode the rules")
            elif {machine.name, other.name} & self._originals:
                # What ezha's node knew was judged when it went ahead; the original starts by rules of its own.
                self._dual(machine, service, f"up on {other.name}, too: one of them is an original node")
            else:
                self.violation(f"physically up on {other.name} and {machine.name} at once", machine.name, service)

    def _twice(self, machine: Machine, service: str, other: Machine) -> None:
        """Up on two nodes, though a lease covers it."""
        excuse = self.leases.excuse(other, service) or self.leases.excuse(machine, service)
        if service in self.overridden:
            excuse = "an operator overrode the rules"
        if excuse:
            self._dual(machine, service, f"up on {other.name}, too: {excuse}")
            if other.resumed or other.suspended:
                self.leases.twice(other, service)
        else:
            self.violation(f"physically up on {other.name} and {machine.name} at once", machine.name, service)

    def _dual(self, machine: Machine, service: str, text: str) -> None:
        self.findings.dual += 1
        self.duals.add(service)
        self._say(Kind.DUAL, machine.name, service, text)

    def down(self, machine: Machine, service: str) -> None:
        self._say(Kind.DOWN, machine.name, service, "physically down")
        self.leases.gone(machine, service)

    def guarded(self, machine: Machine) -> None:
        self._say(Kind.NODE, machine.name, "", "its guard ends the machine: nmond has not renewed in time")
        self.findings.situations["a guard ends a machine"] += 1

    def fenced(self, machine: Machine, node: str, good: bool) -> None:
        self._say(Kind.NODE, machine.name, "", f"{node} {'was fenced' if good else 'could not be fenced'}")
        if good:
            self.leases.down.add((machine.name, node))

    def stored(self, machine: Machine, message: Heartbeat) -> None:
        self.leases.stored(machine, message)

    def looked(self, machine: Machine, path: PathId, at: float) -> None:
        self.leases.looked(machine, path, at)

    def persisted(self, machine: Machine, record: NodeRecord) -> None:
        del machine, record

    def lateness(self, machine: Machine, seconds: float) -> None:
        # A clock that stood, a pause, a start: what was not scheduled may be late.
        if machine.disturbed < machine.agenda.now and seconds > machine.lateness + TICK_S:
            self.violation(f"a deadline was looked at {seconds * 1000:.1f} ms late", machine.name)

    # ------------------------------------------------------------------------------------------- operators

    def ask(self, machine: Machine, command: Command) -> None:
        self._stopped.pop((machine.name, command.service), None)
        self._latest[machine.name, command.service] = command.id
        self.asked[command.id] = Asked(command, machine.name, machine.lives)
        if command.override or command.action is Action.FORCE_START:
            self.overridden.add(command.service)
        if command.action in _THAWS:
            self.frozen.discard((machine.name, command.service))

    def confirm(self, machine: Machine, said: ConfirmDown) -> None:
        """An operator states that a node is off. Where it is not, whatever comes of it is his."""
        self._confirms[said.id] = (machine.name, said.node)

    def _confirmed(self, machine: Machine, reply: Reply) -> None:
        _, other = self._confirms[reply.id]
        self._say(Kind.REPLY, machine.name, "", f"{'done' if reply.ok else 'refused'}: {reply.text}")
        if not reply.ok:
            return
        self.leases.down.add((machine.name, other))
        if self.machines[other].on and machine.program is not None:
            self.overridden |= {s.name for s in machine.program.config.services.values() if other in s.nodes}

    def replied(self, machine: Machine, reply: Reply) -> None:
        if reply.id in self._confirms:
            self._confirmed(machine, reply)
            return
        asked = self.asked.get(reply.id)
        if reply.final:
            self._say(Kind.REPLY, machine.name, reply.service, f"{'done' if reply.ok else 'refused'}: {reply.text}")
        if asked is None:
            self.violation(f"an answer to nobody: {reply.id}", machine.name, reply.service)
            return
        if not reply.final:
            asked.accepted = True
            return
        asked.finals += 1
        if asked.finals > 1:
            self.violation(f"{asked.command.action.value} was answered twice", machine.name, reply.service)
        if asked.command.action is Action.FREEZE_STOP:
            if reply.ok:
                if not self._thaws_next(asked):
                    self.frozen.add((machine.name, reply.service))
            elif asked.accepted and self._latest.get((machine.name, reply.service)) == reply.id:
                program = machine.program
                if program is not None and program.recorded(reply.service) is State.STOPPED:
                    self.violation("stopped, and not frozen as an operator asked", machine.name, reply.service)

    def _thaws_next(self, asked: Asked) -> bool:
        """Whether nmond has a later command already that may end the freeze in the very step of this one's answer."""
        place = (asked.node, asked.command.service)
        for later in reversed(self.asked.values()):
            if later is asked:
                break
            if (later.node, later.command.service) == place and later.command.action in _THAWS and not later.finals:
                return True
        return False

    def broken_off(self, machine: Machine) -> None:
        """Whoever waits for an answer of this nmond is told that it is gone, and asks again."""
        for asked in self.asked.values():
            asked.gone = asked.gone or asked.node == machine.name

    def forgets(self, machine: Machine) -> None:
        """What its disk knew of services is lost: it can no longer tell which were frozen (they become UNKNOWN)."""
        machine.record_lost = True
        self.frozen -= {(node, service) for node, service in self.frozen if node == machine.name}

    def began(self, machine: Machine, heard_before: Iterable[LastHeard] = ()) -> None:
        """A new nmond begins to listen, and knows of nobody. What came before ``heard_before``, which an earlier nmond
        truly heard and left on record, is no news to it."""
        self.leases.began(machine)
        self._began[machine.name] = machine.agenda.now
        for other in self.machines:
            ever = self._hearing.pop((machine.name, other), Hearing()).newest
            self._ever[machine.name, other] = max(ever, self._ever.get((machine.name, other), ever))
            self._alive.discard((machine.name, other))
        for last in heard_before:
            counter, nonce, _ = ever = self._ever.get((machine.name, last.node), (0, 0, 0))
            if (counter, nonce) == (last.incarnation.counter, last.incarnation.nonce) and last.seq <= ever[2]:
                self._hearing[machine.name, last.node] = Hearing((counter, nonce, last.seq - 1))
        self._over = {job: at for job, at in self._over.items() if job[0] != machine.name}

    def reloaded(self, machine: Machine) -> None:
        """Its configuration changed, and timeouts with it."""
        self._reloaded[machine.name] = machine.agenda.now
        self.leases.reloaded(machine)

    def leaves(self, machine: Machine) -> None:
        """nmond has said that it left, and ends: nothing that it started may be under way."""
        program = machine.program
        if program is None:
            return
        for service in program.config.services:
            held = program.held(service)
            if held is None:
                continue
            if held.state in _RUNNING:
                self.violation(f"leaves while it is {held.state.name}", machine.name, service)
            for script in machine.scripts.get(service, ()):
                self.violation(f"leaves while its {script.kind.value} script runs", machine.name, service)


def _name(state: State | None) -> str:
    return "nothing" if state is None else state.name


def _entry(message: Heartbeat | None, number: int | None) -> ServiceEntry | None:
    if message is None or number is None:
        return None
    return next((e for e in message.services if e.id == number), None)


def _exported(machine: Machine, service: str) -> State | None:
    data = machine.files.files.get(_LAYOUT.state(service, machine.name))
    return None if data is None else statefile.decode(data)
