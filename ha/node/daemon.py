"""nmond: beginning, signals, and end of the process that runs a node.

``main`` is what the launcher ``$EZ_BIN/nmond`` calls. Exit codes: 0 it was told to end, 1 it may not run here
(another one does), 2 its configuration or its call is wrong, 70 it failed and wants to be started again.
"""

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn

from ha.fsm.engine import Engine
from ha.node import bridge, handover, process, realtime
from ha.node.beginning import first_engine
from ha.node.boot import boot_identity
from ha.node.config import ConfigError, Configuration, load
from ha.node.control import ControlServer
from ha.node.desk import FrontDesk
from ha.node.layout import Layout, LayoutError, node_name
from ha.node.lock import HeldError, Lock, node_lock
from ha.node.log import Log, LogFile, Syslog
from ha.node.loop import Loop
from ha.node.running import Node
from ha.node.store import Store
from ha.node.streams import occupy
from ha.node.successor import Successor, program
from ha.node.systemd import Systemd
from ha.node.tidying import Tidying

EXIT_REFUSED: Final = 1
EXIT_CONFIGURATION: Final = 2
EXIT_FAILED: Final = 70
BROKEN_PAUSE_S: Final = 5.0
"""systemd starts a failed nmond again at once: one that finds a broken configuration takes its time to end."""
READY_VARIABLE: Final = "EZ_READY_FD"
"""The supervisor's descriptor, to which a byte is written when nmond is ready."""
ROOM_VARIABLE: Final = "EZ_TITLE_ROOM"
"""Its length makes room for the titles that agents look for in ``ps``."""
WORKERS_END_S: Final = 1.2
LOCK_WAIT_S: Final = 12.0
"""So long a command that changes the record without nmond may need: it may ask a controller for its status."""
LOCK_RETRY_S: Final = 0.02
USAGE: Final = "usage: nmond [--foreground | --probe | --version]"


class Unusable(Exception):
    """nmond cannot run here, and says why in a line."""

    def __init__(self, text: str, code: int, pause: float = 0.0) -> None:
        super().__init__(text)
        self.code = code
        self.pause = pause
        """So many seconds it waits before it ends, for whoever starts it again at once."""


