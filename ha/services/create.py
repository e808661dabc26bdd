"""``svcmgr create``: a new service, empty, from a template, or from what a person answers.

Asks through a function, so it knows no terminal.
"""

import os
from collections.abc import Callable

from ha.services import links
from ha.services.config import DEFAULT, SERVICE_KEYS, check_name, read, validate
from ha.services.context import Paths
from ha.services.edit import put, write
from ha.services.errors import ServiceError
from ha.services.groups import GROUPS
from ha.services.ini import Ini
from ha.services.keys import Key
from ha.services.registry import driver, kinds
from ha.services.resource import COMMON_KEYS

SUFFIX = ".conf"
"""What the tutorial expects of ``create``."""
_ASKED_OF_SERVICE = ("nodes", "app", "service_type")
_ASKED_ALWAYS = ("type", "optional", "monitor")

Ask = Callable[[str], str]
"""Shows a question, returns the answer without outer blanks. Raises EOFError where nobody answers."""


def create(paths: Paths, name: str, host: str, program: str, template: str = "", ask: Ask | None = None) -> list[str]:
    """Make the service's file, its folder of launchers and its links. Raises ServiceError; a file is never replaced.

    Returns what is wrong with the file, each in one line: a template may want to be finished by hand.
    """
    check_name(name)
    for suffix in (".env", ".conf"):
        if os.path.lexists(path := f"{paths.etc}/{name}{suffix}"):
            raise ServiceError(f"the service {name} is there already: {path}")
    path = f"{paths.etc}/{name}{SUFFIX}"
    ini = Ini(_read_template(template) if template else _empty(name, host))
    if ask is not None:
        _interview(ini, path, name, ask)
    problems = validate(ini, path, name)
    write(path, ini.text(), new=True)
    _surroundings(paths, name, program)
    return [problem.told(path) for problem in problems]


def _read_template(path: str) -> str:
    return read(os.path.abspath(path)).text()


def _empty(name: str, host: str) -> str:
    return (
        f"# The service {name}. Each section is a resource; svcmgr -s {name} validate tells what is wrong here.\n"
        f"[{DEFAULT}]\n"
        f"nodes = {host}\n"
        f"autostart_node = {host}\n"
    )


def _surroundings(paths: Paths, name: str, program: str) -> None:
    """``S.dir`` with the launchers, ``S.d`` that leads there, and ``S``, by which the service is called."""
    base = f"{paths.etc}/{name}"
    try:
        os.makedirs(f"{base}.dir", mode=0o755, exist_ok=True)
        if not os.path.lexists(f"{base}.d"):
            os.symlink(f"{name}.dir", f"{base}.d")
        if program and not os.path.lexists(base):
            os.symlink(links.launcher(program), base)
    except OSError as error:
        raise ServiceError(f"{error.filename or base}: {error.strerror}; the service's file is made") from None


# ---- asking


def _interview(ini: Ini, path: str, name: str, ask: Ask) -> None:
    for key in SERVICE_KEYS:
        if key.name in _ASKED_OF_SERVICE:
            _ask_key(ini, path, name, DEFAULT, key, ask)
    groups = [group for group in GROUPS if group != "vg"]
    while group := ask(f"another resource? ({', '.join(groups)}; empty: none) "):
        if group not in groups:
            continue
        number = sum(section.startswith(f"{group}#") for section in ini.sections)
        section = f"{group}#{number}"
        kind = ask(f"{section} type ({', '.join(kinds(group)) or 'empty: none'}) ")
        try:
            cls = driver(group, kind)
            if kind:
                put(ini, f"{section}.type", kind)
        except ServiceError as error:
            ask(f"{error}; press enter ")
            continue
        for key in {key.name: key for key in (*COMMON_KEYS, *cls.keys)}.values():
            if key.name != "type" and (key in cls.keys or key.name in _ASKED_ALWAYS):
                _ask_key(ini, path, name, section, key, ask)


def _ask_key(ini: Ini, path: str, name: str, section: str, key: Key, ask: Ask) -> None:
    """Until the answer can be used. An empty answer leaves the default, or what stands there."""
    there = ini.sections.get(section)
    entry = there.find(key.name) if there else None
    default = entry.value if entry else _shown(key)
    note = f" [{default}]" if default else "" if key.required else " (may be empty)"
    hint = ""
    while True:
        answer = ask(f"{hint}{section} {key.name}, {key.doc}{note}: ")
        if not answer and (default or not key.required):
            return
        try:
            key.parse(answer)
            put(ini, f"{section}.{key.name}", answer)
            return
        except (ValueError, ServiceError) as error:
            hint = f"{key.name} {error}\n"


def _shown(key: Key) -> str:
    if key.default is None:
        return ""
    return " ".join(map(str, key.default)) if isinstance(key.default, tuple) else str(key.default)
