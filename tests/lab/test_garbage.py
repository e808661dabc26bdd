"""What comes from outside and is not what it should be is refused with one clear line, counted, and changes nothing."""

import os
import random
import re
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ha.fsm.identity import cluster_id, node_id
from ha.heartbeats.envelope import MAX_SIZE, seal
from ha.heartbeats.keys import Key, KeyRing
from ha.heartbeats.replay import OLD
from ha.lab.plan import DISK
from tests.lab.conftest import wait_for
from tests.lab.pair import BIN, NODES, Pair, boottime, standing
from tests.lab.stranger import (
    CLUSTER,
    FLOOD,
    OFFSETS,
    PORTS,
    SEND,
    SLOT,
    Done,
    assert_none_missed,
    client,
    counts,
    message_of,
    path_of,
    refused,
    ring_of,
)

T = 1.0
FLOOD_PER_S, FLOOD_S = 10_000, 2


@pytest.fixture(scope="module")
def shared() -> Iterator[Pair]:
    with standing(T, ("web",)) as pair:
        web = pair.services["web"]
        web.take()
        wait_for(lambda: (web.state("node1", of="node2"), web.state("node2", of="node1")) == ("STOPPED", "STARTED"))
        yield pair


@pytest.fixture
def pair(shared: Pair) -> Iterator[Pair]:
    """Whatever a test throws at the nodes: states, records, processes and paths are after it what they were before."""
    shared.wait_all_up()
    before = {node: _kept(shared, node) for node in NODES}
    since = boottime()
    yield shared
    shared.lab.heal()
    shared.wait_all_up()
    wait_for(lambda: {node: _kept(shared, node) for node in NODES} == before, what="all is as it was")
    assert [shared.services["web"].transitions(node, since) for node in NODES] == [[], []]
    assert shared.services["web"].running() == ["node1"]


def _kept(pair: Pair, node: str) -> dict[str, object]:
    states = pair.cluster(node, "services")
    files = {path.relative_to(states): _lasting(path.read_bytes()) for path in states.rglob("*") if path.is_file()}
    conf = {path.name: path.read_bytes() for path in pair.cluster(node, "conf").iterdir()}
    return {"files": files, "conf": conf, "nmond": pair.nmond(node), "workers": len(pair.workers(node))}


def _lasting(content: bytes) -> bytes:
    """Without what a record says of the last message of each node, which changes with every message, and of the disks
    that are proven to be shared: a slot with other bytes in it is one no more, until it is proven anew."""
    return re.sub(rb'"heard":\[.*?\]\],|"shared":\[.*?\],|sha256 .*', b"", content)


def garbage(draw: random.Random, real: bytes, node: str, ring: KeyRing) -> Iterator[bytes]:
    """Datagrams that are no message of ``node``, of every kind; some are signed with its key all the same."""
    yield b""
    for size in (1, 15, 16, 100, 1_400, 9_000, MAX_SIZE):
        yield draw.randbytes(size)
        yield bytes(size)
        yield b"\xff" * size
    for at in range(0, len(real), 7):
        yield real[:at]
        yield real[:at] + bytes([real[at] ^ 1 << draw.randrange(8)]) + real[at + 1 :]
    yield real + b"\0"
    yield real * 2
    yield b"EZH\2" + real[4:]
    yield real[:4] + b"\xff\xff" + real[6:]
    # Whole, and yet not to be accepted: what is in it, whose it is, from where.
    for size in (0, 1, 40, 5_000, 60_000):
        yield seal(draw.randbytes(size), CLUSTER, node_id(node), ring)
    yield seal(b"\x9b" + b"\xc4\xff" * 3, CLUSTER, node_id(node), ring)
    yield seal(b"\x91" * 60_000, CLUSTER, node_id(node), ring)
    yield seal(draw.randbytes(40), cluster_id("another"), node_id(node), ring)
    yield seal(draw.randbytes(40), CLUSTER, node_id("node9"), ring)
    # Whole, and signed by nobody, or with another key.
    yield seal(draw.randbytes(40), CLUSTER, node_id(node))
    stranger = Key(draw.randbytes(32))
    yield seal(draw.randbytes(40), CLUSTER, node_id(node), KeyRing((stranger,), stranger.id))


def at_once(run: Callable[[tuple[str, ...]], Done], argvs: Sequence[tuple[str, ...]]) -> list[Done]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, argvs))


