"""The table at work: a trigger is looked up, its row carried out, its script run, and the script's end looked up again.

All changes of state pass through ``_trigger``. Why a trigger is pulled is decided elsewhere (claims, commands).
"""

from dataclasses import replace

from ha.fsm.config import ServiceConfig
from ha.fsm.events import Command, Ended, KillScript, NoteKind, RunScript
from ha.fsm.evidence import Standing
from ha.fsm.machine import NO_FACTS, Facts, decide
from ha.fsm.message import MAX_GENERATION
from ha.fsm.record import ServiceRecord
from ha.fsm.service import OUTCOMES, Job, Service, Waiting
from ha.fsm.sight import Sight
from ha.fsm.states import Action, ScriptKind, State
from ha.fsm.table import Do, Mark, Row, Trigger

_SCRIPT: dict[Do, ScriptKind] = {
    Do.CHECK: ScriptKind.CHECK,
    Do.START: ScriptKind.START,
    Do.STOP: ScriptKind.STOP,
    Do.STATUS: ScriptKind.STATUS,
}
_TOLD = frozenset(
    {Trigger.FOUND_UP, Trigger.FOUND_DOWN, Trigger.FOUND_UNKNOWN, Trigger.FORCE_STOP, Trigger.FORCE_START}
)
"""Told to the history even where the state stays."""


def in_words(job: Job, how: Ended, code: int, detail: str) -> str:
    """How a script ended, for people."""
    told = {
        Ended.EXITED: f"the {job.kind.value} script exited with {code}",
        Ended.KILLED: f"the {job.kind.value} script was killed by signal {code}",
        Ended.NOT_STARTED: f"the {job.kind.value} script could not be run",
        Ended.LOST: f"the {job.kind.value} script ended, nobody saw how",
    }[how]
    if job.killed:
        told = f"the {job.kind.value} script did not end in time"
    return f"{told} ({detail})" if detail else told


