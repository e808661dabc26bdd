"""The lab whose nodes are machines. The switch, the disks' faults, the record and the verbs are ``ha.lab.lab``'s.

A node's first process is its qemu here. Its shared disk is the file that the fault disk's server serves, its network
card a tap on the switch, in the switch's network namespace: no link of the host is touched.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from ha.lab import plan, process, rootfs, state, switch
from ha.lab.enter import environment
from ha.lab.errors import LabError
from ha.lab.lab import TOOLS_PATH, Lab
from ha.lab.plan import CLIENT, DISK, DISK_BYTES, PREFIX, NodePlan
from ha.lab.process import ProcessId
from ha.lab.spawn import Newborn
from ha.lab.state import MACHINES, NodeState
from ha.lab.vm import image, machine, seed
from ha.lab.vm.agent import Agent
from ha.lab.vm.payload import COPY, PACKAGE, Payload
from ha.lab.vm.qmp import Monitor, monitor

VOLUMES_BYTES = 512 * 1024 * 1024
"""Of the second shared disk, /dev/vdc: room for a file system or a volume group. Sparse."""
BOOT_S = 300.0
"""How long a machine may take to its first answer where the host is busy; it is half a minute as a rule."""
_MONITOR_S = 10.0
_INSTALL = (sys.executable, "-I", "-m", "ha.cli.ezha", "install")
_NEEDED = {machine.QEMU: "qemu-system-x86", "qemu-img": "qemu-utils"}
_CHOICES = "machines.json"


class MachineLab(Lab):
    """As ``Lab``; its nodes boot, and can be reset."""

    backend = MACHINES
    _entries = ("run", "nodes")
    _files_of_all = ("disk.img", "volumes.img", "key", "image", "kernel", "initrd", _CHOICES)

    def __init__(
        self,
        folder: str | None = None,
        *,
        init: str = "systemd",
        package: str | None = None,
        more: seed.Seed | None = None,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """For ``up``; what is up already keeps what it was made with.

        ``init``: what a node boots with, a key of ``machine.INITS``; ``package``: a Debian package of ezha, in place of
        a copy of the one that runs here; ``more``: files for every node; ``tell`` is told what takes long.
        """
        super().__init__(folder, install=None, user_namespace=False)
        self._more = more or seed.Seed()
        self._standing = False
        """Whether machines that get their power wait before their first instruction."""
        self._init = init
        self._package = package
        self._tell = tell

    # ---- verbs that are other ones here

    def reset(self, name: str) -> None:
        """The reset button: the machine's qemu lives on, everything in it begins anew."""
        with state.locked(self.folder):
            self._powered(name, why="is the switch: it cannot be reset")
            with self.monitor(name) as connection:
                connection.execute("system_reset")

    def popen(self, name: str, argv: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """In ``client`` only."""
        if name != CLIENT:
            raise LabError(f"{name} is a machine: a command there can be run, and not be held")
        return super().popen(name, argv, **options)

    def exec(
        self,
        name: str,
        argv: Sequence[str],
        timeout: float = 60.0,
        *,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """What it prints (16 MiB at most) comes when it, and all that it left running with its output, has ended."""
        if name == CLIENT:
            return super().exec(name, argv, timeout, input=input, env=env)
        place = self.payload
        own = {**environment(), "EZ": place.prefix, "EZ_BIN": place.bin}
        own["PATH"] = own["PATH"].replace(f"{PREFIX}/bin", place.bin)
        return self.agent(name).run(argv, timeout, input, {**own, **(env or {})})

    def files(self, name: str) -> str:
        """Raises LabError: a machine's files are its own."""
        raise LabError(f"the files of {name} are on its own disk: use exec")

    # ---- what tests need beside the verbs

    @property
    def payload(self) -> Payload:
        """Where ezha lies in the nodes."""
        return PACKAGE if self._chosen()["package"] else COPY

    def agent(self, name: str) -> Agent:
        """What runs commands in a node. Raises LabError where it is off."""
        self._powered(name, why="is no machine")
        return Agent(self.socket(name, "agent"), name)

    def monitor(self, name: str) -> AbstractContextManager[Monitor]:
        """A context manager with a connection to its qemu."""
        return monitor(self.socket(name, "qmp"), name)

    def watch(self, name: str) -> Monitor:
        """A connection that hears what happens to the machine, for the caller to close. One at a time."""
        return Monitor(self.socket(name, "events"), name)

    def socket(self, name: str, purpose: str) -> str:
        """The path of one of ``machine.sockets``."""
        return f"{self.folder}/run/{machine.sockets(name)[purpose]}"

    def boot_with(self, init: str) -> None:
        """From the next power-on: a key of ``machine.INITS``."""
        self._choose(init=init)

    def replace_all(self) -> list[str]:
        """Every machine gives way to a new one that waits before its first instruction, for a snapshot to be put in.

        Nothing is cut, faulty or paused then. Returns the names of the nodes.
        """
        with state.locked(self.folder):
            old = [node for node in self._load().nodes if node.number]
            self._kill(old)
            for node in old:
                self._unplug(node)
                self._change(NodeState(node.name, node.number))
            if any(node.mute or node.deaf for node in old):
                self._apply_rules()
            names = [node.name for node in old]
            self._standing = True
            try:
                self._boot(names)
            finally:
                self._standing = False
        return names

    def wait_booted(self, *names: str, timeout_s: float = BOOT_S) -> None:
        """Until commands can be run in these nodes. Raises LabError with the last line of the console."""
        deadline = time.monotonic() + timeout_s
        for name in names:
            while not self.agent(name).answers(2.0):
                if time.monotonic() > deadline:
                    raise LabError(f"{name} does not boot within {timeout_s:g} s; {self._last_words(name)}")
                time.sleep(0.1)

    # ---- how up is done

    def _check_needs(self) -> None:
        if os.geteuid() != 0:
            raise LabError("machines need root: for their taps, and for the image; without root use namespaces")
        for path in ("/dev/net/tun", "/dev/fuse"):
            if not os.path.exists(path):
                raise LabError(f"machines need {path}, and it is not there")
        for tool, package in _NEEDED.items():
            if shutil.which(tool, path=TOOLS_PATH) is None:
                raise LabError(f"{tool} is not installed; on Debian: apt install {package}")
        if self._init not in machine.INITS:
            raise LabError(f"there is no init system {self._init!r}; there are {' and '.join(machine.INITS)}")

    def _raise(self, plans: tuple[NodePlan, ...], timeout_s: float, start: bool, key: bool) -> None:
        for name in ("run", "nodes"):
            os.makedirs(f"{self.folder}/{name}", mode=0o700, exist_ok=True)
        # Disks that were kept hold what differs from the image that they began with, and from no other.
        if not os.path.lexists(f"{self.folder}/{_CHOICES}"):
            made = image.provide(self._package, self._tell)
            for source, target in ((made.disk, "image"), (made.kernel, "kernel"), (made.initrd, "initrd")):
                _same_file(source, f"{self.folder}/{target}")
            self._choose(package=self._package is not None)
        self._choose(init=self._init)
        self._make_image("disk.img", DISK_BYTES)
        self._make_image("volumes.img", VOLUMES_BYTES)
        keys = self._keys() if key else None
        hosts = plan.hosts(plans)
        rootfs.prepare(self._files(CLIENT), CLIENT, hosts, rootless=False)
        for node in plans:
            os.makedirs(self._files(node.name), mode=0o700, exist_ok=True)
            self._make_root(node.name)
            files = self._files_for(node, plans, hosts, timeout_s, start)
            if keys is not None:
                files[f"{self.payload.conf}/keys"] = (keys, 0o600)
            links = (self.payload.start if start else {}) | self._more.links
            self._sow(node.name, seed.Seed(files | self._more.files, links))
        names = [node.name for node in plans]
        self._tell(f"{', '.join(names)} boot with {self._init}: about half a minute")
        self._boot([CLIENT])
        self._boot(names)
        self.wait_booted(*names)
        state.save(self.folder, replace(self._load(), up=True))

    def _keys(self) -> str:
        """The text of a node's ``conf/keys``, as ezha's own installation makes it of the lab's key."""
        place = f"{self.folder}/run/install"
        words = [*_INSTALL, "--prefix", place, "--key", self._make_key()]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise LabError(f"the key cannot be installed: {lines[-1] if lines else 'it said nothing'}")
        with open(f"{place}/conf/keys", encoding="ascii") as file:
            text = file.read()
        shutil.rmtree(place)
        return text

    def _make_root(self, name: str) -> None:
        """A disk that holds what differs from the image; one that was kept stays as it is."""
        path = f"{self._files(name)}/root.qcow2"
        if os.path.lexists(path):
            return
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", f"{self.folder}/image", "-F", "raw", path]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env={"PATH": TOOLS_PATH})
        if done.returncode:
            raise LabError(f"qemu-img: {(done.stderr.splitlines() or ['failed'])[0]}")
        os.chmod(path, 0o600)

    def _files_for(
        self, node: NodePlan, plans: tuple[NodePlan, ...], hosts: str, timeout_s: float, start: bool
    ) -> dict[str, tuple[str, int]]:
        place = self.payload
        return {
            "/etc/hostname": (f"{node.name}\n", 0o644),
            "/etc/hosts": (hosts, 0o644),
            "/etc/ezha-lab/node": (f"DISK={os.path.basename(DISK)}\n", 0o644),
            "/etc/ezha-lab/links": (switch.node_links(node), 0o644),
            "/etc/ezha-lab/remove": ("" if start else "".join(f"{path}\n" for path in place.enabled), 0o644),
            f"{place.conf}/nodes": (plan.nodes_file(plans), 0o644),
            f"{place.conf}/monitor": (plan.monitor_file(plans, timeout_s), 0o644),
        }

    def _sow(self, name: str, grown: seed.Seed) -> None:
        path = f"{self._files(name)}/seed"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(grown.archive())

    def _boot(self, names: list[str]) -> None:
        super()._boot(names)
        self._await_monitors([name for name in names if name != CLIENT])

    def _await_monitors(self, names: list[str]) -> None:
        """Until each qemu listens: only then has the machine begun, or is there a reason why not."""
        deadline = time.monotonic() + _MONITOR_S
        for name in names:
            while not os.path.exists(self.socket(name, "events")):
                if not process.alive(self._node(name).init) or time.monotonic() > deadline:
                    raise LabError(f"the machine of {name} does not begin: {self._complaint(name)}")
                time.sleep(0.01)
            with self.monitor(name) as connection:
                connection.execute("query-status")

    def _newborn_init(self, name: str, born: list[Newborn]) -> Newborn:
        if name == CLIENT:
            return super()._newborn_init(name, born)
        for purpose in machine.sockets(name):
            path = self.socket(name, purpose)
            if os.path.lexists(path):
                os.unlink(path)
        born.append(Newborn("ha.lab.vm.power", {"name": name}, self._log(name)))
        return born[-1]

    def _init_job(self, name: str, disk: str) -> dict[str, Any]:
        if name == CLIENT:
            return super()._init_job(name, disk)
        switch_ = self._running(CLIENT)
        return {"switch": switch_.pid, "folder": f"{self.folder}/run", "argv": self._argv(name, disk)}

    def _argv(self, name: str, disk: str) -> list[str]:
        node = self._node(name)
        # The file lies in the mounts of the process that keeps it.
        served = f"/proc/{node.disk[0].pid}/root{disk}" if node.disk else disk
        with open(f"{self._files(name)}/seed", "rb") as file:
            seed_id = seed.identify(file.read())
        files = machine.Files(
            kernel=f"{self.folder}/kernel",
            initrd=f"{self.folder}/initrd",
            root=f"{self._files(name)}/root.qcow2",
            heartbeats=served,
            volumes=f"{self.folder}/volumes.img",
            seed=f"{self._files(name)}/seed",
            seed_id=seed_id,
        )
        return machine.argv(name, node.number, files, str(self._chosen()["init"]), self._standing)

    def _choose(self, **what: Any) -> None:
        known = self._chosen() if os.path.exists(f"{self.folder}/{_CHOICES}") else {}
        with open(f"{self.folder}/{_CHOICES}", "w", encoding="ascii") as file:
            json.dump(known | what, file)

    def _chosen(self) -> dict[str, Any]:
        """What ``up`` was told. Raises LabError."""
        try:
            with open(f"{self.folder}/{_CHOICES}", encoding="ascii") as file:
                found: dict[str, Any] = json.load(file)
        except (OSError, ValueError) as error:
            raise LabError(f"{self.folder}/{_CHOICES} is not what `up` made of it: {error}") from None
        return found

    def _loop_devices(self) -> bool:
        return False

    def _plug(self, names: list[str]) -> None:
        lines = [f"tuntap add dev {name} mode tap\nlink set {name} master {switch.BRIDGE} up\n" for name in names]
        if lines:
            self._in_client(["ip", "-batch", "-"], "".join(lines))

    def _start_where_no_boot_does(self, name: str) -> None:
        self.wait_booted(name)
        done = self.exec(name, [f"{self.payload.prefix}/ezha.init", "start"], timeout=BOOT_S)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise LabError(
                f"ezha.init start fails on {name} (exit {done.returncode}): {words[-1] if words else 'it said nothing'}"
            )

    # ---- pauses

    def _stop_all(self, node: NodeState) -> None:
        self._change(replace(node, paused=True))
        with self.monitor(node.name) as connection:
            connection.execute("stop")

    def _resume(self, node: NodeState) -> None:
        if not node.paused:
            return
        if process.alive(node.init):
            with self.monitor(node.name) as connection:
                connection.execute("cont")
        self._change(replace(node, paused=False))

    def for_all(self, names: Sequence[str], do: Callable[[str], None]) -> None:
        """At the same time. Raises what the first of them raises."""
        with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
            list(pool.map(do, names))

    # ---- small things

    def _processes(self, first: ProcessId) -> int:
        return 1

    def _complaint(self, name: str) -> str:
        try:
            with open(self._log(name), encoding="utf-8", errors="replace") as file:
                lines = file.read().strip().splitlines()
        except FileNotFoundError:
            lines = []
        return lines[-1] if lines else "qemu said nothing"

    def _last_words(self, name: str) -> str:
        """The end of what its console showed."""
        try:
            with open(f"{self.folder}/run/{name}.boot", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 400))
                lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        except FileNotFoundError:
            lines = []
        return f"its console ends with: {lines[-1].strip()}" if lines else "its console is empty"


def _same_file(source: str, target: str) -> None:
    """By a link, so that the cache may forget it; a copy where they are on two file systems."""
    if os.path.lexists(target):
        os.unlink(target)
    try:
        os.link(source, target)
    except OSError:
        done = subprocess.run(
            ["cp", "--sparse=always", "--reflink=auto", source, target],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": TOOLS_PATH},
        )
        if done.returncode:
            raise LabError(f"cp: {(done.stderr.splitlines() or ['failed'])[0]}") from None
