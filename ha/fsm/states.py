"""The states of a service on a node, and what may be asked of it.

Numbers are OpenHA's (shared with its tools and state files, docs/compatibility.md); FROZEN_START has a number of
its own here because OpenHA stores it as 7, where it cannot be told from START_READY.
This module knows nothing of how one state leads to another: that is ``ha.fsm.table``.
"""

from enum import Enum, IntEnum


class State(IntEnum):
    """State of one service on one node. The value is what the wire carries."""

    STOPPED = 0
    STOPPING = 1
    STARTED = 2
    STARTING = 3
    START_FAILED = 4
    STOP_FAILED = 5
    FROZEN_STOP = 6
    START_READY = 7
    UNKNOWN = 8
    FORCE_STOP = 9
    """Reserved by OpenHA, never stored and never sent."""
    FROZEN_START = 10

    @property
    def openha_digit(self) -> int:
        """The digit that OpenHA's tools and agents expect: its 7 also means "frozen while started"."""
        return 7 if self is State.FROZEN_START else int(self)


class Action(Enum):
    """What an operator may ask for a service (``service -A SERVICE ACTION``)."""

    START = "start"
    STOP = "stop"
    FREEZE_STOP = "freeze-stop"
    FREEZE_START = "freeze-start"
    UNFREEZE = "unfreeze"
    FORCE_STOP = "force-stop"
    FORCE_START = "force-start"
    SWITCH = "switch"
    """``ezha switch``: stop here so that a named node takes it."""


class ScriptKind(Enum):
    """What a controller can be asked to do (docs/controller.md)."""

    CHECK = "check"
    START = "start"
    STOP = "stop"
    STATUS = "status"


class Promise(IntEnum):
    """What ends a node's services when it loses its lease: carried in every message."""

    NONE = 0
    STOP = 1
    COMMAND = 2
    REBOOT = 3
    WATCHDOG = 4
