"""Somebody on the heartbeat network, who has recorded everything, sends it again, forges, and floods.

With a key nothing comes of it. Without one the same forgeries take the service away: that is what the key is for.
"""

import random
from dataclasses import replace
from pathlib import Path

from ha.fsm.message import Ack, Heartbeat, Incarnation
from ha.fsm.states import State
from ha.heartbeats import codec
from ha.heartbeats.keys import NO_KEYS, Key, KeyRing
from ha.lab.process import ProcessId
from tests.lab.conftest import wait_for
from tests.lab.pair import NODES, Pair, boottime, standing
from tests.lab.stranger import (
    FLOOD,
    PORTS,
    assert_none_missed,
    client,
    counts,
    disturbances,
    message_of,
    put_block,
    ring_of,
    tape,
)

T = 2.0
"""A killed nmond is back before that, also on a busy machine."""
PERIOD_S = T / 5
PACKETS_PER_S, FLOOD_S = 10_000, 1.5
LIVES = 2_000
"""Forged incarnations, each later than the one before."""
OPTIONS = 'protection = "none"\n'
"""Who believes all that it hears is the easiest prey."""
GROWTH_KIB = 1_024
"""Memory is flat: so much more may be touched by what a process does now and then."""


def forged(newest: dict[str, Heartbeat], owner: str, ring: KeyRing) -> list[bytes]:
    """``owner`` seems to begin anew, and to have left: whoever believes it takes its services."""
    said, other = newest[owner], next(newest[node] for node in NODES if node != owner)
    stopped = tuple(replace(each, state=State.STOPPED) for each in said.services)
    acks = (Ack(other.node, other.incarnation, tuple(other.seq for _ in NODES)),)
    lies = replace(said, seq=1, left=True, services=stopped, acks=acks)
    lives = (Incarnation(said.incarnation.counter + 1_000 * n, n) for n in range(1, LIVES + 1))
    return [codec.encode(replace(lies, incarnation=life), keys=ring) for life in lives]


def damaged(draw: random.Random, messages: list[bytes]) -> list[bytes]:
    told = []
    for message in messages:
        data = bytearray(message)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        told.append(bytes(data))
    return told


def sizes(pair: Pair) -> dict[ProcessId, int]:
    """KiB in memory, of nmond and its workers on both nodes."""
    found = {}
    for node in NODES:
        for each in (pair.need_nmond(node), *pair.workers(node).values()):
            status = Path(f"/proc/{each.pid}/status").read_text()
            found[each] = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return found


def test_whoever_has_no_key_changes_nothing() -> None:
    draw = random.Random(1)
    with standing(T, options=OPTIONS) as pair:
        pair.services["web"].take()
        recorded, blocks = tape(pair, 2 * PERIOD_S), {node: message_of(pair, node) for node in NODES}
        old = {node: pair.need_nmond(node) for node in NODES}
        for nmond in old.values():  # What was recorded is of lives that are over, on both sides.
            pair.kill(nmond)
        for node, nmond in old.items():
            pair.next_nmond(node, nmond)
        pair.wait_all_up()
        assert pair.services["web"].running() == ["node1"]
        ring = ring_of(pair)
        newest = {node: codec.decode(message_of(pair, node), ring) for node in NODES}
        stranger = Key(draw.randbytes(32))
        flood(
            pair,
            {
                node: recorded[node]
                + forged(newest, node, NO_KEYS)
                + forged(newest, node, KeyRing((stranger,), stranger.id))
                + damaged(draw, recorded[node])
                for node in NODES
            },
            blocks,
        )
        web = pair.services["web"]
        assert web.running() == ["node1"]
        web.assert_nothing_twice()
        reinstall(pair, "node2")
        assert web.running() == ["node1"]


def reinstall(pair: Pair, node: str) -> None:
    """Its record is lost, and so it begins to count at 1, as any old message does: it is heard again by itself."""
    life = codec.decode(message_of(pair, node), ring_of(pair)).incarnation.counter
    assert life > 1
    assert pair.run(node, "ezha.init", "stop").returncode == 0
    pair.cluster(node, "services", ".record").unlink()
    since = boottime()
    assert pair.run(node, "ezha.init", "start").returncode == 0
    pair.wait_all_up()
    assert codec.decode(message_of(pair, node), ring_of(pair)).incarnation.counter == life + 1
    assert [
        text
        for text in pair.texts(node, "", since)
        if f"a later incarnation of this node: ours is now {life + 1}" in text
    ]


def flood(pair: Pair, thrown: dict[str, list[bytes]], blocks: dict[str, bytes]) -> None:
    """Nothing comes of it: no transition, nobody silent or heard anew, no heartbeat less, no memory more."""
    since, before, size = boottime(), counts(pair), sizes(pair)
    for owner in NODES:
        put_block(pair, owner, blocks[owner])
        done = client(pair, FLOOD, thrown[owner], str(PORTS[owner]), str(PACKETS_PER_S), str(FLOOD_S))
        assert int(done.stdout) >= PACKETS_PER_S * FLOOD_S * 0.9
    after = counts(pair)
    assert_none_missed(before, after, FLOOD_S / T)
    refused = after[1]["node1"]["refused"]
    assert {"not signed", "unknown key", "forged or damaged"} < set(refused), refused
    assert sum(refused.values()) >= PACKETS_PER_S
    assert [pair.down(node) for node in NODES] == [[], []]
    for node in NODES:
        assert not disturbances(pair, node, since)
    grown = {each.pid: now - size[each] for each, now in sizes(pair).items()}
    assert max(grown.values()) < GROWTH_KIB, grown


def test_the_twin_without_a_key_loses_its_service() -> None:
    with standing(1.0, options=OPTIONS, key=False) as pair:
        web = pair.services["web"]
        web.take()
        newest = {node: codec.decode(message_of(pair, node)) for node in NODES}
        since = boottime()
        client(pair, FLOOD, forged(newest, "node1", NO_KEYS), str(PORTS["node1"]), "1000", "2")
        wait_for(lambda: "STARTING" in web.transitions("node2", since), what="node2 starts what node1 runs")
