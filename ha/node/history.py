"""What was decided on this node, when, by whom and on what evidence: ``$EZ_LOG/history.jsonl``.

One JSON object a line, appended, never changed; at 4 MiB the file becomes ``history.jsonl.1`` and the one before that
goes. ``ezha why`` reads it backwards and tells it in sentences. Nothing is ever decided from it: a line that is torn
or foreign is passed over and counted.
"""

import errno
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ha.fsm.events import Note, NoteKind
from ha.fsm.states import State
from ha.node.files import is_still

MAX_FILE = 4 * 1024 * 1024
MAX_ENTRY = 64 * 1024
"""Bytes of a line; a reader passes over what is longer."""
MAX_TEXT = 2_000
MAX_EVIDENCE = 64
MAX_EVIDENCE_TEXT = 500
MAX_TAIL = 10_000
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One note as it was written down."""

    time: str
    """Wall clock of the node, ISO 8601 with milliseconds and offset. For people's eyes only."""
    boottime: float
    """Seconds since the machine was started; orders the entries of one boot."""
    node: str
    kind: str
    """A value of ``NoteKind``."""
    service: str
    """Empty where the node as a whole is meant."""
    source: str
    """Name of the state before; empty where it is no transition."""
    dest: str
    text: str
    by: str
    evidence: tuple[str, ...]
    generation: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest entries that were asked for."""

    entries: tuple[Entry, ...]
    """Oldest first."""
    skipped: int = 0
    """Lines on the way that were no entries: torn by a crash, or foreign."""


class History:
    """Appends. Not safe for two writers: nmond has the only one."""

    def __init__(self, path: str, node: str, limit: int = MAX_FILE) -> None:
        """Opens nothing yet. ``limit``: bytes at which the file is rotated."""
        self._path = path
        self._node = node
        self._limit = limit
        self._fd = -1
        self._size = 0

    def append(self, notes: Iterable[Note], wall: float, boottime: float) -> None:
        """Write the notes of one moment, in one write. ``wall``: epoch seconds; ``boottime``: CLOCK_BOOTTIME.

        Not synced: history is for people, and a decision must not wait for it. Raises OSError where the disk
        refuses; nothing or a part may have been written then, and the next call begins a line of its own.
        """
        stamp = iso(wall)
        data = b"".join(_line(note, stamp, boottime, self._node) for note in notes)
        if not data:
            return
        self._make_ready(len(data))
        try:
            written = os.write(self._fd, data)
        except OSError:
            self.close()
            raise
        self._size += written
        if written != len(data):
            self.close()
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written", self._path)

    def close(self) -> None:
        """The next ``append`` opens the file again."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _make_ready(self, more: int) -> None:
        # Where somebody removed or replaced the file, nobody would read what goes on being written to it.
        full = self._size and self._size + more > self._limit
        if self._fd >= 0 and (full or not is_still(self._fd, self._path)):
            self.close()
        if self._fd >= 0:
            return
        self._open()
        if self._size and self._size + more > self._limit:
            self.close()
            os.replace(self._path, self._path + ".1")
            self._open()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o640)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                # A crash tore the last line: what follows must not become part of it.
                size += os.write(fd, b"\n")
        except OSError:
            os.close(fd)
            raise
        self._fd, self._size = fd, size


