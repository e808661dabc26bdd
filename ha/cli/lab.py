"""``ezha lab``: a cluster of nodes on this one machine, to try things on and to break.

Parses and prints; ``ha.lab`` does it. ``exec`` is apart from the rest: it should be quick, and passes everything on.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ha.cli.guard import CliError, UsageError, guarded, say
from ha.lab.errors import LabError
from ha.lab.where import default_dir

if TYPE_CHECKING:
    import argparse

    from ha.lab.backend import Backend

_EXEC_USAGE = "usage: ezha lab exec [--dir DIR] NODE [-- COMMAND ...]"
_EXEC_HELP = f"""{_EXEC_USAGE}

Runs COMMAND (default: a shell) in NODE, or in `client`, a place on the nodes' network that is no node.
Input, output and exit code pass through; on a terminal the command has a terminal of the node.

Exit code: the command's own; 128 + N if signal N ended it (137: also when the node lost its power);
125 the node cannot be entered, 126 the command cannot be run, 127 there is no such command."""

_FOR_EVER_S = 30 * 86_400.0
_EFFECTS = {
    "eio": "every read and write fails",
    "eio-read": "reads fail, writes work",
    "eio-write": "writes fail, reads work",
    "hang": "every read and write hangs",
    "hang-read": "reads hang, writes work",
    "hang-write": "writes hang, reads work",
    "torn": "only the first half of each write arrives",
    "lost": "writes succeed and do not arrive",
}
"""What a fault of the disk does, for people."""


def main(argv: list[str]) -> int:
    """The command ``ezha lab``. Returns its exit code."""
    return guarded("ezha lab", _run, argv)


def _run(argv: Sequence[str]) -> int:
    try:
        if argv and argv[0] == "exec":
            return _exec(list(argv[1:]))
        return _other(list(argv))
    except LabError as error:
        raise CliError(str(error)) from None


def _exec(argv: list[str]) -> int:
    """Moves this very process into the node: its caller can do nothing but end with the code."""
    folder = default_dir()
    while argv and argv[0].startswith("-"):
        option = argv.pop(0)
        if option in ("-h", "--help"):
            say(_EXEC_HELP)
            return 0
        name, equals, value = option.partition("=")
        if name != "--dir" or not (equals or argv):
            raise UsageError(f"exec: there is no option {option}, or its value is missing", _EXEC_USAGE)
        folder = value if equals else argv.pop(0)
    if not argv:
        raise UsageError("exec: say on which node", _EXEC_USAGE)
    node, *command = argv
    if command and command[0] == "--":
        del command[0]
    from ha.lab import enter
    from ha.lab.where import first_process, nodes_are_machines

    if nodes_are_machines(os.path.abspath(folder)):
        return _exec_in_machine(folder, node, command)
    try:
        pid, start = first_process(os.path.abspath(folder), node)
    except LabError as error:
        raise CliError(str(error), enter.CANNOT_JOIN) from None
    terminal = os.isatty(0) and os.isatty(1)
    sys.stdout.flush()
    return enter.run(pid, start, command or ["/bin/bash"], enter.environment(), terminal=terminal)


def _exec_in_machine(folder: str, node: str, command: list[str]) -> int:
    """What it prints comes when it has ended. Without a command: the machine's console."""
    from ha.lab.enter import CANNOT_JOIN
    from ha.lab.vm.lab import MachineLab

    lab = MachineLab(folder)
    try:
        if not command and node != "client" and os.isatty(0):
            from ha.lab.vm import console

            return console.attach(lab.socket(node, "console"), node)
        given = "" if os.isatty(0) else sys.stdin.read()
        done = lab.exec(node, command or ["/bin/bash"], timeout=_FOR_EVER_S, input=given)
    except LabError as error:
        raise CliError(str(error), CANNOT_JOIN) from None
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    sys.stderr.write(done.stderr)
    return done.returncode


def _other(argv: list[str]) -> int:
    options = _parser().parse_args(argv)
    from ha.lab.backend import open_lab

    verb: Callable[[Backend, argparse.Namespace], int] = options.verb
    return verb(_chosen(options) if verb is _up else open_lab(options.dir), options)


def _chosen(options: "argparse.Namespace") -> "Backend":
    """The lab that ``up`` is to make."""
    from ha.lab.backend import open_lab

    if options.backend != "vm":
        if options.init or options.package:
            raise UsageError("--init and --package are for --backend vm", "usage: ezha lab up [--backend vm] …")
        return open_lab(options.dir, options.backend)
    from ha.lab.vm.lab import MachineLab

    return MachineLab(options.dir, init=options.init or "systemd", package=options.package, tell=say)


