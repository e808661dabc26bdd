"""A service's file, read and checked: scopes, types, and one clear line for every mistake."""

import os
from pathlib import Path

import pytest

from ha.services.config import ConfigError, find, interpret, load, node_name, read, service_names, validate
from ha.services.context import Paths
from ha.services.errors import ServiceError
from ha.services.ini import Ini

pytestmark = pytest.mark.usefixtures("drivers")
HEAD = "[DEFAULT]\nnodes = node1 node2\ndrpnodes = node9\n"


def labels(text: str, node: str) -> list[str]:
    config = interpret(Ini(HEAD + text), "web.env", "web", node)
    return [each.label for each in config.resources if each.group == "fs"]


def problems(text: str) -> list[str]:
    return [problem.told("web.env") for problem in validate(Ini(text), "web.env", "web")]


def test_the_narrowest_scope_wins_wherever_it_stands() -> None:
    text = "[fs#0]\nmnt@node2 = /two\nmnt = /all\nmnt@nodes = /here\nsize@drpnodes = 9\n"
    assert labels(text, "node1") == ["/here:7"]
    assert labels(text, "node2") == ["/two:7"]
    assert labels(text, "node9") == ["/all:9"]


def test_names_of_nodes_may_have_a_domain_here() -> None:
    assert node_name(("node1", "node2"), "node1.example.com") == "node1"
    assert node_name(("node1.example.com",), "node1.example.com") == "node1.example.com"
    assert node_name(("node2",), "node1.example.com") == "node1.example.com"


def test_launchers_and_copies_need_no_section() -> None:
    assert [each.rid for each in interpret(Ini(HEAD), "", "web", "node1").resources] == ["app", "sync#i0"]
    alone = Ini("[DEFAULT]\nnodes = node1\n[app#0]\n")
    assert [each.rid for each in interpret(alone, "", "web", "node1", launchers=False).resources] == ["app#0"]
    both = interpret(alone, "", "web", "node1", launchers=True)
    assert [each.rid for each in both.resources] == ["app#0", "app"]
    named = Ini(HEAD + "[app]\ndisable = True\n[sync#i0]\noptional = yes\n")
    resources = interpret(named, "", "web", "node1").resources
    assert [(each.rid, each.disable, each.optional) for each in resources] == [
        ("app", True, False),
        ("sync#i0", False, True),
    ]


