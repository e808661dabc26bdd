"""What is under way to one machine: its inbox, and the old message that may come again.

Sequence numbers and incarnations are only ever compared with those of other messages that the machine has or waits
for; so here they are places relative to the newest that it has heard, without gaps. This module must not know what a
message says, nor what becomes of it.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ha.simulation.bounded import T

IN_FLIGHT: Final = 2


class Letter(NamedTuple):
    """A message under way."""

    text: int
    """Number of what it says."""
    heard: int
    """What it tells the receiver of its own messages (``ha.simulation.bounded.acknowledged``)."""
    fresh: int
    """0: of an older incarnation of the sender; 1: of the present one; 2: not before its present claim."""
    life: int
    """Place of its incarnation, from that of the newest message heard."""
    seq: int
    """Place in its incarnation, from the newest message heard where that is of the same."""
    age: int
    """Steps since it was sent; T: so many or more, or something later has reached the machine."""

    @property
    def stale(self) -> bool:
        """The machine has heard something newer."""
        return (self.life, self.seq) <= (0, 0)


class Post(NamedTuple):
    """All of it, in the order of sending."""

    inbox: tuple[Letter, ...] = ()
    tape: Letter | None = None


NOTHING: Final = Post()


def _places(found: set[int], based: bool) -> dict[int, int]:
    """``based``: 0 is there, and stays."""
    ordered = sorted({*found, 0} if based else found)
    base = ordered.index(0) if based else 0
    return {old: place - base for place, old in enumerate(ordered)}


def settled(post: Post, newest: bool, reached: int) -> Post:
    """The same post with places without gaps. ``newest``: a message was heard; ``reached``: how long ago the last that
    reached the machine was sent."""
    inbox, tape = post
    letters = inbox if tape is None else (*inbox, tape)
    if not letters:
        return post
    lives = _places({letter.life for letter in letters}, newest)
    seqs = {
        life: _places({letter.seq for letter in letters if letter.life == life}, newest and life == 0) for life in lives
    }

    def placed(letter: Letter) -> Letter:
        return letter._replace(life=lives[letter.life], seq=seqs[letter.life][letter.seq])

    if tape is not None:
        tape = placed(tape)
        if tape.age >= reached:
            tape = tape._replace(age=T)
    return Post(tuple(placed(letter) for letter in inbox), tape)


def aged(post: Post) -> Post:
    """A step of time later."""
    tape = None if post.tape is None else post.tape._replace(age=min(T, post.tape.age + 1))
    inbox = (letter._replace(age=min(T, letter.age + 1)) for letter in post.inbox)
    return Post(together(inbox), tape)


def together(letters: Iterable[Letter]) -> tuple[Letter, ...]:
    """What is left of messages that are read together: of the first incarnation the newest, as in
    ``ha.node.driver.Driver.post``; of a later one, of which all are left there, the first and the newest."""
    kept: list[Letter] = []
    for letter in letters:
        if kept and kept[-1].life == letter.life and (kept[0].life == letter.life or kept[-2].life == letter.life):
            kept.pop()
        kept.append(letter)
    return tuple(kept)


def arrived(post: Post) -> int:
    """So many of the inbox have come and only wait to be read; the others, sent in this instant, can still be lost."""
    return sum(letter.age > 0 for letter in post.inbox)


def read(post: Post, count: int) -> Post:
    """So many of the inbox are read."""
    return post._replace(inbox=post.inbox[count:])


def without(post: Post) -> Post:
    """The first that can be lost is lost."""
    place = arrived(post)
    return post._replace(inbox=(*post.inbox[:place], *post.inbox[place + 1 :]))


def reheard(post: Post, most: int) -> Post:
    """What the letters tell of the receiver's own messages, once that is no more than ``most``."""
    inbox, tape = post

    def each(letter: Letter) -> Letter:
        return letter if letter.heard <= most else letter._replace(heard=most)

    return Post(tuple(each(letter) for letter in inbox), None if tape is None else each(tape))


def outdated(post: Post, most: int) -> Post:
    """The sender's claim is over (1), or the incarnation of all that it has sent (0)."""
    inbox, tape = post

    def each(letter: Letter) -> Letter:
        return letter if letter.fresh <= most else letter._replace(fresh=most)

    return Post(tuple(each(letter) for letter in inbox), None if tape is None else each(tape))


def rebased(post: Post, heard: Letter) -> Post:
    """The places of all from that of a letter that is now the newest heard."""
    inbox, tape = post

    def each(letter: Letter) -> Letter:
        same = letter.life == heard.life
        return letter._replace(life=letter.life - heard.life, seq=letter.seq - heard.seq if same else letter.seq)

    return Post(tuple(each(letter) for letter in inbox), None if tape is None else each(tape))


def sent(post: Post, text: int, heard: int, claimed: bool, newest: Letter | None) -> Letter:
    """A new message. ``newest``: the newest that was heard, as a letter; ``claimed``: it is not before a claim."""
    letters = [*post.inbox]
    if post.tape is not None:
        letters.append(post.tape)
    if newest is not None:
        letters.append(newest)
    fresh = 2 if claimed else 1
    if not letters:
        return Letter(text, heard, fresh, 0, 0, 0)
    last = max(letters, key=_stamp)
    if last.fresh:
        return Letter(text, heard, fresh, last.life, last.seq + 1, 0)
    return Letter(text, heard, fresh, last.life + 1, 0, 0)


def _stamp(letter: Letter) -> tuple[int, int]:
    return (letter.life, letter.seq)


def posted(post: Post, letter: Letter, *, replayable: Letter | None, differs: bool) -> Post:
    """The letter is under way. ``differs``: the last that is under way tells other news; ``replayable``: the newest
    that was heard, where that does."""
    inbox, tape = post
    last = inbox[-1] if inbox else None
    place = arrived(post)
    full = len(inbox) - place >= IN_FLIGHT
    replaces = last is not None and full and last.life == letter.life
    if last is not None and differs:
        tape = last
    elif (last is None or tape is None) and replayable is not None:
        tape = replayable
    flying = inbox[place:-1] if replaces else inbox[place:][-IN_FLIGHT + 1 :]
    return Post((*inbox[:place], *flying, letter), tape)
