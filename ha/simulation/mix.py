"""Draws a whole history from a seed: the cluster, what goes wrong, who types what.

Swarm testing: each seed first draws which kinds of trouble there are at all, so that some histories have no loss but
many pauses, others nothing but commands. A history with everything in it at once would never reach what needs calm.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from ha.fsm.config import OPENHA
from ha.fsm.states import Action
from ha.simulation.draw import Draw
from ha.simulation.lapsing import lapse
from ha.simulation.moments import moment
from ha.simulation.place import Place, tenth
from ha.simulation.plan import BESIDE, DISK_FAULTS, SHAPES, Fault, Plan
from ha.simulation.promises import FULL, MOMENTS, Cover, within
from ha.simulation.settings import Setting

SECONDS = 600.0
"""Of the phase with faults, where nothing else is asked for."""
_USUAL = (Action.STOP, Action.START, Action.FREEZE_STOP, Action.FREEZE_START, Action.UNFREEZE, Action.SWITCH)
_SETTINGS: tuple[tuple[Setting, float], ...] = (
    (Setting(), 8.0),
    (Setting(timeout=2.0), 3.0),
    (Setting(timeout=0.5), 0.5),  # twenty times the heartbeats of 10 s between two troubles: it takes most of the time
    (Setting(paths=("net",)), 2.0),
    (Setting(paths=("dio",)), 2.0),
    (Setting(paths=("net", "net2", "dio"), services=2), 2.0),
    (Setting(paths=("unicast", "net")), 1.0),
    (Setting(nodes=3, paths=("net", "dio"), services=2), 2.0),
    (Setting(nodes=4, paths=("net", "net2"), services=3), 0.5),
)
_BESIDE: tuple[tuple[Setting, float], ...] = (
    (Setting(wire=OPENHA), 3.0),
    (Setting(timeout=4.0, wire=OPENHA), 3.0),
    (Setting(paths=("net",), wire=OPENHA), 2.0),
    (Setting(paths=("dio",), wire=OPENHA), 1.0),
    (Setting(timeout=4.0, paths=("unicast", "net"), services=2, wire=OPENHA), 1.0),
)
"""Where a node of ezha is paired with an original one, which sends once a second: a timeout of 2 s is one lost message,
and under loss nothing would ever come to rest."""
_NOT_BESIDE = frozenset({"configure"})
"""An original node reads its files once: one that changes them alone pairs with nobody."""


Maker = Callable[[Place], Iterable[Fault]]


def _power(p: Place) -> Iterable[Fault]:
    node, at = p.node(), p.when()
    off = tenth(p.draw.pick((0.5, 5.0, 60.0)) + p.draw.about(p.timeout))
    yield Fault(at, "power-off", (node,), off if p.draw.chance(0.9) else None)
    if p.draw.chance(0.4):  # the network comes late after the boot
        yield Fault(tenth(at + off - 0.1), "cut", ("net", node), tenth(p.draw.about(2 * p.timeout)))


def _kill(p: Place) -> Iterable[Fault]:
    point = (str(p.draw.whole(1, 8)),) if p.draw.chance(0.7) else ()
    node, at = p.node(), p.when()
    if p.draw.chance(0.3):  # while a script runs, which may be one that fails
        service = p.draw.pick(p.services)
        if p.draw.chance(0.5):
            kind, shape = p.draw.pick((("start", "fails"), ("start", "half"), ("stop", "fails"), ("status", "slow")))
            yield Fault(at, "script", (node, service, kind, shape), tenth(p.draw.between(1.0, 2 * p.timeout)))
        action = p.draw.pick((Action.STOP, Action.UNFREEZE, Action.FREEZE_STOP, Action.START))
        yield Fault(at, "order", (node, service, action.value))
        at, point = tenth(at + p.draw.about(0.5)), ()
        if p.draw.chance(0.5):  # and somebody is impatient while the next one looks around
            action = p.draw.pick((Action.STOP, Action.FREEZE_STOP, Action.START, Action.SWITCH))
            yield Fault(tenth(at + p.draw.between(0.05, 0.6)), "order", (node, service, action.value))
    yield Fault(at, "kill", (node, *point))


def _brief_pause(p: Place) -> Iterable[Fault]:
    yield Fault(p.when(), p.draw.pick(("pause", "pause-machine", "freeze-machine")), (p.node(),), p.brief())


def _long_pause(p: Place) -> Iterable[Fault]:
    yield Fault(p.when(), p.draw.pick(("pause", "pause-machine", "freeze-machine")), (p.node(),), p.long())


def _slow(p: Place) -> Iterable[Fault]:
    late = tenth(p.draw.pick((0.01, 0.1, 0.5)) * p.timeout / 2)
    yield Fault(p.when(), "slow", (p.node(), f"{late:g}"), tenth(p.draw.about(60.0)))


def _cut_one(p: Place) -> Iterable[Fault]:
    yield Fault(p.when(), "cut", (p.draw.pick(("net", "disk")), *p.pair()), tenth(p.draw.about(3 * p.timeout)))


def _cut_all(p: Place) -> Iterable[Fault]:
    yield Fault(p.when(), "cut", ("all", *p.pair()), p.long())


def _flap(p: Place) -> Iterable[Fault]:
    """A cable that is loose: off and on again, many times."""
    at, words = p.when(), (p.draw.pick(("net", "all")), *p.pair())
    for _ in range(p.draw.whole(3, 12)):
        off = p.brief()
        yield Fault(tenth(at), "cut", words, off)
        at += off + p.brief() / 3


def _lose(p: Place) -> Iterable[Fault]:
    percent = p.draw.pick((5, 30, 60, 90))
    yield Fault(p.when(), "lose", (str(percent), *p.pair()), tenth(p.draw.about(6 * p.timeout)))


def _delay(p: Place) -> Iterable[Fault]:
    late = tenth(p.timeout * p.draw.pick((0.01, 0.1, 0.6, 1.5)))
    yield Fault(p.when(), "delay", (f"{late:g}", *p.pair()), tenth(p.draw.about(6 * p.timeout)))


def _repeat(p: Place) -> Iterable[Fault]:
    if p.draw.chance(0.5):
        yield Fault(p.when(), "duplicate", (str(p.draw.pick((10, 50))), *p.pair()), tenth(p.draw.about(60.0)))
    else:
        yield Fault(p.when(), "replay", (str(p.draw.whole(1, 64)), *p.pair()))


def _disk(p: Place) -> Iterable[Fault]:
    yield Fault(p.when(), "disk", (p.draw.pick(DISK_FAULTS), p.node()), p.long())


def _store(p: Place) -> Iterable[Fault]:
    if p.draw.chance(0.4):  # while a script runs, whose end must be remembered
        node, at = p.node(), p.when()
        action = p.draw.pick((Action.STOP, Action.UNFREEZE, Action.FREEZE_STOP, Action.START))
        yield Fault(at, "order", (node, p.draw.pick(p.services), action.value))
        yield Fault(tenth(at + p.draw.about(0.3)), "disk-full", (node,), p.long())
    elif p.draw.chance(0.65):
        yield Fault(p.when(), "disk-full", (p.node(),), p.long())
    else:
        node, at = p.node(), p.when()
        yield Fault(at, "damage", (node,))
        yield Fault(tenth(at + 0.1), "kill", (node,))


def _script(p: Place) -> Iterable[Fault]:
    kind = p.draw.weighted((("start", 4.0), ("stop", 3.0), ("check", 1.0), ("status", 2.0)))
    words = (p.node(), p.draw.pick(p.services), kind, p.draw.pick(SHAPES))
    yield Fault(p.when(), "script", words, tenth(p.draw.about(10 * p.timeout)))


def _order(p: Place) -> Iterable[Fault]:
    action = p.draw.pick(_USUAL)
    words: tuple[str, ...] = (p.node(), p.draw.pick(p.services), action.value)
    if action is Action.SWITCH and p.draw.chance(0.5):
        words += (p.node(),)
    yield Fault(p.when(), "order", words)


def _both(p: Place) -> Iterable[Fault]:
    """Several people at several nodes at the same moment, or at one node before the first has his answer."""
    at, service = p.when(), p.draw.pick(p.services)
    if p.draw.chance(0.3):
        node = p.node()
        for _ in range(p.draw.whole(2, 4)):
            action = p.draw.pick(_USUAL)
            yield Fault(tenth(at), "order", (node, service, action.value))
            at += p.draw.pick((0.0, 0.0002, 0.05, 0.7))
        return
    for node in p.nodes:
        action = p.draw.pick((Action.START, Action.UNFREEZE, Action.FREEZE_STOP, Action.STOP))
        yield Fault(tenth(at + p.draw.pick((0.0, 0.0001, 0.001, 0.05))), "order", (node, service, action.value))


def _force(p: Place) -> Iterable[Fault]:
    action = p.draw.pick((Action.FORCE_STOP, Action.FORCE_START, Action.START, Action.FREEZE_STOP))
    words = (p.node(), p.draw.pick(p.services), action.value, "--i-know")
    yield Fault(p.when(), "order", words if p.draw.chance(0.7) else words[:-1])


def _leave(p: Place) -> Iterable[Fault]:
    if p.draw.chance(0.6):
        yield Fault(p.when(), "leave", (p.node(),), tenth(p.draw.pick((0.5, 30.0)) + p.draw.about(p.timeout)))
    else:
        yield Fault(p.when(), "restart", (p.node(),))


def _configure(p: Place) -> Iterable[Fault]:
    words = (p.node(), p.draw.pick(("reversed", "slower", "without")), p.draw.pick(p.services))
    yield Fault(p.when(), "configure", words, tenth(p.draw.about(3 * p.timeout)))


def _clock(p: Place) -> Iterable[Fault]:
    yield Fault(p.when(), "step-clock", (p.node(), str(p.draw.pick((-86400, -5, 5, 86400)))))


def _stranger(p: Place) -> Iterable[Fault]:
    """Somebody sends to our ports, or the network cuts datagrams short."""
    if p.draw.chance(0.5):
        yield Fault(p.when(), "stray", (p.node(),), tenth(p.draw.about(6 * p.timeout)))
    else:
        yield Fault(p.when(), "truncate", (str(p.draw.pick((10, 60, 100))), *p.pair()), p.long())


def _workers(p: Place) -> Iterable[Fault]:
    if p.draw.chance(0.6):
        yield Fault(p.when(), "kill-listeners", (p.node(),))
    else:
        yield Fault(p.when(), "pause-processes", (p.node(),), p.brief())


def _slots(p: Place) -> Iterable[Fault]:
    yield Fault(p.when(), "zero", (p.node(),))


def _memory(p: Place) -> Iterable[Fault]:
    """What a node remembers is lost, or cannot be read while nmond starts."""
    node, at = p.node(), p.when()
    if p.draw.chance(0.5):
        yield Fault(at, "tear", (node,))
    else:
        yield Fault(at, "unreadable", (node,), p.long())
    yield Fault(tenth(at + p.draw.between(0.0, 0.5)), "kill", (node,))


def _boot_script(p: Place) -> Iterable[Fault]:
    yield Fault(p.when(), "boot-script", (p.node(),))


def _stopped_clock(p: Place) -> Iterable[Fault]:
    yield Fault(p.when(), "stop-clock", (p.node(),), p.long())


_LEASED = frozenset({"lapse"})
"""Kinds that nothing is to without a lease."""
KINDS: dict[str, tuple[Maker, float, int]] = {
    "power": (_power, 0.4, 5),
    "kill": (_kill, 0.4, 8),
    "brief-pause": (_brief_pause, 0.3, 8),
    "long-pause": (_long_pause, 0.15, 4),
    "slow": (_slow, 0.2, 3),
    "cut-one": (_cut_one, 0.4, 6),
    "cut-all": (_cut_all, 0.15, 3),
    "flap": (_flap, 0.15, 3),
    "lose": (_lose, 0.3, 4),
    "delay": (_delay, 0.25, 4),
    "repeat": (_repeat, 0.3, 6),
    "disk": (_disk, 0.3, 5),
    "store": (_store, 0.2, 3),
    "script": (_script, 0.4, 6),
    "order": (_order, 0.6, 12),
    "both": (_both, 0.4, 6),
    "force": (_force, 0.05, 4),
    "leave": (_leave, 0.3, 4),
    "configure": (_configure, 0.15, 3),
    "clock": (_clock, 0.1, 4),
    "stranger": (_stranger, 0.15, 4),
    "workers": (_workers, 0.2, 6),
    "slots": (_slots, 0.1, 4),
    "memory": (_memory, 0.1, 2),
    "boot-script": (_boot_script, 0.1, 4),
    "stopped-clock": (_stopped_clock, 0.05, 2),
    "moment": (moment, 0.4, 6),
    "lapse": (lapse, 0.5, 8),
}
"""By kind of trouble: how it is made, the share of histories that have it, and how often it comes at most."""


def draw_plan(
    seed: int,
    seconds: float = SECONDS,
    *,
    rules: str = "ezha",
    setting: Setting | None = None,
    nodes: tuple[str, ...] = (),
    services: tuple[str, ...] = (),
    timeout: float = 10.0,
    only: Iterable[str] = (),
    protection: str = "",
    mix: str = FULL,
    cover: Cover | None = None,
) -> Plan:
    """The plan of ``seed``. ``nodes``, ``services``, ``timeout``: of the user's own configuration, where there is one;
    else ``setting``, or one that the seed draws. ``only``: these kinds of trouble, all of them, and no others.
    ``protection``: where it is not to be what the paths allow. ``mix``, ``cover``: ``ha.simulation.promises``."""
    draw = Draw(f"{seed}/mix")
    made = setting if setting is not None else draw.weighted(_BESIDE if rules in BESIDE else _SETTINGS)
    if mix == MOMENTS:
        made, only = replace(made, nodes=2, services=1, protection="none"), ("moment",)
    if protection:
        made = replace(made, protection=protection)
    own = bool(nodes)
    if not own:
        nodes = tuple(f"node{i}" for i in range(1, made.nodes + 1))
        services = tuple(f"svc{i}" for i in range(1, made.services + 1))
        timeout = made.timeout
    cover = cover or Cover(made.leased, made.watched)
    place = Place(draw, nodes, services, timeout, seconds)
    faults = list(_begin(place))
    names = []
    wanted = frozenset(only)
    for name, (make, share, most) in KINDS.items():
        if name in _LEASED and not cover.leased:
            continue
        if name not in wanted if wanted else not draw.chance(share):
            continue
        if rules in BESIDE and name in _NOT_BESIDE:
            continue
        names.append(name)
        often = draw.whole(most, 2 * most) if mix == MOMENTS else draw.whole(1, most)
        for _ in range(max(1, round(often * seconds / SECONDS))):
            faults += make(place)
    faults.sort(key=lambda fault: fault.at)
    noise = (
        ("drift", draw.pick((0.0, 20e-6, 200e-6))),
        ("latency", draw.pick((0.0001, 0.0005, 0.005))),
        ("loss", draw.pick((0.0, 0.0, 0.001, 0.02))),
        ("disk-latency", draw.pick((0.0005, 0.002, 0.02))),
        ("boot-spread", draw.pick((0.0, 0.5, timeout))),
    )
    promised = within((f for f in faults if f.at <= seconds), cover, mix)
    text = "own" if own else made.text
    return Plan(str(seed), seconds, tuple(promised), rules, noise, text, "+".join(names) or "calm")


def _begin(place: Place) -> Iterable[Fault]:
    """Somebody unfreezes the services: one node after the other, or all at once, or not all."""
    draw = place.draw
    at = draw.between(1.0, 2.5 * place.timeout)
    gap = draw.pick((0.0, 0.0, 0.0005, 0.3, place.timeout))
    for service in place.services:
        for node in place.nodes:
            if draw.chance(0.95):
                yield Fault(tenth(at), "order", (node, service, Action.UNFREEZE.value))
            at += gap
