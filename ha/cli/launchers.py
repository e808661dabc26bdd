"""The programs in ``$EZ_BIN``: a few lines of Python each, bound to the interpreter that installed them.

They run isolated (``-I``: no PYTHONPATH, no user packages, not the current folder) and without ``site`` (``-S``), which
would cost more than ``service -s`` itself; a program that needs installed packages imports it then.
"""

from collections.abc import Mapping

_PROGRAMS: Mapping[str, tuple[str, str, bool]] = {
    "service": ("ha.cli.service", "main", False),
    "hb": ("ha.cli.hb", "main", False),
    "ezha": ("ha.cli.ezha", "main", False),
    "openha": ("ha.cli.ezha", "openha", False),
    "svcmgr": ("ha.cli.svcmgr", "main", True),
    "svcmon": ("ha.cli.svcmon", "main", True),
    "nodemgr": ("ha.cli.nodemgr", "main", False),
    "nmond": ("ha.node.daemon", "main", True),
    "nmond-supervisor": ("ha.node.supervisor", "main", False),
    "ezha-guardian": ("ha.node.guardian", "main", False),
}
"""Name: module, function, whether it needs installed packages from its first line on."""

PROGRAMS = tuple(_PROGRAMS)

_PACKAGED = "Part of the package ezha, which replaces it."
_MAX_SHEBANG = 127
"""What every Linux kernel takes as a first line."""


def launcher(name: str, interpreter: str, code_folder: str, packaged: bool = False) -> str:
    """The text of the program ``name``. ``interpreter`` and ``code_folder`` are absolute paths.

    ``packaged``: it comes with a package of a distribution, which alone replaces it.
    """
    module, function, packages = _PROGRAMS[name]
    flags = "-I" if packages else "-IS"
    again = "install the package ezha again" if packaged else "run ezha install again"
    return (
        f"{_first_lines(interpreter, flags)}"
        f"# {_PACKAGED if packaged else 'Made by ezha install, which replaces it.'}\n"
        f"import sys\n\n"
        f"sys.path.append({code_folder!r})\n"
        f"try:\n"
        f"    from {module} import {function}\n"
        f"except ImportError as error:\n"
        f'    sys.exit(f"{name}: ezha is not complete ({{error}}): {again}")\n'
        f"sys.exit({function}())\n"
    )


def is_packaged(program: str) -> bool:
    """Whether the launcher that lies there belongs to a distribution's package."""
    try:
        with open(program, encoding="utf-8", errors="replace") as file:
            return f"# {_PACKAGED}\n" in file.readlines(1024)
    except OSError:
        return False


def _first_lines(interpreter: str, flags: str) -> str:
    line = f"#!{interpreter} {flags}\n"
    if len(line.encode()) <= _MAX_SHEBANG and not any(c.isspace() for c in interpreter):
        return line
    # The kernel takes no blank in the path of an interpreter, and cuts long lines: a shell takes both. Python reads
    # the second and third line as a string.
    return f"#!/bin/sh\n'''exec' {_shell_quoted(interpreter)} {flags} \"$0\" \"$@\"\n'''\n"


def _shell_quoted(text: str) -> str:
    return '"' + "".join("\\" + c if c in '"\\$`' else c for c in text) + '"'
