"""What a hunt of several days has come to so far, as text that a file can keep, and whether it is still the same hunt.

Histories are worth adding up only where the same code carried them out on the same plans. It reads and writes no file.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from ha.simulation.coverage import Cell, parse
from ha.simulation.hunt import Found, Tally

FORMAT: Final = 1
KEPT: Final = 1000
"""Histories that went wrong are kept one by one up to so many."""


class LedgerError(ValueError):
    """The file is none of these, or of another hunt. The text says which."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A hunt."""

    of: str
    """What is hunted, in words: seeds, hours, cluster, mix, rules."""
    code: str
    """Digest of the code that carries it out."""
    tally: Tally

    @property
    def text(self) -> str:
        tally = self.tally
        plain = {
            "format": FORMAT,
            "of": self.of,
            "code": self.code,
            "histories": tally.histories,
            "hours": tally.seconds / 3600.0,
            "seconds": tally.seconds,
            "wall": tally.wall,
            "dual": tally.dual,
            "window": tally.window,
            "violations": [[f.seed, f.safety, f.liveness] for f in tally.found[:KEPT]],
            "faults": dict(sorted(tally.faults.items())),
            "situations": dict(sorted(tally.situations.items())),
            "cells": {str(cell): number for cell, number in sorted(tally.cells.items(), key=lambda each: str(each[0]))},
        }
        return json.dumps(plain, indent=1) + "\n"


def read(text: str, of: str, code: str) -> Tally:
    """What was done so far of the hunt ``of``, by the same code. Raises LedgerError."""
    try:
        plain = json.loads(text)
        told = (plain["format"], plain["of"], plain["code"])
        tally = _tally(plain)
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"not the state of a hunt ({type(error).__name__}); name another file") from None
    if told[0] != FORMAT:
        raise LedgerError(f"of another version of ezha (format {told[0]}); name another file")
    if told[1] != of:
        raise LedgerError(f"it is of another hunt ({told[1]}), this one is {of}; name another file")
    if told[2] != code:
        raise LedgerError("the code has changed since: what it found counts no more; name another file")
    return tally


def _tally(plain: dict[str, Any]) -> Tally:
    cells: Counter[Cell] = Counter({parse(text): int(number) for text, number in plain["cells"].items()})
    return Tally(
        histories=int(plain["histories"]),
        seconds=float(plain["seconds"]),
        dual=int(plain["dual"]),
        window=float(plain["window"]),
        found=[Found(int(seed), list(safety), list(liveness)) for seed, safety, liveness in plain["violations"]],
        cells=cells,
        faults=Counter({str(name): int(number) for name, number in plain["faults"].items()}),
        situations=Counter({str(name): int(number) for name, number in plain["situations"].items()}),
        wall=float(plain["wall"]),
    )
