"""What svcmgr does to a service: each action, and when it is refused.

The command line is ``ha.cli.svcmgr``'s matter; how a service starts and stops is ``ha.services.action``'s.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from ha.services.action import DONE, FAILED, UNCLEAN, Action
from ha.services.config import find, load, read, validate
from ha.services.context import Context, Paths
from ha.services.errors import ServiceError
from ha.services.folders import make_own
from ha.services.ini import Problem
from ha.services.journal import Journal
from ha.services.links import launcher
from ha.services.lock import WAIT_S, Busy, Lock
from ha.services.log import Log
from ha.services.resource import Copier, Fencer, Resource
from ha.services.runner import Runner
from ha.services.service import Service
from ha.services.state import State

TYPE_CHECKING = False  # Type checkers take it for true, by its name.
if TYPE_CHECKING:
    from ha.services.monitor import Outcome

REFUSED = (
    "this service is managed by a clusterware, thus direct service manipulation is disabled. "
    "the --cluster option circumvent this safety net."
)
"""The tutorial's last line, word for word."""
UP, DOWN, UNKNOWN = 0, 3, 1
"""Exit codes of ``status``, as docs/controller.md has them."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says beside the action."""

    force: bool = False
    cluster: bool = False
    waitlock_s: float = WAIT_S
    rids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    rollback: bool = True


