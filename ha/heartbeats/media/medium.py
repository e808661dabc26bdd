"""What a path worker needs of any medium: to open it, to send or to look, to close it.

A medium never retries and never waits: it raises MediumError, and the worker opens it anew a period later.
"""

import os
from typing import Protocol


class MediumError(Exception):
    """The path does not work at present. The text is what an administrator reads; it does not change by itself."""


class ReplacedError(MediumError):
    """What was opened is gone, and something else has its name now: opening it anew may help at once."""


class Sender(Protocol):
    """The sending end of one path."""

    def open(self) -> None:
        """Make ready to send. Raises MediumError."""

    def found(self) -> bytes | None:
        """What stands in the own slot; None where the medium has no slots. Raises MediumError."""

    def send(self, data: bytes) -> None:
        """Put one message on the wire, or on the disk with the write confirmed. Raises MediumError."""

    def close(self) -> None:
        """Let go of everything. Harmless when it is not open."""


class Listener(Protocol):
    """The receiving end of one path."""

    @property
    def burst(self) -> int:
        """How many times ``receive`` may be called in one turn."""

    def open(self) -> None:
        """Make ready to receive. Raises MediumError."""

    def fileno(self) -> int:
        """What to poll while open, or -1: then ``receive`` is called once a period."""

    def check(self) -> None:
        """Once a period: whether what was opened is still there. Raises MediumError."""

    def receive(self) -> bytes | memoryview | None:
        """The next candidate for a message, or None where there is nothing new; valid until the next call.

        A slot that was never written, or was cleared, is an empty candidate. Raises MediumError, or CodecError for what
        is clearly no message.
        """

    def forget(self) -> None:
        """What ``receive`` gave last was lost behind it: a slot that still holds it gives it again."""

    def close(self) -> None:
        """Let go of everything. Harmless when it is not open."""


def failure(what: str, error: OSError) -> MediumError:
    """``what`` failed, in the words of the system."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return MediumError(f"{what}: {reason}")