def test_an_agents_parameters_are_kept_as_they_are() -> None:
    (agent, *_) = interpret(Ini("[app#1]\ntype = ocf:x:y\npgData = /d\n"), "", "web", "n").resources
    assert dict(agent.values.extra) == {"pgData": "/d"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[fs#0]\n", ["web.env:1: [fs#0] mnt is missing: where it is mounted"]),
        ("[fs#0]\nmnt = here\n", ["web.env:2: [fs#0] mnt: 'here' is not an absolute path"]),
        (
            "[fs#0]\nmnt = /a\nsize = 101\n",
            ["web.env:3: [fs#0] size is more than 100; make it smaller"],
        ),
        ("[fs#0]\nmnt = /a\nsize = -1\n", ["web.env:3: [fs#0] size: '-1' is not a whole number"]),
        (
            "[fs#0]\nmnt = /a\ndisbale = True\n",
            ["web.env:3: [fs#0] disbale is not a key of this section; is it disable?"],
        ),
        ("[fs#0]\nmnt = /a\ndisable = maybe\n", ["web.env:3: [fs#0] disable: 'maybe' is not True or False"]),
        ("[fs#0]\nmnt = /a\nmnt =\n", ["web.env:3: [fs#0] mnt stands on line 2 already; keep one of the two"]),
        ("[fs#0]\nmnt =\n", ["web.env:2: [fs#0] mnt: is empty; give an absolute path"]),
        ("[fs]\nmnt = /a\n", ["web.env:1: [fs] a resource of this kind has a number: write fs#0"]),
        ("[raid#0]\n", ["web.env:1: [raid#0] raid is not a kind of resource; there are: fs, app, hb, sync, stonith"]),
        ("[FS#0]\n", ["web.env:1: [FS#0] is not the name of a resource"]),
        ("[hb#0]\ntype = pacemaker\n", ["web.env:2: [hb#0] type 'pacemaker' is not known for hb; there are: OpenHA"]),
        (
            HEAD + "[fs#0]\nmnt@node3 = /a\nmnt = /a\n",
            ["web.env:5: [fs#0] mnt@node3: node3 is not a node of this service"],
        ),
        ("[DEFAULT]\nnodes = node1; node2\n", ["web.env:2: [DEFAULT] nodes: 'node1;' cannot be the name of a node"]),
        ("[DEFAULT]\ndrpnode = -oProxy\n", ["web.env:2: [DEFAULT] drpnode: '-oProxy' cannot be the name of a node"]),
        ("[DEFAULT]\nnodes@node1 = node1\n", ["web.env:2: [DEFAULT] nodes@node1: nodes is the same on all nodes"]),
        (HEAD + "autostart_node = node3\n", ["web.env:4: [DEFAULT] autostart_node node3 is not one of nodes"]),
        (HEAD + "[fs#0]\nmnt@node1 = /a\nmnt@drpnodes = /a\n", ["web.env:4: [fs#0] mnt is missing on node2"]),
        ("[DEFAULT]\nmonitor_action = panic\n", ["web.env:2: [DEFAULT] monitor_action: 'panic' is not one of: none"]),
        ("[DEFAULT]\nmonitor_interval = 5 weeks\n", ["web.env:2: [DEFAULT] monitor_interval: '5 weeks' is not a time"]),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_section(text: str, told: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(told), found
    for line, wanted in zip(sorted(found), sorted(told), strict=True):
        assert line.startswith(wanted)


def test_a_mistake_that_counts_on_another_node_only_is_found_here() -> None:
    assert problems(HEAD + "[fs#0]\nmnt = /a\nsize@node2 = 101\n") == [
        "web.env:6: [fs#0] size is more than 100; make it smaller"
    ]
    assert labels("[fs#0]\nmnt = /a\nsize@node2 = 101\n", "node1") == ["/a:7"], "and is no reason to stop here"


# ---- files


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "etc").mkdir()
    return Paths(etc=str(tmp_path / "etc"))


def test_which_services_there_are(paths: Paths) -> None:
    for name in ("web.env", "db.conf", "node.conf", "web.env.before.openha", "web.d", ".x.env", "a b.env"):
        Path(paths.etc, name).touch()
    assert service_names(paths) == ["db", "web"]


@pytest.mark.parametrize("name", ["", "../web", "a/b", "web.cluster", "web.env", "-s", "a" * 129, "a\nb"])
def test_a_name_that_is_none(paths: Paths, name: str) -> None:
    with pytest.raises(ServiceError, match="cannot be the name of a service"):
        find(paths, name)


def test_no_file_and_two_files(paths: Paths) -> None:
    with pytest.raises(ServiceError, match=r"there is no service web: .* svcmgr -s web create makes one"):
        find(paths, "web")
    Path(paths.etc, "web.env").touch()
    Path(paths.etc, "web.conf").touch()
    with pytest.raises(ServiceError, match="both describe the service web"):
        find(paths, "web")


def test_a_file_that_others_could_have_written_is_not_followed(paths: Paths) -> None:
    path = Path(paths.etc, "web.env")
    path.write_text("[DEFAULT]\n")
    path.chmod(0o664)
    with pytest.raises(ServiceError, match="chmod go-w"):
        load(paths, "web", "node1")
    path.chmod(0o644)
    assert load(paths, "web", "node1").nodes == ("node1",)
    if os.geteuid() == 0:
        os.chown(path, 1000, 1000)
        with pytest.raises(ServiceError, match="belongs to uid 1000"):
            load(paths, "web", "node1")


def test_what_is_no_text_file(paths: Paths) -> None:
    path = Path(paths.etc, "web.env")
    path.write_bytes(b"[DEFAULT]\napp = \xff\n")
    with pytest.raises(ConfigError, match=r"web.env:2: is not UTF-8"):
        read(str(path))
    path.write_bytes(b"#" * 300_000)
    with pytest.raises(ServiceError, match="is larger than"):
        read(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ServiceError, match="is not a regular file"):
        read(str(path))
