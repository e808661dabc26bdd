"""Answers what the commands ask over the control socket (docs/internals.md, "Control socket").

Turns requests into commands for the engine, and the engine's replies into answers. It decides nothing about services;
how nmond ends or replaces itself is its owner's matter (``Life``).
"""

import os
from collections.abc import Callable
from typing import Any, Final, Protocol

import ha
from ha.fsm.events import Command, ConfirmDown, Note, NoteKind, Reply
from ha.fsm.states import Action
from ha.heartbeats.keys import shown
from ha.node.clock import wall
from ha.node.control import Client, ControlError, field
from ha.node.figures import counters, gauges
from ha.node.log import printable
from ha.node.running import Node

MAX_BY: Final = 200
"""Characters of who asks, for the history."""
_ACTIONS: Final = {action.value: action for action in Action}


class Life(Protocol):
    """What only the owner of the process can do."""

    def kill(self) -> None:
        """End nmond and its workers soon; services are left alone."""

    def restart(self, tell: Callable[[bool, str], None]) -> None:
        """Replace nmond by exec; ``tell(ok, text)`` is called right before, or when it cannot be."""


class _Asked:
    """An action under way: one command for each service."""

    __slots__ = ("client", "open", "results", "wait")

    def __init__(self, client: Client, wait: bool) -> None:
        self.client = client
        self.wait = wait
        self.open: dict[str, str] = {}
        """The services of the commands that are not answered yet."""
        self.results: list[dict[str, Any]] = []


