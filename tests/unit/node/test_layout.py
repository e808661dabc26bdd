"""Where files are: a wrong answer here makes a command talk to another installation."""

import subprocess
import sys
from pathlib import Path

import pytest

from ha.node.layout import Layout, LayoutError, node_name
from ha.node.names import MAX_NAME, name_trouble, valid_name


def test_the_default_is_the_place_of_the_tutorial() -> None:
    layout = Layout.find({})
    assert layout.prefix == "/usr/local/cluster"
    assert layout.bin == "/usr/local/cluster/bin"
    assert layout.monitor == "/usr/local/cluster/conf/monitor"
    assert layout.options == "/usr/local/cluster/conf/options.toml"
    assert layout.record == "/usr/local/cluster/services/.record"
    assert layout.history == "/usr/local/cluster/log/history.jsonl"
    assert layout.control == "/run/ezha/control"
    assert layout.lock == "/run/ezha/nmond.lock"
    assert layout.state("web", "node1") == "/usr/local/cluster/services/web/STATE.node1"


def test_under_the_prefix_of_openhas_packages_all_is_where_they_have_it(tmp_path: Path) -> None:
    layout = Layout(f"{tmp_path}/usr/lib/openha")
    assert (layout.bin, layout.conf) == (f"{tmp_path}/usr/lib/openha/bin", f"{tmp_path}/etc/openha")
    assert (layout.states, layout.log) == (f"{tmp_path}/var/lib/openha/services", f"{tmp_path}/var/log/openha")
    (tmp_path / "usr/lib/openha/bin").mkdir(parents=True)
    assert Layout.find({}, f"{tmp_path}/usr/lib/openha/bin/service").monitor == f"{tmp_path}/etc/openha/monitor"


def test_every_variable_moves_its_place() -> None:
    places = {"EZ": "/a", "EZ_BIN": "/b", "EZ_CONF": "/c", "EZ_NODES": "/n/nodes", "EZ_VAR": "/v/", "EZ_LOG": "/l"}
    layout = Layout.find({**places, "EZ_RUN": "/r", "EZ_MONITOR": "/m", "EZ_SERVICES": "/s"}, "/x/bin/service")
    assert (layout.prefix, layout.bin, layout.conf, layout.nodes) == ("/a", "/b", "/c", "/n/nodes")
    assert (layout.monitor, layout.services, layout.options) == ("/m", "/s", "/c/options.toml")
    assert (layout.states, layout.log, layout.run) == ("/v/services", "/l", "/r")


def test_a_launcher_finds_its_prefix_through_links(tmp_path: Path) -> None:
    (tmp_path / "cluster/bin").mkdir(parents=True)
    (tmp_path / "cluster/conf").mkdir()
    launcher = tmp_path / "cluster/bin/service"
    launcher.touch()
    link = tmp_path / "S99cluster"
    link.symlink_to(launcher)
    assert Layout.find({}, str(link)).prefix == str(tmp_path / "cluster")
    assert Layout.find({}, str(tmp_path / "cluster/ezha.init")).prefix == str(tmp_path / "cluster")
    assert Layout.find({"EZ": "/elsewhere"}, str(link)).prefix == "/elsewhere"


def test_a_program_outside_an_installation_means_the_default(tmp_path: Path) -> None:
    (tmp_path / "venv/bin").mkdir(parents=True)
    assert Layout.find({}, str(tmp_path / "venv/bin/ezha")).prefix == "/usr/local/cluster"


@pytest.mark.parametrize("variable", ["EZ", "EZ_BIN", "EZ_RUN", "EZ_VAR"])
@pytest.mark.parametrize("value", ["relative", "./x", "/a\nb"])
def test_a_path_that_is_not_absolute_is_refused(variable: str, value: str) -> None:
    with pytest.raises(LayoutError, match=variable):
        Layout.find({variable: value})


def test_messages_name_a_file_below_the_prefix_shortly() -> None:
    layout = Layout("/usr/local/cluster", {"EZ_MONITOR": "/etc/ha/monitor"})
    assert layout.show(layout.nodes) == "conf/nodes"
    assert layout.show(layout.monitor) == "/etc/ha/monitor"


def test_the_quick_commands_do_not_pay_for_it() -> None:
    heavy = "{'dataclasses','json','re','argparse','logging','enum'}"
    code = (
        f"import sys; before=set(sys.modules); import ha.node.layout; print(sorted((set(sys.modules)-before)&{heavy}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_name_of_the_node_is_unames() -> None:
    assert node_name() == subprocess.run(["uname", "-n"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", ["p26.opensvc.com", "node1", "A_b-c.9", "x" * MAX_NAME, "_"])
def test_good_names(name: str) -> None:
    assert valid_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "-rf", "a/b", "../x", "a b", "ä", "a\0", "a\n", "x" * 65, "a,b"])
def test_bad_names_are_refused_with_a_reason(name: str) -> None:
    assert name_trouble(name)
