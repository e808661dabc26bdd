"""The one parser: what an operator wrote is taken as it was meant, or refused with the line and what to do."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.heartbeats import codec
from ha.heartbeats.envelope import MAX_SIZE
from ha.heartbeats.media.guard import MARK
from ha.node.config import ConfigError, Configuration, Texts, load, parse
from ha.node.config.monitor import MAX_LINES
from ha.node.config.nodes import MAX_NODES
from ha.node.config.services import MAX_SERVICES
from ha.node.config.sizes import smallest_room
from ha.node.layout import Layout

DISK = "/dev/mapper/14f504e46494c45526967724d32682d553243692d4f336a4c"
NODES = "node1\nnode2\n"
MONITOR = f"""node1 net eth0 239.131.50.10 1234 10
node1 dio {DISK} 0 10
node2 net eth0 239.131.50.10 4321 10
node2 dio {DISK} 2 10
"""
SERVICES = "p26.opensvc.com\t/etc/opensvc/p26.opensvc.com.cluster\tnode1\tnode2\t/bin/true\n"


def configuration(**texts: str) -> Configuration:
    return parse(Texts(**{"nodes": NODES, "monitor": MONITOR, "services": SERVICES, **texts}), "node1")


def wrong(**texts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configuration(**texts)
    return [str(p) for p in caught.value.problems]


def only(**texts: str) -> str:
    found = wrong(**texts)
    assert len(found) == 1, found
    return found[0]


def warnings(**texts: str) -> list[str]:
    return [str(p) for p in configuration(**texts).warnings]


# ------------------------------------------------------------------------------------------ as meant


def test_the_tutorials_files() -> None:
    found = configuration()
    assert found.warnings == ()
    assert found.cluster.nodes == ("node1", "node2")
    assert [line.label for line in found.lines] == [
        "eth0:239.131.50.10:1234",
        f"{DISK}:0",
        "eth0:239.131.50.10:4321",
        f"{DISK}:2",
    ]
    assert [(line.node, line.index, line.slot_blocks) for line in found.lines] == [
        ("node1", 0, 0),
        ("node1", 1, 2),
        ("node2", 0, 0),
        ("node2", 1, 2),
    ]
    service = found.cluster.services["p26.opensvc.com"]
    assert service.script == "/etc/opensvc/p26.opensvc.com.cluster"
    assert (service.nodes, service.check_script) == (("node1", "node2"), "/bin/true")
    assert found.cluster.timeout_of("node1") == 10
    assert found.cluster.period_of("node1") == 1


def test_comments_blank_lines_blanks_and_windows_ends_do_not_count() -> None:
    plain = configuration()
    commented = configuration(
        nodes="# ours\n\nnode1\t# the old one\r\n  node2\n",
        monitor="#x\n\n" + MONITOR.replace(" ", " \t ").replace("\n", " # why\r\n"),
        services="\n" + SERVICES.replace("\t", "   "),
    )
    assert commented == plain


def test_a_secondary_may_be_a_list_in_its_order() -> None:
    nodes = "node1\nnode2\nnode3\n"
    found = configuration(nodes=nodes, services="web /web node3 node1,node2 /bin/true\n")
    assert found.cluster.services["web"].nodes == ("node3", "node1", "node2")


@pytest.mark.parametrize("timeout", ["0.2", "0.33", "2", "119.999", "120"])
def test_timeouts_may_be_fractions(timeout: str) -> None:
    found = configuration(monitor=f"node1 net eth0 239.1.1.1 1 {timeout}\nnode2 net eth0 239.1.1.1 2 10\n")
    assert found.lines[0].timeout == float(timeout)
    assert found.lines[0].text.endswith(f" {timeout}")


@pytest.mark.parametrize(
    ("medium", "address"),
    [
        ("net", "224.0.0.1"),
        ("net", "239.255.255.255"),
        ("net", "ff02::e2a"),
        ("unicast", "10.0.0.2"),
        ("unicast", "fe80::1"),
        ("unicast", "127.0.0.1"),
    ],
)
def test_addresses_of_both_families(medium: str, address: str) -> None:
    found = configuration(monitor=f"node1 {medium} eth0 {address} 1 10\nnode2 net eth0 239.1.1.1 2 10\n")
    assert found.lines[0].address == address


# ------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("node1 net eth0 239.1.1.1 1 0.1", "timeout 0.1 is below 0.2 s; give 0.2 to 120 s"),
        ("node1 net eth0 239.1.1.1 1 120.5", "timeout 120.5 is above 120 s; give 0.2 to 120 s"),
        ("node1 net eth0 239.1.1.1 1 1e1", "timeout 1e1 is not a number of seconds"),
        ("node1 net eth0 239.1.1.1 1 inf", "timeout inf is not"),
        ("node1 net eth0 239.1.1.1 1 0.2001", "at most three decimals"),
        ("node1 net eth0 239.1.1.1 1 -1", "timeout -1 is not"),
        ("node1 net eth0 239.1.1.1 0 10", "port 0 is not a number from 1 to 65535"),
        ("node1 net eth0 239.1.1.1 65536 10", "port 65536"),
        ("node1 net eth0 239.1.1.1 +1 10", "port +1"),
        ("node1 net eth0 10.0.0.1 1 10", "address 10.0.0.1 is not a multicast address"),
        ("node1 net eth0 fe80::1 1 10", "is not a multicast address"),
        ("node1 net eth0 239.1.1 1 10", "is not an IPv4 or IPv6 address"),
        ("node1 net eth0 node2 1 10", "host names are not looked up"),
        ("node1 net eth0 ff02::1%eth0 1 10", "leave it out"),
        ("node1 unicast eth0 239.1.1.1 1 10", "is a multicast address; unicast needs"),
        ("node1 unicast eth0 ff02::1 1 10", "is a multicast address; unicast needs"),
        ("node1 unicast eth0 0.0.0.0 1 10", "not the address of one host"),
        ("node1 unicast eth0 :: 1 10", "not the address of one host"),
        ("node1 unicast eth0 255.255.255.255 1 10", "not the address of one host"),
        ("node1 unicast eth0 ::ffff:10.0.0.1 1 10", "write it as IPv4"),
        ("node1 net eth0:1 239.1.1.1 1 10", "give the interface, eth0"),
        ("node1 net ../../x 239.1.1.1 1 10", "is no interface name"),
        ("node1 net averyveryverylongname 239.1.1.1 1 10", "is no interface name"),
        ("node1 net eth0 239.1.1.1 1", "5 words instead of 6"),
        ("node1 net eth0 239.1.1.1 1 10 x", "7 words instead of 6"),
        ("node1 dio sdb 0 10", "device sdb is not a plain absolute path"),
        ("node1 dio /dev/../etc/passwd 0 10", "is not a plain absolute path"),
        ("node1 dio /dev/sdb -2 10", "offset -2 is not a number"),
        ("node1 dio /dev/sdb 0x10 10", "offset 0x10 is not a number"),
        ("node1 dio /dev/sdb 9999999999999 10", "offset 9999999999999 is not a number"),
        ("node1 dio /dev/sdb 0", "4 words instead of 5"),
        ("node1 serial /dev/ttyS0 0 10", "medium serial is unknown; the form is"),
        ("node1", "a single word; the form is"),
        ("node9 net eth0 239.1.1.1 1 10", "node node9 is not in the file nodes (there: node1, node2)"),
        ("node1 net eth0 239.1.1.1 1 \x1b[2J", "control or other unprintable character"),
        ("node1 " + "x" * 2000, "the line has 2006 characters"),
    ],
)
def test_a_wrong_line_of_monitor_is_refused_where_it_stands(line: str, says: str) -> None:
    message = only(monitor=f"# paths\n{line}\nnode2 net eth0 239.1.1.1 2 10\n")
    assert message.startswith("conf/monitor:2: ")
    assert says in message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("web /web node1 node2", "4 words instead of 5; the form is NAME SCRIPT PRIMARY SECONDARY CHECK_SCRIPT"),
        ("web /web node1 node2 /bin/true x", "6 words instead of 5"),
        ("../web /web node1 node2 /bin/true", "service name '../web' begins with '.'"),
        ("we/b /web node1 node2 /bin/true", "has a character other than"),
        ("-web /web node1 node2 /bin/true", "begins with '-'"),
        ("w" * 65 + " /web node1 node2 /bin/true", "is longer than 64 characters"),
        ("web web node1 node2 /bin/true", "script web is not an absolute path"),
        ("web /web node1 node2 true", "check script true is not an absolute path"),
        ("web /web node1 node1 /bin/true", "node node1 is named twice"),
        ("web /web node1 node2,node2 /bin/true", "node node2 is named twice"),
        ("web /web node1 node3 /bin/true", "secondary node node3 is not in the file nodes (there: node1, node2)"),
        ("web /web node3 node1 /bin/true", "primary node node3 is not in the file nodes"),
        ("web /web node1 node2, /bin/true", "a secondary node is empty"),
        ("web /web node1,node2 node2 /bin/true", "primary node1,node2 is a list"),
    ],
)
def test_a_wrong_line_of_services_is_refused_where_it_stands(line: str, says: str) -> None:
    message = only(services=f"{SERVICES}{line}\n")
    assert message.startswith("conf/services:2: ")
    assert says in message


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ("node1\nnode2\nnode1\n", "conf/nodes:3: node node1 stands already on line 1; remove one"),
        ("node1 node2\nnode2\nnode1\n", "conf/nodes:1: 2 words; give one node name"),
        ("node1\nnode2\n-x\n", "conf/nodes:3: node name '-x' begins with '-'"),
        ("node1\nnode2\n" + "".join(f"n{i}\n" for i in range(15)), "conf/nodes:17: more than 16 lines"),
    ],
)
def test_wrong_nodes_are_refused(nodes: str, says: str) -> None:
    assert only(nodes=nodes).startswith(says)


def test_no_node_at_all_is_refused() -> None:
    assert "conf/nodes: names no node; give the name (uname -n) of each node, one a line" in wrong(nodes="# none\n")


def test_a_node_that_is_not_listed_itself_would_never_send() -> None:
    texts = Texts(NODES, MONITOR)
    with pytest.raises(ConfigError, match=r"this node, node9 \(uname -n\), is not listed; write"):
        parse(texts, "node9")
    with pytest.raises(ConfigError, match=r"is not listed; node1 is, which differs from it"):
        parse(texts, "node1.example.com")


def test_two_names_with_one_short_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ha.node.config.nodes.node_id", lambda name: 7)
    assert wrong()[0] == "conf/nodes:2: node node2 has the same short id as node node1; rename one of them"


def test_two_services_with_one_short_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ha.fsm.config.service_id", lambda *parts: 7)
    message = only(services="a /a node1 node2 /bin/true\nb /b node1 node2 /bin/true\n")
    assert message == "conf/services:2: service b has the same short id as service a; rename one of them"


def test_every_problem_of_every_file_is_told_at_once() -> None:
    found = wrong(
        nodes=NODES + ".x\n",
        monitor=MONITOR + "node1 net\n",
        services="web\n" + SERVICES + SERVICES,
        options="foo = 1\nttl = 0\n",
        logfacility="mars\n",
    )
    assert [message.split(": ")[0] for message in found] == [
        "conf/options.toml:1",
        "conf/options.toml:2",
        "conf/logfacility:1",
        "conf/nodes:3",
        "conf/monitor:5",
        "conf/services:1",
        "conf/services:3",
    ]
    assert found[-1].endswith("service p26.opensvc.com stands already on line 2; remove one")


def test_thousands_of_problems_are_counted_not_told() -> None:
    found = wrong(services="x\n" * 500)
    assert len(found) == 101
    assert found[-1] == "conf/services: and 400 more problems; mend these first"


def test_more_services_than_supported_are_refused() -> None:
    lines = [f"s{i} /s node1 node2 /bin/true\n" for i in range(1001)]
    net = "node1 net eth0 239.1.1.1 1 10\nnode2 net eth0 239.1.1.1 2 10\n"
    assert len(configuration(monitor=net, services="".join(lines[:1000])).cluster.services) == 1000
    assert "conf/services:1001: more than 1000 lines" in only(monitor=net, services="".join(lines))


def test_more_paths_than_supported_are_refused() -> None:
    lines = [f"node1 net eth0 239.1.1.1 {port} 10\n" for port in range(1, 66)]
    assert "conf/monitor:65: more than 64 lines" in only(monitor="".join(lines))


# --------------------------------------------------------------------------------------------- paths


def test_the_same_path_twice_is_refused_however_it_is_spelt() -> None:
    monitor = "node1 unicast eth0 fe80::1 5 10\nnode2 net eth0 239.1.1.1 1 10\nnode1 unicast eth0 fe80:0::0001 5 20\n"
    assert only(monitor=monitor).startswith("conf/monitor:3: node node1 has the path eth0:fe80:0::0001:5 on line 1")


def test_two_nodes_in_one_slot_are_refused() -> None:
    message = only(monitor=f"node1 dio {DISK} 2 10\nnode2 disk {DISK} 2 10\n")
    assert message.startswith(f"conf/monitor:2: {DISK}:2 is the slot of node node1 (line 1)")


def test_two_nodes_that_send_to_one_group_and_port_are_warned_of() -> None:
    found = warnings(monitor="node1 net eth0 ff02::1 5 10\nnode2 net eth0 ff02:0::1 5 10\n")
    assert found == [
        "conf/monitor:2: node2 and node1 (line 1) both send to eth0:ff02:0::1:5; give each node a port of its own"
    ]
    assert warnings(monitor="node1 net eth0 ff02::1 5 10\nnode2 net eth1 ff02::1 5 10\n") == []


def test_a_node_that_sends_nothing_is_warned_of() -> None:
    found = warnings(monitor="node1 net eth0 239.1.1.1 5 10\n")
    assert found == ["conf/monitor: node node2 has no line: it sends nothing, the others will take it for dead"]


def slots(offsets: list[int], options: str = "") -> list[int]:
    monitor = "".join(f"node{1 + i % 2} dio /dev/x {offset} 10\n" for i, offset in enumerate(offsets))
    return [line.slot_blocks for line in configuration(monitor=monitor, options=options).lines]


def test_a_slot_reaches_to_the_next_offset_in_whatever_order_they_stand() -> None:
    assert slots([0, 2]) == [2, 2]
    assert slots([16, 0, 8]) == [8, 8, 8]
    assert slots([0, 2, 10]) == [2, 8, 2]
    assert slots([4]) == [2]


def test_a_slot_is_never_larger_than_a_worker_reads() -> None:
    assert slots([0, 1_000_000]) == [128, 128]


def test_slots_on_two_devices_do_not_meet() -> None:
    found = configuration(monitor="node1 dio /dev/x 0 10\nnode2 dio /dev/y 0 10\n")
    assert [line.slot_blocks for line in found.lines] == [2, 2]


def test_a_slot_can_be_set_but_not_over_the_next_offset() -> None:
    assert slots([0, 16], "slot = 8") == [8, 8]
    assert slots([0, 16], '[path."/dev/x:16"]\nslot = 4') == [16, 4]
    with pytest.raises(ConfigError, match=r"conf/monitor:1: a slot of 3 blocks .* overlaps offset 2; set slot to 2"):
        slots([0, 2], "slot = 3")


def test_a_slot_that_cannot_hold_the_largest_heartbeat_is_refused() -> None:
    """128 services fit between the tutorial's offsets; far more do not, and nothing is ever cut."""

    def many(count: int) -> str:
        return "".join(f"s{i} /s node1 node2 /bin/true\n" for i in range(count))

    assert configuration(services=many(128)).warnings == ()
    found = wrong(services=many(200))
    assert [message.split(": ")[0] for message in found] == ["conf/monitor:2", "conf/monitor:4"]
    assert "has room for 1020 bytes, a heartbeat of node1 can have" in found[0]
    assert found[0].endswith("leave 3 blocks to the next offset, or set slot")


