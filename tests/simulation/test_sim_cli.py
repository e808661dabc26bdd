"""``ezha sim`` from the outside: what it prints, which code it ends with, and that what is wrong is one clear line."""

import json
import re
from pathlib import Path

import pytest

from ha.cli.ezha import main
from ha.simulation.plan import Plan

SCENARIO = """# ezha scenario 1
seed 7
rules ezha
seconds 30
setting nodes=2 timeout=10 paths=net+dio services=1
order node1 svc1 unfreeze at 5
order node2 svc1 unfreeze at 5
lose 30 node1 at 12 for 4
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No installation here, and files are written where nobody minds."""
    for name in ("EZ_BIN", "EZ_NODES", "EZ_MONITOR", "EZ_CONF", "EZ_SERVICES", "EZ_VAR", "EZ_LOG", "EZ_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EZ", str(tmp_path / "prefix"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def conf(folder: Path) -> str:
    """A user's own configuration."""
    files = {
        "nodes": "alpha\nbeta\n",
        "monitor": "alpha net eth0 239.131.50.10 1234 4\nbeta net eth0 239.131.50.11 1234 4\n",
        "services": "web.site /etc/opensvc/web.cluster beta alpha /bin/true\n",
    }
    (folder / "conf").mkdir()
    for name, text in files.items():
        (folder / "conf" / name).write_text(text)
    return "conf"


def test_run_tells_a_story_its_verdict_and_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sim", "run", "--seed", "5", "--hours", "0.02", "--setting", "nodes=2 timeout=2 paths=net services=1"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "svc1 may run on node1, node2" in told
    assert "verdict: clean" in told
    again = re.search(r"^again:   (ezha .*)$", told, re.MULTILINE)
    assert again and again[1].startswith("ezha sim run --seed 5 --hours 0.02 --setting 'nodes=2 ")
    assert main(words) == 0
    assert capsys.readouterr().out == told, "the same seed, the same story"


def test_a_rehearsal_on_the_user_s_own_configuration(conf: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "what-if", "power-off beta at 60; cut net alpha at 61", "--conf", conf, "--start", "3"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("configuration: conf\nalpha sends on net eth0:239.131.50.10:1234; it is silent after 4 s\n")
    lines = [line.split("  ", 2)[-1].strip() for line in told.splitlines()]
    power = next(i for i, line in enumerate(lines) if line.endswith("beta loses its power"))
    assert any("unfreeze" in line for line in lines) is False, "how it came to be in good order is not told"
    up = next(line for line in lines[power:] if "web.site comes up on alpha" in line)
    assert re.search(r"after [34]\.\d\d s in which it ran nowhere", up)
    assert "the start script of web.site is done (exit 0) after 3.00 s" in told
    end = told[told.index("At the end") :]
    assert "web.site runs on alpha\n  beta: has no power\n  alpha: STARTED" in end, "a power-off without `for` stays"


def test_a_rehearsal_as_a_page_begins_when_all_is_in_good_order(conf: str, folder: Path) -> None:
    assert main(["sim", "what-if", "power-off beta at 6", "--conf", conf, "--html", "page.html"]) == 0
    page = (folder / "page.html").read_text()
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page)[0])
    first = next(bar for bar in data["states"] if bar["node"] == "beta")
    assert (first["what"], first["begin"], first["end"]) == ("STARTED", 0.0, 6.0)
    assert next(bar["begin"] for bar in data["up"]) == 0.0
    assert [fault["begin"] for fault in data["faults"]] == [6.0]
    assert min(flight[0] for flight in data["flights"]) >= 0.0
    assert "unfreeze" not in re.findall(r'<ol id="story">(.*?)</ol>', page, re.DOTALL)[0]


def test_a_rehearsal_without_a_configuration_takes_the_usual_pair(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "what-if", "order node1 svc1 switch at 3"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("configuration: none here") and "svc1 runs on node2" in told


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["what-if", "explode node1 at 5"], "no such fault"),
        (["what-if", "power-off node9 at 5"], "no node node9"),
        (["what-if", " ; "], "say what happens"),
        (["replay", "nowhere.scenario"], "nowhere.scenario: No such file"),
        (["replay", "."], "Is a directory"),
        (["run", "--seed", "1", "--setting", "nodes=99"], "2 to 16 nodes"),
        (["run", "--seed", "1", "--conf", "nowhere"], "no such folder"),
        (["shrink", "1", "--conf", "nowhere"], "no such folder"),
    ],
)
def test_what_is_wrong_is_one_clear_line(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", *words]) == 1
    told = capsys.readouterr()
    assert complaint in told.err and told.err.count("\n") == 1
    assert told.out == ""


@pytest.mark.parametrize("words", [[], ["run"], ["run", "--seed", "x"], ["hunt", "--seeds", "9..3"], ["report", "3"]])
def test_a_wrong_command_line_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", *words]) == 2
    assert "usage: ezha sim" in capsys.readouterr().err


def test_a_bad_configuration_is_told_with_file_and_line(conf: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(conf, "monitor").write_text("alpha net eth0 239.131.50.10 1234 4\nbeta net eth0\n")
    assert main(["sim", "run", "--seed", "1", "--conf", conf]) == 1
    assert "conf/monitor:2:" in capsys.readouterr().err


def test_a_scenario_file_says_itself_what_is_wrong_with_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, complaint in (
        (SCENARIO + "power-off node7 at 1\n", "line 9: 'power-off node7 at 1': no node node7"),
        ("hello\n", "not a scenario"),
        (SCENARIO.replace("nodes=2", "nodes=x"), "setting"),
        (SCENARIO.replace("setting nodes=2", "setting own #"), "--conf DIR"),
        (SCENARIO.replace("seconds 30", "noise music 3\nseconds 30"), "no noise music"),
    ):
        (folder / "bad.scenario").write_text(text)
        assert main(["sim", "replay", "bad.scenario"]) == 1
        told = capsys.readouterr().err
        assert complaint in told and told.count("\n") == 1, told


def test_a_scenario_of_the_user_s_own_cluster_is_replayed_with_it(
    conf: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "# ezha scenario 1\nseed 1\nseconds 30\nsetting own\norder alpha web.site unfreeze at 12\n"
    (folder / "own.scenario").write_text(text)
    assert main(["sim", "replay", "own.scenario", "--conf", conf]) == 0
    assert "web.site runs on alpha" in capsys.readouterr().out


@pytest.mark.usefixtures("blind")
def test_a_violation_is_found_shrunk_replayed_and_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.scenario").write_text(SCENARIO)
    assert main(["sim", "replay", "a.scenario"]) == 1
    told = capsys.readouterr().out
    assert "AT THE SAME TIME" in told and "verdict: SAFETY VIOLATION" in told
    assert main(["sim", "shrink", "a.scenario", "-o", "b.scenario"]) == 1
    assert "from 3 faults to 2" in capsys.readouterr().out
    assert main(["sim", "replay", "b.scenario"]) == 1
    assert main(["sim", "report", "b.scenario", "--html", "b.html"]) == 1
    assert "safety violation" in (folder / "b.html").read_text()


def test_shrinking_what_is_clean_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.scenario").write_text(SCENARIO)
    assert main(["sim", "shrink", "a.scenario"]) == 0
    assert "clean" in capsys.readouterr().out
    assert not (folder / "a.scenario.shrunk").exists()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_hunt_ends_with_figures_and_coverage(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sim", "hunt", "--seeds", "1..3", "--jobs", jobs, "--hours", "0.01", "--setting", "timeout=2 paths=net"]
    assert main([*words, "--cells"]) == 0
    told = capsys.readouterr().out
    for part in ("3 histories in", "simulated hours/s", "cells of", "faults: ", "situations: ", "clean: no violation"):
        assert part in told
    assert re.search(r"^ +[0-9]+  FROZEN_STOP × ", told, re.MULTILINE)


def test_a_hunt_names_what_a_search_reached_and_it_did_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "explore", "--faults", "0", "--commands", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    told["cells"].append("STOP_FAILED × STOP_FAILED × a claim withdrawn")
    (folder / "bad.json").write_text(json.dumps(told))
    told["cells"][-1] = "STOP_FAILED × STOP_FAILED × start"
    (folder / "cells.json").write_text(json.dumps(told))
    words = ["sim", "hunt", "--seeds", "1..3", "--jobs", "1", "--hours", "0.01", "--setting", "timeout=2 paths=net"]
    assert main([*words, "--coverage", str(folder / "cells.json")]) == 0
    compared = capsys.readouterr().out
    assert f" of the {len(told['cells'])} cells that the search reached" in compared
    assert "not reached: STOP_FAILED × STOP_FAILED × start" in compared
    assert main([*words, "--coverage", str(folder / "bad.json")]) == 1
    assert "not what ezha sim explore --json tells" in capsys.readouterr().err


def test_a_hunt_ends_where_nothing_is_missing_any_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, cells in (("a", ["STOPPED × FROZEN_STOP × claim"]), ("b", ["STARTING × FROZEN_STOP × start done"])):
        (folder / name).write_text(json.dumps({"cells": cells}))
    words = ["sim", "hunt", "--seeds", "1..999", "--jobs", "1", "--hours", "0.01", "--until-covered"]
    assert main([*words, "--coverage", "a", "--coverage", "b"]) == 0
    told = capsys.readouterr().out
    assert "2 of the 2 cells that the search reached" in told and "999" not in told
    assert main(words) == 1
    assert "say which cells" in capsys.readouterr().err


@pytest.mark.usefixtures("blind")
def test_a_hunt_tells_the_command_for_each_violation(capsys: pytest.CaptureFixture[str], conf: str) -> None:
    words = ["sim", "hunt", "--seeds", "1..3", "--jobs", "1", "--hours", "0.02", "--conf", conf]
    assert main(words) == 1
    told = capsys.readouterr().out
    found = re.findall(r"^seed (\d+): SAFETY VIOLATION: .*\n    (ezha sim run .*)$", told, re.MULTILINE)
    assert found and f"{len(found)} histories with a safety violation" in told
    seed, command = found[0]
    assert command == f"ezha sim run --seed {seed} --hours 0.02 --conf conf"
    assert main(command.split()[1:]) == 1, "the command shows it again"


@pytest.mark.usefixtures("blind")
def test_an_interrupted_shrinking_keeps_the_shortest_so_far(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ha.cli.simulator import telling

    def interrupt(runs: int, best: Plan) -> str:
        if runs > 5:
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(telling, "shrinking", interrupt)
    (folder / "a.scenario").write_text(SCENARIO)
    assert main(["sim", "shrink", "a.scenario"]) == 130
    assert "is in a.scenario.shrunk" in capsys.readouterr().err
    assert main(["sim", "replay", "a.scenario.shrunk"]) == 1


def test_an_interrupted_hunt_tells_what_it_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ha.simulation import hunt

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hunt, "hunt", interrupted)
    assert main(["sim", "hunt", "--jobs", "1"]) == 130
    told = capsys.readouterr()
    assert "no history was finished" in told.out and "interrupted" in told.err


def test_explore_says_when_it_has_seen_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "explore", "--faults", "0", "--commands", "0"]) == 0
    assert "exhausted" in capsys.readouterr().out
