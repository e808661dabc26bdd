"""How many blocks of a shared disk belong to each line of ``monitor``.

A slot reaches to the next offset configured on its device (design: "Heartbeats"). This module knows nothing of
what is written there.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from ha.heartbeats import openha
from ha.heartbeats.path import PathLine
from ha.node.config.options import MAX_SLOT_BLOCKS, Options
from ha.node.config.problems import Report

DEFAULT_SLOT_BLOCKS = 2
"""Of the only slot on a device: the distance of the tutorial's offsets 0 and 2."""


def place_slots(
    lines: Sequence[tuple[int, PathLine]], options: Options, report: Report, file: str
) -> tuple[PathLine, ...]:
    """The same paths with their ``slot_blocks``, 1 … 128 for a disk. ``lines``: with the number of each.

    The last slot of a device is as large as the smallest distance on it. A ``slot`` of options.toml counts instead,
    and must end before the next offset. Two lines at one offset are reported. OpenHA's slots have 19 blocks, and
    no other may begin within: its nodes write all of them.
    """
    by_device: dict[str, list[tuple[int, PathLine]]] = {}
    for number, path in lines:
        if path.is_disk:
            by_device.setdefault(path.device, []).append((number, path))
    blocks: dict[int, int] = {}
    for on_device in by_device.values():
        on_device.sort(key=lambda entry: (entry[1].offset, entry[0]))
        blocks.update(_on_device(on_device, options, report, file))
    return tuple(replace(path, slot_blocks=blocks.get(number, 0)) for number, path in lines)


def _on_device(lines: Sequence[tuple[int, PathLine]], options: Options, report: Report, file: str) -> dict[int, int]:
    """Blocks by line number. ``lines`` in the order of their offsets."""
    gaps = [b.offset - a.offset for (_, a), (_, b) in pairwise(lines)]
    free = [gap for gap in gaps if gap > 0]
    last = min(free) if free else DEFAULT_SLOT_BLOCKS
    blocks: dict[int, int] = {}
    for place, (number, path) in enumerate(lines):
        gap = gaps[place] if place < len(gaps) else 0
        if place < len(gaps) and gap == 0:
            other, twin = lines[place + 1]
            text = f"{twin.label} is the slot of node {path.node} (line {number}); give each line an offset of its own"
            report.problem(file, max(number, other), text)
            continue
        asked = options.path(path.label).slot
        if path.is_openha:
            blocks[number] = openha.BLOCKS
            if gap and gap < openha.BLOCKS:
                other, twin = lines[place + 1]
                text = f"{twin.label} overlaps the slot of node {path.node} at offset {path.offset} (line {number})"
                text += (
                    f": OpenHA writes {openha.BLOCKS} blocks; give an offset of {path.offset + openha.BLOCKS} or more"
                )
                report.problem(file, other, text)
            elif asked not in (0, openha.BLOCKS):
                text = f"a slot of {asked} blocks (options.toml) at {path.label}: OpenHA's has {openha.BLOCKS}"
                report.problem(file, number, f"{text}; take slot out")
            continue
        if asked and gap and asked > gap:
            next_offset = lines[place + 1][1].offset
            text = f"a slot of {asked} blocks (options.toml) at {path.label} overlaps offset {next_offset}"
            report.problem(file, number, f"{text}; set slot to {gap} or less, or move the offsets apart")
        blocks[number] = min(asked or gap or last, MAX_SLOT_BLOCKS)
    return blocks
