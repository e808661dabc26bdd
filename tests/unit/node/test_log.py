"""The log: one line a call, levels, rotation, and a syslog daemon that delays nothing."""

import socket
from pathlib import Path

from ha.node import log as log_module
from ha.node.log import Level, Log, LogFile, Syslog, printable


def test_a_line_has_time_level_and_text(tmp_path: Path) -> None:
    log = Log(LogFile(f"{tmp_path}/nmond.log"), None)
    log.warning("web: something")
    line = (tmp_path / "nmond.log").read_text()
    assert line.endswith(" warning: web: something\n")
    assert (tmp_path / "nmond.log").stat().st_mode & 0o777 == 0o640


def test_control_characters_do_not_reach_a_terminal(tmp_path: Path) -> None:
    log = Log(LogFile(f"{tmp_path}/nmond.log"), None)
    log.error("a\x1b[2Jb\nc")
    assert (tmp_path / "nmond.log").read_text().endswith("error: a [2Jb c\n")
    assert len(printable("x" * 10_000)) == log_module.MAX_LINE


def test_signals_move_the_level_within_its_bounds(tmp_path: Path) -> None:
    log = Log(LogFile(f"{tmp_path}/nmond.log"), None, Level.INFO)
    log.debug("unseen")
    log.louder()
    log.debug("seen")
    log.louder()
    assert log.level is Level.DEBUG
    for _ in range(9):
        log.quieter()
    assert log.level is Level.ERROR
    log.warning("hidden")
    text = (tmp_path / "nmond.log").read_text()
    assert "seen" in text.replace("unseen", "").replace("hidden", "")
    assert "unseen" not in text
    assert "hidden" not in text


def test_the_file_is_rotated_and_there_are_never_more_than_two(tmp_path: Path) -> None:
    file = LogFile(f"{tmp_path}/nmond.log")
    for _ in range(7):
        file.write(b"x" * (log_module.ROTATE_BYTES // 2 + 1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nmond.log", "nmond.log.1"]
    assert all(p.stat().st_size <= 2 * log_module.ROTATE_BYTES for p in tmp_path.iterdir())


def test_a_log_that_cannot_be_written_loses_lines_and_counts_them(tmp_path: Path) -> None:
    log = Log(LogFile(f"{tmp_path}/absent/nmond.log"), None)
    log.error("x")
    assert log.dropped == 1
    (tmp_path / "absent").mkdir()
    log.error("y")
    assert log.dropped == 1


def test_syslog_gets_the_facility_and_the_severity(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(f"{tmp_path}/log")
        syslog = Syslog("local3", f"{tmp_path}/log")
        syslog.write(Level.ERROR, "disk lost")
        data = daemon.recv(1000)
        syslog.close()
    assert data.startswith(b"<%d>" % (19 * 8 + 3))
    assert data.endswith(b": disk lost")


def test_a_stuck_syslog_daemon_delays_nothing_and_drops_are_counted(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(f"{tmp_path}/log")
        syslog = Syslog("daemon", f"{tmp_path}/log")
        for _ in range(2000):  # more than any queue of datagrams holds, and nobody reads
            syslog.write(Level.INFO, "x")
        assert 0 < syslog.dropped < 2000
        syslog.close()


def test_a_syslog_daemon_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    syslog = Syslog("daemon", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        syslog.write(Level.INFO, "one")
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        syslog.write(Level.INFO, "two")
        assert daemon.recv(1000).endswith(b"two")
    syslog.close()
    assert syslog.dropped == 0


def test_an_absent_syslog_daemon_is_not_looked_for_with_every_line(tmp_path: Path) -> None:
    syslog = Syslog("daemon", f"{tmp_path}/log")
    syslog.write(Level.INFO, "one")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(f"{tmp_path}/log")
        syslog.write(Level.INFO, "two")
    assert syslog.dropped == 2


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    file = LogFile(f"{tmp_path}/nmond.log")
    file.write(b"one\n")
    (tmp_path / "nmond.log").rename(tmp_path / "nmond.log-20260101")
    file.write(b"two\n")
    assert (tmp_path / "nmond.log").read_bytes() == b"two\n"
