"""``hb``: the heartbeat paths, their state and their configuration (spec: OpenHA, "Commands")."""

import sys
from collections.abc import Sequence

from ha.cli.client import ask
from ha.cli.guard import UsageError, complain, guarded, say, warn
from ha.cli.place import layout

USAGE = """\
usage: hb -s [--long | --json]               the state of every heartbeat path (--long: with what is wrong)
       hb -a -n NODE -t net|unicast|disk|dio -i INTERFACE_OR_DEVICE -d ADDRESS_OR_OFFSET
          [-p PORT] [-T TIMEOUT] [--force]   add a path; --force clears a slot that holds something foreign
       hb -r -n NODE -t TYPE -i INTERFACE_OR_DEVICE -d ADDRESS_OR_OFFSET [-p PORT] [-T TIMEOUT]
                                             remove a path"""

_MODES = ("-s", "-a", "-r")
_VALUES = ("-n", "-t", "-i", "-d", "-p", "-T")
_SWITCHES = {"-s": {"--long", "--json"}, "-a": {"--force"}, "-r": set[str]()}


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0, 1 (failed or refused), 2 (usage)."""
    return guarded("hb", run, sys.argv[1:] if argv is None else argv)


def run(argv: Sequence[str]) -> int:
    """As ``main``, but raises CliError."""
    mode, values, switches = parse(argv)
    if mode == "-h":
        say(USAGE)
        return 0
    if mode == "-s":
        return _states(switches)
    from ha.cli.edit import add_path, remove_path, wanted_path

    place = layout()
    wanted = wanted_path(values, USAGE)
    if mode == "-a":
        return add_path(place, wanted, USAGE, force="--force" in switches)
    return remove_path(place, wanted)


def parse(argv: Sequence[str]) -> tuple[str, dict[str, str], set[str]]:
    """Mode, values and switches of a command line. Raises UsageError."""
    mode = ""
    values: dict[str, str] = {}
    switches: set[str] = set()
    words = iter(argv)
    for word in words:
        if word in ("-h", "--help"):
            return "-h", {}, set()
        if word in _MODES:
            if mode and mode != word:
                raise UsageError(f"{mode} and {word} exclude one another", USAGE)
            mode = word
        elif word in _VALUES:
            value = next(words, None)
            if value is None:
                raise UsageError(f"{word} needs a value", USAGE)
            if word in values:
                raise UsageError(f"{word} is given twice", USAGE)
            values[word] = value
        elif word.startswith("--"):
            switches.add(word)
        else:
            raise UsageError(f"{word} is not understood", USAGE)
    if not mode:
        raise UsageError("say what to do: -s, -a or -r", USAGE)
    for switch in sorted(switches - _SWITCHES[mode]):
        raise UsageError(f"{mode} has no option {switch}", USAGE)
    if mode == "-s" and values:
        raise UsageError(f"-s has no option {next(iter(values))}", USAGE)
    if {"--long", "--json"} <= switches:
        raise UsageError("--long and --json exclude one another", USAGE)
    return mode, values, switches


def _states(switches: set[str]) -> int:
    answer = ask(layout(), {"op": "paths"})
    authentication = str(answer.get("authentication", "unauthenticated"))
    if "--json" in switches:
        from json import dumps

        told = {key: answer[key] for key in ("warnings", "guard", "late_max") if key in answer}
        say(dumps({"authentication": authentication, **told, "paths": answer["paths"]}, indent=2))
        return 0
    from ha.cli.tables import authentication_text, guard_text, paths_long_text, paths_text

    if "--long" in switches:
        say(paths_long_text(answer["paths"], authentication))
        warn(answer.get("warnings", ()))
        if "guard" in answer:
            say(guard_text(answer))
        return 0
    if answer["paths"]:
        say(paths_text(answer["paths"]))
    # The tutorial's lines stay alone on stdout; a person at a terminal must know all the same.
    warn(answer.get("warnings", ()))
    if authentication != "enforce" and sys.stderr.isatty():
        complain(authentication_text(authentication))
    return 0


if __name__ == "__main__":
    sys.exit(main())
