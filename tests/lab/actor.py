"""Calls one method of a resource's driver, in a node of the lab: what svcmgr does, without the rest of a service.

``python actor.py JSON``: {section, keys (as in the file), action, node, nodes, force, cluster, avail}. Prints JSON: the
lines logged, and the result or the error.
"""

import json
import sys
import time
from dataclasses import replace

from ha.services.context import Context, Paths
from ha.services.errors import ServiceError
from ha.services.keys import Values
from ha.services.log import Log
from ha.services.registry import driver
from ha.services.resource import COMMON_KEYS, Resource
from ha.services.runner import Runner
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


def context(order: dict[str, object], lines: list[str]) -> Context:
    """Folders, name and nodes are those of a real service."""
    ctx = Context(
        service="svc1",
        node=str(order.get("node", "node1")),
        nodes=("node1", "node2"),
        drpnodes=(),
        log=Log("svc1", sink=lambda level, who, text: lines.append(f"{level} {text}")),
        runner=Runner(),
        paths=Paths(),
        config="/etc/opensvc/svc1.env",
        force=bool(order.get("force")),
        cluster=bool(order.get("cluster")),
        group_state=lambda groups: State(order.get("avail", "up")),
    )
    return replace(ctx, paths=replace(ctx.paths, **dict(order.get("paths", {}))))  # type: ignore[call-overload]


def main() -> None:
    order = json.loads(sys.argv[1])
    lines: list[str] = []
    resource = make(order["section"], order["keys"])
    ctx = context(order, lines)
    answer: dict[str, object] = {"error": "", "lines": lines}
    began = time.monotonic()
    try:
        method = getattr(resource, order["action"])
        result = method(ctx, *order.get("args", []))
    except ServiceError as error:
        answer |= {"error": str(error), "kind": type(error).__name__}
    else:
        if order["action"] == "status":
            answer |= {"state": result.state.value, "notes": list(result.notes)}
        else:
            answer["result"] = result
    answer |= {"activated": resource.activated, "took": time.monotonic() - began}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
