"""All histories of the bounded world, not random ones: explicit-state model checking of the engine's own code.

Breadth first, so that the first counterexample is a shortest one. States that are the same
(``ha.simulation.canonical``) are visited once; and a state that was already reached with at least as many faults and
commands left is not visited again, for whatever can follow has followed there. This module must not know what a node
does, nor what is forbidden.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ha.fsm.states import ScriptKind
from ha.simulation.bounded import NODES, WEB, Bounds, Kind, Move, Unarbitrated, Violation, World, entry_of
from ha.simulation.canonical import keys
from ha.simulation.coverage import Cell, in_order

EVERY: Final = 2000
"""Progress is told after so many states."""
_ROOT: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search has come."""

    depth: int
    states: int
    frontier: int
    """States of this depth that are still to be looked at, and those of the next one so far."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found."""

    bounds: Bounds
    states: int
    transitions: int
    depth: int
    """Moves of the longest history that led to something new."""
    exhausted: bool
    """Every history within the bounds was looked at."""
    violation: str = ""
    story: tuple[str, ...] = ()
    """The shortest way there, a sentence a move."""
    unarbitrated: int = 0
    """Dual runs after T of silence that no node could tell from death. Histories end there."""
    cells: tuple[Cell, ...] = ()

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "faults": self.bounds.faults,
            "commands": self.bounds.commands,
            "pause": self.bounds.pause,
            "kinds": list(self.bounds.kinds),
            "states": self.states,
            "transitions": self.transitions,
            "depth": self.depth,
            "exhausted": self.exhausted,
            "violation": self.violation,
            "story": list(self.story),
            "unarbitrated": self.unarbitrated,
            "cells": [str(cell) for cell in self.cells],
        }


@dataclass(slots=True)
class _Visited:
    """The states that were reached, and how."""

    bounds: Bounds
    reached: dict[bytes, int] = field(default_factory=dict)
    """By digest: with which budgets, a bit each."""
    parents: "array[int]" = field(default_factory=lambda: array("I"))
    moves: "array[int]" = field(default_factory=lambda: array("I"))
    _better: list[int] = field(default_factory=list)
    """By budget: the budgets that allow all that it allows."""

    def __post_init__(self) -> None:
        budgets = [(f, c) for f in range(self.bounds.faults + 1) for c in range(self.bounds.commands + 1)]
        for faults, commands in budgets:
            bits = (1 << n for n, (f, c) in enumerate(budgets) if f >= faults and c >= commands)
            self._better.append(sum(bits))

    def add(self, world: World, parent: int, move: int) -> int:
        """The number of the state, or -1 where nothing new can follow from it."""
        taped, bare = keys(world)
        reached = self.reached
        budget = world.faults * (self.bounds.commands + 1) + world.commands
        if world.faults:
            known = reached.get(taped, 0)
            if known & self._better[budget]:
                return -1
            reached[taped] = known | 1 << budget
            budget = world.commands  # and without any fault, from which the tape does not matter
            reached[bare] = reached.get(bare, 0) | 1 << budget
        else:
            known = reached.get(bare, 0)
            if known & self._better[budget]:
                return -1
            reached[bare] = known | 1 << budget
        self.parents.append(parent)
        self.moves.append(move)
        return len(self.parents) - 1

    def way(self, number: int) -> tuple[int, list[Move]]:
        """The beginning, and the moves from there."""
        moves = []
        while self.parents[number] != _ROOT:
            moves.append(_unpacked(self.moves[number]))
            number = self.parents[number]
        return self.moves[number], moves[::-1]


def _packed(move: Move) -> int:
    return move.kind | move.node << 4 | move.cut << 5 | move.action << 7 | move.lost << 12


def _unpacked(number: int) -> Move:
    return Move(number & 15, number >> 4 & 1, number >> 5 & 3, number >> 7 & 31, number >> 12 & 3)


