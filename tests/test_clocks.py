"""Every clock of a model told apart from the others: what it counts, what it does not, and whom it
blames. All times are virtual and exact."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from service.events import Done
from service.limiter import Limiter
from service.patience import Patience
from service.persistence import Persistence
from service.providers import Ending
from service.testing import Alive, Connect, Stall, Thought
from tests.asking import comparison
from tests.providing import OneForAll, Turns, too_many

Clock = trio.testing.MockClock

PATIENCE = Patience(connect=5, first_token=30, idle=60, total=300)
END = Ending(finish_reason="stop")
FOR_EVER = (0, Stall())
COMMENTS: list[tuple[float, Any]] = [(10, Alive())] * 40

TABLE: list[tuple[str, list[tuple[float, Any]], str | None, float, float | None]] = [
    # what the provider does; how the model ends, and when; when its first text came
    ("connects in time", [(5, Connect()), (1, "x")], None, 6, 6),
    ("connects too late", [(5.5, Connect()), (1, "x")], "connect_timeout", 5, None),
    ("is silent from then on", [(4, Connect()), FOR_EVER], "first_token_timeout", 34, None),
    ("begins in time", [(5, Connect()), (30, "x")], None, 35, 35),
    ("begins too late", [(5, Connect()), (30.5, "x")], "first_token_timeout", 35, None),
    ("only says that it is busy", COMMENTS, "first_token_timeout", 30, None),
    ("says so, then begins", [(10, Alive()), (10, Alive()), (9, "x")], None, 29, 29),
    ("says so, then begins too late", [(10, Alive()), (21, "x")], "first_token_timeout", 30, None),
    ("stops after a token", [(2, "x"), FOR_EVER], "idle_timeout", 62, 2),
    ("pauses for as long as it may", [(2, "x"), (60, "y")], None, 62, 2),
    ("pauses for longer", [(2, "x"), (60.5, "y")], "idle_timeout", 62, 2),
    ("comments while it pauses", [(2, "x"), *COMMENTS[:20], (1, "y")], None, 203, 2),
    ("comments for ever", [(2, "x"), *COMMENTS], "total_timeout", 300, 2),
    ("thinks, and that is all", [(2, Thought("h")), FOR_EVER], "idle_timeout", 62, None),
    ("thinks for long, then answers", [*[(20, Thought("h"))] * 5, (50, "x")], None, 150, 150),
    ("begins to think too late", [(55, Thought("h")), (1, "x")], "first_token_timeout", 30, None),
    ("thinks early, pauses long", [(9, Thought("h")), (61, "x")], "idle_timeout", 69, None),
    ("thinks, comments, answers", [(9, Thought("h")), (50, Alive()), (50, "x")], None, 109, 109),
    ("thinks for ever", [(20, Thought("h"))] * 40, "total_timeout", 300, None),
    ("writes for ever", [(20, "x")] * 40, "total_timeout", 300, 20),
    ("ends in the last moment", [*[(30, "x")] * 9, (30, END)], None, 300, 30),
]  # fmt: skip


async def ended(provider: Turns, **options: Any) -> tuple[float, Done]:
    began = trio.current_time()
    async with comparison(provider, patience=PATIENCE, **options).open() as inbox:
        async for event in inbox:
            if isinstance(event, Done):
                return trio.current_time() - began, event
    raise AssertionError("no done")


@pytest.mark.parametrize(
    ("steps", "code", "at", "first"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
async def test_each_clock_counts_what_it_is_for(
    steps: list[tuple[float, Any]],
    code: str | None,
    at: float,
    first: float | None,
    autojump_clock: Clock,
) -> None:
    provider = Turns("a", steps)
    ended_at, done = await ended(provider)
    assert (ended_at, done.code) == (at, code)
    assert done.timings.first_token_ms == (None if first is None else first * 1000)
    assert provider.running == 0


@pytest.mark.parametrize(
    ("steps", "code", "at", "first"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
async def test_after_a_line_and_a_failed_attempt_all_of_them_begin_anew_but_one(
    steps: list[tuple[float, Any]],
    code: str | None,
    at: float,
    first: float | None,
    autojump_clock: Clock,
) -> None:
    """Forty seconds in line, then a refusal after two, a wait of half a second; then the same."""
    limiter = Limiter(1)
    provider = Turns("a", [(0, Connect()), (2, too_many())], steps)
    results: list[tuple[float, Done]] = []

    async def ask() -> None:
        results.append(
            await ended(
                provider,
                limiters=OneForAll(limiter),
                persistence=Persistence(attempts=2, draw=lambda: 1.0),
            )
        )

    async with trio.open_nursery() as nursery:
        with limiter.queue("x"):
            nursery.start_soon(ask)
            await trio.sleep(40)
    [(ended_at, done)] = results
    before = 42.5
    if before + at > 300:
        assert (ended_at, done.code) == (300, "total_timeout")
    elif code == "total_timeout":
        assert (ended_at, done.code) == (300, code)
    else:
        assert (ended_at, done.code) == (before + at, code)
    assert done.timings.queue_ms == 40_000
