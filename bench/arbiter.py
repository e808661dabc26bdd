"""Histories of two nodes and an etcd, drawn from seeds: never two owners of a service (docs/etcd.md)."""

import random
import time

from bench.figure import Figure
from ha.fsm.timing import DRIFT
from tests.unit.node.etcd_world import LONGEST, STATES, WHAT, Stale, play

HISTORIES = 100
"""In a round."""
STEPS = (4, 25)


def figures(rounds: int) -> list[Figure]:
    """Takes 2 to 5 s a round."""
    began = time.monotonic()
    found = [seed for seed in range(rounds * HISTORIES) if not _holds(seed)]
    took = time.monotonic() - began
    told = f"seeds {', '.join(map(str, found[:10]))}" if found else f"{took:.0f} s"
    count = rounds * HISTORIES
    return [Figure(f"etcd: histories of {count} with two owners", "", [len(found)], worst=0, exact=True, note=told)]


def _holds(seed: int) -> bool:
    draw = random.Random(seed)
    count = draw.randint(*STEPS)
    steps = [(draw.choice(WHAT), draw.choice(STATES), draw.uniform(0.1, LONGEST)) for _ in range(count)]
    first, second, third = (draw.choice((1 - DRIFT, 1.0, 1 + DRIFT)) for _ in range(3))
    try:
        play(steps, (first, second, third))
    except Stale:
        return False
    return True
