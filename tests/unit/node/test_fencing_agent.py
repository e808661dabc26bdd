"""One fencing: what counts as a success, what an agent is told and where, and what of its output is shown."""

import base64
import os
import select
import time
from pathlib import Path

import pytest

from ha.node.config.fencing import FenceMethod
from ha.node.fencing import metadata
from ha.node.fencing.agent import HIDDEN, KEPT_LINES, Outcome, Tail, fence, find

ENV = {"PATH": os.environ["PATH"]}


def program(folder: Path, text: str, name: str = "fence_test") -> str:
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def agent(folder: Path, text: str, **more: object) -> FenceMethod:
    """``text`` finds the action that it was told in ``$action``."""
    words = f'given=$(cat); action=$(printf "%s\\n" "$given" | sed -n s/^action=//p)\n{text}\n'
    return FenceMethod(agent=program(folder, words), **{"timeout": 10.0, **more})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ what is a success


@pytest.mark.parametrize(("code", "ok"), [(0, True), (1, False), (2, False), (126, False)])
def test_only_exit_code_0_of_a_command_is_a_success(tmp_path: Path, code: int, ok: bool) -> None:
    path = program(tmp_path, f"echo the last words; exit {code}\n")
    outcome = fence(FenceMethod(command=(path, "node2")), "node2", ENV)
    assert outcome.ok is ok
    assert f"ended with exit code {code}" in outcome.text
    assert outcome.output == ("the last words",)


def test_a_command_is_told_the_node_and_the_action(tmp_path: Path) -> None:
    path = program(tmp_path, 'echo "$1 $EZ_TARGET $EZ_ACTION"; read -r line || echo nothing on stdin\n')
    outcome = fence(FenceMethod(command=(path, "x")), "node2", ENV)
    assert outcome.output == ("x node2 off", "nothing on stdin")


def test_opensvcs_stonith_that_was_bypassed_has_fenced_nobody(tmp_path: Path) -> None:
    path = program(tmp_path, 'echo "18:18:56 INFO    WEB.STONITH#0  stonith bypassed"\n', "web.stonith")
    outcome = fence(FenceMethod(command=(path,)), "node2", ENV)
    assert not outcome.ok
    assert "has fenced nobody" in outcome.text


def test_a_command_that_dies_of_a_signal_has_not_fenced(tmp_path: Path) -> None:
    outcome = fence(FenceMethod(command=(program(tmp_path, "kill -9 $$\n"),)), "node2", ENV)
    assert not outcome.ok
    assert outcome.text.endswith("off was ended by signal 9")


@pytest.mark.parametrize("make", [False, True])
def test_a_program_that_cannot_be_run_has_not_fenced(tmp_path: Path, make: bool) -> None:
    path = tmp_path / "off"
    if make:
        path.touch(mode=0o600)
    outcome = fence(FenceMethod(command=(str(path),)), "node2", ENV)
    assert not outcome.ok
    assert "cannot be run" in outcome.text


def test_a_program_that_others_may_write_is_not_run(tmp_path: Path) -> None:
    path = program(tmp_path, f"touch {tmp_path}/ran\n")
    os.chmod(path, 0o777)
    outcome = fence(FenceMethod(command=(path,)), "node2", ENV)
    assert not outcome.ok
    assert "may be written by others than root" in outcome.text
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("status", "ok", "words"),
    [
        (2, True, "its status says so"),
        (0, False, "the status asked for afterwards says that it is on"),
        (1, False, "the status asked for afterwards ended with exit code 1: no answer"),
    ],
)
def test_off_is_believed_only_when_the_status_says_off(tmp_path: Path, status: int, ok: bool, words: str) -> None:
    text = f'if [ "$action" = status ]; then echo no answer; exit {status}; fi'
    outcome = fence(agent(tmp_path, text), "node2", ENV)
    assert outcome.ok is ok
    assert words in outcome.text


@pytest.mark.parametrize("more", [{"verify": False}, {"action": "reboot"}])
def test_where_the_status_would_say_nothing_it_is_not_asked(tmp_path: Path, more: dict[str, object]) -> None:
    """After a reboot the node is on, whatever was between: there the agent itself must have seen it off."""
    assert fence(agent(tmp_path, '[ "$action" != status ] || exit 1', **more), "node2", ENV).ok


def test_an_agent_that_fails_is_not_asked_for_the_status(tmp_path: Path) -> None:
    outcome = fence(agent(tmp_path, f'echo "$action" >>{tmp_path}/asked; exit 1'), "node2", ENV)
    assert not outcome.ok
    assert (tmp_path / "asked").read_text() == "off\n"


def test_one_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    text = f'sleep 1000 & echo $! >{tmp_path}/pid; echo waiting; trap "" TERM; wait; wait'
    outcome = fence(agent(tmp_path, text, timeout=0.3), "node2", ENV)
    assert not outcome.ok
    assert "off was killed after 0.3 s" in outcome.text
    assert time.monotonic() - began < 3
    try:
        started = os.pidfd_open(int((tmp_path / "pid").read_text()))
    except ProcessLookupError:
        return
    with os.fdopen(started):
        assert select.select([started], [], [], 5.0)[0], "it was killed, and may need a moment to end"