def iso(wall: float) -> str:
    """``2026-02-19T20:59:57.123+0100``: local time of the node."""
    milliseconds = round(wall * 1000)
    local = time.localtime(milliseconds // 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{milliseconds % 1000:03d}{time.strftime('%z', local)}"


def _line(note: Note, stamp: str, boottime: float, node: str) -> bytes:
    entry: dict[str, Any] = {
        "time": stamp,
        "boottime": round(boottime, 6),
        "node": node,
        "kind": note.kind.value,
        "service": note.service,
        "from": note.source.name if note.source is not None else "",
        "to": note.dest.name if note.dest is not None else "",
        "text": note.text[:MAX_TEXT],
        "by": note.by[:MAX_EVIDENCE_TEXT],
        "evidence": [sentence[:MAX_EVIDENCE_TEXT] for sentence in note.evidence[:MAX_EVIDENCE]],
        "generation": note.generation,
    }
    line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
    evidence = entry["evidence"]
    while len(line) > MAX_ENTRY and evidence:
        entry["evidence"] = evidence = evidence[: len(evidence) // 2]
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
    return line


# ------------------------------------------------------------------------------------------- reading


def tail(path: str, service: str, count: int, with_node: bool = False) -> Tail:
    """The newest ``count`` (1 … 10,000) entries of ``service``; of all where it is empty.

    ``with_node``: those that concern the node as a whole, too. Reads from the end, in both files, and no more than
    it must. Raises OSError for a file that cannot be read; one that is not there is no error.
    """
    entries: list[Entry] = []
    skipped = 0
    for line in _lines_backwards((path, path + ".1")):
        entry = _parse(line)
        if entry is None:
            skipped += 1
        elif not service or entry.service == service or (with_node and not entry.service):
            entries.append(entry)
            if len(entries) >= min(count, MAX_TAIL):
                break
    return Tail(tuple(reversed(entries)), skipped)


def _lines_backwards(paths: Iterable[str]) -> Iterator[bytes]:
    """Lines without their ends, the last one first; one that is too long comes as an empty one."""
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        try:
            yield from _of_file(fd)
        finally:
            os.close(fd)


def _of_file(fd: int) -> Iterator[bytes]:
    position = os.fstat(fd).st_size
    rest = b""
    too_long = False
    first = True
    while position > 0:
        step = min(_CHUNK, position)
        position -= step
        parts = (os.pread(fd, step, position) + rest).split(b"\n")
        rest = parts[0]
        for line in reversed(parts[1:]):
            if first and not line:
                pass  # What follows the last line's end.
            else:
                yield b"" if too_long or len(line) > MAX_ENTRY else line
            first = too_long = False
        if len(rest) > MAX_ENTRY:
            # Only that it is too long counts; what has been read of it need not be kept.
            too_long, rest = True, b""
    if rest or too_long:
        yield b"" if too_long or len(rest) > MAX_ENTRY else rest


def _parse(line: bytes) -> Entry | None:
    try:
        table = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(table, dict):
        return None
    evidence = table.get("evidence", [])
    boottime = table.get("boottime", 0.0)
    generation = table.get("generation", 0)
    words = {key: table.get(key, "") for key in ("time", "node", "kind", "service", "from", "to", "text", "by")}
    if (
        not all(isinstance(word, str) for word in words.values())
        or not isinstance(evidence, list)
        or not all(isinstance(sentence, str) for sentence in evidence)
        or isinstance(boottime, bool)
        or not isinstance(boottime, int | float)
        or type(generation) is not int
        or not words["time"]
    ):
        return None
    words["source"], words["dest"] = words.pop("from"), words.pop("to")
    numbers: dict[str, Any] = {"boottime": float(boottime), "generation": generation}
    return Entry(evidence=tuple(evidence[:MAX_EVIDENCE]), **numbers, **words)


# ----------------------------------------------------------------------------------------- sentences


def sentences(entries: Iterable[Entry]) -> list[str]:
    """The story for a person: when, from what to what, decided by whom, why; evidence indented below.

    Nothing in it can move a terminal's cursor, whatever a script printed.
    """
    told: list[str] = []
    for entry in entries:
        told.append(_sentence(entry))
        told.extend(f"    {_plain(sentence)}" for sentence in entry.evidence)
    return told


def _sentence(entry: Entry) -> str:
    head = f"{_when(entry.time)}  {_plain(entry.node)}: "
    reason = _plain(entry.text)
    by = _plain(entry.by)
    if entry.kind == NoteKind.TRANSITION.value and entry.dest:
        change = f"{_plain(entry.source)} → {_plain(entry.dest)}" if entry.source else f"begins {_plain(entry.dest)}"
        generation = f" (generation {entry.generation})" if entry.dest in _CLAIMS and entry.generation else ""
        return f"{head}{change}{generation}, decided by {by}: {reason}"
    if entry.kind == NoteKind.REFUSED.value:
        return f"{head}refused, asked by {by}: {reason}" if by and by != "ezha" else f"{head}not done: {reason}"
    if entry.kind == NoteKind.ALERT.value:
        return f"{head}ALERT: {reason}"
    return head + reason


_CLAIMS = frozenset(state.name for state in (State.START_READY, State.STARTING, State.STARTED))


def _when(stamp: str) -> str:
    """``2026-02-19 20:59:57.123``; the offset stays in the file."""
    return _plain(stamp[:23].replace("T", " "))


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:MAX_TEXT])
