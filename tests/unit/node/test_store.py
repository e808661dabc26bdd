"""The state of record on a disk: on it before anything depends on it, and never guessed when it is lost."""

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import State
from ha.node import files as files_module
from ha.node.boot import boot_identity
from ha.node.files import RealFiles, read_regular
from ha.node.layout import Layout
from ha.node.lock import HeldError, Lock, make_run_folder, node_lock
from ha.node.store import Loaded, Store
from ha.simulation.files import SimulatedFiles

BOOT = "boot-1:25"
RECORD = NodeRecord(12, (ServiceRecord("web", State.STARTED, 3, 3, 3), ServiceRecord("db", State.FROZEN_START)))
STATES = "/usr/local/cluster/services"
RECORD_FILE = STATES + "/.record"


@pytest.fixture
def disk() -> SimulatedFiles:
    disk = SimulatedFiles()
    disk.folders.add("/usr/local/cluster")
    return disk


@pytest.fixture
def store(disk: SimulatedFiles) -> Store:
    return Store(Layout(), "node1", disk)


def reloaded(disk: SimulatedFiles, boot: str = BOOT, node: str = "node1") -> Loaded:
    return Store(Layout(), node, disk).load(boot)


# -------------------------------------------------------------------------------------------- record


def test_a_record_outlives_a_power_cut(disk: SimulatedFiles, store: Store) -> None:
    store.save(RECORD, BOOT)
    disk.power_cut()
    assert reloaded(disk) == Loaded(RECORD, boot=False)


def test_a_restart_is_told_from_a_boot(disk: SimulatedFiles, store: Store) -> None:
    store.save(RECORD, BOOT)
    assert not reloaded(disk, BOOT).boot
    assert reloaded(disk, "boot-1:26").boot
    assert reloaded(disk, "boot-2:25").boot


def test_a_new_installation_has_no_record_and_no_problem(disk: SimulatedFiles) -> None:
    assert reloaded(disk) == Loaded(None, boot=False)
    disk.folders.add(STATES)
    disk.folders.add(STATES + "/web")
    assert reloaded(disk) == Loaded(None, boot=False)


@pytest.mark.parametrize("bad", [b"", b"ezha record 1\n", b"ezha record 2\n{}\n", b"\0" * 512, b"2 STARTED\n"])
def test_an_unreadable_record_is_told_and_kept_aside_and_goes_on_being_unreadable(
    disk: SimulatedFiles, bad: bytes
) -> None:
    disk.folders.add(STATES)
    disk.files[RECORD_FILE] = bad
    disk.files[f"{STATES}/web/STATE.node1"] = b"0 STOPPED\n"
    for _ in range(3):
        # The states beside it are older or newer, nobody knows: they must not stand in for it.
        found = reloaded(disk)
        assert found.unreadable
        assert found.record is None
        assert not found.boot
        assert len(found.problems) == 1
        assert found.problems[0].startswith(RECORD_FILE + " ")
        assert f"{RECORD_FILE}.bad-1" in found.problems[0]
    assert disk.files[RECORD_FILE] == disk.files[RECORD_FILE + ".bad-1"] == bad
    assert RECORD_FILE + ".bad-2" not in disk.files
    assert disk.modes[RECORD_FILE + ".bad-1"] == 0o600


def test_what_is_kept_aside_is_bounded_and_the_oldest_stays(disk: SimulatedFiles) -> None:
    disk.folders.add(STATES)
    for number in range(8):
        disk.files[RECORD_FILE] = b"bad %d" % number
        found = reloaded(disk)
        assert found.unreadable
    kept = sorted(path for path in disk.files if ".bad-" in path)
    assert kept == [f"{RECORD_FILE}.bad-{n}" for n in range(1, 6)]
    assert disk.files[kept[0]] == b"bad 0"
    assert "no copy was kept" in found.problems[0]


def test_a_save_ends_it(disk: SimulatedFiles, store: Store) -> None:
    disk.folders.add(STATES)
    disk.files[RECORD_FILE] = b"bad"
    assert store.load(BOOT).unreadable
    store.save(RECORD, BOOT)
    assert reloaded(disk) == Loaded(RECORD, boot=False)


def test_a_record_that_cannot_be_read_is_not_a_missing_one(disk: SimulatedFiles, store: Store) -> None:
    store.save(RECORD, BOOT)
    disk.fail[RECORD_FILE] = OSError(errno.EIO, "Input/output error")
    found = reloaded(disk)
    assert found.unreadable
    assert found.problems == (f"{RECORD_FILE} cannot be read: Input/output error",)


def test_the_record_of_another_node_is_refused(disk: SimulatedFiles, store: Store) -> None:
    store.save(RECORD, BOOT)
    found = reloaded(disk, node="node2")
    assert found.unreadable
    assert "is the record of node node1, this is node2 (uname -n)" in found.problems[0]


