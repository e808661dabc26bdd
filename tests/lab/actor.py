"""Calls methods of drivers, in a node of the lab: what svcmgr does, without the rest of a service.

Orders come on standard input, a line of JSON each: {section, keys (as in the file), action, node, force, cluster,
avail, env, cwd (where the caller stands)}. Each is carried out by a process of its own and answered by a line of JSON:
what was logged, and the result or the error. With ``die``, a text, that process is killed by SIGKILL right before the
step whose log line holds it, or right after the command that holds it.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ha.services.context import Context, Paths
from ha.services.errors import ServiceError
from ha.services.keys import Values
from ha.services.log import Log
from ha.services.registry import driver
from ha.services.resource import COMMON_KEYS, Resource
from ha.services.runner import Done, Runner
from ha.services.state import State


def make(section: str, texts: dict[str, str]) -> Resource:
    """The driver of a section. Raises ValueError for what ``svcmgr validate`` refuses."""
    cls = driver(section.partition("#")[0], texts.get("type", ""))
    keys = {key.name: key for key in (*COMMON_KEYS, *cls.keys)}
    typed = {key.name: key.default for key in keys.values() if key.default is not None}
    typed |= {name: keys[name].parse(text) for name, text in texts.items() if name in keys}
    made = cls(section, Values(typed, {name: text for name, text in texts.items() if name not in keys}))
    if problems := list(made.problems()):
        raise ValueError(str(problems))
    return made


class Mortal(Runner):
    """Ends this process right after a command that holds a text."""

    def __init__(self, env: dict[str, str], death: str) -> None:
        super().__init__(env)
        self._death = death

    def run(self, argv: Sequence[str], timeout: float, **options: Any) -> Done:
        done = super().run(argv, timeout, **options)
        die_at(self._death, " ".join(argv))
        return done


def die_at(death: str, text: str) -> None:
    if death and death in text:
        os.kill(os.getpid(), signal.SIGKILL)


def context(order: dict[str, object], lines: list[str]) -> Context:
    """Folders, name and nodes are those of a real service."""
    death = str(order.get("die", ""))

    def sink(level: str, who: str, text: str) -> None:
        die_at(death, text)
        lines.append(f"{level} {text}")

    ctx = Context(
        service="svc1",
        node=str(order.get("node", "node1")),
        nodes=("node1", "node2"),
        drpnodes=(),
        log=Log("svc1", sink=sink),
        runner=Mortal(dict(order.get("env", {})), death),  # type: ignore[call-overload]
        paths=Paths(),
        config="/etc/opensvc/svc1.env",
        force=bool(order.get("force")),
        cluster=bool(order.get("cluster")),
        group_state=lambda groups: State(order.get("avail", "up")),
    )
    return replace(ctx, paths=replace(ctx.paths, **dict(order.get("paths", {}))))  # type: ignore[call-overload]


def act(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order."""
    lines: list[str] = []
    resource = make(order["section"], order["keys"])
    ctx = context(order, lines)
    answer: dict[str, Any] = {"error": "", "lines": lines}
    began = time.monotonic()
    try:
        result = getattr(resource, order["action"])(ctx)
    except ServiceError as error:
        answer |= {"error": str(error), "kind": type(error).__name__}
    else:
        if order["action"] == "status":
            answer |= {"state": result.state.value, "notes": list(result.notes), "lost": result.lost}
        else:
            answer["result"] = result
    return answer | {"activated": resource.activated, "took": time.monotonic() - began}


def in_a_child(order: dict[str, Any]) -> dict[str, Any]:
    """The answer of a process of its own; ``{"signal": number}`` where it was killed."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.chdir(order.get("cwd", "/"))
    pid = os.fork()
    if pid == 0:
        try:
            try:
                answer = act(order)
            except Exception:  # noqa: BLE001 - the test that asked is to see it
                answer = {"traceback": traceback.format_exc()}
            os.write(writer, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        raw = told.read()
    os.chdir("/")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"signal": -code} if code < 0 else json.loads(raw)


def main() -> None:
    # Loaded once, for all that is forked from here.
    import pyroute2  # noqa: F401
    import scapy.layers.inet6  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(in_a_child(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
