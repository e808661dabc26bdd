"""Where a node's files are (docs/internals.md, "Files").

The quick commands (``service -s``, ``hb -s``) use this module, so it imports nothing but ``os``. It opens no file
and must not know what stands in them.
"""

import os
from collections.abc import Mapping

DEFAULT_PREFIX = "/usr/local/cluster"
DEFAULT_RUN = "/run/ezha"
FHS = "/usr/lib/openha"
"""Where OpenHA's packages lay it from 0.5 on. Under this prefix, and whatever stands before it, configuration, state
and log are where they have them: in /etc/openha, /var/lib/openha and /var/log/openha."""


class LayoutError(ValueError):
    """A variable of the environment names no usable place. The text is one line for the operator."""


class Layout:
    """The paths of one installation, all absolute, none ending in a slash."""

    __slots__ = (
        "bin",
        "conf",
        "control",
        "history",
        "keys",
        "lock",
        "log",
        "logfacility",
        "monitor",
        "nodes",
        "options",
        "pid",
        "prefix",
        "record",
        "run",
        "services",
        "states",
        "var",
    )

    def __init__(self, prefix: str = DEFAULT_PREFIX, environ: Mapping[str, str] | None = None) -> None:
        """``environ``: the EZ_ variables that move single places away from the prefix; none by default.

        Raises LayoutError for a path that is not absolute.
        """
        env: Mapping[str, str] = {} if environ is None else environ
        self.prefix = _absolute("EZ", prefix)
        conf, var, log = self.prefix + "/conf", self.prefix, self.prefix + "/log"
        if self.prefix.endswith(FHS):
            root = self.prefix[: -len(FHS)]
            conf, var, log = root + "/etc/openha", root + "/var/lib/openha", root + "/var/log/openha"
        self.bin = _place(env, "EZ_BIN", self.prefix + "/bin")
        self.conf = _place(env, "EZ_CONF", conf)
        self.nodes = _place(env, "EZ_NODES", self.conf + "/nodes")
        self.monitor = _place(env, "EZ_MONITOR", self.conf + "/monitor")
        self.services = _place(env, "EZ_SERVICES", self.conf + "/services")
        self.options = self.conf + "/options.toml"
        self.logfacility = self.conf + "/logfacility"
        self.keys = self.conf + "/keys"
        """Secret: what heartbeats are signed with."""
        self.var = _place(env, "EZ_VAR", var)
        self.states = self.var + "/services"
        """One folder a service, with its ``STATE.<node>`` files."""
        self.record = self.states + "/.record"
        """The state of record of the node."""
        self.log = _place(env, "EZ_LOG", log)
        self.history = self.log + "/history.jsonl"
        self.run = _place(env, "EZ_RUN", DEFAULT_RUN)
        self.control = self.run + "/control"
        self.lock = self.run + "/nmond.lock"
        self.pid = self.run + "/nmond.pid"

    @classmethod
    def find(cls, environ: Mapping[str, str], program_path: str = "") -> "Layout":
        """The installation that a command belongs to.

        ``EZ`` in the environment wins; then the folder above the launcher's (``$EZ/bin/service``, links followed)
        where a ``conf`` stands beside it, or which is OpenHA's; then /usr/local/cluster. Raises LayoutError.
        """
        prefix = environ.get("EZ", "")
        if not prefix and program_path:
            prefix = _prefix_of(program_path)
        return cls(prefix or DEFAULT_PREFIX, environ)

    def state(self, service: str, node: str) -> str:
        """``STATE.<node>`` of a service. Both names must be valid ones (``ha.node.names``)."""
        return f"{self.states}/{service}/STATE.{node}"

    def show(self, path: str) -> str:
        """A path as messages name it: ``conf/monitor`` where it stands below the prefix, whole elsewhere."""
        below = self.prefix + "/"
        return path[len(below) :] if path.startswith(below) else path


def node_name() -> str:
    """The name of this node: ``uname -n``, as OpenHA takes it."""
    return os.uname().nodename


def _prefix_of(program_path: str) -> str:
    """The prefix of a launcher, or nothing where it does not stand in an installation."""
    folder = os.path.dirname(os.path.realpath(program_path))
    candidates = (os.path.dirname(folder), folder) if os.path.basename(folder) == "bin" else (folder,)
    for candidate in candidates:
        # A virtual environment has a bin, too, but no conf beside it.
        if os.path.isdir(candidate + "/bin") and (os.path.isdir(candidate + "/conf") or candidate.endswith(FHS)):
            return candidate
    return ""


def _place(env: Mapping[str, str], name: str, default: str) -> str:
    given = env.get(name, "")
    return _absolute(name, given) if given else default


def _absolute(name: str, path: str) -> str:
    if not path.startswith("/") or any(ord(c) < 32 for c in path):
        raise LayoutError(f"{name}={path!r} is not an absolute path; give one that begins with /")
    return path.rstrip("/") or "/"
