"""What ``service -A`` may do to the record while no nmond runs, and what it must leave to nmond."""

import os
import stat
from pathlib import Path

import pytest

from ha.cli import service
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import State
from ha.node.boot import boot_identity
from ha.node.layout import Layout, node_name
from ha.node.lock import node_lock
from ha.node.store import Loaded, Store


@pytest.fixture
def place(prefix: Path) -> Layout:
    """Two services, web and db; what their controllers say stands in files."""
    node = node_name()
    (prefix / "conf/nodes").write_text(f"{node}\npeer\n")
    (prefix / "conf/monitor").write_text(f"{node} net lo 239.131.50.10 1234 10\npeer net lo 239.131.50.10 4321 10\n")
    lines = []
    for name in ("web", "db"):
        script = prefix / f"{name}.cluster"
        script.write_text(f'#!/bin/sh\necho "$1 $EZ_SERVICE" >>{prefix}/calls\nexit $(cat {prefix}/{name}.code)\n')
        script.chmod(0o755)
        says(prefix, name, 3)
        lines.append(f"{name}\t{script}\t{node}\tpeer\t/bin/true\n")
    (prefix / "conf/services").write_text("".join(lines))
    return Layout(str(prefix), os.environ)


def says(prefix: Path, name: str, code: int) -> None:
    (prefix / f"{name}.code").write_text(f"{code}\n")


def calls(prefix: Path) -> str:
    file = prefix / "calls"
    return file.read_text() if file.exists() else ""


def keep(place: Layout, *records: ServiceRecord, boot_id: str = "") -> None:
    Store(place, node_name()).save(NodeRecord(5, records), boot_id or boot_identity())


def found(place: Layout) -> Loaded:
    return Store(place, node_name()).load(boot_identity())


def state(place: Layout, name: str = "web") -> State:
    record = found(place).record
    assert record is not None
    return next(entry.state for entry in record.services if entry.name == name)


def test_unfreeze_and_freeze_stop_change_the_record_and_what_others_read(place: Layout) -> None:
    keep(place, ServiceRecord("web", State.FROZEN_STOP, generation=9))
    assert service.main(["-A", "web", "unfreeze"]) == 0
    assert state(place) is State.STOPPED
    exported = Path(place.state("web", node_name()))
    assert exported.read_text() == "0 STOPPED\n"
    assert service.main(["-A", "web", "freeze-stop"]) == 0
    assert state(place) is State.FROZEN_STOP
    assert exported.read_text() == "6 FROZEN_STOP\n"
    record = found(place).record
    assert record == NodeRecord(5, (ServiceRecord("web", State.FROZEN_STOP, generation=9),))


def test_a_service_that_has_no_record_yet_begins_frozen(place: Layout) -> None:
    assert service.main(["-A", "web", "unfreeze"]) == 0
    assert state(place) is State.STOPPED


