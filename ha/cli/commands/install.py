"""``ezha install``: lays ezha out under a prefix as OpenHA lay there (spec: OpenHA, "Install layout").

Run again it is an upgrade: programs, ``env.sh``, ``ezha.init`` and ``doc`` are replaced, each in one step; whatever an
administrator or a service owns (``conf``, ``log``, ``services``) is only created where it is missing. A running ezha
goes on with the old code until ``ezha.init restart``.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from ha import __version__
from ha.cli import adoption, share
from ha.cli.guard import CliError, UsageError, complain, say
from ha.cli.launchers import PROGRAMS, is_packaged, launcher
from ha.cli.options import Parser
from ha.heartbeats.keys import NO_KEYS, Key
from ha.node.layout import FHS, Layout
from ha.services.links import link

_EMPTY = ("nodes", "monitor", "services")
_DEFAULT_PREFIX = "/usr/local/cluster"
_SYSTEMD = "/etc/systemd/system"
_CONTROLLER = ("svcmgr", "svcmon", "nodemgr")
_COMMANDS = "/usr/bin"
"""Where the tutorial has the commands of the service controller."""


def run(argv: Sequence[str]) -> int:
    """Exit code 0 where everything lies where it should."""
    parser = Parser("ezha install", "Lay ezha out under a prefix, or upgrade what lies there.")
    parser.add_argument("--prefix", metavar="DIR", default=_DEFAULT_PREFIX, help=f"default: {_DEFAULT_PREFIX}")
    parser.add_argument("--systemd", action="store_true", help=f"install the unit {_SYSTEMD}/ezha.service, too")
    parser.add_argument(
        "--svcmgr", action="store_true", help=f"link {', '.join(_CONTROLLER)} in {_COMMANDS}, too; no other is replaced"
    )
    parser.add_argument(
        "--key", metavar="FILE", help="sign heartbeats with the key in FILE (ezha key new), and take nothing else"
    )
    parser.add_argument(
        "--undo", action="store_true", help="give back the OpenHA that was there before, with the states of today"
    )
    options = parser.parse_args(argv)
    prefix = checked_prefix(options.prefix)
    layout = Layout(prefix)
    if is_packaged(f"{layout.bin}/ezha"):
        raise CliError(f"{prefix} belongs to the package ezha, which is upgraded by apt; give another --prefix")
    if options.undo:
        place = adoption.give_back(layout)
        say(f"OpenHA is back in {prefix}; what ezha had of its own is in {place}")
        return 0
    # Read first: what cannot be used must not leave half an installation.
    key = _key(options.key) if options.key else None
    try:
        if adoption.lies_in(layout):
            adoption.keep_aside(layout)
            say(f"OpenHA is kept in {prefix}/{adoption.SAVED}; ezha install --prefix {prefix} --undo gives it back")
        install(prefix)
        if key is not None:
            install_key(prefix, key)
        if options.svcmgr:
            install_links(prefix, _COMMANDS)
        if options.systemd:
            install_unit(prefix, _SYSTEMD)
    except (FileExistsError, NotADirectoryError) as error:
        raise CliError(f"{error.filename} is in the way: it is not a folder") from None
    except OSError as error:
        raise CliError(f"{error.filename or prefix}: {error.strerror}") from None
    say(f"ezha {__version__} is installed in {prefix}")
    return 0


def checked_prefix(text: str) -> str:
    """``text`` in its normal form. Raises UsageError: it stands in shell scripts and must need no quotes there."""
    if not re.fullmatch(r"/[A-Za-z0-9/._+-]*", text):
        raise UsageError(f"{text!r} cannot be a prefix: give an absolute path of letters, digits and / . _ + -")
    prefix = os.path.normpath(text)
    if prefix.lstrip("/") == "":
        raise UsageError("/ cannot be a prefix: give a folder of its own, such as /usr/local/cluster")
    return "/" + prefix.lstrip("/")


def install(prefix: str) -> None:
    """Raises OSError, CliError."""
    layout = Layout(prefix)
    for folder, mode in _folders(layout).items():
        _make_folder(folder, mode)
    for name in PROGRAMS:
        replace(f"{prefix}/bin/{name}", launcher(name, sys.executable, share.code_folder()), 0o755)
    replace(f"{prefix}/env.sh", adapted(share.read("init/env.sh"), prefix), 0o644)
    replace(f"{prefix}/ezha.init", adapted(share.read("init/ezha.init"), prefix), 0o755)
    for name, path in share.documents().items():
        with open(path, encoding="utf-8") as file:
            text = file.read()
        replace(
            f"{prefix}/doc/{name}",
            in_one_folder(text) if name.endswith(".md") else text,
            0o755 if os.access(path, os.X_OK) else 0o644,
        )
    for name in _EMPTY:
        create(f"{layout.conf}/{name}", "")
    create(layout.logfacility, share.read("conf/logfacility"))
    create(layout.options, adoption.options() if adoption.is_kept(layout) else share.read("conf/options.toml"))
    if adoption.is_kept(layout):
        adoption.boot(layout)


def _folders(layout: Layout) -> dict[str, int]:
    """What is made where it is missing, with its mode."""
    return {
        layout.prefix: 0o755,
        layout.bin: 0o755,
        layout.conf: 0o755,
        f"{layout.prefix}/doc": 0o755,
        f"{layout.prefix}/doc/examples": 0o755,
        layout.log: 0o750,
        layout.states: 0o755,
    }


def _key(path: str) -> Key:
    from ha.node.config import ConfigError, keyring

    try:
        return keyring.read_key(os.path.abspath(path))
    except ConfigError as error:
        raise CliError(str(error)) from None


def install_key(prefix: str, key: Key) -> None:
    """Sign with ``key`` and take nothing else. Raises CliError where other keys, or heartbeats without any, are in use.

    A node that runs is not understood by the others from one moment to the next, so there a key comes in steps.
    """
    from ha.cli.client import NotRunning, ask
    from ha.node.config import ConfigError, keyring

    place = Layout(prefix, os.environ)
    try:
        if keyring.load_keys(place) == keyring.only(NO_KEYS, key):
            return
        try:
            ask(place, {"op": "keys"})
        except NotRunning:
            keyring.change_keys(place, lambda ring: keyring.only(ring, key))
            return
    except (ConfigError, ValueError) as error:
        raise CliError(f"the key is not taken over: {error}") from None
    raise CliError("the key is not taken over while ezha runs here: bring it in with ezha key add, sign and retire")


def install_unit(prefix: str, folder: str) -> None:
    """The systemd unit, and systemd told of it where it runs."""
    replace(f"{folder}/ezha.service", adapted(share.read("init/ezha.service"), prefix), 0o644)
    if not os.path.isdir("/run/systemd/system"):
        return
    try:
        subprocess.run(["systemctl", "daemon-reload"], stdin=subprocess.DEVNULL, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        complain(f"ezha install: systemctl daemon-reload failed: {error}; run it before you use the unit")


def install_links(prefix: str, folder: str) -> None:
    """The commands of the service controller by links in ``folder``. Raises CliError where others stand there."""
    for name in _CONTROLLER:
        target, path = f"{prefix}/bin/{name}", f"{folder}/{name}"
        if os.path.lexists(path) and os.path.realpath(path) != os.path.realpath(target):
            raise CliError(f"{path} is another program's ({os.path.realpath(path)}): remove that first")
    for name in _CONTROLLER:
        link(f"{folder}/{name}", f"{prefix}/bin/{name}")


def adapted(text: str, prefix: str) -> str:
    """A file of ``init`` for another prefix than the usual one, which may keep its files elsewhere."""
    layout = Layout(prefix)
    text = text.replace(_DEFAULT_PREFIX, prefix)
    if prefix.endswith(FHS):
        for place, usual in ((layout.conf, "$EZ/conf"), (layout.conf, f"{prefix}/conf"), (layout.log, "$EZ/log")):
            text = text.replace(usual, place)
        text = text.replace("EZ_VAR=$EZ\n", f"EZ_VAR={layout.var}\n")
    return text


def in_one_folder(text: str) -> str:
    """A page whose links lead to where the others lie in ``doc``."""
    return (
        text.replace("](docs/", "](")
        .replace("](../README.md", "](README.md")
        .replace("](../conf/examples/", "](examples/")
    )


def _make_folder(path: str, mode: int) -> None:
    """As ``mkdir -p``; only what is created here gets the mode."""
    if os.path.isdir(path):
        return
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    os.mkdir(path, 0o700)
    os.chmod(path, mode)


def replace(path: str, text: str, mode: int) -> None:
    """Put ``text`` there in one step: whoever opens the file meanwhile sees the old or the new one, whole."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".ezha-", dir=os.path.dirname(path))
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def create(path: str, text: str) -> None:
    """Write ``text`` where nothing stands yet, not even a dangling link."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