def test_a_copy_that_cannot_be_kept_hides_nothing(disk: SimulatedFiles) -> None:
    disk.folders.add(STATES)
    disk.files[RECORD_FILE] = b"bad"
    for number in range(1, 6):
        disk.fail[f"{RECORD_FILE}.bad-{number}"] = OSError(errno.EIO, "Input/output error")
    found = reloaded(disk)
    assert found.unreadable
    assert "is not a record of ezha" in found.problems[0]


def test_a_disk_that_refuses_is_no_save(disk: SimulatedFiles, store: Store) -> None:
    disk.fail[RECORD_FILE] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        store.save(RECORD, BOOT)
    disk.fail.clear()
    assert reloaded(disk) == Loaded(None, boot=False)
    store.save(RECORD, BOOT)
    assert reloaded(disk).record == RECORD


def test_the_record_is_roots_alone(disk: SimulatedFiles, store: Store) -> None:
    store.save(RECORD, BOOT)
    assert disk.modes[RECORD_FILE] == 0o600


# ------------------------------------------------------------------------------------- STATE.<node>


def test_states_are_written_for_openhas_tools_only_when_they_change(disk: SimulatedFiles, store: Store) -> None:
    for state in (State.STARTED, State.STARTED, State.FROZEN_START, State.FROZEN_START):
        store.export_local("web", state)
    store.export_remote("web", "node2", State.UNKNOWN)
    store.export_remote("web", "node2", State.UNKNOWN)
    assert disk.files[f"{STATES}/web/STATE.node1"] == b"7 FROZEN_START\n"
    assert disk.files[f"{STATES}/web/STATE.node2"] == b"8 UNKNOWN\n"
    assert len(disk.writes) == 3
    assert disk.modes[f"{STATES}/web/STATE.node1"] == 0o644


def test_a_state_that_was_not_written_is_written_next_time(disk: SimulatedFiles, store: Store) -> None:
    path = f"{STATES}/web/STATE.node1"
    disk.fail[path] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        store.export_local("web", State.STARTED)
    disk.fail.clear()
    store.export_local("web", State.STARTED)
    assert disk.files[path] == b"2 STARTED\n"


def test_a_folder_that_was_removed_is_made_again(disk: SimulatedFiles, store: Store) -> None:
    store.export_local("web", State.STARTED)
    disk.folders.discard(f"{STATES}/web")
    store.export_local("web", State.STOPPED)
    assert disk.files[f"{STATES}/web/STATE.node1"] == b"0 STOPPED\n"


@pytest.mark.parametrize(
    ("service", "node"), [("../x", "node1"), ("a/b", "node1"), ("web", "../n"), ("", "n"), (".", "n")]
)
def test_no_path_is_built_from_a_name_that_is_none(disk: SimulatedFiles, store: Store, service: str, node: str) -> None:
    with pytest.raises(ValueError, match="name"):
        store.export_remote(service, node, State.STARTED)
    with pytest.raises(ValueError, match="name"):
        store.forget(service, (node,))
    assert disk.files == {}


def test_a_link_in_place_of_a_folder_is_not_followed(disk: SimulatedFiles, store: Store) -> None:
    disk.links.add(f"{STATES}/web")
    with pytest.raises(NotADirectoryError):
        store.export_local("web", State.STARTED)
    with pytest.raises(NotADirectoryError):
        store.make_folder("web")


def test_what_was_exported_of_a_removed_service_goes(disk: SimulatedFiles, store: Store) -> None:
    store.export_local("web", State.STOPPED)
    store.export_remote("web", "node2", State.STOPPED)
    store.forget("web", ("node1", "node2"))
    assert disk.files == {}
    assert f"{STATES}/web" not in disk.folders
    store.export_local("web", State.STOPPED)
    assert disk.files[f"{STATES}/web/STATE.node1"] == b"0 STOPPED\n"


def test_what_somebody_keeps_beside_the_states_stays(disk: SimulatedFiles, store: Store) -> None:
    store.export_local("web", State.STOPPED)
    disk.files[f"{STATES}/web/notes"] = b""
    store.forget("web", ("node1",))
    assert list(disk.files) == [f"{STATES}/web/notes"]


# ---------------------------------------------------------------------------------------- take-over


