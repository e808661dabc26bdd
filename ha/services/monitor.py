"""``resource_monitor``: a resource that died on the active node is restarted in place, or the service leaves the node.

A look finds a monitored resource down; it is restarted up to ``restart`` times; after that, ``monitor_action`` says
what becomes of the service. How often that may happen in an hour is limited on each node: two nodes on which a service
cannot live must not hand it to and fro for ever, for every move is an outage.

Only what is lost counts (``Status.lost``). A resource that cannot be judged (a name that does not resolve, a mount that
hangs) is left alone, and ``print status`` tells of it: a failover would harm a service that runs, or wait for the disk.

Acts on resources; what the clusterware is to do is only returned.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ha.services.errors import ServiceError, StillRunning
from ha.services.folders import replace_file
from ha.services.resource import Resource
from ha.services.service import Service
from ha.services.state import State, Status

HOUR_S = 3600.0
NONE = "none"
_POLL_S = 0.1
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be done with the service; ``action`` is a word of ``monitor_action``."""

    action: str = NONE
    why: str = ""


class Monitor:
    """One look at one service, under its lock."""

    def __init__(
        self,
        service: Service,
        frozen: bool,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``now``: seconds since the epoch; the record of actions outlives a boot."""
        self._service = service
        self._frozen = frozen
        self._now = now
        self._sleep = sleep
        self._log = service.ctx.log

    def look(self) -> Outcome:
        """Restart what is down; returns what is to become of the service. Raises ServiceError."""
        if self._frozen or not self._runs_here():
            return Outcome()
        lost = [each for each in self._monitored() if not self._revived(each)]
        if not lost:
            return Outcome()
        why = "; ".join(self._told(each) for each in lost)
        action = self._service.config.values.text("monitor_action")
        self._log.error(f"{why}; monitor_action is {action}")
        if action == NONE or not self._may_act(action):
            return Outcome(NONE, why)
        return Outcome(action, why)

    def _runs_here(self) -> bool:
        """Where a clusterware says that the service is up. While it starts or stops, resources are down rightly."""
        hearts = self._service.siblings("hb")
        return bool(hearts) and all(self._service.status(each).state is State.UP for each in hearts)

    def _monitored(self) -> list[Resource]:
        return [each for each in self._service.resources if each.monitor and not each.disable]

    def _revived(self, resource: Resource) -> bool:
        """Whether it is up, or not known to be lost; restarted where it was."""
        if not self._look(resource).lost:
            return True
        ctx = self._service.context(resource)
        tries = resource.values.integer("restart")
        for number in range(1, tries + 1):
            ctx.log.warning(f"{self._how(resource)}: restart {number} of {tries}")
            try:
                resource.stop(ctx)
                resource.start(ctx)
            except StillRunning as error:
                ctx.log.error(f"{error}: no further restart, for nothing may be done beside it")
                return False
            except (ServiceError, OSError) as error:
                ctx.log.error(str(error))
            up = self._comes_up(resource)
            if self._given_up():
                ctx.log.info("no further restart: the service is not to run here any more")
                return True
            if up:
                ctx.log.info("is up again")
                return True
        return False

    def _given_up(self) -> bool:
        """Whether the service was told to stop meanwhile: its stop waits for our lock, and not for ever."""
        self._service.forget()
        return not self._runs_here()

    def _comes_up(self, resource: Resource) -> bool:
        """Within ``restart_delay``, which is also the time between two restarts."""
        left = resource.values.seconds("restart_delay")
        while self._look(resource).lost:
            if left <= 0 or self._given_up():
                return False
            self._sleep(min(_POLL_S, left))
            left -= _POLL_S
        return True

    def _look(self, resource: Resource) -> Status:
        self._service.forget()
        return self._service.status(resource)

    def _how(self, resource: Resource) -> str:
        return "is down" if self._service.status(resource).state is State.DOWN else "does not work"

    def _told(self, resource: Resource) -> str:
        tries = resource.values.integer("restart")
        notes = ", ".join(self._service.status(resource).notes)
        after = f" after {tries} restart{'s' if tries > 1 else ''}" if tries else ""
        return f"{resource.rid} {self._how(resource)}{after}" + (f" ({notes})" if notes else "")

    # ---- how often

    def _may_act(self, action: str) -> bool:
        """Notes the action as taken. Raises ServiceError where that cannot be: without a record there is no limit."""
        limit = self._service.config.values.integer("failovers_per_hour")
        now = self._now()
        # One of the future counts: the clock was set back, and nobody knows how long ago it was.
        taken = [at for at in self._taken() if at > now - HOUR_S]
        if len(taken) >= limit:
            times = f"{len(taken)} time{'s' if len(taken) > 1 else ''}"
            self._log.error(f"{action} is not done: it was done {times} within an hour here, see failovers_per_hour")
            return False
        self._note([*taken[-limit:], now])
        return True

    @property
    def _record(self) -> str:
        return f"{self._service.ctx.paths.var}/{self._service.config.name}.actions"

    def _taken(self) -> list[float]:
        try:
            with open(self._record, encoding="ascii", errors="replace") as file:
                words = file.read(_MAX_BYTES).split()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ServiceError(f"{self._record} cannot be read: {error.strerror}; no action is taken") from None
        return [float(word) for word in words if word.isdigit() and len(word) < 12]

    def _note(self, times: list[float]) -> None:
        try:  # durable: a reboot or crash comes next
            replace_file(self._record, "".join(f"{at:.0f}\n" for at in times), 0o644, durable=True)
        except OSError as error:
            raise ServiceError(f"{self._record} cannot be written: {error.strerror}; no action is taken") from None
