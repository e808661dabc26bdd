"""What the package tells about the commands is made of the commands: nothing may be missing, nothing may be wrong."""

import argparse
import re
import subprocess
from pathlib import Path

import pytest

from ha.cli import ezha, hb, service
from ha.cli.launchers import PROGRAMS
from tools.package import completions, manpages, parsers, roff


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}


def test_what_service_and_hb_parse_by_hand_is_told_rightly() -> None:
    assert options(parsers.of_program("service")) == set(service._MODES).union(*service._SWITCHES.values())
    assert options(parsers.of_program("hb")) == set(hb._MODES) | set(hb._VALUES) | set().union(*hb._SWITCHES.values())
    words = service.USAGE.split("ACTION: ")[1].split()
    assert tuple(sorted(words)) == tuple(sorted(parsers.ACTIONS))


def test_every_program_has_a_page() -> None:
    names = {page.name for page in manpages.PAGES} | {alias.rpartition(".")[0] for alias in manpages.aliases()}
    assert {name if name != "service" else "ezha-service" for name in PROGRAMS} <= names


def test_every_command_of_ezha_is_told_about() -> None:
    page = next(page for page in manpages.PAGES if page.name == "ezha")
    text = manpages.text(page, "2026-01-01")
    told = " ".join(re.findall(r'^\.SS "(.*)"$', text, re.MULTILINE)).replace("\\-", "-")
    for name in ezha.COMMANDS:
        assert f".TP\n\\fB{roff.quoted(name)}\\fR\n" in text
        if name not in ("lab", "sim", "service", "hb", "demo"):
            assert re.search(rf"(^|[ ,]){name}([ ,]|$)", told), name


@pytest.mark.parametrize("page", manpages.PAGES, ids=lambda page: page.name)
def test_a_page_is_whole(page: manpages.Page) -> None:
    text = manpages.text(page, "2026-01-01")
    assert text.startswith(f'.TH "{page.name.upper()}" "{page.section}" "2026-01-01" ')
    assert "/usr/local/cluster/conf" not in text
    options_of = manpages._parser(page.program) if page.program else None
    for action in options_of._actions if options_of else ():
        for option in action.option_strings:
            assert option in ("-h", "--help") or f"\\fB{roff.quoted(option)}\\fR" in text


def test_markdown_becomes_man() -> None:
    made = roff.converted(
        "# A `b`\n\n.dot \\`x\\` *y*\n\n- one\n- two\n\n| a | b |\n|---|---|\n| `x\\|y` | z |\n", "{}{}".format
    )
    item = '.IP "\\(bu" 2'
    assert made == ["1A b", "\\&.dot \\(gax\\(ga \\fIy\\fR", item, "one", item, "two", ".TP", "\\fBx|y\\fR", "z"]


def test_code_that_looks_like_a_request_is_code() -> None:
    made = roff.converted("```\n.x -y\n```\n", "{}{}".format)
    assert made == [".RS 4", ".EX", "\\&.x \\-y", ".EE", ".RE"]


@pytest.mark.parametrize("program", completions.PROGRAMS)
def test_bash_reads_the_completions(program: str) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=completions.text(program, "bash"), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def completed(words: list[str], environ: dict[str, str]) -> list[str]:
    script = completions.text(words[0], "bash") + (
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_ezha "$1" "${COMP_WORDS[COMP_CWORD]}" ""\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    argv = ["bash", "-c", script, "bash", *words]
    done = subprocess.run(argv, env={"PATH": "/usr/bin:/bin", **environ}, text=True, capture_output=True, check=True)
    return done.stdout.split()


def test_names_come_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "services").write_text(
        "# a comment\n  web /x node1 node2 /bin/true\nmail\t/y node1 node2 /bin/true\n\n"
    )
    (tmp_path / "nodes").write_text("node1\n#node3\nnode2 # the second\n$(reboot)\n")
    environ = {"EZ_CONF": str(tmp_path)}
    assert completed(["ezha", "sw"], environ) == ["switch"]
    assert completed(["ezha", "switch", ""], environ) == ["web", "mail"]
    assert completed(["ezha", "switch", "web", ""], environ) == ["node1", "node2"]
    assert completed(["ezha", "service", "-A", "ma"], environ) == ["mail"]
    assert completed(["ezha", "switch", ""], {"EZ_CONF": "/nowhere"}) == []