def test_the_states_of_an_openha_installation_are_taken_over(disk: SimulatedFiles) -> None:
    for name, data in {"a": b"0\0", "b": b"2\0", "c": b"6\0", "d": b"7\0", "e": b"", "f": b"9\0"}.items():
        disk.files[f"{STATES}/{name}/STATE.node1"] = data
        disk.files[f"{STATES}/{name}/STATE.node2"] = b"2\0"
    disk.files[f"{STATES}/only-the-peer/STATE.node2"] = b"2\0"
    disk.files[f"{STATES}/b d/STATE.node1"] = b"2\0"
    found = reloaded(disk)
    assert found.record is not None
    assert found.record.incarnation == 0
    assert {s.name: s.state for s in found.record.services} == {
        "a": State.STOPPED,
        "b": State.STARTED,
        "c": State.FROZEN_STOP,
        "d": State.UNKNOWN,
        "e": State.UNKNOWN,
        "f": State.UNKNOWN,
    }
    # Whether it was a boot is not known: what is STARTED must be asked for, not declared STOPPED.
    assert not found.boot
    assert not found.unreadable
    assert found.problems == (
        f"there is no {RECORD_FILE}: the states of 6 services were taken from STATE files",
        f"{STATES}/e/STATE.node1 holds no state; e is UNKNOWN here",
        f"{STATES}/f/STATE.node1 holds no state; f is UNKNOWN here",
    )


def test_states_of_ours_whose_record_was_removed_are_not_taken_for_stopped(disk: SimulatedFiles, store: Store) -> None:
    store.save(RECORD, BOOT)
    store.export_local("web", State.STARTED)
    store.export_local("db", State.FROZEN_START)
    disk.remove(RECORD_FILE)
    found = reloaded(disk)
    assert found.record is not None
    assert {s.name: s.state for s in found.record.services} == {"web": State.STARTED, "db": State.FROZEN_START}
    assert found.problems


def test_a_state_file_that_cannot_be_read_is_unknown(disk: SimulatedFiles) -> None:
    disk.files[f"{STATES}/web/STATE.node1"] = b"0\0"
    disk.fail[f"{STATES}/web/STATE.node1"] = OSError(errno.EIO, "Input/output error")
    found = reloaded(disk)
    assert found.record is not None
    assert found.record.services == (ServiceRecord("web", State.UNKNOWN),)


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(disk: SimulatedFiles) -> None:
    disk.fail[STATES] = OSError(errno.EIO, "Input/output error")
    assert reloaded(disk).unreadable


# ----------------------------------------------------------------------------------------- real disk


def real(tmp_path: Path) -> tuple[Layout, Store]:
    layout = Layout(str(tmp_path), {"EZ_RUN": str(tmp_path / "run/ezha")})
    return layout, Store(layout, "node1")


def test_a_real_disk_keeps_it_all(tmp_path: Path) -> None:
    layout, store = real(tmp_path)
    assert store.load(BOOT) == Loaded(None, boot=False)
    store.save(RECORD, BOOT)
    store.save(replace(RECORD, incarnation=13), BOOT)
    store.export_local("web", State.STARTED)
    store.export_remote("web", "node2", State.STOPPED)
    assert Store(layout, "node1").load(BOOT) == Loaded(replace(RECORD, incarnation=13), boot=False)
    assert sorted(os.listdir(layout.states)) == [".record", "web"]
    assert sorted(os.listdir(layout.states + "/web")) == ["STATE.node1", "STATE.node2"]
    assert Path(layout.state("web", "node1")).read_bytes() == b"2 STARTED\n"
    assert stat.S_IMODE(os.stat(layout.record).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(layout.state("web", "node1")).st_mode) == 0o644
    store.forget("web", ("node1", "node2"))
    assert os.listdir(layout.states) == [".record"]


