"""What an answer costs."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from trio.testing import MockClock

from service.comparison import Comparison, Entrant
from service.errors import ProviderError
from service.events import Done, Usage
from service.patience import Patience
from service.pricing import FREE, Price, cost_of
from service.providers import Ending
from service.testing import Connect, Script, Stall, Thought
from tests.asking import question


def used(question: int, answer: int, reasoning: int = 0, *, estimated: bool = False) -> Usage:
    return Usage(
        input_tokens=question,
        output_tokens=answer,
        reasoning_tokens=reasoning,
        estimated=estimated,
    )


MINI = Price(input=Decimal("0.00000015"), output=Decimal("0.0000006"))
DEAR_THOUGHTS = Price(
    input=Decimal("0.000001"),
    output=Decimal("0.000002"),
    request=Decimal("0.5"),
    reasoning=Decimal("0.000004"),
)


@pytest.mark.parametrize(
    ("usage", "price", "dollars"),
    [
        (used(0, 0), MINI, 0.0),
        (used(1, 0), MINI, 0.00000015),
        (used(1000, 500), MINI, 0.00045),
        (used(3, 7), MINI, 0.00000465),
        (used(1000, 500, 400), MINI, 0.00045),
        (used(1000, 500, 400), DEAR_THOUGHTS, 0.5028),
        # More reasoning than output is nonsense; nobody is paid for it.
        (used(0, 10, 99), DEAR_THOUGHTS, 0.50004),
        (used(10**6, 10**6), FREE, 0.0),
        (None, MINI, None),
        (used(1, 1), None, None),
        (None, None, None),
    ],
)
def test_the_cost_is_the_tokens_at_their_price_without_noise(
    usage: Usage | None, price: Price | None, dollars: float | None
) -> None:
    assert cost_of(usage, price) == dollars


def test_what_floats_would_get_wrong_is_written_as_people_would() -> None:
    price = Price(input=Decimal("0.1"), output=Decimal("0.2"))
    assert msgspec.json.encode(cost_of(used(1, 1), price)) == b"0.3"


PRICE = Price(input=Decimal("0.001"), output=Decimal("0.01"))
ASKED = question("a")
SENT = Decimal(1)  # "Why?": four characters, a token


async def done_of(script: Script, price: Price | None = PRICE, **patience: float) -> Done:
    entrant = Entrant("a", script, ASKED.prompt_for(ASKED.entries[0], "a"), price)
    comparison = Comparison(ASKED, [entrant], Patience(**patience))
    async with comparison.open() as inbox:
        events = [event async for event in inbox]
    [done] = [event for event in events if isinstance(event, Done)]
    return done


def told(done: Done) -> tuple[float | None, bool]:
    """The cost, and whether it says that it is estimated."""
    return done.cost_usd, "cost_estimated" in msgspec.to_builtins(done)


async def test_what_the_provider_reports_is_believed(autojump_clock: MockClock) -> None:
    ending = Ending(finish_reason="stop", usage=used(5, 5), cost_usd=0.25)
    assert told(await done_of(Script("a", (0, "x"), (0, ending)))) == (0.25, False)
    free = Ending(finish_reason="stop", usage=used(5, 5), cost_usd=0.0)
    assert told(await done_of(Script("a", (0, "x"), (0, free)))) == (0.0, False)


async def test_else_it_is_the_list_price_of_what_was_used(autojump_clock: MockClock) -> None:
    ending = Ending(finish_reason="stop", usage=used(10, 2))
    assert told(await done_of(Script("a", (0, "x"), (0, ending)))) == (0.03, True)


async def test_without_a_price_it_is_not_known(autojump_clock: MockClock) -> None:
    ending = Ending(finish_reason="stop", usage=used(10, 2))
    assert told(await done_of(Script("a", (0, "x"), (0, ending)), None)) == (None, False)


async def test_a_model_that_fails_has_cost_what_it_had_written(autojump_clock: MockClock) -> None:
    script = Script("a", (0, "x" * 8), (0, Thought("y" * 4)), (0, Stall()))
    done = await done_of(script, idle=1)
    assert done.code == "idle_timeout"
    assert done.usage == used(1, 3, 1, estimated=True)
    assert told(done) == (0.031, True)
    error = ProviderError("overloaded", "No.", usage=used(1, 1), cost_usd=0.5)
    assert told(await done_of(Script("a", (0, "x"), (0, error)))) == (0.5, False)


async def test_a_model_whose_client_left_has_a_cost_too(autojump_clock: MockClock) -> None:
    dones: list[Done] = []
    script = Script("a", (0, "x" * 8), (0, Stall()))
    entrant = Entrant("a", script, ASKED.prompt_for(ASKED.entries[0], "a"), PRICE)
    comparison = Comparison(ASKED, [entrant], Patience(), on_done=dones.append)
    async with comparison.open() as inbox:
        await anext(inbox)
        await anext(inbox)
    assert [done.code for done in dones] == ["cancelled"]
    assert told(dones[0]) == (0.021, True)


async def test_what_never_reached_the_provider_has_no_cost(autojump_clock: MockClock) -> None:
    done = await done_of(Script("a", (9, Connect()), (0, "x")), connect=1)
    assert (done.code, done.usage, told(done)) == ("connect_timeout", None, (None, False))


class Refusing(Script):
    async def stream(self, prompt: object, sink: object) -> Ending:
        sink.connected()  # type: ignore[attr-defined]
        sink.first_byte()  # type: ignore[attr-defined]
        sink.refused()  # type: ignore[attr-defined]
        raise ProviderError("rate_limited", "Too many.")


async def test_a_request_that_was_refused_costs_nothing(autojump_clock: MockClock) -> None:
    assert told(await done_of(Refusing("a"))) == (0.0, True)
    assert told(await done_of(Refusing("a"), None)) == (None, False)
