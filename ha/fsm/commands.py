"""What an operator asks for: accepted or refused with its reason, and its outcome awaited.

No wish is lost or done twice: a later command ends the waiting of an earlier one, and says so.
"""

from dataclasses import replace

from ha.fsm.claims import Claims
from ha.fsm.events import Command, NoteKind, ScriptEnded
from ha.fsm.machine import Facts, decide
from ha.fsm.service import OUTCOMES, Job, Service, Waiting
from ha.fsm.states import Action, ScriptKind, State
from ha.fsm.table import Do, Row, Trigger

_FORCES = (Action.FORCE_STOP, Action.FORCE_START)
_LOOKS = frozenset({Action.START, Action.FREEZE_START, Action.SWITCH})
"""Commands that rest on evidence about other nodes."""


class Commands(Claims):
    """Commands in, replies out."""

    def _on_script(self, event: ScriptEnded, now: float) -> None:
        service = self.services.get(event.service)
        job = service.job if service is not None else None
        if service is None or job is None or job.id != event.job:
            self._alert(
                "scripts_unexpected", now, f"a script that nobody waits for ended (job {event.job})", event.service
            )
            return
        queued = service.queued
        self._put(event.service, replace(service, job=None, queued=None))
        if job.killed < 3:
            self._outcome(event.service, job, event.how, event.code, event.detail, now)
        else:  # its outcome was settled when it was given up
            text = f"its {job.kind.value} script, which could not be killed, is over"
            self._note(NoteKind.ALERT, event.service, text)
        self._dirty[event.service] = None
        if queued is not None:
            self._on_command(queued, now)

    def _on_command(self, command: Command, now: float) -> None:
        name = command.service
        service = self.services.get(name)
        if service is None:
            self._reply(command.id, name, False, "no such service on this node: see service -s")
            return
        if command.action in _FORCES:
            self._on_force(name, service, command, now)
            return
        trigger = Trigger(command.action.value)
        if service.pending is not None:
            self._reply(command.id, name, False, f"a {service.pending.action.value} is under way")
            return
        verdicts = self._verdicts(service, 1, now)
        barred = self.no_standing(name)
        clear = all(v.clear for v in verdicts) and not barred
        why = barred or "; ".join(v.text for v in (verdicts if clear else [v for v in verdicts if not v.clear]))
        if barred and command.action is Action.UNFREEZE and service.state is State.FROZEN_START:
            self._refuse(command, barred)
            return
        facts = Facts(clear=clear, busy=service.job is not None, override=command.override)
        target = ""
        if command.action is Action.SWITCH:
            target, why = self._target(service, command.target, now)
            facts = replace(facts, target_ready=bool(target))
        if service.job is not None and service.job.killed >= 3:
            self._refuse(command, f"its {service.job.kind.value} script cannot be killed: see ps")
            return
        if service.job is not None and service.job.kind is ScriptKind.STATUS:
            if service.queued is not None:
                self._refuse(command, f"a {service.queued.action.value} waits already for the controller's answer")
                return
            self._put(name, replace(service, queued=command))
            self._reply(command.id, name, True, "its controller is being asked", final=False)
            return
        row = decide(service.state, trigger, facts)
        left = self._left_over(service, row)
        if left is not None:
            self._refuse(command, f"its {left.kind.value} script is still running: wait for its end")
            return
        if row.dest is not None:
            self._supersede(name, command)
            good, bad = OUTCOMES[command.action]
            waiting = Waiting(command.id, command.action, good, bad, target)
            self._put(name, replace(self.services[name], waiting=waiting))
            accepted = f"{command.action.value} accepted"
            self._reply(command.id, name, True, accepted, final=False)
        evidence = self._evidence(service, verdicts, now) if command.action in _LOOKS else ()
        row = self._trigger(name, trigger, now, facts, why=why, by=command.by, evidence=evidence, target=target)
        if row.dest is None:
            self._reply(command.id, name, False, row.reason.format(why=why))

    @staticmethod
    def _left_over(service: Service, row: Row) -> Job | None:
        """The script beside which another would run: an earlier nmond's; for ours the table has answers of its own."""
        return service.job if row.do is not Do.NOTHING else None

    def _refuse(self, command: Command, text: str) -> None:
        self._note(NoteKind.REFUSED, command.service, text, by=command.by)
        self._reply(command.id, command.service, False, text)

    def _on_force(self, name: str, service: Service, command: Command, now: float) -> None:
        """force-stop and force-start: the controller is asked first, or a running script ended first."""
        if service.pending is not None:
            self._reply(command.id, name, False, f"a {service.pending.action.value} is under way")
            return
        if service.job is not None:
            if not command.override or service.job.killed >= 3:
                stuck = service.job.killed >= 3
                text = decide(service.state, Trigger(command.action.value), Facts(busy=True)).reason
                self._refuse(command, f"its {service.job.kind.value} script cannot be killed" if stuck else text)
                return
            self._put(name, replace(service, pending=command))
            self._press(name, service.job, now)
            return
        if command.action is Action.FORCE_STOP and not command.override:
            self._put(name, replace(service, pending=command))
            self._reply(command.id, name, True, "its controller is asked", final=False)
            self._run(name, ScriptKind.STATUS, now)
            return
        self._force(name, command, False, now)
