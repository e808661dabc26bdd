"""A history that a search of all histories has found, in words: a sentence a move."""

from collections.abc import Iterable
from typing import Final, Protocol

from ha.fsm.states import ScriptKind, State
from ha.simulation.bounded import NODES, WEB, Bounds, Host, Kind, Move, entry_of
from ha.simulation.post import Letter, arrived, together
from ha.simulation.stepping import Machine

_CUTS: Final = (
    "",
    ", and nmond dies once this is on the disk",
    ", and nmond dies once this is sent",
    ", and nmond dies before it is told",
)


class World(Protocol):
    """Two machines, by number."""

    @property
    def one(self) -> int: ...

    @property
    def two(self) -> int: ...


def story(
    bounds: Bounds, machines: tuple[Machine, Machine], worlds: Iterable[World], moves: Iterable[Move], end: str
) -> tuple[str, ...]:
    """``worlds``: in which each of the moves was made; the last one came to ``end``."""
    told: list[str] = []
    now, before, event = 0, "", ""
    for world, move in zip(worlds, moves, strict=True):
        numbers = (world.one, world.two)
        states = ", ".join(_state(machine, number) for machine, number in zip(machines, numbers, strict=True))
        if told:
            told[-1] += f": {states}" if states != before else ""
        else:
            told.append(f"at 0 s both machines boot: {states}")
        now += move.kind == Kind.TIME
        event = f"at {now} s {_event(bounds, machines[move.node], numbers[move.node], move)}"
        told.append(event)
        before = states
    return (*told[:-1], f"{told[-1]}: {end}")


def _state(machine: Machine, number: int) -> str:
    host, name = machine.host(number), NODES[machine.node]
    if host.engine is None:
        return f"{name} off"
    return f"{name} {host.engine.services[WEB].state.name}{' (up)' if host.up else ''}"


def _event(bounds: Bounds, machine: Machine, number: int, move: Move) -> str:
    host, name, other = machine.host(number), NODES[move.node], NODES[1 - move.node]
    waiting = machine.waiting(number)
    text = ""
    match move.kind:
        case Kind.TIME:
            text = "time goes on"
        case Kind.DELIVER:
            letters = together(waiting.inbox[: move.action])
            news = " and ".join(_said(machine, each).name + _age(each) for each in letters)
            text = f"{name} hears of {other} that it is {news}"
        case Kind.LOSE:
            text = f"a message to {name} is lost ({_said(machine, waiting.inbox[arrived(waiting)]).name})"
        case Kind.REPLAY:
            assert waiting.tape is not None
            text = f"an old message of {other} comes to {name} again ({_said(machine, waiting.tape).name})"
        case Kind.TICK:
            text = f"{name} looks at the time"
        case Kind.END | Kind.FAIL:
            text = _ended(host, name, move.kind)
        case Kind.CRASH:
            text = f"nmond on {name} dies and is started again"
        case Kind.OFF:
            text = f"{name} loses its power"
        case Kind.BOOT:
            text = f"{name} boots"
        case Kind.PAUSE:
            text = f"nmond on {name} is paused"
        case Kind.RESUME:
            text = f"nmond on {name} goes on after {host.paused} s"
        case Kind.COMMAND:
            text = f"an operator types {bounds.actions[move.action].value} on {name}"
    lost = [NODES[node] for node in range(2) if move.lost >> node & 1]
    return text + _CUTS[move.cut] + (f", and the heartbeat to {' and to '.join(lost)} is lost" if lost else "")


def _age(letter: Letter) -> str:
    return f", sent {letter.age} s ago" if letter.age else ""


def _said(machine: Machine, letter: Letter) -> State:
    return entry_of(machine.message(letter)).state


def _ended(host: Host, name: str, kind: int) -> str:
    if host.script is None:
        return f"nmond on {name} learns how its script ended"
    ending = "succeeds" if kind == Kind.END else "fails"
    if kind == Kind.FAIL and host.script.kind is ScriptKind.STATUS:
        ending = "tells nothing"
    return f"the {host.script.kind.value} script on {name} {ending}"