class Daemon:
    """The process. Implements ``ha.node.desk.Life``."""

    def __init__(self, layout: Layout, foreground: bool, alone: bool = False) -> None:
        """``alone``: this process is nothing but nmond, so its priority, memory and collector are nmond's to set."""
        self._alone = alone
        self.layout = layout
        self.foreground = foreground
        self.code = 0
        self.log = Log(LogFile(f"{layout.log}/nmond.log"), Syslog())
        self.loop = Loop()
        self.systemd = Systemd()
        self.lock: Lock
        self.node: Node
        self.desk: FrontDesk
        self.control: ControlServer
        self.successor: Successor
        self._signals: list[int] = []
        self._wake: tuple[socket.socket, socket.socket] = socket.socketpair()

    # ---------------------------------------------------------------------------------------- beginning

    def begin(self, inherited: int) -> None:
        """Start afresh, or go on with what the descriptor ``inherited`` holds. Raises Unusable."""
        sys.excepthook = self._crashed
        try:
            os.makedirs(self.layout.log, mode=0o750, exist_ok=True)
        except OSError as error:
            raise Unusable(f"{self.layout.log} cannot be made: {error.strerror}", EXIT_CONFIGURATION) from None
        if self.foreground and sys.stderr.isatty():
            self.log.also = lambda line: print(line, file=sys.stderr, flush=True)
        name = node_name()
        data = self._inheritance(inherited)
        if data is None:
            self._lock_node()
        else:
            self.lock = Lock(self.layout.lock, int(data["lock"]))
            os.set_inheritable(self.lock.fd, False)
        try:
            configuration = load(self.layout, name)
        except ConfigError as error:
            if self.foreground and os.path.exists(self.layout.pid):
                # One ran here and died: its services are unguarded until the files are mended, so it is tried again.
                # The supervisor does that after code 2, which systemd takes for the end.
                raise Unusable(str(error), EXIT_FAILED, BROKEN_PAUSE_S) from None
            raise Unusable(str(error), EXIT_CONFIGURATION) from None
        try:
            boot_id = boot_identity()
            store = Store(self.layout, name)
        except (OSError, ValueError) as error:
            raise Unusable(f"this boot cannot be told from others: {error}", EXIT_FAILED) from None
        self.node = Node(self.layout, name, configuration, boot_id, self.log, self.loop, store)
        self.desk = FrontDesk(self.node, self)
        self.control = ControlServer(self.loop, self.layout.control, self.desk, self.log)
        self.successor = Successor(self.node, self.lock, self.control, self._before_exec)
        self.node.finished = self._left
        self._catch_signals()
        gc.collect()
        # What is there now stays: the workers' copies of these pages are never touched by a collection.
        gc.freeze()
        if self._alone:
            self.node.tidy = Tidying(self.loop.clock, lambda: self.loop.deadline())
        if self._alone and configuration.options.protecting.realtime:
            self._be_prompt()
        try:
            if data is None:
                self._start(configuration, boot_id, store)
            else:
                self._go_on(data, boot_id)
        except OSError as error:
            raise Unusable(f"cannot start: {error}", EXIT_FAILED) from None
        self._ready()

    def _be_prompt(self) -> None:
        """What is refused is told: nmond is then as late as any other process on a busy machine."""
        told = ", ".join(realtime.all_of_it())
        if told:
            self.log.warning(f"{told}; on a busy machine nmond may be late: give it longer timeouts in conf/monitor")
        self.node.prompt = self.node.workers.prompt = _prompt

    def _lock_node(self) -> None:
        """Another nmond that runs is a reason not to; a command that changes the record without nmond is waited for."""
        until = time.monotonic() + LOCK_WAIT_S
        try:
            while True:
                try:
                    self.lock = node_lock(self.layout)
                    return
                except HeldError as error:
                    if error.pid and error.pid == self._ready_pid() and process.start_time(error.pid) is not None:
                        raise Unusable(f"nmond already runs here, pid {error.pid}", EXIT_REFUSED) from None
                    if time.monotonic() >= until:
                        text = f"{error}, which does not let go of it within {LOCK_WAIT_S:g} s"
                        raise Unusable(text, EXIT_FAILED) from None
                time.sleep(LOCK_RETRY_S)
        except OSError as error:
            text = f"{self.layout.run} cannot be used: {error.strerror or error}"
            if isinstance(error, PermissionError) and os.geteuid() != 0:
                text += "; nmond runs as root"
            raise Unusable(text, EXIT_REFUSED) from None

    def _ready_pid(self) -> int:
        """Of the nmond that was ready last, 0 where it ended in an orderly way."""
        try:
            with open(self.layout.pid, encoding="ascii", errors="replace") as file:
                word = file.read(32).strip()
        except FileNotFoundError:
            return 0
        return int(word) if word.isdigit() else 0

    def _start(self, configuration: Configuration, boot_id: str, store: Store) -> None:
        """As after a boot, a stop or a crash: from the state of record, and what is found running."""
        loaded = store.load(boot_id)
        for problem in loaded.problems:
            self.log.error(problem)
        node = self.node
        node.runner.prepare()
        self._reap_strangers()
        nonce, now = int.from_bytes(os.urandom(4)), self.loop.clock()
        node.guarding.open(boot_id)
        until = node.guarding.left_until
        engine = first_engine(Engine, configuration, node.name, loaded, nonce, now, node.runner.adopt(), until)
        incarnation = engine.incarnation
        what = "after a boot" if loaded.boot else "in the same boot" if loaded.record else "for the first time"
        if loaded.unreadable:
            what = "without knowing what runs here"
        self.log.notice(f"nmond starts on {node.name} {what}, incarnation {incarnation.counter}")
        for warning in configuration.warnings:
            self.log.warning(str(warning))
        node.begin(engine, resumed=False)
        node.start_workers()
        self.control.listen()

    def _reap_strangers(self) -> None:
        """Children of the program that this process was before an exec, of which nothing is known any more."""
        for pid in process.children():
            self._watch_stranger(pid)

    def _watch_stranger(self, pid: int) -> None:
        pidfd = os.pidfd_open(pid)

        def ended() -> None:
            self.loop.unwatch(pidfd)
            os.close(pidfd)
            process.reap(pid)

        self.loop.watch(pidfd, ended)

    def _inheritance(self, fd: int) -> dict[str, Any] | None:
        """What the program before the exec left, or None where there was none."""
        if fd < 0:
            return None
        try:
            data = handover.read(fd)
            os.close(fd)
            if any(type(data.get(what)) is not int for what in ("lock", "control", "bridge")):
                raise handover.HandoverError("lock, control socket or bridge are missing")
        except handover.HandoverError as error:
            self._disinherit(str(error))
        return data

    def _go_on(self, data: Mapping[str, Any], boot_id: str) -> None:
        """After an exec: the same incarnation, workers and scripts."""
        node = self.node
        try:
            node.runner.prepare()
            node.guarding.open(boot_id)
            # From here on nobody speaks for this node until it does so itself.
            node.unpack(bridge.take(int(data["bridge"])))
            self.control.listen(int(data["control"]))
        except (handover.HandoverError, ValueError, KeyError, TypeError, OSError) as error:
            self._disinherit(f"{type(error).__name__}: {error}")
        known = node.workers.pids | node.outside.pids | {job.pid for job in node.runner.jobs.values()}
        known |= {node.notifier.pid, node.guarding.pid}
        for pid in process.children():
            if pid not in known:
                self._watch_stranger(pid)

    def _disinherit(self, why: str) -> NoReturn:
        """The hand-over is no use: begin anew as after a crash, with nothing of it left open."""
        self.log.error(f"what the nmond before this one left cannot be used ({why}); it starts as after a crash")
        process.close_all_but(())
        argv = program()
        os.execve(argv[0], argv, os.environ)

    def _ready(self) -> None:
        with open(self.layout.pid, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        self.node.start_companions()
        self.systemd.say("READY=1")
        self._watchdog()
        if not self.foreground:
            process.null_stdio()
        ready = os.environ.pop(READY_VARIABLE, "")
        if ready.isdigit():
            try:
                os.write(int(ready), b"0")
                os.close(int(ready))
            except OSError as error:
                self.log.warning(f"whoever waits for the start does not hear of it: {error}")

    def _watchdog(self) -> None:
        every = self.systemd.watchdog_every
        if every:
            self.systemd.say("WATCHDOG=1")
            self.loop.after(every, self._watchdog)

    # ------------------------------------------------------------------------------------------ signals

    def _catch_signals(self) -> None:
        ours, theirs = self._wake
        for end in (ours, theirs):
            end.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._signalled)
        self.loop.watch(ours.fileno(), self._woken)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _woken(self) -> None:
        try:
            self._wake[0].recv(4096)
        except BlockingIOError:
            return
        numbers, self._signals = self._signals, []
        for number in numbers:
            self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self.log.notice(f"{signal.Signals(number).name}: nmond ends, services run on")
                self.kill()
            case signal.SIGHUP:
                self.systemd.say("RELOADING=1")
                self.node.reload()
                self.systemd.say("READY=1")
            case signal.SIGUSR1:
                self.log.louder()
            case signal.SIGUSR2:
                self.log.quieter()

    # ---------------------------------------------------------------------------------------------- end

    def kill(self) -> None:
        self.loop.stop()

    def restart(self, tell: Callable[[bool, str], None]) -> None:
        self.successor.restart(tell)

    def _before_exec(self) -> None:
        self.log.notice("nmond replaces itself by exec; services run on")
        # The new nmond starts one of its own.
        self.node.stop_companions()
        self.desk.break_off("nmond is replaced; the action goes on, service -s shows its state")

    def _left(self) -> None:
        self.desk.left()
        self.loop.stop()

    def run(self) -> int:
        """Until somebody ends it; the exit code."""
        self.loop.run()
        self._end()
        return self.code

    def _end(self) -> None:
        """Workers end, what was decided is told, nothing is left over in $EZ_RUN that looks alive."""
        self.systemd.say("STOPPING=1")
        node = self.node
        self.loop.first, self.loop.deadline = _nothing, _never
        self.loop.idle = [node.outbox.note, node.outbox.local]
        self.desk.break_off("nmond ends; what became of the action is not known")
        node.workers.stop()
        node.stop_companions()
        node.outside.stop()
        node.guarding.close()
        until = self.loop.clock() + WORKERS_END_S
        parts = (node.workers, node.outside, node.guarding)
        while self.loop.clock() < until and not (all(part.gone for part in parts) and self.control.idle):
            self.loop.turn(0.05)
        self.loop.drain()
        if not node.workers.gone:
            self.log.warning("a heartbeat worker does not end (its device may hang); it ends with its device")
        self.control.close()
        with suppress(OSError):  # Failing here would have the supervisor start what was told to end.
            os.unlink(self.layout.pid)
        self.log.notice("nmond has ended")

    def _crashed(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """An exception that nobody expected: told, and the supervisor starts a new nmond. Services are untouched."""
        import traceback  # costs start-up time, and is hardly ever needed

        try:
            self.log.error(f"nmond failed and ends: {kind.__name__}: {error}; services run on")
            self.log.traceback("".join(traceback.format_exception(kind, error, trace)))
            print(f"nmond: failed: {kind.__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(EXIT_FAILED)


def _prompt() -> None:
    """In a child: what is refused there was refused to nmond, too, which has told so."""
    realtime.all_of_it()


def _nothing() -> None:
    return


def _never() -> float:
    return float("inf")


def _make_room(configuration_titles: int) -> None:
    """A process title takes the room of the arguments and the environment: begin anew with more, where it is short."""
    with open("/proc/self/cmdline", "rb") as arguments, open("/proc/self/environ", "rb") as environment:
        room = len(arguments.read()) + len(environment.read())
    if room > configuration_titles + 64 or ROOM_VARIABLE in os.environ:
        return
    argv = program()
    os.execve(argv[0], argv, {**os.environ, ROOM_VARIABLE: "-" * (configuration_titles + 64)})


def main(argv: list[str] | None = None) -> int:
    """Run nmond; the exit code."""
    occupy()
    given = sys.argv[1:] if argv is None else argv
    if given == ["--version"]:
        import ha

        print(f"nmond (ezha) {ha.__version__}")
        return 0
    if given not in ([], ["--foreground"], ["--probe"], ["--foreground", "--probe"]):
        print(USAGE, file=sys.stderr)
        return EXIT_CONFIGURATION
    os.umask(0o077)
    os.chdir("/")
    try:
        layout = Layout.find(os.environ, sys.argv[0])
        if "--probe" in given:
            load(layout, node_name())
            return 0
        return _run(layout, "--foreground" in given)
    except (LayoutError, ConfigError) as error:
        return _say(str(error), EXIT_CONFIGURATION)


def _run(layout: Layout, foreground: bool) -> int:
    inherited = handover.inherited(os.environ)
    if inherited < 0:
        _make_room(len(layout.bin) + 300)
    from setproctitle import setproctitle

    setproctitle(f"{layout.bin}/nmond")
    daemon = Daemon(layout, foreground, alone=True)
    try:
        daemon.begin(inherited)
    except Unusable as error:
        for line in str(error).splitlines():
            daemon.log.error(line)
        time.sleep(error.pause)
        return _say(str(error), error.code)
    return daemon.run()


def _say(text: str, code: int) -> int:
    told = "".join(f"nmond: {line}\n" for line in text.splitlines())
    try:
        os.write(2, told.encode(errors="replace"))
    except OSError:
        # Whoever started it does not listen any more; the log has it, too.
        return code
    return code


if __name__ == "__main__":
    sys.exit(main())
