"""Which processes are ezha's, and whose: on a /proc made of files."""

import os
from pathlib import Path

import pytest

from ha.cli.processes import family, processes

BIN = "/usr/local/cluster/bin"


class Proc:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.add("self", "sh")

    def add(
        self, pid: str, *words: str, parent: int = 1, namespace: str = "pid:[1]", holds: str = "", state: str = "S"
    ) -> None:
        folder = self.root / pid
        (folder / "ns").mkdir(parents=True)
        (folder / "fd").mkdir()
        (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
        (folder / "stat").write_text(f"{pid} (a (b) c) {state} {parent} " + "0 " * 17 + "4242 0 0\n")
        (folder / "ns/pid").symlink_to(namespace)
        if holds:
            (folder / "fd/3").symlink_to(holds)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    made = Proc(tmp_path)
    made.add("30", f"{BIN}/nmond", parent=20, holds="/run/ezha/nmond.lock")
    made.add("20", "/usr/bin/python3", "-IS", f"{BIN}/nmond-supervisor")
    made.add("31", f"{BIN}/heartd eth0 239.131.50.10 1234", parent=30, holds="/run/ezha/worker-node1-0.lock")
    made.add("32", f"{BIN}/heartc_dio /dev/sdb 2 10", parent=30, holds="/run/ezha/worker-node2-0.lock")
    return made


def titles(root: Path) -> list[str]:
    return [f"{process.pid} {process.title}" for process in processes(BIN, str(root))]


def test_supervisor_and_nmond_come_first(proc: Proc) -> None:
    assert titles(proc.root) == [
        f"20 {BIN}/nmond-supervisor",
        f"30 {BIN}/nmond",
        f"31 {BIN}/heartd eth0 239.131.50.10 1234",
        f"32 {BIN}/heartc_dio /dev/sdb 2 10",
    ]


def test_others_are_not_shown(proc: Proc) -> None:
    proc.add("40", "vi", f"{BIN}/nmond")
    proc.add("41", "/usr/bin/python3", "-IS", f"{BIN}/service", "-s")
    proc.add("42", f"{BIN}/nmond", namespace="pid:[2]")
    proc.add("43", f"{BIN}/nmond", state="Z")
    proc.add("44", "/opt/cluster/bin/nmond")
    assert len(processes(BIN, str(proc.root))) == 4


def test_the_guardian_is_shown_and_ended_by_nobody(proc: Proc) -> None:
    """Ending nmond is no reason for what it ran to run on without a lease."""
    proc.add("33", "/usr/bin/python3", "-IS", f"{BIN}/ezha-guardian", holds="/run/ezha/guardian.lock")
    assert f"33 {BIN}/ezha-guardian" in titles(proc.root)
    assert [p.pid for p in family(BIN, "/run/ezha", str(proc.root))] == [20, 30, 31, 32]


def test_another_installation_with_the_same_programs_is_not_ended(proc: Proc) -> None:
    proc.add("50", "/usr/bin/python3", "-IS", f"{BIN}/nmond-supervisor")
    proc.add("51", f"{BIN}/nmond", parent=50, holds="/run/other/nmond.lock")
    assert [p.pid for p in family(BIN, "/run/ezha", str(proc.root))] == [20, 30, 31, 32]
    assert [p.pid for p in family(BIN, "/run/other", str(proc.root))] == [50, 51]
    assert family(BIN, "/run/third", str(proc.root)) == []


def test_on_this_machine_nothing_is_found_under_a_name_that_nobody_has() -> None:
    assert processes(f"/nonexistent-{os.getpid()}/bin") == []
