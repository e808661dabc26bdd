"""Does to the world what a plan says, and undoes it.

Each verb is a method that returns how it is undone, or None where it is over at once. A fault may lie in wait for a
state of a node, of which the checkers tell. What is right it does not know.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count

from ha.fsm.config import PathId
from ha.fsm.events import Command, ConfirmDown
from ha.fsm.states import Action, ScriptKind, State
from ha.node import recordfile
from ha.node.config import Texts
from ha.node.layout import Layout
from ha.simulation.checkers import Checkers
from ha.simulation.disk import Disk
from ha.simulation.machine import Machine
from ha.simulation.network import Link, Network
from ha.simulation.plan import MEDIA, Fault
from ha.simulation.trace import Entry, Kind, Trace

_TYPED = ("order", "confirm-down", "leave", "restart", "boot-script")
Undo = Callable[[], None]
STRAY_S = 1.0
"""A stranger's empty datagrams come so often."""
FORGED_S = 0.002
"""A stranger's forgeries come so often."""
_LAYOUT = Layout()


class Faults:
    """The hand that breaks things."""

    def __init__(
        self,
        machines: dict[str, Machine],
        network: Network,
        disks: dict[str, Disk],
        trace: Trace,
        checkers: Checkers,
        texts: dict[str, Texts],
    ) -> None:
        """``texts``: by node, the files as they stand there; changed by ``configure``."""
        self._machines = machines
        self._network = network
        self._disks = disks
        self._trace = trace
        self._checkers = checkers
        self._texts = texts
        self._base = dict(texts)
        self._edits: dict[str, list[tuple[str, str]]] = {}
        self._active: dict[int, tuple[Fault, Undo]] = {}
        self._waiting: dict[int, Fault] = {}
        """Those that lie in wait for a state, and those that have seen it and are about to happen."""
        checkers.entered = self._entered
        self._numbers = count(1)
        self.counts: dict[str, int] = {}

    def apply(self, fault: Fault) -> None:
        """Now, or once its state is there. It is undone after its time, or by ``heal``."""
        if fault.once is None:
            self._do(fault)
            return
        self._waiting[next(self._numbers)] = fault
        program = self._machines[fault.once.node].program
        held = program.held(fault.once.service) if program is not None else None
        if held is not None:
            self._entered(fault.once.node, fault.once.service, held.state)

    def _entered(self, node: str, service: str, state: State) -> None:
        """A node has come to a state. What waits for that happens when nmond is through with its step."""
        for number, fault in list(self._waiting.items()):
            once = fault.once
            if once is not None and (once.node, once.service, once.state) == (node, service, state.name):
                self._waiting[number] = replace(fault, once=None)
                self._machines[node].agenda.after(once.after, lambda number=number: self._strike(number))  # type: ignore[misc]

    def _strike(self, number: int) -> None:
        fault = self._waiting.pop(number, None)
        if fault is not None:
            self._do(fault)

    def _do(self, fault: Fault) -> None:
        machine = self._machines[fault.node]
        agenda = machine.agenda
        self.counts[fault.verb] = self.counts.get(fault.verb, 0) + 1
        kind = Kind.COMMAND if fault.verb in _TYPED else Kind.FAULT
        sentence = " ".join((fault.verb, *fault.words))
        tail = f" for {fault.lasts:g} s" if fault.lasts is not None else ""
        self._trace.add(Entry(agenda.now, kind, fault.node, "", sentence + tail))
        undo: Undo | None = getattr(self, "_" + fault.verb.replace("-", "_"))(machine, *fault.words)
        if undo is None:
            return
        number = next(self._numbers)
        self._active[number] = (fault, undo)
        if fault.lasts is not None:
            agenda.after(fault.lasts, lambda: self._undo(number))

    def heal(self) -> None:
        """Undo all that lasts; what still waits never happens."""
        self.give_up()
        for number in list(self._active):
            self._undo(number)

    def give_up(self) -> None:
        """What still waits for a state never happens, and that is told."""
        for fault in self._waiting.values():
            if (once := fault.once) is not None:
                now = self._machines[fault.node].agenda.now
                deed = " ".join((fault.verb, *fault.words))
                text = f"{once.service} never came to {once.state} on {once.node}: nothing came of {deed!r}"
                self._trace.add(Entry(now, Kind.HEAL, "", "", text))
        self._waiting.clear()

    def _undo(self, number: int) -> None:
        fault, undo = self._active.pop(number, (None, None))
        if fault is None or undo is None:
            return
        machine = self._machines[fault.node]
        sentence = " ".join((fault.verb, *fault.words))
        self._trace.add(Entry(machine.agenda.now, Kind.HEAL, fault.node, "", f"over: {sentence}"))
        undo()

    # ------------------------------------------------------------------------------------------- machines

    def _power_off(self, machine: Machine, node: str) -> Undo:
        machine.power_off()
        return machine.power_on

    def _kill(self, machine: Machine, node: str, point: str = "0") -> Undo | None:
        if int(point) and machine.program is not None:
            machine.program.crash(int(point))
        else:
            machine.later(0.0, machine.kill)
        return None

    def _pause(self, machine: Machine, node: str) -> Undo:
        return machine.stop_program()

    def _pause_machine(self, machine: Machine, node: str) -> Undo:
        if machine.on:
            machine.halt(clock_stands=False)
        return machine.unhalt

    def _suspend_machine(self, machine: Machine, node: str) -> Undo:
        if machine.on:
            machine.halt(clock_stands=False, suspends=True)
        return machine.unhalt

    def _freeze_machine(self, machine: Machine, node: str) -> Undo:
        if machine.on:
            machine.halt(clock_stands=True, suspends=True)
        return machine.unhalt

    def _pause_processes(self, machine: Machine, node: str) -> Undo:
        if machine.on:
            machine.halt(clock_stands=False, buffers=True)
        return machine.unhalt

    def _guard(self, machine: Machine, node: str) -> Undo:
        machine.guard.broken += 1

        def undo() -> None:
            machine.guard.broken -= 1

        return undo

    def _agent(self, machine: Machine, node: str, shape: str) -> Undo:
        machine.agents.append(shape)
        return lambda: machine.agents.remove(shape)

    def _slow(self, machine: Machine, node: str, seconds: str) -> Undo:
        def change(become: Callable[[float], None]) -> None:
            machine.disturb(machine.lateness)  # what is on its way is late yet
            become(float(seconds))
            machine.lateness = max(machine.late, default=0.0)

        change(machine.late.append)
        return lambda: change(machine.late.remove)

    def _step_clock(self, machine: Machine, node: str, seconds: str) -> None:
        machine.clock.step += float(seconds)

    def _stop_clock(self, machine: Machine, node: str) -> Undo:
        machine.clock.stop_wall(machine.agenda.now)
        return machine.clock.go_wall

    def _kill_listeners(self, machine: Machine, node: str) -> None:
        if machine.program is not None:
            machine.program.kill_listeners()

    def _tear(self, machine: Machine, node: str) -> None:
        self._checkers.forgets(machine)
        machine.files.empty(_LAYOUT.states)

    def _unreadable(self, machine: Machine, node: str) -> Undo:
        self._checkers.forgets(machine)
        machine.files.unreadable = True

        def undo() -> None:
            machine.files.unreadable = False

        return undo

    def _disk_full(self, machine: Machine, node: str) -> Undo:
        machine.files.full = True

        def undo() -> None:
            machine.files.full = False

        return undo

    def _damage(self, machine: Machine, node: str) -> None:
        data = machine.files.on_disk.get(_LAYOUT.record)
        if data:
            at = machine.draw.whole(0, len(data) - 1)
            torn = data[:at] + bytes((data[at] ^ 1 << machine.draw.whole(0, 7),)) + data[at + 1 :]
            try:
                recordfile.decode(torn, machine.name)
            except recordfile.RecordError:
                self._checkers.forgets(machine)
            machine.files.on_disk[_LAYOUT.record] = machine.files.files[_LAYOUT.record] = torn

    # -------------------------------------------------------------------------------------------- networks

    def _links(self, what: str, node: str, other: str) -> list[Link]:
        """Links that ``node`` sends on, to ``other``; where no other is named, also those that it hears."""
        found = []
        for path, links in self._network.links.items():
            for link in links:
                out = path.node == node and other in ("", link.receiver)
                back = not other and link.receiver == node
                line = what in MEDIA or path == PathId(node, int(what))
                if (out or back) and line:
                    found.append(link)
        return found

    def _cut(self, machine: Machine, what: str, node: str, other: str = "") -> Undo:
        links = self._links(what, node, other) if what != "disk" else []
        for link in links:
            link.cuts += 1
        accesses = [disk.of(node) for disk in self._disks.values()] if what in ("disk", "all") else []
        for access in accesses:
            access.write_error += 1
            access.read_error += 0 if other else 1

        def undo() -> None:
            for link in links:
                link.cuts -= 1
            for access in accesses:
                access.write_error -= 1
                access.read_error -= 0 if other else 1

        return undo

    def _lose(self, machine: Machine, percent: str, node: str, other: str = "") -> Undo:
        return self._tune(self._links("net", node, other), "loss", float(percent) / 100.0)

    def _delay(self, machine: Machine, seconds: str, node: str, other: str = "") -> Undo:
        return self._tune(self._links("net", node, other), "delay", float(seconds))

    def _duplicate(self, machine: Machine, percent: str, node: str, other: str = "") -> Undo:
        return self._tune(self._links("net", node, other), "duplicate", float(percent) / 100.0)

    @staticmethod
    def _tune(links: list[Link], what: str, value: float) -> Undo:
        for link in links:
            setattr(link, what, value)

        def undo() -> None:
            for link in links:
                setattr(link, what, 0.0)

        return undo

    def _replay(self, machine: Machine, number: str, node: str, other: str = "") -> None:
        for link in self._links("net", node, other):
            if link.path.node == node:
                self._network.replay(link.path, link.receiver, int(number))

    def _truncate(self, machine: Machine, percent: str, node: str, other: str = "") -> Undo:
        return self._tune(self._links("net", node, other), "truncate", float(percent) / 100.0)

    def _stray(self, machine: Machine, node: str) -> Undo:
        return self._repeat(machine, STRAY_S, lambda: self._network.inject(node, b""))

    def _forge(self, machine: Machine, node: str, about: str, service: str, state: str) -> Undo:
        def send() -> None:
            if machine.program is not None:
                self._network.inject(node, machine.program.forged(about, service, State[state]))

        return self._repeat(machine, FORGED_S, send)

    @staticmethod
    def _repeat(machine: Machine, every: float, deed: Callable[[], None]) -> Undo:
        """Now, and then again and again, until it is undone."""
        going = [True]

        def again() -> None:
            if going:
                deed()
                machine.agenda.after(every, again)

        again()
        return going.clear

    def _zero(self, machine: Machine, node: str) -> None:
        for disk in self._disks.values():
            disk.zero(node)

    def _disk(self, machine: Machine, what: str, node: str) -> Undo:
        name = what.replace("-", "_")
        accesses = [disk.of(node) for disk in self._disks.values()]
        for access in accesses:
            setattr(access, name, getattr(access, name) + 1)
            access.replaced += what == "other"
        lies = what == "stale"
        for each in self._machines.values():
            each.lied += lies  # who is believed dead because of it is another one

        def undo() -> None:
            for each in self._machines.values():
                each.lied -= lies
            for access in accesses:
                setattr(access, name, getattr(access, name) - 1)
                access.replaced += what == "other"
            for disk in self._disks.values():
                disk.release(node)

        return undo

    # ------------------------------------------------------------------------------------------- services

    def _script(self, machine: Machine, node: str, service: str, kind: str, shape: str) -> Undo:
        shapes = machine.shapes.setdefault((service, ScriptKind(kind)), [])
        shapes.append(shape)
        return lambda: shapes.remove(shape)

    def _order(self, machine: Machine, node: str, service: str, action: str, *words: str) -> None:
        if not machine.answers:
            said = "not done: nmond is not running on this node"
            self._trace.add(Entry(machine.agenda.now, Kind.REPLY, node, service, said))
            return
        target = next((w for w in words if w != "--i-know"), "")
        command = Command(f"c{next(self._numbers)}", service, Action(action), "--i-know" in words, target)
        self._checkers.ask(machine, command)
        machine.ask(lambda program: program.command(command))

    def _confirm_down(self, machine: Machine, node: str, other: str) -> None:
        if not machine.answers:
            self._trace.add(
                Entry(machine.agenda.now, Kind.REPLY, node, "", "not done: nmond is not running on this node")
            )
            return
        said = ConfirmDown(f"c{next(self._numbers)}", other)
        self._checkers.confirm(machine, said)
        machine.ask(lambda program: program.confirm_down(said))

    def _leave(self, machine: Machine, node: str) -> Undo:
        machine.ask(lambda program: program.leave())
        return machine.init_start

    def _restart(self, machine: Machine, node: str) -> None:
        machine.ask(lambda program: program.restart())

    def _boot_script(self, machine: Machine, node: str) -> None:
        machine.ask(lambda program: program.boot_script())

    def _configure(self, machine: Machine, node: str, how: str, service: str) -> Undo:
        edits = self._edits.setdefault(node, [])
        edits.append((how, service))

        def apply() -> None:
            texts = self._base[node]
            for edit in edits:
                texts = differing(texts, *edit)
            self._texts[node] = texts
            self._reload(machine)

        def undo() -> None:
            edits.remove((how, service))
            apply()

        apply()
        return undo

    @staticmethod
    def _reload(machine: Machine) -> None:
        machine.tell(lambda program: program.reload())


def differing(texts: Texts, how: str, service: str) -> Texts:
    """The files of a node where somebody has edited one of them, and not the others'."""
    if how == "slower":
        lines = [_slower(line) for line in texts.monitor.splitlines()]
        return _with(texts, monitor=lines)
    lines = []
    for line in texts.services.splitlines():
        words = line.split()
        if not words or words[0] != service:
            lines.append(line)
        elif how == "reversed":
            nodes = [words[2], *words[3].split(",")][::-1]
            lines.append(" ".join((*words[:2], nodes[0], ",".join(nodes[1:]), *words[4:])))
    return _with(texts, services=lines)


def _slower(line: str) -> str:
    words = line.split()
    if not words or words[0].startswith("#"):
        return line
    return " ".join((*words[:-1], f"{min(float(words[-1]) * 2, 120):g}"))


def _with(texts: Texts, monitor: Iterable[str] | None = None, services: Iterable[str] | None = None) -> Texts:
    return replace(
        texts,
        monitor=texts.monitor if monitor is None else "\n".join(monitor) + "\n",
        services=texts.services if services is None else "\n".join(services) + "\n",
    )
