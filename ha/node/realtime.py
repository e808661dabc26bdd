"""What keeps a process on time on a busy machine: memory that is not paged out, a real-time priority, no OOM kill.

Each of these may be refused (a container, a user's own installation); the process then runs as any other, and says so.
None of it reaches a script: the kernel gives a child neither the locks nor, with SCHED_RESET_ON_FORK, the priority, and
``may_die`` takes back what is inherited. It imports next to nothing, for the guardian uses it.
"""

import ctypes
import os

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_OOM = "/proc/self/oom_score_adj"
NEVER_KILLED = -1000


def lock_memory(on_fault: bool) -> str:
    """Keep what is in memory there. ``on_fault``: pages count once they were touched, so that nothing is read or made
    for it now. Why it could not be done; empty: it was."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MCL_CURRENT | _MCL_FUTURE | (_MCL_ONFAULT if on_fault else 0)
    return "" if libc.mlockall(flags) == 0 else f"memory is not locked: {os.strerror(ctypes.get_errno())}"


def be_prompt(policy: int = os.SCHED_RR, priority: int = 1) -> str:
    """Run before everything that has no real-time priority; children do not. Why not; empty: it does.

    ``policy``: os.SCHED_RR or os.SCHED_FIFO; ``priority``: 1 (least) … 99.
    """
    try:
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError as error:
        return f"no real-time priority: {error.strerror}"
    return ""


def stay_alive() -> str:
    """The kernel, out of memory, ends others. Why not; empty: it does."""
    try:
        _write(_OOM, NEVER_KILLED)
    except OSError as error:
        return f"the kernel may end this process when memory is short: {error.strerror}"
    return ""


def all_of_it() -> tuple[str, ...]:
    """Everything above, for nmond and its workers. What was refused, and why."""
    found = stay_alive(), lock_memory(on_fault=True), be_prompt()
    return tuple(trouble for trouble in found if trouble)


def may_die(pid: int) -> None:
    """Take back from a child what it inherits of ``stay_alive``: a service is no safer from the kernel than others.

    One that has ended meanwhile needs nothing.
    """
    path = f"/proc/{pid}/oom_score_adj"
    try:
        with open(path, encoding="ascii") as file:
            inherited = int(file.read(16))
        if inherited == NEVER_KILLED:
            _write(path, 0)
    except OSError:
        return


def _write(path: str, score: int) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(str(score))
