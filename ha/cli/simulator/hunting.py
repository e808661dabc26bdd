"""``ezha sim hunt``: many histories with a progress bar, and what they came to together."""

import json
import os
import re
import time
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import count
from modulefinder import ModuleFinder
from pathlib import Path

import ha
from ha.cli.guard import CliError
from ha.cli.simulator.telling import EXIT_CLEAN, EXIT_LIVENESS, EXIT_SAFETY
from ha.simulation import ledger
from ha.simulation.coverage import Cell, in_order, parse
from ha.simulation.hunt import Tally

MAX_EXPLORED = 16 * 1024 * 1024
_RESTS_ON = ("simulation.hunt", "cli.simulator.given")
KEEP_S = 15.0
"""The state of a hunt is written so often."""
SHOWN = 20
"""Violations that are told one by one."""


def seeds(text: str) -> range:
    """A type for ``add_argument``: ``A..B``, both included, or a single seed."""
    found = re.fullmatch(r"([0-9]{1,18})(?:\.\.([0-9]{1,18}))?", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if last < first:
        raise ArgumentTypeError(f"{text} is not A..B with A no greater than B")
    return range(first, last + 1)


def chosen(given: range | None, minutes: float | None) -> Iterable[int]:
    """The seeds: as given, or else as many as there is time for, or a thousand."""
    if given is not None:
        return given
    return range(1, 1001) if minutes is None else count(1)


class Kept:
    """The state of a hunt in a file: taken up again where the last one ended, and written as it goes on."""

    def __init__(self, path: str, of: str) -> None:
        """Raises CliError."""
        self._path = path
        self._of = of
        self._code = code()
        self._written = 0.0
        self.tally: Tally | None = None
        try:
            with open(path, encoding="utf-8") as file:
                self.tally = ledger.read(file.read(MAX_EXPLORED), of, self._code)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CliError(f"{path}: {error.strerror}") from None
        except (UnicodeDecodeError, ledger.LedgerError) as error:
            raise CliError(f"{path}: {error}") from None

    @property
    def done(self) -> int:
        """Histories."""
        return self.tally.histories if self.tally is not None else 0

    def keep(self, tally: Tally, last: bool = False) -> None:
        """Now and then, and at the end. Raises CliError."""
        if not last and time.monotonic() - self._written < KEEP_S:
            return
        text = ledger.Ledger(self._of, self._code, tally).text
        try:
            with open(f"{self._path}.part", "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(f"{self._path}.part", self._path)
        except OSError as error:
            raise CliError(f"{self._path}: cannot be written: {error.strerror}") from None
        self._written = time.monotonic()


def code(root: Path = Path(ha.__file__ or "").parent) -> str:
    """Digest of ezha's own code that a hunt rests on: what carries histories out, and what draws their plans. Raises
    CliError."""
    digest = blake2b(digest_size=12)
    try:
        finder = ModuleFinder([str(root.parent)])
        for rested_on in _RESTS_ON:
            finder.import_hook(f"{root.name}.{rested_on}")
        for name in sorted(finder.modules):
            if name.partition(".")[0] == root.name:
                module = root.parent.joinpath(*name.split("."))
                file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
                digest.update(f"{name}\n".encode() + file.read_bytes())
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}") from None
    return digest.hexdigest()


def cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def bar(total: int | None) -> Iterator[Callable[[Tally], None]]:
    """A progress bar on a terminal; elsewhere nothing."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    progress = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=total)

        def show(tally: Tally) -> None:
            rate = tally.histories / tally.wall if tally.wall else 0.0
            bad = f"{len(tally.found)} violation(s), " if tally.found else ""
            progress.update(task, completed=tally.histories, description=f"{bad}{rate:.1f} histories/s")

        yield show


def summary(tally: Tally, jobs: int, command: Callable[[int], str]) -> list[str]:
    """What the hunt came to. ``command(seed)`` tells a history again."""
    wall = tally.wall or time.get_clock_info("monotonic").resolution
    hours = tally.seconds / 3600.0
    lines = [
        f"{tally.histories:,} histories in {wall:.1f} s on {jobs} core(s): {tally.histories / wall:.2f} histories/s",
        f"{hours:,.1f} simulated hours, {hours / wall:.2f} simulated hours/s ({hours / wall / jobs:.2f} a core)",
        *(
            [f"{len(tally.cells)} cells of (state × peer's state × event); the rarest: {_rarest(tally)}"]
            * bool(tally.cells)
        ),
        f"faults: {_counted(tally.faults)}",
        f"situations: {_counted(tally.situations)}",
        f"dual runs that no promise covers: {tally.dual:,}{_window(tally)}",
        "",
    ]
    for found in tally.found[:SHOWN]:
        kind, texts = ("SAFETY", found.safety) if found.safety else ("LIVENESS", found.liveness)
        more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
        lines += [f"seed {found.seed}: {kind} VIOLATION: {texts[0]}{more}", f"    {command(found.seed)}"]
    if len(tally.found) > SHOWN:
        lines.append(f"… and {len(tally.found) - SHOWN} seeds more")
    if tally.found:
        lines.append(
            f"{len(tally.safety)} histories with a safety violation, {len(tally.liveness)} with a liveness one"
        )
    else:
        lines.append("clean: no violation" if tally.histories else "no history was finished")
    return lines


def cells(tally: Tally) -> list[str]:
    """Every cell that was reached, and how often."""
    return [f"{tally.cells[cell]:>12,}  {cell}" for cell in in_order(tally.cells)]


def explored(paths: Iterable[str]) -> list[Cell]:
    """The cells that ``ezha sim explore --json`` told, of one search or of several. Raises CliError."""
    return in_order(cell for path in paths for cell in _explored(path))


def _explored(path: str) -> list[Cell]:
    try:
        with open(path, encoding="utf-8") as file:
            told = json.loads(file.read(MAX_EXPLORED))
        return [parse(str(text)) for text in told["cells"]]
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise CliError(f"{path}: not what ezha sim explore --json tells") from None


def missing(tally: Tally, reachable: list[Cell]) -> list[Cell]:
    return [cell for cell in reachable if not tally.cells[cell]]


def compared(tally: Tally, reachable: list[Cell]) -> list[str]:
    """Which of the cells that a search of all histories reached did the hunt not reach?"""
    missed = missing(tally, reachable)
    lines = [f"{len(reachable) - len(missed)} of the {len(reachable)} cells that the search reached"]
    return lines + [f"not reached: {cell}" for cell in missed]


def exit_code(tally: Tally) -> int:
    if tally.safety:
        return EXIT_SAFETY
    return EXIT_LIVENESS if tally.liveness else EXIT_CLEAN


def _window(tally: Tally) -> str:
    return f"; after a pause that stopped the watchdog, too, for {tally.window:.2f} T at most" if tally.window else ""


def _rarest(tally: Tally) -> str:
    ordered = in_order(tally.cells)
    ordered.sort(key=lambda cell: tally.cells[cell])
    return ", ".join(f"{cell} ({tally.cells[cell]})" for cell in ordered[:3])


def _counted(counter: Counter[str]) -> str:
    ordered = sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} {number:,}" for name, number in ordered) or "none"
