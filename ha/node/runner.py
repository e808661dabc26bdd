"""Runs the scripts of the services (docs/controller.md), each in its own process group, and tells how they ended.

It never waits for one, decides nothing, and knows no states: which script runs when is the engine's matter.

A script and its record. A shell is spawned, and waits. Its pid and start time are written to ``$EZ_RUN/jobs``, and
only then it is told to become the script; when nmond dies in between, the shell sees the end of the pipe and ends
without having done anything. So every script that ever runs has a record, and the next nmond finds it. A shell, for it
starts in a millisecond, and nmond's own pages stay its own: a fork of nmond costs both sides several.

Output goes to a file, never to a pipe that somebody must read to its end: a daemon that the script leaves behind may
keep it open for ever.
"""

import errno
import json
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from ha.fsm.events import Ended, KillScript, RunScript, ScriptEnded
from ha.fsm.states import ScriptKind
from ha.node import process
from ha.node.log import Log, printable
from ha.node.loop import Loop
from ha.node.trust import DistrustError, RemoteMounts, require_trust

ROTATE_BYTES: Final = 1 << 20
"""A service's log is rotated beyond this size, when a script starts; one older file is kept."""
TAIL_BYTES: Final = 4096
DETAIL_CHARS: Final = 200
RECORD_LIMIT: Final = 4096
"""Bytes of a job's record that are looked at."""
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NO_CHECK: Final = frozenset({("/bin/true",), ("/usr/bin/true",)})
"""Stands where a service has no check script: its answer is known."""
LINGER_S: Final = 0.05
"""How often it is looked whether the rest of a killed group is gone."""
TELL_WITHIN_S: Final = 0.02
"""While scripts wait to be launched, the ends of others are told within this time, all at once: each telling writes the
state of record."""
_GO: Final = b"go\n"
LAUNCHER: Final = "ezha-launch"
"""Begins what the launcher itself says in a script's log."""
SHELL: Final = "/bin/sh"
_PROGRAM: Final = """\
IFS= read -r go || exit 0
umask 022
cd / || exit 126
{ IFS= read -r head <"$1"; } 2>/dev/null
case $head in
"#!"* | ?ELF*) ;;
*) if [ -x "$1" ]; then echo "$0: $1: Exec format error" >&2; exit 126; fi ;;
esac
unset go head PWD OLDPWD SHLVL _
exec "$@" </dev/null
"""
"""Any POSIX shell. One that finds neither ``#!`` nor a binary would read the file as commands of its own, an empty one
as a success; the kernel refuses it, and so does this."""


class Job:
    """One script that runs, or one that an earlier nmond left running."""

    __slots__ = (
        "ending",
        "job",
        "killed",
        "kind",
        "log",
        "offset",
        "orphan",
        "pid",
        "pidfd",
        "service",
        "start",
    )

    def __init__(self, service: str, job: int, kind: ScriptKind, pid: int, start: int, log: str, offset: int) -> None:
        self.service = service
        self.job = job
        self.kind = kind
        self.pid = pid
        self.start = start
        """Clock ticks from boot, as /proc says: with the pid it names one process."""
        self.log = log
        self.offset = offset
        """Where in ``log`` this job's output begins."""
        self.pidfd = -1
        self.orphan = False
        """Not our child: how it ends cannot be known."""
        self.killed = False
        """Its process group was signalled: the job is over only when nothing of that is left."""
        self.ending: tuple[Ended, int] | None = None
        """How the script itself ended, while others of its group live."""

    def packed(self) -> dict[str, Any]:
        return {
            "version": 1,
            "service": self.service,
            "job": self.job,
            "kind": self.kind.value,
            "pid": self.pid,
            "start": self.start,
            "log": self.log,
            "offset": self.offset,
            "orphan": self.orphan,
            "killed": self.killed,
            "ending": self.ending and [self.ending[0].value, self.ending[1]],
        }

    @classmethod
    def unpacked(cls, data: Mapping[str, Any]) -> "Job":
        """Raises ValueError, KeyError or TypeError for anything that ``packed`` did not make."""
        if data["version"] != 1:
            raise ValueError(f"version {data['version']}")
        for key, kind in (("service", str), ("job", int), ("pid", int), ("start", int), ("log", str), ("offset", int)):
            if type(data[key]) is not kind:
                raise ValueError(f"{key} is {data[key]!r}")
        if data["pid"] < 2 or data["offset"] < 0:
            raise ValueError(f"pid {data['pid']}, offset {data['offset']}")
        job = cls(
            data["service"],
            data["job"],
            ScriptKind(data["kind"]),
            data["pid"],
            data["start"],
            data["log"],
            data["offset"],
        )
        job.orphan = bool(data["orphan"])
        job.killed = bool(data.get("killed"))
        if ending := data.get("ending"):
            how, code = ending
            job.ending = Ended(how), int(code)
        return job

    def group_lives(self) -> bool:
        """Of a job whose script itself has ended. A number that is a living process's again is another group's."""
        return process.start_time(self.pid) is None and process.group_lives(self.pid)


