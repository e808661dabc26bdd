"""What each step makes of each state of one machine, worked out once and then looked up.

The engine is deterministic, and what a machine does depends on itself alone (``ha.simulation.bounded.Host``). A search
meets the same machine beside very many others; here it is a number, and its steps are rows of a table. This module
must not know what the other machine is, nor in which order histories are searched.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
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

Letters = tuple[Letter, ...]

UP: Final = 1
CONTENDS: Final = 2
WAITS: Final = 4
"""Time does not go on before something has happened here."""
ON: Final = 8
AWAKE: Final = 16
UNCHECKED, HEARD, LONELY = range(3)
MOST: Final = 2
"""So many faults one machine can have in a move."""
KEPT: Final = 300_000
"""Rows of a table that are kept: what is looked at again soon. Any can be worked out again."""
UNREAD: Final = frozenset({Kind.CRASH, Kind.OFF, Kind.PAUSE})
"""What can befall nmond while messages wait that have come: they are what it reads first."""
_CORE: Final = 24
"""Bits of the number of a post below that of a core."""
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


class How:
    """What becomes of the post in a move."""

    STAYS, OFF, LOSE, AGAIN, TIME, STRIP, EMPTY, HEAR, SKIP = range(9)
    """The last two with the number of messages that are read, times ``EACH``; SKIP: none becomes the newest heard."""

    EACH = 16


class Row(NamedTuple):
    """A move and its deed."""

    move: Move
    faults: int
    how: int
    deed: Deed


class Shared:
    """What both machines' tables number alike."""

    def __init__(self) -> None:
        self.words: dict[tuple[Word, ...], int] = {(): 0}
        self.spoken: list[tuple[Word, ...]] = [()]
        self.texts: dict[Heartbeat, int] = {}
        self.messages: list[Heartbeat] = []
        self.posts: list[Post] = [NOTHING]
        self.post_numbers: dict[Post, int] = {NOTHING: 0}
        self.told: list[int] = [0]
        """By post: the generations that its letters tell of, a bit each."""
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

    def post(self, waiting: Post) -> int:
        number = self.post_numbers.setdefault(waiting, len(self.posts))
        if number == len(self.posts):
            self.posts.append(waiting)
            inbox, tape = waiting
            bits = 0
            for letter in inbox if tape is None else (*inbox, tape):
                bits |= 1 << entry_of(self.messages[letter.text]).generation
            self.told.append(bits)
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
        self.heard: list[int] = []
        """Which of all such letters the newest message is."""
        self.newest: list[Letter | None] = []
        """The newest message heard, as it would be under way."""
        self.generations: list[int] = []
        self._bounds = bounds
        self._cells = cells
        self._shared = shared
        self._numbers: dict[bytes, int] = {}
        self._letters: dict[Letter | None, int] = {None: 0}
        self._moves: dict[tuple[int, bool, bool], tuple[Move, ...]] = {}
        self._deeds: dict[tuple[int, Move, Letters | int], Deed] = {}
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
            newest = self._newest(host)
            self.newest.append(newest)
            self.heard.append(self._letters.setdefault(newest, len(self._letters)))
            self.generations.append(self._shared.generations_number(*generations(host)))
        return found

    def _facts(self, host: Host) -> int:
        engine = host.engine
        facts = host.up * UP | host.contends * CONTENDS | waits(host, self._bounds) * WAITS
        if engine is not None:
            facts |= ON | (host.paused < 0) * AWAKE
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

    def deed(self, core: int, move: Move, letters: Letters | int = 0) -> Deed:
        """``letters``: the messages that come; of a step of time, how long ago the last of those that wait was sent,
        and one more (0: none waits)."""
        place = (core, move, letters)
        found = self._deeds.get(place)
        if found is None:
            found = self._deeds[place] = self._done(self.hosts[core], move, letters)
        return found

    def _done(self, before: Host, move: Move, letters: Letters | int) -> Deed:
        packets: tuple[Packet, ...] = ()
        last = 0
        if not isinstance(letters, int):
            before, packets = self._opened(before, letters)
        elif letters:
            last = before.now - (letters - 1)
        try:
            doing = Doing(before, move, self._bounds, self._cells, packets, last)
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

    def _opened(self, host: Host, letters: Letters) -> tuple[Host, tuple[Packet, ...]]:
        """The messages in the numbers of the machine, which counts the sender's present incarnation and claim from the
        last of them where that is the newest."""
        assert host.engine is not None
        newest = host.engine.peers[NODES[1 - self.node]].newest

        def stamp(letter: Letter) -> tuple[int, int]:
            if newest is None:
                return (_BASE + letter.life, _BASE + letter.seq)
            seq = newest.seq if letter.life == 0 else _BASE
            return (newest.incarnation.counter + letter.life, seq + letter.seq)

        last = letters[-1]
        if newest is None or not last.stale:
            host = host.sibling()
            life, seq = stamp(last)
            host.life = life + (last.fresh == 0)
            host.claim = seq if last.fresh == 2 else 0
        texts = self._shared.messages
        return host, tuple(
            Packet(received(host, texts[each.text], stamp(each), each.heard), host.now - each.age) for each in letters
        )

    def plain(self, core: int, letter: Letter) -> int:
        """The machine once it has taken in a plain heartbeat; -1: it is none."""
        found = self._plain.get((core, letter))
        if found is None:
            found = -1
            if self.facts[core] & AWAKE and not letter.age and not letter.stale:
                host, (packet,) = self._opened(self.hosts[core], (letter,))
                after = absorbed(host, packet)
                found = -1 if after is None else self.number(after)
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
        self.facts = array("B")
        self.generations = array("H")
        self._bounds = bounds
        self._shared = shared
        self._states = array("Q")
        self._numbers: dict[int, int] = {}
        self._settled: dict[int, int] = {}
        self._posted: dict[int, int] = {}
        self._outdated: dict[int, int] = {}
        self._known: dict[int, int] = {}
        self._rows: dict[tuple[int, int, int], tuple[Row, ...]] = {}
        self._letters: dict[tuple[int, Move, Letters, int], tuple[Row, ...]] = {}
        self._steps: dict[int, list[Step]] = {}
        self._receipts: dict[int, tuple[int, int]] = {}
        self._later: dict[int, tuple[int, int]] = {}
        self._moved: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        self._thin: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def __len__(self) -> int:
        return len(self._states)

    def host(self, number: int) -> Host:
        return self.cores.hosts[self._states[number] >> _CORE]

    def waiting(self, number: int) -> Post:
        """What is under way to it."""
        return self._shared.posts[self._states[number] & (1 << _CORE) - 1]

    def message(self, letter: Letter) -> Heartbeat:
        return self._shared.messages[letter.text]

    def number(self, core: int, waiting: int) -> int:
        """Of the state that the machine is in. ``waiting``: as ``_become`` numbers it."""
        state = core << _CORE | waiting
        found = self._numbers.get(state)
        if found is None:
            found = self._numbers[state] = len(self._states)
            self._states.append(state)
            facts = self.cores.facts[core]
            if facts & AWAKE and self._shared.posts[waiting].inbox:
                facts |= WAITS
            self.facts.append(facts)
            self.generations.append(self._generations(core, waiting))
        return found

    def _generations(self, core: int, waiting: int) -> int:
        own, shared = self.cores.generations[core], self._shared
        told = shared.told[waiting]
        if not told:
            return own
        found = self._known.get(own << 32 | told)
        if found is None:
            known, floor = shared.generations[own]
            found = self._known[own << 32 | told] = shared.generations_number(known | _set(told), floor)
        return found

    def off(self, record: NodeRecord, *, frozen: bool) -> int:
        """The machine before it boots for the first time."""
        return self.number(self.cores.number(Host(self.node, None, record, frozen=frozen)), 0)

    # ------------------------------------------------------------------------------------------ the post

    def _become(self, waiting: int, how: int, most: int, core: int) -> int:
        """What is under way to the machine, once it is this core."""
        if not waiting:
            return 0
        newest = self.cores.newest[core] is not None
        reached = min(T, self.cores.reached[core])
        place = ((waiting << 8 | how) << 2 | most) << 4 | newest << 3 | reached
        found = self._settled.get(place)
        if found is None:
            count, how = divmod(how, How.EACH)
            changed = _CHANGES[how](self._shared.posts[waiting], count)
            if most < 2:
                changed = post.reheard(changed, most)
            found = self._settled[place] = self._shared.post(post.settled(changed, newest, reached))
        return found

    def _stale(self, core: int, letter: Letter) -> bool:
        return self.cores.newest[core] is not None and letter.stale

    # ------------------------------------------------------------------------------------------ its own steps

    def steps(self, number: int, faults: int, commands: int) -> list[Step]:
        """All that may happen here next but the time, with so many faults and commands at most."""
        place = (number << 3) | (min(faults, MOST) << 1) | (commands > 0)
        found = self._steps.get(place)
        if found is None:
            if len(self._steps) >= KEPT:
                self._steps.clear()
            found = self._steps[place] = self._worked_out(number, min(faults, MOST), commands > 0)
        return found

    def _worked_out(self, number: int, faults: int, commands: int) -> list[Step]:
        state = self._states[number]
        core, place = state >> _CORE, state & (1 << _CORE) - 1
        facts, kinds = self.cores.facts[core], self._bounds.kinds
        inbox, tape = self._shared.posts[place]
        arrived = post.arrived(self._shared.posts[place])
        waits = arrived and facts & AWAKE
        steps: list[Step] = []
        for row in self._own(core, faults, commands):
            if not waits or row.move.kind in UNREAD:
                self._told(steps, row, place, faults)
        if faults and "lose" in kinds and arrived < len(inbox):
            self._told(steps, Row(Move(Kind.LOSE, self.node), 1, How.LOSE, Deed(core, 0, 2)), place, faults)
        if not facts & AWAKE:
            return steps
        for count in range(max(arrived, 1), len(inbox) + 1):
            move = Move(Kind.DELIVER, self.node, action=count)
            for row in self._coming(core, move, post.together(inbox[:count]), faults):
                self._told(steps, row, place, faults)
        if faults and tape is not None and not waits and not self._stale(core, tape) and "replay" in kinds:
            for row in self._coming(core, Move(Kind.REPLAY, self.node), (tape,), faults):
                self._told(steps, row, place, faults)
        return steps

    def _own(self, core: int, faults: int, commands: int) -> tuple[Row, ...]:
        """What happens to the machine without a message."""
        place = (core, faults, commands)
        found = self._rows.get(place)
        if found is None:
            rows: list[Row] = []
            for move in self.cores.moves(core, faults, commands):
                how = How.OFF if move.kind == Kind.OFF else How.STAYS
                rows += self._deeds(core, move, 0, how, How.STAYS, faults)
            found = self._rows[place] = tuple(rows)
        return found

    def _coming(self, core: int, move: Move, letters: Letters, faults: int) -> tuple[Row, ...]:
        """Messages come."""
        place = (core, move, letters, faults)
        found = self._letters.get(place)
        if found is None:
            how, cut = How.AGAIN, How.STAYS
            if move.kind == Kind.DELIVER:
                cut = How.SKIP + move.action * How.EACH
                how = cut if self._stale(core, letters[-1]) else How.HEAR + move.action * How.EACH
            found = self._letters[place] = tuple(self._deeds(core, move, letters, how, cut, faults))
        return found

    def _deeds(self, core: int, move: Move, letters: Letters | int, how: int, cut: int, faults: int) -> Iterator[Row]:
        deed = self.cores.deed(core, move, letters)
        for each in (move, *deed.cuts):
            if cost(each) <= faults:
                yield Row(each, cost(each), cut if each.cut else how, self.cores.deed(core, each, letters))

    def _told(self, steps: list[Step], row: Row, waiting: int, faults: int) -> None:
        """Add the step of a row; and where a heartbeat that waits is plain now, the step in which it is lost."""
        move, paid, how, deed = row
        core, words, most, checked, starts, _, trouble = deed
        operators = int(move.kind == Kind.COMMAND)
        if trouble:
            steps.append(Step(move, paid, operators, 0, 0, trouble=trouble))
            return
        waiting = self._become(waiting, how, most, core)
        if how % How.EACH in _READS:
            taken = self._absorbed(core, waiting)
            if taken >= 0:
                steps.append(Step(move, paid, operators, taken, words, checked, starts))
                if paid < faults and not move.cut:
                    lost = self.number(core, self._become(waiting, How.EMPTY, 2, core))
                    move = move._replace(lost=1 << self.node)
                    steps.append(Step(move, paid + 1, operators, lost, words, checked, starts))
                return
        steps.append(Step(move, paid, operators, self.number(core, waiting), words, checked, starts))

    def _absorbed(self, core: int, waiting: int) -> int:
        """The machine once a plain heartbeat that waits alone is taken in; -1: there is none."""
        inbox = self._shared.posts[waiting].inbox
        if len(inbox) != 1 or inbox[0].age or not self.cores.facts[core] & AWAKE:
            return -1
        after = self.cores.plain(core, inbox[0])
        return after if after < 0 else self.number(after, self._become(waiting, How.HEAR, 2, after))

    # ------------------------------------------------------------------------------------------ time, and the other

    def receive(self, number: int, words: int) -> tuple[int, int]:
        """The machine once the other has said so; and where a plain heartbeat of it is lost, or -1."""
        place = (number << 24) | words
        found = self._receipts.get(place)
        if found is None:
            if len(self._receipts) >= KEPT:
                self._receipts.clear()
            found = self._receipts[place] = self._received(number, words)
        return found

    def _received(self, number: int, words: int) -> tuple[int, int]:
        state = self._states[number]
        core, waiting = state >> _CORE, state & (1 << _CORE) - 1
        facts = self.cores.facts[core] & (ON | AWAKE)
        after = self._heeded(core, words)
        place = ((waiting << 16 | words) << 24 | self.cores.heard[core]) << 5 | facts
        found = self._posted.get(place)
        if found is None:
            come = self._delivered(waiting, words, self.cores.newest[core], facts)
            found = self._posted[place] = self._shared.post(come)
        waiting = self._become(found, How.STAYS, 2, after)
        if facts and any(not isinstance(word, Sign) for word in self._shared.spoken[words]):
            taken = self._absorbed(after, waiting)
            if taken >= 0:
                return taken, self.number(after, self._become(waiting, How.EMPTY, 2, after))
        return self.number(after, waiting), -1

    def _heeded(self, core: int, words: int) -> int:
        """What it counts as the other's present incarnation and claim."""
        place = core << 24 | words
        found = self._outdated.get(place)
        if found is None:
            found = core
            for word in self._shared.spoken[words]:
                if isinstance(word, Sign):
                    found = self.cores.outdated(found, 0 if word is Sign.LIFE else 1)
                elif word.claim == 1:
                    found = self.cores.outdated(found, 1)
            self._outdated[place] = found
        return found

    def _delivered(self, number: int, words: int, newest: Letter | None, facts: int) -> Post:
        """What is under way then. ``newest``: what the machine has heard last."""
        waiting, shared = self._shared.posts[number], self._shared
        for word in shared.spoken[words]:
            if isinstance(word, Sign) or word.claim == 1:
                most = 0 if word is Sign.LIFE else 1
                waiting = post.outdated(waiting, most)
                if newest is not None and newest.fresh > most:
                    newest = newest._replace(fresh=most)
            if isinstance(word, Sign) or not facts & ON:
                continue
            text = shared.text(word.message)
            letter = post.sent(waiting, text, word.heard, word.claim > 0, newest)
            differs = bool(waiting.inbox) and shared.differ(waiting.inbox[-1].text, text)
            again = newest if newest is not None and shared.differ(newest.text, text) else None
            waiting = post.posted(waiting, letter, replayable=again, differs=differs)
        return waiting

    def later(self, number: int) -> tuple[int, int]:
        """The machine a step of time later, and what it says."""
        found = self._later.get(number)
        if found is None:
            if len(self._later) >= KEPT:
                self._later.clear()
            state = self._states[number]
            core, waiting = state >> _CORE, state & (1 << _CORE) - 1
            last = min((letter.age + 1 for letter in self._shared.posts[waiting].inbox), default=0)
            deed = self.cores.deed(core, Move(Kind.TIME), last)
            found = (self.number(deed.core, self._become(waiting, How.TIME, 2, deed.core)), deed.words)
            self._later[number] = found
        return found

    # ----------------------------------------------------------------------------------- the same, otherwise told

    def moved(self, number: int, place: tuple[tuple[int, int], ...]) -> int:
        """The machine with other generations."""
        found = self._moved.get((number, place))
        if found is None:
            state = self._states[number]
            waiting = self._shared.posts[state & (1 << _CORE) - 1]
            core = self.cores.moved(state >> _CORE, place)
            found = self.number(core, self._shared.post(self._post_moved(waiting, dict(place))))
            self._moved[number, place] = found
        return found

    def _post_moved(self, waiting: Post, place: dict[int, int]) -> Post:
        shared = self._shared

        def each(letter: Letter) -> Letter:
            return letter._replace(text=shared.text(message_moved(shared.messages[letter.text], place)))

        tape = None if waiting.tape is None else each(waiting.tape)
        return Post(tuple(each(letter) for letter in waiting.inbox), tape)

    def thin(self, number: int, faults: int) -> int:
        """The machine without what no more than so many faults (0 or 1) can bring back: an old message that may come
        again, where that takes a fault too many. One that is stale counts only after a crash, which is a fault, too."""
        known = self._thin[faults]
        found = known.get(number)
        if found is None:
            if len(known) >= KEPT:
                known.clear()
            state = self._states[number]
            core, waiting = state >> _CORE, state & (1 << _CORE) - 1
            tape = self._shared.posts[waiting].tape
            found = number
            if tape is not None and (faults == 0 or self._stale(core, tape)):
                found = self.number(core, self._become(waiting, How.STRIP, 2, core))
            known[number] = found
        return found


def _set(bits: int) -> frozenset[int]:
    return frozenset(number for number in range(bits.bit_length()) if bits >> number & 1)


def _again(waiting: Post) -> Post:
    assert waiting.tape is not None
    return post.rebased(waiting, waiting.tape)


_READS: Final = frozenset({How.LOSE, How.HEAR, How.SKIP})
_CHANGES: Final[dict[int, Callable[[Post, int], Post]]] = {
    How.STAYS: lambda waiting, _: waiting,
    How.OFF: lambda waiting, _: Post((), waiting.tape),
    How.LOSE: lambda waiting, _: post.without(waiting),
    How.AGAIN: lambda waiting, _: _again(waiting),
    How.TIME: lambda waiting, _: post.aged(waiting),
    How.STRIP: lambda waiting, _: waiting._replace(tape=None),
    How.EMPTY: lambda waiting, _: Post((), waiting.tape),
    How.HEAR: lambda waiting, count: post.rebased(post.read(waiting, count), waiting.inbox[count - 1]),
    How.SKIP: post.read,
}
