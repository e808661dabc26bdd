"""``print status`` to the letter, and the same as data for ``json status``. Pure: a look in, text out."""

from collections.abc import Callable, Iterable
from typing import Any

from ha.services.groups import GROUPS, Branch
from ha.services.resource import Resource
from ha.services.service import Service
from ha.services.state import State

_RID_COLUMN = 21
_STATE_COLUMN = 26
_STATE_WIDTH = 9
_BRANCHES = (Branch.AVAIL, Branch.SYNC, Branch.STONITH, Branch.HB)

Paint = Callable[[State, str], str]
"""Colours a text by a state; the text alone where there are no colours."""


def plain(state: State, text: str) -> str:
    """No colours."""
    return text


COLOURS = {
    State.UP: "32",
    State.STDBY_UP: "32",
    State.DOWN: "31",
    State.STDBY_DOWN: "31",
    State.WARN: "33",
    State.NA: "2",
    State.UNDEF: "2",
}
"""Codes of a terminal's colours (SGR)."""


def coloured(state: State, text: str) -> str:
    """For a terminal."""
    return f"\x1b[{COLOURS[state]}m{text}\x1b[0m"


def status_text(service: Service, paint: Paint = plain) -> str:
    """The tree, without a newline at its end."""
    # Looks come first: what they log stands above the tree.
    total = service.overall
    lines = [service.config.name, _line("overall", total, paint)]
    shown = [branch for branch in _BRANCHES if branch is not Branch.STONITH or _members(service, branch)]
    for branch in shown:
        last = branch is shown[-1]
        lines.append(_line(f"{_fork(last)}{branch.value}", service.branch_state(branch), paint))
        lines += _branch_lines(service, _members(service, branch), "   " if last else "|  ", paint)
    return "\n".join(lines)


def _branch_lines(service: Service, members: list[Resource], stem: str, paint: Paint) -> Iterable[str]:
    for each in members:
        status = service.status(each)
        head = f"{stem}{_fork(each is members[-1])}{each.rid}".ljust(_RID_COLUMN - 1)
        label = _printable(each.label)
        state = paint(status.state, status.state.value) + " " * (_STATE_WIDTH - len(status.state.value))
        yield f"{head} {flags(each)} {state}{label}".rstrip()
        beside = (stem + ("" if each is members[-1] else "|")).ljust(_STATE_COLUMN + _STATE_WIDTH)
        yield from (f"{beside}# {_printable(note)}" for note in status.notes)


def _fork(last: bool) -> str:
    return "'- " if last else "|- "


def _line(head: str, state: State, paint: Paint) -> str:
    return head.ljust(_STATE_COLUMN) + paint(state, state.value)


def _members(service: Service, branch: Branch) -> list[Resource]:
    """In the order in which groups are told, then by number."""
    groups = [name for name, group in GROUPS.items() if group.branch is branch]
    found = [each for each in service.resources if each.group in groups]
    return sorted(found, key=lambda each: (groups.index(each.group), Resource.order(each), each.rid))


def flags(resource: Resource) -> str:
    """Monitored, disabled, optional, encapsulated (which nothing is here)."""
    letters = (("M", resource.monitor), ("D", resource.disable), ("O", resource.optional), ("E", False))
    return "".join(letter if on else "." for letter, on in letters)


def status_data(service: Service) -> dict[str, Any]:
    """``json status``."""
    branches = {branch.value: service.branch_state(branch).value for branch in _BRANCHES}
    return {
        "service": service.config.name,
        "node": service.config.node,
        "nodes": list(service.config.nodes),
        "drpnodes": list(service.config.drpnodes),
        "clustered": service.clustered,
        "overall": service.overall.value,
        **branches,
        "resources": {
            each.rid: {
                "status": service.status(each).state.value,
                "notes": list(service.status(each).notes),
                "label": each.label,
                "group": each.group,
                "monitor": each.monitor,
                "disable": each.disable,
                "optional": each.optional,
            }
            for branch in _BRANCHES
            for each in _members(service, branch)
        },
    }


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
