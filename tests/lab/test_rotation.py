"""A new key takes the place of the old one, step by step and node by node: not one heartbeat is refused or missed."""

import re
import shutil
from pathlib import Path

from tests.lab.conftest import wait_for
from tests.lab.pair import NODES, Pair, boottime, standing
from tests.lab.stranger import assert_none_missed, counts, disturbances, ring_of

T = 2.0


def key(pair: Pair, node: str, *words: str) -> str:
    done = pair.run(node, "ezha", "key", *words)
    assert done.returncode == 0, (node, words, done)
    return done.stdout


def test_a_key_is_replaced_without_a_missed_heartbeat() -> None:
    with standing(T) as pair:
        pair.services["web"].take()
        old = f"{ring_of(pair).signs:04x}"
        since, before = boottime(), counts(pair)
        new = _brought(pair)
        key(pair, "node1", "sign", new)
        early = pair.run("node1", "ezha", "key", "retire", old)
        assert early.returncode == 1 and early.stderr.startswith(f"ezha: node2 signs with {old} still"), early
        key(pair, "node2", "sign", new)
        _across_an_exec(pair, "node1")
        for node in NODES:
            key(pair, node, "retire", old)
        for node, other in (NODES, NODES[::-1]):
            assert key(pair, node, "status").splitlines() == [
                "heartbeats are signed, and nothing else is taken",
                f"  key {new}  signs ours",
                f"{other}: signs with {new}, the key it got last is {new}",
            ]
        after = counts(pair)
        assert_none_missed(before, after, 3)
        for look in after:
            assert not any(path["refused"] for path in look.values())
        for node in NODES:
            assert not disturbances(pair, node, since)
        assert pair.services["web"].running() == ["node1"]


def _brought(pair: Pair) -> str:
    """Step 1 on both nodes, and the step after it refused as long as one of them lacks the key."""
    made = key(pair, "node1", "new", "/root/new.key")
    new = re.match(r"key ([0-9a-f]{4}) is in /root/new.key;", made)
    assert new is not None, made
    key(pair, "node1", "add", "/root/new.key")
    early = pair.run("node1", "ezha", "key", "sign", new[1])
    assert (early.returncode, early.stderr) == (
        1,
        f"ezha: node2 does not accept key {new[1]} yet: ezha key add there (--force: do it all the same)\n",
    )
    shutil.copy2(*(Path(pair.lab.files(node), "root/new.key") for node in NODES))
    key(pair, "node2", "add", "/root/new.key")
    return new[1]


def _across_an_exec(pair: Pair, node: str) -> None:
    """Keys that were changed while nmond ran are those of the nmond after it, too."""
    done = pair.run(node, "ezha.init", "restart")
    assert done.returncode == 0, done
    wait_for(lambda: not pair.down(node), what="all paths are UP")