def explore(bounds: Bounds, progress: Callable[[Progress], None] | None = None) -> Result:
    """Look at every history within the bounds, or up to the first violation."""
    cells: Counter[Cell] = Counter()
    visited = _Visited(bounds)
    frontier: list[tuple[World, int]] = []
    for number, states in enumerate(bounds.beginnings):
        world = World.booted(states, bounds, cells)
        place = visited.add(world, _ROOT, number)
        if place >= 0:
            frontier.append((world, place))
    looked = transitions = unarbitrated = depth = 0
    while frontier and depth < bounds.depth and looked < bounds.states:
        later: list[tuple[World, int]] = []
        for index, (world, number) in enumerate(frontier):
            looked += 1
            for move, found in _next(world, bounds):
                transitions += 1
                if isinstance(found, World):
                    place = visited.add(found, number, _packed(move))
                    if place >= 0:
                        later.append((found, place))
                elif isinstance(found, Unarbitrated):
                    unarbitrated += 1
                else:
                    story = _story(bounds, *visited.way(number), move, str(found))
                    return Result(
                        bounds, looked, transitions, depth + 1, False, str(found), story, unarbitrated, _told(cells)
                    )
            if progress is not None and looked % EVERY == 0:
                progress(Progress(depth, looked, len(frontier) - index - 1 + len(later)))
        frontier = later
        depth += 1
    return Result(bounds, looked, transitions, depth, not frontier, "", (), unarbitrated, _told(cells))


def _told(cells: Counter[Cell]) -> tuple[Cell, ...]:
    return tuple(in_order(cells))


def _next(world: World, bounds: Bounds) -> Iterator[tuple[Move, World | Violation | Unarbitrated]]:
    """Every move, and what it leads to."""
    for move in world.moves(bounds):
        try:
            after, effects = world.after(move, bounds)
        except (Violation, Unarbitrated) as found:
            yield move, found
            continue
        yield move, after
        if world.faults:
            for variant in world.variants(move, after, effects):
                try:
                    yield variant, world.after(variant, bounds)[0]
                except (Violation, Unarbitrated) as found:
                    yield variant, found


# ------------------------------------------------------------------------------------------------ the story


def _story(bounds: Bounds, beginning: int, moves: list[Move], last: Move, end: str) -> tuple[str, ...]:
    """The history again, in words."""
    world = World.booted(bounds.beginnings[beginning], bounds, Counter())
    told = [f"at 0 s both machines boot: {_states(world)}"]
    for move in moves:
        after, _ = world.after(move, bounds)
        told.append(_sentence(world, move, after, bounds))
        world = after
    told.append(f"at {world.now} s {_event(world, move=last, bounds=bounds)}: {end}")
    return tuple(told)


def _sentence(before: World, move: Move, after: World, bounds: Bounds) -> str:
    text = f"at {after.now} s {_event(before, move, bounds)}"
    if _states(before) != _states(after):
        text += f": {_states(after)}"
    return text


def _states(world: World) -> str:
    told = []
    for node, host in enumerate(world.hosts):
        if host.engine is None:
            told.append(f"{NODES[node]} off")
            continue
        state = host.engine.services[WEB].state.name
        up = " (up)" if host.up else ""
        told.append(f"{NODES[node]} {state}{up}")
    return ", ".join(told)


def _event(world: World, move: Move, bounds: Bounds) -> str:
    host, name, other = world.hosts[move.node], NODES[move.node], NODES[1 - move.node]
    text = ""
    match move.kind:
        case Kind.TIME:
            text = "time goes on"
        case Kind.DELIVER:
            packet = host.inbox[0]
            age = f", sent at {packet.sent:.0f} s" if packet.sent != world.now else ""
            text = f"{name} hears of {other} that it is {entry_of(packet.message).state.name}{age}"
        case Kind.LOSE:
            text = f"a message to {name} is lost ({entry_of(host.inbox[0].message).state.name})"
        case Kind.REPLAY:
            assert host.tape is not None
            text = f"an old message of {other} comes to {name} again ({entry_of(host.tape.message).state.name})"
        case Kind.TICK:
            text = f"{name} looks at the time"
        case Kind.END | Kind.FAIL:
            if host.script is not None:
                text = f"the {host.script.kind.value} script on {name} {_ending(move.kind, host.script.kind)}"
            else:
                text = f"nmond on {name} learns how its script ended"
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
    text += ("", ", and nmond dies once this is on the disk", ", and nmond dies once this is sent", _BEFORE)[move.cut]
    lost = [NODES[node] for node in range(2) if move.lost >> node & 1]
    return text + (f", and the heartbeat to {' and to '.join(lost)} is lost" if lost else "")


_BEFORE: Final = ", and nmond dies before it is told"


def _ending(kind: int, script: ScriptKind) -> str:
    if kind == Kind.END:
        return "succeeds"
    return "tells nothing" if script is ScriptKind.STATUS else "fails"
