"""How many answers an address and a fingerprint may have in a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import service.allowance
from service.allowance import Allowance


class Day:
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_answers_are_counted_for_every_key_or_for_none() -> None:
    allowance = Allowance(5)
    assert allowance.take(["ip:a", "fp:x"], 3)
    assert allowance.take(["ip:b", "fp:x"], 2)
    assert not allowance.take(["ip:c", "fp:x"], 1)
    assert [allowance.used(key) for key in ("ip:a", "ip:b", "ip:c", "fp:x")] == [3, 2, 0, 5]
    assert (allowance.left("ip:a"), allowance.left("fp:x")) == (2, 0)


def test_without_a_limit_answers_are_counted_and_never_refused() -> None:
    allowance = Allowance(0)
    assert all(allowance.take(["ip:a"], 9) for _ in range(100))
    assert (allowance.used("ip:a"), allowance.left("ip:a")) == (900, None)


def test_what_came_to_nothing_is_given_back_but_never_more_than_was_taken() -> None:
    allowance = Allowance(2)
    allowance.take(["ip:a"], 2)
    allowance.give_back(["ip:a"])
    assert allowance.left("ip:a") == 1
    allowance.give_back(["ip:a"], 9)
    assert (allowance.used("ip:a"), allowance.left("ip:a")) == (0, 2)


def test_the_count_begins_anew_at_midnight_utc() -> None:
    day = Day()
    allowance = Allowance(1, day)
    assert allowance.take(["ip:a"], 1)
    assert not allowance.take(["ip:a"], 1)
    assert allowance.resets_at == datetime(2026, 3, 2, tzinfo=UTC)
    assert allowance.seconds_to_reset() == 2 * 3600
    day.now += timedelta(hours=2)
    assert allowance.take(["ip:a"], 1)


def test_keys_that_callers_invent_do_not_grow_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service.allowance, "MOST_KEYS", 10)
    allowance = Allowance(5)
    for n in range(100):
        allowance.take([f"fp:{n}"], 1)
    assert [n for n in range(100) if allowance.used(f"fp:{n}")] == list(range(90, 100))
