"""The base class of all resources: who does what.

A **driver** (``ha/services/resources``) is a subclass for one kind of resource. It knows how to start, stop and look at
its one thing, and nothing else. The **controller** (everything else in this package) reads the file, checks it against
``keys``, makes the drivers, and decides what is called, when, in which order, how often, and what a failure means:
rollback, ``optional``, ``disable``, ``subset``, locks, exit codes, the tree, the log's layout.

What a driver must do:

* ``start`` and ``stop`` are idempotent: what is up already is fine, what is down already is fine, no error and no
  change. They raise ResourceError with why where they fail, and log each step with ``ctx.log`` as it is done.
* Set ``self.activated = True`` *before* the first thing in ``start`` that changes this node, so that a start that fails
  half-way is rolled back; leave it alone where all was up already. Rollback calls ``stop``, which therefore has to
  cope with half of a start.
* ``status`` only looks, and answers within ``self.timeout("status")`` whatever hangs below it (``ctx.runner.call``).
* Everything else that may wait goes through ``ctx.runner`` and has a timeout.
* ``abort_check`` only looks. The controller asks every enabled resource before *anything* of the service is started.
* Import heavy libraries (pyroute2, scapy) within the method that needs them: ``print status`` of 20 resources takes
  half a second in all.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from ha.services.context import Context
from ha.services.keys import Key, Kind, Values
from ha.services.state import Status

COMMON_KEYS = (
    Key("type", doc="the kind of resource within its group"),
    Key("disable", Kind.FLAG, "the resource is left alone: not started, not stopped, not counted", default=False),
    Key("optional", Kind.FLAG, "its failures do not end an action, and its state does not count", default=False),
    Key("monitor", Kind.FLAG, "watched while the service runs; see monitor_action", default=False),
    Key("always_on", Kind.WORDS, "nodes where it is up also when the service runs elsewhere: nodes, drpnodes or names"),
    Key("tags", Kind.WORDS, "names to select resources by, in --tags"),
    Key("subset", doc="name of the subset of its group: subsets act one after the other, in order of their names"),
    Key(
        "restart", Kind.INTEGER, "how often a monitored resource is restarted in place before anything else", default=0
    ),
    Key("restart_delay", Kind.SECONDS, "time between two such restarts", default=1.0),
    Key("start_timeout", Kind.SECONDS, "how long a start may take"),
    Key("stop_timeout", Kind.SECONDS, "how long a stop may take"),
    Key("status_timeout", Kind.SECONDS, "how long a look at the resource may take"),
)
"""What every section may have, beside the driver's ``keys``. A driver may declare one anew (``type`` with choices)."""

DEFAULT_TIMEOUTS: Mapping[str, float] = {"start": 60.0, "stop": 60.0, "status": 5.0}
"""Seconds. A driver may know better, and the file knows best."""


class Resource:
    """One section of a service's file, on this node."""

    group: ClassVar[str]
    """One of ``ha.services.groups.GROUPS``."""
    keys: ClassVar[tuple[Key, ...]] = ()
    """The keys of its sections, beside COMMON_KEYS."""
    open_keys: ClassVar[bool] = False
    """Whether keys that are not declared are allowed (parameters of an OCF agent): ``values.extra``."""
    timeouts: ClassVar[Mapping[str, float]] = {}
    """Seconds by action, where they differ from DEFAULT_TIMEOUTS."""

    def __init__(self, rid: str, values: Values) -> None:
        """``rid``: the section's name, such as ``ip#0``. A driver that overrides this reads its values here."""
        self.rid = rid
        self.values = values
        self.disable = values.flag("disable")
        self.optional = values.flag("optional")
        self.monitor = values.flag("monitor")
        self.always_on = values.words("always_on")
        self.tags = values.words("tags")
        self.subset = values.text("subset")
        self.activated = False
        """``start`` has changed something; see the module's text."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.rid}>"

    @property
    def label(self) -> str:
        """What the status tree shows, such as ``/dev/sdb1@/srv/app``. Cheap: from the values alone."""
        return self.rid

    def order(self) -> tuple[str | int, ...]:
        """Sorts resources of one group and subset, ascending for a start; by the number in the rid, unless told."""
        _, _, index = self.rid.partition("#")
        return (0, int(index), "") if index.isascii() and index.isdigit() else (1, 0, index)

    def problems(self) -> Iterable[tuple[str, str]]:
        """What is wrong with the values together, each as (key, what is wrong and what to do).

        Pure: the file is validated on nodes where the service does not run, so a missing device is no problem here.
        """
        return ()

    def timeout(self, action: str) -> float:
        """Seconds that ``start``, ``stop`` or ``status`` may take."""
        if told := self.values.seconds(f"{action}_timeout"):
            return told
        return self.timeouts.get(action, DEFAULT_TIMEOUTS[action])

    def abort_check(self, ctx: Context) -> str:
        """Why nothing of the service may be started here (one line for people), or empty.

        Raises ResourceError where that cannot be found out, which refuses the start as well.
        """
        return ""

    def start(self, ctx: Context) -> None:
        """Bring it up. Raises ResourceError."""

    def stop(self, ctx: Context) -> None:
        """Bring it down, and return only when nothing of it is left here. Raises ResourceError."""

    def status(self, ctx: Context) -> Status:
        """How it is here. Raises nothing that it can tell by a Status."""
        raise NotImplementedError(f"{type(self).__name__} has no status")


class Copier(Resource):
    """A resource that copies files to the other nodes of the service (group ``sync``): ``syncnodes``, ``syncdrp``."""

    def copy(self, ctx: Context, target: str) -> None:
        """Copy to ``target`` (``nodes`` or ``drpnodes``), with its own schedule and conditions unless ``ctx.force``.

        A copy that is not due is no failure: the log tells. After one, ``postsync`` is run on the node it went to;
        what that logs is the service's, ``ctx.log.of("")``. Raises ResourceError.
        """
        raise NotImplementedError

    def received(self, ctx: Context) -> None:
        """``postsync``: this node has got a copy, which is now put to use. Raises ResourceError."""


class Fencer(Resource):
    """A resource that makes sure that a peer is off (group ``stonith``)."""

    def fence(self, ctx: Context) -> None:
        """Return only where the peer is off, or where it is known that it need not be (which the log tells).

        Raises ResourceError: then nothing may be started.
        """
        raise NotImplementedError
