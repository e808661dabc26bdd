"""Completions for bash and zsh, made by shtab from the command lines.

Names of services and nodes come from the configuration when they are asked for: by sed, since a Python would take
longer than a person waits between two letters.
"""

import argparse

import shtab

from tools.package import parsers

PROGRAMS = ("ezha", "openha", "hb", "svcmgr", "svcmon", "nodemgr")
"""Not ``service``: under that name Debian's own program is completed. ``ezha service`` is the same."""

_NAMES = r"sed -n 's/^[[:space:]]*\([A-Za-z0-9][A-Za-z0-9._-]*\).*/\1/p'"
"""The first word of every line, where it is a name and no comment."""
_CONF = "${EZ_CONF:-/etc/openha}"
# bash expands what compgen is given, so nothing but plain names may get there.
_FILES = r"-e '/^node\.conf$/d' -e 's/^\([A-Za-z0-9][A-Za-z0-9._-]*\)\.\(env\|conf\)$/\1/p'"
"""Of the files of svcmgr's services: the names before the ending."""
_LISTS = {
    "services": f'{_NAMES} "${{EZ_SERVICES:-{_CONF}/services}}" 2>/dev/null',
    "nodes": f'{_NAMES} "${{EZ_NODES:-{_CONF}/nodes}}" 2>/dev/null',
    "controlled": f"ls /etc/opensvc 2>/dev/null | sed -n {_FILES}",
    "interfaces": "ls /sys/class/net 2>/dev/null | sed -n '/^[A-Za-z0-9._-]*$/p'",
}
_ACTION_WORDS = " ".join(parsers.ACTIONS)


def _functions(program: str) -> dict[str, str]:
    """The same functions in every file, under names that are that file's own."""
    bash, zsh = [], []
    for name, command in {
        **_LISTS,
        "services_or_actions": f"{{ {_LISTS['services']}; printf '%s\\n' {_ACTION_WORDS}; }}",
    }.items():
        bash.append(f'_{program}_{name}() {{\n  compgen -W "$({command})" -- "$1"\n}}')
        zsh.append(f'_{program}_{name}() {{\n  compadd -- ${{(f)"$({command})"}}\n}}')
    return {"bash": "\n".join(bash), "zsh": "\n".join(zsh)}


_KINDS = {
    "SERVICE": "services",
    "SERVICE_OR_ACTION": "services_or_actions",
    "SERVICE SCRIPT PRIMARY SECONDARY CHECK_SCRIPT": "services",
    "NODE": "nodes",
    "INTERFACE_OR_DEVICE": "interfaces",
}
"""What a word stands for, by the name that the help gives it."""


def _mark(program: str, parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _mark(program, sub)
            continue
        what = action.metavar if isinstance(action.metavar, str) else ""
        if program == "svcmgr" and action.dest == "service":
            kind = "controlled"
        elif "FILE" in what.split("|"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
            continue
        elif what == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            continue
        else:
            kind = _KINDS.get(what, "")
        if kind:
            action.complete = dict.fromkeys(("bash", "zsh"), f"_{program}_{kind}")  # type: ignore[attr-defined]


def text(program: str, shell: str) -> str:
    """The completion file of ``program`` for ``bash`` or ``zsh``."""
    parser = parsers.of_program(program)
    _mark(program, parser)
    made: str = shtab.complete(parser, shell=shell, preamble=_functions(program))  # type: ignore[arg-type]
    return made.rstrip("\n") + "\n"
