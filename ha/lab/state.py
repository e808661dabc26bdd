"""What the lab remembers between two commands: ``state.json`` in its folder, and a lock for those who change it.

Written before what it describes begins to work, so that ``down`` can take back everything, whenever the lab crashed.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from ha.lab.errors import LabError
from ha.lab.process import ProcessId

VERSION = 1
NAMESPACES, MACHINES = "namespaces", "vm"
"""What a lab's nodes are: its backend, in the words of the command line."""
_FILE = "state.json"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node, or the client."""

    name: str
    number: int
    """0: the client."""
    init: ProcessId | None = None
    """Its first process since the last power-on; None when it was powered off."""
    disk: tuple[ProcessId, ...] = ()
    """Keeper and server of its view of the shared disk."""
    device: str = ""
    """The machine's loop device under it (/dev/loop3), if any."""
    mute: bool = False
    """What it sends on the network is dropped."""
    deaf: bool = False
    """What is sent to it is dropped."""
    fault: str = "ok"
    """Of its disk, in the words of ``ha.lab.fault``. Survives a power-off, as the cut of a cable does."""
    paused: bool = False
    stopped_before: tuple[ProcessId, ...] = ()
    """Those that were stopped already when it was paused: a resume leaves them so."""


@dataclass(frozen=True, slots=True)
class LabState:
    """The whole lab."""

    id: str
    boot: str
    """The machine's boot id: after a reboot nothing recorded here runs."""
    nodes: tuple[NodeState, ...]
    """The client first."""
    up: bool = False
    """False while ``up`` is under way, and for ever if it crashed."""
    made_folder: bool = False
    timeout_s: float = 10.0
    faulty_disk: bool = True
    """Whether the disk's faults can be switched; False on a plain file."""
    user: bool = False
    """Whether the lab is in a user namespace."""
    backend: str = NAMESPACES
    helpers: tuple[ProcessId, ...] = ()
    """Other processes of the lab, outside the nodes."""

    def node(self, name: str) -> NodeState:
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise LabError(f"unknown node {name!r}; this lab has {known}")

    def with_node(self, changed: NodeState) -> "LabState":
        return replace(self, nodes=tuple(changed if node.name == changed.name else node for node in self.nodes))


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def save(folder: str, state: LabState) -> None:
    path = f"{folder}/{_FILE}"
    data = json.dumps({"version": VERSION, **asdict(state)}, indent=1).encode()
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)


def load(folder: str) -> LabState | None:
    """None where no lab is. Raises LabError for a file that is not ours."""
    path = f"{folder}/{_FILE}"
    try:
        with open(path, "rb") as file:
            raw = json.load(file)
        return _unpack(raw)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise LabError(f"{path}: permission denied; the lab there is another user's") from None
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path} is not a lab's state ({error}); remove it by hand if it is not needed") from None


def _unpack(raw: dict[str, Any]) -> LabState:
    if raw.pop("version") != VERSION:
        raise ValueError("another version")
    nodes = []
    for node in raw.pop("nodes"):
        node["init"] = ProcessId(**node["init"]) if node["init"] else None
        for name in ("disk", "stopped_before"):
            node[name] = tuple(ProcessId(**process) for process in node[name])
        nodes.append(NodeState(**node))
    helpers = tuple(ProcessId(**process) for process in raw.pop("helpers"))
    state = LabState(nodes=tuple(nodes), helpers=helpers, **raw)
    if state.boot == boot_id():
        return state
    # The machine was rebooted: every pid here is somebody else's by now.
    off = tuple(replace(node, init=None, disk=(), device="", paused=False, stopped_before=()) for node in state.nodes)
    return replace(state, nodes=off, helpers=())


def forget(folder: str) -> None:
    for name in (_FILE, _FILE + ".new"):
        if os.path.lexists(f"{folder}/{name}"):
            os.unlink(f"{folder}/{name}")


def check_owner(folder: str) -> None:
    """Raises LabError unless the folder is ours alone to write: names in a shared folder could be planted."""
    info = os.lstat(folder)
    if info.st_uid != os.geteuid() or info.st_mode & 0o022 or not os.path.isdir(folder) or os.path.islink(folder):
        raise LabError(f"{folder} must be a folder of yours that nobody else can write; choose another with --dir")


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Alone among those who change the lab in ``folder``, which exists. Waits. Raises LabError when it goes away."""
    path = f"{folder}/{_LOCK}"
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            raise LabError(f"no lab in {folder}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # ``down`` removes the file while it holds it: then this is a lock on nothing.
            if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(fd)):
                yield
                return
        finally:
            os.close(fd)


def remove_lock(folder: str) -> None:
    """By its holder, last."""
    os.unlink(f"{folder}/{_LOCK}")
