"""From OpenHA to ezha on one node, and back: nothing is lost, and nothing is touched where it cannot work."""

import os
import re
import sys
from pathlib import Path

import pytest

from ha.cli import adoption, ezha, share
from ha.node.layout import Layout

MANUAL = Path(__file__).parents[3] / "docs/migration.md"
MONITOR = """node1 net eth0 239.131.50.10 1234 10
node1 dio /dev/sdb 0 10
node2 net eth0 239.131.50.10 4321 10
node2 dio /dev/sdb 19 10
"""
SERVICES = "web\t/etc/opensvc/web.cluster\tnode1\tnode2\t/bin/true\n"


class Openha:
    """What an OpenHA leaves on a disk, in either layout."""

    def __init__(self, root: Path, packaged: bool) -> None:
        self.prefix = root / "usr/lib/openha" if packaged else root / "usr/local/cluster"
        self.layout = Layout(str(self.prefix))
        self.init = root / "etc/init.d/openha"
        self.write(f"{self.layout.bin}/heartd", "C", 0o755)
        self.write(f"{self.layout.bin}/nmond", "C", 0o755)
        self.write(f"{self.layout.bin}/service", "C", 0o755)
        self.write(str(self.prefix / "env.sh"), "C")
        self.write(str(self.init if packaged else self.prefix / "ezha.init"), "C", 0o755)
        self.write(self.layout.nodes, "node1\nnode2\n")
        self.write(self.layout.monitor, MONITOR)
        self.write(self.layout.services, SERVICES)
        self.write(self.layout.state("web", "node1"), "2\0")
        self.write(self.layout.state("web", "node2"), "0\0")

    @staticmethod
    def write(path: str, text: str, mode: int = 0o644) -> None:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def tree(self) -> dict[str, str]:
        """Every file below the root, but what was kept of either side."""
        root = Path(self.layout.prefix.removesuffix("/usr/lib/openha").removesuffix("/usr/local/cluster"))
        return {
            str(path.relative_to(root)): path.read_text()
            for path in sorted(root.rglob("*"))
            if path.is_file() and adoption.SAVED not in str(path) and "/doc/" not in str(path)
        }

    def install(self, *words: str) -> int:
        return ezha.main(["install", "--prefix", str(self.prefix), *words])


