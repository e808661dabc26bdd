"""The plan of a history: what goes wrong, who types what, and when. One language for scenario files, ``what-if`` and
the output of ``shrink``: a sentence a fault, ``VERB … at SECONDS [once NODE SERVICE STATE [after SECONDS]]
[for SECONDS]``.

A plan is data: it does nothing (``ha.simulation.faults`` does), and knows nothing of how it was drawn.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ha.fsm.states import Action, State

MAX_SECONDS = 366 * 86400.0
MAX_FAULTS = 100_000


class PlanError(ValueError):
    """A sentence that is not understood. The text says which, and what would be."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A kind of fault. ``words``: the form of its arguments, for people and for the parser."""

    name: str
    words: str
    lasts: bool
    """Takes ``for SECONDS``; without it, it lasts until everything is healed."""
    meaning: str


VERBS = {
    verb.name: verb
    for verb in (
        Verb("power-off", "NODE", True, "the machine loses its power; with `for`, it is switched on again"),
        Verb("kill", "NODE [POINT]", False, "kill -9 of nmond; POINT: at its so-manieth effect from then on"),
        Verb("pause", "NODE", True, "nmond is stopped (SIGSTOP); its machine goes on"),
        Verb("pause-machine", "NODE", True, "the whole machine pauses, its clock and a watchdog go on"),
        Verb(
            "suspend-machine", "NODE", True, "the whole machine and its watchdog pause, its clock goes on (a suspend)"
        ),
        Verb(
            "freeze-machine",
            "NODE",
            True,
            "the whole machine and its watchdog pause, its clock stands still (a snapshot)",
        ),
        Verb("pause-processes", "NODE", True, "every process of the machine is stopped; sockets keep what comes"),
        Verb("guard", "NODE", True, "what guards the machine (watchdog, guardian, fence command) does nothing"),
        Verb("agent", "NODE fails|hangs|slow|lies", True, "fence agents that begin then on the node behave badly"),
        Verb("slow", "NODE SECONDS", True, "nmond is scheduled late, by up to so much"),
        Verb("step-clock", "NODE SECONDS", False, "the wall clock is set, forward or (negative) back"),
        Verb("stop-clock", "NODE", True, "the wall clock stands still"),
        Verb("cut", "net|disk|all|LINE NODE [NODE]", True, "no path from the first node (to the second) carries"),
        Verb("lose", "PERCENT NODE [NODE]", True, "datagrams of the first node (to the second) are lost"),
        Verb("delay", "SECONDS NODE [NODE]", True, "datagrams take up to so much longer, and overtake each other"),
        Verb("duplicate", "PERCENT NODE [NODE]", True, "datagrams arrive twice"),
        Verb("replay", "COUNT NODE [NODE]", False, "old datagrams of the first node are sent again by a stranger"),
        Verb("truncate", "PERCENT NODE [NODE]", True, "datagrams arrive cut short"),
        Verb(
            "stray", "NODE", True, "a stranger sends an empty datagram a second to each port that the node listens on"
        ),
        Verb(
            "forge",
            "NODE NODE NAME STATE",
            True,
            "a stranger sends the first node 500 heartbeats a second, in the name"
            " of the second, which say that a service of that name is in that state",
        ),
        Verb("kill-listeners", "NODE", False, "kill -9 of the processes that listen"),
        Verb(
            "disk", "read-error|write-error|read-hang|write-hang|stale|torn|other NODE", True, "the node's shared disk"
        ),
        Verb("zero", "NODE", False, "the node's slots on shared disks are overwritten with zeros"),
        Verb("disk-full", "NODE", True, "the state of record cannot be written"),
        Verb("damage", "NODE", False, "a bit of the state of record changes on its disk"),
        Verb("tear", "NODE", False, "the files of the states are left empty, as by a write that was cut short"),
        Verb("unreadable", "NODE", True, "reading the files of the states fails (EIO)"),
        Verb("script", "NODE SERVICE start|stop|check|status SHAPE", True, "scripts that begin then behave badly"),
        Verb("order", "NODE SERVICE ACTION [TARGET] [--i-know]", False, "an operator types it"),
        Verb("confirm-down", "NODE NODE", False, "an operator states on the first node that the second is off"),
        Verb("leave", "NODE", True, "ezha.init stop; with `for`, start again"),
        Verb("restart", "NODE", False, "ezha.init restart"),
        Verb("boot-script", "NODE", False, "ezha.init start, though it runs"),
        Verb("configure", "NODE reversed|without|slower SERVICE", True, "the node's configuration differs"),
    )
}

SHAPES = ("fails", "half", "hangs", "stubborn", "slow", "stuck", "unsure")
"""How a script may behave: exits with 1 and leaves nothing; exits with 1 and leaves the service up in part; never ends;
ends neither, nor at SIGTERM; takes long; cannot be killed; (status) says what it does not know."""
MEDIA = ("net", "disk", "all")
_ONCE = " [once NODE SERVICE STATE [after SECONDS]]"
DISK_FAULTS = ("read-error", "write-error", "read-hang", "write-hang", "stale", "torn")
"""Those that the hunt draws; what stands in for ``stale`` under a lease is ``ha.simulation.promises``'s matter."""