class Manager:
    """One service on this node."""

    def __init__(
        self,
        name: str,
        options: Options,
        sink: Callable[[str, str, str], None],
        *,
        program: str = "",
        paths: Paths | None = None,
        host: str = "",
        told: Callable[[], bool] = lambda: False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """``sink`` takes log lines; ``program`` is ``argv[0]``; ``told()``: whether a signal asked to end."""
        self.name = name
        self.paths = paths or Paths()
        self._options = options
        self._host = host or os.uname().nodename
        self._told = told
        self._log = Log(name, sink=sink)
        self._launcher = launcher(program) if program else ""
        self._lock: Lock | None = None
        self._runner = Runner(env, keep=lambda: self._lock.fds() if self._lock else ())

    def service(self) -> Service:
        """As its file says now. Raises ServiceError, ConfigError."""
        config = load(self.paths, self.name, self._host)
        ctx = Context(
            service=config.name,
            node=config.node,
            nodes=config.nodes,
            drpnodes=config.drpnodes,
            log=self._log,
            runner=self._runner,
            paths=self.paths,
            config=config.path,
            force=self._options.force,
            cluster=self._options.cluster,
        )
        return Service(config, ctx, self._launcher)

    # ---- actions that change resources

    def act(self, action: str) -> int:
        """One of ACTIONS, under the lock. Returns an exit code. Raises ServiceError."""
        do, safe, kind = ACTIONS[action]
        service = self.service()
        if (code := self._guarded(service, safe)) is not None:
            return code
        if service.config.node not in service.config.everywhere:
            raise ServiceError(
                f"{service.config.node} is not a node of {self.name}: see nodes in {service.config.path}"
            )
        with self.locked(action, kind):
            # Read again: whoever held the lock before may have changed the file.
            service = self.service()
            try:
                return do(self, service)
            except ServiceError:
                raise
            except Exception as error:  # noqa: BLE001 - half of an action may be done, and 1 would call that clean
                self._log.error(f"{type(error).__name__}: {error} (a fault of svcmgr): resources may be up")
                return UNCLEAN

    def _guarded(self, service: Service, safe: bool) -> int | None:
        """The safety net: an exit code where the action must not be done (spec: OpenSVC, "The safety net")."""
        if service.clustered and not safe and not self._options.cluster:
            self._log.info(REFUSED)
            return FAILED
        if service.maintenance and self._options.cluster:
            # Not 0: nmond would believe that the service has started, or is gone.
            self._log.info(
                "this service is in maintenance (all hb resources are disabled): nothing is done for a clusterware"
            )
            return FAILED
        return None

    def locked(self, action: str, kind: str = "") -> Lock:
        """The service's lock, or that of a kind of actions, for a ``with``."""
        self._lock = Lock(self.paths.run, self.name, action, self._options.waitlock_s, self._told, kind)
        return self._lock

    def _action(self, service: Service, only: Iterable[Resource] | None = None) -> Action:
        journal = Journal(self.paths.run, self.name)
        chosen = self._chosen(service) if only is None else only
        return Action(service, journal, self._told, chosen, self._options.rollback)

    def _chosen(self, service: Service) -> list[Resource] | None:
        """What ``--rid``, ``--tags`` and ``--subset`` select; None: everything. Raises ServiceError."""
        options = self._options
        if not (options.rids or options.tags or options.subsets):
            return None
        known = {each.rid for each in service.resources}
        if strange := [rid for rid in options.rids if rid not in known]:
            raise ServiceError(f"{self.name} has no resource {strange[0]}; it has: {', '.join(sorted(known))}")
        found = [
            each
            for each in service.resources
            if each.rid in options.rids or set(each.tags) & set(options.tags) or each.subset in options.subsets
        ]
        if not found:
            raise ServiceError(f"no resource of {self.name} has such a tag or subset")
        return found

    def _start(self, service: Service) -> int:
        return self._action(service).start()

    def _stop(self, service: Service) -> int:
        return self._action(service).stop()

    def _restart(self, service: Service) -> int:
        return self._stop(service) or self._start(service)

    def _boot(self, service: Service) -> int:
        """What is always on; and everything, on a node of ``autostart_node``, unless a clusterware decides that."""
        if self.frozen:
            self._log.info("is frozen: not started at boot")
            return DONE
        if not service.heartbeats and service.config.node in service.config.values.words("autostart_node"):
            return self._start(service)
        standby = [each for each in service.resources if service.is_standby(each)]
        return self._action(service, standby).start() if standby else DONE

    def _copy(self, service: Service, target: str) -> int:
        code = DONE
        for each in service.siblings("sync"):
            if isinstance(each, Copier):
                code |= self._one(service, each, partial(each.copy, target=target))
        return code

    def _syncnodes(self, service: Service) -> int:
        return self._copy(service, "nodes")

    def _syncdrp(self, service: Service) -> int:
        return self._copy(service, "drpnodes")

    def _postsync(self, service: Service) -> int:
        code = DONE
        for each in service.siblings("sync"):
            if isinstance(each, Copier):
                code |= self._one(service, each, each.received)
        return code

    def _stonith(self, service: Service) -> int:
        """Exit code 0 only where every fencer is sure: nmond starts the service on the strength of it."""
        code = DONE
        for each in service.siblings("stonith"):
            if isinstance(each, Fencer):
                code |= self._one(service, each, each.fence)
        return code

    def _one(self, service: Service, resource: Resource, do: Callable[[Context], None]) -> int:
        ctx = service.context(resource)
        try:
            do(ctx)
        except (ServiceError, OSError) as error:
            ctx.log.error(str(error))
            return DONE if resource.optional else FAILED
        return DONE

    def monitor(self) -> "Outcome":
        """``resource_monitor``: what is to become of the service. While another action goes on, nothing."""
        from ha.services.monitor import Monitor, Outcome

        if self.service().maintenance:
            return Outcome()
        try:
            with self.locked("resource_monitor"):
                return Monitor(self.service(), self.frozen).look()
        except Busy:
            return Outcome()

    def cluster_name(self) -> str:
        """What the clusterware calls the service. Raises ServiceError."""
        return next((name for each in self.service().heartbeats if (name := each.values.text("name"))), self.name)

    # ---- looks

    def status_code(self, service: Service) -> int:
        """The exit code of ``status``: 0 up, 3 nothing of it is up, 1 anything else (docs/controller.md)."""
        avail = service.avail
        if avail is State.UP:
            return UP
        # A resource that is always on is no part of a running service.
        if avail in (State.DOWN, State.STDBY_UP, State.STDBY_DOWN) and not service.left_up():
            return DOWN
        return UNKNOWN

    @property
    def _frozen_flag(self) -> str:
        return f"{self.paths.var}/{self.name}.frozen"

    @property
    def frozen(self) -> bool:
        return os.path.lexists(self._frozen_flag)

    def freeze(self, wanted: bool) -> int:
        """``freeze`` and ``thaw``: what is frozen is not started at boot, and its failures are left alone."""
        find(self.paths, self.name)
        try:
            make_own(self.paths.var)
            if wanted:
                os.close(os.open(self._frozen_flag, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))
            elif self.frozen:
                os.unlink(self._frozen_flag)
        except OSError as error:
            raise ServiceError(f"{self._frozen_flag}: {error.strerror}") from None
        return DONE

    # ---- the file

    def problems(self) -> tuple[str, list[Problem]]:
        """The file, and all that is wrong with it. Raises ServiceError where it cannot be read."""
        path = find(self.paths, self.name)
        return path, validate(read(path), path, self.name)

    def get(self, param: str) -> str:
        from ha.services import edit  # what writes files is slow to load: a start does without it

        path = find(self.paths, self.name)
        return edit.get_value(read(path), path, param)

    def set(self, param: str, value: str) -> list[str]:
        """Returns what is still wrong with the file, each in one line."""
        from ha.services import edit

        path = find(self.paths, self.name)
        with self.locked("set"):
            return [problem.told(path) for problem in edit.set_value(path, self.name, param, value)]

    def unset(self, param: str) -> list[str]:
        """As ``set``."""
        from ha.services import edit

        path = find(self.paths, self.name)
        with self.locked("unset"):
            return [problem.told(path) for problem in edit.unset_value(path, self.name, param)]

    def enable(self, wanted: bool) -> list[str]:
        """``enable`` and ``disable`` of the chosen resources. Returns what ``set`` does."""
        if not self._options.rids:
            raise ServiceError("say which resources: --rid RID[,RID]")
        self._chosen(self.service())
        left: list[str] = []
        for rid in self._options.rids:
            left = self.set(f"{rid}.disable", str(not wanted))
        return left


ACTIONS: Mapping[str, tuple[Callable[[Manager, Service], int], bool, str]] = {
    "start": (Manager._start, False, ""),
    "stop": (Manager._stop, False, ""),
    "restart": (Manager._restart, False, ""),
    "boot": (Manager._boot, True, ""),
    "stonith": (Manager._stonith, False, ""),
    "syncnodes": (Manager._syncnodes, True, "sync"),
    "syncdrp": (Manager._syncdrp, False, "sync"),
    "postsync": (Manager._postsync, True, "postsync"),
}
"""What is done under a lock: the method, whether a person may do it to a service of a clusterware, and whose lock.

A copy waits for the other node's ``postsync``: had that the lock of copies, two nodes that copy at the same minute
would wait for one another.
"""
