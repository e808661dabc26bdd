"""The command line of every program, as argparse sees it: what completions and the options of man pages come from.

A command is asked for its own parser: it is run up to the moment when it would parse, and no further. ``service`` and
``hb`` parse by hand, to be quick; what they take is told here once more, and a test compares.
"""

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any
from unittest.mock import patch

from ha.cli import ezha, nodemgr, svcmgr, svcmon

ACTIONS = ("start", "stop", "freeze-stop", "freeze-start", "unfreeze", "force-stop", "force-start")


class _Found(BaseException):
    """Carries the parser out of the command; nothing in between takes it for an error."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _asked(run: Callable[[Sequence[str]], Any]) -> argparse.ArgumentParser:
    def found(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Found(parser)

    with (
        patch.object(argparse.ArgumentParser, "parse_args", found),
        patch.object(argparse.ArgumentParser, "parse_intermixed_args", found),
    ):
        try:
            run([])
        except _Found as found_parser:
            return found_parser.parser
    raise LookupError(f"{run.__module__} parses nothing")


def _service(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description="The states of services, and what may be asked for them.")
    add = parser.add_argument
    add("-s", action="store_true", help="the states of all services")
    add("-c", action="store_true", help="with -s: in columns")
    add("-i", metavar="SERVICE", help="our part in a service")
    add("-A", metavar="SERVICE_OR_ACTION", help="an action on a service; without SERVICE on all, in parallel")
    add("-a", metavar="SERVICE SCRIPT PRIMARY SECONDARY CHECK_SCRIPT", help="add a service")
    add("-r", metavar="SERVICE", help="remove a service")
    add("--no-wait", action="store_true", help="with -A: return once the action is accepted")
    add("--i-know", action="store_true", help="with -A and -r: although it may run; logged")
    add("--json", action="store_true", help="for programs")
    add("action", nargs="?", choices=ACTIONS)
    return parser


def _hb(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description="Heartbeat paths, their state and their configuration.")
    add = parser.add_argument
    add("-s", action="store_true", help="the state of every path")
    add("--long", action="store_true", help="with -s: with what is wrong")
    add("--json", action="store_true", help="with -s: for programs")
    add("-a", action="store_true", help="add a path")
    add("-r", action="store_true", help="remove a path")
    add("-n", metavar="NODE", help="the node that sends on it")
    add("-t", choices=("net", "unicast", "disk", "dio"), help="its kind")
    add("-i", metavar="INTERFACE_OR_DEVICE", help="where it leads through")
    add("-d", metavar="ADDRESS_OR_OFFSET", help="whom it is sent to, or where on the disk")
    add("-p", metavar="PORT", help="UDP, 1 to 65535")
    add("-T", metavar="TIMEOUT", help="seconds, 0.2 to 120 (default: 10)")
    add("--force", action="store_true", help="with -a: clear a slot that holds something foreign")
    return parser


def of_command(name: str) -> argparse.ArgumentParser:
    """The parser of ``ezha NAME``."""
    if name == "service":
        return _service("ezha service")
    if name == "hb":
        return _hb("ezha hb")
    module = import_module(ezha.COMMANDS[name][0])
    if name == "lab":
        return _lab(module._parser())
    return _asked(module.run)


def _lab(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    # `lab exec` takes whatever comes, and so parses by itself.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            run = action.choices["exec"]
            run.add_argument("--dir", metavar="DIR", help="the lab's folder")
            run.add_argument("node", metavar="NODE")
    return parser


def of_program(name: str) -> argparse.ArgumentParser:
    """The parser of a program by itself. Raises KeyError for one that parses nothing."""
    if name in ("ezha", "openha"):
        return _front(name)
    single: dict[str, Callable[[], argparse.ArgumentParser]] = {
        "service": lambda: _service("service"),
        "hb": lambda: _hb("hb"),
        "svcmgr": svcmgr._parser,
        "svcmon": lambda: _asked(svcmon.run),
        "nodemgr": lambda: _asked(nodemgr.run),
    }
    return single[name]()


def _front(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program)
    parser.add_argument("--version", action="version", version="")
    commands = parser.add_subparsers()
    for name in ezha._names(program):
        commands.add_parser(name, help=ezha.COMMANDS[name][1], parents=[of_command(name)], add_help=False)
    return parser
