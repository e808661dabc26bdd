"""Each hazard of the original is a scenario: with its rules it does the harm that is known, with ezha's it does not.

A scenario whose cause is taken out does no harm even with the original's rules: so it is the cause that is tested, and
not a harm that the scenario would do anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ha.simulation.history import History, run, texts_of
from ha.simulation.plan import Plan, parse_plan
from ha.simulation.trace import Entry, Kind

FOLDER = Path(__file__).parent / "hazards"
NODES = ("node1", "node2")

Harm = Callable[[History], bool]


def _plan(name: str, rules: str) -> Plan:
    path = FOLDER / f"{name}.scenario"
    return replace(parse_plan(path.read_text(), NODES, ("svc1", "svc2"), path.name), rules=rules)


def _told(plan: Plan) -> History:
    """The history up to where its faults would be healed."""
    history = History(plan, texts_of(plan, None))
    history.agenda.run(plan.seconds)
    return history


def _entries(history: History, kind: Kind, node: str, service: str = "svc1", after: float = 0.0) -> list[Entry]:
    return [
        e for e in history.trace.entries if e.kind is kind and e.node == node and e.service == service and e.at > after
    ]


# ------------------------------------------------------------------------------------------------------ harms


def dual(history: History) -> bool:
    """Physically up on both nodes at once."""
    up: set[str] = set()
    for entry in history.trace.entries:
        if entry.kind is Kind.UP and entry.service == "svc1":
            up.add(entry.node)
        elif entry.kind is Kind.DOWN and entry.service == "svc1":
            up.discard(entry.node)
        if len(up) > 1:
            return True
    return False


def stays_dual(history: History) -> bool:
    """Up on both, long after everything healed."""
    return all("svc1" in machine.up for machine in history.machines.values())


def starts(node: str, after: float = 0.0) -> Harm:
    return lambda history: bool(_entries(history, Kind.UP, node, after=after))


def missed(node: str, by: float, after: float) -> Harm:
    """It should have been started there between the two."""
    return lambda history: not any(e.at <= by for e in _entries(history, Kind.UP, node, after=after))


def nowhere(history: History) -> bool:
    """It runs on no node in the end."""
    return not any("svc1" in machine.up for machine in history.machines.values())


def writes_outside(history: History) -> bool:
    """A file stands where no state belongs."""
    folders = ("/usr/local/cluster/services/",)
    return any(
        "/STATE." in path and not path.startswith(folders)
        for machine in history.machines.values()
        for path in machine.files.files
    )


def false_success(history: History) -> bool:
    """ "Started", says the command, and nothing runs there."""
    for entry in history.trace.entries:
        if entry.kind is Kind.REPLY and entry.text.lower().startswith("done: started"):
            changes = [e for e in history.trace.entries if e.node == entry.node and e.kind in (Kind.UP, Kind.DOWN)]
            before = [e.kind for e in changes if e.at <= entry.at]
            if not before or before[-1] is not Kind.UP:
                return True
    return False


def path_down(node: str, after: float) -> Harm:
    return lambda history: any("is DOWN" in e.text for e in _entries(history, Kind.PATH, node, "", after))


def unanswered(node: str, after: float) -> Harm:
    return lambda history: not _entries(history, Kind.REPLY, node, after=after)


def looks_alive(node: str, other: str) -> Harm:
    def judge(history: History) -> bool:
        program = history.machines[node].program
        assert program is not None
        return program.hears(other)

    return judge


@dataclass(frozen=True)
class Hazard:
    name: str
    harms: tuple[Harm, ...]
    cause: str = ""
    """The verb without which there is no harm; empty: the hazard needs no fault at all."""


HAZARDS = (
    Hazard("H1", (dual,)),
    Hazard("H2", (dual,), "cut"),
    Hazard("H3", (dual, stays_dual), "cut"),
    Hazard("H4", (dual, stays_dual), "pause-processes"),
    Hazard("H5", (dual,), "boot-script"),
    Hazard("H6", (missed("node2", 90.0, 70.0),), "script"),
    Hazard("H7", (dual, writes_outside), "forge"),
    Hazard("H8", (dual, path_down("node2", 60.0)), "stop-clock"),
    Hazard("H9", (starts("node2"),), "tear"),
    Hazard("H10", (nowhere,), "script"),
    Hazard("H11", (starts("node2", 61.0),)),
    Hazard("H12", (starts("node2"),), "unreadable"),
    Hazard("H13", (false_success,)),
    Hazard("H14", (path_down("node2", 50.0),), "lose"),
    Hazard("H15", (missed("node2", 200.0, 80.0),), "kill"),
    Hazard("H16", (dual,), "cut"),
    Hazard("H17", (unanswered("node1", 60.0),), "script"),
    Hazard("H18", (missed("node2", 150.0, 60.0), looks_alive("node2", "node1")), "stray"),
    Hazard("H19", (looks_alive("node1", "node2"),)),
    Hazard("H20", (missed("node2", 150.0, 60.0), looks_alive("node2", "node1")), "kill-listeners"),
    Hazard("H21", (starts("node1", 63.5),)),
    Hazard("H22", (missed("node2", 150.0, 60.0), looks_alive("node2", "node1")), "disk"),
    Hazard("H23", (dual,), "forge"),
)


def _ids(hazard: Hazard) -> str:
    return hazard.name


def test_every_hazard_is_there() -> None:
    assert [h.name for h in HAZARDS] == [f"H{n}" for n in range(1, 24)]
    assert {p.stem for p in FOLDER.iterdir()} == {h.name for h in HAZARDS}


@pytest.mark.parametrize("hazard", HAZARDS, ids=_ids)
def test_the_original_does_the_harm(hazard: Hazard) -> None:
    history = _told(_plan(hazard.name, "openha"))
    assert [harm(history) for harm in hazard.harms] == [True] * len(hazard.harms)


@pytest.mark.parametrize("hazard", [h for h in HAZARDS if h.cause], ids=_ids)
def test_without_its_cause_there_is_no_harm(hazard: Hazard) -> None:
    plan = _plan(hazard.name, "openha")
    causes = [i for i, fault in enumerate(plan.faults) if fault.verb == hazard.cause]
    assert causes
    history = _told(plan.without(causes))
    assert [harm(history) for harm in hazard.harms] == [False] * len(hazard.harms)


@pytest.mark.parametrize("hazard", HAZARDS, ids=_ids)
def test_ezha_does_not(hazard: Hazard) -> None:
    history = _told(_plan(hazard.name, "ezha"))
    assert [harm(history) for harm in hazard.harms] == [False] * len(hazard.harms)
    assert not history.checkers.findings.safety


@pytest.mark.parametrize("hazard", HAZARDS, ids=_ids)
def test_ezha_comes_to_rest_afterwards(hazard: Hazard) -> None:
    outcome = run(_plan(hazard.name, "ezha"))
    assert outcome.clean and not outcome.findings.dual, (outcome.findings.safety, outcome.findings.liveness)
