"""What each step makes of each state of one machine, worked out once and then looked up.

The engine is deterministic, and what a machine does depends on itself alone (``ha.simulation.bounded.Host``). A search
meets the same machine beside very many others; here it is a number, and its steps are rows of a table. This module
must not know what the other machine is, nor in which order histories are searched.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from ha.fsm.message import Heartbeat
from ha.fsm.record import NodeRecord
from ha.fsm.states import ScriptKind
from ha.simulation import post
from ha.simulation.bounded import (
    NODES,
    Bounds,
    Doing,
    Host,
    Kind,
    Move,
    Packet,
    Said,
    Sign,
    T,
    Violation,
    Word,
    absorbed,
    acknowledged,
    bare,
    claim_of,
    cost,
    cuts,
    entry_of,
    moves,
    received,
    waits,
)
from ha.simulation.canonical import generations, key, message_moved, places, renumbered
from ha.simulation.coverage import Cell
from ha.simulation.post import NOTHING, Letter, Post

UP: Final = 1
CONTENDS: Final = 2
WAITS: Final = 4
"""Time does not go on before something has happened here."""
ON: Final = 8
AWAKE: Final = 16
LOOKS: Final = 32
"""A claim may be settled by the time alone."""
UNCHECKED, HEARD, LONELY = range(3)
MOST: Final = 2
"""So many faults one machine can have in a move."""
_BASE: Final = 5
"""Of numbers of messages, where nothing was heard to count from."""


class Step(NamedTuple):
    """A row."""

    move: Move
    faults: int
    """What it costs."""
    commands: int
    after: int
    """The machine afterwards."""
    words: int
    """What the other must be told; 0: nothing."""
    checked: int = UNCHECKED
    """It went ahead with a start: LONELY where nothing of the other had reached it for T."""
    starts: bool = False
    """It began to start the service."""
    trouble: str = ""
    """The rule that was broken."""


class Deed(NamedTuple):
    """What a move makes of a machine, whatever else is under way to it."""

    core: int
    """The machine afterwards."""
    words: int
    most: int
    """What letters under way tell of this machine's messages is no more than this now."""
    checked: int = UNCHECKED
    starts: bool = False
    cuts: tuple[Move, ...] = ()
    trouble: str = ""


class Shared:
    """What both machines' tables number alike."""

    def __init__(self) -> None:
        self.words: dict[tuple[Word, ...], int] = {(): 0}
        self.spoken: list[tuple[Word, ...]] = [()]
        self.texts: dict[Heartbeat, int] = {}
        self.messages: list[Heartbeat] = []
        self.known: dict[tuple[frozenset[int], int], int] = {}
        self.generations: list[tuple[frozenset[int], int]] = []

    def words_number(self, words: tuple[Word, ...]) -> int:
        number = self.words.setdefault(words, len(self.spoken))
        if number == len(self.spoken):
            self.spoken.append(words)
        return number

    def text(self, message: Heartbeat) -> int:
        number = self.texts.setdefault(message, len(self.messages))
        if number == len(self.messages):
            self.messages.append(message)
        return number

    def differ(self, one: int, other: int) -> bool:
        """Whether two messages tell different news."""
        return one != other and entry_of(self.messages[one]) != entry_of(self.messages[other])

    def generations_number(self, found: frozenset[int], floor: int) -> int:
        number = self.known.setdefault((found, floor), len(self.generations))
        if number == len(self.generations):
            self.generations.append((found, floor))
        return number

    def places(self, one: int, other: int) -> tuple[tuple[int, int], ...]:
        """What each generation counts as in a world of two such machines; empty: all stay as they are."""
        (mine, low), (theirs, high) = self.generations[one], self.generations[other]
        found = places(mine | theirs, min(low, high))
        return () if all(old == new for old, new in found.items()) else tuple(found.items())


