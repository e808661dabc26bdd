"""The records between nmond and the process that speaks with etcd, and what that does when nmond is gone."""

import json
import socket

import pytest

from ha.fsm.timing import Timing
from ha.node.arbiter.keeper import Answer
from ha.node.arbiter.process import (
    MAX_RECORD,
    Speaker,
    answer_record,
    said,
    trouble_record,
    wanted_read,
    wanted_record,
)


def test_records_travel() -> None:
    answer = Answer("web", True, 12.5, "obtained ä")
    assert said(answer_record(answer)) == answer
    assert said(trouble_record("it hangs")) == "it hangs"
    assert wanted_read(wanted_record({"web": 10.0})) == {"web": Timing(10.0)}


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"{}", b"\xff", b'{"answer": ["web", 1, 2.0, ""]}', b'{"trouble": 7}', b'{"wanted": {"web": "x"}}'],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    for read in (said, wanted_read):
        with pytest.raises(ValueError):
            read(data)


def test_a_thousand_services_fit_into_a_record() -> None:
    record = wanted_record({f"{number:064}": 119.999 for number in range(1000)})
    assert len(record) <= MAX_RECORD
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(record)
        assert len(wanted_read(theirs.recv(MAX_RECORD))) == 1000


class Keeper:
    """Ends what is to be given back at its third turn."""

    def __init__(self) -> None:
        self.due = 0.0
        self.trouble = ""
        self.turns = 0
        self.wanted: list[list[str]] = []

    @property
    def returning(self) -> bool:
        return self.turns < 3

    def use(self, wanted: dict[str, Timing]) -> None:
        self.wanted.append(list(wanted))

    def turn(self) -> None:
        self.turns += 1


def test_only_the_last_word_counts_and_what_is_to_be_given_back_is_when_nmond_is_gone() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        for services in ({"web": 1.0}, {"web": 1.0, "db": 1.0}, {"db": 1.0}):
            ours.send(wanted_record(services))
        ours.close()
        keeper = Keeper()
        Speaker(theirs).run(keeper)  # type: ignore[arg-type]
        assert keeper.wanted == [["db"]]
        assert not keeper.returning


def test_an_nmond_that_does_not_read_hears_the_newest_of_each_service() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        speaker = Speaker(theirs)
        count = 0
        while not speaker._queue:
            count += 1
            speaker.say(Answer("web", True, float(count), ""))
        speaker.say(Answer("web", False, float(count + 1), "lost"))
        heard = []
        while True:
            try:
                heard.append(said(ours.recv(MAX_RECORD, socket.MSG_DONTWAIT)))
            except BlockingIOError:
                if not speaker._queue:
                    break
                speaker._flush()
        assert heard[-1] == Answer("web", False, float(count + 1), "lost")
        assert len(heard) == count
        assert json.loads(answer_record(heard[0]))  # type: ignore[arg-type]
