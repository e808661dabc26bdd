"""``svcmgr watch``: looks at the monitored resources of all services on this node, each on its own schedule.

nmond keeps it running. A look is a process of its own (``svcmgr -s S --cluster resource_monitor``): one that hangs
delays no other service, and a second one is not begun before it has ended.
"""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ha.services.config import find, load, service_names
from ha.services.context import Paths
from ha.services.errors import ServiceError

EVERY_S = 0.5
"""How often it is looked what is due."""
_READ_AGAIN_S = 5.0
"""How often files of services are looked at for changes."""


@dataclass(slots=True)
class _Watched:
    """A service with monitored resources, or one whose file has none."""

    stamp: tuple[int, int] = (0, 0)
    interval_s: float = 0.0
    """0: there is nothing to watch."""
    due: float = 0.0
    running: "subprocess.Popen[bytes] | None" = field(default=None)


class Watch:
    """What ``turn`` remembers from one to the next."""

    def __init__(self, paths: Paths, host: str, launch: Callable[[str], "subprocess.Popen[bytes]"]) -> None:
        """``launch(service)`` begins a look. Raises OSError where it cannot."""
        self._paths = paths
        self._host = host
        self._launch = launch
        self._services: dict[str, _Watched] = {}
        self._read_at = float("-inf")

    def turn(self, now: float) -> None:
        """Begin the looks that are due. ``now``: seconds of any clock that does not jump."""
        if now - self._read_at >= _READ_AGAIN_S:
            self._read_at = now
            self._read(now)
        for name, each in self._services.items():
            if each.running is not None:
                if each.running.poll() is None:
                    continue
                each.running = None
                each.due = now + each.interval_s
            if each.interval_s and now >= each.due:
                try:
                    each.running = self._launch(name)
                except OSError:
                    each.due = now + each.interval_s  # no memory, no processes: the next one may find some

    def _read(self, now: float) -> None:
        names = service_names(self._paths)
        for name in names:
            each = self._services.setdefault(name, _Watched())
            try:
                found = os.stat(find(self._paths, name))
                stamp = (found.st_mtime_ns, found.st_ino)
                if stamp == each.stamp:
                    continue
                each.stamp = stamp
                config = load(self._paths, name, self._host)
            except (ServiceError, OSError):
                # A file that is being edited: what stood there before goes on. The look itself tells what is wrong.
                continue
            watched = any(resource.monitor and not resource.disable for resource in config.resources)
            each.interval_s = max(EVERY_S, config.values.seconds("monitor_interval")) if watched else 0.0
            each.due = now + each.interval_s
        for name in self._services.keys() - set(names):
            if self._services[name].running is None:
                del self._services[name]


def watch(paths: Paths, host: str, program: str) -> None:
    """For ever. ``program``: the path of svcmgr."""

    def launch(service: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [program, "-s", service, "--cluster", "--waitlock", "0", "resource_monitor"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # its lines are in the service's log
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    watching = Watch(paths, host, launch)
    while True:
        watching.turn(time.monotonic())
        time.sleep(EVERY_S)