# ------------------------------------------------------------------------------------------------ heartbeats


@pytest.mark.parametrize(("owner", "hearer"), [NODES, NODES[::-1]])
def test_datagrams(pair: Pair, owner: str, hearer: str) -> None:
    seed = secrets.randbits(32)
    thrown = list(garbage(random.Random(seed), message_of(pair, owner), owner, ring_of(pair)))
    before = refused(pair, hearer, "net", owner)
    client(pair, SEND, thrown, str(PORTS[owner]))
    wait_for(lambda: refused(pair, hearer, "net", owner) - before == len(thrown), what=f"all are counted, seed {seed}")
    assert [pair.down(node) for node in NODES] == [[], []]
    shown = pair.run(hearer, "hb", "-s", "--long").stdout.splitlines()
    assert any("refused: " in line for line in shown), shown
    # Each kind has a name, and a stranger can invent none.
    reasons = path_of(pair, hearer, "net", owner)["refused"]
    assert 4 <= len(reasons) <= 20, reasons


def test_old_messages_sent_anew_make_nobody_look_alive(pair: Pair) -> None:
    """They are whole and truly node2's; node1 has had them before."""
    old = message_of(pair, "node2")
    nmond, since, before = pair.need_nmond("node2"), boottime(), refused(pair, "node1", "net", "node2")
    pair.kill(nmond, signal.SIGSTOP)
    try:
        client(pair, FLOOD, [old], str(PORTS["node2"]), "100", f"{3 * T}")
        assert pair.down("node1") == ["net node2", "dio node2"]
        assert any(text.startswith("node2 is silent") for text in pair.texts("node1", "", since))
        wait_for(lambda: refused(pair, "node1", "net", "node2") >= before + 100)
        assert path_of(pair, "node1", "net", "node2")["refused"][OLD] >= 100
    finally:
        pair.kill(nmond, signal.SIGCONT)


def test_blocks(pair: Pair) -> None:
    """Written into node2's slot, whose own writes do not get there; node1 looks at each of them once."""
    seed = secrets.randbits(32)
    real = message_of(pair, "node2")
    kinds = [
        each.ljust(SLOT, b"\0")
        for each in garbage(random.Random(seed), real, "node2", ring_of(pair))
        if len(each) <= SLOT
    ]
    # An empty slot says nothing, and zeros behind a message are what belongs there.
    kinds = [each for each in kinds if any(each) and each.rstrip(b"\0") != real.rstrip(b"\0")]
    pair.lab.set_disk_fault("node2", "lost")
    with open(f"{pair.lab.folder}/disk.img", "r+b", buffering=0) as disk:
        for block in [*kinds[::6], message_of(pair, "node1").ljust(SLOT, b"\0")]:
            before = refused(pair, "node1", "dio", "node2")
            os.pwrite(disk.fileno(), block, OFFSETS["node2"])
            wait_for(
                lambda before=before: refused(pair, "node1", "dio", "node2") > before, what=f"{block!r} is counted"
            )
    assert pair.down("node1") == ["dio node2"]
    assert pair.down("node2") == []


def test_a_slot_that_holds_something_foreign_is_not_written(pair: Pair) -> None:
    """Not before somebody has said that nobody needs it, in the words that ezha gives."""
    foreign = b"somebody's data".ljust(SLOT, b"!")
    writer = next(each for title, each in pair.workers("node2").items() if "/heartd_dio " in title)
    pair.kill(writer, signal.SIGSTOP)
    with open(f"{pair.lab.folder}/disk.img", "r+b", buffering=0) as disk:
        os.pwrite(disk.fileno(), foreign, OFFSETS["node2"])
        pair.kill(writer)
        said = wait_for(lambda: path_of(pair, "node2", "dio", "node2")["trouble"])
        assert "is not written: the slot holds something that is not ezha's" in said
        wait_for(lambda: pair.down("node1") == ["dio node2"])
        assert os.pread(disk.fileno(), SLOT, OFFSETS["node2"]) == foreign
    command = said.rpartition("if nobody needs it: ")[2].split()
    done = pair.run("node2", *command)
    assert done.returncode == 0, done
    pair.wait_all_up()


