"""An etcd of a few lines under a clock that jumps: leases, keys, terms of leaders, a backup. No network."""

import copy
from dataclasses import dataclass, field

from ha.node.arbiter.answers import NOT_FOUND, Header, Key, Put, RefusedError
from ha.node.arbiter.gateway import UnavailableError
from ha.node.config.etcd import Endpoint
from tests.unit.node.world import Clock


@dataclass
class Lease:
    ttl: int
    until: float


@dataclass
class Store:
    """What the members agree on."""

    cluster: int = 7
    revision: int = 1
    leases: dict[int, Lease] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)


class Etcd:
    """A cluster whose clock may run faster or slower than the nodes'."""

    def __init__(self, clock: Clock, rate: float = 1.0) -> None:
        self._clock = clock
        self._rate = rate
        self._count = 100
        self.term = 2
        self.up = True
        """It answers."""
        self.store = Store()

    def now(self) -> float:
        return self._clock() * self._rate

    def expire(self) -> None:
        for number in [n for n, lease in self.store.leases.items() if lease.until < self.now()]:
            self.drop(number)

    def drop(self, number: int) -> None:
        del self.store.leases[number]
        for name in [name for name, key in self.store.keys.items() if key.lease == number]:
            self.store.revision += 1
            del self.store.keys[name]

    def grant(self, ttl: int) -> int:
        self._count += 1
        self.store.leases[self._count] = Lease(ttl, self.now() + ttl)
        return self._count

    def elect(self) -> None:
        """A new leader begins with the full time of each lease."""
        self.expire()
        self.term += 1
        for lease in self.store.leases.values():
            lease.until = self.now() + lease.ttl

    def backup(self) -> Store:
        return copy.deepcopy(self.store)

    def restore(self, backup: Store, cluster: int = 0) -> None:
        self.store = copy.deepcopy(backup)
        self.store.cluster = cluster or self.store.cluster
        self.elect()

    def header(self) -> Header:
        return Header(self.store.cluster, self.store.revision, self.term)


ENDPOINTS = tuple(Endpoint(f"10.0.0.{number}", 2379, True) for number in (1, 2, 3))


class Link:
    """A node's way to it. Implements ``ha.node.arbiter.keeper.Cluster``."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self.cluster = 0
        self.stranger = False
        self.state = "ok"
        """``down``: nothing arrives. ``deaf``: it is done, the answer is lost. ``stale``: renewals reach a member that
        does not know yet that it leads no more."""
        self.seen: dict[Endpoint, int | str] = {}
        """What ``identify`` finds where that is not the cluster."""
        self.asked: list[str] = []

    def _before(self, what: str) -> None:
        self.asked.append(what)
        if self.state == "down" or not self._etcd.up:
            raise UnavailableError("nobody answers")
        self._etcd.expire()

    def _after(self) -> None:
        if self.state == "deaf":
            raise UnavailableError("the answer is lost")
        if self._etcd.store.cluster != self.cluster:
            self.stranger = True
            raise UnavailableError("another cluster")

    def range(self, prefix: str) -> tuple[Header, dict[str, Key]]:
        self._before("range")
        found = {name: key for name, key in self._etcd.store.keys.items() if name.startswith(prefix)}
        self._after()
        return self._etcd.header(), found

    def put(self, key: str, value: bytes, lease: int, modified: int = 0) -> Put:
        self._before("put")
        store = self._etcd.store
        there = store.keys.get(key)
        if (there.modified if there else 0) != modified:
            self._after()
            return Put(self._etcd.header(), False, there)
        if lease not in store.leases:
            raise RefusedError(NOT_FOUND, "requested lease not found")
        store.revision += 1
        created = there.created if there else store.revision
        store.keys[key] = Key(key, value, lease, created, store.revision)
        self._after()
        return Put(self._etcd.header(), True, None)

    def grant(self, ttl: int) -> tuple[Header, int, int]:
        self._before("grant")
        lease = self._etcd.grant(ttl)
        self._after()
        return self._etcd.header(), lease, ttl

    def keepalive(self, lease: int) -> tuple[Header, int]:
        self._before("keepalive")
        found = self._etcd.store.leases.get(lease)
        header = self._etcd.header()
        if self.state == "stale":
            return Header(header.cluster, header.revision, header.term - 1), found.ttl if found else 1_000
        if found is not None:
            found.until = self._etcd.now() + found.ttl
        self._after()
        return header, found.ttl if found else 0

    def revoke(self, lease: int) -> None:
        self._before("revoke")
        if lease in self._etcd.store.leases:
            self._etcd.drop(lease)
        self._after()

    def identify(self) -> dict[Endpoint, int | str]:
        self.stranger = False
        self.asked.append("identify")
        if self.state == "down" or not self._etcd.up:
            return dict.fromkeys(ENDPOINTS, "does not answer")
        return self.seen or dict.fromkeys(ENDPOINTS, self._etcd.store.cluster)
