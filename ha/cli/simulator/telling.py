"""Prints a history: what it is about, the story, what came of it, and the command that shows it again."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ha.cli.guard import say
from ha.fsm.config import ClusterConfig
from ha.simulation.history import Outcome
from ha.simulation.plan import Plan
from ha.simulation.promises import FULL
from ha.simulation.story import Line, Tone, World, ending, layout, tell

EXIT_CLEAN, EXIT_SAFETY, EXIT_LIVENESS = 0, 1, 2
_COLOURS = {
    Tone.QUIET: "2",
    Tone.FAULT: "33",
    Tone.HEAL: "36",
    Tone.PERSON: "35",
    Tone.RUNS: "32",
    Tone.BAD: "1;31",
}


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says how far something has come; elsewhere nothing."""
    shown = sys.stderr.isatty()

    def show(text: str) -> None:
        if shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    try:
        yield show
    finally:
        show("")


def shrinking(runs: int, best: Plan) -> str:
    return f"{runs} histories; the shortest so far has {len(best.faults)} faults in {duration(best.seconds)}"


def is_coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def verdict(outcome: Outcome) -> int:
    """The exit code."""
    if outcome.findings.safety:
        return EXIT_SAFETY
    return EXIT_LIVENESS if outcome.findings.liveness else EXIT_CLEAN


def duration(seconds: float) -> str:
    """For people."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} minutes" if seconds < 7200 else f"{seconds / 3600:.3g} hours"


def cluster_text(cluster: ClusterConfig) -> list[str]:
    """What the history is about."""
    lines = []
    for node in cluster.nodes:
        paths = ", ".join(f"{p.kind} {p.label}" for p in cluster.paths_of(node)) or "nothing"
        lines.append(f"{node} sends on {paths}; it is silent after {cluster.timeout_of(node):g} s")
    lines += [f"{service.name} may run on {', '.join(service.nodes)}" for service in cluster.services.values()]
    return lines


def print_story(lines: list[Line], since: float = 0.0) -> None:
    coloured = is_coloured()
    for columns, line in layout(lines, since):
        colour = _COLOURS.get(line.tone) if coloured else None
        text = f"\x1b[{colour}m{line.text}\x1b[0m" if colour else line.text
        say(columns + text)


def print_history(outcome: Outcome, cluster: ClusterConfig, again: str) -> int:
    """All of a history. Returns the exit code."""
    plan = outcome.plan
    mix = f" (trouble: {plan.mix.replace('+', ', ')})" if plan.mix else ""
    say(f"{duration(plan.seconds)} with faults, then {duration(outcome.seconds - plan.seconds)} without{mix}")
    say("\n".join(cluster_text(cluster)) + "\n")
    world = World()
    print_story(tell(outcome.entries, world))
    say("")
    say("\n".join(ending(world, cluster.services, {s.name: s.nodes for s in cluster.services.values()})))
    say("\n" + "\n".join(verdict_text(outcome)))
    say(f"again:   {again}")
    return verdict(outcome)


def verdict_text(outcome: Outcome) -> list[str]:
    findings = outcome.findings
    lines = [f"verdict: SAFETY VIOLATION: {text}" for text in findings.safety]
    lines += [f"verdict: LIVENESS VIOLATION: {text}" for text in findings.liveness]
    if not lines:
        lines = ["verdict: clean: every rule was kept, and without faults everything came to rest where it belongs"]
    if findings.dual:
        lines.append(f'         {findings.dual} dual run(s) that protection "none" cannot prevent: nobody could know')
    lines.append(f"         trace {outcome.digest}")
    return lines


def command(words: list[str], options: Mapping[str, str | None]) -> str:
    """A command line that can be pasted."""
    for name, value in options.items():
        if value is not None:
            words = [*words, f"--{name}", value]
    return " ".join(["ezha", "sim", *(shlex.quote(word) for word in words)])


def run_command(plan: Plan, hours: float | None, conf: str | None, setting: str | None, mix: str = FULL) -> str:
    """What shows the history of a seed again."""
    rules = plan.rules if plan.rules != "ezha" else None
    told = {"hours": f"{hours:g}" if hours is not None else None, "rules": rules, "conf": conf, "setting": setting}
    told["mix"] = mix if mix != FULL else None
    return command(["run", "--seed", plan.seed], told)
