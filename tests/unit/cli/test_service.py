"""``service`` byte for byte as the tutorial and OpenHA print it, and what it says when it cannot."""

import json

import pytest

from ha.cli import service

from . import fake

TWO = {
    "status": fake.final(
        node="node1",
        pid=4711,
        services=[fake.service("p26.opensvc.com", ("node1", "STARTED"), ("node2", "STOPPED"))],
    )
}


def test_states_are_those_of_the_tutorial(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, TWO):
        assert service.main(["-s"]) == 0
    assert capsys.readouterr() == (
        "1 service(s) defined:\n"
        "Service: p26.opensvc.com\n"
        "        Primary  : node1, STARTED\n"
        "        Secondary: node2, STOPPED\n",
        "",
    )


def test_no_service_is_said_as_openha_says_it(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, {"status": fake.final(node="node1", pid=1, services=[])}):
        assert service.main(["-s"]) == 0
    assert capsys.readouterr().out == "0 service(s) defined:\n"


def test_every_further_node_is_a_secondary(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    three = fake.service("web", ("a", "STARTED"), ("b", "STOPPED"), ("c", "UNKNOWN"))
    with fake.nmond(run_dir, {"status": fake.final(node="a", pid=1, services=[three])}):
        assert service.main(["-s"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "        Primary  : a, STARTED",
        "        Secondary: b, STOPPED",
        "        Secondary: c, UNKNOWN",
    ]


def test_columns_have_openha_widths(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, TWO):
        assert service.main(["-s", "-c"]) == 0
    form = "%-16s %-16s %-14s %-16s %-14s\n"
    assert capsys.readouterr().out == (
        form % ("service", "prinode", "pristate", "secnode", "secstate")
        + form % ("p26.opensvc.com", "node1", "STARTED", "node2", "STOPPED")
    )


def test_columns_grow_by_a_pair_for_each_further_node(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    three = fake.service("web", ("a", "STARTED"), ("b", "STOPPED"), ("c", "UNKNOWN"))
    with fake.nmond(run_dir, {"status": fake.final(node="a", pid=1, services=[three])}):
        assert service.main(["-s", "-c"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["service", "prinode", "pristate", "secnode", "secstate", "secnode", "secstate"]
    assert line.split() == ["web", "a", "STARTED", "b", "STOPPED", "c", "UNKNOWN"]


@pytest.mark.parametrize(("node", "part"), [("node1", "Primary"), ("node2", "Secondary")])
def test_info_tells_our_part(node: str, part: str, run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, {"status": {**TWO["status"], "node": node}}):
        assert service.main(["-i", "p26.opensvc.com"]) == 0
    assert capsys.readouterr().out == (
        f"we are {part} for service p26.opensvc.com\nService: p26.opensvc.com\t state: STARTED , STOPPED\n"
    )


def test_info_on_a_node_that_is_none_of_the_service(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, {"status": {**TWO["status"], "node": "node3"}}):
        assert service.main(["-i", "p26.opensvc.com"]) == 0
    assert capsys.readouterr().out.startswith("we are not a node of service p26.opensvc.com\n")


def test_info_of_an_unknown_service_fails(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, TWO):
        assert service.main(["-i", "nonesuch"]) == 1
    assert capsys.readouterr() == ("", "service: no service nonesuch is defined on this node (service -s lists them)\n")


def test_json_holds_what_the_text_holds(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, TWO):
        assert service.main(["-s", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"node": "node1", "warnings": [], "services": TWO["status"]["services"]}


def test_without_nmond_the_states_are_not_known(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert service.main(["-s"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"service: nmond is not running on this node: nobody listens on {run_dir}/control; start it")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (None, "nmond closed the connection before it had answered"),
        (b"not json\n", "nmond's answer is not what this version understands; is it of the same version?"),
        (b"[1]\n", "nmond's answer is not what this version understands; is it of the same version?"),
        ({"final": True, "ok": False, "text": "the store is not readable"}, "the store is not readable"),
    ],
)
def test_a_broken_conversation_is_one_line(
    answer: fake.Answer | bytes | None, complaint: str, run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake.nmond(run_dir, lambda request: [answer]):
        assert service.main(["-s"]) == 1
    assert capsys.readouterr() == ("", f"service: {complaint}\n")


def test_a_traceback_is_for_whoever_asks_for_it(
    run_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake.nmond(run_dir, {"status": fake.final(node="node1")}):  # lacks "services"
        assert service.main(["-s"]) == 1
        assert capsys.readouterr().err == (
            "service: KeyError: 'services' (a fault of ezha itself; EZ_DEBUG=1 shows where)\n"
        )
        monkeypatch.setenv("EZ_DEBUG", "1")
        with pytest.raises(KeyError):
            service.main(["-s"])


# ------------------------------------------------------------------------------------------- actions


def outcome(ok: bool, *results: fake.Answer, text: str = "") -> dict[str, fake.Answer]:
    return {"action": fake.final(ok=ok, results=list(results), text=text)}


def test_an_action_that_came_about_says_nothing(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = outcome(True, {"service": "web", "ok": True, "text": "STOPPED"})
    with fake.nmond(run_dir, done) as nmond:
        assert service.main(["-A", "web", "unfreeze"]) == 0
    assert capsys.readouterr() == ("", "")
    (asked,) = nmond.asked
    assert asked.pop("by").endswith("service -A")
    assert asked == {
        "op": "action",
        "action": "unfreeze",
        "service": "web",
        "override": False,
        "target": "",
        "wait": True,
    }


@pytest.mark.parametrize("word", ["freeze-stop", "FREEZE-STOP", "Freeze-Stop"])
def test_the_case_of_an_action_is_free(word: str, run_dir: str) -> None:
    with fake.nmond(run_dir, outcome(True)) as nmond:
        assert service.main(["-A", "web", word]) == 0
    assert nmond.asked[0]["action"] == "freeze-stop"


def test_without_a_service_the_action_is_for_all(run_dir: str) -> None:
    with fake.nmond(run_dir, outcome(True)) as nmond:
        assert service.main(["-A", "STOP", "--no-wait", "--i-know"]) == 0
    assert (nmond.asked[0]["service"], nmond.asked[0]["wait"], nmond.asked[0]["override"]) == (None, False, True)


def test_a_refusal_is_told_with_its_reason(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused = outcome(
        False,
        {"service": "web", "ok": False, "text": "it is not frozen"},
        {"service": "db", "ok": True, "text": ""},
    )
    with fake.nmond(run_dir, refused):
        assert service.main(["-A", "unfreeze"]) == 1
    assert capsys.readouterr() == ("", "web: it is not frozen\n")


def test_one_failure_among_many_fails_the_command(run_dir: str) -> None:
    with fake.nmond(run_dir, outcome(True, {"service": "web", "ok": False, "text": "no"})):
        assert service.main(["-A", "stop"]) == 1


def test_progress_is_silent_where_no_terminal_is(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    def script(request: fake.Answer) -> list[fake.Answer]:
        return [{"final": False, "service": "web", "text": "STARTING"}, fake.final(results=[])]

    with fake.nmond(run_dir, script):
        assert service.main(["-A", "web", "start"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_lost_connection_does_not_pass_for_success(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with fake.nmond(run_dir, lambda request: [{"final": False, "service": "web", "text": "STARTING"}, None]):
        assert service.main(["-A", "web", "start"]) == 1
    assert "nmond closed the connection" in capsys.readouterr().err


def test_interrupting_the_wait_says_that_the_action_goes_on(
    run_dir: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ha.cli.act.converse", interrupt)
    assert service.main(["-A", "web", "start"]) == 130
    assert capsys.readouterr().err == (
        "service: no longer waiting; the start of web goes on (service -s shows its state)\n"
    )


# ------------------------------------------------------------------------------------------- command lines


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "say what to do: -s, -i, -A, -a or -r"),
        (["web"], "say what to do: -s, -i, -A, -a or -r"),
        (["-s", "web"], "-s takes 0 arguments, not 1"),
        (["-s", "-x"], "-x is not understood"),
        (["-s", "-i", "web"], "-s and -i exclude one another"),
        (["-s", "-c", "--json"], "-c and --json exclude one another"),
        (["-i"], "-i takes 1 argument, not 0"),
        (["-A"], "-A takes 1 or 2 arguments, not 0"),
        (["-A", "web", "explode"], "explode is not an action"),
        (["-A", "web", "switch"], "switch is not an action"),
        (["-A", "web", "start", "now"], "-A takes 1 or 2 arguments, not 3"),
        (["-a", "web", "/s", "node1", "node2"], "-a takes 5 arguments, not 4"),
        (["-x"], "-x is not understood"),
        (["--version"], "--version is not understood"),
        (["-r"], "-r takes 1 argument, not 0"),
        (["-s", "--no-wait"], "-s has no option --no-wait"),
    ],
)
def test_a_wrong_command_line_is_told_and_exits_2(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"service: {complaint}\n{service.USAGE}\n"


def test_help_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert service.main(["--help"]) == 0
    assert capsys.readouterr() == (service.USAGE + "\n", "")
