"""A history as a story: what happened, where, when and why, in the order and the words of an administrator's night.

Pure: entries of a trace in, lines out. What is right or wrong it is told by the trace; it judges nothing, and knows
neither a terminal nor how a history is run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ha.simulation.trace import Entry, Kind


class Tone(Enum):
    """How much a line asks for attention."""

    PLAIN = "plain"
    QUIET = "quiet"
    FAULT = "fault"
    HEAL = "heal"
    PERSON = "person"
    """An operator did it."""
    RUNS = "runs"
    """A service comes up or goes down, physically."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of the story."""

    at: float
    node: str
    text: str
    tone: Tone = Tone.PLAIN
    below: bool = False
    """It belongs to the line above: its consequence, or its reason."""


_FAULTS = {
    "power-off": "{0} loses its power",
    "kill": "nmond on {0} is killed (kill -9)",
    "pause": "nmond on {0} is stopped (SIGSTOP); the machine goes on",
    "pause-machine": "the machine {0} pauses; its clock and a watchdog go on",
    "suspend-machine": "the machine {0} and its watchdog pause; its clock goes on",
    "freeze-machine": "the machine {0} and its watchdog pause, and its clock stands still",
    "guard": "what guards {0} does nothing",
    "pause-processes": "every process on {0} is stopped (SIGSTOP); the kernel goes on",
    "agent": "fence agents that begin on {0} behave so from now on: {1}",
    "slow": "nmond on {0} gets the CPU up to {1} s late",
    "step-clock": "the wall clock of {0} is set by {1} s",
    "stop-clock": "the wall clock of {0} stands still",
    "lose": "{0} % of the datagrams {pair} are lost",
    "delay": "datagrams {pair} take up to {0} s longer",
    "duplicate": "{0} % of the datagrams {pair} arrive twice",
    "replay": "a stranger sends {0} old datagrams {pair} again",
    "truncate": "{0} % of the datagrams {pair} arrive cut short",
    "stray": "a stranger sends an empty datagram a second to {0}",
    "forge": "a stranger sends {0} 500 heartbeats a second in the name of {1}: {2} is {3} there",
    "kill-listeners": "the processes that listen on {0} are killed (kill -9)",
    "zero": "the slots of {0} on shared disks are overwritten with zeros",
    "disk-full": "the state of record of {0} cannot be written (disk full)",
    "damage": "a bit of the state of record of {0} changes on its disk",
    "tear": "the files of the states of {0} are left empty, as by a write that was cut short",
    "unreadable": "reading the files of the states fails on {0} (EIO)",
    "script": "the {2} script of {1} on {0} {shape}",
    "configure": "the configuration on {0} differs from the others' ({1}, {2})",
}
_DISK = {
    "read-error": "reads of the shared disk fail on {0} (EIO)",
    "write-error": "writes to the shared disk fail on {0} (EIO)",
    "read-hang": "reads of the shared disk hang on {0}",
    "write-hang": "writes to the shared disk hang on {0}",
    "stale": "{0} reads what stood on the shared disk three writes ago",
    "other": "another disk answers on {0} under the name of the shared one",
    "torn": "writes of {0} to the shared disk arrive torn",
}
_SHAPES = {
    "fails": "fails from now on",
    "half": "fails from now on, and leaves the service up in part",
    "hangs": "hangs from now on",
    "stubborn": "hangs from now on, and ignores SIGTERM",
    "slow": "takes twenty times as long from now on",
    "stuck": "hangs from now on, and cannot be killed",
    "unsure": "does not know from now on",
}


def sentence(fault: str) -> str:
    """A sentence of the plan (``cut net node1 for 7 s``) in plain words."""
    head, _, lasts = fault.partition(" for ")
    verb, *words = head.split()
    return told(verb, words) + (f", for {lasts}" if lasts else "")


def told(verb: str, words: Sequence[str]) -> str:
    """A fault or an order in plain words."""
    match verb:
        case "order":
            text = _typed(words)
        case "leave":
            text = "an operator types: ezha.init stop"
        case "confirm-down":
            text = f"an operator types: ezha confirm-down {words[1]}"
        case "restart":
            text = "an operator types: ezha.init restart"
        case "boot-script":
            text = "an operator types: ezha.init start, though it runs"
        case "cut":
            text = _cut(*words)
        case "disk":
            text = _DISK[words[0]].format(*words[1:])
        case _:
            shape = _SHAPES.get(words[-1], "") if words else ""
            if verb == "script" and words[2] in ("check", "status") and words[3] == "half":
                shape = _SHAPES["fails"]
            text = _FAULTS[verb].format(*words, pair=_pair(words[1:]), shape=shape)
            if verb == "kill" and len(words) > 1 and int(words[1]):
                text = f"nmond on {words[0]} is about to die (kill -9) at its effect number {words[1]} from now"
    return text


