"""Starts nmond, and starts it again at once when it dies (where systemd does not do that).

``main`` is what the launcher ``$EZ_BIN/nmond-supervisor`` calls. It stays in the foreground until nmond is ready, or
has said why it cannot run, so that the operator who starts it reads that. Then it goes on in the background, and ends
when nmond ends on purpose. It lives as long as the node and must never fail, so it does next to nothing, and imports
next to nothing; it knows no configuration.
"""

import ctypes
import os
import signal
import sys
import time

from ha.node.layout import Layout, LayoutError
from ha.node.streams import occupy

EXIT_REFUSED = 1
EXIT_CONFIGURATION = 2
READY_VARIABLE = "EZ_READY_FD"
"""As in ``ha.node.daemon``."""
READY_TIMEOUT_S = 15.0
"""So long the operator waits for nmond to be ready."""
SHORT_LIFE_S = 1.0
"""An nmond that died within this time is started again only after a delay, which doubles."""
BACKOFF_S = (0.1, 5.0)
LOG_LIMIT = 4 << 20
"""Nothing is added to a log larger than this: nmond, which rotates it, is not there to do so."""
_PR_SET_CHILD_SUBREAPER = 36
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def next_delay(lived: float, delay: float) -> float:
    """Seconds until nmond is started again. ``lived``: seconds that it ran; ``delay``: the delay before that."""
    if lived >= SHORT_LIFE_S:
        return 0.0
    return min(BACKOFF_S[1], max(BACKOFF_S[0], delay * 2))


def goes_on(code: int, was_ready: bool, ever_ready: bool) -> bool:
    """Whether nmond is started again after it ended with ``code`` (negative: by that signal).

    ``was_ready``: this one was; ``ever_ready``: this one or one before it. 0: it was told to end. 1: it may not run
    here. 2: its configuration is wrong: told to the operator at the start; later it is tried again, since services may
    run, and the file may be mended.
    """
    if code == EXIT_REFUSED:
        return was_ready
    if code == EXIT_CONFIGURATION:
        return ever_ready
    return code != 0


