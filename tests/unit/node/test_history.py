"""History answers "why" at three in the morning: whatever happened to the file, the newest entries must come out."""

import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha.fsm.events import Note, NoteKind
from ha.fsm.states import State
from ha.node.history import MAX_ENTRY, Entry, History, Tail, iso, sentences, tail

WALL = 1771531197.123
TAKEOVER = Note(
    NoteKind.TRANSITION,
    "web",
    "node1 is silent for 2.004 s (limit 2 s)",
    State.STOPPED,
    State.START_READY,
    evidence=("net eth0:239.131.50.10:1234: last message 2.004 s old", "dio /dev/sdb:0: last message 2.3 s old"),
    generation=4,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "history.jsonl")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def note(text: str, service: str = "web", kind: NoteKind = NoteKind.REFUSED) -> Note:
    return Note(kind, service, text)


def write(path: str, *texts: str, service: str = "web") -> None:
    history = History(path, "node2")
    for text in texts:
        history.append([note(text, service)], WALL, 12.5)
    history.close()


def texts(found: Tail) -> list[str]:
    return [entry.text for entry in found.entries]


def test_an_entry_says_when_who_what_and_why(path: str) -> None:
    history = History(path, "node2")
    history.append([TAKEOVER], WALL, 12.3456789)
    assert json.loads(Path(path).read_text()) == {
        "time": "2026-02-19T19:59:57.123+0000",
        "boottime": 12.345679,
        "node": "node2",
        "kind": "transition",
        "service": "web",
        "from": "STOPPED",
        "to": "START_READY",
        "text": "node1 is silent for 2.004 s (limit 2 s)",
        "by": "ezha",
        "evidence": list(TAKEOVER.evidence),
        "generation": 4,
    }
    (entry,) = tail(path, "web", 10).entries
    assert (entry.source, entry.dest, entry.evidence) == ("STOPPED", "START_READY", TAKEOVER.evidence)
    history.close()


def test_milliseconds_are_rounded_into_the_next_second() -> None:
    assert iso(0.9996) == "1970-01-01T00:00:01.000+0000"


def test_the_newest_entries_of_a_service_come_oldest_first(path: str) -> None:
    write(path, "1", "2", "3")
    write(path, "other", service="db")
    write(path, "node", service="")
    assert texts(tail(path, "web", 2)) == ["2", "3"]
    assert texts(tail(path, "", 2)) == ["other", "node"]
    assert texts(tail(path, "web", 2, with_node=True)) == ["3", "node"]
    assert texts(tail(path, "web", 100)) == ["1", "2", "3"]


def test_no_file_means_no_history(path: str) -> None:
    assert tail(path, "web", 10) == Tail(())


def test_notes_of_one_moment_are_one_write(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    original = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(data) or original(fd, data))
    history = History(path, "node2")
    history.append([note("1"), note("2")], WALL, 1.0)
    history.append([], WALL, 1.0)
    history.close()
    assert len(written) == 1
    assert texts(tail(path, "web", 10)) == ["1", "2"]


