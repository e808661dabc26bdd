"""The serial console of a machine on the terminal of whoever asks: its boot can be watched, and it has a root shell.

Works without a network, and before anything has been started in the machine. Ctrl-] leaves it, as telnet's does.
"""

import os
import select
import socket
import sys
import termios
import tty

from ha.lab.errors import LabError

_LEAVE = b"\x1d"


def attach(path: str, name: str) -> int:
    """Until Ctrl-], the end of the input, or of the machine. Returns 0. Raises LabError."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as console:
        try:
            console.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        except OSError as error:
            raise LabError(f"the console of {name} cannot be reached ({error.strerror}); is it powered off?") from None
        finally:
            os.close(folder)
        before = termios.tcgetattr(0) if os.isatty(0) else None
        if before is not None:
            print(f"the console of {name}; Ctrl-] leaves it", file=sys.stderr, flush=True)
            tty.setraw(0)
        try:
            _pass_on(console)
        finally:
            if before is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, before)
    return 0


def _pass_on(console: socket.socket) -> None:
    console.sendall(b"\r")  # whoever is there shows a prompt
    while True:
        ready = select.select([0, console.fileno()], [], [])[0]
        if console.fileno() in ready:
            shown = console.recv(65536)
            if not shown:
                return
            os.write(1, shown)
        if 0 in ready:
            typed = os.read(0, 4096)
            console.sendall(typed.partition(_LEAVE)[0])
            if not typed or _LEAVE in typed:
                return
