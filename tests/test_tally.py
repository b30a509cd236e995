"""How models have done, as `/model-stats` tells it."""

from __future__ import annotations

import pytest

import service.tally
from service.events import Done, ErrorCode, Timings
from service.tally import Tally


def done(code: ErrorCode | None) -> Done:
    timings = Timings(
        queue_ms=0, connect_ms=None, first_byte_ms=None, first_token_ms=None, duration_ms=1
    )
    return Done(
        model="m",
        error=code is not None,
        code=code,
        finish_reason=None,
        timings=timings,
        usage=None,
        cost_usd=None,
        chunks=0,
        attempts=1,
    )


def test_successes_and_failures_are_counted_by_model() -> None:
    tally = Tally()
    tally.record("a", done(None))
    tally.record("a", done("idle_timeout"))
    tally.record("b", done(None))
    assert (tally.models["a"].success, tally.models["a"].failure) == (1, 1)
    assert tally.models["a"].last_error is not None
    assert tally.models["b"].last_error is None


@pytest.mark.parametrize("code", ["cancelled", "server_shutdown"])
def test_an_answer_that_was_stopped_says_nothing_about_its_model(code: ErrorCode) -> None:
    tally = Tally()
    tally.record("a", done(code))
    assert not tally.models


def test_ids_that_callers_invent_do_not_grow_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service.tally, "MOST_MODELS", 3)
    tally = Tally()
    for name in ("a", "b", "c", "a", "d"):
        tally.record(name, done(None))
    assert list(tally.models) == ["c", "a", "d"]
