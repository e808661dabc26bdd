"""What can be done about a service while nmond is not running: the record is changed under the node's lock.

Only ``freeze-stop``, ``unfreeze`` and ``force-stop``: they need no other node. The transition table decides, as in
nmond. A service that was on its way or up when nmond died is nmond's to look after: refused here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ha.cli.guard import EXIT_FAILED, CliError, complain
from ha.cli.place import use_packages
from ha.fsm.config import ServiceConfig
from ha.fsm.events import Note, NoteKind
from ha.fsm.record import NodeRecord, ServiceRecord
from ha.fsm.states import Action, ScriptKind, State
from ha.node.layout import Layout, node_name

if TYPE_CHECKING:
    from ha.fsm.table import Trigger

_ALLOWED = (Action.FREEZE_STOP, Action.UNFREEZE, Action.FORCE_STOP)
_UNDER_WAY = (State.STARTING, State.STARTED, State.STOPPING)
_EARLIER_BOOT = "earlier"
"""Stands for the boot in a record of an earlier one: whatever reads it next must see that a boot came since."""


def act_offline(layout: Layout, action: str, service: str | None, *, by: str, override: bool) -> int:
    """Carry ``action`` out on ``service`` (None: on all). 0 where it came about for each, else 1.

    Raises CliError where nothing could be looked at at all.
    """
    wanted = Action(action)
    if wanted not in _ALLOWED:
        names = ", ".join(a.value for a in _ALLOWED)
        raise CliError(
            f"nmond is not running on this node, and without it only {names} can be done; "
            f"start it with {layout.prefix}/ezha.init start"
        )
    use_packages()
    from ha.node.lock import HeldError, node_lock

    try:
        with node_lock(layout):
            return _locked(layout, wanted, service, by, override)
    except HeldError as error:
        raise CliError(f"nmond does not answer, but something works on its record: {error}; try again") from None
    except PermissionError as error:
        raise CliError(f"only root may change the state of a service: {error.filename}: {error.strerror}") from None


def _locked(layout: Layout, action: Action, only: str | None, by: str, override: bool) -> int:
    from ha.node.boot import boot_identity
    from ha.node.store import Store

    services = _configured(layout, only)
    boot_id = boot_identity()
    store = Store(layout, node_name())
    loaded = store.load(boot_id)
    for problem in loaded.problems:
        complain(problem)
    if loaded.unreadable:
        raise CliError("the state of this node cannot be read, so nothing is changed; start nmond, then see service -s")
    record = loaded.record or NodeRecord(0)
    known = {entry.name: entry for entry in record.services}
    failed = False
    notes: list[Note] = []
    for config in services:
        before = known.get(config.name) or ServiceRecord(config.name)
        after, text = decide_offline(before, action, config, boot=loaded.boot, override=override)
        if after is None:
            failed = True
            complain(f"{config.name}: {text}")
            notes.append(Note(NoteKind.REFUSED, config.name, f"{text} (nmond is not running)", by=by))
            continue
        known[config.name] = after
        text = f"{text} (nmond is not running)"
        notes.append(Note(NoteKind.TRANSITION, config.name, text, before.state, after.state, by))
    changed = replace(record, services=tuple(known.values()))
    if changed != record:
        store.save(changed, _EARLIER_BOOT if loaded.boot else boot_id)
        for config in services:
            store.export_local(config.name, known[config.name].state)
    _tell_history(layout, notes)
    return EXIT_FAILED if failed else 0


def decide_offline(
    before: ServiceRecord, action: Action, config: ServiceConfig, *, boot: bool, override: bool
) -> tuple[ServiceRecord | None, str]:
    """The record after ``action``, or None, and the reason in words. ``boot``: the machine booted since ``before``."""
    from ha.fsm.machine import Facts, decide
    from ha.fsm.table import Do, Mark, Row, Trigger

    def marked(record: ServiceRecord, row: Row) -> ServiceRecord:
        assert row.dest is not None
        assert row.marks <= {Mark.DEMOTE, Mark.THAW, Mark.CLEAN}, row
        return replace(
            record,
            state=row.dest,
            unclean=record.unclean and Mark.CLEAN not in row.marks,
            demoted=record.demoted or Mark.DEMOTE in row.marks,
            freeze=record.freeze and Mark.THAW not in row.marks,
        )

    record = marked(before, decide(before.state, Trigger.BOOT)) if boot else before
    if record.state in _UNDER_WAY:
        return None, f"it was {record.state.name} when nmond ended, and may be up: start nmond, which looks after it"
    asks = action is Action.FORCE_STOP and not override
    found = ask_controller(config, record) if asks else Trigger.FOUND_UNKNOWN
    facts = Facts(controller_up=found is Trigger.FOUND_UP, override=override)
    row = decide(record.state, Trigger(action.value), facts)
    why = " (--i-know)" if override else ""
    reason = row.reason.format(why=why) if "{why}" in row.reason else row.reason
    if row.dest is None:
        return None, reason
    record = marked(record, row)
    if row.do is Do.STATUS:
        record = marked(record, decide(record.state, ask_controller(config, record)))
    return record, reason


def ask_controller(config: ServiceConfig, record: ServiceRecord) -> Trigger:
    """Run ``SCRIPT status`` (docs/controller.md): FOUND_UP, FOUND_DOWN, or FOUND_UNKNOWN for all else."""
    from ha.fsm.table import Trigger

    code = _run(
        (config.script, ScriptKind.STATUS.value),
        {
            "EZ_SERVICE": config.name,
            "EZ_NODE": node_name(),
            "EZ_ACTION": ScriptKind.STATUS.value,
            "EZ_STATE": record.state.name,
            "EZ_GENERATION": str(record.generation),
            "EZ_NODES": " ".join(config.nodes),
        },
        config.status_timeout,
    )
    if code in config.status_up:
        return Trigger.FOUND_UP
    if code in config.status_down:
        return Trigger.FOUND_DOWN
    return Trigger.FOUND_UNKNOWN


def _run(argv: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> int | None:
    """The exit code, None where there is none to speak of: not started, killed, too late."""
    base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LANG": "C.UTF-8"}
    quiet = subprocess.DEVNULL
    try:
        # A process group of its own, so that all of it can be ended.
        child = subprocess.Popen(
            argv, stdin=quiet, stdout=quiet, stderr=quiet, env={**base, **environment}, start_new_session=True
        )
    except OSError as error:
        complain(f"{' '.join(argv)} cannot be run: {error.strerror}")
        return None
    try:
        code = child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        complain(f"{' '.join(argv)} took longer than {timeout_s:g} s")
        return None
    return code if code >= 0 else None


def _configured(layout: Layout, only: str | None) -> list[ServiceConfig]:
    from ha.node.config import ConfigError, load

    try:
        services = load(layout, node_name()).cluster.services
    except ConfigError as error:
        raise CliError(f"the configuration is refused:\n{error}") from None
    if only is None:
        return list(services.values())
    if only not in services:
        raise CliError(f"no service {only} is defined on this node (conf/services lists them)")
    return [services[only]]


def _tell_history(layout: Layout, notes: Sequence[Note]) -> None:
    """So that ``ezha why`` knows of it. That it cannot be written is said, and undoes nothing."""
    from ha.node.history import History

    history = History(layout.history, node_name())
    try:
        history.append(notes, time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
    except OSError as error:
        complain(f"{layout.history} cannot be written: {error.strerror}; ezha why will not know of this")
    finally:
        history.close()
