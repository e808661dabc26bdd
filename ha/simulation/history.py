"""One history: a plan carried out on a cluster, first with faults, then without, and what the checkers found.

Everything is drawn from the plan's seed: the same plan gives the same trace, byte for byte.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle

from ha.fsm.config import ClusterConfig, PathId
from ha.fsm.identity import service_id
from ha.fsm.states import State
from ha.fsm.table import HOLDING
from ha.node.config import Configuration, Texts, parse
from ha.simulation.agenda import Agenda, StandstillError
from ha.simulation.checkers import Checkers, Findings
from ha.simulation.clock import Clock
from ha.simulation.coverage import Cell
from ha.simulation.disk import Disk
from ha.simulation.draw import Draw
from ha.simulation.ezha import Nmond
from ha.simulation.faults import Faults
from ha.simulation.machine import Machine, Program
from ha.simulation.network import Network
from ha.simulation.openha import GRACE_S, LOOP_S, OpenHA
from ha.simulation.plan import BESIDE, Plan, PlanError
from ha.simulation.scripts import Pace
from ha.simulation.settings import Setting
from ha.simulation.trace import Entry, Kind, Trace

NOISE: Mapping[str, float] = {
    "drift": 50e-6,
    "latency": 0.0002,
    "loss": 0.0,
    "disk-latency": 0.002,
    "boot-spread": 2.0,
    "start": 0.2,
    "start-spread": 1.0,
    "stop": 0.1,
    "stop-spread": 0.5,
}
"""What is there without any fault: drift of the clocks (share), mean seconds on the wire, share of datagrams lost, mean
seconds of a disk write, seconds within which the machines are switched on, seconds that start and stop scripts take at
least and how much more on average."""
_TRANSIENT = frozenset({State.START_READY, State.STARTING, State.STOPPING})
_STUCK = frozenset({State.STOP_FAILED, State.UNKNOWN})
_RUNS = frozenset({State.STARTED, State.FROZEN_START})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a history came to."""

    plan: Plan
    digest: str
    findings: Findings
    faults: Mapping[str, int]
    cells: Counter[Cell]
    seconds: float
    """Simulated."""
    entries: list[Entry] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.findings.safety and not self.findings.liveness


def texts_of(plan: Plan, given: Mapping[str, Texts] | None) -> dict[str, Texts]:
    """By node, the files: the user's own, or what the plan's setting says."""
    if given is not None:
        return dict(given)
    texts = Setting.parse(plan.setting).texts()
    return dict.fromkeys(texts.nodes.split(), texts)


def run(
    plan: Plan,
    given: Mapping[str, Texts] | None = None,
    *,
    messages: bool = False,
    keep: bool = True,
    cells: Counter[Cell] | None = None,
) -> Outcome:
    """Carry a plan out. ``given``: the user's own files, by node. Raises ConfigError for files that are wrong."""
    history = History(plan, texts_of(plan, given), messages=messages, keep=keep, cells=cells)
    return history.run()


