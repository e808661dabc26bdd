"""Running what belongs to an application: its output goes to a file, and the daemons that it leaves behind stay.

Knows nothing of launchers, OCF or what the exit codes mean.
"""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

from ha.services.context import Context
from ha.services.folders import make_own, open_to_append
from ha.services.runner import Done

_TAIL = 4096
"""Bytes of the output that a message may quote from."""


def log_path(ctx: Context, name: str) -> str:
    """Where the output of ``name`` goes, as the tutorial has it."""
    return f"{ctx.paths.tmp}/svc_{ctx.service}_{name}.log"


def open_log(ctx: Context, name: str) -> int:
    """A descriptor of that file; /dev/null, and a warning, where it cannot be written: no start fails for its log."""
    path = log_path(ctx, name)
    try:
        make_own(ctx.paths.tmp)
        return open_to_append(path)
    except OSError as error:
        ctx.log.warning(f"{path} cannot be written: {error.strerror or error}; what {name} prints is lost")
        return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)


def spawn(
    ctx: Context, argv: Sequence[str], action: str, name: str, timeout: float, env: Mapping[str, str] | None = None
) -> Done:
    """Run it to its end, and log that as the tutorial does. Raises StillRunning.

    The last of its output is in ``Done.err``, for a message.
    """
    ctx.log.info(f"spawn: {' '.join(argv)}")
    fd = open_log(ctx, name)
    try:
        before = os.lseek(fd, 0, os.SEEK_END)
        began = time.monotonic()
        done = ctx.runner.run(argv, timeout, env={**environment(ctx), **(env or {})}, output=fd, leaves=True)
        took = timedelta(seconds=time.monotonic() - began)
    finally:
        os.close(fd)
    ctx.log.info(f"{action} done in {took} - ret {done.code} - logs in {log_path(ctx, name)}")
    return Done(done.argv, done.code, "", done.err or _tail(log_path(ctx, name), before), done.timed_out)


def environment(ctx: Context) -> dict[str, str]:
    """What an application is told."""
    return {"OPENSVC_SVCNAME": ctx.service, "OPENSVC_NODENAME": ctx.node}


def _tail(path: str, start: int) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(start, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read(_TAIL).decode(errors="replace")
    except OSError:
        return ""
