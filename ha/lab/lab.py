"""The lab: its nodes, and what can be done to them. The command line and the tests drive this class.

Every method raises LabError with one line for people. Methods that change something take the lab's lock, so several
processes may use one lab; several labs are told apart by their folder.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ha.lab import control, enter, fault, loop, plan, process, rootfs, spawn, state, switch
from ha.lab.errors import LabError
from ha.lab.plan import CLIENT, DISK_BYTES, PREFIX, NodePlan
from ha.lab.process import ProcessId
from ha.lab.spawn import Newborn, helper_argv
from ha.lab.state import NAMESPACES, LabState, NodeState
from ha.lab.where import default_dir, dir_option

INSTALL = (sys.executable, "-I", "-m", "ha.cli.ezha", "install", "--prefix", PREFIX)
_BOOT_SCRIPT = f"{PREFIX}/ezha.init"
_BOOT_LINKS = ("rc3.d/S99cluster", "rc0.d/K01cluster")
_END_S = 10.0
"""How long killed processes may take to be gone."""
_FREEZE_S = 2.0
"""How long a node's processes may go on making new ones while it is being paused."""
_STEP_TIMEOUT_S = 300.0
"""For the installation and for ``ezha.init start`` on one node."""
TOOLS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEY = "/etc/ezha.key"
"""On a node."""
MAX_PAUSE_S = 86_400.0


def write_secret(path: str, text: str) -> None:
    """For nobody else to read, from its first moment on."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(text)


def keep_visible() -> list[str]:
    """What this process runs from: interpreter, virtual environment, installation. A node runs from it too."""
    paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.realpath(sys.executable), *spawn.import_path()]
    return [path for path in paths if os.path.exists(path)]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A line of ``ezha lab status``."""

    name: str
    power: str
    """on, off, paused, or ended: its first process ended by itself (a reboot from inside)."""
    address: str
    pid: int | None
    """Of its first process, as the machine counts."""
    processes: int
    net: str
    """ok, cut, mute (what it sends is dropped) or deaf."""
    disk: str
    """The fault of its disk, ``plain`` for a plain file, ``-`` for the client."""


