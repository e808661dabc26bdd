"""What this node sees of the others, service by service. Looks; decides and changes nothing."""

from typing import Final

from ha.fsm import original
from ha.fsm.config import PathId
from ha.fsm.evidence import Standing, Terms, Verdict, judge, remembered
from ha.fsm.peers import Peer
from ha.fsm.service import Service
from ha.fsm.standing import Standings
from ha.fsm.states import State

_BARRING: Final = frozenset({Standing.HOLDS, Standing.UNEQUAL, Standing.UNDECIDED})
"""Of a third node, these keep any other from starting a service until a person does something; all else passes."""


class Sight(Standings):
    """Verdicts on the other nodes of a service, and the sentences that support them."""

    def path_state(self, path: PathId) -> tuple[bool, float | None]:
        """Whether a peer's path is UP, and when it last brought something new (None: never)."""
        peer = self.peers.get(path.node)
        if peer is None or path.index >= len(peer.paths):
            return (False, None)
        each = peer.paths[path.index]
        return (each.up, each.last)

    def peer_state(self, node: str, service: str) -> State:
        """The state of a service on another node as last heard; UNKNOWN where it is not heard."""
        peer = self.peers[node]
        entry = peer.entries.get(self.services[service].id)
        return entry.state if peer.living and entry is not None else State.UNKNOWN

    def _order(self, service: Service, node: str) -> int:
        return service.config.nodes.index(node)

    def _others(self, service: Service) -> list[Peer]:
        return [self.peers[n] for n in service.config.nodes if n != self.node]

    def _verdicts(self, service: Service, needed: int, now: float) -> list[Verdict]:
        terms = self._terms(service, needed, now)
        return [self._verdict(p, service, needed, now, terms) for p in self._others(service)]

    def _verdict(self, peer: Peer, service: Service, needed: int, now: float, terms: Terms) -> Verdict:
        known = remembered(peer, service.record.name, terms)
        if known is not None:
            return known
        number = service.id
        if not original.is_original(peer):
            return judge(peer, number, peer.acknowledgement(self.id, self.incarnation), needed, now, terms)
        # It acknowledges nothing: what it says must do, and what our claim owes it is ``_look_twice``'s matter.
        return original.judged(peer, peer.entries.get(number), judge(peer, number, needed, needed, now, terms))

    def _evidence(self, service: Service, verdicts: list[Verdict], now: float) -> tuple[str, ...]:
        told = tuple(v.text for v in verdicts)
        for peer in self._others(service):
            told += peer.describe_paths(now)
        return told

    def _handover_target(self, service: Service) -> str:
        """The node that an operator sent the service to, as said by us or by a living peer; empty: none."""
        if service.record.handover:
            return service.record.handover
        for peer in self._others(service):
            if peer.living and peer.newest is not None:
                for handover in peer.newest.handovers:
                    if handover.service == service.id:
                        return self._ids.get(handover.node, "")
        return ""

    def _barring(self, service: Service, now: float) -> str:
        """What of any other node keeps the rest from starting the service; empty: nothing does."""
        told = []
        for peer, verdict in zip(self._others(service), self._verdicts(service, 1, now), strict=True):
            # Without a lease one that has left is silent soon, whatever its configuration is.
            leaves = peer.left and verdict.standing is Standing.UNEQUAL and service.record.name not in self._covers
            if verdict.standing in _BARRING and not leaves:
                told.append(verdict.text)
        return "; ".join(told)

    def _target(self, service: Service, wanted: str, now: float) -> tuple[str, str]:
        """The node that can take the service, and its name; or nothing, and why not."""
        if wanted == self.node:
            return ("", "it runs here already")
        if wanted and wanted not in service.config.nodes:
            return ("", f"{wanted} is not a node of this service ({', '.join(service.config.nodes)})")
        told = []
        for peer, verdict in zip(self._others(service), self._verdicts(service, 1, now), strict=True):
            if wanted and peer.name != wanted:
                continue
            entry = peer.entries.get(service.id)
            if peer.living and not peer.left and verdict.clear and entry is not None and entry.state is State.STOPPED:
                barring = self._barring(service, now)
                if barring:  # given up here it would run nowhere
                    return ("", f"{peer.name} could not start it: {barring}")
                return (peer.name, peer.name)
            told.append(verdict.text if not verdict.clear else f"{peer.name} cannot take it: {verdict.text}")
        return ("", "; ".join(told))