def _typed(words: Sequence[str]) -> str:
    _, service, action, *rest = words
    override = " --i-know" if "--i-know" in rest else ""
    if action == "switch":
        target = "".join(f" {word}" for word in rest if word != "--i-know")
        return f"an operator types: ezha switch {service}{target}{override}"
    return f"an operator types: service -A {service} {action}{override}"


def _cut(what: str, node: str, other: str = "") -> str:
    if what == "disk":
        return f"{node} cannot write the shared disk" if other else f"{node} reaches the shared disk no more"
    way = f"from {node} to {other}" if other else f"to or from {node}"
    if what == "all":
        return f"nothing comes through {way} any more, by network or disk"
    if what == "net":
        return f"no network carries anything {way} any more"
    return f"line {what} of {node} in monitor carries nothing {way} any more"


def _pair(words: Sequence[str]) -> str:
    if not words:
        return ""
    return f"from {words[0]} to {words[1]}" if len(words) > 1 else f"to and from {words[0]}"


_COMES = ("nmond starts", "openha starts", "openha is started")
_GOES = {
    "ezha has left": "has left the cluster",
    "openha has stopped": "has left the cluster",
    "nmond cannot start": "has no nmond",
    "nmond dies": "has no nmond",
    "nmond is dead": "has no nmond",
}


def comes(entry: Entry) -> bool:
    """Whether from here on an nmond runs on its node."""
    return entry.text.startswith(_COMES)


def goes(entry: Entry) -> str:
    """What is with its node from here on, where no nmond runs on it any more; empty: nothing of that kind."""
    return next((what for text, what in _GOES.items() if entry.text.startswith(text)), "")


@dataclass(slots=True)
class World:
    """What runs where, as far as the story has come. ``follow`` takes every entry, in order."""

    up: dict[str, dict[str, float]] = field(default_factory=dict)
    """By service: on which nodes it is physically up, and since when."""
    down_since: dict[str, float] = field(default_factory=dict)
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    """By service and node: its last state there."""
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    """Why it came to that state, or what was refused since."""
    off: dict[str, str] = field(default_factory=dict)
    """Nodes on which no nmond runs, and why not."""
    began: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """By node, service and kind: when a script began."""

    def follow(self, entry: Entry) -> None:
        service, node = entry.service, entry.node
        match entry.kind:
            case Kind.UP:
                self.up.setdefault(service, {})[node] = entry.at
                self.down_since.pop(service, None)
            case Kind.DOWN:
                self.up.get(service, {}).pop(node, None)
                if not self.up.get(service):
                    self.down_since[service] = entry.at
            case Kind.STATE:
                self.states[service, node] = entry.dest
                self.reasons[service, node] = entry.text
            case Kind.FAULT if entry.text.startswith("power-off "):
                self.off[node] = "has no power"
            case Kind.NODE if comes(entry):
                self.off.pop(node, None)
            case Kind.NODE if gone := goes(entry):
                self.off[node] = gone
            case _:
                pass

    def where(self, service: str) -> str:
        """On which nodes a service is physically up."""
        nodes = list(self.up.get(service, {}))
        return " and ".join(nodes) if nodes else "nowhere"


def tell(entries: Iterable[Entry], world: World | None = None) -> list[Line]:
    """The story. ``world``: followed as it goes on, for whoever wants to know how it ended."""
    world = World() if world is None else world
    lines: list[Line] = []
    refused: Entry | None = None
    for entry in entries:
        if refused is not None and not _answers(entry, refused):
            lines.append(Line(refused.at, refused.node, f"{refused.service}: not done: {refused.text}", below=True))
        refused = entry if entry.kind is Kind.REFUSED else None
        if refused is None:
            lines += _lines(entry, world)
        world.follow(entry)
    if refused is not None:
        lines.append(Line(refused.at, refused.node, f"{refused.service}: not done: {refused.text}", below=True))
    return lines


def _answers(entry: Entry, refused: Entry) -> bool:
    """A refusal that the operator was told needs no line of its own."""
    return entry.kind is Kind.REPLY and entry.node == refused.node and refused.text in entry.text


