"""``ezha check`` and what lies outside: agents, fence commands, etcd."""

import socket
from pathlib import Path

import pytest

from ha.node.config.etcd import Endpoint, EtcdOptions
from ha.node.config.fencing import FenceMethod
from ha.node.config.problems import Report
from ha.node.config.reaching import check_etcd, check_fences, etcd_figures, fence_figures
from tests.unit.node.test_arbiter_gateway import GOOD, HEAD, Reply, gateway, says
from tests.unit.node.test_config_fencing import parsed


def fences(method: FenceMethod, trouble: str = "") -> tuple[list[str], list[str]]:
    report = Report()
    check_fences({"node2": (method, 3)}, lambda path: trouble, report, "conf/options.toml")
    return [str(p) for p in report.problems], [str(w) for w in report.warnings]


def agent(folder: Path, parameters: str) -> str:
    path = folder / "fence_x"
    xml = f"<a><parameters>{parameters}</parameters><actions><action name='off'/><action name='status'/></actions></a>"
    path.write_text(f'#!/bin/sh\n[ "$*" = "-o metadata" ] || exit 9\necho "{xml}"\n')
    path.chmod(0o755)
    return str(path)


def test_an_agent_that_agrees_is_no_news(tmp_path: Path) -> None:
    path = agent(tmp_path, "<parameter name='ip' required='1'/>")
    assert fences(FenceMethod(agent=path, parameters=(("ip", "1"),))) == ([], [])


def test_what_an_agent_does_not_know_is_told_with_the_line(tmp_path: Path) -> None:
    path = agent(tmp_path, "<parameter name='ip' required='1'/>")
    problems, warnings = fences(FenceMethod(agent=path, parameters=(("ipp", "1"),)))
    assert problems == [
        f'conf/options.toml:3: [fence."node2"]: {path} knows no parameter ipp; {path} -o metadata lists what it knows'
    ]
    assert warnings == [f'conf/options.toml:3: [fence."node2"]: {path} wants the parameter ip, which is not given']


def test_an_agent_that_is_not_there_or_says_nothing(tmp_path: Path) -> None:
    problems, _ = fences(FenceMethod(agent="fence_nowhere"), "cannot be run: No such file or directory")
    assert problems == [
        'conf/options.toml:3: [fence."node2"]: agent fence_nowhere: /usr/sbin/fence_nowhere cannot be run: '
        "No such file or directory; the agents are in the package fence-agents"
    ]
    path = tmp_path / "fence_x"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    problems, _ = fences(FenceMethod(agent=str(path)))
    assert "does not tell what it understands: -o metadata ended with exit code 1" in problems[0]


def test_a_command_is_not_run_but_must_be_roots(tmp_path: Path) -> None:
    path = tmp_path / "off"
    path.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    path.chmod(0o755)
    assert fences(FenceMethod(command=(str(path),))) == ([], [])
    path.chmod(0o777)
    problems, _ = fences(FenceMethod(command=(str(path),)))
    assert "may be written by others than root" in problems[0]
    assert not (tmp_path / "ran").exists()


def etcd(options: EtcdOptions) -> tuple[list[str], list[str]]:
    report = Report()
    check_etcd(options, 7, report, "conf/options.toml")
    return [str(p) for p in report.problems], [str(w) for w in report.warnings]


def asked(*replies: Reply) -> tuple[list[str], list[str]]:
    with gateway(*replies) as (made, _):
        return etcd(made._options)


def test_one_cluster_is_no_news() -> None:
    assert asked(GOOD, GOOD) == ([], [])


def test_two_clusters_are_a_problem() -> None:
    problems, _ = asked(GOOD, says(f"{{{HEAD.replace('15875391935852295136', '7')}}}"))
    assert len(problems) == 2
    assert "belongs to the etcd cluster 7, others do not; name the endpoints of one cluster" in problems[1]


def test_one_that_does_not_answer_is_a_warning() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    problems, warnings = etcd(EtcdOptions((Endpoint("127.0.0.1", port, False),)))
    assert (problems, len(warnings)) == ([], 1)
    assert "conf/options.toml:7: [etcd]: http://127.0.0.1" in warnings[0]


def test_a_secret_that_others_may_read_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("x")
    path.chmod(0o644)
    problems, _ = etcd(EtcdOptions((Endpoint("127.0.0.1", 1, True),), user="u", password_file=str(path)))
    assert "password_file" in problems[0]
    assert "chmod 0600" in problems[0]


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_certificates_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(text)
    problems, _ = etcd(EtcdOptions((Endpoint("127.0.0.1", 1, True),), cacert=str(path)))
    assert "cacert, cert or key cannot be used" in problems[0]


def test_the_figures() -> None:
    services = "web /bin/web node1 node2 /bin/true\n"
    options = (
        'protection = "etcd+stonith"\n[fence."node1"]\nagent = "fence_x"\n[fence."node2"]\ncommand = "/off"\n'
        '[etcd]\nendpoints = ["https://10.0.0.1", "https://10.0.0.2", "https://10.0.0.3"]\n'
    )
    found = parsed(options, services=services)
    assert fence_figures(found, "node1") == [
        "fenced by fence_x: off, verified by its status, within 60 s; node2 waits 5 s before"
    ]
    assert fence_figures(found, "node2") == ["fenced by /off: off, within 60 s"]
    assert etcd_figures(found) == [
        "etcd (T = 10 s): a key goes 10 s after its last renewal, which is sent every 1 s; one attempt at one of "
        "3 endpoint(s) takes at most 1 s"
    ]
    assert etcd_figures(parsed("", services=services)) == []
