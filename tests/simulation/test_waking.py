"""Nothing that a decision rests on changes without the service being looked at: no start that waits for a chance event.

Engines that are watched while histories go on: after each step, what they would decide if they looked is compared with
what they did. Whatever would be claimed or settled then was looked at, or a time is set at which it will be.
"""

from collections.abc import Iterator

import pytest

from ha.fsm import hearing, original
from ha.fsm.engine import Engine
from ha.fsm.events import Effects, Event
from ha.fsm.service import Service
from ha.fsm.states import State
from ha.simulation.history import run
from ha.simulation.mix import draw_plan
from tests.simulation.test_found import plan_of

SEEDS = range(12)


def _overlooked(engine: Engine, now: float) -> Iterator[str]:
    if engine.leaving or now < engine._listens_until:
        return
    for name, service in engine.services.items():
        idle = service.job is None and service.pending is None and name not in engine._wakes
        if idle and _would_go_on(engine, name, service, now):
            yield f"{name} is {service.state.name} on {engine.node}, and nothing keeps it so"


def _would_go_on(engine: Engine, name: str, service: Service, now: float) -> bool:
    if service.state is State.STOPPED:
        needed = 1
    elif service.state is State.START_READY and service.claim_seq:
        if any(original.is_original(peer) for peer in engine._others(service)):
            return False
        needed = service.claim_seq
    else:
        return False
    return not engine.no_standing(name) and all(v.clear for v in engine._verdicts(service, needed, now))


@pytest.fixture
def overlooked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What was overlooked after any step of any engine."""
    found: set[str] = set()
    handle = Engine.handle

    def watched(self: Engine, event: Event, now: float) -> Effects:
        effects = handle(self, event, now)
        found.update(_overlooked(self, now))
        return effects

    monkeypatch.setattr(Engine, "handle", watched)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_no_start_is_overlooked(seed: int, overlooked: set[str]) -> None:
    run(draw_plan(seed, 300.0), keep=False)
    assert not overlooked


def test_twin_without_a_look_at_what_a_message_says_of_its_configuration(
    overlooked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "_differ", lambda one, other: False)
    run(plan_of("made-equal-again"), keep=False)
    assert overlooked == {"svc1 is STOPPED on node2, and nothing keeps it so"}