def test_a_slot_that_was_set_must_hold_the_largest_heartbeat_and_the_mark_of_force() -> None:
    """Room is what ``slot`` says, not what lies up to the next offset; its last bytes belong to ``hb -a --force``."""
    size = codec.max_size(128, [2])
    many = "".join(f"s{i} /s node1 node2 /bin/true\n" for i in range(128))
    found = wrong(monitor=MONITOR.replace(" 2 10", " 64 10"), services=many, options="slot = 1\n")
    told = f"the slot at {DISK}:0 has room for 508 bytes, a heartbeat of node1 can have {size}"
    assert found[0] == f"conf/monitor:2: {told}; leave 2 blocks to the next offset, or set slot"
    for services in range(1, 60):
        text = "".join(f"s{i} /s node1 node2 /bin/true\n" for i in range(services))
        fits = codec.max_size(services, [2]) + len(MARK) <= 512
        if fits:
            assert configuration(services=text, options="slot = 1\n").lines[1].slot_blocks == 1
        else:
            assert len(wrong(services=text, options="slot = 1\n")) == 2


def test_more_services_than_a_heartbeat_can_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"s{i} /s node1 node2 /bin/true\n" for i in range(1001))
    assert only(services=text) == "conf/services:1001: more than 1000 lines; at most 1000 are supported"
    monkeypatch.setattr("ha.heartbeats.codec.MAX_SERVICES", 1)
    told = wrong(services="a /a node1 node2 /bin/true\nb /b node1 node2 /bin/true\n")
    assert told == [
        f"conf/services: {node} has 2 services, a heartbeat names at most 1; take some out, or make two clusters of it"
        for node in ("node1", "node2")
    ]


