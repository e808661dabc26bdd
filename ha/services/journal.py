"""Which resources a start has changed, on record while it goes on: what a killed start left up, the next one knows.

A file in a folder that a boot empties, as it empties what the record speaks of. No file: no start was cut short.
"""

import os
import threading
from collections.abc import Iterable

from ha.services.errors import ResourceError, ServiceError
from ha.services.folders import replace_file

MAX_BYTES = 64 * 1024


class Journal:
    """Of one service. Used under its lock; safe in threads."""

    def __init__(self, folder: str, service: str) -> None:
        self.path = f"{folder}/{service}.start"
        """Of the record."""
        self._rids: list[str] = []
        self._mutex = threading.Lock()

    def left(self) -> list[str]:
        """What an earlier start that did not come to its end has changed, or was about to. Raises ServiceError."""
        try:
            with open(self.path, encoding="utf-8") as file:
                return file.read(MAX_BYTES).split()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise ServiceError(f"{self.path} cannot be read: {error}; remove it once the service is stopped") from None

    def add(self, rid: str) -> None:
        """``rid`` is about to be changed. Raises ResourceError: then it must not be."""
        with self._mutex:
            if rid not in self._rids:
                self._rids.append(rid)
                self._write()

    def drop(self, rid: str) -> None:
        """``rid`` was not changed after all, or is stopped again."""
        with self._mutex:
            if rid in self._rids:
                self._rids.remove(rid)
                self._write()

    def keep(self, rids: Iterable[str]) -> None:
        """The start came to an end; what an earlier one has left, and this one was not about, stays on record.

        Raises ResourceError.
        """
        if left := sorted(rids):
            with self._mutex:
                self._rids = left
                self._write()
        else:
            self.clear()

    def clear(self) -> None:
        """Nothing that a start has changed is left to tell of. Raises ResourceError."""
        self._rids.clear()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ResourceError(f"{self.path} cannot be removed: {error.strerror}") from None

    def _write(self) -> None:
        try:
            replace_file(self.path, "".join(rid + "\n" for rid in self._rids))
        except OSError as error:
            raise ResourceError(f"{self.path} cannot be written: {error.strerror}") from None
