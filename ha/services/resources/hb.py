"""``[hb#N] type = OpenHA``: the heartbeat that decides where the service runs. It is looked at, never acted on.

What it says is read where any agent reads it: the ``STATE.<node>`` files, and whether the daemon runs. So an original
OpenHA is understood as ezha is.
"""

import os
from collections.abc import Iterable, Mapping
from typing import ClassVar

from ha.services.context import Context
from ha.services.keys import Key, Values
from ha.services.resource import Resource
from ha.services.resources.processes import pids
from ha.services.state import State, Status

_PLACES = ("/usr/local/cluster", "/var/lib/openha")
"""Where the states lie, unless EZ_VAR or EZ says otherwise: of ezha and OpenHA's older layout, and of its newer one."""
_DAEMON = "nmond"
_NAMES = {
    "0": "STOPPED",
    "1": "STOPPING",
    "2": "STARTED",
    "3": "STARTING",
    "4": "START_FAILED",
    "5": "STOP_FAILED",
    "6": "FROZEN_STOP",
    "7": "START_READY",
    "8": "UNKNOWN",
}
"""OpenHA's digits: it writes no more than those (spec: OpenHA, "States"). ezha writes the name after the digit."""
UNKNOWN = "UNKNOWN"
_MAX_BYTES = 64
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class OpenHA(Resource):
    """A service of ezha or OpenHA."""

    group = "hb"
    keys = (
        Key("type", doc="OpenHA", required=True, choices=("OpenHA",)),
        Key("name", doc="the cluster's name of the service, where it differs from this one's"),
    )
    timeouts: ClassVar = {"status": 2.0}

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        self.environ: Mapping[str, str] = os.environ
        """Where EZ_VAR and EZ are looked up."""

    @property
    def label(self) -> str:
        return "hb.openha"

    def problems(self) -> Iterable[tuple[str, str]]:
        name = self.values.text("name")
        if name and (not _ALLOWED.issuperset(name) or name[0] in ".-"):
            yield "name", f"{name!r} cannot be the name of a service"

    def status(self, ctx: Context) -> Status:
        if not self.running():
            return Status(State.WARN, ("open-ha daemons are not running",))
        seen = self.state_of(ctx, ctx.node)
        if seen == "STARTED":
            return Status(State.UP)
        if seen == "STOPPED":
            return Status(State.DOWN)
        return Status(State.WARN, (f"cluster service status is {seen}",))

    def running(self) -> bool:
        """Whether the daemon that keeps the states up to date does: without it they are of the past."""
        for pid in pids():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    title = file.read(4096)
            except OSError:
                continue  # it has ended
            if os.path.basename(title.split(b"\0")[0].split(b" ")[0]) == _DAEMON.encode():
                return True
        return False

    def state_of(self, ctx: Context, node: str) -> str:
        """The state of the service on a node, in words; UNKNOWN where nothing is on record that can be read."""
        path = f"{self._folder(ctx)}/STATE.{node}"
        try:
            # Not blocking: a FIFO in its place must not hold us up.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return UNKNOWN
        try:
            text = os.read(fd, _MAX_BYTES).decode("ascii", errors="replace")
        except OSError:
            return UNKNOWN
        finally:
            os.close(fd)
        digit, _, name = text.rstrip("\0\n").partition(" ")
        known = _NAMES.get(digit, UNKNOWN)
        # A 7 of ezha's may be FROZEN_START: only the name tells (its number has no digit of OpenHA's).
        return name if name in ("FROZEN_START", known) else known

    def _folder(self, ctx: Context) -> str:
        name = self.values.text("name") or ctx.service
        told = self.environ.get("EZ_VAR") or self.environ.get("EZ")
        places = [f"{place}/services/{name}" for place in ((told,) if told else _PLACES)]
        return next((place for place in places if os.path.isdir(place)), places[0])
