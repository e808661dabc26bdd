"""A network namespace for one test: it belongs to a thread, and is gone when the thread and its sockets are."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000


def ip(*words: str) -> None:
    """``ip`` in the namespace of the calling thread."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


def in_new_network(body: Callable[[], None]) -> None:
    """Run ``body`` in a network namespace of its own; what it raises is raised here."""

    def run() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        # Both ends of a cable are on this host: its own address as the source of what arrives is no forgery here.
        Path("/proc/sys/net/ipv4/conf/all/accept_local").write_text("1")
        body()

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(run).result()


class OtherHost:
    """Another network namespace, joined to the present one by the interfaces that are moved there."""

    def __init__(self, pid: int) -> None:
        self._pid = str(pid)

    def take(self, interface: str) -> None:
        ip("link", "set", interface, "netns", self._pid)

    def run(self, *argv: str) -> None:
        subprocess.run(["nsenter", "-t", self._pid, "-n", *argv], check=True, capture_output=True, timeout=20)


@contextmanager
def other_host() -> Iterator[OtherHost]:
    """A process that does nothing in a namespace of its own, and ends with the block."""
    with subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b".")
        holder.stdout.read(1)  # cat runs, so the namespace exists
        yield OtherHost(holder.pid)


def may_make_networks() -> bool:
    return os.geteuid() == 0
