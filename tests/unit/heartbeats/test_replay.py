"""What was sent once and comes again goes no further than the listener."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.fsm.message import Incarnation
from ha.heartbeats import codec, envelope
from ha.heartbeats.channel import Received, Refused
from ha.heartbeats.envelope import CodecError
from ha.heartbeats.replay import MAX_LIVES, MAX_NODES, OLD, Order
from ha.heartbeats.worker import ListenerWorker
from tests.unit.heartbeats.samples import CLUSTER, heartbeat
from tests.unit.heartbeats.test_worker import Clock, Medium, Nmond


def life(counter: int, nonce: int = 1) -> Incarnation:
    return Incarnation(counter, nonce)


class Sink(Order):
    """Takes at once what is news."""

    def __call__(self, node: int, life: Incarnation, seq: int) -> bool:
        news = self.is_news(node, life, seq)
        if news:
            self.take(node, life, seq)
        return news


def test_what_is_news() -> None:
    order = Sink()
    seen = [(life(4), 5), (life(4), 5), (life(4), 4), (life(4), 6), (life(3), 99), (life(5), 1), (life(4), 7)]
    assert [order(1, *each) for each in seen] == [True, False, False, True, False, True, False]
    assert order(2, life(1), 1)


def test_what_nmond_did_not_get_is_news_still() -> None:
    order = Order()
    assert order.is_news(1, life(4), 5) and order.is_news(1, life(4), 5)


def test_two_nodes_of_one_name_both_reach_nmond_which_tells_of_it() -> None:
    order = Sink()
    assert all(order(1, life(4, nonce), 1) for nonce in range(MAX_LIVES))
    assert not order(1, life(4, 99), 1)
    assert order(1, life(5, 99), 1)


def test_nothing_grows_without_a_limit() -> None:
    order = Sink()
    taken = [order(node, life(1), 1) for node in range(2 * MAX_NODES)]
    assert taken == [True] * MAX_NODES + [False] * MAX_NODES


@given(st.integers(1, 2**40 - 1), st.integers(0, 2**32 - 1), st.integers(1, 2**40 - 1))
def test_the_stamp_is_that_of_the_message(counter: int, nonce: int, seq: int) -> None:
    hb = heartbeat(incarnation=Incarnation(counter, nonce), seq=seq)
    assert codec.stamp(codec.encode(hb)) == (hb.incarnation, hb.seq)


@given(st.binary(max_size=60))
def test_the_stamp_of_nonsense(body: bytes) -> None:
    try:
        codec.stamp(envelope.seal(body, 1, 2))
    except CodecError as error:
        assert error.reason == "malformed body" or error.reason.endswith("out of range")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Nmond]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, Nmond(theirs)


@pytest.mark.parametrize(("looks", "forwarded"), [(False, 1), (True, 3)])
def test_a_listener_on_a_wire_forwards_each_message_once(
    pair: tuple[socket.socket, Nmond], looks: bool, forwarded: int
) -> None:
    """A slot is read once a period in any case, and nmond has to know that it shows the same again."""
    ours, nmond = pair
    medium, clock = Medium(), Clock()
    listener = ListenerWorker(medium, ours, cluster_id=CLUSTER, period=1.0, looks=looks, clock=clock)
    new, old = (codec.encode(replace(heartbeat(), seq=seq)) for seq in (2, 1))
    for data in (new, new, old):
        medium.inbox.append(data)
        clock.now += 1.0
        assert listener.turn()
    told = nmond.heard()
    assert len([each for each in told if isinstance(each, Received)]) == forwarded
    refused = sum(each.count for each in told if isinstance(each, Refused) and each.why == OLD)
    assert refused == 3 - forwarded


def test_what_nobody_can_read_makes_nothing_after_it_look_old(pair: tuple[socket.socket, Nmond]) -> None:
    """Signed, and with a number: from a version to come, or by accident. What the node says next must get through."""
    ours, nmond = pair
    medium, clock = Medium(), Clock()
    listener = ListenerWorker(medium, ours, cluster_id=CLUSTER, period=1.0, looks=False, clock=clock)
    hb = heartbeat()
    body = msgpack.packb([hb.incarnation.counter + 9, 7, 2**40 - 1, "what is this"])
    for data in (envelope.seal(body, hb.cluster, hb.node), codec.encode(hb)):
        medium.inbox.append(data)
        clock.now += 1.0
        assert listener.turn()
    told = nmond.heard()
    assert len([each for each in told if isinstance(each, Received)]) == 1
    assert [each.why for each in told if isinstance(each, Refused)] == ["malformed body"]
