"""``nodemgr``: reads and changes ``/etc/opensvc/node.conf``, the settings of this node (docs/svcmgr.md)."""

import os
import sys
from collections.abc import Sequence

from ha.cli.guard import CliError, UsageError, complain, guarded, say
from ha.cli.options import Parser
from ha.services import edit
from ha.services.config import ConfigError, read
from ha.services.context import Paths
from ha.services.errors import ServiceError
from ha.services.ini import Ini
from ha.services.lock import WAIT_S, Lock

USAGE = "usage: nodemgr get|set|unset --param [SECTION.]KEY [--value VALUE]"
_FILE = "node.conf"


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 0, 1 (failed), 2 (usage)."""
    return guarded("nodemgr", run, sys.argv[1:] if argv is None else argv)


def run(argv: Sequence[str], paths: Paths | None = None) -> int:
    """As ``main``, but raises CliError."""
    parser = Parser("nodemgr", "Settings of this node.")
    parser.usage = USAGE.removeprefix("usage: ")
    parser.add_argument("action", choices=("get", "set", "unset"))
    parser.add_argument("--param", required=True)
    parser.add_argument("--value")
    options = parser.parse_args(argv)
    if (options.action == "set") != (options.value is not None):
        raise UsageError("set, and only set, takes --value VALUE", USAGE)
    try:
        return _run(paths or Paths(), options.action, options.param, options.value)
    except ConfigError as error:
        for line in str(error).splitlines():
            complain(f"nodemgr: {line}")
        return 1
    except ServiceError as error:
        raise CliError(str(error)) from None


def _run(paths: Paths, action: str, param: str, value: str) -> int:
    path = f"{paths.etc}/{_FILE}"
    if action == "get":
        say(edit.get_value(_read(path), path, param))
        return 0
    with Lock(paths.run, _FILE, action, WAIT_S):
        ini = _read(path)
        if ini.problems:
            # What is not understood might be what is to be changed.
            raise ConfigError(path, ini.problems)
        if action == "set":
            edit.put(ini, param, value)
        elif not ini.drop(*edit.split(param)):
            raise ServiceError(f"{path} has no {param}")
        edit.write(path, ini.text())
    return 0


def _read(path: str) -> Ini:
    """An absent file is an empty one."""
    return read(path) if os.path.lexists(path) else Ini("")


if __name__ == "__main__":
    sys.exit(main())