class Cores:
    """The states of one node without what is under way to it, by number; here the engine takes its steps."""

    def __init__(self, node: int, bounds: Bounds, cells: Counter[Cell], shared: Shared) -> None:
        self.node = node
        self.hosts: list[Host] = []
        self.facts: list[int] = []
        self.reached: list[int] = []
        """How long ago the last was sent that reached the machine."""
        self.newest: list[Letter | None] = []
        """The newest message heard, as it would be under way."""
        self.generations: list[tuple[frozenset[int], int]] = []
        self._bounds = bounds
        self._cells = cells
        self._shared = shared
        self._numbers: dict[bytes, int] = {}
        self._moves: dict[tuple[int, bool, bool], tuple[Move, ...]] = {}
        self._deeds: dict[tuple[int, Move, Letter | int], Deed] = {}
        self._plain: dict[tuple[int, Letter], int] = {}
        self._outdated: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._moved: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}

    def number(self, host: Host) -> int:
        digest = key(host)
        found = self._numbers.setdefault(digest, len(self.hosts))
        if found == len(self.hosts):
            self.hosts.append(host)
            self.facts.append(self._facts(host))
            self.reached.append(host.now - host.reached)
            self.newest.append(self._newest(host))
            self.generations.append(generations(host))
        return found

    def _facts(self, host: Host) -> int:
        engine = host.engine
        facts = host.up * UP | host.contends * CONTENDS | waits(host, self._bounds) * WAITS
        if engine is not None:
            facts |= ON | (host.paused < 0) * AWAKE | engine.looks_by(host.now) * LOOKS
        return facts

    def _newest(self, host: Host) -> Letter | None:
        if host.engine is None:
            return None
        peer = host.engine.peers[NODES[1 - self.node]]
        if peer.newest is None:
            return None
        heard = acknowledged(host.engine, peer.newest)
        age = min(T, host.now - int(peer.arrival))
        return Letter(self._shared.text(bare(peer.newest)), heard, host.fresh(peer.newest), 0, 0, age)

    def moves(self, core: int, faults: int, commands: int) -> tuple[Move, ...]:
        place = (core, faults > 0, commands > 0)
        found = self._moves.get(place)
        if found is None:
            found = self._moves[place] = tuple(moves(self.hosts[core], faults, commands, self._bounds))
        return found

    def deed(self, core: int, move: Move, letter: Letter | int = 0) -> Deed:
        """``letter``: the message that comes; of a step of time, how long ago the last of those that wait was sent, and
        one more (0: none waits)."""
        place = (core, move, letter)
        found = self._deeds.get(place)
        if found is None:
            found = self._deeds[place] = self._done(self.hosts[core], move, letter)
        return found

    def _done(self, before: Host, move: Move, letter: Letter | int) -> Deed:
        packet, last = None, 0
        if isinstance(letter, Letter):
            before, packet = self._opened(before, letter)
        elif letter:
            last = before.now - (letter - 1)
        try:
            doing = Doing(before, move, self._bounds, self._cells, packet, last)
        except Violation as found:
            return Deed(0, 0, 0, trouble=str(found))
        after, checked = doing.host, UNCHECKED
        if ScriptKind.CHECK in doing.ran:
            checked = LONELY if after.lonely else HEARD
        if after.engine is None or Sign.LIFE in doing.words:
            most = 0
        else:
            most = 2 if claim_of(after) == claim_of(before) else 1
        return Deed(
            self.number(after),
            self._shared.words_number(tuple(doing.words)),
            most,
            checked,
            ScriptKind.START in doing.ran,
            tuple(cuts(move, doing.effects)) if not move.cut else (),
        )

    def _opened(self, host: Host, letter: Letter) -> tuple[Host, Packet]:
        """The message in the numbers of the machine, which counts the sender's present incarnation and claim from it
        where it is the newest."""
        assert host.engine is not None
        newest = host.engine.peers[NODES[1 - self.node]].newest
        if newest is None:
            stamp = (_BASE + letter.life, _BASE + letter.seq)
        else:
            seq = newest.seq if letter.life == 0 else _BASE
            stamp = (newest.incarnation.counter + letter.life, seq + letter.seq)
        if newest is None or not letter.stale:
            host = host.sibling()
            host.life = stamp[0] + (letter.fresh == 0)
            host.claim = stamp[1] if letter.fresh == 2 else 0
        message = received(host, self._shared.messages[letter.text], stamp, letter.heard)
        return host, Packet(message, host.now - letter.age)

    def plain(self, core: int, letter: Letter) -> int:
        """The machine once it has taken in a plain heartbeat; -1: it is none."""
        found = self._plain.get((core, letter))
        if found is None:
            found = -1
            if self.facts[core] & AWAKE and not letter.age and not letter.stale:
                host = absorbed(*self._opened(self.hosts[core], letter))
                found = -1 if host is None else self.number(host)
            self._plain[core, letter] = found
        return found

    def outdated(self, core: int, most: int) -> int:
        """The sender's claim is over (1), or the incarnation of all that it has sent (0)."""
        newest = self.newest[core]
        if newest is None or newest.fresh <= most:
            return core
        found = self._outdated[most].get(core)
        if found is None:
            host = self.hosts[core].sibling()
            host.claim = 0
            host.life += most == 0
            found = self._outdated[most][core] = self.number(host)
        return found

    def moved(self, core: int, place: tuple[tuple[int, int], ...]) -> int:
        found = self._moved.get((core, place))
        if found is None:
            found = self._moved[core, place] = self.number(renumbered(self.hosts[core], dict(place)))
        return found