def _parser() -> "argparse.ArgumentParser":
    import argparse

    parser = argparse.ArgumentParser(
        prog="ezha lab",
        description="A cluster of nodes on this one machine, each a set of namespaces with files, network and disk of "
        "its own, as root, or without, in a user namespace; or each an emulated machine (up --backend vm), as root.",
        epilog="`ezha lab exec --help` and `ezha lab VERB --help` tell more.",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, does: Callable[["Backend", argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        one.add_argument("--dir", metavar="DIR", default=default_dir(), help="the lab's folder (default: %(default)s)")
        one.set_defaults(verb=does)
        return one

    up = verb("up", _up, "make the nodes, with ezha installed and two heartbeat paths configured")
    up.add_argument("--nodes", metavar="N", type=int, default=2, help="how many, 1 to 16 (default: 2)")
    up.add_argument("--timeout", metavar="T", type=float, default=10.0, help="of all paths, 0.2 to 120 s (default 10)")
    up.add_argument("--start", action="store_true", help="start ezha on each, now and at every power-on")
    up.add_argument("--no-key", action="store_true", help="heartbeats are not signed (the default: one key, enforced)")
    up.add_argument(
        "--backend", choices=("namespaces", "vm"), default="namespaces", help="what nodes are (default: namespaces)"
    )
    up.add_argument("--init", choices=("systemd", "sysvinit"), help="vm: what boots (default: systemd)")
    up.add_argument("--package", metavar="FILE", help="vm: ezha's Debian package (default: a copy of this ezha)")
    verbs.add_parser("exec", help="run a command on a node, or on `client`", add_help=False)
    cut = verb("cut", _cut, "cut the network or the disk of a node, or of all")
    cut.add_argument("what", metavar="net|disk", choices=("net", "disk"))
    cut.add_argument("node", metavar="NODE", nargs="?")
    cut.add_argument(
        "--one-way", action="store_true", help="what the node sends is lost, it still hears; writes fail, reads work"
    )
    cut.add_argument(
        "--how",
        metavar="FAULT",
        help="disk: another fault than eio: hang, hang-read, hang-write, eio-read, eio-write, delay=S, torn, lost",
    )
    verb("heal", _heal, "undo all cuts and faults, and let paused nodes go on")
    pause = verb("pause", _pause, "stop everything in a node for a while, as a hypervisor does")
    pause.add_argument("node", metavar="NODE")
    pause.add_argument("seconds", metavar="SECONDS", type=float)
    pause.add_argument("--no-wait", action="store_true", help="return as soon as it is paused")
    off = verb("power-off", _power_off, "kill everything in a node at once; its files stay")
    off.add_argument("node", metavar="NODE")
    on = verb("power-on", _power_on, "boot a node, which runs /etc/rc.d/rc3.d/S*")
    on.add_argument("node", metavar="NODE")
    on.add_argument("--start", action="store_true", help="start ezha where the boot does not")
    reset = verb("reset", _reset, "press a node's reset button: it boots anew at once")
    reset.add_argument("node", metavar="NODE")
    status = verb("status", _status, "show the nodes and what is cut")
    status.add_argument("--json", action="store_true", help="for programs")
    down = verb("down", _down, "end the lab and remove its files; safe to repeat")
    down.add_argument("--keep", action="store_true", help="keep the nodes' files and the disk for the next up")
    return parser


def _up(lab: "Backend", options: "argparse.Namespace") -> int:
    import time

    from ha.lab.where import dir_option

    before = time.monotonic()
    lab.up(options.nodes, options.timeout, options.start, key=not options.no_key)
    took = time.monotonic() - before
    nodes = lab.report()[1:]
    which = dir_option(lab.folder)
    say(f"{len(nodes)} node{'s' * (len(nodes) != 1)} up in {took:.1f} s: " + ", ".join(node.name for node in nodes))
    if nodes[0].disk == "plain":
        say("without /dev/fuse the shared disk is a plain file, and `cut disk` cannot work")
    say(f"go in:   ezha lab exec{which} {nodes[0].name}")
    say(f"break:   ezha lab cut{which} net {nodes[0].name}   (cut, pause, power-off; then heal, power-on)")
    say(f"end:     ezha lab down{which}")
    return 0


def _cut(lab: "Backend", options: "argparse.Namespace") -> int:
    names = lab.cut(options.what, options.node, options.one_way, options.how)
    if options.what == "net":
        effect = "what it sends is dropped" if options.one_way else "no frame goes in or out"
    else:
        fault = options.how or ("eio-write" if options.one_way else "eio")
        effect = _EFFECTS.get(fault, fault)
    for name in names:
        say(f"{name}: {options.what}: {effect}")
    return 0


def _heal(lab: "Backend", _options: "argparse.Namespace") -> int:
    lab.heal()
    return 0


def _pause(lab: "Backend", options: "argparse.Namespace") -> int:
    lab.pause(options.node, options.seconds, wait=not options.no_wait)
    return 0


def _power_off(lab: "Backend", options: "argparse.Namespace") -> int:
    lab.power_off(options.node)
    return 0


def _power_on(lab: "Backend", options: "argparse.Namespace") -> int:
    lab.power_on(options.node, options.start)
    return 0


def _reset(lab: "Backend", options: "argparse.Namespace") -> int:
    lab.reset(options.node)
    return 0


def _status(lab: "Backend", options: "argparse.Namespace") -> int:
    nodes = lab.report()
    if options.json:
        import json
        from dataclasses import asdict

        say(json.dumps({"dir": lab.folder, "nodes": [asdict(node) for node in nodes]}, indent=2))
        return 0
    rows = [("node", "power", "address", "net", "disk", "processes")]
    rows += [(node.name, node.power, node.address, node.net, node.disk, str(node.processes)) for node in nodes]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _down(lab: "Backend", options: "argparse.Namespace") -> int:
    if not lab.down(options.keep):
        say(f"no lab in {lab.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
