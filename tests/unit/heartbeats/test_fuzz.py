"""A share of the ten million mutated datagrams and blocks of ``python -m bench.fuzz``, and that it would notice."""

import pytest

from bench import fuzz
from ha.heartbeats.keys import NO_KEYS


def test_nothing_forged_is_taken_and_nothing_fails() -> None:
    outcome = fuzz.run_share(seed=7, share=0, cases=4_000)
    assert outcome.forwarded == 0
    assert sum(outcome.refused.values()) >= 3_000
    assert outcome.signed_taken > 50
    assert outcome.grown_kib < 20_000


def test_without_keys_the_same_cases_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a right checksum is all that it takes then."""
    monkeypatch.setattr(fuzz, "RING", NO_KEYS)
    with pytest.raises(fuzz.FoundError, match="that nobody signed was taken"):
        fuzz.run_share(seed=7, share=0, cases=4_000)


def test_a_share_is_the_same_again() -> None:
    first, second = (fuzz.run_share(seed=7, share=1, cases=1_000) for _ in range(2))
    assert (first.refused, first.signed_taken) == (second.refused, second.signed_taken)
