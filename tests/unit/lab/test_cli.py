"""The command line of the lab, as far as it goes without a lab."""

from pathlib import Path

import pytest

from ha.cli.lab import main


@pytest.mark.parametrize(
    ("argv", "code", "line"),
    [
        (["exec"], 2, "ezha lab: exec: say on which node"),
        (["exec", "--dir"], 2, "ezha lab: exec: there is no option --dir, or its value is missing"),
        (["exec", "--tty", "node1"], 2, "ezha lab: exec: there is no option --tty"),
        (
            ["exec", "--dir", "{dir}", "node1", "--", "true"],
            125,
            "ezha lab: no lab in {dir}; make one with: ezha lab up",
        ),
        (["cut", "--dir", "{dir}", "net"], 1, "ezha lab: no lab in {dir}"),
        (["status", "--dir={dir}"], 1, "ezha lab: no lab in {dir}; make one with: ezha lab up --dir {dir}"),
        (["up", "--dir", "{dir}", "--nodes", "17"], 1, "ezha lab: 17 nodes: the lab makes 1 to 16"),
        (["up", "--dir", "{dir}", "--init", "sysvinit"], 2, "ezha lab: --init and --package are for --backend vm"),
        (["up", "--dir", "{dir}", "--backend", "vm", "--nodes", "0"], 1, "ezha lab: 0 nodes: the lab makes 1 to 16"),
        (["reset", "--dir", "{dir}", "node1"], 1, "ezha lab: no lab in {dir}"),
        (["up", "--dir", "{dir}", "--timeout", "0.1"], 1, "ezha lab: a timeout of 0.1 s is out of range, 0.2 to 120 s"),
    ],
)
def test_a_wrong_command_gets_one_line_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, line: str
) -> None:
    folder = tmp_path / "lab"
    assert main([word.format(dir=folder) for word in argv]) == code
    shown = capsys.readouterr().err
    assert shown.startswith(line.format(dir=folder))
    assert "Traceback" not in shown
    assert not (folder / "state.json").exists() and not (folder / "nodes").exists()


def test_down_without_a_lab_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "--dir", str(tmp_path / "lab")]) == 0
    assert capsys.readouterr().out == f"no lab in {tmp_path}/lab\n"
    assert not (tmp_path / "lab").exists()


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for verb in ("up", "exec", "cut", "heal", "pause", "power-off", "power-on", "reset", "status", "down"):
        assert f"    {verb}" in shown