def _lines(entry: Entry, world: World) -> list[Line]:
    at, node, service, text = entry.at, entry.node, entry.service, entry.text

    def line(words: str, tone: Tone = Tone.PLAIN, below: bool = False) -> Line:
        return Line(at, node, words, tone, below)

    match entry.kind:
        case Kind.MESSAGE:
            return []
        case Kind.FAULT:
            return [line(sentence(text), Tone.FAULT)]
        case Kind.HEAL:
            return [line(f"over: {sentence(text[6:])}" if text.startswith("over: ") else text, Tone.HEAL)]
        case Kind.COMMAND:
            return [line(sentence(text), Tone.PERSON)]
        case Kind.REPLY:
            return [line(f"{service}: {text}", Tone.PERSON, below=True)]
        case Kind.STATE:
            return _moved(entry)
        case Kind.SCRIPT:
            return [line(_script(entry, world))]
        case Kind.UP:
            return _came_up(entry, world)
        case Kind.DOWN:
            return [_went_down(entry, world)]
        case Kind.DUAL:
            return [line(f"{service} runs twice: {text} (counted: without an arbiter nobody can know)", Tone.BAD)]
        case Kind.VIOLATION:
            return [line(f"VIOLATION: {service + ': ' if service else ''}{text}", Tone.BAD)]
        case Kind.PATH | Kind.PEER:
            return [line(text, Tone.QUIET)]
        case Kind.ALERT:
            return [line(f"{service + ': ' if service else ''}{text}", Tone.FAULT)]
        case _:
            return [line(f"{service + ': ' if service else ''}{text}")]


def _moved(entry: Entry) -> list[Line]:
    if entry.source == entry.dest:
        text = f"{entry.service} stays {entry.dest}: {entry.text}"
    else:
        text = f"{entry.service} {entry.source} → {entry.dest}: {entry.text}"
    lines = [Line(entry.at, entry.node, text)]
    if entry.dest in ("START_READY", "STARTING") and entry.source != entry.dest:
        lines += [
            Line(entry.at, entry.node, f"evidence: {each}", Tone.QUIET, below=True)
            for each in entry.evidence
            if each not in entry.text
        ]
    return lines


def _script(entry: Entry, world: World) -> str:
    kind, _, what = entry.text.partition(" script ")
    key = (entry.node, entry.service, kind)
    if what == "begins":
        world.began[key] = entry.at
        return f"the {kind} script of {entry.service} begins"
    how, _, code = what.rpartition(" ")
    ended = {
        "exited": "is done (exit 0)" if code == "0" else f"ends with exit {code}",
        "killed": f"is killed (signal {code})",
        "not started": "could not be started",
        "lost": "has ended; how is not known",
    }.get(how, what)
    taken = f" after {entry.at - world.began.pop(key):.2f} s" if key in world.began else ""
    return f"the {kind} script of {entry.service} {ended}{taken}"


def _came_up(entry: Entry, world: World) -> list[Line]:
    service, node = entry.service, entry.node
    others = [other for other in world.up.get(service, {}) if other != node]
    if others:
        text = f"{service} comes up on {node}, and is up on {' and '.join(others)} AT THE SAME TIME"
        return [Line(entry.at, node, text, Tone.BAD)]
    down = world.down_since.get(service)
    gap = f", after {entry.at - down:.2f} s in which it ran nowhere" if down is not None else ""
    return [Line(entry.at, node, f"{service} comes up on {node}{gap}", Tone.RUNS)]


def _went_down(entry: Entry, world: World) -> Line:
    others = [other for other in world.up.get(entry.service, {}) if other != entry.node]
    rest = f"still up on {' and '.join(others)}" if others else "it runs nowhere now"
    return Line(entry.at, entry.node, f"{entry.service} is down on {entry.node}; {rest}", Tone.RUNS)


def ending(world: World, services: Iterable[str], nodes_of: dict[str, tuple[str, ...]]) -> list[str]:
    """What runs where at the end: a block a service."""
    lines = []
    for service in services:
        lines.append(f"{service} runs {'on ' if world.up.get(service) else ''}{world.where(service)}")
        for node in nodes_of[service]:
            state = world.states.get((service, node), "FROZEN_STOP")
            if node in world.off:
                lines.append(f"  {node}: {world.off[node]}")
            else:
                reason = world.reasons.get((service, node), "nobody has unfrozen it yet")
                lines.append(f"  {node}: {state} ({reason})")
    return lines


def clock(at: float, long: bool) -> str:
    """A moment of the history: ``m:ss.mmm``, with hours where it is ``long``."""
    whole = round(at * 1000)
    minutes, milli = divmod(whole, 60000)
    if not long:
        return f"{minutes:3d}:{milli / 1000:06.3f}"
    return f"{minutes // 60:3d}:{minutes % 60:02d}:{milli / 1000:06.3f}"


def layout(lines: Sequence[Line], since: float = 0.0) -> list[tuple[str, Line]]:
    """Every line, with the columns before it: the time where it changes, the node where it changes. What happened
    before ``since`` is left out, and time counts from there."""
    shown = [line for line in lines if line.at >= since]
    long = bool(shown) and shown[-1].at - since >= 3600
    width = max((len(line.node) for line in shown), default=0)
    found = []
    last: tuple[str, str] | None = None
    for line in shown:
        key = (clock(line.at - since, long), line.node)
        time = key[0] if last is None or last[0] != key[0] else " " * len(key[0])
        node = "" if last == key else line.node
        found.append((f"{time}  {node:<{width}}  {'  ' if line.below else ''}", line))
        last = key
    return found