class Supervisor:
    """One nmond after another."""

    def __init__(self, layout: Layout, ready: int, errors: int) -> None:
        """``ready``: nmond writes a byte there; ``errors``: its standard error until it is ready."""
        self._layout = layout
        self._ready = ready
        self._errors = errors
        self._pid = 0
        self._ended = False
        self._ever_ready = False
        self._held = -1

    def run(self) -> int:
        """Until nmond ends for good; its exit code."""
        delay = 0.0
        for number in _FORWARDED:
            signal.signal(number, self._forward)
        while True:
            began = time.monotonic()
            self._start()
            if not self._pid:
                return 0
            code = os.waitstatus_to_exitcode(self._wait())
            pid, self._pid = self._pid, 0
            self._hold()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            was_ready = self._was_ready(pid)
            if was_ready:
                self._let_go()
            self._ever_ready = self._ever_ready or was_ready
            if self._ended or not goes_on(code, was_ready, self._ever_ready):
                if code:
                    self._log(f"nmond (pid {pid}) {how}; it is not started again")
                self._tell(b"1" if code == EXIT_REFUSED else b"2" if code else b"0")
                return max(0, code)
            # On a busy machine it takes a while to fail, too: what was never ready has not lived.
            delay = next_delay(time.monotonic() - began if was_ready else 0.0, delay)
            if code == EXIT_CONFIGURATION:
                delay = BACKOFF_S[1]
            self._log(f"nmond (pid {pid}) {how}; started again {f'in {delay:g} s' if delay else 'at once'}")
            self._sleep(delay)
            if self._ended:
                return 0

    def _start(self) -> None:
        argv = command(self._layout)
        # Signals that come between fork and exec are for the child as it will be, not for a copy of this program; and
        # none may be looked at here before it is known whom to forward it to.
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
        try:
            if not self._ended:
                self._pid = os.fork()
                if self._pid == 0:
                    self._become(argv)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)

    def _become(self, argv: list[str]) -> None:
        try:
            for number in _FORWARDED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
            environ = dict(os.environ)
            if self._ready >= 0:
                os.dup2(self._errors, 2)
                os.set_inheritable(self._ready, True)
                environ[READY_VARIABLE] = str(self._ready)
            os.execve(argv[0], argv, environ)
        except OSError as error:
            os.write(2, f"nmond-supervisor: {argv[0]} cannot be executed: {error.strerror}\n".encode())
            os._exit(EXIT_CONFIGURATION)
        finally:
            os._exit(70)

    def _wait(self) -> int:
        """The status with which nmond ended; orphans that became ours are reaped on the way."""
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == self._pid:
                return status

    def _forward(self, number: int, frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._ended = True
        if self._pid:
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                return

    def _sleep(self, delay: float) -> None:
        until = time.monotonic() + delay
        while not self._ended and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _was_ready(self, pid: int) -> bool:
        try:
            with open(self._layout.pid, encoding="ascii", errors="replace") as file:
                return file.read(32).strip() == str(pid)
        except OSError:
            return False

    def _hold(self) -> None:
        """Keep a file of ``$EZ_RUN`` open: whoever ends ezha finds this process by it while there is no nmond."""
        if self._held >= 0:
            return
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._held = os.open(f"{self._layout.run}/supervisor", flags, 0o600)
        except OSError as error:
            self._log(f"{self._layout.run}/supervisor cannot be opened: {error.strerror}")

    def _let_go(self) -> None:
        """The operator has gone: what a later nmond says is only for its log."""
        if self._ready >= 0:
            os.close(self._ready)
            os.close(self._errors)
            self._ready = self._errors = -1

    def _tell(self, byte: bytes) -> None:
        """To whoever still waits for the start."""
        if self._ready < 0:
            return
        try:
            os.write(self._ready, byte)
        except OSError:
            return

    def _log(self, text: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}.000 nmond-supervisor[{os.getpid()}] error: {text}\n"
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(f"{self._layout.log}/nmond.log", flags, 0o640)
            try:
                if os.fstat(fd).st_size < LOG_LIMIT:
                    os.write(fd, line.encode())
            finally:
                os.close(fd)
        except OSError:
            # There is nowhere else to say it; nmond itself says that its log cannot be written.
            return


def command(layout: Layout) -> list[str]:
    """How nmond is started."""
    launcher = f"{layout.bin}/nmond"
    if os.access(launcher, os.X_OK):
        return [launcher]
    return [sys.executable, "-m", "ha.node.daemon"]


def _subreaper() -> None:
    """What nmond leaves behind becomes our child, and is reaped even where pid 1 does not do that."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _background(layout: Layout, ready: int, errors: int) -> None:
    """The process that stays: no terminal, no folder that it holds, nothing open but what it needs."""
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    low = 3
    for fd in sorted({ready, errors}):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
    _subreaper()
    code = 70
    try:
        code = Supervisor(layout, ready, errors).run()
    finally:
        os._exit(code)


def _await(ready: int, errors: int) -> int:
    """Show what nmond says until it is ready; the exit code for the operator."""
    import select

    until = time.monotonic() + READY_TIMEOUT_S
    open_ends = {ready, errors}
    byte = b""
    while open_ends and (left := until - time.monotonic()) > 0:
        for fd in select.select(list(open_ends), [], [], left)[0]:
            data = os.read(fd, 4096)
            if fd == errors and data:
                _complain(data)
            elif fd == ready and data:
                byte = data
                open_ends.discard(fd)
            elif not data:
                open_ends.discard(fd)
        if byte == b"0":
            return 0
        if byte:
            # Whatever nmond said before it ended is in the pipe by now.
            os.set_blocking(errors, False)
            try:
                while data := os.read(errors, 4096):
                    _complain(data)
            except BlockingIOError:
                pass
            return int(byte)
    _complain(b"nmond-supervisor: nmond is not ready yet; see its log\n")
    return EXIT_REFUSED


def _complain(text: bytes) -> None:
    try:
        os.write(2, text)
    except OSError:
        return  # nobody reads it; nmond's log has it


def main() -> int:
    """Start nmond under a supervisor; the exit code for the operator."""
    occupy()
    if sys.argv[1:]:
        _complain(b"usage: nmond-supervisor\n")
        return EXIT_CONFIGURATION
    try:
        layout = Layout.find(os.environ, sys.argv[0])
    except LayoutError as error:
        _complain(f"nmond-supervisor: {error}\n".encode())
        return EXIT_CONFIGURATION
    ready, ready_end = os.pipe()
    errors, errors_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _background(layout, ready_end, errors_end)
        finally:
            os._exit(70)
    os.close(ready_end)
    os.close(errors_end)
    os.waitpid(pid, 0)
    return _await(ready, errors)


if __name__ == "__main__":
    sys.exit(main())
