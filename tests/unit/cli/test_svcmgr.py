"""svcmgr's command line: what it is called as, wrong words, and exit codes that never say more than is known."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha.cli import svcmgr
from ha.cli.guard import CliError, UsageError
from ha.services.context import Paths
from tests.unit.services.drivers import drivers as drivers

pytestmark = pytest.mark.usefixtures("drivers")
FILE = "[DEFAULT]\nnodes = {}\n\n[fs#0]\nmnt = /a\n"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(*(str(tmp_path / part) for part in ("etc", "var", "run", "tmp", "log")))
    os.mkdir(paths.etc)
    os.mkdir(paths.run)
    Path(paths.etc, "web.env").write_text(FILE.format(os.uname().nodename))
    return paths


def run(paths: Paths, *argv: str, program: str = "/usr/bin/svcmgr") -> int:
    return svcmgr.run(argv, program, paths)


@pytest.mark.parametrize(
    ("program", "argv"),
    [
        ("/usr/bin/svcmgr", ("-s", "web", "start")),
        ("/usr/bin/svcmgr", ("start", "--service", "web")),
        ("/etc/opensvc/web", ("start",)),
        ("/etc/opensvc/web", ("--waitlock", "3600", "start")),
        ("/etc/opensvc/web.cluster", ("start",)),
    ],
)
def test_it_knows_the_service_by_its_name(paths: Paths, program: str, argv: tuple[str, ...]) -> None:
    assert run(paths, *argv, program=program) == 0
    assert os.path.exists(f"{paths.run}/fs#0.up")
    assert "INFO    WEB.FS#0                up now" in Path(paths.log, "web.log").read_text()


def test_called_for_stonith_it_does_nothing_else(paths: Paths) -> None:
    assert run(paths, "start", program="/etc/opensvc/web.stonith") == 0
    assert not os.path.exists(f"{paths.run}/fs#0.up")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("-s", "web"), "nothing is not an action"),
        (("-s", "web", "strat"), "strat is not an action"),
        (("start",), "say which service: -s SERVICE"),
        (("-s", "web", "get"), "get needs --param"),
        (("-s", "web", "set", "--param", "app"), "set needs --value"),
        (("-s", "web", "start", "--waitlock", "soon"), "argument --waitlock: soon is not a number of seconds"),
        (("-s", "web", "--frobnicate", "start"), "unrecognized arguments: --frobnicate"),
    ],
)
def test_a_wrong_command_line_is_no_unclean_service(paths: Paths, argv: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        run(paths, *argv)
    assert raised.value.code == 1


def test_a_name_for_another_service_is_refused(paths: Paths) -> None:
    with pytest.raises(UsageError, match="called as web, and told -s db"):
        run(paths, "-s", "db", "start", program="/etc/opensvc/web")


def test_every_mistake_of_the_file_is_a_line(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(paths.etc, "web.env")
    path.write_text(path.read_text() + "size = many\n[fs#1]\n")
    for action in ("start", "validate"):
        assert run(paths, "-s", "web", action) == 1
        assert capsys.readouterr().err.splitlines() == [
            f"svcmgr: {path}:6: [fs#0] size: 'many' is not a whole number",
            f"svcmgr: {path}:7: [fs#1] mnt is missing: where it is mounted",
        ]
    with pytest.raises(CliError, match="there is no service db"):
        run(paths, "-s", "db", "start")


def test_status_in_three_ways(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(paths, "status", program="/etc/opensvc/web.cluster") == 3
    assert capsys.readouterr().out == "down\n"
    assert run(paths, "start", program="/etc/opensvc/web.cluster") == 0
    assert run(paths, "status", program="/etc/opensvc/web.cluster") == 0
    capsys.readouterr()
    assert run(paths, "-s", "web", "print", "status") == 0
    assert "\x1b" not in capsys.readouterr().out
    assert run(paths, "-s", "web", "print_status", "--color", "yes") == 0
    assert "\x1b[32mup" in capsys.readouterr().out
    assert run(paths, "-s", "web", "json", "status") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["overall"], data["frozen"], data["resources"]["fs#0"]["status"]) == ("up", False, "up")


def test_the_file_by_command(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(paths, "-s", "web", "set", "--param", "fs#0.size", "--value", "9") == 0
    assert run(paths, "-s", "web", "get", "--param", "fs#0.size") == 0
    assert run(paths, "-s", "web", "unset", "--param", "fs#0.mnt") == 0
    out, err = capsys.readouterr()
    assert out == "9\n"
    assert err == f"svcmgr: {paths.etc}/web.env:4: [fs#0] mnt is missing: where it is mounted\n"
    assert run(paths, "-s", "new", "create") == 0
    assert run(paths, "-s", "web", "freeze") == 0
    assert os.path.exists(f"{paths.var}/web.frozen")


def test_some_actions_are_for_every_service(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("alpha", "zulu"):
        Path(paths.etc, f"{name}.env").write_text(FILE.format(os.uname().nodename) + "disbale = True\n")
    assert run(paths, "validate") == 1
    assert [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()] == [
        f"{paths.etc}/{name}.env:6: [fs#0] disbale is not a key of this section; is it disable?"
        for name in ("alpha", "zulu")
    ]
    assert run(paths, "print", "status") == 1
    assert capsys.readouterr().out.startswith("web\n"), "a broken one keeps nobody from the others"
    assert run(paths, "boot") == 1


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SIGTERM comes while a resource starts."""
    from tests.unit.services.drivers import InFolder

    plain = InFolder.start

    def start(self: InFolder, ctx: object) -> None:
        plain(self, ctx)  # type: ignore[arg-type]
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    monkeypatch.setattr(InFolder, "start", start)
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.usefixtures("signalled")
def test_a_signal_ends_an_action_between_resources(paths: Paths) -> None:
    path = Path(paths.etc, "web.env")
    path.write_text(path.read_text() + "\n[fs#1]\nmnt = /b\n")
    assert run(paths, "-s", "web", "start") == 1
    assert not [name for name in os.listdir(paths.run) if name.endswith(".up")]
    log = Path(paths.log, "web.log").read_text()
    assert "'start' action stopped on execution error: a signal came" in log
    assert "trying to rollback start on fs#0\n" in log


@pytest.mark.usefixtures("signalled")
def test_a_signal_ends_the_action_on_all_services(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C once, not once for each of them."""
    host = os.uname().nodename
    for name in ("alpha", "beta", "web"):
        text = f"[DEFAULT]\nnodes = {host}\nautostart_node = {host}\n\n[fs#0]\nmnt = /a\n[fs#1]\nmnt = /b\n"
        Path(paths.etc, f"{name}.env").write_text(text)
    assert run(paths, "boot") == 1
    assert capsys.readouterr().err == "svcmgr: a signal came: not done for beta, web\n"
    assert not os.path.exists(f"{paths.log}/beta.log")
