"""Asking for what must not happen by mistake: the name of a node has to be typed."""

import sys

from ha.cli.guard import CliError, complain


def typed(name: str, question: str) -> None:
    """Ask ``question`` on stderr and read a line. Raises CliError where it is not ``name``."""
    complain(question)
    sys.stderr.write(f"Type {name} to go on: ")
    sys.stderr.flush()
    line = sys.stdin.readline(200)
    if not sys.stdin.isatty():
        complain("")
    if line.strip() != name:
        raise CliError(f"nothing was done: {name} was not typed")