def test_a_daemon_left_behind_delays_nothing(tmp_path: Path) -> None:
    """It holds the pipe open; that the agent itself has ended is what counts."""
    path = program(tmp_path, f"sleep 1000 & echo $! >{tmp_path}/pid; exit 0\n")
    began = time.monotonic()
    try:
        assert fence(FenceMethod(command=(path,)), "node2", ENV).ok
        assert time.monotonic() - began < 5
    finally:
        os.kill(int((tmp_path / "pid").read_text()), 9)


# ------------------------------------------------------------------------------------- what it is told, and shown


def test_parameters_go_to_standard_input_and_nowhere_else(tmp_path: Path) -> None:
    show = 'printf "%s\\n" "$given" >given; env >env; tr "\\0" " " </proc/$$/cmdline >argv'
    text = f"cd {tmp_path}; {show}"
    method = agent(tmp_path, text, parameters=(("ip", "10.0.0.2"), ("password", "s=3 cret#")), verify=False)
    assert fence(method, "node2", ENV).ok
    assert (tmp_path / "given").read_text() == "action=off\nip=10.0.0.2\npassword=s=3 cret#\n"
    assert "s=3 cret#" not in (tmp_path / "argv").read_text() + (tmp_path / "env").read_text()


def test_a_secret_is_shown_in_no_form(tmp_path: Path) -> None:
    secret = 'p/w "ä&'
    basic = base64.b64encode(f"admin:{secret}".encode()).decode()
    forms = f"""{secret}
https://admin:p%2Fw%20%22%C3%A4%26@10.0.0.2/ p%2Fw+%22%C3%A4%26
{{"password": "p/w \\"\\u00e4&"}}
Authorization: Basic {basic}"""
    (tmp_path / "forms").write_text(forms)
    method = agent(tmp_path, f"cat {tmp_path}/forms; exit 1", parameters=(("username", "admin"), ("password", secret)))
    outcome = fence(method, "node2", ENV)
    told = outcome.text + "".join(outcome.output)
    for line in forms.splitlines():
        assert line not in told
    for form in (secret, "%2Fw", "u00e4", basic):
        assert form not in told
    assert told.count(HIDDEN) >= 5


def test_without_the_list_of_secrets_it_would_be_shown(tmp_path: Path) -> None:
    method = agent(tmp_path, 'printf "%s\\n" "$given"; exit 1', parameters=(("greeting", "s3cret"),))
    assert "s3cret" in "".join(fence(method, "node2", ENV).output)


def test_half_a_secret_is_one_too() -> None:
    tail = Tail(kept=10)
    tail.add(b"the password is s3cret\nnext\n")
    assert tail.text() == "next\n"


def test_one_that_prints_without_end_is_killed_and_little_of_it_kept(tmp_path: Path) -> None:
    outcome = fence(agent(tmp_path, "exec yes all work and no play", timeout=0.3), "node2", ENV)
    assert not outcome.ok
    assert outcome.output == ("all work and no play",) * KEPT_LINES


def test_what_it_prints_moves_no_cursor(tmp_path: Path) -> None:
    outcome = fence(agent(tmp_path, "printf 'a\\033[2Jb\\n'", verify=False), "node2", ENV)
    assert outcome.output == ("a [2Jb",)


def test_an_outcome_travels() -> None:
    outcome = Outcome(True, "off ä", ("one", "two"))
    assert Outcome.unpacked(outcome.packed()) == outcome
    for data in (b"", b"[]", b'[1, "x", []]', b'[true, "x", [1]]', b'{"a": 1}', b"\xff"):
        with pytest.raises(ValueError):
            Outcome.unpacked(data)


def test_an_agent_is_found_by_name_and_not_on_the_path_of_whoever_asks() -> None:
    assert find("/opt/fence_x") == "/opt/fence_x"
    assert find("fence_that_is_not_there") == "/usr/sbin/fence_that_is_not_there"
    assert find("env") == "/usr/bin/env"


# -------------------------------------------------------------------------------------------------- metadata

_XML = b"""<?xml version="1.0" ?>
<resource-agent name="fence_x"><parameters>
<parameter name="action" required="1"><content type="string"/></parameter>
<parameter name="ip" required="1" obsoletes="ipaddr"/>
<parameter name="ipaddr" required="1" deprecated="1"/>
<parameter name="password" required="0"/>
</parameters><actions><action name="on" automatic="0"/><action name="off"/><action name="status"/></actions>
</resource-agent>"""


def test_metadata_is_held_against_the_method() -> None:
    known = metadata.parse(_XML)
    good = FenceMethod(agent="fence_x", parameters=(("ipaddr", "10.0.0.2"), ("password", "x")))
    assert metadata.objections(good, known) == ([], [])
    bad = FenceMethod(agent="fence_x", parameters=(("pasword", "x"),), action="reboot")
    problems, warnings = metadata.objections(bad, known)
    assert problems == [
        "fence_x knows no parameter pasword; fence_x -o metadata lists what it knows",
        "fence_x has no action reboot; it has off, on, status",
    ]
    assert warnings == ["fence_x wants the parameter ip or ipaddr, which is not given"]


def test_an_agent_without_status_cannot_be_verified() -> None:
    known = metadata.parse(_XML.replace(b'<action name="status"/>', b""))
    problems, _ = metadata.objections(FenceMethod(agent="fence_x", parameters=(("ip", "1"),)), known)
    assert problems == ["fence_x has no action status, so it cannot be verified: set verify = false"]


@pytest.mark.parametrize("text", [b"", b"no xml", b"<a/>", b"<a>" + b" " * metadata.LARGEST])
def test_what_is_no_metadata_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        metadata.parse(text)
