"""Gets, keeps and gives back the keys of services: what is asked of etcd when, and what its answers are worth.

A turn renews the lease of every key that is ours, and then looks at all keys in one question. Both answers together say
"ours": the renewal alone may come from a member that does not know yet that it leads no more; the look is answered
by a quorum. Where both are of the same term, the leader that renewed was the leader still, and every later one
begins with the full time of each lease. So a key that is ours stays for the TTL from the sending of the renewal.

It looks once a period also while nothing is wanted: what it has not seen it could not miss (``memory``).

It knows no clock but the one it is given, and blocks as long as its gateway does.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from ha.fsm.timing import Timing
from ha.node.arbiter.answers import Header, Key, Put, RefusedError
from ha.node.arbiter.arithmetic import forgotten_after, ttl
from ha.node.arbiter.gateway import UnavailableError
from ha.node.arbiter.memory import Memory
from ha.node.config.etcd import Endpoint
from ha.node.log import printable

QUICK_S: Final = 0.2
"""How often it is looked whether a key that is wanted has become free."""


class Cluster(Protocol):
    """What is needed of ``ha.node.arbiter.gateway.Gateway``."""

    cluster: int
    stranger: bool

    def range(self, prefix: str) -> tuple[Header, dict[str, Key]]: ...

    def put(self, key: str, value: bytes, lease: int, modified: int = 0) -> Put: ...

    def grant(self, ttl: int) -> tuple[Header, int, int]: ...

    def keepalive(self, lease: int) -> tuple[Header, int]: ...

    def revoke(self, lease: int) -> None: ...

    def identify(self) -> dict[Endpoint, int | str]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """Whose a service is."""

    service: str
    ours: bool
    asked: float
    detail: str


@dataclass(slots=True)
class _Wanted:
    """A service that is to be ours."""

    ttl: int
    lease: int = 0
    """0: it is not ours."""
    created: int = 0
    renewed: float = 0.0
    """When the renewal was asked for that counted last."""
    told: str = ""
    """Why it is not ours, as it was said last."""


@dataclass(slots=True)
class _Returned:
    """A lease to be revoked; past ``until`` it has ended by itself."""

    lease: int
    until: float


class Keeper:
    """``use`` says what is wanted; ``turn`` does what is due."""

    def __init__(
        self,
        cluster: Cluster,
        memory: Memory,
        clock: Callable[[], float],
        say: Callable[[Answer], None],
        *,
        prefix: str,
        owner: str,
        incarnation: str,
        period: float,
        longest: int,
    ) -> None:
        """``prefix``: of the keys, with a slash at its end. ``owner``: this node's name. ``longest``: the TTL of the
        service that has the longest one, wanted or not."""
        self._etcd = cluster
        self._memory = memory
        self._clock = clock
        self._say = say
        self._prefix = prefix
        self._owner = owner
        self._value = json.dumps({"node": owner, "incarnation": incarnation}).encode()
        self._period = period
        self._wanted: dict[str, _Wanted] = {}
        self._returned: dict[str, _Returned] = {}
        self._renew_at = clock()
        self._quiet_until = 0.0
        """Before that no key is created or taken on."""
        self._identify_at = float("-inf")
        self._longest_ttl = longest
        self.due = clock()
        """When ``turn`` is to be called next."""
        self.trouble = ""
        """What is wrong with etcd at present; empty: nothing."""
        self._failed = False

    def use(self, wanted: dict[str, Timing]) -> None:
        """These, and no others, are to be ours."""
        now = self._clock()
        for service, mine in list(self._wanted.items()):
            if service not in wanted:
                del self._wanted[service]
                if mine.lease:
                    self._returned[service] = _Returned(mine.lease, now + forgotten_after(mine.ttl))
                else:
                    self._say(Answer(service, False, now, "it is not wanted any more"))
        for service, timing in wanted.items():
            if service not in self._wanted:
                self._wanted[service] = _Wanted(ttl(timing))
        self.due = now

    @property
    def returning(self) -> bool:
        """Something is still to be given back."""
        return bool(self._returned)

    # ------------------------------------------------------------------------------------------------ a turn

    def turn(self) -> None:
        """Give back, renew, look, get: in this order."""
        began = self._clock()
        self._expire(began)
        try:
            self._work(began)
            self.trouble, self._failed = self._memory.trouble, False
        except (UnavailableError, RefusedError) as error:
            self.trouble, self._failed = printable(f"etcd cannot be used: {error}"), True
        self._plan(began)

    def _work(self, began: float) -> None:
        self._know(began)
        for service, back in list(self._returned.items()):
            self._etcd.revoke(back.lease)
            del self._returned[service]
            self._say(Answer(service, False, began, "it was given back"))
        sent = self._renew(began) if began >= self._renew_at else {}
        asked = self._clock()
        header, keys = self._etcd.range(self._prefix)
        self._remember(header, asked)
        for service, mine in self._wanted.items():
            key = keys.get(self._prefix + service)
            if mine.lease:
                self._judge(service, mine, key, header, sent.get(service), asked)
            if not mine.lease:
                self._get(service, mine, key, asked)

    def _plan(self, began: float) -> None:
        now = self._clock()
        if any(not mine.lease for mine in self._wanted.values()) and not self._failed:
            self.due = max(now, min(began + QUICK_S, self._renew_at))
        else:
            self.due = max(now, began + self._period)

    def _expire(self, now: float) -> None:
        """What could not be revoked, or renewed, ends by itself, and is not ours though etcd may still say so: it may
        be what was restored from a backup."""
        for service, back in list(self._returned.items()):
            if now > back.until:
                del self._returned[service]
                self._say(Answer(service, False, now, "its lease has ended by itself"))
        for service, mine in self._wanted.items():
            if mine.lease and now > mine.renewed + mine.ttl:
                self._lose(service, mine, now, "its lease could not be renewed, and has ended")

    # ---------------------------------------------------------------------------------------- which cluster

    def _know(self, now: float) -> None:
        """Learn which cluster the endpoints are of, at first, and where one says that it is of another.

        More than half of the endpoints must be of one, and none of another: two clusters would have two owners.
        """
        if self._etcd.cluster == 0 and self._memory.cluster:
            self._etcd.cluster = self._memory.cluster
        if self._etcd.cluster and not (self._etcd.stranger and now >= self._identify_at):
            return
        self._identify_at = now + self._longest_ttl
        found = self._etcd.identify()
        known = {cluster for cluster in found.values() if isinstance(cluster, int)}
        count = sum(isinstance(cluster, int) for cluster in found.values())
        told = "; ".join(f"{at}: {f'cluster {it:x}' if isinstance(it, int) else it}" for at, it in found.items())
        if len(known) > 1:
            raise UnavailableError(f"the endpoints belong to different clusters; name one cluster only ({told})")
        if self._etcd.cluster in known:
            return
        if 2 * count <= len(found):
            raise UnavailableError(f"more than half of the endpoints must say which cluster they are of ({told})")
        self._etcd.cluster = known.pop()

    def _remember(self, header: Header, asked: float) -> None:
        now = self._clock()
        if not self._memory.see(header.cluster, header.revision, asked):
            self._quiet_until = now + forgotten_after(self._longest_ttl)
        elif now >= self._quiet_until:
            self._memory.settle()

    # ------------------------------------------------------------------------------------------- what is ours

    def _renew(self, now: float) -> dict[str, tuple[float, int]]:
        """When the renewal of each service was sent, and in which term it was answered."""
        sent: dict[str, tuple[float, int]] = {}
        for service, mine in self._wanted.items():
            if not mine.lease:
                continue
            asked = self._clock()
            header, seconds = self._etcd.keepalive(mine.lease)
            if seconds >= mine.ttl:
                sent[service] = asked, header.term
            else:
                self._lose(service, mine, asked, "its lease has ended in etcd")
        self._renew_at = now + self._period
        return sent

    def _judge(
        self, service: str, mine: _Wanted, key: Key | None, header: Header, sent: tuple[float, int] | None, now: float
    ) -> None:
        if key is None or (key.lease, key.created) != (mine.lease, mine.created):
            who = "nobody's" if key is None else _owner(key)
            self._lose(service, mine, now, f"its key in etcd is {who} now")
        elif sent is not None and sent[1] == header.term:
            mine.renewed = sent[0]
            self._say(Answer(service, True, sent[0], "renewed"))

    def _lose(self, service: str, mine: _Wanted, asked: float, why: str) -> None:
        mine.lease = mine.created = 0
        self._say(Answer(service, False, asked, why))

    # ----------------------------------------------------------------------------------------- what is wanted

    def _get(self, service: str, mine: _Wanted, key: Key | None, now: float) -> None:
        """Create the key where there is none, take it on where an earlier nmond of this node left it."""
        wait = self._quiet_until - now
        if key is not None and _node(key) != self._owner:
            self._tell(service, mine, now, f"its key in etcd is {_owner(key)}")
        elif wait > 0:
            why = "this node has not watched etcd all the time, and it may have forgotten who holds what"
            self._tell(service, mine, now, f"{why}: what it granted before ends by itself in the meantime")
        else:
            self._put(service, mine, key)

    def _put(self, service: str, mine: _Wanted, key: Key | None) -> None:
        asked = self._clock()
        _, lease, seconds = self._etcd.grant(mine.ttl)
        name = self._prefix + service
        if seconds < mine.ttl:
            self._etcd.revoke(lease)
            self._tell(service, mine, asked, f"etcd grants {seconds} s, where {mine.ttl} s are needed")
            return
        put = self._etcd.put(name, self._value, lease, 0 if key is None else key.modified)
        there = put.there
        if put.done:
            # A key that is put again keeps the revision that created it.
            created = put.header.revision if key is None else key.created
        elif there is not None and there.lease == lease:
            created = there.created  # It was done by the first of two attempts, whose answer got lost.
        else:
            self._etcd.revoke(lease)
            self._tell(service, mine, asked, "its key in etcd went to another node at this moment")
            return
        mine.lease, mine.created, mine.renewed, mine.told = lease, created, asked, ""
        self._say(Answer(service, True, asked, "obtained"))

    def _tell(self, service: str, mine: _Wanted, asked: float, why: str) -> None:
        """Once for each reason."""
        if why != mine.told:
            mine.told = why
            self._say(Answer(service, False, asked, why))


def _node(key: Key) -> str:
    try:
        node = json.loads(key.value)["node"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return node if isinstance(node, str) else ""


def _owner(key: Key) -> str:
    node = _node(key)
    return f"{printable(node)[:80]}'s" if node else "somebody's who is no node of ezha"
