"""What the end of a lease does to what runs here: emergency stop, and at the hard deadline the end of the machine.

A lapse is final (design, "Who may run", rule 4): a renewal that comes after it does not bring the service back, an
ordinary claim does. Whether there is a standing is ``ha.fsm.standing``'s matter.
"""

from dataclasses import replace

from ha.fsm.conduct import Conduct
from ha.fsm.events import KillScript, NoteKind
from ha.fsm.lease import FOREVER, NEVER
from ha.fsm.machine import Facts
from ha.fsm.states import Promise, ScriptKind, State
from ha.fsm.table import Trigger

RETRY_S = 1.0
"""A step that could not be persisted is tried again after this."""


class Lapses(Conduct):
    """Looks at the leases before any event is looked at."""

    def _look_at_leases(self, now: float) -> None:
        """Has a lease ended? What it covered is stopped; what could not be stopped in time ends with the machine."""
        all_stand = True
        for lease in self.leases.values():
            if not lease.standing:
                all_stand = False
            elif now >= lease.until:
                lease.standing = False
                self._count("lapses")
                covered = [n for n, covering in self._covers.items() if covering is lease]
                running = [n for n in (*self._held, *self._claims) if self._covers.get(n) is lease]
                text = f"the lease shared with {', '.join(lease.others)} has lapsed: {self.no_standing(covered[0])}"
                kind = NoteKind.ALERT if running else NoteKind.PEER
                self._note(kind, lease.arbiter, f"{text}; {len(running)} of its services are stopped here")
                self._mark(covered)
                all_stand = False
        if all_stand and not self._lapsed:
            return
        for name in [*self._held, *self._claims]:
            lapsing = self._covers.get(name)
            if lapsing is not None and not lapsing.standing and self.services[name].lapsed_at is None:
                # One that this nmond knows of no end of has its emergency stop from now on.
                ended = now if lapsing.until == NEVER else min(lapsing.until, now)
                reason = self.no_standing(name).partition(": ")[2]
                self._lapse(name, ended, f"the lease has lapsed: {reason}" if reason else "the lease has lapsed", now)
        for name in self._lapsed:
            if now >= self._hard_deadline(name):
                self._end_machine(name, now)

    def _hard_deadline(self, name: str) -> float:
        """When whatever is left of a lapsed service must end with the machine."""
        if name in self._hard_at:
            return self._hard_at[name]
        lapsed_at = self.services[name].lapsed_at
        lease = self._covers.get(name)
        if lease is None:
            return FOREVER  # without a lease nobody waits for its end
        return lease.hard if lapsed_at is None else lease.ended(lapsed_at)

    def _emergency_end(self, name: str, now: float) -> float:
        """Until when an emergency stop that begins now may take.

        Where nothing ends the machine (``self_fence`` stop) it has its usual time: one that is ended half-way leaves
        more behind than one that is late. Else, where the hard deadline is past and the machine has not ended, what
        runs is stopped all the same, in as much time."""
        if self.config.self_fence <= Promise.STOP:
            return FOREVER
        hard = self._hard_deadline(name)
        lease = self._covers.get(name)
        return hard if hard > now or lease is None else now + lease.timing.emergency

    def _lapse(self, name: str, at: float, why: str, now: float) -> None:
        """Stop the service now, whatever it is doing. ``at``: when its lease ended."""
        service = self.services[name]
        for asked in (service.pending, service.queued):
            if asked is not None:
                self._reply(asked.id, name, False, f"given up: {why}")
        job = service.job
        if job is not None and any(order.job == job.id for order in self._runs):
            # It was to begin in this very step.
            self._runs = [order for order in self._runs if order.job != job.id]
            service, job = replace(service, job=None), None
        if name in self._covers:
            self._hard_at[name] = self._covers[name].ended(at)
        self._lapsing[name], self._entries = None, None  # our messages say so from now on
        service = replace(service, lapsed_at=at, pending=None, queued=None, adopting=False)
        self._put(name, service)
        if job is not None and job.kind is ScriptKind.STOP:
            limit = min(job.deadline, self._emergency_end(name, now))
            self._put(name, replace(service, job=replace(job, deadline=limit)))
            self._note(NoteKind.ALERT, name, f"{why} while its stop script runs: it has {limit - now:.3f} s more")
            return
        if job is not None and job.killed < 2 and not job.over:
            self._kills.append(KillScript(name, job.id, force=True))
            deadline = now + service.config.kill_grace
            self._put(name, replace(service, job=replace(job, killed=2, deadline=deadline)))
        paths = tuple(text for peer in self._others(service) for text in peer.describe_paths(now))
        self._trigger(name, Trigger.LAPSE, now, Facts(busy=job is not None), why=why, evidence=paths)
        if self.services[name].state is State.STOPPED and name in self._held:
            # A claim of its own is withdrawn, of a service of which parts were left by a stop that failed.
            self._trigger(name, Trigger.LAPSE, now, why=why, evidence=paths)

    def _end_machine(self, name: str, now: float) -> None:
        """Rule 4: it was not stopped in time."""
        if name in self._ending:
            return
        self._ending[name] = None
        service = self.services[name]
        late = now - (service.lapsed_at or now)
        text = f"{name} is {service.state.name} {late:.3f} s after its lease lapsed, and is not known to be stopped"
        self._self_fence = text
        what = "nothing more is done" if self.config.self_fence <= Promise.STOP else "this machine is ended"
        self._note(NoteKind.ALERT, name, f"{text}: {what} (self_fence {self.config.self_fence.name})")
        self._count("self_fencings")

    def _is_urgent(self) -> bool:
        """This step does nothing but stop what lapsed: it must not wait for a disk that cannot be written."""
        stops = all(order.kind is ScriptKind.STOP for order in self._runs)
        return bool(self._lapsing) and stops and self._persist.keys() <= self._lapsing.keys()

    def unsaved(self, now: float) -> None:
        """The records of an urgent step could not be persisted. They are tried again, before anything else runs."""
        self._unsaved_until = now + RETRY_S

    def _guard_time(self) -> float:
        """Unless renewed, what runs here must be ended with the machine then; ``inf``: nothing does that needs it."""
        when = self._strays_end
        for name in self._lapsed:
            when = min(when, self._hard_deadline(name))
        for lease in self.leases.values():
            for name in self._held:
                if self._covers[name] is lease and name not in self._lapsed:
                    when = min(when, lease.hard)
                    break
        return when

    def _lease_deadline(self) -> float:
        """When the next lease ends, or the next emergency stop must be over."""
        when = FOREVER
        for lease in self.leases.values():
            if lease.standing and lease.until < when:
                when = lease.until
        for name in self._lapsed:
            if name not in self._ending:
                when = min(when, self._hard_deadline(name))
        return when

    @property
    def lapses_at(self) -> float:
        """Before anything is let out of this node past this time, the engine has to look at it. Monotonic seconds."""
        return self._lease_deadline()

    def _after_kill(self, name: str, now: float) -> bool:
        """The script that the lapse had killed is gone: now the emergency stop. False where this is no such end."""
        service = self.services[name]
        if service.lapsed_at is None or service.state is not State.STOPPING:
            return False
        self._lapsing[name] = None
        self._trigger(name, Trigger.LAPSE, now, why="the killed script has ended")
        return True
