"""A node's view of the shared disk: a FUSE file over the disk's image, with a loop device over that where we are root.

Two processes. The server answers the kernel's requests through ``ha.lab.gate``. The keeper mounts nothing itself and
holds the loop device: a process that held both ends would wait for itself when it is killed while requests hang.
Killing the server fails all requests that hang, and ends the keeper; the kernel then takes the mount and the loop
device back.
"""

import errno
import json
import os
import signal
import stat
import sys
import threading
import time
from ctypes.util import find_library
from typing import Any

from setproctitle import setproctitle

from ha.lab import control, linux, loop, namespaces, spawn
from ha.lab.fault import Verdict, parse
from ha.lab.gate import Gate

FILE = "disk"
_MOUNT_PATIENCE_S = 10.0
_REQUESTS = 64
"""How many may hang at once before others have to wait behind them."""


def main() -> int:
    """``argv[1]``: JSON {name, user: "" or the pid whose user namespace to join}."""
    birth = json.loads(sys.argv[1])
    try:
        if birth["user"]:
            namespaces.join(namespaces.open_all(int(birth["user"]), ("user",)))
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        keeper = os.fork()
    except OSError as error:
        spawn.say({"error": f"cannot make a mount namespace for the disk of {birth['name']}: {error.strerror}"})
        return 1
    if keeper:
        os._exit(0)
    os.setsid()
    job_out, job_in = os.pipe2(os.O_CLOEXEC)
    server = os.fork()
    if server == 0:
        os.close(job_in)
        linux.die_with_parent(signal.SIGKILL)
        _server(str(birth["name"]), job_out)
    os.close(job_out)
    spawn.say({"pids": [os.getpid(), server]})
    job = spawn.hear()
    if job is None:
        os._exit(0)
    os.write(job_in, json.dumps(job).encode())
    os.close(job_in)
    setproctitle(f"ezha-lab disk keeper {birth['name']}")
    _keep(str(birth["name"]), job, server)
    return 0


def _keep(name: str, job: dict[str, Any], server: int) -> None:
    """Never returns."""
    path = f"{job['mountpoint']}/{FILE}"
    deadline = time.monotonic() + _MOUNT_PATIENCE_S
    trouble = (
        f"the disk of {name} cannot be served: is libfuse there (Debian: apt install libfuse3-3)? See {job['log']}"
    )
    answer: dict[str, Any] = {"error": trouble}
    while time.monotonic() < deadline and os.waitpid(server, os.WNOHANG)[0] == 0:
        if os.path.exists(path):
            answer = {"file": path}
            break
        time.sleep(0.002)
    # The descriptor is never closed: the device lives as long as this process.
    if "file" in answer and job["loop"]:
        try:
            _device, answer["device"] = loop.attach(path, f"ezha-lab:{job['lab']}:{name}")
            number = os.stat(answer["device"]).st_rdev
            answer["number"] = f"{os.major(number)}:{os.minor(number)}"
        except OSError as error:
            answer = {"error": f"no loop device for the disk of {name}: {error.strerror}"}
    spawn.say(answer)
    spawn.let_go()
    if "error" in answer:
        os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)
    os._exit(0)


def _server(name: str, job_out: int) -> None:
    """Never returns."""
    raw = b""
    while part := os.read(job_out, 65536):
        raw += part
    if not raw:
        os._exit(0)
    setproctitle(f"ezha-lab disk server {name}")
    spawn.let_go()
    job = json.loads(raw)
    try:
        _serve(job)
    except (OSError, RuntimeError, ImportError) as error:
        print(f"disk of {name}: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def _serve(job: dict[str, Any]) -> None:
    # Version 3 lets a loop device have several requests under way, so that a read that hangs does not hold up a write.
    if find_library("fuse3"):
        os.environ["FUSE_LIBRARY_NAME"] = "fuse3"
    try:
        import mfusepy  # looks for libfuse when imported, and raises OSError where there is none
    except ModuleNotFoundError:
        raise ImportError("it needs mfusepy, which Debian does not have: pip install mfusepy") from None

    gate = Gate(parse(job["fault"]))
    image = os.open(job["image"], os.O_RDWR | os.O_CLOEXEC)
    size = os.fstat(image).st_size
    server = control.listen(job["control"])

    def answer(line: str) -> str:
        if line != "?":
            try:
                gate.set(parse(line))
            except ValueError as error:
                return f"error {error}"
        now = gate.counters
        return f"ok {gate.fault} reads={now.reads} writes={now.writes} failed={now.failed} waiting={now.waiting}"

    class View(mfusepy.Operations):  # type: ignore[misc]  # the library has no usable types
        """One file, ``disk``, of a fixed size."""

        use_ns = True

        def init_with_config(self, connection: Any, _config: Any) -> None:
            connection.max_background = _REQUESTS
            connection.congestion_threshold = _REQUESTS

        def getattr(self, path: str, _fh: int | None = None) -> dict[str, Any]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
            if path != f"/{FILE}":
                raise mfusepy.FuseOSError(errno.ENOENT)
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

        def readdir(self, _path: str, _fh: int) -> list[str]:
            return [".", "..", FILE]

        def read(self, _path: str, length: int, offset: int, _fh: int) -> bytes:
            if gate.read() is Verdict.FAIL:
                raise mfusepy.FuseOSError(errno.EIO)
            return os.pread(image, length, offset)

        def write(self, _path: str, data: bytes, offset: int, _fh: int) -> int:
            verdict = gate.write()
            if verdict is Verdict.FAIL:
                raise mfusepy.FuseOSError(errno.EIO)
            if verdict is Verdict.TEAR:
                os.pwrite(image, data[: len(data) // 2], offset)
            elif verdict is Verdict.DO:
                os.pwrite(image, data, offset)
            return len(data)

        def fsync(self, _path: str, _datasync: int, _fh: int) -> int:
            # The image outlives every node, the machine's own crash is not the lab's matter: nothing to force out.
            if gate.write() is Verdict.FAIL:
                raise mfusepy.FuseOSError(errno.EIO)
            return 0

    threading.Thread(target=control.serve, args=(server, answer), daemon=True).start()
    version = (mfusepy.fuse_version_major, mfusepy.fuse_version_minor)
    options = {"max_threads": _REQUESTS, "max_idle_threads": 4} if version >= (3, 12) else {}
    mfusepy.FUSE(View(), job["mountpoint"], foreground=True, direct_io=True, fsname="ezha-lab", **options)


if __name__ == "__main__":
    sys.exit(main())