@pytest.fixture(params=[False, True], ids=["tutorial", "packages"])
def openha(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Openha:
    monkeypatch.setattr(adoption, "node_name", lambda: "node2")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # what a power-off would lose is not looked at here
    for name in [name for name in os.environ if name.startswith("EZ")]:
        monkeypatch.delenv(name)
    return Openha(tmp_path / "root", request.param)


def test_ezha_lies_where_openha_lay_with_its_configuration_and_its_states(
    openha: Openha, capsys: pytest.CaptureFixture[str]
) -> None:
    assert openha.install() == 0
    layout = openha.layout
    assert f"--prefix {openha.prefix} --undo gives it back" in capsys.readouterr().out
    assert sorted(os.listdir(layout.bin))[0] == "ezha"
    assert not os.path.exists(f"{layout.bin}/heartd")
    assert Path(layout.monitor).read_text() == MONITOR
    assert Path(layout.state("web", "node1")).read_text() == "2\0"
    options = Path(layout.options).read_text()
    assert re.findall(r"(?m)^[a-z].*", options) == ["ttl = 6", 'wire = "openha"']
    if openha.init.is_symlink():
        assert os.path.realpath(openha.init) == f"{openha.prefix}/ezha.init"
    text = Path(openha.prefix, "env.sh").read_text()
    assert f"EZ:-{openha.prefix}" in text
    assert ("EZ_CONF=$EZ/conf" in text) is not openha.prefix.match("usr/lib/openha")


def test_it_comes_back_as_it_was_and_nothing_of_either_is_lost(openha: Openha) -> None:
    before = openha.tree()
    assert openha.install() == 0
    Path(openha.layout.record).write_text("ezha's")
    assert openha.install("--undo") == 0
    assert openha.tree() == before
    aside = Path(f"{openha.prefix}/{adoption.SAVED}.1")
    assert (aside / "record-of-ezha").read_text() == "ezha's"
    assert 'wire = "openha"' in (aside / "options.toml").read_text()
    assert (aside / "ezha-bin/nmond").exists()
    # And once more.
    assert openha.install() == 0
    assert openha.install("--undo") == 0
    assert openha.tree() == before
    assert Path(f"{openha.prefix}/{adoption.SAVED}.2").is_dir()


def test_a_second_install_is_an_upgrade(openha: Openha) -> None:
    assert openha.install() == 0
    once = openha.tree()
    kept = sorted(os.listdir(f"{openha.prefix}/{adoption.SAVED}/bin"))
    assert openha.install() == 0
    assert openha.tree() == once
    assert sorted(os.listdir(f"{openha.prefix}/{adoption.SAVED}/bin")) == kept == ["heartd", "nmond", "service"]


def test_what_ezha_could_not_take_over_is_left_alone(openha: Openha, capsys: pytest.CaptureFixture[str]) -> None:
    Path(openha.layout.monitor).write_text(MONITOR.replace("/dev/sdb 19", "/dev/sdb 2"))
    before = openha.tree()
    assert openha.install() == 1
    assert "OpenHA writes 19 blocks; give an offset of 19 or more" in capsys.readouterr().err
    assert openha.tree() == before
    assert not os.path.exists(f"{openha.prefix}/{adoption.SAVED}")


def test_an_openha_that_runs_is_left_alone(
    openha: Openha, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ha.cli.processes import Process

    running = [Process(7, 1, 1, f"{openha.layout.bin}/nmond")]
    monkeypatch.setattr(adoption, "processes", lambda folder: running)
    before = openha.tree()
    assert openha.install() == 1
    assert "OpenHA runs here: nmond (pid 7); stop it first: " in capsys.readouterr().err
    assert openha.tree() == before


@pytest.mark.parametrize("step", range(1, 4))
def test_what_a_crash_interrupts_the_same_command_finishes(
    openha: Openha, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = openha.tree()
    renames = 0
    rename = os.rename

    def crash(source: str, target: str, **words: int) -> None:
        nonlocal renames
        if adoption.SAVED in f"{source}{target}":
            renames += 1
            if renames == step:
                raise KeyboardInterrupt
        rename(source, target, **words)

    for command in ((), ("--undo",)):
        renames = 0
        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", crash)
            openha.install(*command)
        assert openha.install(*command) in (0, 1)  # 1: there was nothing left to do
    assert openha.tree() == before


def test_there_is_nothing_to_give_back_where_nothing_was_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ezha.main(["install", "--prefix", str(tmp_path / "x"), "--undo"]) == 1
    assert "no OpenHA was kept aside here" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------- the plan


def test_the_plan_names_nodes_services_and_commands_of_this_very_cluster(
    openha: Openha, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/ezha/bin/ezha"])
    assert ezha.main(["migrate", "plan", "--prefix", str(openha.prefix)]) == 0
    told = capsys.readouterr().out
    # node2 comes first: nothing runs there.
    assert told.index("Replace OpenHA by ezha on node2") < told.index("Move what runs on node1 to node2")
    assert f"node1# {openha.layout.bin}/service -A web freeze-stop\n" in told
    assert f"node2# /opt/ezha/bin/ezha install --prefix {openha.prefix}\n" in told
    assert f"'/^ttl = /d' {openha.layout.options}\n" in told
    if openha.layout.conf.endswith("/conf"):
        shown = told.replace(str(openha.prefix), "/usr/local/cluster")
        assert shown in MANUAL.read_text()


def test_the_plan_says_what_is_in_the_way(openha: Openha, capsys: pytest.CaptureFixture[str]) -> None:
    Path(openha.layout.monitor).write_text(MONITOR.replace("/dev/sdb 19", "/dev/sdb 2"))
    assert ezha.main(["migrate", "plan", "--prefix", str(openha.prefix)]) == 1
    told = capsys.readouterr()
    assert "in the way: " in told.err
    assert "OpenHA writes 19 blocks" in told.err


def test_the_plan_of_a_node_that_runs_ezha_already_says_so(openha: Openha, capsys: pytest.CaptureFixture[str]) -> None:
    assert openha.install() == 0
    capsys.readouterr()
    assert ezha.main(["migrate", "plan", "--prefix", str(openha.prefix)]) == 0
    assert "runs ezha already" in capsys.readouterr().out


def test_there_is_no_plan_where_there_is_no_openha(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ezha.main(["migrate", "plan", "--prefix", str(tmp_path)]) == 1
    assert "there is no OpenHA in" in capsys.readouterr().err


def test_the_options_of_a_taken_over_node_are_the_example_with_two_keys_set() -> None:
    example = share.read("conf/options.toml")
    changed = [
        pair for pair in zip(example.splitlines(), adoption.options().splitlines(), strict=True) if len({*pair}) > 1
    ]
    assert changed == [("# ttl = 1", "ttl = 6"), ('# wire = "ezha"', 'wire = "openha"')]