def test_a_heartbeat_larger_than_a_datagram_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ha.node.config.sizes.MAX_SIZE", 100)
    size = codec.max_size(1, [2])
    assert wrong()[0] == (
        f"conf/services: a heartbeat of node1 can have {size} bytes, a datagram at most 100; take some services out, "
        "or make two clusters of it"
    )


def test_what_the_files_allow_fits_into_a_datagram_and_a_slot() -> None:
    """The limits of the parsers are the stricter ones: nobody meets those of the message."""
    assert MAX_SERVICES <= codec.MAX_SERVICES
    assert MAX_NODES <= codec.MAX_NODES
    assert MAX_LINES <= codec.MAX_PATHS
    largest = codec.max_size(MAX_SERVICES, [MAX_LINES] * MAX_NODES, handovers=MAX_SERVICES, generation_bytes=4)
    assert largest <= MAX_SIZE
    assert codec.max_size(MAX_SERVICES, [4] * (MAX_NODES - 1)) <= 128 * 512 - len(MARK)


def test_a_heartbeat_has_the_room_of_the_smallest_slot_that_its_node_writes() -> None:
    found = configuration(monitor=f"{MONITOR}node1 dio /dev/x 0 10\nnode2 dio /dev/x 1 10\n")
    assert smallest_room(found.lines, "node1") == 512 - len(MARK)
    assert smallest_room(configuration().lines, "node2") == 1024 - len(MARK)
    assert smallest_room(configuration(monitor="node1 net eth0 239.0.0.1 1 10\n").lines, "node1") == MAX_SIZE


