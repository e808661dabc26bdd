"""``python -m bench [--short] [NAME …]``: measure, print a line for each figure, and judge them."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench import (
    arbiter,
    beside,
    claims,
    controller,
    cuts,
    database,
    fuzz,
    migration,
    resting,
    saturated,
    takeover,
    thousand,
)
from bench.figure import GATE, Figure
from bench.ground import progress


@dataclass(frozen=True, slots=True)
class Measurement:
    name: str
    measure: Callable[[int], list[Figure]]
    """Takes the number of rounds."""
    full: int
    short: int
    """Rounds; 0: not in the short run."""


MEASUREMENTS = (
    Measurement("takeover", takeover.one, full=20, short=3),
    Measurement("takeover-128", takeover.many, full=20, short=1),
    Measurement("keepalived", beside.keepalived, full=20, short=3),
    Measurement("unfreeze", claims.unfreeze, full=20, short=5),
    Measurement("race-net", claims.race_net, full=30, short=5),
    Measurement("race-cut", claims.race_cut, full=20, short=0),
    Measurement("race-disk", claims.race_disk, full=30, short=3),
    Measurement("thousand", thousand.thousand, full=20, short=1),
    Measurement("idle-1", resting.cpu_one, full=20, short=0),
    Measurement("idle-128", resting.cpu_many, full=20, short=2),
    Measurement("look", resting.look, full=40, short=10),
    Measurement("svcmgr-look", controller.look, full=20, short=5),
    Measurement("svcmgr-start", controller.nothing, full=20, short=5),
    Measurement("svcmgr-takeover", controller.takeover, full=20, short=1),
    Measurement("postgresql", database.ocf, full=5, short=1),
    Measurement("postgresql-app", database.app, full=5, short=0),
    Measurement("postgresql-lazy", database.unsafe, full=1, short=0),
    Measurement("cuts", cuts.figures, full=20, short=0),
    Measurement("saturated", saturated.figures, full=300, short=0),
    Measurement("migration", migration.figures, full=5, short=0),
    Measurement("arbiter", arbiter.figures, full=200, short=1),
    Measurement("fuzz", fuzz.figures, full=100, short=1),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures ezha in the lab, as root. Without NAME: everything.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(each.name for each in MEASUREMENTS))
    parser.add_argument(
        "--short", action="store_true", help=f"few rounds; exit code 1 where a figure is over {GATE:g} times its limit"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="so many rounds of each, instead of the usual number")
    options = parser.parse_args()
    known = {each.name for each in MEASUREMENTS}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"{unknown[0]} is not a measurement; there are {', '.join(sorted(known))}")
    if os.geteuid() != 0:
        parser.error("the measurements need root")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # not without ending the lab
    missed = False
    for each in MEASUREMENTS:
        rounds = options.rounds or (each.short if options.short else each.full)
        if not rounds or (options.names and each.name not in options.names):
            continue
        progress(each.name)
        figures = each.measure(rounds)
        progress("")
        for figure in figures:
            print(figure.line(), flush=True)
            over = figure.missed(GATE if options.short else 1)
            if over:
                missed = True
                print(f"{each.name}: {figure.what}: {over}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
