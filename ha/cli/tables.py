"""The texts of ``service -s``, ``service -i`` and ``hb -s``, byte for byte (spec: OpenHA, "Commands").

Pure: answers of nmond in, text out. Asks nobody, prints nothing.
"""

import time
from collections.abc import Sequence

from ha.cli.client import Answer

_INDENT = " " * 8
_AUTHENTICATION = {
    "permissive": "signed, and unsigned ones are taken, too (permissive)",
    "enforce": "signed (enforce)",
}
"""The modes of ``ha.heartbeats.keys.Mode`` that one word does not explain."""


def services_text(services: Sequence[Answer]) -> str:
    """``service -s``: the tutorial's lines; every node after the first is a Secondary."""
    lines = [f"{len(services)} service(s) defined:"]
    for service in services:
        lines.append(f"Service: {service['name']}")
        role = "Primary  "
        for node in service["nodes"]:
            lines.append(f"{_INDENT}{role}: {node['node']}, {node['state']}")
            role = "Secondary"
    return "\n".join(lines)


def columns_text(services: Sequence[Answer]) -> str:
    """``service -s -c``: a line a service. Services of more than two nodes add a pair of columns for each."""
    most = max((len(service["nodes"]) for service in services), default=2)
    heads = ["service", "prinode", "pristate"] + ["secnode", "secstate"] * max(1, most - 1)
    rows = [heads]
    for service in services:
        row = [service["name"]]
        for node in service["nodes"]:
            row += [node["node"], node["state"]]
        rows.append(row)
    return "\n".join(" ".join(_column(place, text) for place, text in enumerate(row)) for row in rows)


def _column(place: int, text: str) -> str:
    is_state = place > 0 and place % 2 == 0
    return text.ljust(14 if is_state else 16)


def info_text(service: Answer, node: str) -> str:
    """``service -i``: our part in the service, and the states in the order of its nodes."""
    name = service["name"]
    names = [member["node"] for member in service["nodes"]]
    if node not in names:
        part = f"we are not a node of service {name}"
    elif names[0] == node:
        part = f"we are Primary for service {name}"
    else:
        part = f"we are Secondary for service {name}"
    states = " , ".join(member["state"] for member in service["nodes"])
    return f"{part}\nService: {name}\t state: {states}"


def paths_text(paths: Sequence[Answer]) -> str:
    """``hb -s``: a line a path, in the order of ``monitor`` (the tutorial's format, OpenHA 0.3.6)."""
    return "\n".join(
        f"interface {path['label']} pid {path['pid']} status {_status(path)}{_mark(path)}" for path in paths
    )


def paths_long_text(paths: Sequence[Answer], authentication: str) -> str:
    """``hb -s --long``: OpenHA 0.5's lines, then what is wrong with a path, then how heartbeats are authenticated."""
    lines = []
    for path in paths:
        lines.append(_long_line(path))
        if path.get("trouble"):
            lines.append(f"{_INDENT}trouble: {path['trouble']}")
        if not path["up"] and path.get("updated"):
            lines.append(f"{_INDENT}last updated at {_date(path['updated'])}, the timeout is {path['timeout']:g} s")
        for why, count in sorted(path.get("refused", {}).items()):
            lines.append(f"{_INDENT}refused: {count} ({why})")
    lines.append(authentication_text(authentication))
    return "\n".join(lines)


def authentication_text(authentication: str) -> str:
    """One line that says how far heartbeats can be trusted."""
    return f"heartbeats are {_AUTHENTICATION.get(authentication, authentication)}"


def guard_text(answer: Answer) -> str:
    """One line: what ends this node's services where nmond cannot, and how well nmond keeps its time."""
    return f"guarded by {answer['guard']}; nmond was at most {float(answer['late_max']) * 1000:.1f} ms late"


def _long_line(path: Answer) -> str:
    where = f"{path['medium']} {path['role']} {_place(path)}"
    if path["up"]:
        return f"{where} pid {path['pid']} status {_status(path)}{_mark(path)}"
    return f"{where} status DOWN{_mark(path)}"


def _place(path: Answer) -> str:
    """OpenHA 0.5 leaves the port out."""
    if path["medium"] in ("dio", "disk"):
        return str(path["label"])
    return f"{path['device']}:{path['address']}"


def _status(path: Answer) -> str:
    word = "UP" if path["up"] else "DOWN"
    return f"{word}, updated at {_date(path['updated'])}" if path.get("updated") else word


def _mark(path: Answer) -> str:
    """A path that speaks as OpenHA does protects from less, and must not look like the others."""
    return f", wire {path['wire']}" if path.get("wire", "ezha") != "ezha" else ""


def _date(epoch: float) -> str:
    """Local time, in English whatever the locale (nothing here calls ``setlocale``)."""
    return time.strftime("%b %d %H:%M:%S", time.localtime(epoch))
