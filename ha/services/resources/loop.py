"""``[disk#N] type = loop``: a file as a block device, in place of a volume group on small sites and in the lab.

The device gets a fixed name below /dev, a symbolic link that other sections use. The link is made *before* the file is
attached: so a start that is killed in between, or after, leaves nothing that the next action does not find. It is gone
after a boot, as the device is.

A file behind two devices at once would have two caches, and be destroyed: so a start refuses while anybody else uses
it on this machine. A device that nobody uses was left behind, and is taken away first.
"""

import errno
import os
from collections.abc import Iterable
from typing import ClassVar

from ha.services.context import Context
from ha.services.errors import ResourceError, StillRunning
from ha.services.keys import Key, Kind, Values
from ha.services.resource import Resource
from ha.services.resources import blockdev
from ha.services.resources.steps import Budget, attempt, must, until
from ha.services.state import State, Status

_TRIES = 8
"""Another program may take the free device that we were told of."""
_DETACH_S = 5.0
"""How long the last user of a device may take to let go of it."""


class Loop(Resource):
    """A file behind a loop device."""

    group = "disk"
    keys = (
        Key("type", doc="loop", required=True, choices=("loop",)),
        Key("file", Kind.PATH, "the file that holds the blocks", required=True),
        Key("dev", Kind.PATH, "the name that the device gets: a link, such as /dev/mapper/vgsvc1-lvapp", required=True),
    )
    timeouts: ClassVar = {"start": 20.0, "stop": 20.0}

    def __init__(self, rid: str, values: Values) -> None:
        super().__init__(rid, values)
        self.file = values.text("file")
        self.link = values.text("dev")

    @property
    def label(self) -> str:
        return f"{self.file}@{self.link}"

    def problems(self) -> Iterable[tuple[str, str]]:
        if not self.link.startswith("/dev/"):
            yield "dev", f"{self.link} does not lie below /dev, where a boot takes it away with the device"
        if self.file.startswith("/dev/"):
            yield "file", f"{self.file} lies below /dev; give a file that lasts"

    def abort_check(self, ctx: Context) -> str:
        budget = Budget(self.timeout("status"))
        used = [name for name in self._others(ctx, budget) if _in_use(ctx, name)]
        return f"{self.file} is in use on this machine already, behind {used[0]}" if used else ""

    def start(self, ctx: Context) -> None:
        budget = Budget(self.timeout("start"))
        attached = self._attached(ctx, budget)
        if (own := self._target()) in attached:
            ctx.log.info(f"{self.file} is already behind {own}")
            return
        for name in attached:
            if _in_use(ctx, name):
                raise ResourceError(f"{self.file} is in use on this machine already, behind {name}")
            ctx.log.warning(f"{name} serves {self.file}, and nobody uses it: it was left behind")
            self._detach(ctx, name, budget)
        self.activated = True
        for _ in range(_TRIES):
            name = must(ctx, ("losetup", "--find"), budget).out.strip()
            if not name.startswith("/dev/loop"):
                raise ResourceError(f"losetup --find names no loop device, but {name!r}")
            self._point_to(ctx, name)
            done = attempt(ctx, ("losetup", "--direct-io=on", name, self.file), budget)
            if done.ok:
                break
            if "busy" not in done.said:
                raise ResourceError(done.why())
        else:
            raise ResourceError(f"no loop device stayed free in {_TRIES} attempts")
        if name not in self._attached(ctx, budget):
            raise ResourceError(f"losetup reported success, but {name} does not serve {self.file}")
        if not _is_direct(name):
            ctx.log.warning(f"{name} goes through this node's cache of {self.file}: no other node may write to it")

    def stop(self, ctx: Context) -> None:
        budget = Budget(self.timeout("stop"))
        own = self._target()
        if own and own in self._attached(ctx, budget):
            if _in_use(ctx, own):
                raise ResourceError(f"{own} is still in use: {self.link} is mounted, or part of a volume group")
            self._detach(ctx, own, budget)
        if own:
            ctx.log.info(f"unlink {self.link}")
            self._unlink()

    def status(self, ctx: Context) -> Status:
        try:
            own = self._target()
            if not own:
                return Status(State.DOWN)
            attached = self._attached(ctx, Budget(self.timeout("status")))
        except StillRunning:
            return Status(State.WARN, (f"hangs: no answer within {self.timeout('status'):g} s",))
        except ResourceError as error:
            return Status(State.WARN, (str(error),))
        return Status(State.UP if own in attached else State.DOWN)

    # ------------------------------------------------------------------------------------------------- the device

    def _attached(self, ctx: Context, budget: Budget) -> list[str]:
        """The loop devices that serve the file, by its device and inode. Raises ResourceError."""
        argv = ("losetup", "--associated", self.file, "--noheadings", "--raw", "--output", "NAME")
        done = ctx.runner.run(argv, budget.left())
        # Where losetup hangs, the folder of the file does: nothing here may ask it, too.
        if not done.answered or (not done.ok and os.path.lexists(self.file)):
            raise ResourceError(done.why())
        return done.out.split()

    def _others(self, ctx: Context, budget: Budget) -> list[str]:
        own = self._target()
        return [name for name in self._attached(ctx, budget) if name != own]

    def _target(self) -> str:
        """The loop device that our link names; empty where there is none. Raises ResourceError for another's file."""
        try:
            target = os.readlink(self.link)
        except FileNotFoundError:
            return ""
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise ResourceError(f"{self.link} is there already, and no link; choose another name for dev") from None
            raise ResourceError(f"{self.link}: {error.strerror}") from None
        if not target.startswith("/dev/loop"):
            raise ResourceError(f"{self.link} is a link to {target}, not to a loop device; choose another name for dev")
        return target

    def _point_to(self, ctx: Context, name: str) -> None:
        ctx.log.info(f"ln -s {name} {self.link}")
        new = f"{self.link}.new"
        try:
            os.makedirs(os.path.dirname(self.link), exist_ok=True)
            if os.path.lexists(new):
                os.unlink(new)
            os.symlink(name, new)
            os.replace(new, self.link)
        except OSError as error:
            raise ResourceError(f"{self.link} cannot be made: {error.strerror}") from None

    def _unlink(self) -> None:
        try:
            os.unlink(self.link)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ResourceError(f"{self.link} cannot be removed: {error.strerror}") from None

    def _detach(self, ctx: Context, name: str, budget: Budget) -> None:
        """Also where somebody holds it open: the kernel then detaches it later, which is waited for."""
        must(ctx, ("losetup", "--detach", name), budget)
        if not until(lambda: name not in self._attached(ctx, budget), budget, _DETACH_S):
            raise ResourceError(f"{name} is still in use: somebody holds it open")


def _in_use(ctx: Context, name: str) -> bool:
    """Whether it is mounted or otherwise claimed, in any mount namespace. A device that hangs is used, too."""
    try:
        return bool(blockdev.held(ctx, name))
    except blockdev.Unreadable:
        return True


def _is_direct(name: str) -> bool:
    try:
        with open(f"/sys/block/{os.path.basename(name)}/loop/dio", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False