class Conduct(Sight):
    """Rows into records, scripts and answers."""

    def _trigger(
        self,
        name: str,
        trigger: Trigger,
        now: float,
        facts: Facts = NO_FACTS,
        why: str = "",
        by: str = "ezha",
        evidence: tuple[str, ...] = (),
        target: str = "",
    ) -> Row:
        """Ask the table, and carry out the row that applies."""
        service = self.services[name]
        if service.record.freeze:
            facts = replace(facts, freeze=True)
        row = decide(service.state, trigger, facts)
        reason = row.reason.format(why=why) if "{why}" in row.reason else row.reason
        if row.dest is None:
            if row.unexpected:
                self._alert(f"unexpected {trigger.value}", now, reason, name)
            elif trigger is not Trigger.LEAVE:
                self._note(NoteKind.REFUSED, name, reason, by=by)
            return row
        claiming = Mark.CLAIM in row.marks and row.dest is State.START_READY
        record = self._marked(service, row, target)
        self._put(name, service.moved(record, service.last_ran if claiming else service.claim_last_ran))
        self._wakes.pop(name, None)
        if row.dest is not row.state:
            self._send_now = True
        if row.dest is not row.state or row.do is not Do.NOTHING or trigger in _TOLD:
            self._note(
                NoteKind.TRANSITION,
                name,
                reason,
                source=row.state,
                dest=row.dest,
                by=by,
                evidence=evidence,
                generation=record.generation,
            )
        self._answer(name, reason)
        if row.do is not Do.NOTHING:
            self._run(name, _SCRIPT[row.do], now)
        self._dirty[name] = None
        return row

    def _marked(self, service: Service, row: Row, target: str) -> ServiceRecord:
        """The record after a row."""
        record, marks = service.record, row.marks
        assert row.dest is not None
        generation = record.generation
        if Mark.CLAIM in marks:
            heard = (e.generation for p in self._others(service) if (e := p.entries.get(service.id)) is not None)
            # A forged message may hold the largest there is: what cannot be recorded must not come of it.
            generation = min(1 + max(record.generation, record.seen, *heard), MAX_GENERATION)
        last_run = generation if Mark.RUN in marks else record.last_run
        demoted = (record.demoted or Mark.DEMOTE in marks) and Mark.PROMOTE not in marks
        handover = target if Mark.HANDOVER in marks else record.handover
        return ServiceRecord(
            name=record.name,
            state=row.dest,
            generation=generation,
            last_run=last_run,
            seen=max(record.seen, last_run),
            unclean=(record.unclean or Mark.UNCLEAN in marks) and Mark.CLEAN not in marks,
            demoted=demoted,
            freeze=(record.freeze or Mark.FREEZE in marks) and Mark.THAW not in marks,
            handover=handover if demoted else "",
        )

    def _run(self, name: str, kind: ScriptKind, now: float) -> None:
        service = self.services[name]
        assert service.job is None or service.job.killed >= 3, f"two scripts of {name} at once"
        if service.job is not None:  # the last one cannot be killed: nothing is run beside it
            self._outcome(
                name, Job(-1, kind, now, now), Ended.NOT_STARTED, 0, "an earlier script cannot be killed", now
            )
            return
        self._job += 1
        config = service.config
        action = kind.value
        argv = (config.check_script,) if kind is ScriptKind.CHECK else (config.script, action)
        env = {
            "EZ_SERVICE": name,
            "EZ_NODE": self.node,
            "EZ_ACTION": action,
            "EZ_STATE": service.state.name,
            "EZ_GENERATION": str(service.record.generation),
            "EZ_NODES": " ".join(config.nodes),
        }
        limit = now + self._timeout(config, kind)
        if service.lapsed_at is not None:
            limit = min(limit, self._emergency_end(name, now))
            env["EZ_EMERGENCY"] = "1"
        self._put(name, service.busy(Job(self._job, kind, now, limit)))
        self._runs.append(RunScript(name, self._job, kind, argv, env))
        self._count(f"scripts_{action}")

    def _emergency_end(self, name: str, now: float) -> float:
        """``ha.fsm.lapse``."""
        raise NotImplementedError

    def _after_kill(self, name: str, now: float) -> bool:
        """``ha.fsm.lapse``."""
        raise NotImplementedError

    @staticmethod
    def _timeout(config: ServiceConfig, kind: ScriptKind) -> float:
        match kind:
            case ScriptKind.CHECK:
                return config.check_timeout
            case ScriptKind.START:
                return config.start_timeout
            case ScriptKind.STOP:
                return config.stop_timeout
            case ScriptKind.STATUS:
                return config.status_timeout

    def _press(self, name: str, job: Job, now: float) -> None:
        """A script is past its time: SIGTERM, then SIGKILL, then given up. One that is over is not pressed."""
        service = self.services[name]
        grace = service.config.kill_grace
        if job.over:  # its end comes again
            self._put(name, replace(service, job=replace(job, deadline=now + grace)))
            return
        ran = now - job.started
        if job.killed < 2:
            self._put(name, replace(service, job=replace(job, killed=job.killed + 1, deadline=now + grace)))
            self._kills.append(KillScript(name, job.id, force=job.killed == 1))
            sign = "SIGKILL" if job.killed else "SIGTERM"
            self._note(NoteKind.ALERT, name, f"its {job.kind.value} script runs for {ran:.1f} s: {sign}")
            self._count("scripts_timed_out")
            return
        self._put(name, replace(service, job=replace(job, killed=3)))
        self._note(NoteKind.ALERT, name, f"its {job.kind.value} script cannot be killed: nothing is run beside it")
        self._outcome(name, job, Ended.KILLED, 9, "it cannot be killed", now)

    def _outcome(self, name: str, job: Job, how: Ended, code: int, detail: str, now: float) -> None:
        """What the end of a script means to the table."""
        service = self.services[name]
        if service.pending is not None:
            self._after_pending(name, service.pending, job, how, code, now)
            return
        if job.kind is not ScriptKind.STOP and self._after_kill(name, now):
            return
        if service.adopting or how is Ended.LOST:
            self._put(name, replace(service, adopting=False))
            self._trigger(name, Trigger.RESTART, now)
            return
        good = how is Ended.EXITED and code == 0 and job.killed == 0
        why = in_words(job, how, code, detail)
        if job.kind is ScriptKind.STATUS:
            self._trigger(name, self._found(service, how, code), now, why=why)
            return
        if job.kind is ScriptKind.CHECK and good:
            self._look_again(name, now)
            return
        cleaning = job.kind is ScriptKind.STOP and service.state is State.STARTING
        triggers = {
            ScriptKind.CHECK: (Trigger.CHECK_PASSED, Trigger.CHECK_FAILED),
            ScriptKind.START: (Trigger.START_DONE, Trigger.START_ERROR),
            ScriptKind.STOP: (Trigger.CLEANED, Trigger.NOT_CLEANED)
            if cleaning
            else (Trigger.STOP_DONE, Trigger.STOP_ERROR),
        }[job.kind]
        self._trigger(name, triggers[0 if good else 1], now, why=why)

    def _look_again(self, name: str, now: float) -> None:
        """The check script took its time: who was silent may have been heard meanwhile, and hold the service."""
        service = self.services[name]
        verdicts = self._verdicts(service, 1, now)
        held = [v.text for v in verdicts if v.standing is Standing.HOLDS]
        evidence = self._evidence(service, verdicts, now) if held else ()
        facts = Facts(held_elsewhere=bool(held))
        self._trigger(name, Trigger.CHECK_PASSED, now, facts, why="; ".join(held), evidence=evidence)

    @staticmethod
    def _found(service: Service, how: Ended, code: int) -> Trigger:
        """What the controller's status means: 0 up, 3 down unless configured otherwise; all else is unknown."""
        if how is Ended.EXITED and code in service.config.status_up:
            return Trigger.FOUND_UP
        if how is Ended.EXITED and code in service.config.status_down:
            return Trigger.FOUND_DOWN
        return Trigger.FOUND_UNKNOWN

    def _after_pending(self, name: str, command: Command, job: Job, how: Ended, code: int, now: float) -> None:
        service = self.services[name]
        self._put(name, replace(service, pending=None, adopting=False))
        asked = job.kind is ScriptKind.STATUS and not command.override
        up = asked and self._found(service, how, code) is Trigger.FOUND_UP
        self._force(name, command, up, now)

    def _force(self, name: str, command: Command, controller_up: bool, now: float) -> None:
        service = self.services[name]
        verdicts = self._verdicts(service, 1, now)
        barred = self.no_standing(name) if command.action is Action.FORCE_START else ""
        if barred:  # not even --i-know: what runs without a lease is stopped at once
            self._note(NoteKind.REFUSED, name, barred, by=command.by)
            self._reply(command.id, name, False, barred)
            return
        clear = all(v.clear for v in verdicts)
        why = "; ".join(v.text for v in verdicts if not v.clear)
        facts = Facts(clear=clear, controller_up=controller_up, override=command.override)
        trigger = Trigger(command.action.value)
        allowed = decide(service.state, trigger, facts).dest is not None
        if allowed:
            why = " (--i-know)" if command.override else ""
            self._supersede(name, command)
            good, bad = OUTCOMES[command.action]
            self._put(name, replace(self.services[name], waiting=Waiting(command.id, command.action, good, bad)))
        row = self._trigger(
            name, trigger, now, facts, why=why, by=command.by, evidence=self._evidence(service, verdicts, now)
        )
        if row.dest is None:
            self._reply(command.id, name, False, row.reason.format(why=why))

    def _supersede(self, name: str, command: Command) -> None:
        waiting = self.services[name].waiting
        if waiting is not None:
            self._reply(waiting.command, name, False, f"given up for a later {command.action.value}")

    def _answer(self, name: str, reason: str) -> None:
        """Tell whoever waits for a command of this service whether it came about."""
        service = self.services[name]
        waiting = service.waiting
        if waiting is None:
            return
        if service.state in waiting.good or service.state in waiting.bad:
            self._put(name, replace(service, waiting=None))
            good = service.state in waiting.good
            self._reply(
                waiting.command, name, good, f"{service.state.name}" if good else f"{service.state.name}: {reason}"
            )
        else:
            self._reply(waiting.command, name, True, f"{service.state.name}: {reason}", final=False)
