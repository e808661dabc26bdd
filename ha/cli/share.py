"""Where the files that ``ezha install`` lays out come from: a checkout, or ``ha/share`` in a wheel."""

import os

import ha
from ha.cli.guard import CliError

_PACKAGE = os.path.dirname(os.path.realpath(ha.__file__))


def code_folder() -> str:
    """The folder that must be on ``sys.path`` for ``import ha``."""
    return os.path.dirname(_PACKAGE)


def folder(name: str) -> str:
    """The folder ``conf``, ``init`` or ``docs``. Raises CliError where this copy of ezha is not complete."""
    packed, beside = f"{_PACKAGE}/share/{name}", f"{code_folder()}/{name}"
    for candidate in (packed, beside):
        if os.path.isdir(candidate):
            return candidate
    raise CliError(f"this copy of ezha is not complete: there is neither {packed} nor {beside}")


def read(name: str) -> str:
    """The text of a file such as ``init/env.sh``."""
    head, _, rest = name.partition("/")
    path = f"{folder(head)}/{rest}"
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise CliError(f"this copy of ezha is not complete: {path}: {error.strerror}") from None


def documents() -> dict[str, str]:
    """Name to path of all that goes to ``doc``: README, licence, the pages, the examples (``examples/…``)."""
    found: dict[str, str] = {}
    for name in ("README.md", "LICENSE"):
        for base in (f"{_PACKAGE}/share", code_folder()):
            if os.path.isfile(f"{base}/{name}"):
                found.setdefault(name, f"{base}/{name}")
    # A wheel without the pages is as good to run as one with them.
    pages = next((base for base in (f"{_PACKAGE}/share/docs", f"{code_folder()}/docs") if os.path.isdir(base)), "")
    for below, base in (("", pages), ("examples/", f"{folder('conf')}/examples")):
        if os.path.isdir(base):
            found.update({below + entry.name: entry.path for entry in os.scandir(base) if entry.is_file()})
    return found
