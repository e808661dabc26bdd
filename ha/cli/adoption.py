"""An OpenHA installation that lies where ezha is to lie: kept aside, so that it can be given back at any time.

Its configuration and its state stay in place, for they have the same form; ezha reads both. What ezha has and OpenHA
does not (``options.toml``, the state of record) goes aside in its turn when OpenHA comes back. Nothing is ever deleted.

``PREFIX/openha.saved`` holds the programs and scripts of OpenHA, and copies of configuration and state as they were.
Every step is a rename or a copy that can be made again: after a crash the same command finishes what it began.
"""

import os
import shutil

from ha.cli import share
from ha.cli.guard import CliError
from ha.cli.processes import processes
from ha.node.config import ConfigError
from ha.node.config.whole import load_texts, parse
from ha.node.layout import FHS, Layout, node_name

SAVED = "openha.saved"
_PROGRAM = "heartd"
"""A program that OpenHA has, and ezha has not."""
_SCRIPTS = ("env.sh", "ezha.init")
_TTL = 6
"""Hops that OpenHA gives its heartbeats."""


def lies_in(layout: Layout) -> bool:
    """OpenHA's programs are where ezha's would be, or were until a ``keep_aside`` that did not come to its end."""
    return os.path.lexists(f"{layout.bin}/{_PROGRAM}") or os.path.isdir(f"{_saved(layout)}.new/bin")


def is_kept(layout: Layout) -> bool:
    """ezha lies in place of an OpenHA that was kept aside."""
    return os.path.isdir(f"{_saved(layout)}/bin")


def keep_aside(layout: Layout) -> None:
    """Make room for ezha. Raises CliError, and has changed nothing, where OpenHA runs or ezha could not take over."""
    unfinished, saved = f"{_saved(layout)}.new", _saved(layout)
    if not os.path.isdir(f"{unfinished}/bin"):
        _require_stopped(layout, "OpenHA")
        _require_room(saved)
        _require_usable(layout)
        shutil.rmtree(unfinished, ignore_errors=True)
        os.mkdir(unfinished, 0o700)
        _copy(layout.conf, f"{unfinished}/conf")
        _copy(layout.states, f"{unfinished}/services")
        for name in _SCRIPTS:
            _copy(f"{layout.prefix}/{name}", f"{unfinished}/{name}")
        _copy(_boot_script(layout), f"{unfinished}/init.d")
        if os.path.exists(layout.record):  # of an ezha that was here before: OpenHA's states are newer
            os.rename(layout.record, f"{unfinished}/record")
        os.rename(layout.bin, f"{unfinished}/bin")
    os.rename(unfinished, saved)


def boot(layout: Layout) -> None:
    """Where OpenHA's packages have a boot script, it is ezha's from now on."""
    script = _boot_script(layout)
    if script and os.path.lexists(script) and os.path.realpath(script) != f"{layout.prefix}/ezha.init":
        os.symlink(f"{layout.prefix}/ezha.init", f"{script}.ezha-new")
        os.rename(f"{script}.ezha-new", script)


def options() -> str:
    """``options.toml`` of a node whose peer is an OpenHA node."""
    text = share.read("conf/options.toml")
    return text.replace('# wire = "ezha"', 'wire = "openha"').replace("# ttl = 1", f"ttl = {_TTL}")


def give_back(layout: Layout) -> str:
    """OpenHA as it was, with the configuration and the states of today. Returns where ezha's own went.

    Raises CliError where ezha runs, or nothing was kept aside."""
    saved = _saved(layout)
    if not is_kept(layout) and not os.path.isdir(f"{saved}/ezha-bin"):
        raise CliError(f"{saved} does not exist: no OpenHA was kept aside here")
    _require_stopped(layout, "ezha")
    if is_kept(layout):
        if os.path.isdir(layout.bin):
            os.rename(layout.bin, f"{saved}/ezha-bin")
        os.rename(f"{saved}/bin", layout.bin)
    _restore(f"{saved}/init.d", _boot_script(layout))
    own = {layout.options: "options.toml", layout.record: "record-of-ezha"}
    if not os.path.lexists(f"{saved}/conf/logfacility"):
        own[layout.logfacility] = "logfacility"
    for name in _SCRIPTS:
        if os.path.lexists(f"{saved}/{name}"):
            _restore(f"{saved}/{name}", f"{layout.prefix}/{name}")
        else:
            own[f"{layout.prefix}/{name}"] = f"{name}-of-ezha"
    for path, name in own.items():
        if os.path.exists(path):
            shutil.move(path, f"{saved}/{name}")
    number = next(n for n in range(1, 10_000) if not os.path.lexists(f"{saved}.{n}"))
    os.rename(saved, f"{saved}.{number}")
    return f"{saved}.{number}"


def _saved(layout: Layout) -> str:
    return f"{layout.prefix}/{SAVED}"


def _boot_script(layout: Layout) -> str:
    """Of OpenHA's packages; empty in the old layout, where links lead to the one under the prefix."""
    return layout.prefix[: -len(FHS)] + "/etc/init.d/openha" if layout.prefix.endswith(FHS) else ""


def _require_stopped(layout: Layout, what: str) -> None:
    running = processes(layout.bin)
    if running:
        told = ", ".join(f"{process.program} (pid {process.pid})" for process in running[:3])
        script = _boot_script(layout) or f"{layout.prefix}/ezha.init"
        raise CliError(f"{what} runs here: {told}{', …' if len(running) > 3 else ''}; stop it first: {script} stop")


def _require_room(saved: str) -> None:
    if os.path.lexists(saved):
        raise CliError(f"{saved} is there already, and {_PROGRAM} of OpenHA, too: look which of them is in use")


def _require_usable(layout: Layout) -> None:
    """What OpenHA could read and ezha cannot must be found before anything is moved."""
    troubles = obstacles(layout)
    if troubles:
        raise CliError("ezha cannot take this OpenHA over, nothing was changed:\n" + "\n".join(troubles))


def obstacles(layout: Layout) -> list[str]:
    """Why ezha could not run with the configuration that lies there and pair with an OpenHA node; empty: it can."""
    from dataclasses import replace

    try:
        texts = load_texts(layout)
        own = texts.options if os.path.exists(layout.options) else options()
        configuration = parse(replace(texts, options=own), node_name())
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    strange = [line.label for line in configuration.lines if not line.is_openha]
    if strange:
        return [f'{layout.options} is there already and does not say wire = "openha": add it, or move the file away']
    return []


def _copy(source: str, target: str) -> None:
    if not source or not os.path.lexists(source):
        return
    if os.path.isdir(source) and not os.path.islink(source):
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _restore(source: str, target: str) -> None:
    """``source`` in the place of ``target``, in one step."""
    if target and os.path.lexists(source):
        shutil.copy2(source, f"{target}.ezha-new", follow_symlinks=False)
        os.rename(f"{target}.ezha-new", target)
