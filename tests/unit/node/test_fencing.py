"""nmond's fencing: one at a time, by rank, never waited for, and told how it ended."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.fsm.events import Fenced, FenceNode, Note
from ha.node.config.fencing import FenceMethod
from ha.node.fencing.fencer import Fencer
from ha.node.fencing.rank import wait_by_rank
from ha.node.loop import Loop
from tests.unit.node.world import turn_until

NODES = ("node1", "node2", "node3")


class Bench:
    """The fencer of node1, or of another; commands of the test fence."""

    def __init__(self, folder: Path, node: str = "node1") -> None:
        self.folder = folder
        self.loop = Loop()
        self.methods: dict[str, FenceMethod] = {}
        self.heard: set[str] = set()
        self.ended: list[Fenced] = []
        self.notes: list[Note] = []
        self.fencer = self.new(node)

    def new(self, node: str = "node1") -> Fencer:
        return Fencer(
            self.loop,
            node,
            {"PATH": os.environ["PATH"]},
            method=self.methods.get,
            nodes=lambda: NODES,
            silent=lambda name: name not in self.heard,
            ended=self.ended.append,
            tell=self.notes.append,
        )

    def command(self, node: str, text: str, delay: float = 0.0) -> None:
        path = self.folder / f"off-{node}"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        self.methods[node] = FenceMethod(command=(str(path),), delay=delay, timeout=10)

    def until(self, ends: int) -> None:
        turn_until(self.loop, lambda: len(self.ended) >= ends, 10.0)

    @property
    def told(self) -> str:
        return "\n".join(note.text for note in self.notes)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.fencer.pid:
        os.kill(made.fencer.pid, 9)
        os.waitpid(made.fencer.pid, 0)
    made.loop.close()


def test_a_success_is_told_with_what_the_program_said(bench: Bench) -> None:
    bench.command("node2", "echo outlet 7 is off\n")
    bench.fencer.ask(FenceNode("node2", "web is to be taken over"))
    bench.until(1)
    assert [(e.node, e.ok) for e in bench.ended] == [("node2", True)]
    assert "node2 is being fenced" in bench.told
    assert "web is to be taken over" in bench.told
    assert bench.notes[-1].evidence == ("outlet 7 is off",)
    assert bench.fencer.pid == 0


def test_a_failure_is_told_and_may_be_asked_for_again(bench: Bench) -> None:
    bench.command("node2", "echo no answer from the outlet; exit 1\n")
    for count in (1, 2):
        bench.fencer.ask(FenceNode("node2", "x"))
        bench.until(count)
        assert not bench.ended[-1].ok
        assert "no answer from the outlet" in bench.ended[-1].detail


def test_one_that_nobody_can_fence_is_told(bench: Bench) -> None:
    bench.fencer.ask(FenceNode("node2", "x"))
    assert bench.ended == []
    bench.until(1)
    assert bench.ended == [
        Fenced("node2", False, 'nothing says how node2 is fenced: give [fence."node2"] in options.toml')
    ]


def test_one_at_a_time_and_each_once(bench: Bench) -> None:
    for node in ("node2", "node3"):
        bench.command(
            node, f"mkdir {bench.folder}/busy && echo {node} >>{bench.folder}/log && rmdir {bench.folder}/busy\n"
        )
    for _ in range(3):
        bench.fencer.ask(FenceNode("node2", "x"))
        bench.fencer.ask(FenceNode("node3", "x"))
    bench.until(2)
    assert [e.ok for e in bench.ended] == [True, True]
    assert (bench.folder / "log").read_text().split() == ["node2", "node3"]


def test_the_lower_rank_waits_and_says_so(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "node2")
    bench.command("node1", f"touch {tmp_path}/fenced\n", delay=0.05)
    try:
        bench.fencer.ask(FenceNode("node1", "x"))
        bench.loop.turn(0.005)
        assert bench.fencer.pid == 0
        assert "node1 is to be fenced in 0.05 s (x); node2 waits because it is behind it" in bench.told
        bench.until(1)
        assert bench.ended[0].ok
    finally:
        bench.loop.close()


def test_a_node_that_is_heard_again_meanwhile_is_left_alone(bench: Bench) -> None:
    bench.command("node2", f"touch {bench.folder}/fenced\n")
    bench.fencer.ask(FenceNode("node2", "x"))
    bench.heard.add("node2")
    bench.until(1)
    assert bench.ended == [Fenced("node2", False, "it is heard again")]
    assert not (bench.folder / "fenced").exists()


def test_a_fencer_that_dies_has_not_fenced(bench: Bench) -> None:
    bench.command("node2", f"touch {bench.folder}/begun; exec sleep 1000\n")
    bench.fencer.ask(FenceNode("node2", "x"))
    turn_until(bench.loop, lambda: (bench.folder / "begun").exists())
    os.kill(bench.fencer.pid, 9)
    bench.until(1)
    assert not bench.ended[0].ok
    assert "ended by signal 9 and said nothing" in bench.ended[0].detail


def test_what_is_handed_over_begins_anew(bench: Bench) -> None:
    bench.command("node2", f"echo $$ >>{bench.folder}/pids; [ -e {bench.folder}/go ] || exec sleep 1000\n")
    bench.fencer.ask(FenceNode("node2", "x"))
    turn_until(bench.loop, lambda: (bench.folder / "pids").exists())
    bench.fencer.held = True
    packed = bench.fencer.packed()
    assert packed["asked"] == [["node2", "x", 0.0]]
    (bench.folder / "go").touch()
    fresh = bench.new()
    fresh.unpack(packed)
    turn_until(bench.loop, lambda: any(e.ok for e in bench.ended))
    assert len((bench.folder / "pids").read_text().split()) == 2


def test_held_it_begins_nothing(bench: Bench) -> None:
    bench.command("node2", "exit 0\n")
    bench.fencer.held = True
    bench.fencer.ask(FenceNode("node2", "x"))
    bench.loop.turn(0.005)
    assert bench.fencer.pid == 0
    assert bench.fencer.packed()["asked"] == [["node2", "x", 0.0]]


# ------------------------------------------------------------------------------------------------------ rank


@given(st.permutations(NODES), st.floats(0.1, 60))
def test_of_any_two_nodes_one_waits(nodes: list[str], delay: float) -> None:
    for one in nodes:
        for other in nodes:
            if one != other:
                waits = {wait_by_rank(one, other, nodes, delay), wait_by_rank(other, one, nodes, delay)}
                assert waits == {0.0, delay}
