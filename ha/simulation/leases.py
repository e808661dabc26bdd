"""The lease as the world sees it: what truly reached the disk and the other nodes, and what runs without it.

It believes no node, and asks none for its lease: a message that is in the sender's slot, or that every other node of a
service has answered, renews; L after its sending nothing may be started, and after the last share of T that all
clean-up has (``ha.fsm.timing``) nothing may run. It is more generous than the engine, which wants a look, too: what
breaks this rule has broken the engine's.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from ha.fsm.config import ClusterConfig, PathId, ServiceConfig
from ha.fsm.identity import node_id
from ha.fsm.lease import timing_of
from ha.fsm.message import Heartbeat
from ha.fsm.states import Promise, State
from ha.fsm.timing import EMERGENCY, FENCE, LATENESS, LEASE
from ha.simulation.agenda import Agenda
from ha.simulation.guard import GuardKind
from ha.simulation.machine import Machine

NEVER: Final = float("-inf")
TICK_S: Final = 0.004
_LEASE: Final = LEASE
"""L, a share of T."""
_ENDED: Final = LEASE + LATENESS + EMERGENCY + FENCE
"""The share of T after which nothing runs."""
_HOLDS: Final = frozenset({State.STARTING, State.STARTED})
_KEPT: Final = 600
"""Messages of a node whose sending is remembered."""

Violation = Callable[[str, str, str], None]


class Leases:
    """Times are true seconds."""

    def __init__(
        self,
        agenda: Agenda,
        machines: dict[str, Machine],
        config_of: Callable[[Machine], ClusterConfig],
        violation: Violation,
    ) -> None:
        """``config_of``: as the machine's nmond has it, or had it last; ``violation(text, node, service)``."""
        self._agenda = agenda
        self._machines = machines
        self._config_of = config_of
        self._violation = violation
        self.self_fence = Promise.REBOOT
        """What all nodes are to do, by the configuration that nobody has changed."""
        self._sent: dict[str, dict[tuple[int, int], float]] = {}
        self._order: dict[str, deque[tuple[int, int]]] = {}
        self._stored: dict[str, deque[tuple[float, float]]] = {}
        """Of each node's messages that the disk has: since when, and when they were sent."""
        self._seen: dict[tuple[str, int], float] = {}
        """By node and service number: when the newest message was sent that the disk has, and a look came after."""
        self._acked: dict[tuple[str, str], float] = {}
        """When the newest message of the first was sent that the second has said it saw."""
        self._frozen: dict[tuple[str, str], float] = {}
        """By node and service: when it first said FROZEN_START, which it has said since."""
        self._thawed: dict[tuple[str, str], float] = {}
        """When it said so no more: without a lease it is stopped from then on, in as much time as after a lapse."""
        self._looks: dict[tuple[str, PathId], float] = {}
        """When the last look of a node at this slot was begun that succeeded, in the life of its nmond."""
        self._ever: dict[tuple[str, PathId], float] = {}
        """The same, of whatever life: a lease outlives its nmond."""
        self._claims: dict[tuple[str, int], tuple[int, float | None]] = {}
        """By node and service number: the generation of its claim, and when that was in its slot."""
        self.down: set[tuple[str, str]] = set()
        """The first knows that the second is off: it was fenced, or an operator said so."""
        self._reloads: dict[str, float] = {}
        """When the configuration of a node changed last: until T after that another T counts yet."""
        self.window = 0.0
        """The longest time, in T, from the end of a pause that stopped the watchdog to the end of what ran."""
        self._watched: set[tuple[str, str]] = set()
        self._late: dict[tuple[str, str], float] = {}
        """Up in or after such a pause, and elsewhere, too: since when."""

    # ---------------------------------------------------------------------------------------------- messages

    def sent(self, machine: Machine, message: Heartbeat) -> None:
        name, key = machine.name, (message.incarnation.counter, message.seq)
        times = self._sent.setdefault(name, {})
        order = self._order.setdefault(name, deque())
        times[key] = self._agenda.now
        order.append(key)
        self._tells_in_time(machine, message)
        if len(order) > _KEPT:
            times.pop(order.popleft(), None)

    def _tells_in_time(self, machine: Machine, message: Heartbeat) -> None:
        """No node says that it runs something under a lease that is over: it acts on that first."""
        if not machine.up or self._unsettled(machine):
            return
        config = self._config_of(machine)
        names = {config.services[name].id: config.services[name] for name in machine.up if name in config.services}
        for entry in message.services:
            service = names.get(entry.id)
            if service is None or not service.on_disk or entry.lapsed or entry.state not in _HOLDS:
                continue
            late = self._agenda.now - self.renewed(machine, service) - _LEASE * self._timeout(machine, service)
            if late > TICK_S:
                text = f"says that it is {entry.state.name}, {late:.3f} s after its lease ended"
                self._violation(text, machine.name, service.name)

    def says(self, machine: Machine, message: Heartbeat) -> None:
        """``message`` says something else of the services than the one before."""
        names = {config.id: name for name, config in self._config_of(machine).services.items()}
        for entry in message.services:
            key = (machine.name, entry.id)
            named = (machine.name, names.get(entry.id, ""))
            if entry.state is State.FROZEN_START:
                self._frozen.setdefault(named, self._agenda.now)
            elif self._frozen.pop(named, None) is not None:
                self._thawed[named] = self._agenda.now
            if entry.state is not State.START_READY:
                self._claims.pop(key, None)
            elif self._claims.get(key, (0, None))[0] != entry.generation:
                self._claims[key] = (entry.generation, None)

    def stored(self, machine: Machine, message: Heartbeat) -> None:
        at = self._sent.get(machine.name, {}).get((message.incarnation.counter, message.seq), NEVER)
        self._stored.setdefault(machine.name, deque(maxlen=_KEPT)).append((self._agenda.now, at))
        for entry in message.services:
            if entry.state is State.START_READY:
                key = (machine.name, entry.id)
                generation, since = self._claims.get(key, (0, None))
                if generation == entry.generation and since is None:
                    self._claims[key] = (generation, self._agenda.now)

    def heard(self, machine: Machine, sender: str, message: Heartbeat) -> None:
        self.down.discard((machine.name, sender))
        own = node_id(machine.name)
        for ack in message.acks:
            if ack.node == own:
                at = self._sent.get(machine.name, {}).get((ack.incarnation.counter, max(ack.seqs, default=0)), NEVER)
                pair = (machine.name, sender)
                self._acked[pair] = max(self._acked.get(pair, NEVER), at)

    def looked(self, machine: Machine, path: PathId, at: float) -> None:
        """At ``at``; nmond that is late may learn of an earlier look after a later one."""
        for known in (self._looks, self._ever):
            known[machine.name, path] = max(known.get((machine.name, path), NEVER), at)

    def reloaded(self, machine: Machine) -> None:
        """Its configuration is another one."""
        self._reloads[machine.name] = self._agenda.now

    def _unsettled(self, machine: Machine) -> bool:
        """How long its lease is may follow from what it had before: only what runs twice is wrong then."""
        now, longest = self._agenda.now, max(machine.guard.how.timeouts)
        return self._disturbed(machine) or now < self._reloads.get(machine.name, NEVER) + 2 * longest

    def began(self, machine: Machine) -> None:
        """A new nmond: it has looked at nothing, and was told of nobody that he is down."""
        for pair in [p for p in self._looks if p[0] == machine.name]:
            del self._looks[pair]
        self.down = {pair for pair in self.down if pair[0] != machine.name}

    # ----------------------------------------------------------------------------------------------- leases

    def _service(self, machine: Machine, service: str) -> ServiceConfig | None:
        return self._config_of(machine).services.get(service)

    def protected(self, machine: Machine, service: str) -> bool:
        """A lease on the disk covers it there, or its nodes are fenced."""
        config = self._service(machine, service)
        return config is not None and (config.on_disk or config.by_fencing)

    def renewed(self, machine: Machine, config: ServiceConfig) -> float:
        """When the newest message was sent that renews the lease."""
        others = [n for n in config.nodes if n != machine.name and (machine.name, n) not in self.down]
        if not others:
            return self._agenda.now
        acked = min(self._acked.get((machine.name, n), NEVER) for n in others)
        return max(acked, self._confirmed(machine, config, others))

    def _confirmed(self, machine: Machine, config: ServiceConfig, others: list[str]) -> float:
        """When the newest message was sent that is in its slot, and since when the others' slots were looked at."""
        paths = self._config_of(machine).paths
        looks = (self._ever.get((machine.name, p.id), NEVER) for p in paths if p.id.node in others and p.device)
        looked = min(looks, default=NEVER)
        key = (machine.name, config.id)
        newest = self._seen.get(key, NEVER)
        for since, sent in reversed(self._stored.get(machine.name, ())):
            if since <= looked:
                newest = max(newest, sent)
                break
        self._seen[key] = newest
        return newest

    def _timeout(self, machine: Machine, config: ServiceConfig) -> float:
        """T, in true seconds."""
        return timing_of(self._config_of(machine), config).timeout / machine.clock.rate

    def may_start(self, machine: Machine, service: str) -> None:
        """A start script begins there."""
        config = self._service(machine, service)
        if config is None or not config.on_disk:
            return
        if machine.guard.how.promise < self._config_of(machine).self_fence:
            self._violation("starts before anything is there that would end it", machine.name, service)
        late = self._agenda.now - self.renewed(machine, config) - _LEASE * self._timeout(machine, config)
        if late > TICK_S and not self._unsettled(machine):
            self._violation(f"starts without a lease: it ended {late:.3f} s ago", machine.name, service)

    def settled(self, machine: Machine, service: str, silent: Iterable[tuple[str, float]]) -> None:
        """A claim of ``machine`` is settled, and these other nodes of the service are not heard: since when."""
        config = self._service(machine, service)
        if config is None or not config.on_disk:
            return
        paths = self._config_of(machine).paths
        for other, since in silent:
            if (machine.name, other) in self.down:
                continue
            looks = [self._looks.get((machine.name, p.id), NEVER) for p in paths if p.id.node == other and p.device]
            limit = max(p.timeout for p in paths if p.id.node == other) / machine.clock.rate
            looked = min(looks, default=NEVER)
            if looked < since + limit - TICK_S:
                text = f"takes over from {other}, whose slot it has not looked at since that was silent"
                self._violation(text, machine.name, service)
            stored = self._claims.get((machine.name, config.id), (0, None))[1]
            if stored is None or looked < stored - TICK_S:
                text = f"takes over from {other}, whose slot it has not looked at since its claim was on the disk"
                self._violation(text, machine.name, service)
            self._outlived(machine, self._machines[other], service)

    def _outlived(self, machine: Machine, other: Machine, service: str) -> None:
        """A takeover waits until the lease of the other has ended."""
        theirs = self._service(other, service)
        if not other.on or service not in other.up or theirs is None or not theirs.on_disk:
            return
        left = self.renewed(other, theirs) + _LEASE * self._timeout(other, theirs) - self._agenda.now
        if left > TICK_S and not self._unsettled(other):
            text = f"takes over from {other.name}, whose lease lasts {left:.3f} s more"
            self._violation(text, machine.name, service)

    def excuse(self, machine: Machine, service: str) -> str:
        """Why nothing may have ended what runs there: a promise that is weaker than a watchdog's. Empty: none."""
        if machine.lied:
            return "storage or a fence agent lies"
        config = self._service(machine, service)
        if config is not None and not config.on_disk:
            return ""
        guard = machine.guard
        if self.self_fence <= Promise.STOP:
            return "nothing ends it there (self_fence stop)"
        if guard.broken:
            return "what guards it does nothing"
        if machine.suspended:
            return "its machine and its watchdog are paused"
        if self._disturbed(machine):
            return "its machine and its watchdog were paused"
        if guard.how.kind is GuardKind.GUARDIAN and machine.halted:
            return "its guardian is paused like everything else there"
        return ""

    def _disturbed(self, machine: Machine) -> bool:
        """A pause that stopped the watchdog was over so lately that its lease is not over yet by its own clock."""
        longest = max(machine.guard.how.timeouts)
        return bool(machine.resumed) and self._agenda.now < machine.resumed + longest

    # ----------------------------------------------------------------------------------------------- deadlines

    def up(self, machine: Machine, service: str) -> None:
        """From now on it must not run longer than its lease allows."""
        config = self._service(machine, service)
        if config is not None and config.on_disk and (machine.name, service) not in self._watched:
            self._watched.add((machine.name, service))
            self._watch(machine, service)

    def gone(self, machine: Machine, service: str) -> None:
        """It is physically down."""
        since = self._late.pop((machine.name, service), None)
        config = self._service(machine, service)
        if since is not None and config is not None and not machine.suspended:
            took = self._agenda.now - max(since, machine.resumed)
            self.window = max(self.window, took / self._timeout(machine, config))

    def twice(self, machine: Machine, service: str) -> None:
        """It is up there, and has just come up elsewhere, because of a pause that stopped the watchdog."""
        self._late[machine.name, service] = self._agenda.now
        self._end_of_window(machine, service)

    def _end_of_window(self, machine: Machine, service: str) -> None:
        config = self._service(machine, service)
        if (machine.name, service) not in self._late or config is None:
            return
        now, timeout = self._agenda.now, self._timeout(machine, config)
        due = now + timeout if machine.suspended else machine.resumed + _ENDED * timeout + TICK_S
        if now < due:
            self._agenda.at(due, lambda: self._end_of_window(machine, service))
        elif any(service in other.up for other in self._machines.values() if other is not machine):
            text = f"runs beside another {now - machine.resumed:.3f} s after its machine went on"
            self._violation(text, machine.name, service)

    def _watch(self, machine: Machine, service: str) -> None:
        config = self._service(machine, service)
        if service not in machine.up or config is None:
            self._watched.discard((machine.name, service))
            return
        now, timeout = self._agenda.now, self._timeout(machine, config)
        thawed = self._thawed.get((machine.name, service), NEVER)
        due = max(self.renewed(machine, config), machine.resumed, thawed) + _ENDED * timeout + TICK_S
        excused = machine.suspended or self._known_frozen(machine, config)
        if excused or (now >= due and (self._unsettled(machine) or self.excuse(machine, service))):
            due = now + timeout
        elif now >= due:
            late = now - due + TICK_S
            text = f"runs past its hard deadline, {late:.3f} s after all that its lease allows"
            self._violation(text, machine.name, service)
            due = now + 60.0
        self._agenda.at(due, lambda: self._watch(machine, service))

    def _known_frozen(self, machine: Machine, config: ServiceConfig) -> bool:
        """The others have said that they know of it, or it is on the disk: whoever takes over looks there first."""
        since = self._frozen.get((machine.name, config.name))
        if since is None:
            return False
        stored = any(sent >= since for _, sent in self._stored.get(machine.name, ()))
        return stored or self.renewed(machine, config) >= since
