"""A node that runs: the engine's world. Puts its parts together and does what effects say.

It decides nothing about services (``ha.fsm.engine``), and nothing about when the process begins or ends
(``ha.node.daemon``).
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ha.fsm.config import OPENHA, OWN_WIRE, PathId
from ha.fsm.engine import Engine
from ha.fsm.events import (
    Arbitrate,
    ConfigChanged,
    FenceNode,
    Guarded,
    KillScript,
    Leave,
    Note,
    NoteKind,
    Reply,
    RunScript,
    Tick,
)
from ha.fsm.identity import node_id
from ha.fsm.message import Heartbeat, Incarnation
from ha.fsm.record import NodeRecord
from ha.heartbeats import worker as heartbeat_worker
from ha.heartbeats.codec import CodecError, encode
from ha.heartbeats.keys import shown as shown_key
from ha.heartbeats.path import PathLine
from ha.node import originals
from ha.node.companion import Companion, metrics_server, resource_watch
from ha.node.config import ConfigError, Configuration, load
from ha.node.config.sizes import smallest_room
from ha.node.driver import FAREWELL_GAP_S, FAREWELLS, Driver
from ha.node.guarding import Guarding, Plan, plan_of
from ha.node.history import History
from ha.node.intake import Intake
from ha.node.layout import Layout
from ha.node.log import Level, Log
from ha.node.loop import Loop
from ha.node.notify import Notifier
from ha.node.outbox import Outbox
from ha.node.outside import Outside
from ha.node.runner import PATH, Runner
from ha.node.store import Store
from ha.node.workers import Workers

REMEMBER_S: Final = 0.5
"""After another node is heard in a new incarnation, until that is on record."""
REMEMBER_EVERY_S: Final = 60.0
"""What was heard last is on record at least as of then."""
FAREWELL_LIMIT_S: Final = 1.0
"""So long the last message may take to be on the wire and on the disks."""
_LEVELS: Final = {"error": Level.ERROR, "warning": Level.WARNING, "info": Level.INFO, "debug": Level.DEBUG}


class Node:
    """Everything that runs on this node but the scripts and the workers themselves."""

    def __init__(
        self, layout: Layout, name: str, configuration: Configuration, boot_id: str, log: Log, loop: Loop, store: Store
    ) -> None:
        self.layout = layout
        self.name = name
        self.configuration = configuration
        self.log = log
        self.loop = loop
        self._boot_id = boot_id
        self._store = store
        environ = {key: os.environ[key] for key in sorted(os.environ) if key == "EZ" or key in _HANDED}
        self.runner = Runner(
            loop, layout.run, layout.log, log, ended=self._post, before=self._before_script, environ=environ
        )
        self.intake = Intake(
            name, lambda: self.driver.engine, self._post, self._heard_of, self._refuse, lambda: self.configuration.keys
        )
        self.workers = Workers(loop, layout.run, layout.bin, name, log, self.intake, self._work)
        self.guarding = Guarding(loop, layout, log, lambda promise: self._post(Guarded(promise)))
        self._exporter = Companion(loop, "the metrics server", log)
        self._watch = Companion(loop, "the watch over resources", log)
        commands = {"PATH": PATH, "HOME": "/", "LANG": "C.UTF-8", **environ}
        self.notifier = Notifier(loop, name, log, commands)
        self.outside = Outside(
            loop,
            layout,
            name,
            log,
            commands,
            configuration=lambda: self.configuration,
            engine=lambda: self.driver.engine,
            post=self._post,
            tell=self.tell,
            prompt=lambda: self.prompt(),
        )
        history = History(layout.history, name)
        self.outbox = Outbox(name, store, history, self.notifier, log, loop.clock)
        self.driver: Driver
        self.answered: Callable[[Reply], None] = lambda reply: None
        """Where replies go."""
        self.overheard: Callable[[Note], None] = lambda note: None
        """Who else hears every note: whoever waits for a stop."""
        self.tidy: Callable[[], bool] = lambda: False
        """Idle work that belongs to the process."""
        self.prompt: Callable[[], None] = lambda: None
        """Makes a copy of this process as prompt as nmond is."""
        self.sent: Callable[[], None] = lambda: None
        """Called after every message that was handed to the workers."""
        self.finished: Callable[[], None] = lambda: None
        """Called when the node has left and said so."""
        self.sent_at = 0.0
        self.handover_silence = 0.0
        """Seconds between the last heartbeat before the last exec and the first one after it; 0: there was none."""
        self.messages_sent = 0
        self.encode_failures = 0
        self._epoch = time.time() - loop.clock()
        self._last: tuple[int, bytes] = (0, b"")
        self._message: Heartbeat | None = None
        self._resumed = False
        self._farewells = 0
        self._farewell_until = 0.0
        self._heard: dict[str, object] = {}
        self._lives: dict[str, Incarnation] = {}
        """The incarnation of each other node that was heard last."""
        self._remembered_at = 0.0
        self.use_options()

    def use_options(self) -> None:
        """What ``options.toml`` and ``logfacility`` say of this process."""
        options = self.configuration.options
        self.notifier.command = options.notify
        self.log.level = _LEVELS[options.log_level]
        if self.log.syslog is not None:
            self.log.syslog.facility = options.facility

    def start_companions(self) -> None:
        """The processes beside this one that the configuration asks for; others end."""
        scripts = [service.script for service in self.configuration.cluster.services.values()]
        self._exporter.use(metrics_server(self.layout.bin, self.configuration.options.metrics))
        self._watch.use(resource_watch(self.layout.bin, scripts))

    def stop_companions(self) -> None:
        self._exporter.stop()
        self._watch.stop()

    def begin(self, engine: Engine, *, resumed: bool) -> None:
        """Drive ``engine`` from now on. ``resumed``: it goes on after a hand-over."""
        self.driver = Driver(engine, self, self.loop.clock)
        self.loop.first = self._first
        self.loop.deadline = self.driver.due
        self.loop.idle = [
            self._launch,
            self._yielding(self.outbox.note),
            self._yielding(self.outbox.local),
            self._yielding(lambda: self.outbox.remote(engine)),
            self.tidy,
        ]
        self.loop.after(REMEMBER_EVERY_S, self._remember_now_and_then)
        self.guarding.promise = engine.promise
        self.guarding.use(self.guard_plan())
        if not resumed:
            self.outside.use()
            self.driver.start()
            self.guarding.begun()

    def _yielding(self, work: Callable[[], bool]) -> Callable[[], bool]:
        """Idle work that scripts go before: many services that are taken over start first, and are told of then."""
        return lambda: not self.runner.waiting and work()

    def _launch(self) -> bool:
        """The next script that waits; first of all a lease that has ended meanwhile, which the loop looks at next."""
        if self.driver.lapsed:
            return True
        return not self.guarding.arming and self.runner.launch()

    def _first(self) -> None:
        self.driver.work()
        self._hand_over_message()

    def _post(self, event: Any) -> None:
        self.driver.post(event)

    def _before_script(self, service: str) -> None:
        self.outbox.before_script(service)

    # ---------------------------------------------------------------------------------------- heartbeats

    def _work(self, line: PathLine, sender: bool, period: float, channel: socket.socket) -> None:
        """The body of a worker process."""
        cluster, ring = self.configuration.cluster.cluster_id, self.configuration.keys
        if sender:
            own = node_id(self.name)
            heartbeat_worker.run_sender(line, channel, node_id=own, cluster_id=cluster, period=period, ring=ring)
        else:
            heartbeat_worker.run_listener(line, channel, cluster_id=cluster, period=period, ring=ring)

    def period_of(self, node: str) -> float:
        return self.configuration.cluster.period_of(node)

    def guard_plan(self) -> Plan | None:
        """What is to end this node's services where nmond cannot."""
        return plan_of(self.configuration.cluster, self.name, self.configuration.options.protecting)

    def start_workers(self) -> None:
        self.workers.configure(self.configuration.lines, self.period_of)

    def _heard_of(self, path: PathId, message: Heartbeat) -> None:
        if self._heard.get(path.node) is not message.services:
            self._heard[path.node] = message.services
            self.outbox.remote_changed = True
        if self._lives.get(path.node) != message.incarnation:
            self._lives[path.node] = message.incarnation
            self.loop.after(REMEMBER_S, self._remember)

    def _remember(self) -> None:
        """Have on record what was heard last of the others (``ha.fsm.freshness``): nothing waits for it."""
        self._remembered_at = self.loop.clock()
        try:
            self.persist(self.driver.engine.record())
        except OSError:
            return  # It is told, and the next decision, or minute, tries again.

    def _remember_now_and_then(self) -> None:
        if self.loop.clock() - self._remembered_at >= REMEMBER_EVERY_S / 2 and self._lives:
            self._remember()
        self.loop.after(REMEMBER_EVERY_S, self._remember_now_and_then)

    def _refuse(self, path: PathId, why: str, quietly: bool) -> None:
        first = self.workers.refuse(path, why)
        if first and not quietly:
            text = f"on the heartbeat path of {path.node} something was refused: {why}; hb -s counts it"
            self.tell(Note(NoteKind.ALERT, "", text))

    # ---------------------------------------------------------------------------------- the engine's world

    def self_fence(self, why: str) -> None:
        self.guarding.end_machine(why)

    def guard(self, until: float) -> None:
        self.guarding.until(until)

    def kill(self, order: KillScript) -> None:
        self.runner.kill(order)

    def persist(self, record: NodeRecord) -> None:
        was = self.driver.trouble
        try:
            self._store.save(record, self._boot_id)
        except OSError as error:
            if not was:
                self.log.error(
                    f"{self.layout.record} cannot be written ({error.strerror or error}): nothing that depends on it "
                    "is done; it is tried again every second"
                )
            raise
        if was:
            self.log.notice(f"{self.layout.record} can be written again")
        self.outbox.persisted(record)

    def send(self, message: Heartbeat) -> None:
        """Of the messages of one turn of the loop only the last is made: it says all that those before it say.

        It is handed to the workers at the end of the turn, before any script that the turn decided is launched.
        """
        self._message = message

    def _hand_over_message(self) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        try:
            data = self._bytes_of(message)
        except CodecError as error:
            self.encode_failures += 1
            self.log.error(f"a heartbeat could not be made: {error}")
            return
        at = self.loop.clock()
        if self.driver.lapsed:
            # It says what was so before a pause. What follows from the lapse replaces it, or it follows that.
            self._message = message
            return
        before, self.sent_at = self.sent_at, at
        if self._resumed:
            self._resumed = False
            self.handover_silence = self.sent_at - before
            self.log.notice(f"nmond goes on; its heartbeats paused for {self.handover_silence * 1000:.0f} ms")
        self.messages_sent += 1
        self._last = (message.seq, data)
        self.workers.hand(message.seq, self.sent_at, data, self._language)
        self.sent()

    @property
    def _language(self) -> str:
        return OPENHA if self.configuration.cluster.is_original(self.name) else OWN_WIRE

    def _bytes_of(self, message: Heartbeat) -> bytes:
        """Raises CodecError."""
        cluster = self.configuration.cluster
        if self._language == OPENHA:
            # By the clock of this boot: one that somebody sets would make a listener of OpenHA's call this node dead.
            return originals.compose(message, cluster, self.name, self._epoch + self.loop.clock())
        return encode(message, smallest_room(self.configuration.lines, self.name), self.configuration.keys)

    def look(self) -> None:
        self.workers.look()

    def fence(self, order: FenceNode) -> None:
        self.outside.fence(order)

    def arbitrate(self, order: Arbitrate) -> None:
        self.outside.arbitrate(order)

    def run(self, script: RunScript) -> None:
        self.runner.run(script)

    def tell(self, note: Note) -> None:
        if note.kind is NoteKind.PEER:
            self.outbox.remote_changed = True
        self.outbox.told(note)
        self.overheard(note)

    def answer(self, reply: Reply) -> None:
        self.answered(reply)

    def left(self) -> None:
        """The message that says so is handed over now."""
        self._hand_over_message()
        if abandoned := self.abandoned:
            self.log.error(f"this node has left the cluster, but {abandoned}")
        else:
            self.log.notice("this node has left the cluster")
        self._farewells = FAREWELLS - 1
        self._farewell_until = self.loop.clock() + FAREWELL_LIMIT_S
        self.loop.after(FAREWELL_GAP_S, self._farewell)

    # -------------------------------------------------------------------------------------------- leaving

    @property
    def abandoned(self) -> str:
        """What could not be stopped here, and what comes of it; empty: nothing is left."""
        left = self.driver.engine.abandoned()
        outlook = self.guarding.outlook()
        return f"{', '.join(left)} and may still run here{f': {outlook}' if outlook else ''}" if left else ""

    def leave(self) -> None:
        """Give every service up, say that we left, then call ``finished``."""
        self.log.notice("asked to leave the cluster: services are stopped here")
        self.driver.post(Leave())

    def _farewell(self) -> None:
        seq, data = self._last
        over = self.loop.clock() >= self._farewell_until
        if over or (not self._farewells and self.workers.confirmed(seq)):
            if over:
                self.log.warning(f"not every path confirmed the last message within {FAREWELL_LIMIT_S:g} s")
            self.finished()
            return
        if self._farewells and self.workers.confirmed(seq):
            self._farewells -= 1
            self.workers.hand(seq, self.loop.clock(), data, self._language)
        self.loop.after(FAREWELL_GAP_S, self._farewell)

    def settle(self) -> None:
        """Handle all events that wait, now."""
        while self.driver.busy:
            self.driver.work()
        self._hand_over_message()

    # ------------------------------------------------------------------------------------- configuration

    def examine(self) -> tuple[Configuration | None, list[str]]:
        """The files as they are now, and why they cannot be taken while running: one list is always empty."""
        try:
            new = load(self.layout, self.name)
        except ConfigError as error:
            return None, [str(problem) for problem in error.problems]
        if new.cluster.cluster != self.configuration.cluster.cluster:
            place = self.layout.show(self.layout.options)
            return None, [
                f'{place}: cluster = "{new.cluster.cluster}" takes effect when ezha is stopped and started on every '
                f'node; until then leave "{self.configuration.cluster.cluster}" there'
            ]
        place = self.layout.show(self.layout.options)
        if deafens := self.driver.engine.deafens(new.cluster):
            return None, [f"{place}: {text}" for text in deafens]
        objections = self.driver.engine.objections(new.cluster)
        place = self.layout.show(self.layout.services)
        return (None, [f"{place}: {text}" for text in objections]) if objections else (new, [])

    def reload(self) -> tuple[str, list[str]]:
        """Take the files over as they are now, or not at all. A sentence, and every problem (empty: taken over)."""
        new, problems = self.examine()
        if new is None:
            for problem in problems:
                self.log.error(problem)
            self.log.error("the configuration was not taken over; the old one stays in force")
            return "not taken over, the old configuration stays in force", problems
        old, self.configuration = self.configuration, new
        self.use_options()
        if new.keys != old.keys:
            self.workers.use_keys(new.keys)
        self.driver.post(ConfigChanged(new.cluster))
        self.settle()
        self.guarding.use(self.guard_plan())
        self.outside.use()
        self.start_workers()
        for service in old.cluster.services.values():
            if service.name not in new.cluster.services:
                self.outbox.forget(service.name, service.nodes)
        self.outbox.remote_changed = True
        self.start_companions()
        for warning in new.warnings:
            self.log.warning(str(warning))
        text = difference(old, new)
        self.log.notice(f"configuration taken over: {text}")
        return f"taken over: {text}", []

    # ------------------------------------------------------------------------------------------ hand-over

    def hold(self) -> None:
        """Start no process any more: who follows does."""
        self.runner.held = self.workers.held = self.notifier.held = self.guarding.held = True
        self.outside.hold()

    def packed(self) -> dict[str, Any]:
        """What the nmond after an exec needs. Nothing may be queued any more."""
        return {
            "engine": self.driver.engine.snapshot(),
            "runner": self.runner.packed(),
            "workers": self.workers.packed(),
            "notifier": self.notifier.packed(),
            "outside": self.outside.packed(),
            "last": {name: list(last) for name, last in self.outbox.last.items()},
            "sent_at": self.sent_at,
            "messages_sent": self.messages_sent,
            "late_ever": self.driver.late_ever,
            "persist_failures": self.driver.persist_failures,
        }

    def unpack(self, data: Mapping[str, Any]) -> None:
        """Go on where ``packed`` stopped. Raises ValueError, KeyError or TypeError for what it does not understand."""
        engine = Engine.restore(data["engine"], self.configuration.cluster, self.name, self.loop.clock())
        self.begin(engine, resumed=True)
        self.sent_at = float(data["sent_at"])
        self.messages_sent = int(data["messages_sent"])
        self.driver.late_ever = float(data["late_ever"])
        self.driver.persist_failures = int(data["persist_failures"])
        self.outbox.last.update({name: (float(since), str(text)) for name, (since, text) in data["last"].items()})
        self.runner.unpack(data["runner"])
        self.notifier.unpack(data["notifier"])
        self.outside.unpack(data["outside"])
        self.workers.unpack(data["workers"], self.configuration.lines, self.period_of)
        self.workers.use_keys(self.configuration.keys)
        # A look at the time sends a heartbeat at once: the engine owes one after a hand-over.
        self._resumed = True
        self.driver.post(Tick())


