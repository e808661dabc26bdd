"""Ten million mutated datagrams and blocks against what a node really does with them: listener, intake, engine.

What no key signed must go no further than the listener, whatever it is. What a key signed and is nonsense all the same
(a node gone mad, an insider) must be refused, or be taken for what it says: nothing may fail over it.

The cases are drawn from a seed, in shares of their own: what is done is on file, and is not done again.
Run: ``python -m bench.fuzz [--cases N] [--seed N] [--state FILE]``.
"""

import argparse
import json
import os
import random
import resource
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

from bench.figure import Figure
from ha.fsm.config import ClusterConfig, PathConfig, PathId, ServiceConfig
from ha.fsm.engine import Engine
from ha.fsm.events import Event
from ha.fsm.identity import cluster_id, node_id
from ha.fsm.message import Ack, Handover, Heartbeat, Incarnation, ServiceEntry
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import Promise, State
from ha.heartbeats import channel, codec, envelope
from ha.heartbeats.keys import CurrentKeys, Key, KeyRing
from ha.heartbeats.media.block import DiskListener
from ha.heartbeats.media.guard import MARK, split
from ha.heartbeats.path import PathLine
from ha.heartbeats.worker import ListenerWorker
from ha.node.intake import Intake

CASES = 10_000_000
SHARE = 100_000
"""Cases of a share: some seconds."""
SLOT = 1024
BURST = 64
"""Datagrams that lie ready at once."""
BLOCKS = 16
"""Blocks between two bursts."""
TURN_S = 0.002
"""Time passes slowly: what is told once a second, or a heartbeat, is no part of a case."""
LINE = PathLine("node2", 1, "dio", "/dev/shared", slot_blocks=SLOT // 512)
NODES = ("node1", "node2")
OURS = Key(bytes(range(32)))
RING = KeyRing((OURS,), OURS.id, unsigned=False)
STRANGER = Key(bytes(range(32, 64)))
STRANGERS = KeyRing((STRANGER,), STRANGER.id)
EDGES = (0, 1, 2, 3, 127, 128, 255, 256, 65_535, 2**32 - 1)


class FoundError(Exception):
    """A case that shows a fault. The text says which."""


@dataclass(slots=True)
class Outcome:
    """What became of the cases of a share."""

    share: int
    cases: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """By the reason that the listener gave."""
    forwarded: int = 0
    """Of those that no key signed. Anything but 0 is a fault."""
    signed_taken: int = 0
    """Nonsense that a key signed and that was whole enough to reach the engine."""
    seconds: float = 0.0
    grown_kib: int = 0
    """By so much the process was larger after the share than before."""


# ------------------------------------------------------------------------------------------------- a node


class Wire:
    """A medium that brings what the test put in."""

    burst = BURST

    def __init__(self) -> None:
        self.inbox: deque[bytes] = deque()

    def open(self) -> None: ...

    def close(self) -> None: ...

    def check(self) -> None: ...

    def forget(self) -> None: ...

    def fileno(self) -> int:
        return -1

    def receive(self) -> bytes | None:
        return self.inbox.popleft() if self.inbox else None


class Platter:
    """A slot of a disk that shows what the test put in."""

    label = "platter"

    def __init__(self) -> None:
        self.block = bytes(SLOT)

    def open(self, write: bool) -> None: ...

    def close(self) -> None: ...

    def require_same_device(self) -> None: ...

    def read(self) -> bytes:
        return self.block


def cluster() -> ClusterConfig:
    paths = tuple(
        PathConfig(PathId(n, i), f"p{i}", kind, 10.0, f"{n} {i}") for n in NODES for i, kind in enumerate(KINDS)
    )
    services = {s: ServiceConfig(s, f"/svc/{s}", NODES, "/bin/true") for s in ("web", "db", "mail")}
    return ClusterConfig("ezha", NODES, paths, services)


KINDS = ("net", "dio")


class Target:
    """node1: a listener of each medium, and the engine behind them."""

    def __init__(self) -> None:
        config = cluster()
        # Frozen: time passes here, and nothing shall come of the silence of node2.
        records = tuple(ServiceRecord(name, State.FROZEN_STOP) for name in config.services)
        self.engine = Engine(config, "node1", NodeRecord(3, records), Incarnation(4, 77), 0.0, boot=False)
        self.engine.start(0.0)
        self.now = 1.0
        self.taken = 0
        self.refused: Counter[str] = Counter()
        self._intake = Intake("node1", lambda: self.engine, self._post, self._heard, self._refuse, lambda: RING)
        self._wire, self._platter = Wire(), Platter()
        self._listeners = [self._listener(0, self._wire), self._listener(1, self._disk())]

    def _disk(self) -> DiskListener:
        listener = DiskListener(LINE)
        listener._slot = self._platter  # type: ignore[assignment]
        return listener

    def _listener(self, index: int, medium: object) -> tuple[ListenerWorker, socket.socket, PathId]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setblocking(False)
        worker = ListenerWorker(
            medium,  # type: ignore[arg-type]
            ours,
            cluster_id=cluster_id("ezha"),
            period=0.0,
            looks=index == 1,
            keys=CurrentKeys(RING),
            clock=lambda: self.now,
        )
        return worker, theirs, PathId("node2", index)

    def close(self) -> None:
        for worker, theirs, _ in self._listeners:
            worker.close()
            worker._channel.close()
            theirs.close()

    def datagrams(self, given: list[bytes]) -> None:
        self._wire.inbox.extend(given)
        while self._wire.inbox:
            self._turn(0)

    def tell(self) -> None:
        """What the listeners tell once a second only."""
        self.now += 1.0
        for index in range(len(self._listeners)):
            self._turn(index)

    def block(self, content: bytes) -> None:
        self._platter.block = content
        self._turn(1)

    def _turn(self, index: int) -> None:
        worker, theirs, path = self._listeners[index]
        self.now += TURN_S
        if not worker.turn():
            raise FoundError("the listener ended")
        while True:
            try:
                record = channel.decode(theirs.recv(channel.MAX_RECORD))
            except BlockingIOError:
                return
            if isinstance(record, channel.Received):
                self.taken += 1
                self._intake.received(path, self.now, record.data)
            elif isinstance(record, channel.Looked):
                self._intake.looked(path, self.now, record.view)
            elif isinstance(record, channel.Refused):
                self.refused[record.why] += record.count

    def _post(self, event: Event) -> None:
        self.engine.handle(event, self.now)

    def _heard(self, path: PathId, message: Heartbeat) -> None: ...

    def _refuse(self, path: PathId, why: str, expected: bool) -> None:
        self.refused[why] += 1


# --------------------------------------------------------------------------------------------------- cases


def originals(draw: random.Random) -> list[bytes]:
    """What node2 has really said, in its order."""
    config, told = cluster(), []
    for seq in range(1, 65):
        entries = (
            ServiceEntry(
                s.id, draw.choice((State.STOPPED, State.FROZEN_STOP)), draw.randrange(9), last_ran=draw.random() < 0.5
            )
            for s in config.services.values()
        )
        told.append(
            codec.encode(
                Heartbeat(
                    cluster=config.cluster_id,
                    node=node_id("node2"),
                    incarnation=Incarnation(5, 99),
                    seq=seq,
                    promise=Promise.NONE,
                    standing=True,
                    left=False,
                    timeout_ms=10_000,
                    lease_ms=0,
                    paths_digest=config.paths_digest,
                    services=tuple(sorted(entries, key=lambda e: e.id)),
                    acks=(Ack(node_id("node1"), Incarnation(4, 77), (seq, seq)),),
                    handovers=() if seq % 8 else (Handover(next(iter(config.services.values())).id, node_id("node1")),),
                ),
                keys=RING,
            )
        )
    return told


def _flip(draw: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(draw.choice((1, 1, 1, 2, 8, 64))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _set(draw: random.Random, data: bytearray, other: bytes) -> None:
    size = draw.choice((1, 2, 3, 4, 8))
    at = draw.randrange(len(data))
    data[at : at + size] = (draw.choice(EDGES) & (256**size - 1)).to_bytes(size, draw.choice(("big", "little")))


def _cut(draw: random.Random, data: bytearray, other: bytes) -> None:
    del data[draw.randrange(len(data)) :]


def _remove(draw: random.Random, data: bytearray, other: bytes) -> None:
    at = draw.randrange(len(data))
    del data[at : at + draw.randrange(1, 40)]


def _insert(draw: random.Random, data: bytearray, other: bytes) -> None:
    at = draw.randrange(len(data))
    data[at:at] = draw.choice((draw.randbytes(draw.randrange(1, 40)), other[: draw.randrange(1, len(other))], bytes(8)))


def _splice(draw: random.Random, data: bytearray, other: bytes) -> None:
    at = draw.randrange(min(len(data), len(other)))
    data[at:] = other[at:]


def _header(draw: random.Random, data: bytearray, other: bytes) -> None:
    at, size = draw.choice(((0, 3), (3, 1), (4, 2), (6, 2), (8, 2), (10, 4), (14, 4)))
    data[at : at + size] = draw.choice(
        (draw.randbytes(size), bytes(size), b"\xff" * size, bytes(other[at : at + size]))
    )


def _tag(draw: random.Random, data: bytearray, other: bytes) -> None:
    data[-16:] = draw.choice((draw.randbytes(16), bytes(16), other[-16:]))


def _length(draw: random.Random, data: bytearray, other: bytes) -> None:
    """The length in the header as it really is: what is tried behind it goes deeper."""
    if len(data) >= 6:
        data[4:6] = min(len(data), 65_535).to_bytes(2, "big")


MUTATIONS: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    _flip,
    _flip,
    _set,
    _cut,
    _remove,
    _insert,
    _splice,
    _header,
    _tag,
    _length,
)


def mutated(draw: random.Random, given: bytes, other: bytes) -> bytes:
    data = bytearray(given)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if data:
            draw.choice(MUTATIONS)(draw, data, other)
    return bytes(data[:65_507])


def unsigned_cases(draw: random.Random, known: list[bytes]) -> Iterator[bytes]:
    """What a stranger can send who has heard everything and has no key; none of it is a message as it was sent."""
    while True:
        kind, message, other = draw.random(), draw.choice(known), draw.choice(known)
        if kind < 0.9:
            data = mutated(draw, message, other)
        elif kind < 0.94:  # A right checksum in the place of the signature.
            data = envelope.seal(mutated(draw, bytes(envelope.body_of(message)), other), *_whose(draw))
        elif kind < 0.98:
            data = envelope.seal(mutated(draw, bytes(envelope.body_of(message)), other), *_whose(draw), STRANGERS)
        else:
            data = draw.randbytes(draw.choice((0, 1, 17, 38, 200, 1_400, 9_384)))
        yield data


def _whose(draw: random.Random) -> tuple[int, int]:
    cluster_ = cluster_id("ezha") if draw.random() < 0.9 else draw.getrandbits(32)
    return cluster_, node_id(draw.choice(("node2", "node2", "node1", "node9")))


def signed_cases(draw: random.Random, known: list[bytes]) -> Iterator[bytes]:
    """What a node would send that has gone mad and has the key."""
    while True:
        body = bytes(envelope.body_of(draw.choice(known)))
        yield envelope.seal(mutated(draw, body, draw.choice(known)), *_whose(draw), RING)


def as_block(draw: random.Random, data: bytes) -> bytes:
    """In a slot, and what may stand behind it there."""
    behind = draw.random()
    block = data[:SLOT].ljust(SLOT, b"\0")
    if behind < 0.2:
        return block[: -len(MARK)] + MARK
    if behind < 0.4:
        at = draw.randrange(SLOT)
        return block[:at] + draw.randbytes(8) + block[at + 8 :]
    return block


# -------------------------------------------------------------------------------------------------- a share


def run_share(seed: int, share: int, cases: int = SHARE) -> Outcome:
    """Raises FoundError, or whatever a node would have failed with."""
    draw = random.Random(f"{seed}/{share}")
    known = originals(draw)
    outcome, begun, before = Outcome(share), time.monotonic(), _size_kib()
    target, mad = Target(), Target()
    try:
        for each in (target, mad):
            each.datagrams(known)
            each.block(known[-1].ljust(SLOT, b"\0"))
        _forged(draw, target, known, cases * 9 // 10)
        _signed(draw, mad, known, cases - cases * 9 // 10)
        target.tell()
        outcome.cases = cases
        outcome.forwarded = target.taken - len(known) - 1
        outcome.refused = dict(target.refused)
        outcome.signed_taken = mad.taken - len(known) - 1
    finally:
        target.close()
        mad.close()
    outcome.seconds = time.monotonic() - begun
    outcome.grown_kib = _size_kib() - before
    return outcome


def _forged(draw: random.Random, target: Target, known: list[bytes], cases: int) -> None:
    said = {_bare(each.ljust(SLOT, b"\0")) for each in known}
    source = unsigned_cases(draw, known)
    before = target.engine.record()
    newest = target.engine.peers["node2"].newest
    for _ in range(cases // (BURST + BLOCKS)):
        some = [next(source) for _ in range(BURST)]
        taken = target.taken
        target.datagrams(some)
        _require(target.taken == taken, "a datagram that nobody signed was taken", some)
        for data in (next(source) for _ in range(BLOCKS)):
            block = as_block(draw, data)
            if _bare(block) in said:
                continue  # as it was sent once, if only by the zeros behind it: a replay, which is another matter
            target.block(block)
            _require(target.taken == taken, "a block that nobody signed was taken", [block])
    _require(target.engine.record() == before, "forgeries changed the record", [])
    _require(target.engine.peers["node2"].newest is newest, "forgeries changed what was heard", [])


def _bare(block: bytes) -> bytes:
    """What tells the contents of a slot apart: all but the mark, and zeros at the end."""
    return split(block)[0].rstrip(b"\0")


def _signed(draw: random.Random, mad: Target, known: list[bytes], cases: int) -> None:
    source = signed_cases(draw, known)
    for _ in range(cases // BURST):
        some = [next(source) for _ in range(BURST)]
        try:
            mad.datagrams(some[:-BLOCKS])
            for data in some[-BLOCKS:]:
                mad.block(as_block(draw, data))
        except Exception as error:
            raise FoundError(f"{type(error).__name__}: {error}: {[each.hex() for each in some]}") from error


def _require(holds: bool, what: str, data: list[bytes]) -> None:
    if not holds:
        raise FoundError(f"{what}: {[each.hex() for each in data]}")


def _size_kib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


# ---------------------------------------------------------------------------------------------------- all


def figures(shares: int) -> list[Figure]:
    """For ``python -m bench``: so many shares of the seed of today's figures."""
    outcomes = [run_share(1, share) for share in range(shares)]
    cases = sum(each.cases for each in outcomes)
    speed = [each.cases / each.seconds for each in outcomes]
    return [
        Figure(
            f"forged datagrams and blocks that were taken, of {cases:,}",
            "",
            [sum(each.forwarded for each in outcomes)],
            worst=0,
            exact=True,
            note=f"{sum(speed) / len(speed):,.0f} cases a second",
        )
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=CASES, help="how many in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", metavar="FILE", help="shares that are done: read first, and added to")
    options = parser.parse_args()
    done = _done(options.state, options.seed) if options.state else {}
    shares = max(1, options.cases // SHARE)
    for share in range(shares):
        if share in done:
            continue
        try:
            outcome = run_share(options.seed, share, min(SHARE, options.cases))
        except FoundError as error:
            print(f"seed {options.seed}, share {share}: {error}", file=sys.stderr)
            return 1
        done[share] = outcome
        if options.state:
            with open(options.state, "a", encoding="ascii") as file:
                file.write(json.dumps({"seed": options.seed, **asdict(outcome)}) + "\n")
                file.flush()
                os.fsync(file.fileno())
    print(_summary([done[share] for share in range(shares)]))
    return 0


def _done(path: str, seed: int) -> dict[int, Outcome]:
    try:
        with open(path, encoding="ascii") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return {}
    return {
        line["share"]: Outcome(**{key: value for key, value in line.items() if key != "seed"})
        for line in lines
        if line["seed"] == seed
    }


def _summary(outcomes: list[Outcome]) -> str:
    cases, seconds = sum(each.cases for each in outcomes), sum(each.seconds for each in outcomes)
    reasons: Counter[str] = Counter()
    for each in outcomes:
        reasons.update(each.refused)
    late = [each.grown_kib for each in outcomes[1:]]
    return "\n".join(
        (
            f"{cases:,} cases in {seconds:,.0f} s, {cases / seconds:,.0f} a second on one core",
            f"forged and taken: {sum(each.forwarded for each in outcomes)}",
            f"signed nonsense that reached the engine: {sum(each.signed_taken for each in outcomes):,}",
            f"the process grew by {sum(late):,} KiB after the first share",
            *(f"  refused {count:>12,}  {why}" for why, count in reasons.most_common()),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
