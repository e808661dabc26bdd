"""What this node saw last of the etcd cluster: which one it is, and how far its history had come.

An etcd that was restored from a backup has forgotten who holds what, while the holder has not noticed yet. It cannot
hide that: its history is shorter than what was seen, or it is another cluster. Then nothing is created until every
lease granted before must have ended; the same after a boot, when nothing is known.

Kept in a file of $EZ_RUN for the process that comes after this one, as it was at the last look: what is older would let
a short history pass for a grown one. While that wait goes on, the file says that nothing is known.
"""

import json
from typing import Final

from ha.node.files import read_regular, replace_file

MAX_SIZE: Final = 1024


class Memory:
    """Of one cluster."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._settled = True
        self.cluster = 0
        """0: none was ever seen, or that is not known any more."""
        self.revision = 0
        self.trouble = ""
        """Why the file cannot be written; empty: it can. That is no reason to let go of anything."""
        self._load()

    def _load(self) -> None:
        try:
            body = json.loads(read_regular(self._path, MAX_SIZE, follow=False))
            cluster, revision = int(body["cluster"]), int(body["revision"])
        except (OSError, ValueError, KeyError, TypeError):
            # Whatever is wrong with it, nothing is remembered, which is the careful side.
            return
        if cluster > 0 and revision >= 0:
            self.cluster, self.revision = cluster, revision

    def see(self, cluster: int, revision: int) -> bool:
        """Remember it. False: its history is not that which was seen before; ``settle`` is to follow."""
        same = cluster == self.cluster and revision >= self.revision
        grown = revision > self.revision
        self.cluster, self.revision = cluster, revision
        if not same:
            self._settled = False
            self._save(0, 0)
        elif self._settled and grown:
            self._save(cluster, revision)
        return same

    def settle(self) -> None:
        """Whatever was granted before this history began has ended."""
        if not self._settled:
            self._settled = True
            self._save(self.cluster, self.revision)

    def _save(self, cluster: int, revision: int) -> None:
        data = json.dumps({"cluster": str(cluster), "revision": str(revision)}).encode()
        try:
            replace_file(self._path, data, durable=False, mode=0o600)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{self._path} cannot be written: {error.strerror or error}"