# ------------------------------------------------------------------------------------------- on disk


def test_the_files_are_read_from_their_places(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/nodes").write_text(NODES)
    (tmp_path / "elsewhere").write_text(MONITOR)
    (tmp_path / "conf/monitor").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "conf/services").write_text(SERVICES)
    assert load(layout, "node1") == configuration()
    (tmp_path / "conf/logfacility").write_text("LOCAL3\n")
    (tmp_path / "conf/options.toml").write_text('cluster = "c"')
    found = load(layout, "node1")
    assert (found.options.facility, found.cluster.cluster) == ("local3", "c")


def test_files_that_are_missing_or_unreadable_are_named(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/monitor").mkdir()
    (tmp_path / "conf/services").write_bytes(b"# a\n\xff\n")
    with pytest.raises(ConfigError) as caught:
        load(layout, "node1")
    assert [str(p) for p in caught.value.problems] == [
        "conf/nodes: does not exist; write the name (uname -n) of each node, one a line",
        "conf/monitor: cannot be read: is not a regular file",
        "conf/services:2: byte 0xff is not UTF-8; write the file in UTF-8",
    ]


def test_a_huge_file_is_refused_unread() -> None:
    asked: list[int] = []

    def read(path: str, limit: int) -> bytes:
        asked.append(limit)
        return b"#" * (limit + 1)

    with pytest.raises(ConfigError, match="is larger than 1048576 bytes"):
        load(Layout(), "node1", read)
    assert set(asked) == {1024 * 1024}


# ---------------------------------------------------------------------------------------------- fuzz

GOOD_WORDS = ["node1", "node2", "net", "unicast", "dio", "disk", "eth0", "239.1.1.1", "ff02::1", "10.0.0.1", "/dev/x"]
ODD_WORDS = ["1", "0", "2", "1234", "10", "0.2", "/a", "web", "#", "node1,node2", "..", "\x00", "\ud800", "²", "-1"]
WORDS = st.sampled_from(GOOD_WORDS + ODD_WORDS)
FILE = st.one_of(
    st.text(max_size=200),
    st.lists(st.lists(WORDS, max_size=7).map(" ".join), max_size=8).map("\n".join),
)


@given(FILE, FILE, FILE, st.text(max_size=100))
def test_no_text_makes_a_parser_raise_anything_but_a_config_error(
    nodes: str, monitor: str, services: str, f: str
) -> None:
    for texts in (Texts(nodes, monitor, services, "", f), Texts(NODES, monitor, services, "", "")):
        try:
            found = parse(texts, "node1")
        except ConfigError as error:
            assert error.problems
            assert all(p.text and "\n" not in p.text for p in error.problems)
        else:
            check_what_a_configuration_promises(found)


def check_what_a_configuration_promises(found: Configuration) -> None:
    nodes = found.cluster.nodes
    assert "node1" in nodes
    for line in found.lines:
        assert line.node in nodes
        assert 0.2 <= line.timeout <= 120
        assert 1 <= line.slot_blocks <= 128 if line.is_disk else 1 <= line.port <= 65535
    for name, service in found.cluster.services.items():
        assert name == service.name
        assert "/" not in name
        assert not name.startswith((".", "-"))
        assert len(set(service.nodes)) == len(service.nodes) >= 2
        assert set(service.nodes) <= set(nodes)


@given(st.permutations(MONITOR.splitlines()))
def test_the_order_of_lines_changes_no_slot_and_the_digest_only_where_it_is_that_of_a_node(lines: list[str]) -> None:
    usual = configuration()
    found = configuration(monitor="\n".join(lines))
    assert {line.label: line.slot_blocks for line in found.lines} == {li.label: li.slot_blocks for li in usual.lines}
    # The lines of a node are acknowledged by their place among them.
    same = all(
        [line for line in lines if line.startswith(node)]
        == [line for line in MONITOR.splitlines() if line.startswith(node)]
        for node in NODES.split()
    )
    assert (found.cluster.paths_digest == usual.cluster.paths_digest) is same
