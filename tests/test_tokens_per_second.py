"""How fast a model wrote: the answer's tokens over the time in which it was written."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from service.errors import ProviderError
from service.events import Done, Usage
from service.persistence import Persistence
from service.providers import Ending
from service.testing import Script, Stall, Thought
from tests.asking import timeline
from tests.providing import Turns


def reported(output_tokens: int, reasoning_tokens: int = 0) -> Ending:
    usage = Usage(
        input_tokens=1,
        output_tokens=output_tokens,
        reasoning_tokens=reasoning_tokens,
        estimated=False,
    )
    return Ending(finish_reason="stop", usage=usage)


@pytest.mark.parametrize(
    ("steps", "rate"),
    [
        pytest.param([(9, "x"), (2, "y"), (2, reported(100))], 25.0, id="as it was reported"),
        pytest.param([(9, "four"), (2, "four" * 9)], 5.0, id="as it is estimated"),
        pytest.param(
            [(2, Thought("x" * 400)), (1, "x"), (4, "y"), (0, reported(120, 100))],
            5.0,
            id="what was thought before is in neither",
        ),
        pytest.param(
            [(2, Thought("x" * 400)), (1, "x"), (4, "y"), (0, reported(120))],
            5.0,
            id="nor where it is reported among the rest",
        ),
        pytest.param(
            [(1, "four"), (4, "four"), (0, ProviderError("truncated", "No more."))],
            0.5,
            id="of an answer that broke off",
        ),
        pytest.param([(1, "x"), (2, reported(3))], None, id="one piece is no rate"),
        pytest.param([(1, "x"), (0, "y"), (0.009, reported(30))], None, id="all of it at once"),
        pytest.param(
            [(1, Thought("x")), (0, ProviderError("overloaded", "No."))], None, id="no text"
        ),
        pytest.param([(0, ProviderError("overloaded", "No."))], None, id="nothing at all"),
        pytest.param([(1, "x"), (1, "y"), (0, reported(9, 9))], None, id="nothing but thoughts"),
    ],
)
async def test_the_rate_on_done(
    autojump_clock: MockClock, steps: list[Any], rate: float | None
) -> None:
    events = await timeline(Script("a", *steps))
    [done] = [event for _, event in events if isinstance(event, Done)]
    assert done.tokens_per_second == rate


async def test_a_stopped_answer_has_its_rate_too(autojump_clock: MockClock) -> None:
    slow = Script("slow", (1, "four"), (1, "four"), (0, Stall()))
    events = await timeline(slow, Script("quick", (5, "x")), mode="first_k", k=1)
    rates = {e.model: e.tokens_per_second for _, e in events if isinstance(e, Done)}
    assert rates == {"slow": 0.5, "quick": None}


async def test_the_rate_is_that_of_the_request_that_was_answered(autojump_clock: MockClock) -> None:
    lost = Usage(input_tokens=1, output_tokens=500, reasoning_tokens=0, estimated=False)
    failure = ProviderError("provider_error", "No.", retryable=True, usage=lost)
    answer = ((1, "four"), (1, "four"), (1, reported(4)))
    asked_twice = Turns("a", [(1, failure)], answer)
    events = await timeline(asked_twice, persistence=Persistence(attempts=2))
    [done] = [event for _, event in events if isinstance(event, Done)]
    assert done.attempts == 2
    assert done.usage is not None
    assert done.usage.output_tokens == 504
    assert done.tokens_per_second == 2.0
