"""What this node saw last of the etcd cluster: which one it is, how far its history had come, and when that was.

An etcd that was restored from a backup has forgotten who holds what, while the holder has not noticed yet. It cannot
hide that from a node that looks all the time: its history is shorter than what was seen, or it is another cluster, or
it could not be looked at for a while, since a backup is not restored in a moment. After each of these nothing is
created until every lease granted before must have ended; the same after a boot, when nothing is known.

Kept in a file of $EZ_RUN for the process that comes after this one. While such a wait goes on, the file says that
nothing was seen.
"""

import json
from typing import Final

from ha.node.files import read_regular, replace_file

MAX_SIZE: Final = 1024
NEVER: Final = float("-inf")


class Memory:
    """Of one cluster."""

    def __init__(self, path: str, gap: float) -> None:
        """``gap``: seconds without a look after which nothing is sure any more."""
        self._path = path
        self._gap = gap
        self._settled = False
        self._at = NEVER
        self.cluster = 0
        """0: none was ever seen, or that is not known any more."""
        self._revision = 0
        self.trouble = ""
        """Why the file cannot be written; empty: it can. That is no reason to let go of anything."""
        self._load()

    def _load(self) -> None:
        try:
            body = json.loads(read_regular(self._path, MAX_SIZE, follow=False))
            cluster, revision, at = int(body["cluster"]), int(body["revision"]), float(body["at"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            # Whatever is wrong with it, nothing is remembered, which is the careful side.
            return
        if cluster > 0 and revision >= 0:
            self.cluster, self._revision, self._at, self._settled = cluster, revision, at, at >= 0

    def see(self, cluster: int, revision: int, at: float) -> bool:
        """A look, asked for at ``at`` (CLOCK_BOOTTIME seconds). False: nobody knows what happened since the last one;
        ``settle`` is to follow."""
        same = cluster == self.cluster and revision >= self._revision and at - self._at <= self._gap
        self.cluster, self._revision, self._at = cluster, revision, at
        self._settled = self._settled and same
        self._save()
        return same

    def settle(self) -> None:
        """Whatever was granted before the last look that was unsure has ended."""
        if not self._settled:
            self._settled = True
            self._save()

    def _save(self) -> None:
        seen = {
            "cluster": str(self.cluster),
            "revision": str(self._revision),
            "at": self._at if self._settled else -1.0,
        }
        try:
            replace_file(self._path, json.dumps(seen).encode(), durable=False, mode=0o600)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{self._path} cannot be written: {error.strerror or error}"
