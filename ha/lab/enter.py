"""Running a command inside a node: joining its namespaces, with a terminal of the node's own where ours is one.

Quick to start (no dataclasses, no argparse): ``ezha lab exec`` runs it in its own process, ``Lab.exec`` as a helper.
The command is a member of the node's pid namespace, so it dies with the node, and with the process that waits for it.
"""

import os
import select
import signal
import sys
from types import FrameType

from ha.lab import linux, namespaces

NODE = ("user", "mnt", "net", "uts", "ipc", "pid")
NETWORK = ("user", "net")
"""For the machine's own tools, which are to work on the node's network but to see the machine's files and pids."""
CANNOT_JOIN, CANNOT_RUN, NOT_FOUND = 125, 126, 127
PREFIX = "/usr/local/cluster"
_PASSED_ON = ("TERM", "LANG", "LC_ALL", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR")


def environment() -> dict[str, str]:
    """What a command in a node finds, whatever the caller's environment is."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed,
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/bash",
        "PATH": f"{PREFIX}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "EZ": PREFIX,
        "EZ_BIN": f"{PREFIX}/bin",
        "PS1": r"\h:\w \$ ",
    }


def main() -> int:
    """``argv``: PID START KINDS COMMAND…, KINDS joined by commas; the environment is passed on as it is."""
    pid, start, kinds, *command = sys.argv[1:]
    return run(int(pid), int(start), command, dict(os.environ), kinds=tuple(kinds.split(",")))


def run(
    pid: int,
    start: int,
    command: list[str],
    env: dict[str, str],
    *,
    kinds: tuple[str, ...] = NODE,
    terminal: bool = False,
) -> int:
    """The command's exit code, 128 + N when signal N ended it, 125 when the node cannot be joined."""
    try:
        held = namespaces.open_all(pid, kinds)
        if _start_of(pid) != start:
            raise ProcessLookupError
        namespaces.join(held)
    except (FileNotFoundError, ProcessLookupError):
        print("ezha lab: the node is powered off", file=sys.stderr)
        return CANNOT_JOIN
    except OSError as error:
        print(f"ezha lab: cannot enter the node: {error.strerror}", file=sys.stderr)
        return CANNOT_JOIN
    os.chdir("/")
    return _with_terminal(command, env) if terminal else _plainly(command, env)


def _start_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as stat:
        raw = stat.read()
    return int(raw[raw.rindex(b")") + 2 :].split()[19])


def _exec(command: list[str], env: dict[str, str], parent: int) -> None:
    """In the child; never returns."""
    linux.die_with_parent(signal.SIGKILL)
    if select.select([parent], [], [], 0)[0]:  # it died before we asked to follow it
        os._exit(CANNOT_RUN)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    code = CANNOT_RUN
    try:
        os.execvpe(command[0], command, env)  # a command of the user, as typed  # a command of the user, as typed
    except FileNotFoundError:
        code, why = NOT_FOUND, "not found"
    except OSError as error:
        why = error.strerror or "cannot be run"
    print(f"ezha lab: {command[0]}: {why}", file=sys.stderr, flush=True)
    os._exit(code)


def _plainly(command: list[str], env: dict[str, str]) -> int:
    ourselves = os.pidfd_open(os.getpid())
    child = os.fork()
    if child == 0:
        _exec(command, env, ourselves)
    _pass_signals_to(child)
    return _code(os.waitpid(child, 0)[1])


def _pass_signals_to(child: int) -> None:
    """What is meant for the command reaches it; a terminal's Ctrl-C reaches it anyway, as a member of our group."""

    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGHUP, forward)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _with_terminal(command: list[str], env: dict[str, str]) -> int:
    """A terminal made in the node, relayed to ours: job control works in it, and power-off hangs it up."""
    import fcntl
    import termios
    import tty

    ourselves = os.pidfd_open(os.getpid())
    outer, inner = os.openpty()

    def resize(_number: int = 0, _frame: FrameType | None = None) -> None:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(outer, termios.TIOCSWINSZ, size)

    resize()
    child = os.fork()
    if child == 0:
        os.login_tty(inner)
        _exec(command, env, ourselves)
    os.close(inner)
    signal.signal(signal.SIGWINCH, resize)
    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead is for the command
    try:
        _relay(outer, child)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
    return _code(os.waitpid(child, 0)[1])


def _relay(outer: int, child: int) -> None:
    """Until the command has ended and what it wrote is shown; a daemon that it left behind does not keep us."""
    ended = os.pidfd_open(child)
    inputs = [0, outer, ended]
    while True:
        ready = select.select(inputs, [], [])[0]
        if 0 in ready:
            typed = os.read(0, 65536)
            if typed:
                os.write(outer, typed)
            else:
                inputs.remove(0)
        if outer in ready:
            try:
                shown = os.read(outer, 65536)
            except OSError:  # EIO: nobody has the terminal open any more
                shown = b""
            if not shown:
                return
            _write_all(1, shown)
        elif ended in ready:
            return


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    sys.exit(main())
