"""Who may begin: a place for each comparison that runs, given back whatever becomes of it."""

from __future__ import annotations

import trio
import trio.testing
from structlog.typing import EventDict

from service.settings import Limits, Settings
from service.testing import Script, Stall, app_for, open_app, open_exchange

ASKED = {"input_data": "q", "models": ["a:1"]}
ONE_AT_A_TIME = Settings(limits=Limits(max_comparisons=1))


async def test_of_many_that_ask_at_once_only_as_many_begin_as_may(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script("a", (0, "x"), (0, Stall()))
    app = app_for(script, settings=ONE_AT_A_TIME)
    statuses: list[int | None] = []

    async def ask(path: str) -> None:
        async with open_exchange(app, path, json_body=ASKED) as exchange:
            await exchange.next_body()
            statuses.append(exchange.status)
            if exchange.status == 200:
                await trio.sleep(1)

    async with open_app(app), trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(ask, "/compare-stream")
    assert sorted(statuses, key=str) == [200] + [503] * 11
    assert script.opened == 1


async def test_a_place_is_given_back_at_the_end_of_each_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    app = app_for(Script("a", (1, "x")), settings=ONE_AT_A_TIME)
    async with open_app(app):
        for path in ("/compare-stream", "/compare", "/compare-stream"):
            async with open_exchange(app, path, json_body=ASKED) as exchange:
                await exchange.read()
                assert exchange.status == 200


async def test_a_client_that_leaves_before_its_response_begins_leaves_its_place_and_a_line(
    autojump_clock: trio.testing.MockClock, log_lines: list[EventDict]
) -> None:
    script = Script("a", (1, "x"))
    app = app_for(script, settings=ONE_AT_A_TIME)
    async with open_app(app):
        async with open_exchange(app, "/compare-stream", json_body=ASKED) as exchange:
            await trio.testing.wait_all_tasks_blocked()  # the status waits to be taken
            exchange.disconnect()
            await trio.testing.wait_all_tasks_blocked()  # and is taken by nobody
            assert await exchange.read() == b""
        assert script.opened == 0
        # The head may have reached the client all the same, with the id of its comparison.
        began, ended = log_lines
        assert began["event"] == "comparison began"
        assert (ended["outcome"], ended["models"], ended["chunks"]) == ("client_gone", 1, 0)
        async with open_exchange(app, "/compare", json_body=ASKED) as exchange:
            await exchange.read()
            assert exchange.status == 200


async def test_a_question_that_is_refused_leaves_its_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = Settings(limits=Limits(max_comparisons=1, daily_model_responses=1))
    app = app_for(Script("a", (1, "x")), settings=settings)
    two = {"input_data": "q", "models": ["a:1", "a:2"]}
    async with open_app(app):
        for asked, status in ((two, 429), (two, 429), (ASKED, 200)):
            async with open_exchange(app, "/compare", json_body=asked) as exchange:
                await exchange.read()
                assert exchange.status == status
