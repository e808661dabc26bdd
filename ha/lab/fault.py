"""How a node's view of the shared disk can fail: the words, and what each means for a read and for a write.

Pure. Serving it is ``ha.lab.faultdisk``'s matter.
"""

from dataclasses import dataclass
from enum import Enum

MAX_DELAY_S = 3600.0


class Kind(Enum):
    """The word that names the fault."""

    OK = "ok"
    EIO = "eio"
    EIO_READ = "eio-read"
    EIO_WRITE = "eio-write"
    HANG = "hang"
    HANG_READ = "hang-read"
    HANG_WRITE = "hang-write"
    DELAY = "delay"
    TORN = "torn"
    LOST = "lost"


class Verdict(Enum):
    """What becomes of one request."""

    DO = "do"
    FAIL = "fail"
    """EIO."""
    WAIT = "wait"
    """No answer until the fault changes."""
    TEAR = "tear"
    """Only the first half of the data reaches the disk; success is reported."""
    LOSE = "lose"
    """Nothing reaches the disk; success is reported."""


_READ = {
    Kind.EIO: Verdict.FAIL,
    Kind.EIO_READ: Verdict.FAIL,
    Kind.HANG: Verdict.WAIT,
    Kind.HANG_READ: Verdict.WAIT,
}
_WRITE = {
    Kind.EIO: Verdict.FAIL,
    Kind.EIO_WRITE: Verdict.FAIL,
    Kind.HANG: Verdict.WAIT,
    Kind.HANG_WRITE: Verdict.WAIT,
    Kind.TORN: Verdict.TEAR,
    Kind.LOST: Verdict.LOSE,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, in force until it is replaced by another."""

    kind: Kind = Kind.OK
    delay_s: float = 0.0
    """With DELAY: seconds before each request is carried out."""

    def __str__(self) -> str:
        return f"delay={self.delay_s:g}" if self.kind is Kind.DELAY else self.kind.value

    def on_read(self) -> Verdict:
        return _READ.get(self.kind, Verdict.DO)

    def on_write(self) -> Verdict:
        return _WRITE.get(self.kind, Verdict.DO)


OK = Fault()
WORDS = ", ".join("delay=SECONDS" if kind is Kind.DELAY else kind.value for kind in Kind)


def parse(text: str) -> Fault:
    """``eio``, ``hang-read``, ``delay=0.5``, … Raises ValueError that says which words there are."""
    word, equals, seconds = text.partition("=")
    try:
        kind = Kind(word)
        if (kind is Kind.DELAY) != bool(equals):
            raise ValueError(text)
        delay = float(seconds) if equals else 0.0
    except ValueError:
        raise ValueError(f"{text!r} is not a fault of the disk; known are {WORDS}") from None
    if not 0.0 <= delay <= MAX_DELAY_S:
        raise ValueError(f"a delay of {seconds} s is out of range, 0 to {MAX_DELAY_S:g} s")
    return Fault(kind, delay)