class Lab:
    """A lab in ``folder``; nothing is touched before ``up``.

    Its nodes are namespaces. ``ha.lab.vm.lab`` puts machines in their place: it overrides what is said to be of the
    backend, and keeps the switch, the disks' faults, the record and the verbs.
    """

    backend = NAMESPACES
    _entries: tuple[str, ...] = ("run", "nodes")
    """Folders of the lab in ``folder``, the first of which goes even where the nodes' files are kept."""
    _files_of_all: tuple[str, ...] = ("disk.img", "key")

    def __init__(
        self,
        folder: str | None = None,
        *,
        install: Sequence[str] | None = INSTALL,
        user_namespace: bool | None = None,
    ) -> None:
        """``install``: argv that lays out the prefix in a node; None: none.

        ``user_namespace``: whether to do without root's rights; None: where we are not root.
        """
        self.folder = os.path.abspath(folder or default_dir())
        self._install = install
        self._user = os.geteuid() != 0 if user_namespace is None else user_namespace

    # ---- up and down

    def up(self, nodes: int = 2, timeout_s: float = 10.0, start: bool = False, key: bool = True) -> None:
        """Make ``nodes`` nodes (1 to 16), with the tutorial's ``nodes`` and ``monitor`` and its timeout (0.2 to 120 s).

        ``start``: run ``ezha.init start`` in each, now and at every later boot. ``key``: they sign their heartbeats
        with one key, and take nothing else. On failure nothing is left behind.
        """
        try:
            plans = plan.plans(nodes)
            plan.check_timeout(timeout_s)
        except ValueError as error:
            raise LabError(str(error)) from None
        if shutil.which("ip", path=TOOLS_PATH) is None:
            raise LabError("ip is not installed; on Debian: apt install iproute2")
        self._check_needs()
        made = self._make_folder()
        with state.locked(self.folder):
            if state.load(self.folder) is not None:
                raise LabError(
                    f"there is a lab in {self.folder} already; end it with: ezha lab down{dir_option(self.folder)}"
                )
            if strange := sorted(set(os.listdir(self.folder)) - {*self._entries, *self._files_of_all, "lock"}):
                raise LabError(f"{self.folder} is not a lab's: there is {strange[0]} in it; choose another with --dir")
            state.save(
                self.folder,
                LabState(
                    id=secrets.token_hex(4),
                    boot=state.boot_id(),
                    nodes=(NodeState(CLIENT, 0), *(NodeState(node.name, node.number) for node in plans)),
                    made_folder=made,
                    timeout_s=timeout_s,
                    faulty_disk=self._can_fuse(),
                    user=self._user,
                    backend=self.backend,
                ),
            )
            try:
                self._raise(plans, timeout_s, start, key)
            except BaseException:
                self._take_down(keep=False)
                raise

    def down(self, keep: bool = False) -> bool:
        """End everything, however far ``up`` came and whatever has crashed since.

        ``keep``: the nodes' files and the disk stay, for the next ``up``. False when there was no lab. Raises LabError,
        and keeps the record, when a process cannot be ended.
        """
        if not os.path.isdir(self.folder) or not os.path.lexists(f"{self.folder}/lock"):
            return False
        with state.locked(self.folder):
            if state.load(self.folder) is None:
                return False
            self._take_down(keep)
        return True

    # ---- power

    def power_off(self, name: str) -> None:
        """Kill everything in the node at once. Its files stay."""
        with state.locked(self.folder):
            node = self._powered(name, why="is the switch: end it with `ezha lab down`")
            self._kill([node])
            self._unplug(node)
            self._change(replace(node, init=None, disk=(), device="", paused=False, stopped_before=()))

    def power_on(self, name: str, start: bool = False) -> None:
        """Boot the node anew: it runs /etc/rc.d/rc3.d/S*, as a boot does.

        ``start``: run ``ezha.init start`` where no link of rc3.d does.
        """
        with state.locked(self.folder):
            node = self._no_client(name, "is the switch: it is on as long as the lab is up")
            if process.alive(node.init):
                raise LabError(f"{name} is powered on already")
            if node.init is not None:  # it ended by itself: its disk and its port are still there
                self._kill([node])
                self._unplug(node)
                self._change(replace(node, init=None, disk=(), device=""))
            try:
                self._boot([name])
            except BaseException:
                failed = self._node(name)
                self._kill([failed])
                self._change(replace(failed, init=None, disk=(), device=""))
                raise
        if start:
            self._start_where_no_boot_does(name)

    def reset(self, name: str) -> None:
        """As the reset button of a machine: all is lost that its disk did not hold, and it boots at once."""
        self.power_off(name)
        self.power_on(name)

    def pause(self, name: str, seconds: float, wait: bool = True) -> None:
        """Stop all processes of the node for ``seconds`` (0 to a day), as a hypervisor pauses a machine.

        Returns when the pause is over; with ``wait`` False as soon as it has begun.
        """
        if not 0 <= seconds <= MAX_PAUSE_S:
            raise LabError(f"a pause of {seconds:g} s is out of range, 0 to {MAX_PAUSE_S:g} s")
        with state.locked(self.folder):
            node = self._powered(name, why="is the switch: it cannot be paused")
            if node.paused:
                raise LabError(f"{name} is paused already; end that with: ezha lab heal{dir_option(self.folder)}")
            self._stop_all(node)
            if not wait:
                self._resume_later(name, seconds)
                return
        try:
            time.sleep(seconds)
        finally:
            self.resume(name)

    def resume(self, name: str) -> None:
        """End a pause early; nothing happens to a node that is not paused."""
        with state.locked(self.folder):
            self._resume(self._node(name))

    # ---- faults

    def cut(self, what: str, name: str | None = None, one_way: bool = False, how: str | None = None) -> list[str]:
        """Cut ``net`` or ``disk`` of a node, or of all. Returns the names of the nodes.

        ``one_way``: what the node sends is dropped and it still hears; writes fail and reads work. ``how``: another
        fault of the disk than ``eio``, in the words of ``ha.lab.fault``.
        """
        if what not in ("net", "disk"):
            raise LabError(f"cannot cut {what!r}: there are net and disk")
        if how is not None and (what == "net" or one_way):
            raise LabError("--how is for `cut disk` without --one-way")
        with state.locked(self.folder):
            lab = self._load()
            if name is None:
                names = [node.name for node in lab.nodes if node.number]
            else:
                names = [self._no_client(name, "is the switch: cut the nodes instead").name]
            if what == "disk":
                for each in names:
                    self._fault(each, how or ("eio-write" if one_way else "eio"))
            else:
                self._set_net(dict.fromkeys(names, (True, not one_way)))
        return names

    def set_disk_fault(self, name: str, mode: str) -> None:
        """Put a fault (``ok``, ``eio``, ``hang-read``, ``delay=0.5``, …) in force on a node's disk.

        It holds for requests that hang or are delayed already, too.
        """
        with state.locked(self.folder):
            self._fault(name, mode)

    def disk_counters(self, name: str) -> dict[str, int]:
        """reads, writes, failed and waiting (hanging now) requests of a node's disk since its power-on."""
        node = self._powered(name, why="has no disk")
        self._need_faulty_disk()
        words = self._ask_disk(node, "?").split()[1:]
        return {key: int(value) for key, _, value in (word.partition("=") for word in words)}

    def heal(self) -> None:
        """Undo all cuts and faults; what hangs goes on; paused nodes go on."""
        with state.locked(self.folder):
            lab = self._load()
            for node in lab.nodes:
                self._resume(node)
                if node.fault != "ok":
                    self._fault(node.name, "ok")
            if any(node.mute or node.deaf for node in lab.nodes):
                self._set_net({node.name: (False, False) for node in lab.nodes})

    # ---- being in a node

    def popen(self, name: str, argv: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """Start a command in a node (or ``client``). ``options`` are subprocess.Popen's; ``env`` adds to a clean one.

        Its return code is the command's (128 + N after signal N). Killing it kills the command.
        """
        init = self._running(name)
        env = {**enter.environment(), **(options.pop("env", None) or {})}
        return subprocess.Popen(self._enter(init, argv), env=env, **options)

    def exec(
        self,
        name: str,
        argv: Sequence[str],
        timeout: float = 60.0,
        *,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a node (or ``client``) and wait for it.

        After ``timeout`` s it is killed and subprocess.TimeoutExpired raised. A daemon that it leaves behind
        with its output open does not delay the return.
        """
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write((input or "").encode())
            given.seek(0)
            child = self.popen(name, argv, stdin=given, stdout=out, stderr=err, env=env)
            try:
                code = child.wait(timeout)
            except BaseException:
                child.kill()
                child.wait()
                raise
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return subprocess.CompletedProcess(list(argv), code, texts[0], texts[1])

    def files(self, name: str) -> str:
        """The folder of the machine that holds a node's own files: cluster, etc, var-lib, var-log, var-tmp, root."""
        self._node(name)
        return self._files(name)

    def report(self) -> list[NodeReport]:
        lab = self._load()
        return [self._report(lab, node) for node in lab.nodes]

    # ---- how up is done

    def _check_needs(self) -> None:
        """Of the backend: raises LabError where what its nodes are made of is missing, before anything is made."""

    def _raise(self, plans: tuple[NodePlan, ...], timeout_s: float, start: bool, key: bool) -> None:
        """Of the backend: everything that ``up`` makes, from the lab's files to nodes that run."""
        os.makedirs(f"{self.folder}/run", mode=0o700, exist_ok=True)
        self._make_image("disk.img", DISK_BYTES)
        hosts = plan.hosts(plans)
        names = [node.name for node in plans]
        for name in (CLIENT, *names):
            rootfs.prepare(self._files(name), name, hosts, self._user)
        self._boot([CLIENT])
        self._boot(names)
        if self._install is not None:
            options = self._give_key(names) if key else ()
            self._in_all(names, [*self._install, *options], "the installation")
        for name in names:
            conf = f"{self._files(name)}/cluster/conf"
            os.makedirs(conf, exist_ok=True)
            for file, text in (("nodes", plan.nodes_file(plans)), ("monitor", plan.monitor_file(plans, timeout_s))):
                with open(f"{conf}/{file}", "w", encoding="ascii") as output:
                    output.write(text)
        if start:
            for name in names:
                for link in _BOOT_LINKS:
                    path = f"{self._files(name)}/etc/rc.d/{link}"
                    if not os.path.lexists(path):
                        os.symlink(_BOOT_SCRIPT, path)
            self._in_all(names, [_BOOT_SCRIPT, "start"], "ezha.init start")
        state.save(self.folder, replace(self._load(), up=True))

    def _start_where_no_boot_does(self, name: str) -> None:
        """Of the backend: ``ezha.init start`` after a boot."""
        if not os.path.lexists(f"{self._files(name)}/etc/rc.d/{_BOOT_LINKS[0]}"):
            self._in_all([name], [_BOOT_SCRIPT, "start"], "ezha.init start")

    def _make_image(self, name: str, size: int) -> None:
        """A disk of ``size`` bytes, with holes; one that was kept stays as it is."""
        image = os.open(f"{self.folder}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(image, size)
        os.close(image)

    def _make_key(self) -> str:
        """The file with the lab's key; it is the machine's."""
        path = f"{self.folder}/key"
        if not os.path.lexists(path):
            write_secret(path, secrets.token_hex(32) + "\n")
        return path

    def _give_key(self, names: list[str]) -> tuple[str, ...]:
        """A file with the lab's key on each node, and the options of the installation that name it."""
        with open(self._make_key(), encoding="ascii") as file:
            text = file.read()
        for name in names:
            write_secret(f"{self._files(name)}{_KEY}", text)
        return ("--key", _KEY)

    def _boot(self, names: list[str]) -> None:
        """Power on, all at once. What has begun is on record when this raises."""
        lab = self._load()
        born: list[Newborn] = []
        try:
            disks = {name: self._newborn_disk(name, born) for name in names if name != CLIENT and lab.faulty_disk}
            for name, newborn in disks.items():
                self._change(replace(self._node(name), disk=self._identify(newborn)))
                newborn.go(self._disk_job(name))
            # In a user namespace the disk is seen through its keeper's mounts, so it has to be there first.
            served = {name: self._disk_ready(name, disks[name]) for name in disks if lab.user}
            inits = {name: self._newborn_init(name, born) for name in names}
            for name, newborn in inits.items():
                self._change(replace(self._node(name), init=self._identify(newborn)[0]))
            self._plug([name for name in names if name != CLIENT])
            served |= {name: self._disk_ready(name, disks[name]) for name in disks if not lab.user}
            for name, newborn in inits.items():
                newborn.go(self._init_job(name, served.get(name, f"{self.folder}/disk.img")))
            for newborn in inits.values():
                newborn.ready()
        finally:
            for newborn in born:
                newborn.close()

    def _newborn_disk(self, name: str, born: list[Newborn]) -> Newborn:
        os.makedirs(f"{self.folder}/run/{name}.mnt", exist_ok=True)
        job = {"name": name, "user": self._user_of()}
        born.append(Newborn("ha.lab.faultdisk", job, self._log(name)))
        return born[-1]

    def _newborn_init(self, name: str, born: list[Newborn]) -> Newborn:
        """Of the backend, but for the client's."""
        lab = self._load()
        disk = lab.node(name).disk
        user = "new" if lab.user and name == CLIENT else self._user_of()
        job = {"name": name, "user": user, "mounts_of": disk[0].pid if lab.user and disk else 0}
        born.append(Newborn("ha.lab.init", job, self._log(name)))
        return born[-1]

    def _user_of(self) -> str:
        """The pid whose user namespace is the lab's, or nothing."""
        lab = self._load()
        client = lab.node(CLIENT).init
        return str(client.pid) if lab.user and client else ""

    def _identify(self, newborn: Newborn) -> tuple[ProcessId, ...]:
        found = tuple(process.identify(pid) for pid in newborn.pids())
        known = tuple(each for each in found if each is not None)
        if len(known) != len(found):
            raise LabError(f"a process of the lab ended as soon as it was born; see {self.folder}/run")
        return known

    def _disk_job(self, name: str) -> dict[str, Any]:
        lab = self._load()
        return {
            "lab": lab.id,
            "image": f"{self.folder}/disk.img",
            "mountpoint": f"{self.folder}/run/{name}.mnt",
            "control": self._control(name),
            "fault": lab.node(name).fault,
            "loop": self._loop_devices(),
            "log": self._log(name),
        }

    def _loop_devices(self) -> bool:
        """Of the backend: whether nodes take their disk as a block device of the machine, and not as a file."""
        return not self._load().user

    def _disk_ready(self, name: str, newborn: Newborn) -> str:
        """Where the node's disk is to be had: ``MAJOR:MINOR``, or a file's path."""
        answer = newborn.ready()
        if "device" not in answer:
            return str(answer["file"])
        self._change(replace(self._node(name), device=answer["device"]))
        return str(answer["number"])

    def _init_job(self, name: str, disk: str) -> dict[str, Any]:
        """Of the backend, but for the client's."""
        if name == CLIENT:
            mounts, links = rootfs.client_mounts(self._files(name)), switch.bridge_links()
        else:
            mounts = rootfs.node_mounts(self._files(name), keep_visible(), disk)
            links = switch.node_links(NodePlan(self._node(name).number))
        return {"mounts": [asdict(mount) for mount in mounts], "links": links, "run": name != CLIENT}

    def _plug(self, names: list[str]) -> None:
        """Of the backend: a port of the switch for each, with the node's name."""
        lines = []
        for name in names:
            node = self._node(name)
            assert node.init is not None
            lines.append(switch.port_links(NodePlan(node.number), node.init.pid))
        if lines:
            self._in_client(["ip", "-batch", "-"], "".join(lines))

    def _unplug(self, node: NodeState) -> None:
        """Free the node's port now; the kernel would do it too, but later."""
        self._in_client(["ip", "-force", "-batch", "-"], f"link delete {node.name}\n", may_fail=True)

    def _in_all(self, names: list[str], argv: list[str], what: str) -> None:
        """Run a command in several nodes at once. Raises LabError with its last words."""
        with ExitStack() as files:
            running = []
            for name in names:
                output = files.enter_context(tempfile.TemporaryFile())
                child = self.popen(name, argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
                running.append((name, child, output))
            failures = []
            for name, child, output in running:
                try:
                    code: int | str = child.wait(_STEP_TIMEOUT_S)
                except BaseException as error:
                    for _name, each, _output in running:
                        each.kill()
                        each.wait()
                    if not isinstance(error, subprocess.TimeoutExpired):
                        raise
                    code = f"none within {_STEP_TIMEOUT_S:g} s"
                output.seek(0)
                words = output.read().decode(errors="replace").strip().splitlines()
                if code:
                    failures.append(
                        f"{what} fails on {name} (exit {code}): {words[-1] if words else 'it said nothing'}"
                    )
        if failures:
            raise LabError(failures[0])

    # ---- how down is done

    def _take_down(self, keep: bool) -> None:
        lab = self._load()
        self._kill(lab.nodes, lab.helpers)
        for entry in self._entries[:1] if keep else self._entries:
            _remove(f"{self.folder}/{entry}")
        for entry in self._files_of_all:
            if not keep and os.path.lexists(f"{self.folder}/{entry}"):
                os.unlink(f"{self.folder}/{entry}")
        state.forget(self.folder)
        state.remove_lock(self.folder)
        if lab.made_folder and not keep:
            Path(self.folder).rmdir()

    def _kill(self, nodes: Iterable[NodeState], helpers: Iterable[ProcessId] = ()) -> None:
        """Everything at once: a disk's server too, or a process that waits for a hung disk could not die."""
        nodes = tuple(nodes)
        doomed = (
            [each.init for each in nodes if each.init] + [each for node in nodes for each in node.disk] + [*helpers]
        )
        for each in doomed:
            process.send(each, signal.SIGKILL)
        if left := process.wait_gone(doomed, _END_S):
            pids = ", ".join(str(each.pid) for each in left)
            raise LabError(
                f"still there {_END_S:g} s after SIGKILL: process {pids}; see /proc/PID/wchan, then try again"
            )
        if not self._load().user:
            for node in nodes:
                self._release_loops(node)

    def _release_loops(self, node: NodeState) -> None:
        """The kernel took the node's disk back when its keeper ended; what the node attached itself is still there."""
        names = loop.attached()
        if not names:
            return
        label = f"ezha-lab:{self._load().id}:{node.name}"
        own = _inodes(self._files(node.name))
        for name in names:
            try:
                backing = loop.backing_of(name)
                if backing is not None and (backing[2] == label or backing[:2] in own):
                    loop.detach(name)
            except FileNotFoundError:  # another lab's, gone meanwhile
                continue

    # ---- small things

    def _load(self) -> LabState:
        lab = state.load(self.folder)
        if lab is None:
            raise LabError(f"no lab in {self.folder}; make one with: ezha lab up{dir_option(self.folder)}")
        return lab

    def _node(self, name: str) -> NodeState:
        return self._load().node(name)

    def _change(self, node: NodeState) -> None:
        state.save(self.folder, self._load().with_node(node))

    def _no_client(self, name: str, why: str) -> NodeState:
        node = self._node(name)
        if not node.number:
            raise LabError(f"{name} {why}")
        return node

    def _powered(self, name: str, why: str) -> NodeState:
        node = self._no_client(name, why)
        if not process.alive(node.init):
            raise LabError(f"{name} is powered off")
        return node

    def _running(self, name: str) -> ProcessId:
        node = self._node(name)
        if node.init is None or not process.alive(node.init):
            raise LabError(f"{name} is powered off")
        return node.init

    def _enter(self, init: ProcessId, argv: Sequence[str], kinds: tuple[str, ...] = enter.NODE) -> list[str]:
        return helper_argv("ha.lab.enter", str(init.pid), str(init.start), ",".join(kinds), *argv)

    def _in_client(self, argv: list[str], text: str, may_fail: bool = False) -> None:
        """Run one of the machine's tools in the switch."""
        init = self._running(CLIENT)
        done = subprocess.run(
            self._enter(init, argv, enter.NETWORK),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": TOOLS_PATH},
        )
        if done.returncode != 0 and not may_fail:
            raise LabError(f"{argv[0]}: {(done.stderr.splitlines() or ['failed'])[0]}")

    def _set_net(self, wanted: Mapping[str, tuple[bool, bool]]) -> None:
        """``wanted``: (mute, deaf) by node. On failure all is as before."""
        before = self._load()
        for name, (mute, deaf) in wanted.items():
            self._change(replace(self._node(name), mute=mute, deaf=deaf))
        try:
            self._apply_rules()
        except LabError:
            state.save(self.folder, before)
            raise

    def _apply_rules(self) -> None:
        if shutil.which("nft", path=TOOLS_PATH) is None:
            raise LabError("nft is not installed, so the network cannot be cut; on Debian: apt install nftables")
        self._in_client(["nft", "-f", "-"], switch.rules(self._load().nodes))

    def _fault(self, name: str, mode: str) -> None:
        try:
            wanted = fault.parse(mode)
        except ValueError as error:
            raise LabError(str(error)) from None
        node = self._no_client(name, "has no disk")
        self._need_faulty_disk()
        if process.alive(node.init):
            self._ask_disk(node, str(wanted))
        self._change(replace(node, fault=str(wanted)))

    def _ask_disk(self, node: NodeState, line: str) -> str:
        try:
            return control.ask(self._control(node.name), line)
        except (OSError, ValueError) as error:
            raise LabError(f"the disk of {node.name} does not answer ({error}); power the node off and on") from None

    def _need_faulty_disk(self) -> None:
        if not self._load().faulty_disk:
            raise LabError(
                "the disk cannot be cut: it is a plain file here. "
                "Faults need /dev/fuse: be root, or let users open it before `ezha lab up`"
            )

    def _can_fuse(self) -> bool:
        needed = ["/dev/fuse"] if self._user else ["/dev/fuse", "/dev/loop-control"]
        return all(os.access(path, os.R_OK | os.W_OK) for path in needed)

    def _stop_all(self, node: NodeState) -> None:
        """Of the backend: nothing runs in the node from here on, and that is on record."""
        assert node.init is not None
        before = tuple(seen.id for seen in process.members(node.init) if seen.state == "T")
        self._change(replace(node, paused=True, stopped_before=before))
        self._freeze(node)

    def _freeze(self, node: NodeState) -> None:
        """Until a look at all of them finds none that runs; those made meanwhile are stopped in the next round."""
        assert node.init is not None
        deadline = time.monotonic() + _FREEZE_S
        while True:
            running = [seen.id for seen in process.members(node.init) if seen.state not in "TtZXD"]
            if not running or time.monotonic() > deadline:
                return
            for each in running:
                process.send(each, signal.SIGSTOP)

    def _resume(self, node: NodeState) -> None:
        """Of the backend."""
        if not node.paused:
            return
        if node.init is not None:
            for seen in process.members(node.init):
                if seen.id not in node.stopped_before:
                    process.send(seen.id, signal.SIGCONT)
        self._change(replace(node, paused=False, stopped_before=()))

    def _resume_later(self, name: str, seconds: float) -> None:
        job = {"folder": self.folder, "node": name, "seconds": seconds}
        newborn = Newborn("ha.lab.resume", job, self._log(name))
        try:
            lab = self._load()
            helpers = tuple(each for each in lab.helpers if process.alive(each)) + self._identify(newborn)
            state.save(self.folder, replace(lab, helpers=helpers))
            newborn.go({})
            newborn.ready()
        finally:
            newborn.close()

    def _report(self, lab: LabState, node: NodeState) -> NodeReport:
        on = process.alive(node.init)
        power = "off" if node.init is None else "ended" if not on else "paused" if node.paused else "on"
        net = "cut" if node.mute and node.deaf else "mute" if node.mute else "deaf" if node.deaf else "ok"
        return NodeReport(
            name=node.name,
            power=power,
            address=NodePlan(node.number).address if node.number else plan.CLIENT_ADDRESS,
            pid=node.init.pid if node.init is not None and on else None,
            processes=self._processes(node.init) if node.init is not None and on else 0,
            net=net,
            disk="-" if not node.number else node.fault if lab.faulty_disk else "plain",
        )

    def _processes(self, first: ProcessId) -> int:
        """Of the backend: how many the machine sees."""
        return len(process.members(first))

    def _make_folder(self) -> bool:
        """Whether it was made just now. Raises LabError."""
        made = False
        try:
            os.makedirs(os.path.dirname(self.folder), exist_ok=True)
            os.mkdir(self.folder, 0o700)
            made = True
        except FileExistsError:
            made = False
        except OSError as error:
            raise LabError(f"cannot make {self.folder}: {error.strerror}; choose another with --dir") from None
        state.check_owner(self.folder)
        return made

    def _files(self, name: str) -> str:
        return f"{self.folder}/nodes/{name}"

    def _log(self, name: str) -> str:
        return f"{self.folder}/run/{name}.log"

    def _control(self, name: str) -> str:
        return f"{self.folder}/run/{name}.disk"


def _remove(folder: str) -> None:
    """Raises LabError. Patient with a copying of /etc that was cut short by the death of ``up`` and is just ending."""
    deadline = time.monotonic() + _END_S
    while os.path.isdir(folder):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if time.monotonic() > deadline:
                raise LabError(f"cannot remove {error.filename}: {error.strerror}") from None
            time.sleep(0.01)


def _inodes(folder: str) -> set[tuple[int, int]]:
    """(device, inode) of all files below ``folder``."""
    found = set()
    for path, _folders, files in os.walk(folder):
        for file in files:
            info = os.lstat(os.path.join(path, file))
            found.add((info.st_dev, info.st_ino))
    return found
