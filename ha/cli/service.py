"""``service``: the states of services, and what an operator may ask for them (spec: OpenHA, "Commands")."""

import sys
from collections.abc import Sequence

from ha.cli.client import Answer, NotRunning, ask
from ha.cli.guard import CliError, UsageError, guarded, say, warn
from ha.cli.place import layout

USAGE = """\
usage: service -s [-c | --json]                             states of all services (-c: in columns)
       service -i SERVICE [--json]                          our part in a service
       service -A [SERVICE] ACTION [--no-wait] [--i-know] [--json]
                                                            without SERVICE: on all services, in parallel
       service -a SERVICE SCRIPT PRIMARY SECONDARY[,...] CHECK_SCRIPT
       service -r SERVICE [--i-know]
ACTION: stop start freeze-stop freeze-start unfreeze force-stop force-start"""

_MODES = {"-s": 0, "-i": 1, "-A": 0, "-a": 5, "-r": 1}
"""How many words must follow; for ``-A`` one or two, see below."""
_SWITCHES = {"-s": {"-c", "--json"}, "-i": {"--json"}, "-A": {"--no-wait", "--i-know", "--json"}, "-r": {"--i-know"}}


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0, 1 (failed or refused), 2 (usage), 130 (interrupted)."""
    return guarded("service", run, sys.argv[1:] if argv is None else argv)


def run(argv: Sequence[str]) -> int:
    """As ``main``, but raises CliError."""
    mode, words, switches = parse(argv)
    if mode == "-h":
        say(USAGE)
        return 0
    if mode == "-A":
        return _action(words, switches)
    if mode == "-a":
        from ha.cli.edit import add_service

        return add_service(layout(), words[0], words[1], words[2], words[3], words[4])
    if mode == "-r":
        from ha.cli.edit import remove_service

        return remove_service(layout(), words[0], "--i-know" in switches)
    answer = ask(layout(), {"op": "status"})
    if mode == "-i":
        return _info(answer, words[0], "--json" in switches)
    return _states(answer, switches)


def parse(argv: Sequence[str]) -> tuple[str, list[str], set[str]]:
    """Mode, words and switches of a command line. By hand: argparse alone would take half of the time there is.

    Raises UsageError.
    """
    words: list[str] = []
    switches: set[str] = set()
    mode = ""
    for place, word in enumerate(argv):
        if word in ("-h", "--help"):
            return "-h", [], set()
        if word == "--":
            words += argv[place + 1 :]
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
        elif word in _MODES:
            if mode and mode != word:
                raise UsageError(f"{mode} and {word} exclude one another", USAGE)
            mode = word
        else:
            switches.add(word)
    for switch in sorted(switches - set().union(*_SWITCHES.values())):
        raise UsageError(f"{switch} is not understood", USAGE)
    if not mode:
        raise UsageError("say what to do: -s, -i, -A, -a or -r", USAGE)
    for switch in sorted(switches - _SWITCHES.get(mode, set())):
        raise UsageError(f"{mode} has no option {switch}", USAGE)
    if {"-c", "--json"} <= switches:
        raise UsageError("-c and --json exclude one another", USAGE)
    wanted = (1, 2) if mode == "-A" else (_MODES[mode],)
    if len(words) not in wanted:
        number = " or ".join(map(str, wanted))
        raise UsageError(f"{mode} takes {number} argument{'' if number == '1' else 's'}, not {len(words)}", USAGE)
    return mode, words, switches


def _states(answer: Answer, switches: set[str]) -> int:
    if "--json" in switches:
        from json import dumps

        told = {"node": answer.get("node"), "warnings": answer.get("warnings", []), "services": answer["services"]}
        say(dumps(told, indent=2))
        return 0
    from ha.cli.tables import columns_text, services_text

    text = columns_text if "-c" in switches else services_text
    say(text(answer["services"]))
    warn(answer.get("warnings", ()))
    return 0


def _info(answer: Answer, name: str, as_json: bool) -> int:
    for service in answer["services"]:
        if service["name"] == name:
            break
    else:
        raise CliError(f"no service {name} is defined on this node (service -s lists them)")
    if as_json:
        from json import dumps

        say(dumps(service, indent=2))
        return 0
    from ha.cli.tables import info_text

    say(info_text(service, answer["node"]))
    return 0


def _action(words: Sequence[str], switches: set[str]) -> int:
    from ha.cli.act import ACTIONS, act, operator

    service = words[0] if len(words) == 2 else None
    action = words[-1].lower()
    if action not in ACTIONS:
        raise UsageError(f"{words[-1]} is not an action", USAGE)
    place = layout()
    by = operator("service -A")
    override = "--i-know" in switches
    try:
        return act(
            place,
            action,
            service,
            by=by,
            wait="--no-wait" not in switches,
            override=override,
            as_json="--json" in switches,
        )
    except NotRunning:
        from ha.cli.offline import act_offline

        return act_offline(place, action, service, by=by, override=override)


if __name__ == "__main__":
    sys.exit(main())
