"""``service -a|-r`` and ``hb -a|-r``: a line of the configuration added or removed, and nmond told of it.

What a line may hold is ``ha.node.config``'s matter; what a slot may hold is ``ha.heartbeats``'.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ha.cli.client import Answer, NotRunning, Refused, ask, converse
from ha.cli.guard import EXIT_FAILED, CliError, UsageError, complain, say
from ha.cli.place import use_packages
from ha.node.layout import Layout, node_name

if TYPE_CHECKING:
    from ha.fsm.record import NodeRecord
    from ha.heartbeats.path import PathLine
    from ha.node.config import Configuration
    from ha.node.config.editing import PathWords

RELOAD_TIMEOUT_S = 30.0
_MAY_BE_UP = ("STARTING", "STARTED", "STOPPING", "STOP_FAILED", "FROZEN_START")
_MEDIA = ("net", "unicast", "disk", "dio")


# ------------------------------------------------------------------------------------------ services


def add_service(layout: Layout, name: str, script: str, primary: str, secondary: str, check: str) -> int:
    """Define a service; it begins FROZEN_STOP. Raises CliError with everything that is wrong with it."""
    use_packages()
    from ha.node.config import ConfigError, editing
    from ha.node.store import Store

    try:
        editing.add_service(layout, node_name(), name, script, primary, secondary, check)
    except ConfigError as error:
        raise CliError(str(error)) from None
    say(f"Creating service {name} :")
    try:
        Store(layout, node_name()).make_folder(name)
    except OSError as error:
        raise CliError(f"{layout.states}/{name} cannot be made: {error.strerror}") from None
    say("Make of services directory done")
    code = reload_nmond(layout)
    if code == 0:
        say("Done.")
    return code


def remove_service(layout: Layout, name: str, override: bool) -> int:
    """Forget a service. Raises CliError where it may be up here.

    ``override``: all the same, where no nmond runs. One that runs never lets go of what it looks after."""
    use_packages()
    try:
        status: Answer | None = ask(layout, {"op": "status"})
    except NotRunning:
        status = None
    if status is None:
        _remove_offline(layout, name, override)
        code = 0
    else:
        if trouble := _held_by_nmond(status, name):
            raise CliError(trouble)
        _remove_line(layout, name)
        code = reload_nmond(layout)
    if code == 0:
        say(f"Remove of service {name} done\nDone.")
    return code


def _held_by_nmond(status: Answer, name: str) -> str:
    """Why a running nmond would not let go of the service; empty where it would."""
    for service in status["services"]:
        if service["name"] != name:
            continue
        states = [member["state"] for member in service["nodes"] if member["node"] == status["node"]]
        if service.get("job"):
            return f"the {service['job']} script of {name} is running: wait for its end"
        if states == ["UNKNOWN"]:
            return f"the state of {name} here is not known: stop it, or force-stop it first"
        if states and states[0] in _MAY_BE_UP:
            return f"{name} is {states[0]} here: freeze-stop it first"
        if service.get("unclean"):
            return f"parts of {name} may be up here: force-stop it first"
    return ""


def _remove_line(layout: Layout, name: str) -> None:
    from ha.node.config import ConfigError, editing

    try:
        editing.remove_service(layout, node_name(), name)
    except ConfigError as error:
        raise CliError(str(error)) from None


def _remove_offline(layout: Layout, name: str, override: bool) -> None:
    """The line, the record and the state files of a service, while no nmond can write them."""
    from ha.fsm.record import may_run
    from ha.node.boot import boot_identity
    from ha.node.lock import HeldError, node_lock
    from ha.node.names import valid_name
    from ha.node.store import Store

    try:
        with node_lock(layout):
            store = Store(layout, node_name())
            boot_id = boot_identity()
            loaded = store.load(boot_id)
            if loaded.unreadable and not override:
                raise CliError("; ".join(loaded.problems) + " (--i-know removes the service all the same)")
            record = loaded.record
            known = next((entry for entry in record.services if entry.name == name), None) if record else None
            if known is not None and may_run(known) and not (loaded.boot or override):
                # Nobody would look after it any more: not its peer, not ``ezha.init stop``.
                state = f"{known.state.name}{', and parts may be up,' if known.unclean else ''}"
                raise CliError(
                    f"{name} is {state} here: freeze-stop it first (--i-know removes it all the same, and leaves it up)"
                )
            _remove_line(layout, name)
            if record is not None and known is not None and not loaded.unreadable:
                # A record of an earlier boot stays one: what reads it next must see that a boot came since.
                store.save(_without(record, name), "earlier" if loaded.boot else boot_id)
            if valid_name(name):
                store.forget(name, _exported(layout, name))
    except HeldError as error:
        raise CliError(f"nmond does not answer, but something works on its record: {error}; try again") from None
    except OSError as error:
        raise CliError(f"{error.filename or layout.states}: {error.strerror}") from None


def _without(record: NodeRecord, name: str) -> NodeRecord:
    from dataclasses import replace  # not before it is needed: it is slow to import

    return replace(record, services=tuple(entry for entry in record.services if entry.name != name))


def _exported(layout: Layout, name: str) -> tuple[str, ...]:
    """The nodes that a STATE file stands for."""
    from ha.node.names import valid_name

    try:
        files = os.listdir(f"{layout.states}/{name}")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    nodes = (file.removeprefix("STATE.") for file in files if file.startswith("STATE."))
    return tuple(node for node in nodes if valid_name(node))


# --------------------------------------------------------------------------------------------- paths


def wanted_path(values: Mapping[str, str], usage: str) -> PathWords:
    """The options of ``hb -a`` and ``hb -r`` as a path, not checked further. Raises UsageError."""
    use_packages()
    from ha.node.config.editing import PathWords

    for option, what in (("-n", "NODE"), ("-t", "TYPE"), ("-i", "INTERFACE_OR_DEVICE"), ("-d", "ADDRESS_OR_OFFSET")):
        if not values.get(option):
            raise UsageError(f"{option} {what} is missing", usage)
    medium = values["-t"].lower()
    if medium not in _MEDIA:
        raise UsageError(f"-t {values['-t']} is none of {' '.join(_MEDIA)}", usage)
    path = PathWords(
        values["-n"], medium, values["-i"], values["-d"], port=values.get("-p", ""), timeout=values.get("-T", "10")
    )
    if path.is_disk and path.port:
        raise UsageError(f"-p is for net and unicast; a {medium} path has an offset (-d)", usage)
    return path


def add_path(layout: Layout, path: PathWords, usage: str, force: bool) -> int:
    """Add a heartbeat path. With ``force`` a foreign slot of this node is cleared, also that of a path that is there.

    Raises CliError, UsageError.
    """
    from ha.node.config import ConfigError, editing, load

    if not path.is_disk and not path.port:
        raise UsageError(f"-p PORT is missing for a {path.medium} path", usage)
    if force and not path.is_disk:
        raise UsageError("--force clears a slot of a disk; there is none here", usage)
    if force and path.node != node_name():
        raise CliError(f"--force clears the slot of this node only; run it on {path.node}")
    try:
        if not (force and _find(load(layout, node_name()).lines, path)):
            editing.add_path(layout, node_name(), path)
        configuration = load(layout, node_name())
    except ConfigError as error:
        raise CliError(str(error)) from None
    line = _find(configuration.lines, path)
    if line is None:
        raise CliError(f"the path was added to {layout.monitor} and is not in it any more; another command took it out")
    code = 0
    if line.is_disk and line.node == node_name():
        code = _look_at_slot(line, force, configuration)
    return max(code, reload_nmond(layout))


def _look_at_slot(line: PathLine, force: bool, configuration: Configuration) -> int:
    from ha.heartbeats.media.guard import claim_slot
    from ha.heartbeats.media.medium import MediumError

    try:
        told = claim_slot(line, force, cluster_id=configuration.cluster.cluster_id, ring=configuration.keys)
    except MediumError as error:
        complain(f"hb: the path is added, and is DOWN until this is mended: {error}")
        # A device may come late; what stands in the slot does not go away by itself.
        return EXIT_FAILED if force or os.path.exists(line.device) else 0
    if force:
        say(told)
    return 0


def _find(lines: tuple[PathLine, ...], path: PathWords) -> PathLine | None:
    for line in lines:
        if (line.node, line.medium, line.device) != (path.node, path.medium, path.device):
            continue
        if line.is_disk:
            if path.where.isdigit() and int(path.where) == line.offset:
                return line
        elif line.address == path.where and str(line.port) == path.port:
            return line
    return None


def remove_path(layout: Layout, path: PathWords) -> int:
    """Remove a heartbeat path. Raises CliError."""
    from ha.node.config import ConfigError, editing

    try:
        editing.remove_path(layout, node_name(), path)
    except ConfigError as error:
        raise CliError(str(error)) from None
    return reload_nmond(layout)


# -------------------------------------------------------------------------------------------- reload


def reload_nmond(layout: Layout) -> int:
    """Tell nmond, where there is one. 0 where it took the change, or will find it when it starts."""
    try:
        for answer in converse(layout, {"op": "reload"}, RELOAD_TIMEOUT_S):
            if answer.get("final"):
                if not answer.get("ok"):
                    raise Refused("; ".join([str(answer.get("text", "refused")), *map(str, answer.get("errors", []))]))
                return 0
    except NotRunning:
        return 0
    except CliError as error:
        complain(f"the file is changed, but nmond did not take it over: {error}")
        return EXIT_FAILED
    complain("the file is changed, but nmond did not say whether it took it over: ezha reload")
    return EXIT_FAILED
