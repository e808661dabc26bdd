"""The demonstration: two nodes, a service (address, file system, web server), and a power failure, seen from outside.

Drives a lab of its own through ezha's own commands, and measures with nothing of ezha's: a visitor on the network
(``ha.lab.visitor``), and the moment at which the service's script is called. Shows through ``Show``; knows no terminal.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ha.lab import loop, visitor
from ha.lab.errors import LabError
from ha.lab.lab import Lab
from ha.lab.plan import CLIENT, MULTICAST, PREFIX, NodePlan
from ha.lab.spawn import helper_argv
from ha.lab.switch import BRIDGE

ADDRESS, PORT = "192.168.100.201", 80
SERVICE = "web"
_ACTIVE, _OTHER = "node1", "node2"
_ETC = "/etc/opensvc"
_SCRIPT = f"{_ETC}/{SERVICE}.noted"
_CALLS = f"/var/log/{SERVICE}.calls"
_WRAPPER = f"""#!/bin/sh
# Notes when it is called; the service's own link does the rest.
echo "$(date +%s.%N) $1" >>{_CALLS}
exec {_ETC}/{SERVICE}.cluster "$@"
"""
_MOUNT_POINT = f"/run/{SERVICE}"
_PAGE = "<html><body>It Works! (NODE)</body></html>\n"
_DISK_BYTES = 8 * 1024 * 1024
_SERVER = """\
# The application of the service: a page from its file system, with the name of the node that answers.
import http.server, socket, sys

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(sys.argv[1] + "/index.html") as file:
            body = file.read().replace("NODE", socket.gethostname()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(sys.argv[2])), Page).serve_forever()
