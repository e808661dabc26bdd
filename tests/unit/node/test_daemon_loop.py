"""The event loop: what comes first, timers, and idle work that starves nobody."""

import os
import socket

import pytest

from ha.node.loop import Loop
from tests.unit.node.world import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_comes_first_is_called_before_and_between_callbacks(clock: Clock) -> None:
    order: list[str] = []
    loop = Loop(first=lambda: order.append("first"), clock=clock)
    pairs = [socket.socketpair() for _ in range(2)]
    for ours, theirs in pairs:
        loop.watch(ours.fileno(), lambda: order.append("input"))
        theirs.send(b"x")
    loop.turn()
    assert order[:5] == ["first", "input", "first", "input", "first"]
    loop.close()
    for pair in pairs:
        for end in pair:
            end.close()


def test_news_are_read_before_every_look_at_the_time(clock: Clock) -> None:
    """A slow callback must not make ``first`` conclude from a silence that nobody listened to meanwhile."""
    order: list[str] = []
    loop = Loop(first=lambda: order.append("first"), clock=clock)
    pairs = [socket.socketpair() for _ in range(2)]
    (news, speaker), (ours, theirs) = pairs

    def slow() -> None:
        order.append("input")
        ours.recv(1)
        speaker.send(b"no")

    loop.listen(news.fileno(), lambda: order.append(f"news {news.recv(2).decode()}"))
    loop.watch(ours.fileno(), slow)
    theirs.send(b"x")
    speaker.send(b"hi")
    loop.turn()
    assert order == ["news hi", "first", "input", "news no", "first"]
    loop.unwatch(news.fileno())
    speaker.send(b"no")
    loop.turn(0.0)
    assert order[5:] == ["first"], "who is no longer listened to is not read"
    loop.close()
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_callback_that_was_unwatched_by_an_earlier_one_is_not_called(clock: Clock) -> None:
    called: list[int] = []
    loop = Loop(clock=clock)
    pairs = [socket.socketpair() for _ in range(2)]
    fds = [ours.fileno() for ours, _ in pairs]

    def gone(me: int) -> None:
        called.append(me)
        for fd in fds:
            loop.unwatch(fd)

    for fd, (_, theirs) in zip(fds, pairs, strict=True):
        loop.watch(fd, lambda me=fd: gone(me))  # type: ignore[misc]
        theirs.send(b"x")
    loop.turn()
    assert len(called) == 1
    loop.close()
    for pair in pairs:
        for end in pair:
            end.close()


def test_timers_fire_in_order_once_and_not_when_cancelled(clock: Clock) -> None:
    fired: list[str] = []
    loop = Loop(clock=clock)
    loop.after(2.0, lambda: fired.append("late"))
    loop.after(1.0, lambda: fired.append("early"))
    loop.after(1.5, lambda: fired.append("never")).cancel()
    loop.turn(0.0)
    assert fired == []
    clock.at += 3.0
    loop.turn(0.0)
    loop.turn(0.0)
    assert fired == ["early", "late"]
    loop.close()


def test_no_idle_work_starves_another(clock: Clock) -> None:
    done: list[str] = []
    loop = Loop(clock=clock)

    def endless() -> bool:
        done.append("endless")
        clock.at += 0.001
        return True

    def modest() -> bool:
        done.append("modest")
        return False

    loop.idle = [endless, modest]
    loop.turn(0.0)
    assert done.count("modest") == done.count("endless") <= 6
    loop.close()


def test_input_is_looked_at_between_slices_of_endless_idle_work(clock: Clock) -> None:
    read_end, write_end = os.pipe()
    seen: list[bytes] = []
    loop = Loop(clock=clock)

    def endless() -> bool:
        clock.at += 0.002
        return True

    loop.idle = [endless]
    loop.watch(read_end, lambda: seen.append(os.read(read_end, 1)))
    loop.turn()
    os.write(write_end, b"x")
    loop.turn()
    assert seen == [b"x"]
    loop.close()
    os.close(read_end)
    os.close(write_end)


def test_the_wait_ends_at_the_deadline_and_after_a_suspend_it_is_looked_at_soon(clock: Clock) -> None:
    loop = Loop(clock=clock, deadline=lambda: 1000.25)
    assert loop._timeout(1.0) == pytest.approx(0.25)
    loop.after(0.1, lambda: None)
    assert loop._timeout(1.0) == pytest.approx(0.1)
    clock.at += 5.0
    assert loop._timeout(1.0) == 0.0
    loop.deadline = lambda: float("inf")
    loop.turn(0.0)
    assert loop._timeout(1.0) == 1.0
    loop.close()


def test_a_renewed_loop_listens_on_and_has_forgotten_what_else_it_waited_for() -> None:
    loop, called = Loop(), []
    first, other = os.pipe(), os.pipe()
    loop.listen(first[0], lambda: called.append(os.read(first[0], 1)))
    loop.watch(other[0], lambda: called.append(os.read(other[0], 1)))
    os.write(first[1], b"n")
    os.write(other[1], b"w")
    loop.renew()
    loop.turn(1.0)
    loop.turn(0.0)
    assert called == [b"n"]
    loop.close()
    for fd in (*first, *other):
        os.close(fd)