def test_a_line_that_a_crash_tore_is_passed_over_and_does_not_take_the_next_with_it(path: str) -> None:
    write(path, "1", "2")
    data = Path(path).read_bytes()
    for cut in range(1, len(data) // 2 - 1):
        Path(path).write_bytes(data[:-cut])
        if cut > 1:
            assert tail(path, "web", 10) == Tail(tail(path, "web", 10).entries, skipped=1)
            assert texts(tail(path, "web", 10)) == ["1"]
        write(path, "3")
        assert texts(tail(path, "web", 10))[-1] == "3"
        assert texts(tail(path, "web", 10))[0] == "1"


def test_the_file_is_rotated_and_the_reader_follows(path: str) -> None:
    history = History(path, "node2", limit=1000)
    for number in range(20):
        history.append([note(f"{number}")], WALL, 1.0)
        assert os.stat(path).st_size <= 1000
    history.close()
    assert sorted(os.listdir(os.path.dirname(path))) == ["history.jsonl", "history.jsonl.1"]
    found = texts(tail(path, "web", 100))
    assert found[-1] == "19"
    assert found == [str(n) for n in range(20 - len(found), 20)]
    assert len(found) > 1000 // 250
    assert texts(tail(path, "web", 3)) == ["17", "18", "19"]


def test_a_full_file_is_rotated_by_the_next_life_too(path: str) -> None:
    History(path, "node2", limit=10).append([note("1")], WALL, 1.0)
    History(path, "node2", limit=10).append([note("2")], WALL, 1.0)
    assert texts(tail(path, "web", 100)) == ["1", "2"]
    assert os.path.exists(path + ".1")


def test_a_file_that_was_removed_is_begun_anew(path: str) -> None:
    history = History(path, "node2")
    history.append([note("1")], WALL, 1.0)
    os.unlink(path)
    history.append([note("2")], WALL, 1.0)
    os.rename(path, path + ".old")
    history.append([note("3")], WALL, 1.0)
    history.close()
    assert texts(tail(path, "web", 10)) == ["3"]


def test_a_disk_that_refuses_is_told_and_tried_again(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(path, "node2")
    history.append([note("1")], WALL, 1.0)
    original = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: original(fd, data[:10]))
        with pytest.raises(OSError, match="only 10 of"):
            history.append([note("2")], WALL, 1.0)
    history.append([note("3")], WALL, 1.0)
    history.close()
    found = tail(path, "web", 10)
    assert texts(found) == ["1", "3"]
    assert found.skipped == 1


def test_a_link_is_not_written_through(path: str, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("")
    os.symlink(tmp_path / "victim", path)
    with pytest.raises(OSError, match="symbolic"):
        History(path, "node2").append([note("1")], WALL, 1.0)


def test_what_one_entry_can_hold_is_bounded(path: str) -> None:
    history = History(path, "node2")
    huge = Note(NoteKind.ALERT, "web", "😀" * 100_000, by="😀" * 100_000, evidence=("😀" * 10_000,) * 1_000)
    history.append([huge], WALL, 1.0)
    history.close()
    assert os.stat(path).st_size <= MAX_ENTRY
    (entry,) = tail(path, "web", 1).entries
    assert entry.text == "😀" * 2_000
    assert entry.evidence


def test_lines_far_too_long_are_one_skipped_line_each(path: str) -> None:
    write(path, "1")
    with open(path, "ab") as file:
        file.write(b"x" * 300_000 + b"\n" + b"y" * 70_000 + b"\n")
    write(path, "2")
    found = tail(path, "web", 10)
    assert texts(found) == ["1", "2"]
    assert found.skipped == 2


def test_the_reader_reads_no_more_than_it_must(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, *(["x" * 500] * 2_000))
    read: list[int] = []
    original = os.pread

    def counted(fd: int, count: int, offset: int) -> bytes:
        read.append(count)
        return original(fd, count, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert len(tail(path, "web", 5).entries) == 5
    assert sum(read) <= 64 * 1024


@given(st.lists(st.one_of(st.binary(max_size=300), st.just(b'{"time":1}'), st.just(b"[]")), max_size=20))
@settings(max_examples=100)
def test_no_bytes_in_the_file_make_the_reader_raise(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/history.jsonl"
        Path(path).write_bytes(b"\n".join(lines))
        write(path, "last")
        found = tail(path, "web", 10)
        assert texts(found) == ["last"]
        sentences(found.entries)


# ----------------------------------------------------------------------------------------- sentences


def told(path: str, *notes: Note) -> list[str]:
    history = History(path, "node2")
    history.append(notes, WALL, 1.0)
    history.close()
    return sentences(tail(path, "", 100).entries)


def test_a_takeover_is_told_with_its_evidence(path: str) -> None:
    assert told(path, TAKEOVER) == [
        "2026-02-19 19:59:57.123  node2: STOPPED → START_READY (generation 4), decided by ezha: "
        "node1 is silent for 2.004 s (limit 2 s)",
        "    net eth0:239.131.50.10:1234: last message 2.004 s old",
        "    dio /dev/sdb:0: last message 2.3 s old",
    ]


def test_every_kind_of_note_is_a_sentence(path: str) -> None:
    by = "root (uid 0), service -A"
    found = told(
        path,
        Note(NoteKind.TRANSITION, "web", "asked to stop", State.STARTED, State.STOPPING, by),
        Note(NoteKind.REFUSED, "web", "node1 runs it", by=by),
        Note(NoteKind.REFUSED, "web", "node1 runs it"),
        Note(NoteKind.PATH, "", "eth0:239.131.50.10:1234 is DOWN"),
        Note(NoteKind.ALERT, "web", "two nodes run it"),
    )
    assert [line[25:] for line in found] == [
        "node2: STARTED → STOPPING, decided by root (uid 0), service -A: asked to stop",
        "node2: refused, asked by root (uid 0), service -A: node1 runs it",
        "node2: not done: node1 runs it",
        "node2: eth0:239.131.50.10:1234 is DOWN",
        "node2: ALERT: two nodes run it",
    ]


@given(st.text(max_size=50))
def test_what_a_script_printed_cannot_move_the_cursor(text: str) -> None:
    entry = Entry("2026-02-19T20:59:57.123+0000", 1.0, text, "refused", text, text, text, text, text, (text,), 0)
    assert all(line.isprintable() for line in sentences([entry]))
