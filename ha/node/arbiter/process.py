"""The process that speaks with etcd, and the records that it and nmond exchange.

A pair of sockets that keep records apart (SOCK_SEQPACKET), JSON in each. nmond says all that it wants, every time it
changes; the process says whose a service is, and what is wrong. It ends when nmond's end is closed: what was to be
given back is given back first, what is ours stays so until its lease ends, since the service may run on.
"""

import json
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ha.fsm.timing import Timing
from ha.node.arbiter.keeper import Answer, Keeper
from ha.node.clock import now

MAX_RECORD: Final = 160_000
"""Bytes: a thousand services with names of 64 characters are less."""
LET_GO_S: Final = 1.0
"""So long after the end of the channel it is tried to give back what was to be given back."""
DETAIL_CHARS: Final = 300


def wanted_record(wanted: Mapping[str, float]) -> bytes:
    """Services, and T of each."""
    return json.dumps({"wanted": dict(wanted)}).encode()


def wanted_read(data: bytes) -> dict[str, Timing]:
    """Raises ValueError for what ``wanted_record`` did not make."""
    match json.loads(data):
        case {"wanted": dict(wanted)} if all(isinstance(timeout, float) for timeout in wanted.values()):
            return {str(service): Timing(timeout) for service, timeout in wanted.items()}
    raise ValueError("is no record of what is wanted")


def answer_record(answer: Answer) -> bytes:
    detail = answer.detail[:DETAIL_CHARS]
    return json.dumps({"answer": [answer.service, answer.ours, answer.asked, detail]}).encode()


def trouble_record(text: str) -> bytes:
    return json.dumps({"trouble": text[:1000]}).encode()


def said(data: bytes) -> Answer | str:
    """An answer, or a trouble. Raises ValueError for what neither of the two functions above made."""
    match json.loads(data):
        case {"answer": [str(service), bool(ours), float(asked), str(detail)]}:
            return Answer(service, ours, asked, detail)
        case {"trouble": str(text)}:
            return text
    raise ValueError("is no record of the arbiter's process")


class Speaker:
    """Runs a keeper between nmond's channel and etcd."""

    def __init__(self, channel: socket.socket, clock: Callable[[], float] = now) -> None:
        self._channel = channel
        self._clock = clock
        self._queue: dict[str, Answer] = {}
        """What was not taken yet: of each service the newest."""
        self._told = ""
        self._ended = False

    def say(self, answer: Answer) -> None:
        self._queue.pop(answer.service, None)
        self._queue[answer.service] = answer
        self._flush()

    def run(self, keeper: Keeper) -> None:
        """Until nmond's end of the channel is closed."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while not self._ended:
            poll.poll(self._wait(keeper.due))
            self._listen(keeper)
            if self._clock() >= keeper.due:
                self._turn(keeper)
            self._flush()
        until = self._clock() + LET_GO_S
        while keeper.returning and self._clock() < until:
            keeper.turn()
            if keeper.returning:
                time.sleep(LET_GO_S / 10)

    def _wait(self, due: float) -> int:
        """Milliseconds; a queue that nmond did not take is tried again."""
        if self._queue:
            return 100
        return max(0, int((due - self._clock()) * 1000) + 1)

    def _turn(self, keeper: Keeper) -> None:
        keeper.turn()
        if keeper.trouble != self._told and self._send(trouble_record(keeper.trouble)):
            self._told = keeper.trouble

    def _listen(self, keeper: Keeper) -> None:
        """Take what nmond wants now; only the last word counts."""
        newest = b""
        while True:
            try:
                data = self._channel.recv(MAX_RECORD, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                self._ended = True
                break
            newest = data
        if newest:
            keeper.use(wanted_read(newest))

    def _flush(self) -> None:
        for service, answer in list(self._queue.items()):
            if not self._send(answer_record(answer)):
                return
            del self._queue[service]

    def _send(self, data: bytes) -> bool:
        try:
            self._channel.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            # A full queue passes; the end of the channel is seen where it is read.
            return False
        return True


def serve(channel: socket.socket, settings: Mapping[str, Any]) -> None:
    """The body of the process. ``settings``: what ``Keeper``, ``Gateway`` and ``Memory`` are made of."""
    from ha.node.arbiter.gateway import Gateway
    from ha.node.arbiter.memory import Memory

    speaker = Speaker(channel)
    gateway = Gateway(settings["options"], settings["timeout"])
    keeper = Keeper(
        gateway,
        Memory(settings["memory"], settings["gap"]),
        now,
        speaker.say,
        prefix=settings["prefix"],
        owner=settings["owner"],
        incarnation=settings["incarnation"],
        period=settings["period"],
        longest=settings["longest"],
    )
    try:
        speaker.run(keeper)
    finally:
        gateway.close()
