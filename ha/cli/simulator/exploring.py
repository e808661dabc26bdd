"""``ezha sim explore``: all histories of two nodes and a service up to a bound, and how far that went."""

from ha.simulation.explore import Progress, Result
from ha.simulation.lease_search import Found


def moment(now: Progress, seconds: float) -> str:
    """How far it has come."""
    rate = now.states / seconds if seconds else 0.0
    return f"depth {now.depth}: {now.states:,} states, {now.frontier:,} waiting, {rate:,.0f} states/s"


def told(result: Result, seconds: float) -> list[str]:
    """What was found."""
    bounds = result.bounds
    lines = [
        f"at most {bounds.faults} fault(s) ({', '.join(bounds.kinds)}), {bounds.commands} command(s), "
        f"pauses of up to {bounds.pause} steps of T/5",
        f"{result.states:,} states (made of {result.machines:,} of single machines), "
        f"{result.transitions:,} transitions, depth {result.depth}, in {seconds:.1f} s",
        f"{len(result.cells)} cells of (state × peer's state × event) reached",
        f"{result.unarbitrated:,} moves end in a dual run that no node could tell from death (looked no further)",
    ]
    if result.violation:
        lines += ["", "the shortest way to a violation:", *(f"  {line}" for line in result.story), ""]
        lines.append(f"verdict: SAFETY VIOLATION: {result.violation}")
    elif result.exhausted:
        lines.append("verdict: exhausted: no history within these bounds breaks a rule")
    else:
        lines.append("verdict: no violation so far; the bound on states or depth came first, so it is not exhausted")
    return lines


def at(states: int, waiting: int, seconds: float) -> str:
    """How far a search of the lease has come."""
    rate = states / seconds if seconds else 0.0
    return f"{states:,} states, {waiting:,} waiting, {rate:,.0f} states/s"


def told_lease(found: Found, seconds: float) -> list[str]:
    """What a search of the lease found."""
    bounds = found.bounds
    network = "a network and a shared disk" if bounds.network else "a shared disk alone"
    lines = [
        f"{bounds.nodes} nodes, {network}, protection disk",
        f"at most {bounds.faults} fault(s) ({', '.join(bounds.kinds)})",
        f"{found.states:,} states, {found.transitions:,} transitions, in {seconds:.1f} s",
    ]
    if found.window is not None:
        lines.append(f"up on two after a pause of a machine with its clock: for {found.window:g} periods at most")
    if found.violation:
        lines += ["", "a way to a dual run:", *(f"  {line}" for line in found.story), ""]
        lines.append(f"verdict: SAFETY VIOLATION: {found.violation}")
    elif found.exhausted:
        lines.append("verdict: exhausted: no history within these bounds runs the service on two nodes")
    else:
        lines.append("verdict: no violation so far; the bound on states came first, so it is not exhausted")
    return lines