class Machine:
    """The states of one node with all that is under way to it, by number."""

    def __init__(self, node: int, bounds: Bounds, cells: Counter[Cell], shared: Shared) -> None:
        self.node = node
        self.cores = Cores(node, bounds, cells, shared)
        self.states: list[tuple[int, Post]] = []
        self.facts: list[int] = []
        self.generations: list[int] = []
        self._bounds = bounds
        self._shared = shared
        self._numbers: dict[tuple[int, Post], int] = {}
        self._settled: dict[tuple[Post, bool, int], Post] = {}
        self._steps: dict[int, tuple[Step, ...]] = {}
        self._receipts: dict[int, tuple[int, int]] = {}
        self._later: dict[int, tuple[int, int]] = {}
        self._moved: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        self._thin: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def host(self, number: int) -> Host:
        return self.cores.hosts[self.states[number][0]]

    def message(self, letter: Letter) -> Heartbeat:
        return self._shared.messages[letter.text]

    def number(self, core: int, waiting: Post) -> int:
        """Of the state that the machine is in."""
        if waiting is not NOTHING:
            waiting = self._settle(core, waiting)
        found = self._numbers.setdefault((core, waiting), len(self.states))
        if found == len(self.states):
            self.states.append((core, waiting))
            facts = self.cores.facts[core]
            self.facts.append(facts | (WAITS if waiting.inbox and facts & AWAKE else 0))
            known, floor = self.cores.generations[core]
            letters = waiting.inbox if waiting.tape is None else (*waiting.inbox, waiting.tape)
            told = (entry_of(self._shared.messages[letter.text]).generation for letter in letters)
            self.generations.append(self._shared.generations_number(known.union(told), floor))
        return found

    def _settle(self, core: int, waiting: Post) -> Post:
        place = (waiting, self.cores.newest[core] is not None, self.cores.reached[core])
        found = self._settled.get(place)
        if found is None:
            found = self._settled[place] = post.settled(*place)
        return found

    def off(self, record: NodeRecord, *, frozen: bool) -> int:
        """The machine before it boots for the first time."""
        return self.number(self.cores.number(Host(self.node, None, record, frozen=frozen)), NOTHING)

    # ------------------------------------------------------------------------------------------ its own steps

    def steps(self, number: int, faults: int, commands: int) -> tuple[Step, ...]:
        """All that may happen here next but the time, with so many faults and commands at most."""
        place = (number << 3) | (min(faults, MOST) << 1) | (commands > 0)
        found = self._steps.get(place)
        if found is None:
            found = self._steps[place] = tuple(self._worked_out(number, faults, commands))
        return found

    def _worked_out(self, number: int, faults: int, commands: int) -> Iterator[Step]:
        core, waiting = self.states[number]
        facts, node, kinds = self.cores.facts[core], self.node, self._bounds.kinds
        inbox, tape, unread = waiting
        for move in self.cores.moves(core, faults, commands):
            if move.kind != Kind.TICK or not (unread and facts & LOOKS):
                yield from self._rows(core, waiting, waiting, move, 0, faults)
        if inbox:
            rest = Post(inbox[1:], tape, max(0, unread - 1))
            if faults and "lose" in kinds:
                yield from self._told(Move(Kind.LOSE, node), Deed(core, 0, 2), rest, faults, read=True)
            if facts & AWAKE:
                yield from self._rows(core, waiting, rest, Move(Kind.DELIVER, node), inbox[0], faults)
        if faults and tape is not None and facts & AWAKE and not self._stale(core, tape) and "replay" in kinds:
            yield from self._rows(core, waiting, waiting, Move(Kind.REPLAY, node), tape, faults)

    def _stale(self, core: int, letter: Letter) -> bool:
        return self.cores.newest[core] is not None and letter.stale

    def _rows(
        self, core: int, before: Post, rest: Post, move: Move, letter: Letter | int, faults: int
    ) -> Iterator[Step]:
        deed = self.cores.deed(core, move, letter)
        new = isinstance(letter, Letter) and not self._stale(core, letter)
        read = rest is not before
        for each in (move, *deed.cuts):
            if cost(each) > faults:
                continue
            deed = self.cores.deed(core, each, letter)
            waiting = rest
            if isinstance(letter, Letter) and new and not each.cut:
                waiting = post.rebased(waiting, letter)
            if each.kind == Kind.OFF:
                waiting = Post((), waiting.tape, 0)
            elif each.kind == Kind.RESUME:
                waiting = waiting._replace(unread=len(waiting.inbox))
            elif (each.kind == Kind.CRASH or each.cut) and waiting.unread:
                waiting = waiting._replace(unread=0)
            yield from self._told(each, deed, waiting, faults, read=read)

    def _told(self, move: Move, deed: Deed, waiting: Post, faults: int, *, read: bool) -> Iterator[Step]:
        """The row of a move; and of a heartbeat that waits and is plain now, the row in which it is lost."""
        operators, paid, core = int(move.kind == Kind.COMMAND), cost(move), deed.core
        if deed.trouble:
            yield Step(move, paid, operators, 0, 0, trouble=deed.trouble)
            return
        if deed.most < 2:
            waiting = post.reheard(waiting, deed.most)
        taken, plain = self._absorbed(core, waiting) if read else (-1, False)
        after = taken if plain else self.number(core, waiting)
        yield Step(move, paid, operators, after, deed.words, deed.checked, deed.starts)
        if plain and paid < faults and not move.cut:
            lost = move._replace(lost=1 << self.node)
            without = self.number(core, waiting._replace(inbox=()))
            yield Step(lost, paid + 1, operators, without, deed.words, deed.checked, deed.starts)

    def _absorbed(self, core: int, waiting: Post) -> tuple[int, bool]:
        """The machine once a plain heartbeat is taken in, and whether one was."""
        if len(waiting.inbox) != 1 or not self.cores.facts[core] & AWAKE:
            return -1, False
        waiting = self._settle(core, waiting)
        (letter,) = waiting.inbox
        after = self.cores.plain(core, letter)
        if after < 0:
            return -1, False
        return self.number(after, post.rebased(waiting._replace(inbox=()), letter)), True

    # ------------------------------------------------------------------------------------------ time, and the other

    def receive(self, number: int, words: int) -> tuple[int, int]:
        """The machine once the other has said so; and where a plain heartbeat of it is lost, or -1."""
        place = (number << 24) | words
        found = self._receipts.get(place)
        if found is None:
            found = self._receipts[place] = self._received(number, words)
        return found

    def _received(self, number: int, words: int) -> tuple[int, int]:
        core, waiting = self.states[number]
        came = False
        for word in self._shared.spoken[words]:
            if isinstance(word, Sign):
                most = 0 if word is Sign.LIFE else 1
                core, waiting = self.cores.outdated(core, most), post.outdated(waiting, most)
                continue
            if word.claim == 1:
                core, waiting = self.cores.outdated(core, 1), post.outdated(waiting, 1)
            if self.cores.facts[core] & ON:
                came = True
                waiting = self._posted(core, waiting, word)
        taken, plain = self._absorbed(core, waiting) if came else (-1, False)
        if plain:
            return taken, self.number(core, waiting._replace(inbox=()))
        return self.number(core, waiting), -1

    def _posted(self, core: int, waiting: Post, word: Said) -> Post:
        text, newest = self._shared.text(word.message), self.cores.newest[core]
        letter = post.sent(waiting, text, word.heard, word.claim > 0, newest)
        differs = bool(waiting.inbox) and self._shared.differ(waiting.inbox[-1].text, text)
        if newest is not None and not self._shared.differ(newest.text, text):
            newest = None
        paused = not self.cores.facts[core] & AWAKE
        return post.posted(waiting, letter, paused=paused, replayable=newest, differs=differs)

    def later(self, number: int) -> tuple[int, int]:
        """The machine a step of time later, and what it says."""
        found = self._later.get(number)
        if found is None:
            core, waiting = self.states[number]
            last = min((letter.age + 1 for letter in waiting.inbox), default=0)
            deed = self.cores.deed(core, Move(Kind.TIME), last)
            found = (self.number(deed.core, post.aged(waiting)), deed.words)
            self._later[number] = found
        return found

    # ----------------------------------------------------------------------------------- the same, otherwise told

    def moved(self, number: int, place: tuple[tuple[int, int], ...]) -> int:
        """The machine with other generations."""
        found = self._moved.get((number, place))
        if found is None:
            core, waiting = self.states[number]
            found = self.number(self.cores.moved(core, place), self._post_moved(waiting, dict(place)))
            self._moved[number, place] = found
        return found

    def _post_moved(self, waiting: Post, place: dict[int, int]) -> Post:
        shared = self._shared

        def each(letter: Letter) -> Letter:
            return letter._replace(text=shared.text(message_moved(shared.messages[letter.text], place)))

        tape = None if waiting.tape is None else each(waiting.tape)
        return Post(tuple(each(letter) for letter in waiting.inbox), tape, waiting.unread)

    def thin(self, number: int, faults: int) -> int:
        """The machine without what no more than so many faults (0 or 1) can bring back: an old message that may come
        again, where that takes a fault too many. One that is stale counts only after a crash, which is a fault, too."""
        known = self._thin[faults]
        found = known.get(number)
        if found is None:
            core, waiting = self.states[number]
            found = number
            if waiting.tape is not None and (faults == 0 or self._stale(core, waiting.tape)):
                found = self.number(core, waiting._replace(tape=None))
            known[number] = found
        return found
