"""What is different on a path that speaks as an original OpenHA node does: the struct, and where it ends in a slot."""

import os

from ha.heartbeats import openha
from ha.heartbeats.envelope import CodecError
from ha.heartbeats.media.block import DiskListener
from ha.heartbeats.media.medium import MediumError, Sender
from ha.heartbeats.path import PathLine


class OriginalSender:
    """Any sender, of messages in which the sending process names itself and its path as OpenHA's do."""

    def __init__(self, medium: Sender, line: PathLine) -> None:
        self._medium = medium
        self._port = "" if line.is_disk else str(line.port)
        self._address = line.address

    def open(self) -> None:
        """Raises MediumError."""
        self._medium.open()

    def found(self) -> bytes | None:
        return self._medium.found()

    def send(self, data: bytes) -> None:
        """Raises MediumError."""
        try:
            told = openha.stamped(data, self._port, self._address, os.getpid())
        except CodecError as error:
            raise MediumError(f"no message of OpenHA can be sent here: {error}") from error
        self._medium.send(told)

    def close(self) -> None:
        self._medium.close()


class OriginalDiskListener(DiskListener):
    """Looks at the slot of an original node, which writes 19 blocks and leaves the end of the last one undefined."""

    def _part(self, block: bytes) -> bytes:
        return openha.struct_of(block)

    def _message(self, content: bytes) -> bytes:
        return content
