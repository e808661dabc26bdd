"""The tables ``[fence."NODE"]`` and ``[etcd]``: what is taken, what is refused on which line, what is hidden."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from ha.node.config import ConfigError, Configuration, Texts, parse
from ha.node.config.etcd import ETCD, Endpoint
from ha.node.config.fencing import FENCE, FenceMethod, method_for
from ha.node.config.options import parse_options
from ha.node.config.problems import Report

MONITOR = "node1 net eth0 239.131.50.10 1234 10\nnode2 net eth0 239.131.50.10 4321 10\n"


def parsed(options: str, *, services: str = "", private: bool = True) -> Configuration:
    return parse(Texts("node1\nnode2\n", MONITOR, services, options, private=private), "node1")


def problems(options: str, *, private: bool = True) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parsed(options, private=private)
    return [str(problem) for problem in caught.value.problems]


def test_an_agent_with_its_parameters() -> None:
    method = parsed(
        '[fence."node2"]\nagent = "fence_ipmilan"\naction = "reboot"\ndelay = 8\n'
        '[fence."node2".parameters]\nip = "10.0.0.2"\nlanplus = true\npassword = "s3cret"\npower_wait = 4\n'
    ).options.fences["node2"]
    assert method.parameters == (("ip", "10.0.0.2"), ("lanplus", "1"), ("password", "s3cret"), ("power_wait", "4"))
    assert (method.agent, method.action, method.timeout, method.delay) == ("fence_ipmilan", "reboot", 60.0, 8.0)
    assert method.secrets == ("s3cret",)
    assert "s3cret" not in repr(method)


def test_a_command() -> None:
    method = parsed('[fence."node2"]\ncommand = ["/sbin/off", "node2"]\n').options.fences["node2"]
    assert (method.command, method.program) == (("/sbin/off", "node2"), "/sbin/off")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "2: give either agent or command"),
        ('agent = "fence_apc"\ncommand = ["/x"]', "2: give either agent or command"),
        ('agent = "ipmilan"', "3: agent is 'ipmilan'; give the name of an agent"),
        ('agent = "fence_../../x"', "3: agent is"),
        ('command = ["off"]', "3: command begins with 'off'"),
        ('command = ["/x"]\nverify = true', "2: verify is for an agent"),
        ('agent = "fence_apc"\naction = "on"', '4: action is \'on\'; give "off" or "reboot"'),
        ('agent = "fence_apc"\ntimeout = 0', "4: timeout is 0 s"),
        ('agent = "fence_apc"\nparameters = { action = "off" }', "4: parameters hold action"),
        ('agent = "fence_apc"\nparameters = { ip = [] }', "4: parameters hold ip, which is a list"),
        ('agent = "fence_apc"\nparameters = { ip = "a\\nb" }', "4: parameters hold ip"),
        ('agent = "fence_apc"\nparameters = { ip = " a" }', "begins or ends with a blank"),
        ('agent = "fence_apc"\nparameters = { "i=p" = "a" }', "4: parameters have the name 'i=p'"),
        ('agent = "fence_apc"\npassword = "x"', "4: unknown key 'password'"),
    ],
)
def test_what_is_wrong_with_a_fence_is_told_once_with_its_line(text: str, words: str) -> None:
    told = problems(f'cluster = "c"\n[fence."node2"]\n{text}\n')
    assert len(told) == 1
    assert words in told[0]


def test_no_message_shows_a_password() -> None:
    told = problems('[fence."node2"]\nagent = "fence_apc"\nparameters = { password = " s3cret" }\n')
    assert "s3cret" not in "".join(told)


def test_a_password_in_a_file_that_others_may_read_is_refused() -> None:
    text = '[fence."node2"]\nagent = "fence_apc"\nparameters = { passwd = "x" }\n'
    assert parsed(text).options.fences
    assert problems(text, private=False) == [
        'conf/options.toml: [fence."node2"] holds a password, and others than its owner may read the file; chmod 600 it'
    ]
    assert parsed(text.replace("passwd", "ip"), private=False).options.fences


def test_a_fence_for_a_node_that_is_not_there_is_a_warning() -> None:
    warnings = parsed('[fence."node3"]\ncommand = ["/x"]\n').warnings
    assert 'conf/options.toml: [fence."node3"] changes nothing: the file nodes has no such node' in map(str, warnings)


def test_without_a_table_there_is_no_method() -> None:
    configuration = parsed("", services="web /bin/web node1 node2 /etc/opensvc/web.stonith\n")
    assert method_for("node2", {}, configuration.cluster) is None
    given = {"node2": FenceMethod(command=("/x",))}
    assert method_for("node2", given, configuration.cluster) is given["node2"]


def test_etcd() -> None:
    etcd = parsed('[etcd]\nendpoints = ["https://10.0.0.1", "https://[fd00::2]:4001"]\n').options.etcd
    assert etcd is not None
    assert etcd.endpoints == (Endpoint("10.0.0.1", 2379, True), Endpoint("fd00::2", 4001, True))
    assert [str(endpoint) for endpoint in etcd.endpoints] == ["https://10.0.0.1:2379", "https://[fd00::2]:4001"]
    assert etcd.prefix == "/ezha"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1: [etcd] names no endpoints"),
        ("endpoints = []", "2: endpoints is no list of addresses"),
        ('endpoints = ["10.0.0.1:2379"]', "which is no address"),
        ('endpoints = ["https://u:p@h"]', "which is no address"),
        ('endpoints = ["https://h:99999"]', "which is no address"),
        ('endpoints = ["https://h/v3"]', "which is no address"),
        ('endpoints = ["https://h", "https://h:2379"]', "names an address twice"),
        ('endpoints = ["https://h"]\ncert = "/c"', "1: [etcd] has cert without key"),
        ('endpoints = ["https://h"]\nuser = "u"', "1: [etcd] has user without password_file"),
        ('endpoints = ["http://h"]\nuser = "u"\npassword_file = "/p"', "over https:// only"),
        ('endpoints = ["http://h"]\ncacert = "/c"', "1: [etcd] has certificates, and an endpoint with http://"),
        ('endpoints = ["https://h"]\nprefix = "ezha"', "3: prefix is no prefix of keys"),
        ('endpoints = ["https://h"]\nuser = "u:p"', "3: user holds a colon"),
        ('endpoints = ["https://h"]\ncacert = "ca.pem"', "3: cacert is 'ca.pem'; give the absolute path"),
    ],
)
def test_what_is_wrong_with_etcd_is_told_once_with_its_line(text: str, words: str) -> None:
    told = problems(f"[etcd]\n{text}\n")
    assert len(told) == 1
    assert words in told[0]


def test_a_protection_by_fencing_needs_a_way_to_fence() -> None:
    services = "web /bin/web node1 node2 /bin/true\n"
    text = 'protection = "stonith"\n'
    with pytest.raises(ConfigError) as caught:
        parsed(text, services=services)
    assert str(caught.value) == (
        'conf/options.toml: protection "stonith" of web needs to fence node2; say how in a table [fence."node2"]'
    )
    assert parsed(text + '[fence."node2"]\ncommand = ["/x"]\n', services=services).options.fences


def test_opensvcs_check_script_is_the_fence_command_where_there_is_no_table() -> None:
    services = "web /bin/web node1 node2 /etc/opensvc/web.stonith\n"
    configuration = parsed('protection = "stonith"\n', services=services)
    method = method_for("node2", {}, configuration.cluster)
    assert method == FenceMethod(command=("/etc/opensvc/web.stonith",))


@pytest.mark.parametrize(("page", "keys"), [("fencing.md", FENCE), ("etcd.md", ETCD)])
def test_the_manual_names_every_key(page: str, keys: Mapping[str, object]) -> None:
    root = Path(__file__).parents[3]
    rows = re.findall(r"(?m)^\| (`.*?) \|", (root / "docs" / page).read_text())
    assert {key for row in rows for key in re.findall(r"`([a-z_]+)`", row)} == set(keys)
    active = re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", (root / "conf/options.toml").read_text())
    report = Report()
    options = parse_options(active, report)
    assert report.problems == ()
    assert options.fences["node2"].agent == "fence_ipmilan"
    assert options.etcd is not None