BESIDE = ("ezha+openha", "openha+ezha")
RULES = ("ezha", "openha", *BESIDE)
"""Whose rules the nodes follow: all the same, or in turn, the first node first: a cluster that migrates."""


@dataclass(frozen=True, slots=True)
class Once:
    """What a fault waits for: a state that may last no longer than a message takes, and that no time hits."""

    node: str
    service: str
    state: str
    """The service's on that node, by its own nmond."""
    after: float = 0.0
    """Seconds from then on."""

    @property
    def words(self) -> str:
        tail = f" after {_number(self.after)}" if self.after else ""
        return f"once {self.node} {self.service} {self.state}{tail}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One sentence of a plan. Times are true seconds."""

    at: float
    verb: str
    words: tuple[str, ...]
    lasts: float | None = None
    """None: until healed, or it is over at once."""
    once: Once | None = None
    """It waits from ``at`` on, and happens once; never, where that does not come while there are faults."""

    @property
    def node(self) -> str:
        return next((w for w, form in zip(self.words, _form(self.verb), strict=False) if form == "NODE"), "")

    @property
    def sentence(self) -> str:
        once = f" {self.once.words}" if self.once is not None else ""
        tail = f" for {_number(self.lasts)}" if self.lasts is not None else ""
        return f"{' '.join((self.verb, *self.words))} at {_number(self.at)}{once}{tail}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole history, as far as it is not the configuration's matter."""

    seed: str
    """Of all the noise: delays, durations, drift."""
    seconds: float
    """Of the phase with faults; the phase without follows."""
    faults: tuple[Fault, ...] = ()
    rules: str = "ezha"
    noise: tuple[tuple[str, float], ...] = field(default=())
    """What is not a fault of its own: loss, delay, drift … (``ha.simulation.noise``)."""
    setting: str = "nodes=2"
    """The cluster (``ha.simulation.settings``), where it is not the user's own."""
    mix: str = ""
    """What kind of history was drawn, for people."""

    def without(self, dropped: Iterable[int]) -> "Plan":
        gone = set(dropped)
        return replace(self, faults=tuple(f for i, f in enumerate(self.faults) if i not in gone))

    @property
    def text(self) -> str:
        """As a scenario file."""
        head = [
            "# ezha scenario 1",
            f"seed {self.seed}",
            f"rules {self.rules}",
            f"seconds {_number(self.seconds)}",
            f"setting {self.setting}",
            *([f"mix {self.mix}"] if self.mix else []),
            *(f"noise {name} {_number(value)}" for name, value in self.noise),
        ]
        return "\n".join((*head, *(f.sentence for f in self.faults))) + "\n"


def parse_fault(sentence: str, nodes: Iterable[str], services: Iterable[str]) -> Fault:
    """``VERB … at SECONDS [once NODE SERVICE STATE [after SECONDS]] [for SECONDS]``. Raises PlanError."""
    nodes, services = set(nodes), set(services)
    words = sentence.split()
    if not words or words[0] not in VERBS:
        known = ", ".join(VERBS)
        raise PlanError(f"{sentence.strip()!r}: no such fault; one of {known}")
    verb = VERBS[words[0]]
    usage = f"write: {verb.name} {verb.words} at SECONDS{_ONCE}{' [for SECONDS]' if verb.lasts else ''}"
    lasts: float | None = None
    rest = words[1:]
    if len(rest) >= 2 and rest[-2] == "for":
        if not verb.lasts:
            raise PlanError(f"{sentence.strip()!r}: {verb.name} does not last; {usage}")
        lasts = _seconds(rest[-1], sentence, usage)
        rest = rest[:-2]
    rest, once = _once(rest, nodes, services, sentence, usage)
    if len(rest) < 2 or rest[-2] != "at":
        raise PlanError(f"{sentence.strip()!r}: when? {usage}")
    at = _seconds(rest[-1], sentence, usage)
    fault = Fault(at, verb.name, tuple(rest[:-2]), lasts, once)
    _check(fault, nodes, services, f"{sentence.strip()!r}: ", usage)
    return fault


def _once(
    words: list[str], nodes: set[str], services: set[str], sentence: str, usage: str
) -> tuple[list[str], Once | None]:
    """What it waits for, and the words before that."""
    where = f"{sentence.strip()!r}: "
    after = 0.0
    rest = words
    if len(rest) >= 8 and rest[-2] == "after" and rest[-6] == "once":
        after = _seconds(rest[-1], sentence, usage)
        rest = rest[:-2]
    if len(rest) < 6 or rest[-4] != "once" or rest[-6] != "at":
        return words, None
    node, service, state = rest[-3:]
    if node not in nodes:
        raise PlanError(f"{where}no node {node}; one of {', '.join(sorted(nodes))}")
    if service not in services:
        raise PlanError(f"{where}no service {service}; one of {', '.join(sorted(services))}")
    if state not in State.__members__:
        raise PlanError(f"{where}no state {state}; one of {', '.join(State.__members__)}")
    return rest[:-4], Once(node, service, state, after)


