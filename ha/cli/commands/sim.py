"""``ezha sim``: histories of a cluster under virtual time, drawn from a seed, replayed, shrunk, searched, rehearsed."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ha.cli.guard import EXIT_INTERRUPTED, CliError, Interrupted, complain, say
from ha.cli.options import Parser, integer
from ha.cli.simulator import exploring, given, hunting, telling
from ha.node.config import ConfigError, Texts
from ha.simulation import explore, hunt, lease_search, lease_world, rehearsal, report, scenario, shrink
from ha.simulation.bounded import Bounds
from ha.simulation.history import run as carry_out
from ha.simulation.history import texts_of
from ha.simulation.plan import RULES, Plan, PlanError
from ha.simulation.promises import FULL, MIXES
from ha.simulation.settings import Setting
from ha.simulation.story import World, ending, tell

MAX_SEED = 10**18 - 1


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
    sub = add("hunt", "carry out many histories on all cores, and tell which went wrong", _hunt)
    sub.add_argument(
        "--seeds", type=hunting.seeds, metavar="A..B", help="default: 1..1000, or all that there is time for"
    )
    sub.add_argument("--jobs", type=integer(1, 1024), metavar="J", help="processes (default: one a core)")
    sub.add_argument("--minutes", type=given.number(0.0, 60.0 * 24 * 366), metavar="M", help="stop after so long")
    sub.add_argument("--twice", action="store_true", help="run each history twice, and compare the two byte for byte")
    sub.add_argument("--cells", action="store_true", help="list every cell that was reached")
    sub.add_argument(
        "--coverage",
        action="append",
        metavar="FILE",
        help="name the cells that a search reached (explore --json; may be given again) and the hunt did not",
    )
    sub.add_argument("--resume", metavar="FILE", help="go on where the hunt ended that this file is the state of")
    sub.add_argument("--until-covered", action="store_true", help="stop once none of these is missing")
    _add_cluster(sub)
    sub = add("shrink", "find the shortest history that still goes wrong, and save it as a scenario file", _shrink)
    sub.add_argument("what", metavar="SEED|FILE")
    sub.add_argument("-o", "--output", metavar="FILE", help="default: seed-SEED.scenario or FILE.shrunk")
    sub.add_argument("--runs", type=integer(1, 10**9), default=shrink.RUNS, metavar="N", help="histories at most")
    _add_cluster(sub)
    sub = add("replay", "tell the history of a scenario file", _replay)
    sub.add_argument("file", metavar="FILE")
    sub.add_argument("--rules", choices=RULES, help="other rules than the file names")
    _add_conf(sub)
    sub = add("report", "write the history of a seed or a scenario file as one HTML page", _report)
    sub.add_argument("what", metavar="SEED|FILE")
    sub.add_argument("--html", metavar="FILE", required=True, help="the page to write")
    _add_cluster(sub)
    sub = add("explore", "carry out all histories of two nodes and a service up to a bound", _explore)
    bounds = Bounds()
    for name, default, what in (
        ("faults", bounds.faults, "faults at most"),
        ("commands", bounds.commands, "operators' commands at most"),
        ("pause", bounds.pause, "the longest pause, in steps of T/5"),
        ("states", bounds.states, "states looked at, at most"),
    ):
        sub.add_argument(
            f"--{name}", type=integer(0, 10**12), default=default, metavar="N", help=f"{what} (default: {default})"
        )
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub.add_argument("--lease", action="store_true", help="of the lease on a shared disk, in place of protection none")
    sub.add_argument(
        "--nodes", type=integer(2, 4), default=2, metavar="N", help="with --lease: so many nodes (default: 2)"
    )
    sub.add_argument(
        "--kinds",
        metavar="KIND,…",
        help=f"with --lease: faults, of {','.join(lease_world.KINDS)} (these are the default), "
        f"{','.join(lease_world.MORE_KINDS)}",
    )
    sub.add_argument("--no-network", action="store_true", help="with --lease: the disk is all there is")
    sub.add_argument("--apart", action="store_true", help="with --lease: a look at each slot is a step")
    sub = add("what-if", "rehearse on your configuration: what would happen, when, and why", _what_if)
    sub.add_argument("faults", metavar="FAULTS", help="for example: 'power-off node1 at 60; cut disk node2 at 61'")
    _add_conf(sub)
    _add_rules(sub)
    sub.add_argument("--html", metavar="FILE", help="write it as a page, too")
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
        "--mix",
        choices=MIXES,
        default=FULL,
        help="pauses: whole machines pause, their watchdogs with them; moments: trouble in the middle of claims alone",
    )
    parser.add_argument(
        "--setting", metavar="WORDS", help="the cluster, for example: 'nodes=3 timeout=2 paths=net+dio services=2'"
    )


# ------------------------------------------------------------------------------------------ many histories


def _hunt(options: argparse.Namespace) -> int:
    own, made = given.own(options.conf), given.setting(options.setting)
    jobs = options.jobs or hunting.cores()
    seeds = hunting.chosen(options.seeds, options.minutes)
    reachable = None if options.coverage is None else hunting.explored(options.coverage)
    seconds = None if options.minutes is None else options.minutes * 60.0
    if options.until_covered and reachable is None:
        raise CliError("--until-covered: say which cells: --coverage FILE")

    def enough(tally: hunt.Tally) -> bool:
        return bool(options.until_covered and reachable is not None and not hunting.missing(tally, reachable))

    def planner(seed: int) -> Plan:
        return given.drawn(seed, options.hours, options.rules, own, made, options.mix)

    def again(seed: int) -> str:
        return telling.run_command(planner(seed), options.hours, options.conf, options.setting, options.mix)

    kept = None
    if options.resume is not None:
        if not isinstance(seeds, range):
            raise CliError("--resume: say which seeds there are in all: --seeds A..B")
        kept = hunting.Kept(options.resume, _hunted(options, seeds))
        seeds = seeds[kept.done :]
    so_far = kept.tally if kept is not None else None
    last, interrupted = so_far or hunt.Tally(), False

    def keep(tally: hunt.Tally) -> None:
        nonlocal last
        last = tally
        show(tally)
        if kept is not None:
            kept.keep(tally)

    planner(0)  # what cannot be planned is told here, not by a process of the pool
    with hunting.bar(len(seeds) + last.histories if isinstance(seeds, range) else None) as show:
        try:
            hunt.hunt(seeds, jobs, seconds, planner, own, keep, options.twice, enough, so_far)
        except KeyboardInterrupt:
            interrupted = True
    if kept is not None:
        kept.keep(last, last=True)
    say("\n".join(hunting.summary(last, jobs, again)))
    if options.cells:
        say("\n" + "\n".join(hunting.cells(last)))
    if reachable is not None:
        say("\n" + "\n".join(hunting.compared(last, reachable)))
    if interrupted:
        complain("ezha sim hunt: interrupted; what was found so far stands above")
        return EXIT_INTERRUPTED
    return hunting.exit_code(last)


def _hunted(options: argparse.Namespace, seeds: range) -> str:
    """What a hunt is of, in words."""
    names = ("hours", "rules", "conf", "setting", "mix")
    words = [f"{name} {getattr(options, name)}" for name in names if getattr(options, name) is not None]
    return f"seeds {seeds.start}..{seeds.stop - 1}, {', '.join(words)}"


def _explore(options: argparse.Namespace) -> int:
    if options.lease:
        return _explore_lease(options)
    bounds = Bounds(faults=options.faults, commands=options.commands, pause=options.pause, states=options.states)
    began = time.monotonic()
    with telling.status() as show:
        result = explore.explore(bounds, lambda now: show(exploring.moment(now, time.monotonic() - began)))
    if options.json:
        import json

        say(json.dumps(result.plain(), indent=2))
    else:
        say("\n".join(exploring.told(result, time.monotonic() - began)))
    return telling.EXIT_SAFETY if result.violation else telling.EXIT_CLEAN


def _explore_lease(options: argparse.Namespace) -> int:
    kinds = tuple(options.kinds.split(",")) if options.kinds else lease_world.KINDS
    known = (*lease_world.KINDS, *lease_world.MORE_KINDS)
    for kind in kinds:
        if kind not in known:
            raise CliError(f"--kinds: {kind}: one of {', '.join(known)}")
    bounds = lease_world.Bounds(
        options.nodes,
        options.faults,
        kinds,
        network=not options.no_network,
        apart=options.apart,
        states=options.states,
    )
    began = time.monotonic()
    with telling.status() as show:
        found = lease_search.search(
            bounds, lambda states, waiting: show(exploring.at(states, waiting, time.monotonic() - began))
        )
    if options.json:
        import json

        say(json.dumps(found.plain(), indent=2))
    else:
        say("\n".join(exploring.told_lease(found, time.monotonic() - began)))
    return telling.EXIT_SAFETY if found.violation else telling.EXIT_CLEAN


# --------------------------------------------------------------------------------------------- one history


def _planned(options: argparse.Namespace, own: dict[str, Texts] | None) -> Plan:
    """Of SEED|FILE."""
    word = options.what
    if word.isascii() and word.isdigit() and len(word) < 19:
        return given.drawn(int(word), options.hours, options.rules, own, given.setting(options.setting), options.mix)
    if options.hours is not None or options.setting is not None:
        raise CliError("--hours and --setting go with a seed: a scenario file brings its own")
    return given.scenario_file(word, own)


def _shrink(options: argparse.Namespace) -> int:
    own = given.own(options.conf)
    plan = _planned(options, own)
    output = options.output or (f"seed-{plan.seed}.scenario" if options.what.isdigit() else f"{options.what}.shrunk")
    best: Plan | None = None

    def told(runs: int, found: Plan) -> None:
        nonlocal best
        best = found
        show(telling.shrinking(runs, found))

    with telling.status() as show:
        try:
            shrunk = shrink.shrink(plan, own, options.runs, told)
        except shrink.CleanError:
            say(f"{options.what} is clean: there is nothing to shrink")
            return telling.EXIT_CLEAN
        except KeyboardInterrupt:
            if best is None:
                raise
            given.save(output, best.text)
            raise Interrupted(
                f"interrupted; the shortest so far, of {len(best.faults)} faults, is in {output}"
            ) from None
    given.save(output, shrunk.plan.text)
    outcome = shrunk.outcome
    say("\n".join(telling.verdict_text(outcome)))
    say(f"from {len(plan.faults)} faults to {len(shrunk.plan.faults)}, in {shrunk.runs} histories: {output}\n")
    say(shrunk.plan.text)
    say(f"again:   {telling.command(['replay', output], {'conf': options.conf})}")
    return telling.verdict(outcome)


def _run(options: argparse.Namespace) -> int:
    own = given.own(options.conf)
    made = given.setting(options.setting)
    plan = given.drawn(options.seed, options.hours, options.rules, own, made, options.mix)
    again = telling.run_command(plan, options.hours, options.conf, options.setting, options.mix)
    outcome = carry_out(plan, own)
    return telling.print_history(outcome, scenario.cluster_of(texts_of(plan, own)), again)


def _replay(options: argparse.Namespace) -> int:
    own = given.own(options.conf)
    plan = given.scenario_file(options.file, own)
    if options.rules is not None:
        plan = replace(plan, rules=options.rules)
    again = telling.command(["replay", options.file], {"rules": options.rules, "conf": options.conf})
    outcome = carry_out(plan, own)
    return telling.print_history(outcome, scenario.cluster_of(texts_of(plan, own)), again)


def _report(options: argparse.Namespace) -> int:
    own = given.own(options.conf)
    plan = _planned(options, own)
    if options.what.isdigit():
        words = (options.hours, options.conf, options.setting, options.mix)
        again, title = telling.run_command(plan, *words), f"seed {options.what}"
    else:
        again, title = telling.command(["replay", options.what], {"conf": options.conf}), options.what
    outcome = carry_out(plan, own, messages=True)
    cluster = scenario.cluster_of(texts_of(plan, own))
    given.save(options.html, report.render(outcome, cluster, again, f"ezha: {title}"))
    findings = outcome.findings
    for text in (*findings.safety, *findings.liveness):
        say(f"VIOLATION: {text}")
    say(f"written: {options.html}")
    return telling.verdict(outcome)


def _what_if(options: argparse.Namespace) -> int:
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
    outcome = rehearsal.rehearse(made, own, messages=options.html is not None)
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
    if options.html is not None:
        told = {"conf": options.conf, "start": f"{options.start:g}", "stop": f"{options.stop:g}"}
        again = telling.command(["what-if", options.faults], told)
        given.save(options.html, report.render(outcome, cluster, again, f"ezha: what if {options.faults}", made.zero))
        say(f"\nwritten: {options.html}")
    return telling.verdict(outcome)
