"""``ezha``: finds the subcommand, imports it and no other, and runs it."""

import sys
from collections.abc import Sequence
from importlib import import_module

from ha.cli.guard import UsageError, guarded, say

COMMANDS = {
    "status": ("ha.cli.commands.status", "the node, its services and heartbeat paths, on one screen"),
    "ps": ("ha.cli.commands.ps", "the processes of ezha on this node"),
    "kill": ("ha.cli.commands.kill", "end ezha on this node at once; services run on"),
    "check": ("ha.cli.commands.check", "validate all configuration, show the figures that follow from it"),
    "reload": ("ha.cli.commands.reload", "make nmond read its configuration anew"),
    "why": ("ha.cli.commands.why", "tell what happened to a service, decided by whom, on what evidence"),
    "switch": ("ha.cli.commands.switch", "give a service up here, so that another node takes it"),
    "fence": ("ha.cli.commands.fence", "fence another node now, as its [fence] table says"),
    "confirm-down": ("ha.cli.commands.confirm_down", "state that a node is off, so that others take over from it"),
    "key": ("ha.cli.commands.key", "the keys that heartbeats are signed with: new, add, sign, retire, status"),
    "metrics": ("ha.cli.commands.metrics", "figures for Prometheus, as text or over HTTP"),
    "wire": ("ha.cli.commands.wire", "decode a heartbeat: a datagram, a slot of a disk, or a capture"),
    "migrate": ("ha.cli.commands.migrate", "from OpenHA to ezha, a node at a time: the steps for this cluster"),
    "install": ("ha.cli.commands.install", "lay ezha out under a prefix"),
    "node": ("ha.cli.commands.node", "stop, restart or await nmond (what ezha.init is made of)"),
    "lab": ("ha.cli.lab", "a cluster of nodes on this one machine"),
    "demo": ("ha.cli.demo", "two nodes here, a service, a power failure: watch the takeover"),
    "sim": ("ha.cli.commands.sim", "histories of a cluster under virtual time: drawn, replayed, searched, rehearsed"),
    "service": ("ha.cli.service", "the same as the command service"),
    "hb": ("ha.cli.hb", "the same as the command hb"),
}
"""Name: module, and what it does in a line."""

_OPENHA = ("status", "ps", "kill", "hb", "service")
"""What ``openha`` wraps (spec: OpenHA, "Commands")."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``ezha``. Returns its exit code."""
    return guarded("ezha", lambda words: run("ezha", words), sys.argv[1:] if argv is None else argv)


def openha(argv: Sequence[str] | None = None) -> int:
    """The command ``openha``. Returns its exit code."""
    return guarded("openha", lambda words: run("openha", words), sys.argv[1:] if argv is None else argv)


def run(program: str, argv: Sequence[str]) -> int:
    """As ``main``, but raises CliError."""
    usage = _usage(program)
    if not argv:
        raise UsageError("say what to do", usage)
    name, rest = argv[0], argv[1:]
    if name in ("-h", "--help", "help"):
        say(_help(program))
        return 0
    if name == "--version":
        from ha import __version__

        say(f"{program} {__version__}")
        return 0
    if name.startswith("-"):
        raise UsageError(f"there is no option {name}", usage)
    if name not in _names(program):
        raise UsageError(f"there is no command {name}", usage)
    from ha.cli.place import use_packages

    if name not in ("service", "hb"):
        use_packages()
    module = import_module(COMMANDS[name][0])
    if name == "lab":
        return int(module.main(list(rest)))
    return int(module.run(list(rest)))


def _names(program: str) -> tuple[str, ...]:
    return _OPENHA if program == "openha" else tuple(COMMANDS)


def _usage(program: str) -> str:
    return f"usage: {program} {' | '.join(_names(program))}\n       {program} --help | --version"


def _help(program: str) -> str:
    lines = [f"usage: {program} COMMAND ...", ""]
    lines += [f"  {name:<12} {COMMANDS[name][1]}" for name in _names(program)]
    lines += ["", f"{program} COMMAND --help tells more. EZ_DEBUG=1 in the environment shows the place of a failure."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
