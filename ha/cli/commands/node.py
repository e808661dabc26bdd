"""``ezha node``: what ``ezha.init`` is made of. The shell script only chooses; waiting and asking happen here.

Exit codes are those that LSB wants of an init script.
"""

import os
import subprocess
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ha.cli.act import Progress
from ha.cli.client import ControlError, NotAllowed, NotRunning, Refused, Silent, ask, converse
from ha.cli.ending import GONE_TIMEOUT_S, kill_node, wait_until_gone, wait_until_up
from ha.cli.guard import EXIT_FAILED, CliError, complain, say
from ha.cli.options import Parser, integer
from ha.cli.place import layout

if TYPE_CHECKING:
    from ha.node.layout import Layout

LSB_DEAD_WITH_PID_FILE = 1
LSB_NOT_RUNNING = 3
LSB_UNKNOWN = 4

STOP_TIMEOUT_S = 330
"""A little more than the default ``stop_timeout`` of a service with its ``kill_grace``."""
UP_TIMEOUT_S = 10


def run(argv: Sequence[str]) -> int:
    """Dispatch to the verb. Raises CliError."""
    parser = Parser("ezha node", "Ask for the end or the restart of nmond, and wait for it.")
    parser.add_argument("verb", choices=("status", "wait", "stop", "restart"), metavar="status|wait|stop|restart")
    parser.add_argument(
        "--timeout", type=integer(1, 86_400), metavar="SECONDS", help="wait, stop: not longer than this"
    )
    parser.add_argument("--systemd", metavar="UNIT", help="stop: where systemd restarts UNIT, let the services run on")
    options = parser.parse_args(argv)
    place = layout()
    if options.verb == "status":
        return _status(place)
    if options.verb == "wait":
        return 0 if wait_until_up(place, options.timeout or UP_TIMEOUT_S) else EXIT_FAILED
    if options.verb == "restart":
        return _restart(place)
    if options.systemd and _is_restart(options.systemd):
        kill_node(place)
        return 0
    return _stop(place, options.timeout or STOP_TIMEOUT_S)


def _status(place: "Layout") -> int:
    try:
        answer = ask(place, {"op": "status"})
    except NotRunning:
        if os.path.exists(place.pid):
            say(f"ezha is dead, and {place.pid} is left over")
            return LSB_DEAD_WITH_PID_FILE
        say("ezha is not running")
        return LSB_NOT_RUNNING
    except ControlError as error:
        say(f"the state of ezha is not known: {error}")
        return LSB_UNKNOWN
    say(f"ezha is running on {answer['node']} (pid {answer['pid']})")
    return 0


def _restart(place: "Layout") -> int:
    ask(place, {"op": "restart"})
    if not wait_until_up(place, UP_TIMEOUT_S):
        raise CliError(f"nmond was restarted and does not answer within {UP_TIMEOUT_S} s; see {place.log}/nmond.log")
    return 0


def _stop(place: "Layout", timeout_s: int) -> int:
    """Services stopped while the heartbeats run, "left" said, nmond gone: or, after ``timeout_s``, nmond ended.

    Not 0 where something could not be stopped; where a lease covers it, it ends with the machine."""
    deadline = time.monotonic() + timeout_s
    progress = Progress()
    abandoned = ""
    try:
        # A wait of a second at most for each line: the deadline is looked at in between.
        for answer in converse(place, {"op": "stop"}, 1.0, idle=lambda: _check(deadline, timeout_s)):
            if answer.get("final"):
                if not answer.get("ok"):
                    raise Refused(str(answer.get("text") or "nmond refuses to stop, and gives no reason"))
                abandoned = str(answer.get("abandoned") or "")
            else:
                progress.show(f"{answer.get('service', '')}: {answer.get('text', '')}")
    except NotRunning:
        kill_node(place)  # A supervisor about to start nmond again, or workers that outlived it.
        return 0
    except (NotAllowed, Refused):
        raise
    except _Late as late:
        progress.clear()
        complain(f"ezha node stop: {late}")
        _tell_unstopped(place)
        kill_node(place)
        return EXIT_FAILED
    except ControlError as error:
        # nmond may close the connection as it ends: what counts is whether it has.
        if not wait_until_gone(place, GONE_TIMEOUT_S):
            progress.clear()
            complain(f"ezha node stop: {error}; ended by force")
            kill_node(place)
            return EXIT_FAILED
        return 0
    finally:
        progress.clear()
    if abandoned:
        complain(f"ezha node stop: {abandoned}")
    if not wait_until_gone(place, GONE_TIMEOUT_S):
        complain(
            f"ezha node stop: nmond said that it had left, and did not end in {GONE_TIMEOUT_S:g} s; ended by force"
        )
        kill_node(place)
    return EXIT_FAILED if abandoned else 0


class _Late(CliError):
    """The time for the stop is over."""


def _check(deadline: float, timeout_s: int) -> None:
    if time.monotonic() >= deadline:
        raise _Late(f"not everything was stopped within {timeout_s} s; nmond is ended all the same")


def _tell_unstopped(place: "Layout") -> None:
    """Which services are in the way: the last thing that can be said before nmond is ended."""
    try:
        answer = ask(place, {"op": "status"})
    except Silent as error:
        complain(f"ezha node stop: {error}")
        return
    except ControlError:
        return  # It ended meanwhile.
    for service in answer["services"]:
        for member in service["nodes"]:
            if member["node"] == answer["node"] and member["state"] in ("STARTED", "STARTING", "STOPPING"):
                complain(f"ezha node stop: {service['name']} is {member['state']} here: {service.get('reason', '')}")


def _is_restart(unit: str) -> bool:
    """Whether systemd stops the unit only to start it again, or the machine's shutdown is not what goes on."""
    argv = ["systemctl", "list-jobs", "--no-legend", "--plain"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        complain(f"ezha node stop: systemctl list-jobs failed ({error}); services are stopped")
        return False
    return any(words[1:3] == [unit, "restart"] for words in map(str.split, done.stdout.splitlines()))
