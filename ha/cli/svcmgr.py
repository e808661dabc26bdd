"""``svcmgr``: starts, stops and shows one service (docs/svcmgr.md). Also called by a service's own name.

The command line alone; what is done is ``ha.services``' matter.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from ha.cli.guard import CliError, UsageError, complain, guarded, say
from ha.cli.options import Parser
from ha.services.config import ConfigError, service_names
from ha.services.context import Paths
from ha.services.errors import ServiceError
from ha.services.links import Called, called

TYPE_CHECKING = False  # Type checkers take it for true, by its name.
if TYPE_CHECKING:
    from ha.services.ini import Problem
    from ha.services.manager import Manager

USAGE = """\
usage: svcmgr -s SERVICE [options] ACTION       or: SERVICE [options] ACTION
       svcmgr [options] boot|syncnodes|syncdrp|validate|"print status"          of every service on this node
ACTION: start stop restart status "print status" "json status" syncnodes syncdrp postsync stonith boot
        freeze thaw resource_monitor create validate
        get|set|unset --param [SECTION.]KEY[@NODE] [--value VALUE]
        enable|disable --rid RID[,RID]"""
_WORDS = {
    "start", "stop", "restart", "status", "print status", "json status", "syncnodes", "syncdrp", "postsync", "stonith",
    "boot", "freeze", "thaw", "create", "validate", "get", "set", "unset", "enable", "disable",
    "resource_monitor", "watch",
}  # fmt: skip
_OF_ALL = ("boot", "syncnodes", "syncdrp", "print status", "validate")
"""What can be done to every service of this node at once, without -s: by the boot, by cron, or at a glance."""
_FAILED = 1
"""Every failure of the command line too: 2 would say that resources may still be up."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 0 done, 1 failed and clean, 2 failed and not clean; of ``status`` 0 up, 3 down."""
    return guarded("svcmgr", run, sys.argv[1:] if argv is None else argv)


def run(argv: Sequence[str], program: str = "", paths: Paths | None = None) -> int:
    """As ``main``, but raises CliError. ``program``: what svcmgr was called as (``argv[0]``)."""
    program = program or sys.argv[0]
    try:
        return _run(argv, program, called(program), paths or Paths(), _Signals())
    except UsageError as error:
        error.code = _FAILED
        raise
    except ConfigError as error:
        return _mistakes(error)
    except ServiceError as error:
        raise CliError(str(error)) from None


def _parser() -> Parser:
    parser = Parser("svcmgr", "Start, stop and show a service.")
    parser.usage = USAGE.removeprefix("usage: ")
    parser.add_argument("-s", "--service", default="")
    parser.add_argument("--force", action="store_true", help="do it although it is not due, or a guard forbids it")
    parser.add_argument("--cluster", action="store_true", help="called by, or in place of, the clusterware")
    parser.add_argument("--waitlock", type=_seconds, default=None, metavar="SECONDS", help="default: 60")
    parser.add_argument("--rid", default="", help="only these resources, joined by commas")
    parser.add_argument("--tags", default="", help="only resources with one of these tags")
    parser.add_argument("--subset", default="", help="only resources of one of these subsets")
    parser.add_argument("--disable-rollback", action="store_true", help="leave what a failed start has started")
    parser.add_argument("--color", choices=("auto", "yes", "no"), default="auto")
    parser.add_argument("--param", help="[SECTION.]KEY[@NODE]")
    parser.add_argument("--value")
    parser.add_argument("--template", default="", metavar="FILE", help="for create")
    parser.add_argument("-i", "--interactive", action="store_true", help="for create: ask")
    parser.add_argument("action", nargs="*")
    return parser


def _seconds(text: str) -> float:
    value = float(text) if text.isascii() and text.replace(".", "", 1).isdigit() else -1.0
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 0 to 86400")
    return value


