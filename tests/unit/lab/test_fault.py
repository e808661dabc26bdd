"""The words for a disk's faults, and the gate at which requests meet them."""

import threading

import pytest

from ha.lab.fault import Fault, Kind, Verdict, parse
from ha.lab.gate import Gate


@pytest.mark.parametrize(
    ("word", "read", "write"),
    [
        ("ok", Verdict.DO, Verdict.DO),
        ("eio", Verdict.FAIL, Verdict.FAIL),
        ("eio-read", Verdict.FAIL, Verdict.DO),
        ("eio-write", Verdict.DO, Verdict.FAIL),
        ("hang", Verdict.WAIT, Verdict.WAIT),
        ("hang-read", Verdict.WAIT, Verdict.DO),
        ("hang-write", Verdict.DO, Verdict.WAIT),
        ("delay=0.5", Verdict.DO, Verdict.DO),
        ("torn", Verdict.DO, Verdict.TEAR),
        ("lost", Verdict.DO, Verdict.LOSE),
    ],
)
def test_each_word_means_what_it_says_and_reads_back(word: str, read: Verdict, write: Verdict) -> None:
    fault = parse(word)
    assert (fault.on_read(), fault.on_write(), str(fault)) == (read, write, word)


def test_every_kind_has_a_word() -> None:
    assert {parse("delay=1" if kind is Kind.DELAY else kind.value).kind for kind in Kind} == set(Kind)


@pytest.mark.parametrize(
    "text", ["", "EIO", "eio=1", "delay", "delay=", "delay=x", "delay=-1", "delay=nan", "delay=1e9"]
)
def test_a_wrong_word_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a fault of the disk; known are ok, eio,|out of range"):
        parse(text)


def test_a_request_that_hangs_goes_on_when_the_fault_is_gone_and_fails_when_it_becomes_an_error() -> None:
    for later, expected in ((parse("ok"), Verdict.DO), (parse("eio"), Verdict.FAIL)):
        gate = Gate(parse("hang"))
        verdicts: list[Verdict] = []
        thread = threading.Thread(target=lambda gate=gate, verdicts=verdicts: verdicts.append(gate.read()))
        thread.start()
        gate.set(parse("hang-read"))  # still hangs
        gate.set(later)
        thread.join(5)
        assert verdicts == [expected]
        assert gate.counters.waiting == 0


def test_a_delay_ends_early_when_the_fault_changes() -> None:
    gate = Gate(Fault(Kind.DELAY, 3600.0))
    verdicts: list[Verdict] = []
    thread = threading.Thread(target=lambda: verdicts.append(gate.write()))
    thread.start()
    gate.set(parse("lost"))
    thread.join(5)
    assert verdicts == [Verdict.LOSE]


def test_the_gate_counts() -> None:
    gate = Gate(parse("eio-write"))
    gate.read()
    gate.write()
    gate.write()
    assert (gate.counters.reads, gate.counters.writes, gate.counters.failed) == (1, 2, 2)
