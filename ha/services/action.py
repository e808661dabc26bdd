"""Start, stop and rollback of a service: the order, what a failure means, and the exit code.

The specification is OpenSVC, "Order, rollback, locks, exit codes".

Knows no kind of resource: it calls what ``ha.services.resource`` promises. The lock is held by whoever calls.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from ha.services.errors import ServiceError, StillRunning, Terminated
from ha.services.groups import GROUPS
from ha.services.journal import Journal
from ha.services.resource import Resource
from ha.services.service import Service

DONE, FAILED, UNCLEAN = 0, 1, 2
"""Exit codes: done; failed, and nothing is left of it; failed, and resources may still be up."""


class _Failed(Exception):
    """An action ends here; its log has told why."""

    def __init__(self, why: str, still_running: bool = False) -> None:
        super().__init__(why)
        self.still_running = still_running


class Action:
    """What is done to a service. ``only``: the resources that it is about, all where None."""

    def __init__(
        self,
        service: Service,
        journal: Journal,
        told: Callable[[], bool] = lambda: False,
        only: Iterable[Resource] | None = None,
        rollback: bool = True,
    ) -> None:
        """``told()``: whether a signal asked to end. ``rollback`` False: a failed start leaves what it started."""
        self._service = service
        self._journal = journal
        self._told = told
        self._only = None if only is None else {each.rid for each in only}
        self._rollback_wanted = rollback
        self._log = service.ctx.log
        self._held: set[str] = set()
        """What is to be rolled back: changed by this start, or by one before it that was cut short."""
        self._left: frozenset[str] = frozenset()

    # ---- order

    def batches(self) -> list[list[Resource]]:
        """In the order of a start: each batch is one resource, or a subset that acts in parallel."""
        acting = [each for each in self._service.resources if self._takes_part(each)]

        def place(resource: Resource) -> tuple[int, str]:
            return GROUPS[resource.group].start, resource.subset

        acting.sort(key=lambda each: (*place(each), each.order(), each.rid))
        found = []
        for (_, subset), some in groupby(acting, key=place):
            members = list(some)
            found += [members] if subset else [[each] for each in members]
        return found

    def _takes_part(self, resource: Resource) -> bool:
        chosen = self._only is None or resource.rid in self._only
        return chosen and not resource.disable and GROUPS[resource.group].start > 0

    # ---- start

    def start(self) -> int:
        """Everything up, or (rolled back) as it was before. Returns an exit code."""
        try:
            # Ours from now on: a start that is refused undoes it, too, before it says that nothing is left.
            self._left = frozenset(self._journal.left())
            self._held |= self._left
            self._check()
            for rid in self._left:
                self._journal.add(rid)
            for batch in self.batches():
                self._go_on()
                self._together(batch, self._start)
            self._journal.keep(self._left - self._ours())
        except (_Failed, ServiceError) as error:
            self._log.error(f"'start' action stopped on execution error: {error}")
            return self._rollback(error)
        return DONE

    def _check(self) -> None:
        """Ask every resource before anything is started. Raises _Failed."""
        for batch in self.batches():
            for each in batch:
                self._go_on()
                ctx = self._service.context(each)
                try:
                    why = each.abort_check(ctx)
                except Exception as error:  # noqa: BLE001 - a fault of a driver must not be taken for a yes
                    why = _told(error)
                if why:
                    ctx.log.warning(why)
                    raise _Failed(f"start aborted due to resource {each.rid} conflict")

    def _start(self, resource: Resource) -> None:
        ctx = self._service.context(resource)
        self._journal.add(resource.rid)
        try:
            resource.start(ctx)
        except Exception as error:
            if not resource.optional or isinstance(error, StillRunning):
                raise
            ctx.log.error(f"{_told(error)}; it is optional: the start goes on without it")
            resource.stop(ctx)
        finally:
            if resource.activated:
                self._held.add(resource.rid)
            elif resource.rid not in self._left:
                self._drop(resource.rid)

    def _drop(self, rid: str) -> None:
        """A record that says too much costs a stop of what is down. It must not end a start, or a rollback."""
        try:
            self._journal.drop(rid)
        except ServiceError as error:
            self._log.warning(str(error))

    def _ours(self) -> set[str]:
        """What this action is about."""
        return {each.rid for batch in self.batches() for each in batch}

    # ---- rollback

    def _rollback(self, error: Exception) -> int:
        """Stop what this start has started. Returns the exit code of the start."""
        self._service.forget()
        held = [each for batch in self.batches() for each in batch if each.rid in self._held]
        if isinstance(error, _Failed) and error.still_running:
            self._log.error("no rollback start: a command still runs, and nothing may be done beside it")
            return UNCLEAN
        if not held:
            self._log.info("skip rollback start: no resource activated")
            return self._strays() or FAILED
        rids = ", ".join(each.rid for each in held)
        if not self._rollback_wanted:
            self._log.info(f"skip rollback start: disabled; {rids} may be up")
            return UNCLEAN
        self._log.info(f"trying to rollback start on {rids}")
        for each in reversed(held):
            ctx = self._service.context(each)
            try:
                each.stop(ctx)
                self._drop(each.rid)
            except Exception as failure:  # noqa: BLE001 - whatever it is, it is not clean
                ctx.log.error(_told(failure))
                if not each.optional:
                    self._log.error(f"rollback start failed: {each.rid} and what is below it may still be up")
                    return UNCLEAN
        return self._strays() or FAILED

    def _strays(self) -> int:
        """UNCLEAN where a start that was cut short has changed what we do not act on: disabled since, removed, or not
        chosen.

        With nothing of that kind, the record is done with.
        """
        try:
            if strays := sorted(set(self._journal.left()) - self._ours()):
                why, remedy = "disabled or gone from the file", f"see to it, then remove {self._journal.path}"
                if self._only is not None:
                    why, remedy = "none of those that were chosen", "a stop of the whole service sees to it"
                self._log.error(
                    f"{', '.join(strays)} may be up: a start that was cut short has changed it, and it is {why}; "
                    f"{remedy}"
                )
                return UNCLEAN
            self._journal.clear()
        except ServiceError as error:
            self._log.error(str(error))
        return DONE

    # ---- stop

    def stop(self) -> int:
        """Everything down, in the reverse order of a start. Returns an exit code: 0 only where nothing is left."""
        unclean = False
        try:
            for batch in reversed(self.batches()):
                self._go_on()
                stopping = [each for each in reversed(batch) if not self._stays(each)]
                unclean |= not self._together(stopping, self._stop)
        except (_Failed, ServiceError) as error:
            self._log.error(f"'stop' action stopped on execution error: {error}")
            return UNCLEAN
        finally:
            self._service.forget()
        if unclean:
            self._log.error("'stop' action ended, but optional resources may still be up")
            return UNCLEAN
        return self._strays() if self._only is None else DONE

    def _stays(self, resource: Resource) -> bool:
        if self._only is None and self._service.is_standby(resource):
            self._service.context(resource).log.info("is always on here: left as it is")
            return True
        return False

    def _stop(self, resource: Resource) -> None:
        resource.stop(self._service.context(resource))

    # ---- both

    def _go_on(self) -> None:
        if self._told():
            raise Terminated("a signal came")

    def _together(self, batch: Sequence[Resource], act: Callable[[Resource], None]) -> bool:
        """``act`` on all at once. False: one that is optional failed. Raises _Failed where another one did."""
        failures = _at_once(batch, act)
        self._service.forget()
        failed = [(each, failures[each.rid]) for each in batch if each.rid in failures]
        for each, error in failed:
            self._service.context(each).log.error(_told(error))
        stuck = [each.rid for each, error in failed if isinstance(error, StillRunning)]
        fatal = [each.rid for each, _ in failed if not each.optional]
        if stuck or fatal:
            raise _Failed(f"{', '.join(stuck or fatal)} failed", still_running=bool(stuck))
        return not failed


def _at_once(resources: Sequence[Resource], act: Callable[[Resource], None]) -> dict[str, Exception]:
    """``act`` on each, in a thread of its own where there are several. Returns what failed, by rid."""
    failures: dict[str, Exception] = {}

    def one(resource: Resource) -> None:
        try:
            act(resource)
        except Exception as error:  # noqa: BLE001 - a fault of a driver is a failure of its resource, and told
            failures[resource.rid] = error

    if len(resources) < 2:
        for each in resources:
            one(each)
        return failures
    # Drivers look at what may hang in processes that they fork. These modules have a part in every fork, and must not
    # come to be loaded by one thread while another one forks.
    import logging  # noqa: F401
    import random  # noqa: F401

    threads = [threading.Thread(target=one, args=(each,), name=each.rid) for each in resources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def _told(error: Exception) -> str:
    """One line for people."""
    if isinstance(error, ServiceError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else (error.strerror or str(error))
    else:
        text = f"{type(error).__name__}: {error} (a fault of the driver)"
    return text.replace("\n", " ")