def _run(argv: Sequence[str], program: str, name: Called, paths: Paths, told: "_Signals") -> int:
    options = _parser().parse_intermixed_args(argv)
    action = "stonith" if name.stonith else " ".join(options.action).replace("_", " ").lower()
    action = "resource_monitor" if action == "resource monitor" else action
    if action not in _WORDS:
        raise UsageError(f"{action or 'nothing'} is not an action", USAGE)
    if name.service and options.service not in ("", name.service):
        raise UsageError(f"called as {name.service}, and told -s {options.service}", USAGE)
    service = name.service or options.service
    if action == "watch":
        from ha.services.watch import watch

        watch(paths, os.uname().nodename, os.path.realpath(program))
    if not service and action in _OF_ALL:
        return _of_all(argv, program, paths, told)
    if not service:
        raise UsageError("say which service: -s SERVICE", USAGE)
    if action in ("get", "set", "unset") and not options.param:
        raise UsageError(f"{action} needs --param [SECTION.]KEY", USAGE)
    if action == "set" and options.value is None:
        raise UsageError("set needs --value VALUE", USAGE)
    if action == "create":
        return _create(paths, service, program, options.template, options.interactive)
    from ha.services.lock import WAIT_S
    from ha.services.log import Writer
    from ha.services.manager import ACTIONS, Manager, Options

    chosen = Options(
        force=options.force,
        cluster=options.cluster or name.cluster,
        waitlock_s=WAIT_S if options.waitlock is None else options.waitlock,
        rids=_list(options.rid),
        tags=_list(options.tags),
        subsets=_list(options.subset),
        rollback=not options.disable_rollback,
    )
    looks = action not in ACTIONS
    # json is for programs: what a look logs must not stand in it.
    stream = sys.stderr if action == "json status" else sys.stdout
    sink = Writer(stream, "" if looks and os.geteuid() != 0 else f"{paths.log}/{service}.log")
    manager = Manager(service, chosen, sink, program=program, paths=paths, told=told)
    if not looks:
        told.catch()
        return manager.act(action)
    if action == "resource_monitor":
        told.catch()
        return _monitor(manager)
    if action in ("status", "print status", "json status"):
        return _show(manager, action, options.color)
    if action in ("freeze", "thaw"):
        return manager.freeze(action == "freeze")
    if action == "validate":
        return _validate(*manager.problems())
    if action == "get":
        say(manager.get(options.param))
        return 0
    if action == "set":
        left = manager.set(options.param, options.value)
    elif action == "unset":
        left = manager.unset(options.param)
    else:
        left = manager.enable(action == "enable")
    _warn(left)
    return 0


def _of_all(argv: Sequence[str], program: str, paths: Paths, told: "_Signals") -> int:
    """The same for every service, one after the other. The worst exit code; one that fails keeps no other from it.

    A signal ends it at the service that it came at.
    """
    worst = 0
    names = service_names(paths)
    for number, name in enumerate(names):
        try:
            code = _run(["-s", name, *argv], program, called(program), paths, told)
        except ConfigError as error:
            code = _mistakes(error)
        except (ServiceError, CliError) as error:
            complain(f"svcmgr: {error}")
            code = _FAILED
        worst = max(worst, code)
        if told() and (left := names[number + 1 :]):
            complain(f"svcmgr: a signal came: not done for {', '.join(left)}")
            return max(worst, _FAILED)
    return worst


def _mistakes(error: ConfigError) -> int:
    for line in str(error).splitlines():
        complain(f"svcmgr: {line}")
    return _FAILED


def _list(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


class _Signals:
    """Whether SIGTERM, SIGINT or SIGHUP came: an action then ends at the next resource, and is rolled back."""

    def __init__(self) -> None:
        self._came = False

    def __call__(self) -> bool:
        return self._came

    def catch(self) -> None:
        """From now on. A signal that is ignored (``nohup``) stays so."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True


def _monitor(manager: "Manager") -> int:
    """Exit code 0 where all is well, or what is wrong is being seen to."""
    outcome = manager.monitor()
    if outcome.action == "none":
        return _FAILED if outcome.why else 0
    if outcome.action in ("reboot", "crash"):
        from ha.services.machine import end

        end(outcome.action)
        return 0
    from ha.cli.act import act
    from ha.cli.place import layout

    # A service that was just told to stop ranks this node last: the other one takes it.
    action = {"failover": "stop", "freezestop": "freeze-stop"}[outcome.action]
    by = f"svcmgr resource_monitor: {outcome.why}"
    return act(layout(), action, manager.cluster_name(), by=by, wait=False)


def _show(manager: "Manager", action: str, colour: str) -> int:
    from ha.services.tree import coloured, plain, status_data, status_text

    service = manager.service()
    if action == "status":
        code = manager.status_code(service)
        say(service.overall.value)
        return code
    if action == "json status":
        import json

        say(json.dumps({**status_data(service), "frozen": manager.frozen}, indent=2))
        return 0
    say(status_text(service, coloured if wants_colour(colour) else plain))
    return 0


def wants_colour(option: str) -> bool:
    """``auto``: on a terminal that can show them."""
    if option != "auto":
        return option == "yes"
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _validate(path: str, problems: "list[Problem]") -> int:
    for problem in problems:
        complain(f"svcmgr: {problem.told(path)}")
    return _FAILED if problems else 0


def _warn(problems: Sequence[str]) -> None:
    for text in problems:
        complain(f"svcmgr: {text}")


def _create(paths: Paths, service: str, program: str, template: str, interactive: bool) -> int:
    from ha.services.create import create

    try:
        ask = (lambda question: input(question).strip()) if interactive else None
        _warn(create(paths, service, os.uname().nodename, program, template, ask))
    except EOFError:
        raise CliError("nobody answers: nothing was made") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
