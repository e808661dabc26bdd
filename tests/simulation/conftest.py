"""What several tests of the simulator need."""

import pytest

from ha.fsm import sight
from ha.fsm.evidence import NO_TERMS, Standing, Terms, Verdict
from ha.fsm.peers import Peer


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: whatever other nodes say, they are taken not to hold the service."""

    def see_nothing(
        peer: Peer, service: int, acknowledged: int, needed: int, now: float, terms: Terms = NO_TERMS
    ) -> Verdict:
        return Verdict(peer.name, Standing.CLEAR, f"{peer.name} is not looked at")

    monkeypatch.setattr(sight, "judge", see_nothing)
