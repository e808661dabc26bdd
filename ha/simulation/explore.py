"""All histories of the bounded world, not random ones: explicit-state model checking of the engine's own code.

A state of the world is two machines by number (``ha.simulation.stepping``) and a bit for each that is *contested*;
one that was already reached with at least as many faults and commands left is not visited again, for whatever can
follow has followed there. Histories with fewer faults and commands come first, and among those the shorter ones; so
the first counterexample has as few of both as any, and none of these is shorter. This module must not know what a
node does, nor what is forbidden on one machine.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import State
from ha.simulation.bounded import NODES, WEB, Bounds, Kind, Move
from ha.simulation.collecting import uncollected
from ha.simulation.coverage import Cell, in_order
from ha.simulation.retold import story
from ha.simulation.stepping import CONTENDS, LONELY, UP, WAITS, Machine, Shared

EVERY: Final = 20_000
"""Progress is told after so many states."""
_ROOT: Final = 0xFFFFFFFF
_BITS: Final = 24
_MASK: Final = (1 << _BITS) - 1
"""Of the number of a machine's state in that of a world."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search has come."""

    depth: int
    states: int
    frontier: int
    """States that are still to be looked at, as far as they are known."""


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
    machines: int = 0
    """States of the two machines, each for itself."""

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "faults": self.bounds.faults,
            "commands": self.bounds.commands,
            "pause": self.bounds.pause,
            "kinds": list(self.bounds.kinds),
            "states": self.states,
            "machines": self.machines,
            "transitions": self.transitions,
            "depth": self.depth,
            "exhausted": self.exhausted,
            "violation": self.violation,
            "story": list(self.story),
            "unarbitrated": self.unarbitrated,
            "cells": [str(cell) for cell in self.cells],
        }


class Place(NamedTuple):
    """A world: the numbers of its two machines, and who is contested (bit k: node k).

    A run is contested where it went ahead when nothing of the other had reached it for T, though the other lived, and
    claimed or held; and neither has given that up since. No node could have known better."""

    one: int
    two: int
    contested: int


def _packed(place: Place) -> int:
    one, two, contested = place
    return (contested << _BITS | two) << _BITS | one


def _unpacked(world: int) -> Place:
    return Place(world & _MASK, world >> _BITS & _MASK, world >> 2 * _BITS)


To = tuple[Move, int, int, int | str | None]
"""A move, what it costs of faults and of commands, and what it leads to: a world, packed; the rule it breaks; or None:
a dual run that could not be told from a takeover."""
_TIME: Final = tuple(Move(Kind.TIME, lost=lost) for lost in range(4))