class Runner:
    """``run`` and ``kill`` return at once; ``ended`` is called once for every ``run``, and may be before it returns."""

    def __init__(
        self,
        loop: Loop,
        run_dir: str,
        log_dir: str,
        log: Log,
        ended: Callable[[ScriptEnded], None],
        before: Callable[[str], None] = lambda service: None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """``before`` is called with the service's name right before one of its scripts is launched."""
        self._loop = loop
        self._jobs_dir = f"{run_dir}/jobs"
        self._logs_dir = f"{log_dir}/scripts"
        self._log = log
        self._ended = ended
        self._before = before
        self._environ = {"PATH": PATH, "HOME": "/", "LANG": "C.UTF-8", **(environ or {})}
        self._remote = RemoteMounts()
        self._waiting: deque[RunScript] = deque()
        self._checks: deque[RunScript] = deque()
        """Launched when nothing else waits: of many services, the first then runs before the last is checked."""
        self.jobs: dict[str, Job] = {}
        """By service: there is never more than one."""
        self.held = False
        """Nothing is launched: it is kept for the nmond that this one is handed over to."""
        self._over_soon: list[Job] = []
        """Scripts that ended while others waited to be launched: told of together, after a launch or a few."""
        self._over_at = 0.0
        self.outcomes: dict[str, int] = {}
        """``start exited 0`` and the like: how often."""

    def prepare(self) -> None:
        """Make the directories, and leave nothing open to the scripts. Raises OSError."""
        process.keep_files()
        os.makedirs(self._jobs_dir, mode=0o700, exist_ok=True)
        os.makedirs(self._logs_dir, mode=0o750, exist_ok=True)

    # -------------------------------------------------------------------------------------------- running

    def run(self, script: RunScript) -> None:
        """Queue it: ``launch`` starts it."""
        if script.kind is ScriptKind.CHECK and script.argv in NO_CHECK:
            self._end(script.service, script.job, script.kind, Ended.EXITED, 0, "")
            return
        (self._checks if script.kind is ScriptKind.CHECK else self._waiting).append(script)

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._checks)

    def launch(self) -> bool:
        """Start the next script that waits (idle work of the loop); False when none does."""
        queue = self._waiting or self._checks
        if self._over_soon and (not queue or self.held or self._loop.clock() >= self._over_at):
            self._tell_ends()
            return True
        if not queue or self.held:
            return False
        script = queue.popleft()
        running = self.jobs.get(script.service)
        if running is not None:
            # The engine keeps to one job a service; were it ever wrong, no second script is started beside.
            self._log.error(
                f"{script.service}: {script.kind.value} is not run, because {running.kind.value} (pid {running.pid}) "
                "still runs; this is a fault of ezha"
            )
            self._end(script.service, script.job, script.kind, Ended.NOT_STARTED, 16, "another script still runs")
            return True
        self._before(script.service)
        try:
            self._require_trust(script.argv[0])
            self._launch(script)
        except OSError as error:
            self._log.error(f"{script.service}: {script.kind.value} could not be launched: {error}")
            why = str(error.strerror) if isinstance(error, DistrustError) else str(error)
            self._end(script.service, script.job, script.kind, Ended.NOT_STARTED, error.errno or 0, why)
        return True

    def _require_trust(self, path: str) -> None:
        """Raises DistrustError where others than root may have written what would run as root.

        What cannot be looked at is for the launch to tell.
        """
        try:
            require_trust(path, beyond=self._remote.points())
        except DistrustError:
            raise
        except OSError:
            return

    def _launch(self, script: RunScript) -> None:
        path, output, offset = self._output(script)
        gate = -1
        try:
            theirs, gate = os.pipe2(os.O_CLOEXEC)
            try:
                argv = (SHELL, "-c", _PROGRAM, LAUNCHER, *script.argv)
                pid = process.spawn(argv, {**self._environ, **script.env}, theirs, output)
            finally:
                os.close(theirs)
            job = Job(script.service, script.job, script.kind, pid, process.start_time(pid) or 0, path, offset)
            try:
                self._write_record(job)
                os.write(gate, _GO)
            except OSError as error:
                # Without a record it must not run: closing our end makes it end without having done anything.
                os.close(gate)
                gate = -1
                os.waitpid(pid, 0)
                self._remove_record(job.service)
                raise OSError(error.errno, f"its record cannot be written: {error}") from error
        finally:
            os.close(output)
            if gate >= 0:
                os.close(gate)
        self._follow(job)

    def _output(self, script: RunScript) -> tuple[str, int, int]:
        """Where the output goes: the file, its descriptor, and where this job's begins in it.

        A full or broken disk for logs is no reason not to start or stop a service: the output is lost, as is said.
        """
        path = f"{self._logs_dir}/{script.service}.log"
        try:
            return path, *self._open_log(path, script)
        except OSError as error:
            self._log.error(f"{script.service}: the output of {script.kind.value} is lost: {path}: {error.strerror}")
            return os.devnull, os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 0

    def _open_log(self, path: str, script: RunScript) -> tuple[int, int]:
        """The descriptor, and where this job's output will begin. Raises OSError."""
        try:
            if os.stat(path).st_size > ROTATE_BYTES:
                os.replace(path, path + ".1")
        except FileNotFoundError:
            pass
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            head = f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {script.kind.value}: {' '.join(script.argv)}\n"
            os.write(fd, head.encode(errors="replace"))
            return fd, os.fstat(fd).st_size
        except OSError:
            os.close(fd)
            raise

    def kill(self, order: KillScript) -> None:
        """Signal the whole process group of a job; one that still waits is taken off the queue."""
        for queue in (self._waiting, self._checks):
            for script in queue:
                if (script.service, script.job) == (order.service, order.job):
                    queue.remove(script)
                    self._end(script.service, script.job, script.kind, Ended.KILLED, signal.SIGTERM, "before it began")
                    return
        job = self.jobs.get(order.service)
        if job is None or (job.job != order.job and not job.orphan) or job in self._over_soon:
            return
        number = signal.SIGKILL if order.force else signal.SIGTERM
        # A child keeps its pid until we reap it; an orphan may be gone, and its number another's.
        if job.ending is not None:
            if not job.group_lives():
                return
        elif job.orphan and process.start_time(job.pid) != job.start:
            return
        self._mark_killed(job)
        try:
            os.killpg(job.pid, number)
        except ProcessLookupError:
            # It has not called setsid yet, or it is a leader that ended and only waits for us to notice.
            self._kill_alone(job, number)
        except OSError as error:
            self._log.error(f"{job.service}: cannot signal {job.kind.value} (pid {job.pid}): {error}")

    def _mark_killed(self, job: Job) -> None:
        """On record, too: the nmond after this one must wait for the rest of the group as well."""
        if job.killed:
            return
        job.killed = True
        try:
            self._write_record(job)
        except OSError as error:
            self._log.error(f"{job.service}: the record of its script cannot be written: {error}")

    def _kill_alone(self, job: Job, number: int) -> None:
        if job.pidfd < 0:
            return
        try:
            signal.pidfd_send_signal(job.pidfd, number)
        except ProcessLookupError:
            self._log.debug(f"{job.service}: {job.kind.value} (pid {job.pid}) has already ended")

    # ---------------------------------------------------------------------------------------- how it ends

    def _follow(self, job: Job) -> None:
        self.jobs[job.service] = job
        job.pidfd = os.pidfd_open(job.pid)
        self._loop.watch(job.pidfd, lambda: self._finished(job))

    def _finished(self, job: Job) -> None:
        how, code = Ended.LOST, 0
        if job.orphan:
            process.reap(job.pid)
        else:
            pid, status = os.waitpid(job.pid, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            how, code = (Ended.EXITED, code) if code >= 0 else (Ended.KILLED, -code)
        self._loop.unwatch(job.pidfd)
        os.close(job.pidfd)
        job.pidfd = -1
        job.ending = how, code
        if job.killed:
            self._linger(job)
        elif self.waiting:
            if not self._over_soon:
                self._over_at = self._loop.clock() + TELL_WITHIN_S
            self._over_soon.append(job)
        else:
            self._over(job)

    def _tell_ends(self) -> None:
        jobs, self._over_soon = self._over_soon, []
        for job in jobs:
            self._over(job)

    def _linger(self, job: Job) -> None:
        """A shell dies of its signal at once, and leaves behind what ignores it or waits for a dead disk."""
        if job.group_lives():
            self._loop.after(LINGER_S, lambda: self._linger(job))
        else:
            self._over(job)

    def _over(self, job: Job) -> None:
        assert job.ending is not None
        how, code = job.ending
        detail = self._last_line(job)
        refusal = _refusal(code, detail) if how is Ended.EXITED else 0
        if refusal:
            how, code, detail = Ended.NOT_STARTED, refusal, os.strerror(refusal)
        del self.jobs[job.service]
        self._remove_record(job.service)
        self._end(job.service, job.job, job.kind, how, code, detail)

    def _end(self, service: str, job: int, kind: ScriptKind, how: Ended, code: int, detail: str) -> None:
        outcome = f"{kind.value} {how.value} {code}" if how is Ended.EXITED else f"{kind.value} {how.value}"
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self._ended(ScriptEnded(service, job, how, code, printable(detail)[:DETAIL_CHARS]))

    def _last_line(self, job: Job) -> str:
        try:
            with open(job.log, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(job.offset, size - TAIL_BYTES))
                lines = file.read(TAIL_BYTES).decode(errors="replace").split("\n")
        except OSError as error:
            self._log.warning(f"{job.service}: cannot read the output of {job.kind.value}: {error}")
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    # -------------------------------------------------------------------------------------------- records

    def _record(self, service: str) -> str:
        return f"{self._jobs_dir}/{service}.json"

    def _write_record(self, job: Job) -> None:
        path = self._record(job.service)
        fd = os.open(path + "~", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, json.dumps(job.packed()).encode())
        finally:
            os.close(fd)
        os.replace(path + "~", path)

    def _remove_record(self, service: str) -> None:
        try:
            os.unlink(self._record(service))
        except FileNotFoundError:
            pass
        except OSError as error:
            self._log.error(f"{service}: cannot remove the record of its last script: {error}")

    def adopt(self) -> dict[str, ScriptKind]:
        """What a killed nmond left running, by service: followed from now on, its end told as LOST (job 0)."""
        found: dict[str, ScriptKind] = {}
        for name in sorted(os.listdir(self._jobs_dir)):
            path = f"{self._jobs_dir}/{name}"
            if not name.endswith(".json"):
                os.unlink(path)
                continue
            try:
                with open(path, "rb") as file:
                    job = Job.unpacked(json.loads(file.read(RECORD_LIMIT)))
                if name != f"{job.service}.json":
                    raise ValueError(f"is the record of {job.service}")
            except (ValueError, KeyError, TypeError) as error:
                self._log.error(f"{path}: not a record of a script ({error}); removed")
                os.unlink(path)
                continue
            rest = job.killed and job.group_lives()
            if process.start_time(job.pid) != job.start and not rest:
                os.unlink(path)
                continue
            job.orphan = True
            job.job = 0
            try:
                self._go_on(job, (Ended.LOST, 0) if rest else None)
            except ProcessLookupError:
                del self.jobs[job.service]
                os.unlink(path)
                continue
            found[job.service] = job.kind
            self._log.warning(f"{job.service}: {job.kind.value} (pid {job.pid}) was left running by an nmond that died")
        return found

    # ------------------------------------------------------------------------------------------ hand-over

    def packed(self) -> dict[str, Any]:
        """For the nmond that follows by exec: our children stay its children."""
        return {
            "jobs": [job.packed() for job in self.jobs.values()],
            "outcomes": dict(self.outcomes),
            "waiting": [
                [script.service, script.job, script.kind.value, list(script.argv), dict(script.env)]
                for script in (*self._waiting, *self._checks)
            ],
        }

    def unpack(self, data: Mapping[str, Any]) -> None:
        self.outcomes.update(data["outcomes"])
        for packed in data["jobs"]:
            job = Job.unpacked(packed)
            self._go_on(job, job.ending)
        for service, number, kind, argv, env in data["waiting"]:
            self.run(RunScript(service, number, ScriptKind(kind), tuple(argv), env))

    def _go_on(self, job: Job, ending: tuple[Ended, int] | None) -> None:
        """With what another nmond began. Raises ProcessLookupError where a script without ``ending`` is gone."""
        job.ending = ending
        if ending is None:
            self._follow(job)
        else:
            self.jobs[job.service] = job
            self._linger(job)


def _refusal(code: int, detail: str) -> int:
    """The errno with which the launcher could not become the script, or 0 where it did."""
    if code not in (126, 127) or not detail.startswith(f"{LAUNCHER}: "):
        return 0
    if code == 127:
        return errno.ENOENT
    return errno.ENOEXEC if detail.endswith(os.strerror(errno.ENOEXEC)) else errno.EACCES