def test_bytes_are_on_the_disk_before_they_get_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary file, fsync, rename, fsync of the folder: in this order, or a power cut leaves an empty record."""
    calls: list[str] = []

    def watched(name: str) -> None:
        original = getattr(os, name)

        def call(*args: object, **options: object) -> object:
            about = ""
            if name == "fsync":
                about = " folder" if stat.S_ISDIR(os.fstat(int(str(args[0]))).st_mode) else " file"
            calls.append(name + about)
            return original(*args, **options)

        monkeypatch.setattr(files_module.os, name, call)

    for name in ("write", "fsync", "rename"):
        watched(name)
    RealFiles().write_atomic(str(tmp_path / "x"), b"new", durable=True)
    assert calls == ["write", "fsync file", "rename", "fsync folder"]
    calls.clear()
    RealFiles().write_atomic(str(tmp_path / "x"), b"new", durable=False)
    assert calls == ["write", "rename"]


@pytest.mark.parametrize("step", ["write", "fsync", "fchmod", "rename"])
def test_a_step_that_fails_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def broken(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files_module.os, step, broken)
        with pytest.raises(OSError, match="Input/output"):
            RealFiles().write_atomic(str(path), b"new", durable=True)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(files_module.os, "write", lambda fd, data: original(fd, bytes(data)[:3]))
    RealFiles().write_atomic(str(tmp_path / "x"), b"0123456789", durable=True)
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_what_a_crash_left_is_replaced_and_a_planted_link_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".x.new").symlink_to(victim)
    (tmp_path / "x").symlink_to(victim)
    RealFiles().write_atomic(str(tmp_path / "x"), b"new", durable=True)
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "x").read_bytes() == b"new"
    assert not (tmp_path / "x").is_symlink()


def test_a_link_to_a_folder_is_not_written_through(tmp_path: Path) -> None:
    layout, store = real(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    os.mkdir(layout.states)
    os.symlink(outside, layout.states + "/web")
    with pytest.raises(NotADirectoryError):
        store.export_local("web", State.STARTED)
    with pytest.raises(OSError, match="directory"):
        RealFiles().write_atomic(layout.state("web", "node1"), b"x", durable=False)
    assert os.listdir(outside) == []


def test_a_fifo_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    for follow in (False, True):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(str(tmp_path / "x"), 10, follow)


def test_a_read_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 100)
    assert read_regular(str(tmp_path / "x"), 10, follow=False) == b"x" * 11
    (tmp_path / "y").symlink_to(tmp_path / "x")
    with pytest.raises(OSError, match="symbolic links"):
        RealFiles().read(str(tmp_path / "y"), 10)


# ---------------------------------------------------------------------------------------------- boot

STAT = "1 (a) b (c)) S " + " ".join(["0"] * 18) + " 4711 " + " ".join(["0"] * 30)


def test_a_boot_is_the_kernels_boot_and_the_start_of_pid_1() -> None:
    texts = {"/proc/sys/kernel/random/boot_id": "04a7295a-82e7\n", "/proc/1/stat": STAT}
    assert boot_identity(texts.__getitem__) == "04a7295a-82e7:4711"


@pytest.mark.parametrize(("boot_id", "pid1"), [("", STAT), ("a b", STAT), ("a", ""), ("a", "1 (init) S 0")])
def test_a_boot_that_cannot_be_told_is_not_guessed(boot_id: str, pid1: str) -> None:
    texts = {"/proc/sys/kernel/random/boot_id": boot_id, "/proc/1/stat": pid1}
    with pytest.raises(ValueError, match="/proc"):
        boot_identity(texts.__getitem__)


def test_this_boot_is_the_same_twice_and_can_be_saved(tmp_path: Path) -> None:
    boot = boot_identity()
    assert boot == boot_identity()
    _, store = real(tmp_path)
    store.save(RECORD, boot)
    assert store.load(boot) == Loaded(RECORD, boot=False)


# ---------------------------------------------------------------------------------------------- lock


def test_a_second_nmond_is_kept_out_and_told_by_whom(tmp_path: Path) -> None:
    layout, _ = real(tmp_path)
    with node_lock(layout) as lock:
        assert not os.get_inheritable(lock.fd)
        with pytest.raises(HeldError, match=f"nmond.lock is locked by process {os.getpid()}") as caught:
            node_lock(layout)
        assert caught.value.pid == os.getpid()
    with node_lock(layout):
        pass
    assert os.path.exists(layout.lock)


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    layout, _ = real(tmp_path)
    make_run_folder(layout)
    ready_r, ready_w = os.pipe()
    end_r, end_w = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(end_w)
            Lock.take(layout.lock)
            os.write(ready_w, b"x")
            os.read(end_r, 1)
        finally:
            os._exit(0)
    try:
        assert os.read(ready_r, 1) == b"x"
        with pytest.raises(HeldError, match=f"process {child}"):
            Lock.take(layout.lock)
    finally:
        for fd in (end_w, end_r, ready_r, ready_w):
            os.close(fd)
        os.waitpid(child, 0)
    Lock.take(layout.lock).release()


def test_a_lock_file_that_was_replaced_meanwhile_is_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "lock")
    original = os.open
    opened: list[int] = []

    def replaced_after_the_first_open(name: str, *args: int) -> int:
        fd = original(name, *args)
        opened.append(fd)
        if len(opened) == 1:
            os.unlink(name)
        return fd

    monkeypatch.setattr(os, "open", replaced_after_the_first_open)
    with Lock.take(path) as lock:
        assert len(opened) == 2
        assert os.fstat(lock.fd).st_ino == os.stat(path).st_ino


def test_the_run_folder_is_ours_alone(tmp_path: Path) -> None:
    layout, _ = real(tmp_path)
    make_run_folder(layout)
    assert stat.S_IMODE(os.stat(layout.run).st_mode) == 0o700
    os.chmod(layout.run, 0o777)
    make_run_folder(layout)
    assert stat.S_IMODE(os.stat(layout.run).st_mode) == 0o700


def test_a_run_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    layout, _ = real(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", layout.run)
    with pytest.raises(NotADirectoryError):
        node_lock(layout)
    assert os.listdir(tmp_path / "elsewhere") == []