"""
_RESOURCES = f"""
[ip#0]
ipname = {ADDRESS}
ipdev = eth0

[app#0]
type = simple
start = {sys.executable} -IS {_ETC}/{SERVICE}.server {_MOUNT_POINT} {PORT}

[sync#i0]
disable = True

[hb#0]
type = OpenHA
"""
_DISK = "disk-of-the-service"
_STEP_S = 10.0
"""Each step takes well under a second; this is for a machine that is busy with other things."""
_POLL_S = 0.02


class Show(Protocol):
    """What the demonstration tells to whoever looks on. Times are seconds since its beginning."""

    def tell(self, at: float, text: str) -> None:
        """Something was done or has happened."""

    def command(self, at: float, node: str, line: str, output: str) -> None:
        """A command was run on a node; ``output`` is what it printed."""

    def states(self, states: Mapping[str, str], page: str) -> None:
        """The state of the service by node, and who answers the page (empty: nobody), have changed."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """All in seconds after the power-off."""

    node: str
    timeout_s: float
    last_heartbeat_s: float
    """The last of the node that lost its power; below zero as a rule."""
    script_s: float
    """The start script on the other node."""
    page_s: float
    """The page, answered by the other node."""

    @property
    def overhead_s(self) -> float:
        """What the takeover took beyond the timeout, which begins with the last heartbeat."""
        return self.script_s - self.last_heartbeat_s - self.timeout_s


@dataclass(slots=True)
class _Seen:
    """What has been seen so far."""

    states: dict[str, str] = field(default_factory=dict)
    page: str = ""
    """Node that answers the page."""
    page_at: float = 0.0
    heartbeat_at: float = 0.0
    """When the last heartbeat of the active node was heard."""


def run(show: Show, timeout_s: float = 2.0) -> Takeover:
    """Show it all, in a lab that is gone afterwards, whatever happens. Raises LabError where no takeover came about."""
    folder = tempfile.mkdtemp(prefix="ezha-demo-")
    lab = Lab(f"{folder}/lab")
    try:
        return _Demo(lab, show, timeout_s, folder).run()
    finally:
        # Whoever is impatient must not keep a lab for it.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            lab.down()
            loop.detach_all(f"{folder}/{_DISK}")
            shutil.rmtree(folder)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Demo:
    def __init__(self, lab: Lab, show: Show, timeout_s: float, folder: str) -> None:
        """``folder``: both nodes see it, as they would a shared disk."""
        self._lab = lab
        self._folder = folder
        self._show = show
        self._timeout_s = timeout_s
        self._begun = visitor.now()
        self._seen = _Seen()
        self._read: dict[str, int] = {}
        """How far each node's history has been read, in bytes."""
        self._visitor: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def run(self) -> Takeover:
        try:
            self._make()
            self._unfreeze()
            return self._lose_power()
        finally:
            if self._visitor is not None:
                self._visitor.kill()
                self._visitor.wait()
                assert self._visitor.stdout is not None
                self._visitor.stdout.close()

    # ---- the three acts

    def _make(self) -> None:
        self._tell(
            f"making two nodes, with a switch and a shared disk; ezha on both, timeout T = {self._timeout_s:g} s"
        )
        self._lab.up(2, self._timeout_s, start=True)
        self._tell("node1 and node2 are up, ezha runs on both")
        device = _storage(self._folder)
        for node in (_ACTIVE, _OTHER):
            etc = f"{self._lab.files(node)}{_ETC}"
            _write(f"{etc}/{SERVICE}.conf", f"[DEFAULT]\nnodes = {_ACTIVE} {_OTHER}\n{device}{_RESOURCES}")
            _write(f"{etc}/{SERVICE}.server", _SERVER)
            _write(f"{self._lab.files(node)}{_SCRIPT}", _WRAPPER, 0o755)
            for link in ("cluster", "stonith"):
                os.symlink(f"{PREFIX}/bin/svcmgr", f"{etc}/{SERVICE}.{link}")
            self._run(node, f"service -a {SERVICE} {_SCRIPT} {_ACTIVE} {_OTHER} /bin/true")
            self._read[node] = 0
            self._seen.states[node] = "FROZEN_STOP"
        self._until(lambda: self._ask(_ACTIVE, "hb -s").count(" UP,") == 4, "all four heartbeat paths are up")
        self._run(_ACTIVE, "hb -s")
        self._run(_ACTIVE, "service -s")
        self._visit()

    def _unfreeze(self) -> None:
        self._run(_ACTIVE, f"service -A {SERVICE} unfreeze")
        self._until(lambda: self._state(_ACTIVE) == "STARTED" and self._seen.page == _ACTIVE, f"{_ACTIVE} serves it")
        self._run(_OTHER, f"service -A {SERVICE} unfreeze")
        self._until(lambda: self._state(_OTHER) == "STOPPED", f"{_OTHER} is ready to take over")
        for place in (_ACTIVE, _OTHER, CLIENT):
            argv = helper_argv("ha.lab.visitor", json.dumps({"once": True, "address": ADDRESS, "port": PORT}))
            body = self._lab.exec(place, argv).stdout.strip()
            self._show.command(self._since(), place, f"GET http://{ADDRESS}/", body)
            if _node_of(body) != _ACTIVE:
                raise LabError(f"the page, asked for on {place}, is not answered by {_ACTIVE}: {body or 'no answer'}")
        self._run(_OTHER, "service -s")

    def _lose_power(self) -> Takeover:
        off = visitor.now()
        self._lab.power_off(_ACTIVE)
        self._seen.states[_ACTIVE] = "powered off"
        self._show.tell(off - self._begun, f"{_ACTIVE} loses its power")
        self._changed()
        patience = self._timeout_s + _STEP_S
        self._until(
            lambda: self._state(_OTHER) == "STARTED" and self._seen.page == _OTHER,
            f"{_OTHER} serves the page after the power-off of {_ACTIVE}",
            patience,
        )
        self._run(_OTHER, "service -s")
        self._run(_OTHER, f"svcmgr -s {SERVICE} print status")
        self._run(_OTHER, f"ezha why {SERVICE} --last 4")
        return Takeover(
            node=_OTHER,
            timeout_s=self._timeout_s,
            last_heartbeat_s=self._seen.heartbeat_at - off,
            script_s=self._started_at() - off,
            page_s=self._seen.page_at - off,
        )

    # ---- means

    def _since(self) -> float:
        return visitor.now() - self._begun

    def _tell(self, text: str) -> None:
        self._show.tell(self._since(), text)

    def _ask(self, node: str, line: str) -> str:
        """What a command prints. Raises LabError where it fails."""
        done = self._lab.exec(node, line.split())
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise LabError(f"{node}# {line}: exit {done.returncode}: {words[-1] if words else 'it said nothing'}")
        return done.stdout

    def _run(self, node: str, line: str) -> None:
        at = self._since()
        self._show.command(at, node, line, self._ask(node, line))

    def _until(self, condition: Callable[[], bool], what: str, timeout_s: float = _STEP_S) -> None:
        """Follow what happens until ``condition`` holds. Raises LabError."""
        deadline = visitor.now() + timeout_s
        while True:
            self._follow()
            if condition():
                return
            if visitor.now() > deadline:
                raise LabError(f"not within {timeout_s:g} s: {what}; states: {self._seen.states}")
            time.sleep(_POLL_S)

    def _state(self, node: str) -> str:
        return self._seen.states.get(node, "")

    def _started_at(self) -> float:
        """When the start script was last called on the other node, by CLOCK_BOOTTIME."""
        ahead = time.time() - visitor.now()
        with open(f"{self._lab.files(_OTHER)}/var-log/{os.path.basename(_CALLS)}", encoding="ascii") as file:
            calls = [line.split() for line in file]
        return max(float(wall) for wall, action in calls if action == "start") - ahead

    # ---- following what happens

    def _visit(self) -> None:
        job = {
            "address": ADDRESS,
            "port": PORT,
            "group": MULTICAST,
            "ports": [NodePlan(1).port],
            "interface": BRIDGE,
        }
        self._visitor = self._lab.popen(
            CLIENT,
            helper_argv("ha.lab.visitor", json.dumps(job)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for us, and we end it
        )
        assert self._visitor.stdout is not None
        os.set_blocking(self._visitor.stdout.fileno(), False)

    def _follow(self) -> None:
        """Tell what has happened since, in its order."""
        happened: list[tuple[float, Callable[[], None]]] = []
        for node in self._read:
            happened += [(at, lambda move=move: self._moved(*move)) for at, move in self._transitions(node)]  # type: ignore[misc]
        happened += [(at, lambda at=at, body=body: self._answered(at, body)) for at, body in self._visits()]  # type: ignore[misc]
        happened.sort(key=lambda one: one[0])
        for _at, tell in happened:
            tell()

    def _transitions(self, node: str) -> list[tuple[float, tuple[float, str, str, str, str]]]:
        """(when, (when, node, from, to, why)) of each transition that is new in the node's history."""
        found = []
        try:
            with open(f"{self._lab.files(node)}/cluster/log/history.jsonl", "rb") as file:
                file.seek(self._read[node])
                data = file.read()
        except FileNotFoundError:  # nothing has been decided yet
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read[node] += len(whole)
        for line in whole.splitlines():
            entry = json.loads(line)
            if entry["service"] == SERVICE and entry["to"] and entry["from"] != entry["to"]:
                at = float(entry["boottime"])
                found.append((at, (at, node, str(entry["from"]), str(entry["to"]), str(entry["text"]))))
        return found

    def _visits(self) -> list[tuple[float, str]]:
        """(when, body) of each new answer of the page; heartbeats are noted by the way."""
        if self._visitor is None or self._visitor.stdout is None:
            return []
        self._rest += self._visitor.stdout.read() or b""
        *lines, self._rest = self._rest.split(b"\n")
        answers = []
        for line in lines:
            seen = json.loads(line)
            if "heard" in seen:
                self._seen.heartbeat_at = float(seen["at"])
            else:
                answers.append((float(seen["at"]), str(seen["page"])))
        if self._visitor.poll() is not None:
            raise LabError("the visitor in the lab has ended unexpectedly")
        return answers

    def _moved(self, at: float, node: str, source: str, dest: str, why: str) -> None:
        self._seen.states[node] = dest
        self._show.tell(at - self._begun, f"{node}: {source} → {dest}: {why}")
        self._changed()

    def _answered(self, at: float, body: str) -> None:
        self._seen.page, self._seen.page_at = _node_of(body), at
        self._show.tell(at - self._begun, f"page: {body or 'no answer'}")
        self._changed()

    def _changed(self) -> None:
        self._show.states(self._seen.states, self._seen.page)


def _node_of(body: str) -> str:
    """``node1`` of ``It Works! (node1)``."""
    found = re.search(r"\((\w+)\)", body)
    return found[1] if found else ""


def _storage(folder: str) -> str:
    """The sections of the service's file system: on a disk that both nodes see or, without root, of a folder."""
    page = f"{folder}/page"
    os.mkdir(page)
    _write(f"{page}/index.html", _PAGE)
    if os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
        return f"\n[fs#0]\ntype = bind\ndev = {page}\nmnt = {_MOUNT_POINT}\n"
    disk, device = f"{folder}/{_DISK}", f"/dev/mapper/{SERVICE}"
    argv = ["mkfs.ext3", "-q", "-d", page, disk, f"{_DISK_BYTES // 1024}k"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise LabError(f"{argv[0]}: {error.strerror}; on Debian: apt install e2fsprogs") from None
    if done.returncode:
        raise LabError(f"{argv[0]} {disk}: {done.stderr.strip()}")
    disk_section = f"\n[disk#0]\ntype = loop\nfile = {disk}\ndev = {device}\n"
    return f"{disk_section}\n[fs#0]\ntype = ext3\ndev = {device}\nmnt = {_MOUNT_POINT}\n"


def _write(path: str, text: str, mode: int = 0o644) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(path, mode)
