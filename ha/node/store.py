"""The state of record of a node on its disk, and the files that OpenHA's tools read.

``$EZ_VAR/services/.record`` is what counts: one file, replaced whole, before anything that depends on it is done.
``$EZ_VAR/services/<service>/STATE.<node>`` is written from it, for others. This module decides nothing about what a
lost or a foreign record means for a service: it says loudly what it found, and the engine draws the conclusion.
"""

import errno
from dataclasses import dataclass

from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import State
from ha.node import recordfile, statefile
from ha.node.files import Files, RealFiles
from ha.node.layout import Layout
from ha.node.names import name_trouble, valid_name

MAX_KEPT = 5
"""Copies of unreadable records that are kept: ``.record.bad-1`` to ``.record.bad-5``."""
MAX_FOLDERS = 10_000


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was found at the start."""

    record: NodeRecord | None
    """None: there is none (a new installation), or it cannot be read."""
    boot: bool
    """The machine has booted since the record was written, so that nothing of ours can run. False where that is
    not known."""
    problems: tuple[str, ...] = ()
    """A sentence each, to be logged loudly."""
    unreadable: bool = False
    """There is a record, but what it says is lost: no service may be taken for stopped."""


class Store:
    """Reads and writes the state of one node. Only the holder of the node's lock (``ha.node.lock``) may have one."""

    def __init__(self, layout: Layout, node: str, files: Files | None = None) -> None:
        """Raises ValueError where ``node`` cannot be the name of one."""
        self._layout = layout
        self._node = node
        self._files: Files = RealFiles() if files is None else files
        self._encoder = recordfile.Encoder(node)
        self._folders: set[str] = set()
        self._exported: dict[tuple[str, str], State] = {}

    # ------------------------------------------------------------------------------------------ record

    def load(self, boot_id: str) -> Loaded:
        """The record, or the states of an OpenHA installation where there is none. Never raises for what it finds.

        ``boot_id``: of the present boot (``ha.node.boot``).
        """
        path = self._layout.record
        try:
            data = self._files.read(path, recordfile.MAX_BYTES)
        except FileNotFoundError:
            return self._import()
        except OSError as error:
            return _unreadable(f"{path} cannot be read: {error.strerror or error}")
        try:
            decoded = recordfile.decode(data, self._node)
        except recordfile.RecordError as error:
            return _unreadable(f"{path} {error}", self._keep_aside(data))
        return Loaded(decoded.record, boot=decoded.boot_id != boot_id)

    def save(self, record: NodeRecord, boot_id: str) -> None:
        """On return the record outlives a power cut.

        Raises OSError where the disk refuses: the old or the new record may then be what it keeps, so the same or a
        later one must be saved before anything is done. Raises ValueError for a record that could not be read again.
        """
        data = self._encoder.encode(record, boot_id)
        self._make_folder(self._layout.states, durable=True)
        self._files.write_atomic(self._layout.record, data, durable=True, mode=0o600)

    # ---------------------------------------------------------------------------------- STATE.<node>

    def export_local(self, service: str, state: State) -> None:
        """Write ``STATE.<this node>`` where it changed. Raises OSError, and ValueError for a name or state."""
        self.export_remote(service, self._node, state)

    def export_remote(self, service: str, node: str, state: State) -> None:
        """Write ``STATE.<node>`` where it changed: what the heartbeats said last. Raises as ``export_local``."""
        if self._exported.get((service, node)) is state:
            return
        _check_names(service, node)
        data = statefile.encode(state)
        path = self._layout.state(service, node)
        self._make_service_folder(service)
        try:
            self._files.write_atomic(path, data, durable=False, mode=0o644)
        except FileNotFoundError:
            # The folder was removed behind our back, by hand or by service -r followed by -a.
            self._folders.clear()
            self._make_service_folder(service)
            self._files.write_atomic(path, data, durable=False, mode=0o644)
        self._exported[service, node] = state

    def make_folder(self, service: str) -> None:
        """The folder of a new service. Raises OSError where a link or a file stands in its place; ValueError."""
        _check_names(service, self._node)
        self._make_service_folder(service)

    def forget(self, service: str, nodes: tuple[str, ...]) -> None:
        """Remove what was exported of a service that is no more, and its folder where nothing else is in it.

        Raises OSError, and ValueError for a name.
        """
        for node in nodes:
            _check_names(service, node)
            self._files.remove(self._layout.state(service, node))
            self._exported.pop((service, node), None)
        folder = f"{self._layout.states}/{service}"
        self._folders.discard(folder)
        try:
            self._files.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # An operator keeps something there.
                raise

    # ----------------------------------------------------------------------------------------- helpers

    def _make_service_folder(self, service: str) -> None:
        self._make_folder(self._layout.states, durable=True)
        self._make_folder(f"{self._layout.states}/{service}", durable=False)

    def _make_folder(self, path: str, durable: bool) -> None:
        if path not in self._folders:
            self._files.mkdir(path, durable, 0o755)
            self._folders.add(path)

    def _keep_aside(self, data: bytes) -> str:
        """Copy the bytes of an unreadable record for people to look at. What was done, as a sentence.

        A copy: as long as nothing better is saved, the bad record must go on being found, or the next start would
        take this node for a new one.
        """
        for number in range(1, MAX_KEPT + 1):
            path = f"{self._layout.record}.bad-{number}"
            try:
                if self._files.read(path, recordfile.MAX_BYTES) == data:
                    return f"a copy is {path}"
                continue
            except FileNotFoundError:
                pass
            except OSError:
                continue  # Whatever stands there, it is not ours to replace.
            try:
                self._files.write_atomic(path, data, durable=True, mode=0o600)
            except OSError as error:
                return f"a copy could not be kept as {path}: {error.strerror or error}"
            return f"a copy was kept as {path}"
        return f"no copy was kept: {MAX_KEPT} older ones ({self._layout.record}.bad-*) are there; look and remove them"

    def _import(self) -> Loaded:
        """The states of an OpenHA installation, or of ours whose record was removed; the numbers are lost then."""
        try:
            folders = self._files.names(self._layout.states, MAX_FOLDERS)
        except FileNotFoundError:
            return Loaded(None, boot=False)
        except OSError as error:
            return _unreadable(f"{self._layout.states} cannot be read: {error.strerror or error}")
        problems: list[str] = []
        services: list[ServiceRecord] = []
        for name in folders:
            if valid_name(name) and len(services) < recordfile.MAX_SERVICES:
                state = self._imported_state(name, problems)
                if state is not None:
                    services.append(ServiceRecord(name, state))
        if not services:
            return Loaded(None, boot=False, problems=tuple(problems))
        told = f"there is no {self._layout.record}: the states of {len(services)} services were taken from STATE files"
        return Loaded(NodeRecord(0, tuple(services)), boot=False, problems=(told, *problems))

    def _imported_state(self, service: str, problems: list[str]) -> State | None:
        """None: no such file. UNKNOWN: one that does not tell."""
        path = self._layout.state(service, self._node)
        try:
            state = statefile.decode(self._files.read(path, statefile.MAX_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror or error}; {service} is UNKNOWN here")
            return State.UNKNOWN
        if state is None:
            problems.append(f"{path} holds no state; {service} is UNKNOWN here")
        return State.UNKNOWN if state is None else state


def _unreadable(*sentences: str) -> Loaded:
    return Loaded(None, boot=False, problems=("; ".join(sentences),), unreadable=True)


def _check_names(service: str, node: str) -> None:
    for what, name in (("service", service), ("node", node)):
        trouble = name_trouble(name)
        if trouble:
            raise ValueError(f"{what} name {name[:80]!r} {trouble}")