class History:
    """The world of one plan."""

    def __init__(
        self,
        plan: Plan,
        texts: dict[str, Texts],
        *,
        messages: bool = False,
        keep: bool = True,
        cells: Counter[Cell] | None = None,
    ) -> None:
        noise = {**NOISE, **dict(plan.noise)}
        if unknown := [name for name, _ in plan.noise if name not in NOISE]:
            raise PlanError(f"no noise {unknown[0]}; one of {', '.join(NOISE)}")
        self.plan = plan
        self.agenda = Agenda()
        self.trace = Trace(messages, keep)
        self.cells: Counter[Cell] = Counter() if cells is None else cells
        self._texts = texts
        self._rules = dict(zip(texts, cycle(plan.rules.split("+")), strict=False))
        first = next(iter(texts))
        self._read: dict[str, tuple[Texts, Configuration]] = {}
        """By node, the files as it read them last."""
        self.config: ClusterConfig = self._configuration(first).cluster
        self._lines = self._configuration(first).lines
        self.machines: dict[str, Machine] = {}
        self.checkers = Checkers(
            self.trace,
            self.agenda,
            self.machines,
            self._timeout_of,
            self._service_id,
            self._nodes_of,
            self._engine_config,
            [name for name, rules in self._rules.items() if rules == "openha"] if plan.rules in BESIDE else (),
        )
        self.checkers.leases.self_fence = self.config.self_fence
        self.network = Network(
            self.agenda, self._draw("network"), self._deliver, latency=noise["latency"], loss=noise["loss"]
        )
        self.disks = {
            line.device: Disk(self.agenda, self._draw(line.device), noise["disk-latency"])
            for line in self._lines
            if line.is_disk
        }
        for line in self._lines:
            if not line.is_disk:
                self.network.add(line.id, [n for n in self.config.nodes if n != line.node])
        self.pace = Pace(start=(noise["start"], noise["start-spread"]), stop=(noise["stop"], noise["stop-spread"]))
        for name in self.config.nodes:
            draw = self._draw(name)
            clock = Clock(draw.between(1.0, 1000.0), 1.0 + draw.between(-noise["drift"], noise["drift"]))
            machine = Machine(name, self.agenda, clock, draw, self.pace, self.checkers, self._program)
            machine.outages = [lambda disk=disk, name=name: disk.power_lost(name) for disk in self.disks.values()]  # type: ignore[misc]
            self.machines[name] = machine
            self.agenda.at(draw.between(0.0, noise["boot-spread"]), machine.power_on)
        self.checkers.begin(self.config.services)
        self.faults = Faults(self.machines, self.network, self.disks, self.trace, self.checkers, self._texts)
        for fault in plan.faults:
            self.agenda.at(fault.at, lambda fault=fault: self.faults.apply(fault))  # type: ignore[misc]

    def run(self) -> Outcome:
        """Both phases."""
        try:
            self.agenda.run(self.plan.seconds)
            self._heal()
            settled = self.agenda.now + self.settling
            self.agenda.run(settled)
            told = self._changes()
            self.agenda.run(settled + 2 * self._longest)
        except StandstillError as error:
            self.checkers.findings.liveness.append(f"the world stands still: {error}")
            self.trace.add(Entry(self.agenda.now, Kind.VIOLATION, "", "", f"the world stands still: {error}"))
        else:
            self._judge(told)
        return self._outcome()

    def rehearse(self) -> Outcome:
        """The first phase alone, and as long again as everything needs to come to rest: what a plan leaves broken stays
        so, and nothing is asked of how it ends."""
        self.agenda.run(self.plan.seconds + self.settling)
        self.faults.give_up()
        return self._outcome()

    def _outcome(self) -> Outcome:
        self.checkers.findings.window = self.checkers.leases.window
        return Outcome(
            self.plan,
            self.trace.digest,
            self.checkers.findings,
            dict(self.faults.counts),
            self.cells,
            self.agenda.now,
            self.trace.entries,
        )

    # ----------------------------------------------------------------------------------------- the world

    def _draw(self, name: str) -> Draw:
        return Draw(f"{self.plan.seed}/{name}")

    def _program(self, machine: Machine) -> Program:
        texts = self._texts
        if self._rules[machine.name] == "openha":
            return OpenHA(machine, lambda: texts[machine.name], self.network, self.disks, self.checkers)
        name = machine.name
        return Nmond(
            machine,
            lambda: self._configuration(name),
            self.network,
            self.disks,
            self.checkers,
            self.cells,
            self.machines,
        )

    def _configuration(self, name: str) -> Configuration:
        """Raises ConfigError."""
        texts, known = self._texts[name], self._read.get(name)
        if known is None or known[0] != texts:
            known = self._read[name] = texts, parse(texts, name)
        return known[1]

    def _deliver(self, receiver: str, path: PathId, data: bytes) -> None:
        machine = self.machines[receiver]
        if machine.on:
            machine.receive(path, data)

    def _engine_config(self, machine: Machine) -> ClusterConfig:
        program = machine.program
        return self.config if program is None else program.config

    def _timeout_of(self, machine: Machine, other: str) -> float:
        return self._engine_config(machine).timeout_of(other)

    def _service_id(self, machine: Machine, service: str) -> int | None:
        """As it follows from the files of the machine: reckoned here, not taken from what nmond makes of them."""
        config = self._engine_config(machine).services.get(service)
        return service_id(config.name, config.nodes, config.protection) if config is not None else None

    def _nodes_of(self, service: str) -> tuple[str, ...]:
        return self.config.services[service].nodes

    # ----------------------------------------------------------------------------------- without faults

    @property
    def _longest(self) -> float:
        return max(self.config.timeout_of(node) for node in self.config.nodes)

    @property
    def settling(self) -> float:
        """Seconds within which everything must have come to rest: a boot, silence, a deferral, a stop, a cleaning stop,
        a check and a start that take their longest, and a retry of each step that could not be persisted."""
        pace = self.pace
        scripts = sum(least + 20 * more for least, more in (pace.start, pace.stop, pace.stop, pace.check, pace.status))
        beside = 20.0 + 4 * (GRACE_S + LOOP_S) * len(self.config.services) if self.plan.rules in BESIDE else 0.0
        return 5.0 + 4 * self._longest + 2 * scripts + beside

    def _heal(self) -> None:
        self.trace.add(Entry(self.agenda.now, Kind.HEAL, "", "", "every fault is over"))
        self.faults.heal()
        for machine in self.machines.values():
            machine.shapes.clear()
            machine.recover()
            if self.plan.rules in BESIDE and self._rules[machine.name] == "openha":
                machine.power_off()  # nobody mends an original node but by starting it anew
            machine.power_on()
            machine.init_start()

    def _changes(self) -> int:
        """How many transitions there were."""
        return sum(self.checkers.findings.situations.values())

    def _judge(self, told: int) -> None:
        """Everything is at rest, and where it belongs."""
        failures = self.checkers.findings.liveness
        if self._changes() != told:
            failures.append("states went on changing though nothing was wrong any more")
        for service in self.config.services:
            if service in self.checkers.duals | self.checkers.overridden:
                continue
            failures += [f"{service}: {text}" for text in self._rest(service)]
        for asked in self.checkers.asked.values():
            machine = self.machines[asked.node]
            if not asked.finals and not asked.gone and machine.lives == asked.life:
                failures.append(f"{asked.command.action.value} on {asked.node} was never answered")
        for text in failures:
            self.trace.add(Entry(self.agenda.now, Kind.VIOLATION, "", "", text))

    def _rest(self, service: str) -> list[str]:
        """What is wrong with a service that nothing disturbs."""
        states: dict[str, State] = {}
        unclean = False
        up = [name for name in self._nodes_of(service) if service in self.machines[name].up]
        for name in self._nodes_of(service):
            program = self.machines[name].program
            if program is None:
                return [f"no nmond runs on {name}"]
            held = program.held(service)
            if held is None:
                return [f"{name} does not know it"]
            states[name], unclean = held.state, unclean or held.unclean
        found = []
        for name, state in states.items():
            if state in _TRANSIENT:
                found.append(f"still {state.name} on {name}")
            elif state in _RUNS and name not in up:
                found.append(f"{state.name} on {name}, and not up there")
            elif state not in HOLDING and state is not State.UNKNOWN and name in up and not unclean:
                found.append(f"{state.name} on {name}, and up there")
            if (name, service) in self.checkers.frozen and state not in (State.FROZEN_STOP, State.UNKNOWN):
                found.append(f"{state.name} on {name}, where it was frozen")
        waits = unclean or any(state in _STUCK for state in states.values())
        if self.plan.rules in BESIDE:  # no original node takes over from a failed start
            waits = waits or State.START_FAILED in states.values()
        if not waits and State.STOPPED in states.values() and len(up) != 1:
            told = ", ".join(f"{name} {state.name}" for name, state in states.items())
            found.append(f"runs on {len(up)} nodes, not on one ({told})")
        return found
