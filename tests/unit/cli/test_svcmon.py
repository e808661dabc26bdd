"""svcmon's screen: the tutorial's three blocks, to the column."""

from typing import Any

from ha.cli.svcmon import Row, Screen, screen, text_of


def path(node: str, role: str, up: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "node": node, "medium": "net", "device": "eth0", "address": "239.131.50.10", "port": 1234, "offset": 0,
        "role": role, "pid": 77, "up": up, **more,
    }  # fmt: skip


def status(**states: str) -> dict[str, Any]:
    return {
        "node": "node1",
        "peers": [{"node": "node2", "heard": True, "left": False}],
        "services": [{"name": "web", "nodes": [{"node": n, "state": s} for n, s in states.items()]}],
    }


def test_the_layout_is_the_tutorials() -> None:
    threads = (
        Row("hb#1.rx", "running", "0.0.0.0:10000", ("/",)),
        Row("hb#1.tx", "running", "", ("/",)),
        Row("listener", "running", "0.0.0.0:1214"),
        Row("monitor", "running"),
        Row("scheduler", "running"),
    )
    shown = Screen(("node1",), threads, (Row("15m", cells=("0.05",)), Row("state", cells=("",))), ())
    assert text_of(shown) == (
        "Threads                            node1\n"
        " hb#1.rx   running 0.0.0.0:10000 | /\n"
        " hb#1.tx   running               | /\n"
        " listener  running 0.0.0.0:1214\n"
        " monitor   running\n"
        " scheduler running\n"
        "\n"
        "Nodes                              node1\n"
        " 15m                             | 0.05\n"
        " state                           |\n"
        "\n"
        "Services                           node1"
    )


def test_threads_nodes_and_services_of_two_nodes() -> None:
    paths = [
        path("node1", "sender"),
        path("node1", "sender", medium="dio", device="/dev/sdb"),
        path("node2", "listener", port=4321),
        path("node2", "listener", up=False, medium="dio", device="/dev/sdb", offset=2),
    ]
    local = {"web": {"overall": "up", "avail": "up", "nodes": ["node1", "node2"], "trouble": ""}}
    text = text_of(screen("node1", 0.05, status(node1="STARTED", node2="FROZEN_STOP"), paths, local))
    assert text.splitlines() == [
        "Threads                               node1 node2",
        " hb#1.rx running 239.131.50.10:4321 | /     O",
        " hb#1.tx running 239.131.50.10:1234 | /",
        " hb#2.rx running /dev/sdb:2         | /     X",
        " hb#2.tx running /dev/sdb:0         | /",
        " monitor running",
        "",
        "Nodes                                 node1 node2",
        " 15m                                | 0.05",
        " state                              |",
        "",
        "Services                              node1 node2",
        " web     up      cluster            | O^    X*",
    ]


def test_without_nmond_the_rest_is_shown() -> None:
    local = {"web": {"overall": "down", "avail": "down", "nodes": ["node2", "node1"], "trouble": ""}}
    text = text_of(screen("node1", 1.0, None, [], local))
    assert " monitor stopped\n" in text
    assert text.endswith(" web     down    | X     ?^")


def test_nodes_that_are_silent_or_gone_say_so() -> None:
    answer = status(node1="STOPPED", node2="STARTED", node3="STARTING")
    answer["peers"] = [
        {"node": "node2", "heard": False, "left": False},
        {"node": "node3", "heard": False, "left": True},
    ]
    lines = text_of(screen("node1", 1.0, answer, [], {})).splitlines()
    assert lines[5] == " state                   |       silent left"
    assert lines[8] == " web             cluster | X^    O      >"


def test_colours_are_only_beside_the_letters() -> None:
    text = text_of(screen("node1", 1.0, status(node1="STARTED", node2="STOP_FAILED"), [], {}), colour=True)
    assert "\x1b[32mO^\x1b[0m" in text
    assert "\x1b[33m!\x1b[0m" in text