def test_a_flood(pair: Pair) -> None:
    """10,000 packets a second on the port of each node's heartbeats: not one of these is missed."""
    draw = random.Random(1)
    thrown = [draw.randbytes(draw.randrange(20, 1_000)) for _ in range(200)]
    thrown += [seal(draw.randbytes(60), cluster_id("another"), node_id("node1")) for _ in range(50)]

    since, before = boottime(), counts(pair)
    for node in NODES:
        done = client(pair, FLOOD, thrown, str(PORTS[node]), str(FLOOD_PER_S), str(FLOOD_S))
        assert int(done.stdout) >= FLOOD_PER_S * FLOOD_S * 0.9
    after = counts(pair)
    assert_none_missed(before, after, FLOOD_S / T)
    for node, owner, look in (("node2", "node1", 1), ("node1", "node2", 2)):
        assert sum(after[look][owner]["refused"].values()) >= FLOOD_PER_S, node
    assert [pair.down(node) for node in NODES] == [[], []]
    for node in NODES:
        assert not [text for text in pair.texts(node, "", since) if "silent" in text or "scheduled" in text]


# -------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("name", ["../web", "/etc/passwd", "..", "-x", "w" * 65])
def test_a_service_that_cannot_be_called_so(pair: Pair, name: str) -> None:
    argvs = [
        ("service", "-A", name, "unfreeze"),
        ("service", "-a", name, "/bin/true", "node1", "node2", "/bin/true"),
        ("service", "-i", name),
        ("service", "-r", name),
        ("ezha", "why", name),
        ("ezha", "switch", name),
    ]
    for argv, done in zip(argvs, at_once(lambda argv: pair.run("node1", *argv), argvs), strict=True):
        assert done.returncode in (1, 2), (argv, done)
        assert done.stdout == ""
        first, *rest = done.stderr.splitlines()
        assert len(first) < 300
        # A wrong command line is followed by the right one, and nothing else is by anything.
        assert done.returncode == 2 or not rest, done.stderr


# --------------------------------------------------------------------------------------------- configuration

WRONG = [
    # file, line, words of the complaint
    ("monitor", "node1 net eth0 239.1.1.1 1 0.1", "timeout 0.1 is below 0.2 s"),
    ("monitor", "node1 net eth0 239.1.1.1 1 ten", "timeout ten is not a number of seconds"),
    ("monitor", "node1 net eth0 239.1.1.1 65536 10", "port 65536"),
    ("monitor", "node1 net eth0 10.0.0.1 1 10", "is not a multicast address"),
    ("monitor", "node1 net eth0 node2 1 10", "host names are not looked up"),
    ("monitor", "node1 net ../../x 239.1.1.1 1 10", "is no interface name"),
    ("monitor", "node1 net eth0 239.1.1.1 1", "5 words instead of 6"),
    ("monitor", "node1 unicast eth0 239.1.1.1 1 10", "unicast needs the address of the other node"),
    ("monitor", "node1 dio /dev/../etc/passwd 8 10", "is not a plain absolute path"),
    ("monitor", "node1 dio /dev/sdb -2 10", "offset -2 is not a number"),
    ("monitor", f"node2 dio {DISK} 0 1", "is the slot of node node1"),
    ("monitor", "node1 net eth0 239.131.50.10 1234 1", "has the path eth0:239.131.50.10:1234 on line"),
    ("monitor", "node1 serial /dev/ttyS0 0 10", "medium serial is unknown"),
    ("monitor", "node9 net eth0 239.1.1.1 1 10", "node node9 is not in the file nodes"),
    ("monitor", "node1 net eth0 239.1.1.1 1 \x1b[2J", "control or other unprintable character"),
    ("monitor", "node1 " + "x" * 2000, "the line has 2006 characters"),
    ("services", "../mail /mail node1 node2 /bin/true", "service name '../mail' begins with '.'"),
    ("services", "a/../mail /mail node1 node2 /bin/true", "has a character other than"),
    ("services", "mail /mail node1 node2", "4 words instead of 5"),
    ("services", "mail mail node1 node2 /bin/true", "script mail is not an absolute path"),
    ("services", "mail /mail node1 node2 true", "check script true is not an absolute path"),
    ("services", "mail /mail node1 node1 /bin/true", "node node1 is named twice"),
    ("services", "mail /mail node1 node3 /bin/true", "secondary node node3 is not in the file nodes"),
    ("services", "web /mail node1 node2 /bin/true", "service web stands already on line 1"),
    ("nodes", "node1", "node node1 stands already on line 1"),
    ("nodes", "../x", "node name '../x' begins with '.'"),
    ("nodes", "node3 node4", "2 words"),
    ("options.toml", "start_timeout = 'long'", "start_timeout is a string"),
    ("options.toml", "start_timeout = -1", "start_timeout is -1 s"),
    ("options.toml", "start_timout = 5", "unknown key 'start_timout'"),
    ("options.toml", "cluster = '../x'", "cluster '../x' begins with '.'"),
    ("options.toml", "metrics = '0.0.0.0:9410'", "is not a loopback address"),
    ("options.toml", "notify = 'mail root'", "begins with 'mail'"),
    ("options.toml", "status_up = [300]", "status_up is not a list of exit codes"),
    ("options.toml", "= 5", "is not TOML"),
    ("logfacility", "loud", "loud is no syslog facility"),
]