class FrontDesk:
    """Implements ``ha.node.control.Desk``."""

    def __init__(self, node: Node, life: Life) -> None:
        self._node = node
        self._life = life
        self._asked: dict[str, _Asked] = {}
        self._count = 0
        self._leaving: list[Client] = []
        self._operations: dict[str, Callable[[Client, dict[str, Any]], None]] = {
            "status": self._status,
            "paths": self._paths,
            "keys": self._keys,
            "action": self._action,
            "confirm-down": self._confirm_down,
            "reload": self._reload,
            "stop": self._stop,
            "restart": self._restart,
            "kill": self._kill,
            "metrics": self._metrics,
        }
        node.answered = self.reply
        node.overheard = self.note

    def asked(self, client: Client, op: str, request: dict[str, Any]) -> None:
        operation = self._operations.get(op)
        if operation is None:
            raise ControlError(f"{printable(op)[:40]!r} is no operation; known are {', '.join(self._operations)}")
        operation(client, request)

    # ---------------------------------------------------------------------------------------- questions

    def _status(self, client: Client, request: dict[str, Any]) -> None:
        node = self._node
        engine = node.driver.engine
        now = node.loop.clock()
        services = engine.status(now)
        for service in services:
            since, last = node.outbox.last.get(str(service["name"]), (None, ""))
            service["since"] = since
            service["reason"] = service["waits"] or last
            service["frozen"] = str(service["state"]).startswith("FROZEN")
        client.say(
            {
                "final": True,
                "ok": True,
                "node": node.name,
                "pid": os.getpid(),
                "version": ha.__version__,
                "cluster": node.configuration.cluster.cluster,
                "nodes": list(node.configuration.cluster.nodes),
                "since": wall(engine.started_at, now),
                "incarnation": engine.incarnation.counter,
                "leaving": engine.leaving,
                "trouble": node.driver.trouble,
                "warnings": engine.warnings(),
                "peers": [
                    {"node": peer.name, "heard": peer.living, "left": peer.left} for peer in engine.peers.values()
                ],
                "services": services,
            }
        )

    def _paths(self, client: Client, request: dict[str, Any]) -> None:
        node = self._node
        client.say(
            {
                "final": True,
                "ok": True,
                "authentication": node.configuration.keys.mode.value,
                "warnings": node.driver.engine.warnings(),
                "guard": node.guarding.describe(),
                "late_max": round(node.driver.late_ever, 6),
                "paths": node.workers.describe(node.driver.engine.path_state),
            }
        )

    def _keys(self, client: Client, request: dict[str, Any]) -> None:
        """No secret ever leaves nmond."""
        node, ring, now = self._node, self._node.configuration.keys, self._node.loop.clock()
        peers: list[dict[str, Any]] = []
        for peer in node.driver.engine.peers.values():
            told = node.intake.peer_keys.get(peer.name)
            peers.append(
                {
                    "node": peer.name,
                    "heard": peer.living,
                    "original": node.configuration.cluster.is_original(peer.name),
                    "signs": None if told is None else shown(told.signs),
                    "newest": None if told is None else shown(told.newest),
                    "age": None if told is None else round(now - told.at, 3),
                }
            )
        client.say(
            {
                "final": True,
                "ok": True,
                "authentication": ring.mode.value,
                "node": node.name,
                "signs": shown(ring.signs),
                "accepts": [*(["unsigned"] if ring.unsigned else []), *(shown(key.id) for key in ring.keys)],
                "peers": peers,
            }
        )

    def _metrics(self, client: Client, request: dict[str, Any]) -> None:
        client.say({"final": True, "ok": True, "counters": counters(self._node), "gauges": gauges(self._node)})

    # ------------------------------------------------------------------------------------------ actions

    def _action(self, client: Client, request: dict[str, Any]) -> None:
        word = field(request, "action", str, "")
        action = _ACTIONS.get(word.lower())
        if action is None:
            raise ControlError(f"{printable(word)[:40]!r} is no action; give one of {', '.join(_ACTIONS)}")
        service = field(request, "service", str, None)
        override = field(request, "override", bool, False)
        target = field(request, "target", str, "")
        by = printable(field(request, "by", str, ""))[:MAX_BY] or f"uid {client.uid}"
        if action is Action.SWITCH and service is None:
            raise ControlError("switch needs the name of a service")
        if target and target not in self._node.configuration.cluster.nodes:
            raise ControlError(f"{printable(target)[:80]!r} is no node of this cluster")
        names = list(self._node.driver.engine.services) if service is None else [service]
        asked = _Asked(client, field(request, "wait", bool, True))
        if not names:
            self._conclude(asked)
            return
        for name in names:
            self._count += 1
            command = f"{os.getpid()}-{self._count}"
            asked.open[command] = name
            self._asked[command] = asked
            self._node.driver.post(Command(command, printable(name)[:200], action, override, target, by))
        if not asked.wait:
            self._node.loop.after(0.0, lambda: self._accepted(asked))

    def _confirm_down(self, client: Client, request: dict[str, Any]) -> None:
        node = field(request, "node", str, "")
        by = printable(field(request, "by", str, ""))[:MAX_BY] or f"uid {client.uid}"
        if node == self._node.name or node not in self._node.configuration.cluster.nodes:
            raise ControlError(f"{printable(node)[:80]!r} is not another node of this cluster")
        asked = _Asked(client, wait=True)
        self._count += 1
        name = f"{os.getpid()}-{self._count}"
        asked.open[name] = ""
        self._asked[name] = asked
        self._node.driver.post(ConfirmDown(name, node, by))

    def reply(self, reply: Reply) -> None:
        """The engine's word on a command."""
        asked = self._asked.get(reply.id)
        if asked is None:
            return
        if reply.final or not asked.wait:
            del self._asked[reply.id]
            asked.open.pop(reply.id, None)
            asked.results.append({"service": reply.service, "ok": reply.ok, "text": reply.text})
            if not asked.open:
                self._conclude(asked)
        else:
            asked.client.progress(reply.service, reply.text)

    def _accepted(self, asked: _Asked) -> None:
        """The engine refuses at once: what it does not answer when it takes it up, is accepted."""
        if self._node.driver.busy:
            self._node.loop.after(0.0, lambda: self._accepted(asked))
            return
        for command, service in list(asked.open.items()):
            self.reply(Reply(command, service, True, "accepted"))

    @staticmethod
    def _conclude(asked: _Asked) -> None:
        ok = all(result["ok"] for result in asked.results)
        asked.client.say({"final": True, "ok": ok, "results": asked.results})

    def break_off(self, text: str) -> None:
        """Nobody will hear the outcome of what goes on from this process: say so."""
        for asked in {id(asked): asked for asked in self._asked.values()}.values():
            asked.client.refuse(text)
        self._asked.clear()

    # -------------------------------------------------------------------------------------- life of nmond

    def _reload(self, client: Client, request: dict[str, Any]) -> None:
        text, errors = self._node.reload()
        client.say({"final": True, "ok": not errors, "text": text, "errors": errors})

    def _stop(self, client: Client, request: dict[str, Any]) -> None:
        self._leaving.append(client)
        if not self._node.driver.engine.leaving:
            self._node.leave()
        client.progress("", "leaving the cluster")

    def note(self, note: Note) -> None:
        """Whoever asked for the stop follows it."""
        if note.kind in (NoteKind.TRANSITION, NoteKind.ALERT) and note.service:
            for client in self._leaving:
                client.progress(note.service, f"{note.dest.name}: {note.text}" if note.dest is not None else note.text)

    def left(self) -> None:
        """The node has left: the last word to those who asked for it."""
        said = {"final": True, "ok": True, "text": "left the cluster; nmond ends", "abandoned": self._node.abandoned}
        for client in self._leaving:
            client.say(said)
        self._leaving.clear()

    def _restart(self, client: Client, request: dict[str, Any]) -> None:
        def tell(ok: bool, text: str) -> None:
            client.say({"final": True, "ok": ok, "text": text})

        self._life.restart(tell)

    def _kill(self, client: Client, request: dict[str, Any]) -> None:
        client.say({"final": True, "ok": True, "text": "nmond and its workers end; services are left alone"})
        self._life.kill()
