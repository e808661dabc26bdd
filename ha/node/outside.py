"""What a node asks of others than its peers: that a node be fenced, and of etcd whose a service is.

Puts ``ha.node.fencing`` and ``ha.node.arbiter`` between the engine's wishes and its events, and gives them what the
configuration says. It decides nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ha.fsm.engine import Engine
from ha.fsm.events import Arbitrate, Arbitrated, Fenced, FenceNode, Note
from ha.fsm.lease import timing_of
from ha.node.arbiter.arbiter import Arbiter, Terms
from ha.node.config import Configuration
from ha.node.config.fencing import FenceMethod, method_for
from ha.node.fencing.fencer import Fencer
from ha.node.layout import Layout
from ha.node.log import Log
from ha.node.loop import Loop


class Outside:
    """One fencer, one arbiter."""

    def __init__(
        self,
        loop: Loop,
        layout: Layout,
        node: str,
        log: Log,
        environ: Mapping[str, str],
        *,
        configuration: Callable[[], Configuration],
        engine: Callable[[], Engine],
        post: Callable[[Fenced | Arbitrated], None],
        tell: Callable[[Note], None],
        prompt: Callable[[], None],
    ) -> None:
        self._node = node
        self._configuration = configuration
        self._engine = engine
        self.fencer = Fencer(
            loop,
            node,
            environ,
            method=self._method,
            nodes=lambda: configuration().cluster.nodes,
            silent=self._silent,
            ended=post,
            tell=tell,
        )
        self.arbiter = Arbiter(loop, node, f"{layout.run}/etcd", layout.bin, log, post, prompt)

    def use(self) -> None:
        """What the configuration says now."""
        self.fencer.forget(self._configuration().cluster.nodes)
        self.arbiter.use(self._terms(), self._timeout_of, self._incarnation())

    def fence(self, order: FenceNode) -> None:
        self.fencer.ask(order)

    def arbitrate(self, order: Arbitrate) -> None:
        self.arbiter.ask(order)

    def _method(self, node: str) -> FenceMethod | None:
        configuration = self._configuration()
        return method_for(node, configuration.options.fences, configuration.cluster)

    def _silent(self, node: str) -> bool:
        """Not heard by now: a node that is, must not be fenced for what was so before."""
        peer = self._engine().peers.get(node)
        return peer is not None and not (peer.living and not peer.left)

    def _timeout_of(self, service: str) -> float:
        """T, as the lease of the service counts with it."""
        cluster = self._configuration().cluster
        config = cluster.services.get(service)
        return cluster.timeout_of(self._node) if config is None else timing_of(cluster, config).timeout

    def _terms(self) -> Terms | None:
        cluster, options = self._configuration().cluster, self._configuration().options.etcd
        services = [s for s in cluster.services.values() if s.by_etcd and self._node in s.nodes]
        if options is None or not services:
            return None
        timeouts = [timing_of(cluster, service).timeout for service in services]
        prefix = f"{options.prefix}/{cluster.cluster}/"
        return Terms(options, prefix, cluster.period_of(self._node), min(timeouts), max(timeouts))

    def _incarnation(self) -> str:
        incarnation = self._engine().incarnation
        return f"{incarnation.counter}.{incarnation.nonce}"

    # ----------------------------------------------------------------------------------- end, hand-over

    def stop(self) -> None:
        """The loop has to turn until ``gone``."""
        self.fencer.held = True
        self.arbiter.stop()

    @property
    def gone(self) -> bool:
        return self.arbiter.gone

    @property
    def pids(self) -> set[int]:
        return {pid for pid in (self.fencer.pid, self.arbiter.pid) if pid}

    def hold(self) -> None:
        self.fencer.held = self.arbiter.held = True

    def channels(self) -> list[int]:
        """The descriptors that must live through an exec."""
        return self.arbiter.channels()

    def packed(self) -> dict[str, Any]:
        return {"fencer": self.fencer.packed(), "arbiter": self.arbiter.packed()}

    def unpack(self, data: Mapping[str, Any]) -> None:
        """In place of ``use``. Raises ValueError, KeyError or TypeError for what ``packed`` did not make."""
        self.fencer.unpack(data["fencer"])
        self.arbiter.unpack(data["arbiter"], self._terms(), self._timeout_of, self._incarnation())