_HANDED: Final = frozenset(("EZ_BIN", "EZ_NODES", "EZ_MONITOR", "EZ_CONF", "EZ_VAR", "EZ_SERVICES", "EZ_LOG", "EZ_RUN"))
"""Variables of nmond's own environment that scripts see, so that a script may call ezha's commands."""


def difference(old: Configuration, new: Configuration) -> str:
    """In words, for the operator."""
    parts = []
    for what, before, after in (
        ("service", old.cluster.services, new.cluster.services),
        ("heartbeat path", {p.text: p for p in old.lines}, {p.text: p for p in new.lines}),
        ("node", dict.fromkeys(old.cluster.nodes), dict.fromkeys(new.cluster.nodes)),
    ):
        added = [name for name in after if name not in before]
        removed = [name for name in before if name not in after]
        changed = [name for name in after if name in before and after[name] != before[name]]
        for verb, names in (("added", added), ("removed", removed), ("changed", changed)):
            if names:
                shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
                parts.append(f"{len(names)} {what}{'s' if len(names) > 1 else ''} {verb} ({shown})")
    if old.options != new.options:
        parts.append("options changed")
    if old.keys != new.keys:
        signs = f"signing with {shown_key(new.keys.signs)}" if new.keys.signs else "nothing is signed"
        parts.append(f"keys changed ({new.keys.mode.value}, {signs})")
    return "; ".join(parts) or "nothing changed"
