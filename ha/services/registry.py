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
    ("app", ""): "app:Launchers",
    ("app", "simple"): "app:Simple",
    ("app", "forking"): "app:Forking",
    ("app", "ocf"): "ocf:Ocf",
    ("sync", ""): "sync:Sync",
    ("hb", "openha"): "hb:OpenHA",
    ("stonith", "callout"): "stonith:Callout",
    ("stonith", ""): "stonith:FenceAgent",
}
"""(group, type): module and class in ``ha.services.resources``.

A type is looked up as it is (in lower case), then what stands before its first colon (``ocf:heartbeat:pgsql``), then
the empty one, which stands for no type and for every other.
"""


def driver(group: str, kind: str) -> type[Resource]:
    """The class for ``[group#…] type = kind`` (empty: none given). Raises ServiceError with the kinds there are."""
    kind = kind.lower()
    for candidate in (kind, kind.partition(":")[0] if ":" in kind else kind, ""):
        if found := _DRIVERS.get((group, candidate)):
            module, _, name = found.partition(":")
            loaded: type[Resource] = getattr(import_module(f"ha.services.resources.{module}"), name)
            return loaded
    known = ", ".join(kinds(group))
    if not known:
        raise ServiceError(f"{group} is not a kind of resource; there are: {', '.join(GROUPS)}")
    if not kind:
        raise ServiceError(f"type is missing; there are: {known}")
    raise ServiceError(f"type {kind!r} is not known for {group}; there are: {known}")


def kinds(group: str) -> tuple[str, ...]:
    """The types that are known for a group; the empty one stands for any other."""
    return tuple(known for (of, known) in _DRIVERS if of == group)
