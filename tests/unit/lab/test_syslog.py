"""The system log of a node: one datagram, one line, in a file that cannot grow without end."""

import os
from pathlib import Path

import pytest

from ha.lab.syslog import MAX_MESSAGE, Syslog, line

NOW = 1_700_000_000.0


def rest(raw: bytes) -> str:
    """The line without its time."""
    return line(raw, "node1", NOW)[16:]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"<30>Nov 23 09:41:07 nmond[12]: text", "node1 daemon.info nmond[12]: text"),
        (b"<155>Nov  3 09:41:07 a: b\n", "node1 local3.err a: b"),
        (b"<14>python says\0", "node1 user.info python says"),
        (b"bare", "node1 user.notice bare"),
        (b"<999>x", "node1 user.notice <999>x"),
        (b"", "node1 user.notice "),
    ],
)
def test_facility_level_and_text_are_kept(raw: bytes, expected: str) -> None:
    assert rest(raw) == expected


def test_what_a_stranger_puts_in_stays_one_line_and_moves_no_terminal() -> None:
    assert rest(b"<30>a\nNov 23 root: faked\x1b[2J\x9b\xff") == "node1 daemon.info a?Nov 23 root: faked?[2J\ufffd\ufffd"


def test_a_long_message_is_cut() -> None:
    assert len(rest(b"<30>" + b"x" * 100_000)) == len("node1 daemon.info ") + MAX_MESSAGE


def test_the_file_is_rotated_and_at_most_two_are_kept(tmp_path: Path) -> None:
    log = Syslog(str(tmp_path / "syslog"), "node1", max_file=1000)
    for number in range(200):
        log.write(b"<30>message %d" % number)
    assert sorted(os.listdir(tmp_path)) == ["syslog", "syslog.1"]
    both = (tmp_path / "syslog.1").read_text() + (tmp_path / "syslog").read_text()
    assert all(len((tmp_path / name).read_text()) <= 1000 for name in ("syslog", "syslog.1"))
    assert both.endswith("message 199\n")


def test_a_new_boot_goes_on_with_the_same_file(tmp_path: Path) -> None:
    Syslog(str(tmp_path / "syslog"), "node1").write(b"one")
    Syslog(str(tmp_path / "syslog"), "node1").write(b"two")
    assert [text[-3:] for text in (tmp_path / "syslog").read_text().splitlines()] == ["one", "two"]
