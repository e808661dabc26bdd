"""Applications: what their checks say, and what a check that came to no answer does not say."""

from pathlib import Path

import pytest

from ha.services.errors import ResourceError
from ha.services.state import State
from tests.unit.services.resources.world import context, make


def program(path: Path, body: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


SLOW, KILLED = "exec sleep 1000", "kill -9 $$"


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        (["exit 0", "exit 0"], State.UP),
        (["exit 3", "exit 1"], State.DOWN),
        (["exit 0", "exit 1"], State.WARN),
        ([KILLED], State.WARN),
        ([KILLED, "exit 1"], State.WARN),
    ],
)
def test_launchers_are_down_where_every_check_says_so(tmp_path: Path, checks: list[str], state: State) -> None:
    for number, body in enumerate(checks):
        program(tmp_path / f"etc/svc1.d/C{number}0", body)
    assert make("app", {}).status(context(tmp_path)).state is state


def test_a_check_that_hangs_says_neither_up_nor_down_and_no_monitor_acts_on_it(tmp_path: Path) -> None:
    """``status`` would exit 3 for it, and the other node would start."""
    program(tmp_path / "etc/svc1.d/C10web", SLOW)
    seen = make("app", {"status_timeout": "0.2"}).status(context(tmp_path))
    assert (seen.state, seen.lost) == (State.WARN, False)


def forking(tmp_path: Path, check: str, **more: str) -> dict[str, str]:
    stop = program(tmp_path / "stop", f"echo stopped >>{tmp_path}/stopped")
    return {
        "type": "forking",
        "start": "/bin/true",
        "stop": stop,
        "check": program(tmp_path / "check", check),
        **more,
    }


def test_what_a_check_says_is_down_needs_no_stop(tmp_path: Path) -> None:
    app = make("app#1", forking(tmp_path, "exit 1"))
    assert app.status(context(tmp_path)).state is State.DOWN
    app.stop(context(tmp_path))
    assert not (tmp_path / "stopped").exists()


def test_a_check_that_was_killed_is_no_reason_not_to_stop(tmp_path: Path) -> None:
    flag = tmp_path / "stopped"
    app = make("app#1", forking(tmp_path, f"test -e {flag} && exit 1; {KILLED}"))
    assert app.status(context(tmp_path)).state is State.WARN
    app.stop(context(tmp_path))
    assert flag.read_text() == "stopped\n"


def test_a_stop_that_no_check_confirms_is_no_clean_stop(tmp_path: Path) -> None:
    app = make("app#1", forking(tmp_path, KILLED, stop_timeout="0.1"))
    with pytest.raises(ResourceError, match="is still up after its stop"):
        app.stop(context(tmp_path))


def test_a_folder_that_hangs_hides_no_block_device(tmp_path: Path) -> None:
    """losetup does not come back from a dead server: that is no answer, and the file is not asked for again."""
    program(tmp_path / "bin/losetup", SLOW)
    loop = make("disk#0", {"type": "loop", "file": "/no/such/file", "dev": "/dev/no/such", "status_timeout": "0.2"})
    with pytest.raises(ResourceError, match=r"did not end in time|not done within"):
        loop.abort_check(context(tmp_path, env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}))
