"""``ezha install``: the tutorial's listing, modes, and an upgrade that touches nothing of the administrator's."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ha.cli import ezha, launchers
from ha.cli.commands.install import install_links, install_unit
from ha.cli.guard import CliError


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    target = tmp_path / "usr/cluster"
    old = os.umask(0o077)  # An administrator's umask must not decide who can run the programs.
    try:
        assert ezha.main(["install", "--prefix", str(target)]) == 0
    finally:
        os.umask(old)
    return target


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_listing_is_the_tutorials(installed: Path) -> None:
    assert sorted(os.listdir(installed)) == ["bin", "conf", "doc", "env.sh", "ezha.init", "log", "services"]
    assert sorted(os.listdir(installed / "bin")) == [
        "ezha",
        "ezha-guardian",
        "hb",
        "nmond",
        "nmond-supervisor",
        "nodemgr",
        "openha",
        "service",
        "svcmgr",
        "svcmon",
    ]
    assert sorted(os.listdir(installed / "conf")) == ["logfacility", "monitor", "nodes", "options.toml", "services"]


def test_modes_are_tight(installed: Path) -> None:
    modes = {name: mode(installed / name) for name in os.listdir(installed)}
    assert modes == {
        "bin": 0o755,
        "conf": 0o755,
        "doc": 0o755,
        "env.sh": 0o644,
        "ezha.init": 0o755,
        "log": 0o750,
        "services": 0o755,
    }
    assert {mode(file) for file in (installed / "bin").iterdir()} == {0o755}
    assert {mode(file) for file in (installed / "conf").iterdir()} == {0o644}


def test_a_new_configuration_says_nothing_by_itself(installed: Path) -> None:
    assert [(installed / "conf" / name).read_text() for name in ("nodes", "monitor", "services")] == ["", "", ""]
    options = (installed / "conf/options.toml").read_text().splitlines()
    assert all(not line.strip() or line.startswith("#") for line in options)


def test_an_upgrade_replaces_programs_and_nothing_else(installed: Path) -> None:
    (installed / "conf/nodes").write_text("node1\nnode2\n")
    (installed / "conf/options.toml").unlink()
    (installed / "log").chmod(0o700)
    (installed / "services/web").mkdir()
    (installed / "services/web/STATE.node1").write_text("2 STARTED\n")
    (installed / "bin/service").write_text("old\n")
    with open(installed / "bin/service") as running:
        assert ezha.main(["install", "--prefix", str(installed)]) == 0
        assert running.read() == "old\n"  # replaced, not written over
    assert (installed / "bin/service").read_text() != "old\n"
    assert (installed / "conf/nodes").read_text() == "node1\nnode2\n"
    assert (installed / "conf/options.toml").exists()
    assert (installed / "services/web/STATE.node1").read_text() == "2 STARTED\n"
    assert mode(installed / "log") == 0o700
    assert not [name for name in os.listdir(installed / "bin") if name.startswith(".")]


def test_a_dangling_link_in_conf_is_not_followed(installed: Path, tmp_path: Path) -> None:
    (installed / "conf/monitor").unlink()
    (installed / "conf/monitor").symlink_to(tmp_path / "elsewhere")
    assert ezha.main(["install", "--prefix", str(installed)]) == 0
    assert not (tmp_path / "elsewhere").exists()


def test_the_programs_run_with_nothing_of_the_users_environment(installed: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "json.py").write_text("raise SystemExit('trapped')")
    environ = {"PYTHONPATH": str(trap), "PATH": os.environ["PATH"], "EZ_RUN": str(tmp_path / "run")}
    done = subprocess.run(
        [installed / "bin/service", "-s"],
        env=environ,
        cwd=trap,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"service: nmond is not running on this node: nobody listens on {tmp_path}/run/control; "
        f"start it with {installed}/ezha.init start\n"
    )


def test_scripts_name_the_prefix_that_they_lie_in(installed: Path) -> None:
    assert f"EZ=${{EZ:-{installed}}}" in (installed / "env.sh").read_text()
    for name in ("env.sh", "ezha.init"):
        assert "/usr/local/cluster" not in (installed / name).read_text()


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_env_sh_sets_what_openha_sets(shell: str, installed: Path) -> None:
    show = "echo $EZ_BIN $EZ_NODES $EZ_MONITOR $EZ_SERVICES $EZ_VAR $EZ_LOG; alias ez_svc_status ez_hb_status ez_ps"
    done = subprocess.run(
        [shell, "-c", f". {installed}/env.sh; {show}"], env={}, capture_output=True, text=True, timeout=30, check=True
    )
    paths, *aliases = done.stdout.splitlines()
    names = ("bin", "conf/nodes", "conf/monitor", "conf/services", "", "log")
    assert paths == " ".join(f"{installed}/{name}".rstrip("/") for name in names)
    assert len(aliases) == 3


def test_a_prefix_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert ezha.main(["install", "--prefix", f"{tmp_path}/file/cluster"]) == 1
    assert capsys.readouterr().err == f"ezha: {tmp_path}/file is in the way: it is not a folder\n"


def test_the_controllers_commands_are_linked_and_no_other_program_is_replaced(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "usr" / "bin"
    folder.mkdir()
    for _ in range(2):
        install_links(str(installed), str(folder))
    names = ("nodemgr", "svcmgr", "svcmon")
    assert {path.name: path.readlink() for path in folder.iterdir()} == {
        name: installed / "bin" / name for name in names
    }
    (folder / "svcmgr").unlink()
    (folder / "svcmgr").write_text("of OpenSVC's agent")
    with pytest.raises(CliError, match="another program's"):
        install_links(str(installed), str(folder))
    assert (folder / "svcmgr").read_text() == "of OpenSVC's agent"


def test_the_unit_names_the_prefix(installed: Path, tmp_path: Path) -> None:
    install_unit(str(installed), str(tmp_path))
    unit = (tmp_path / "ezha.service").read_text()
    assert f"ExecStart={installed}/bin/nmond --foreground\n" in unit
    assert "KillMode=process\n" in unit
    assert "/usr/local/cluster" not in unit


@pytest.mark.parametrize("interpreter", ["/opt/my python/bin/python3", "/x" * 80 + "/python3"])
def test_an_interpreter_that_no_first_line_can_name_still_works(interpreter: str, tmp_path: Path) -> None:
    text = launchers.launcher("service", interpreter, "/code")
    first = text.split("\n", 1)[0]
    assert first == "#!/bin/sh"
    real = tmp_path / "my python"
    real.mkdir()
    (real / "python3").symlink_to(sys.executable)
    program = tmp_path / "program"
    program.write_text(launchers.launcher("service", f"{real}/python3", "/code").split("import sys")[0] + "print(7)\n")
    program.chmod(0o755)
    assert subprocess.run([program], capture_output=True, text=True, timeout=30, check=True).stdout == "7\n"


def test_what_the_launchers_call_is_there() -> None:
    from importlib import import_module

    for name in ("service", "hb", "ezha", "openha"):
        text = launchers.launcher(name, "/usr/bin/python3", "/code")
        module, function = text.split(" from ")[1].split("\n")[0].split(" import ")
        assert callable(getattr(import_module(module), function))


def test_a_program_whose_code_is_gone_says_so(tmp_path: Path) -> None:
    program = tmp_path / "service"
    program.write_text(launchers.launcher("service", sys.executable, f"{tmp_path}/gone"))
    program.chmod(0o755)
    done = subprocess.run([program, "-s"], cwd="/", capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == "service: ezha is not complete (No module named 'ha'): run ezha install again\n"


def test_the_installed_pages_find_one_another(installed: Path) -> None:
    pages = sorted((installed / "doc").glob("*.md"))
    assert {"README.md", "commands.md"} <= {page.name for page in pages}
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    relative = [(page, link) for page, link in links if "://" not in link]
    assert relative
    assert [(page.name, link) for page, link in relative if not (page.parent / link).exists()] == []


def test_what_a_package_owns_is_left_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = tmp_path / "cluster"
    program = prefix / "bin/ezha"
    program.parent.mkdir(parents=True)
    program.write_text(launchers.launcher("ezha", "/usr/bin/python3", "/usr/share/ezha", packaged=True))
    assert ezha.main(["install", "--prefix", str(prefix)]) == 1
    assert capsys.readouterr().err.startswith(f"ezha: {prefix} belongs to the package ezha, which is upgraded by apt")
    assert os.listdir(prefix) == ["bin"]
    # The twin: one that `ezha install` made is replaced.
    program.write_text(launchers.launcher("ezha", "/usr/bin/python3", "/usr/share/ezha"))
    assert ezha.main(["install", "--prefix", str(prefix)]) == 0


def test_the_unit_looks_for_the_configuration_where_it_is(tmp_path: Path) -> None:
    install_unit("/usr/lib/openha", str(tmp_path))
    unit = (tmp_path / "ezha.service").read_text()
    assert "ConditionPathExists=/etc/openha/nodes\n" in unit
    assert "WatchdogSec=30\n" in unit