@pytest.mark.parametrize("before", [State.STARTING, State.STARTED, State.STOPPING])
@pytest.mark.parametrize("action", ["freeze-stop", "unfreeze", "force-stop"])
@pytest.mark.parametrize("override", [[], ["--i-know"]])
def test_what_may_be_up_is_left_to_nmond(
    before: State, action: str, override: list[str], place: Layout, prefix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(place, ServiceRecord("web", before))
    assert service.main(["-A", "web", action, *override]) == 1
    assert state(place) is before
    assert calls(prefix) == ""
    assert capsys.readouterr().err == (
        f"web: it was {before.name} when nmond ended, and may be up: start nmond, which looks after it\n"
    )


@pytest.mark.parametrize("before", [State.STARTING, State.STARTED, State.STOPPING])
def test_after_a_boot_nothing_of_it_is_up(before: State, place: Layout) -> None:
    keep(place, ServiceRecord("web", before, unclean=True), boot_id="another")
    assert service.main(["-A", "web", "freeze-stop"]) == 0
    assert found(place).record == NodeRecord(5, (ServiceRecord("web", State.FROZEN_STOP, unclean=False),))


def test_an_offline_command_does_not_hide_the_boot_from_nmond(place: Layout) -> None:
    keep(place, ServiceRecord("web", State.FROZEN_STOP), ServiceRecord("db", State.STARTED), boot_id="another")
    assert service.main(["-A", "web", "unfreeze"]) == 0
    assert found(place).boot
    assert state(place, "db") is State.STARTED


def test_a_restart_stays_a_restart(place: Layout) -> None:
    keep(place, ServiceRecord("web", State.FROZEN_STOP))
    assert service.main(["-A", "web", "unfreeze"]) == 0
    assert not found(place).boot


def test_force_stop_asks_the_controller(place: Layout, prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(place, ServiceRecord("web", State.STOP_FAILED, unclean=True))
    says(prefix, "web", 0)
    assert service.main(["-A", "web", "force-stop"]) == 1
    assert calls(prefix) == "status web\n"
    assert state(place) is State.STOP_FAILED
    assert capsys.readouterr().err == (
        "web: its controller says that it is up: stop it (--i-know declares it stopped all the same)\n"
    )
    says(prefix, "web", 3)
    assert service.main(["-A", "web", "FORCE-STOP"]) == 0
    assert state(place) is State.STOPPED
    record = found(place).record
    assert record is not None and not record.services[0].unclean and record.services[0].demoted


def test_i_know_overrides_a_controller_that_says_up(place: Layout, prefix: Path) -> None:
    keep(place, ServiceRecord("web", State.STOP_FAILED))
    says(prefix, "web", 0)
    assert service.main(["-A", "web", "force-stop", "--i-know"]) == 0
    assert state(place) is State.STOPPED


@pytest.mark.parametrize(("code", "clean"), [(3, True), (0, False), (1, False)])
def test_a_failure_that_is_put_aside_is_clean_only_where_the_controller_says_down(
    code: int, clean: bool, place: Layout, prefix: Path
) -> None:
    keep(place, ServiceRecord("web", State.START_FAILED, unclean=True))
    says(prefix, "web", code)
    assert service.main(["-A", "web", "freeze-stop"]) == 0
    record = found(place).record
    assert record is not None
    assert record.services[0].state is State.FROZEN_STOP
    assert record.services[0].unclean is not clean


def test_what_the_table_refuses_is_refused(place: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    keep(place, ServiceRecord("web", State.STOPPED))
    assert service.main(["-A", "web", "unfreeze"]) == 1
    assert capsys.readouterr().err == "web: it is not frozen\n"


def test_all_services_are_done_though_one_is_refused(place: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    keep(place, ServiceRecord("web", State.STARTED), ServiceRecord("db", State.STOPPED))
    assert service.main(["-A", "freeze-stop"]) == 1
    assert (state(place, "web"), state(place, "db")) == (State.STARTED, State.FROZEN_STOP)
    assert capsys.readouterr().err.startswith("web: it was STARTED")


@pytest.mark.parametrize("action", ["start", "stop", "freeze-start", "force-start"])
def test_the_rest_needs_nmond(action: str, place: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    keep(place, ServiceRecord("web", State.STOPPED))
    assert service.main(["-A", "web", action]) == 1
    assert state(place) is State.STOPPED
    assert capsys.readouterr().err == (
        "service: nmond is not running on this node, and without it only freeze-stop, unfreeze, force-stop "
        f"can be done; start it with {place.prefix}/ezha.init start\n"
    )


def test_the_lock_keeps_two_writers_apart(place: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    keep(place, ServiceRecord("web", State.FROZEN_STOP))
    with node_lock(place):
        assert service.main(["-A", "web", "unfreeze"]) == 1
    assert state(place) is State.FROZEN_STOP
    assert f"nmond.lock is locked by process {os.getpid()}" in capsys.readouterr().err


def test_a_damaged_record_is_not_guessed_at(place: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    keep(place, ServiceRecord("web", State.FROZEN_STOP))
    Path(place.record).write_bytes(b"garbage")
    assert service.main(["-A", "web", "unfreeze"]) == 1
    assert Path(place.record).read_bytes() == b"garbage"
    assert "the state of this node cannot be read, so nothing is changed" in capsys.readouterr().err


def test_an_unknown_service_is_refused(place: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert service.main(["-A", "nonesuch", "unfreeze"]) == 1
    assert capsys.readouterr().err.startswith("service: no service nonesuch is defined on this node")


def test_a_broken_configuration_is_told_with_its_line(
    place: Layout, prefix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (prefix / "conf/services").write_text("web only-two\n")
    assert service.main(["-A", "web", "unfreeze"]) == 1
    assert "\nconf/services:1: " in capsys.readouterr().err


def test_history_tells_of_it(place: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    from ha.cli import ezha

    keep(place, ServiceRecord("web", State.FROZEN_STOP))
    assert service.main(["-A", "web", "unfreeze"]) == 0
    assert ezha.main(["why", "web"]) == 0
    told = capsys.readouterr().out
    assert "FROZEN_STOP → STOPPED, decided by " in told
    assert told.endswith("service -A: an operator unfroze it (nmond is not running)\n")
    assert stat.S_IMODE(os.stat(place.history).st_mode) == 0o640
