"""``ezha sim``: histories of a cluster under virtual time, drawn from a seed, replayed, shrunk, searched, rehearsed."""

import argparse
from collections.abc import Callable, Sequence

from ha.cli.guard import CliError, say
from ha.cli.options import Parser, integer
from ha.cli.simulator import given, telling
from ha.node.config import ConfigError
from ha.simulation import scenario
from ha.simulation.history import run as carry_out
from ha.simulation.history import texts_of
from ha.simulation.plan import PlanError

MAX_SEED = 10**18 - 1
RULES = ("ezha", "openha")


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where nothing is wrong, 1 a safety violation, 2 a liveness violation."""
    options = _parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except PlanError as error:
        raise CliError(str(error)) from None
    except ConfigError as error:
        raise given.Told(error) from None


def _parser() -> Parser:
    parser = Parser(
        "ezha sim",
        "Run a cluster under virtual time, with ezha's own engine, and see what breaks it. "
        "Exit code: 0 clean, 1 a safety violation, 2 a liveness violation.",
    )
    verbs = parser.add_subparsers(metavar="WHAT", required=True, parser_class=_SubParser)

    def add(name: str, does: str, verb: Callable[[argparse.Namespace], int]) -> Parser:
        sub = verbs.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".")
        sub.set_defaults(verb=verb)
        return sub

    sub = add("run", "tell the history of a seed", _run)
    sub.add_argument("--seed", type=integer(0, MAX_SEED), required=True, metavar="N")
    _add_cluster(sub)
    sub = add("replay", "tell the history of a scenario file", _replay)
    sub.add_argument("file", metavar="FILE")
    sub.add_argument("--rules", choices=RULES, help="other rules than the file names")
    _add_conf(sub)
    sub = add("what-if", "rehearse on your configuration: what would happen, when, and why", _what_if)
    sub.add_argument("faults", metavar="FAULTS", help="for example: 'power-off node1 at 60; cut disk node2 at 61'")
    _add_conf(sub)
    _add_rules(sub)
    for name, seconds in (("start", 1.0), ("stop", 0.5)):
        sub.add_argument(
            f"--{name}",
            type=given.number(0.0, 3600.0),
            default=seconds,
            metavar="SECONDS",
            help=f"how long {name} scripts take (default: {seconds:g})",
        )
    return parser


class _SubParser(Parser):
    """Made by argparse itself, which hands over more than a ``Parser`` wants."""

    def __init__(self, prog: str, description: str = "", **_: object) -> None:
        super().__init__(prog, description)


def _add_conf(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--conf", metavar="DIR", help="your nodes, monitor, services and options.toml")


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rules", choices=RULES, default="ezha", help="whose rules the nodes follow")


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hours", type=given.number(0.001, given.MAX_HOURS), metavar="H", help="simulated, with faults (default: 1/6)"
    )
    _add_rules(parser)
    _add_conf(parser)
    parser.add_argument(
        "--setting", metavar="WORDS", help="the cluster, for example: 'nodes=3 timeout=2 paths=net+dio services=2'"
    )


# --------------------------------------------------------------------------------------------- one history


def _run(options: argparse.Namespace) -> int:
    own = given.own(options.conf)
    plan = given.drawn(options.seed, options.hours, options.rules, own, given.setting(options.setting))
    again = telling.run_command(plan, options.hours, options.conf, options.setting)
    outcome = carry_out(plan, own)
    return telling.print_history(outcome, scenario.cluster_of(texts_of(plan, own)), again)


def _replay(options: argparse.Namespace) -> int:
    from dataclasses import replace

    own = given.own(options.conf)
    plan = given.scenario_file(options.file, own)
    if options.rules is not None:
        plan = replace(plan, rules=options.rules)
    again = telling.command(["replay", options.file], {"rules": options.rules, "conf": options.conf})
    outcome = carry_out(plan, own)
    return telling.print_history(outcome, scenario.cluster_of(texts_of(plan, own)), again)


def _what_if(options: argparse.Namespace) -> int:
    from ha.simulation import rehearsal
    from ha.simulation.settings import Setting
    from ha.simulation.story import World, ending, tell

    own, name = given.own(options.conf), options.conf
    if own is None:
        found = given.installed()
        if found is not None:
            own, name = found
        else:
            own, name = scenario.everywhere(Setting().texts()), "none here: the usual pair"
    cluster = scenario.cluster_of(own)
    if not cluster.services:
        raise CliError(f"the configuration ({name}) has no service: there is nothing to rehearse")
    faults = rehearsal.parse_sentences(options.faults, cluster)
    made = rehearsal.prepare(cluster, faults, start=options.start, stop=options.stop, rules=options.rules)
    outcome = rehearsal.rehearse(made, own)
    say(f"configuration: {name}")
    say("\n".join(telling.cluster_text(cluster)))
    say(f"Every service runs on its first node. A start takes {options.start:g} s, a stop {options.stop:g} s.\n")
    world = World()
    telling.print_story(tell(outcome.entries, world), made.zero)
    say(f"\nAt the end, {telling.duration(outcome.seconds - made.zero)} after the beginning:\n")
    say("\n".join(ending(world, cluster.services, {s.name: s.nodes for s in cluster.services.values()})))
    for text in outcome.findings.safety:
        say(f"\nSAFETY VIOLATION: {text}")
    if outcome.findings.dual:
        say('\nA service ran twice: with protection "none" nothing arbitrates when two nodes hear each other no more.')
    return telling.verdict(outcome)
