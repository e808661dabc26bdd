"""Which driver a section has: group and ``type`` to class. Loads a driver only when it is asked for."""

from importlib import import_module

from ha.services.errors import ServiceError
from ha.services.groups import GROUPS
from ha.services.resource import Resource

_DRIVERS = {
    ("ip", ""): "ip:Ip",
    ("vg", ""): "vg:Vg",
    ("disk", "vg"): "vg:Vg",
    ("disk", "loop"): "loop:Loop",
    ("fs", ""): "fs:Fs",
    ("fs", "*"): "fs:Fs",
    ("app", ""): "app:Launchers",
    ("app", "simple"): "app:Simple",
    ("app", "forking"): "app:Forking",
    ("app", "ocf"): "ocf:Ocf",
    ("sync", ""): "sync:Sync",
    ("sync", "rsync"): "sync:Sync",
    ("hb", "openha"): "hb:OpenHA",
    ("stonith", "callout"): "stonith:Callout",
    ("stonith", "*"): "stonith:FenceAgent",
}
"""(group, type): module and class in ``ha.services.resources``.

An empty type stands for none. A type is looked up as it is (in lower case), then what stands before its first colon
(``ocf:heartbeat:pgsql``), then ``*``, which stands for every other one.
"""


def driver(group: str, kind: str) -> type[Resource]:
    """The class for ``[group#…] type = kind`` (empty: none given). Raises ServiceError with the kinds there are."""
    kind = kind.lower()
    for candidate in (kind, kind.partition(":")[0] if ":" in kind else kind, "*" if kind else kind):
        if found := _DRIVERS.get((group, candidate)):
            return _loaded(found)
    if group not in GROUPS:
        raise ServiceError(f"{group} is not a kind of resource; there are: {', '.join(GROUPS)}")
    known = ", ".join(kinds(group))
    if not kind:
        raise ServiceError(f"type is missing; there are: {known}")
    raise ServiceError(
        f"type {kind!r} is not known for {group}; " + (f"there are: {known}" if known else "leave it out")
    )


def _loaded(place: str) -> type[Resource]:
    module, _, name = place.partition(":")
    loaded: type[Resource] = getattr(import_module(f"ha.services.resources.{module}"), name)
    return loaded


def kinds(group: str) -> tuple[str, ...]:
    """The types that are known for a group by name; it may know every other one, too."""
    return tuple(kind for (of, kind) in _DRIVERS if of == group and kind not in ("", "*"))


def drivers() -> list[type[Resource]]:
    """All there are."""
    return [_loaded(place) for place in dict.fromkeys(_DRIVERS.values())]