class Search:
    """The worlds, packed, and what follows on each."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.cells: Counter[Cell] = Counter()
        self.shared = Shared()
        self.machines = (
            Machine(0, bounds, self.cells, self.shared),
            Machine(1, bounds, self.cells, self.shared),
        )
        self._orders: dict[int, tuple[tuple[int, int], ...]] = {}

    def beginning(self, states: tuple[State, State]) -> int:
        """Both machines boot at once."""
        one, two = (
            machine.off(NodeRecord(0, (ServiceRecord(WEB, state),)), frozen=state is State.FROZEN_STOP)
            for machine, state in zip(self.machines, states, strict=True)
        )
        world = _packed(Place(one, two, 0))
        for node in range(2):
            booted = next(to for move, _, _, to in self.after(world, 0, 0) if move == Move(Kind.BOOT, node))
            assert isinstance(booted, int)
            world = booted
        return world

    def after(self, world: int, faults: int, commands: int) -> Iterator[To]:
        """Every move."""
        one, two, contested = world & _MASK, world >> _BITS & _MASK, world >> 2 * _BITS
        first, second = self.machines
        if not (first.facts[one] | second.facts[two]) & WAITS:
            yield from self._later(one, two, contested, faults)
        place = self._place
        for node, machine, other, mine, theirs in ((0, first, second, one, two), (1, second, first, two, one)):
            up = other.facts[theirs] & UP
            for move, cost, typed, after, words, checked, starts, trouble in machine.steps(mine, faults, commands):
                lost, taken, bits = -1, theirs, contested
                if trouble:
                    yield move, cost, typed, trouble
                    continue
                if starts and up:
                    yield move, cost, typed, None if contested else self._both(node, theirs)
                    continue
                if checked:
                    bits = bits | 1 << node if checked == LONELY else bits & ~(1 << node)
                if words:
                    taken, lost = other.receive(theirs, words)
                yield move, cost, typed, place(taken, after, bits) if node else place(after, taken, bits)
                if lost >= 0 and cost < faults:
                    less = move._replace(lost=move.lost | 2 >> node)
                    yield less, cost + 1, typed, place(lost, after, bits) if node else place(after, lost, bits)

    def _later(self, one: int, two: int, contested: int, faults: int) -> Iterator[To]:
        first, second = self.machines
        one, said = first.later(one)
        two, answered = second.later(two)
        ones = first.receive(one, answered) if answered else (one, -1)
        twos = second.receive(two, said) if said else (two, -1)
        for lost in range(4 if faults > 1 else 3 if faults else 1):
            mine, theirs = ones[lost & 1], twos[lost >> 1]
            if mine >= 0 and theirs >= 0:
                yield _TIME[lost], lost.bit_count(), 0, self._place(mine, theirs, contested)

    def _place(self, one: int, two: int, contested: int) -> int:
        first, second = self.machines
        if contested and not first.facts[one] & second.facts[two] & CONTENDS:
            contested = 0
        ones, twos = first.generations[one], second.generations[two]
        order = self._orders.get(ones << 16 | twos)
        if order is None:
            order = self._orders[ones << 16 | twos] = self.shared.places(ones, twos)
        if order:
            one, two = first.moved(one, order), second.moved(two, order)
        return (contested << _BITS | two) << _BITS | one

    def _both(self, node: int, theirs: int) -> str:
        said = self.machines[1 - node].host(theirs).disk.services[0]
        part = ", unclean" if said.unclean else ""
        there = f"{NODES[1 - node]} ({said.state.name}{part} there)"
        return f"{NODES[node]} starts the service while it is up on {there}"

    def thin(self, world: int, faults: int) -> int:
        """The same world as far as so many faults can tell."""
        if faults >= 2:
            return world
        first, second = self.machines
        one, two = first.thin(world & _MASK, faults), second.thin(world >> _BITS & _MASK, faults)
        return (world >> 2 * _BITS << _BITS | two) << _BITS | one


class Visited:
    """The worlds that were reached, with what was left, and how."""

    def __init__(self, search: Search) -> None:
        self._search = search
        bounds = search.bounds
        self._commands = bounds.commands
        # By what can still tell worlds apart (``Search.thin``), by world: with which budgets, a bit each.
        self._reached: tuple[dict[int, int], ...] = ({}, {}, {})
        self._better: list[int] = []
        """By budget: the budgets that allow all that it allows."""
        budgets = [(f, c) for f in range(bounds.faults + 1) for c in range(bounds.commands + 1)]
        for faults, commands in budgets:
            self._better.append(sum(1 << n for n, (f, c) in enumerate(budgets) if f >= faults and c >= commands))
        self._parents = array("I")
        self._moves = array("I")

    def add(self, world: int, faults: int, commands: int, parent: int, move: int) -> int:
        """The number of the visit, or -1 where nothing new can follow. ``world``: thin for so many faults."""
        budget = faults * (self._commands + 1) + commands
        reached = self._reached[faults if faults < 2 else 2]
        known = reached.get(world, 0)
        if known & self._better[budget]:
            return -1
        reached[world] = known | 1 << budget
        for fewer in range(min(faults, 2)):  # and with fewer faults, for which less counts
            thinner = self._reached[fewer]
            less = self._search.thin(world, fewer)
            thinner[less] = thinner.get(less, 0) | 1 << fewer * (self._commands + 1) + commands
        self._parents.append(parent)
        self._moves.append(move)
        return len(self._parents) - 1

    def way(self, number: int) -> tuple[int, list[Move]]:
        """The beginning, and the moves from there."""
        moves = []
        while self._parents[number] != _ROOT:
            moves.append(_unpacked_move(self._moves[number]))
            number = self._parents[number]
        return self._moves[number], moves[::-1]


def _packed_move(move: Move) -> int:
    return move.kind | move.node << 4 | move.cut << 5 | move.action << 7 | move.lost << 12


def _unpacked_move(number: int) -> Move:
    return Move(number & 15, number >> 4 & 1, number >> 5 & 3, number >> 7 & 31, number >> 12 & 3)


class _Batch(NamedTuple):
    """The worlds of one budget and one depth that are still to be looked at: packed, and their numbers."""

    worlds: "array[int]"
    numbers: "array[int]"


class _Exploration:
    """A search under way."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.search = Search(bounds)
        self.states = self.transitions = self.unarbitrated = self.deepest = self.frontier = 0
        self.cut = False
        """Something was left out."""
        self._visited = Visited(self.search)
        self._waiting: dict[tuple[int, int], dict[int, _Batch]] = {}
        """By the faults and commands left, by depth."""

    def run(self, progress: Callable[[Progress], None] | None) -> Result:
        bounds = self.bounds
        for number, states in enumerate(bounds.beginnings):
            self._add(self.search.beginning(states), bounds.faults, bounds.commands, 0, _ROOT, number)
        every = [(f, c) for f in range(bounds.faults + 1) for c in range(bounds.commands + 1)]
        # What is spent only grows: all that comes to a budget has come before it is its turn.
        for budget in sorted(every, key=lambda left: (-sum(left), -left[0])):
            batches = self._waiting.get(budget, {})
            while batches and not self.cut:
                depth = min(batches)
                if depth >= bounds.depth:
                    self.cut = True
                    break
                found = self._look(batches.pop(depth), budget, depth, progress)
                if found is not None:
                    return found
        return self._result()

    def _look(
        self, batch: _Batch, budget: tuple[int, int], depth: int, progress: Callable[[Progress], None] | None
    ) -> Result | None:
        """At every world of a batch. A result: a rule is broken."""
        faults, commands = budget
        for world, number in zip(batch.worlds, batch.numbers, strict=True):
            if self.states >= self.bounds.states:
                self.cut = True
                return None
            self.states += 1
            self.frontier -= 1
            for move, cost, typed, to in self.search.after(world, faults, commands):
                self.transitions += 1
                if to is None:
                    self.unarbitrated += 1
                elif isinstance(to, str):
                    return self._result(to, self._story(number, move, to))
                else:
                    self._add(to, faults - cost, commands - typed, depth + 1, number, _packed_move(move))
            if progress is not None and self.states % EVERY == 0:
                progress(Progress(depth, self.states, self.frontier))
        return None

    def _add(self, world: int, faults: int, commands: int, depth: int, parent: int, move: int) -> None:
        world = self.search.thin(world, faults)
        number = self._visited.add(world, faults, commands, parent, move)
        if number < 0:
            return
        self.deepest = max(self.deepest, depth)
        self.frontier += 1
        batches = self._waiting.setdefault((faults, commands), {})
        batch = batches.get(depth)
        if batch is None:
            batch = batches[depth] = _Batch(array("Q"), array("I"))
        batch.worlds.append(world)
        batch.numbers.append(number)

    def _story(self, number: int, last: Move, end: str) -> tuple[str, ...]:
        beginning, moves = self._visited.way(number)
        faults, commands = self.bounds.faults, self.bounds.commands
        world = self.search.thin(self.search.beginning(self.bounds.beginnings[beginning]), faults)
        places = [_unpacked(world)]
        for move in moves:
            follow = self.search.after(world, faults, commands)
            cost, typed, to = next((c, t, to) for each, c, t, to in follow if each == move)
            assert isinstance(to, int)
            faults, commands = faults - cost, commands - typed
            world = self.search.thin(to, faults)
            places.append(_unpacked(world))
        return story(self.bounds, self.search.machines, places, [*moves, last], end)

    def _result(self, violation: str = "", told: tuple[str, ...] = ()) -> Result:
        return Result(
            self.bounds,
            self.states,
            self.transitions,
            self.deepest,
            not self.cut and not violation,
            violation,
            told,
            self.unarbitrated,
            tuple(in_order(self.search.cells)),
            sum(len(machine) for machine in self.search.machines),
        )


def explore(bounds: Bounds, progress: Callable[[Progress], None] | None = None) -> Result:
    """Look at every history within the bounds, or up to the first violation."""
    with uncollected():  # nothing here refers to itself, and to look for what does takes a third of the time
        return _Exploration(bounds).run(progress)