def parse_plan(text: str, nodes: Iterable[str], services: Iterable[str], name: str = "scenario") -> Plan:
    """A scenario file. Raises PlanError with file and line."""
    nodes, services = list(nodes), list(services)
    lines = text.splitlines()
    if not lines or lines[0].strip() != "# ezha scenario 1":
        raise PlanError(f"{name}: line 1: not a scenario: it begins with '# ezha scenario 1'")
    head: dict[str, str] = {}
    noise: list[tuple[str, float]] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines[1:], 2):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        word, _, value = content.partition(" ")
        try:
            if word in ("seed", "rules", "seconds", "setting", "mix"):
                head[word] = value.strip()
            elif word == "noise":
                noise.append(_noise(value))
            else:
                faults.append(parse_fault(content, nodes, services))
        except PlanError as error:
            raise PlanError(f"{name}: line {number}: {error}") from None
    if len(faults) > MAX_FAULTS:
        raise PlanError(f"{name}: {len(faults)} faults, more than {MAX_FAULTS}")
    rules = head.get("rules", "ezha")
    if rules not in RULES:
        raise PlanError(f"{name}: rules {rules!r}: one of {', '.join(RULES)}")
    try:
        seconds = _seconds(head.get("seconds", ""), f"seconds {head.get('seconds', '')}", "write: seconds 600")
    except PlanError as error:
        raise PlanError(f"{name}: {error}") from None
    faults.sort(key=lambda f: f.at)
    return Plan(
        head.get("seed", "0"),
        seconds,
        tuple(faults),
        rules,
        tuple(noise),
        head.get("setting", "nodes=2"),
        head.get("mix", ""),
    )


def _noise(value: str) -> tuple[str, float]:
    words = value.split()
    if len(words) != 2:
        raise PlanError("write: noise NAME NUMBER")
    try:
        return words[0], float(words[1])
    except ValueError:
        raise PlanError(f"{words[1]!r} is no number") from None


def _form(verb: str) -> list[str]:
    return [w.strip("[]") for w in VERBS[verb].words.split()]


def _check(fault: Fault, nodes: set[str], services: set[str], where: str, usage: str) -> None:
    """Every word, against the form of its verb."""
    form = VERBS[fault.verb].words.split()
    needed = sum(1 for w in form if not w.startswith("["))
    if not needed <= len(fault.words) <= len(form):
        raise PlanError(f"{where}{usage}")
    for word, part in zip(fault.words, form, strict=False):
        kind = part.strip("[]")
        if kind == "NODE" and word not in nodes:
            raise PlanError(f"{where}no node {word}; one of {', '.join(sorted(nodes))}")
        if kind == "SERVICE" and word not in services:
            raise PlanError(f"{where}no service {word}; one of {', '.join(sorted(services))}")
        if kind in ("SECONDS", "PERCENT", "COUNT", "POINT") and not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,9})?", word):
            raise PlanError(f"{where}{word!r} is no number; {usage}")
        if kind == "PERCENT" and not 0 <= float(word) <= 100:
            raise PlanError(f"{where}{word} is no percentage")
        if kind in ("COUNT", "POINT") and not re.fullmatch("[0-9]{1,6}", word):
            raise PlanError(f"{where}{word} is no count; {usage}")
        if kind == "STATE" and word not in State.__members__:
            raise PlanError(f"{where}no state {word}; one of {', '.join(State.__members__)}")
        if kind == "SHAPE" and word not in SHAPES:
            raise PlanError(f"{where}no shape {word}; one of {', '.join(SHAPES)}")
        if kind == "ACTION" and word not in {a.value for a in Action}:
            raise PlanError(f"{where}no action {word}; one of {', '.join(a.value for a in Action)}")
        if kind == "net|disk|all|LINE" and word not in MEDIA and not re.fullmatch("[0-9]{1,3}", word):
            raise PlanError(f"{where}{word}: net, disk, all, or the number of a line of the node in monitor (0, 1, …)")
        if "|" in kind and kind != "net|disk|all|LINE" and word not in kind.split("|"):
            raise PlanError(f"{where}{word}: one of {kind.replace('|', ', ')}")
        if kind == "TARGET" and word != "--i-know" and word not in nodes:
            raise PlanError(f"{where}no node {word}; one of {', '.join(sorted(nodes))}")


def _seconds(word: str, sentence: str, usage: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", word):
        raise PlanError(f"{sentence.strip()!r}: {word!r} is no number of seconds; {usage}")
    value = float(word)
    if value > MAX_SECONDS:
        raise PlanError(f"{sentence.strip()!r}: more than a year")
    return value


def _number(value: float) -> str:
    """Short, and read back as the same number (to a microsecond)."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