class Edit:
    """``edit(node, file, line)`` adds a line to a file of conf; ``undo`` makes all of them what they were."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._were: dict[Path, bytes | None] = {}

    def __call__(self, node: str, file: str, line: str) -> Path:
        path = self._pair.conf(node, file)
        content = self._were.setdefault(path, path.read_bytes() if path.exists() else None)
        before = (content or b"") if file != "logfacility" else b""  # which has one line
        path.write_bytes(before + f"{line}\n".encode())
        return path

    def undo(self) -> None:
        for path, content in self._were.items():
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
        self._were.clear()


@pytest.fixture
def edit(shared: Pair) -> Iterator[Edit]:
    made = Edit(shared)
    yield made
    made.undo()


@pytest.mark.parametrize("file", ["monitor", "services", "nodes", "options.toml", "logfacility"])
def test_a_wrong_line_is_refused_by_check_and_reload(pair: Pair, edit: Edit, file: str) -> None:
    for _, line, says in (each for each in WRONG if each[0] == file):
        path = edit("node1", file, line)
        number = path.read_bytes().count(b"\n")
        argvs = [("ezha", "check", "--syntax"), ("ezha", "reload")]
        check, reload = at_once(lambda argv: pair.run("node1", *argv), argvs)
        assert check.returncode == reload.returncode == 1, line
        assert check.stderr.startswith(f"conf/{file}:{number}: "), check.stderr
        assert says in check.stderr
        assert len(check.stderr.splitlines()) == 1, check.stderr
        refusal = "ezha reload: not taken over, the old configuration stays in force\n"
        assert reload.stderr == check.stderr + refusal
        assert (check.stdout, reload.stdout) == ("", "")


def test_an_nmond_that_died_while_a_file_was_wrong_is_back_once_it_is_mended(shared: Pair, edit: Edit) -> None:
    pair = shared
    pair.wait_all_up()
    old = pair.need_nmond("node2")
    path = edit("node2", "services", "../mail /mail node1 node2 /bin/true")
    good = path.read_bytes().splitlines(keepends=True)[0]
    log = pair.cluster("node2", "log", "nmond.log")
    pair.kill(old)
    wait_for(lambda: "started again in 5 s" in log.read_text(), what="the supervisor goes on trying")
    assert pair.nmond("node2") is None
    assert pair.services["web"].state("node2") == "STOPPED"
    path.write_bytes(good)
    pair.next_nmond("node2", old)
    pair.wait_all_up()
    assert pair.services["web"].calls() == ["start"]


def test_a_node_does_not_start_with_a_wrong_line(shared: Pair, edit: Edit) -> None:
    pair = shared
    assert pair.run("node2", "ezha.init", "stop").returncode == 0
    for file, line in {file: line for file, line, _ in WRONG}.items():
        path = edit("node2", file, line)
        number = path.read_bytes().count(b"\n")
        # By the init script, and where somebody goes around it.
        starts = [("ezha.init", "start"), ("nmond-supervisor",), ("nmond", "--foreground")]
        done = at_once(lambda argv: pair.run("node2", *argv), starts)
        assert [(each.returncode, each.stdout) for each in done] == [(6, ""), (2, ""), (2, "")], done
        for each, said in zip(done, ("", "nmond: ", "nmond: "), strict=True):
            assert each.stderr.startswith(f"{said}conf/{file}:{number}: "), each.stderr
            assert len(each.stderr.splitlines()) == 1, each.stderr
        edit.undo()
    assert pair.run("node2", "ezha.init", "status").returncode == 3
    assert not [title for title in pair.processes("node2").values() if BIN in title]
    assert pair.services["web"].state("node2") == "STOPPED"
