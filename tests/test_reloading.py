"""Other settings while comparisons run: what begins has the new ones, what runs keeps its own.

In memory and in virtual time; `tests/edge/test_reload.py` has the signal, `test_reloading_kept.py`
the mistakes.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from quart_trio import QuartTrio

from service.application import create_app
from service.providers.roster import Roster
from service.settings import (
    CatalogueSettings,
    Deadlines,
    Limits,
    ProviderSettings,
    Server,
    Settings,
    Stream,
)
from service.shared import Shared
from service.surface import make_key
from service.testing import Script, Stall, open_app, open_exchange, open_wire
from tests.clients import ask, asking, call
from tests.grammar import check_stream
from tests.providing import Capped
from tests.scraping import figures_of

ELSEWHERE = "http://127.0.0.1:9/elsewhere"


def named(*names: str, most: int = 9, base_url: str = "http://127.0.0.1:9/v1") -> dict[str, Any]:
    """Settings of providers with these names."""
    chosen = ProviderSettings(dialect="openai", base_url=base_url, max_concurrency=most)
    return dict.fromkeys(names, chosen)


class Rosters:
    """The providers of each reading of the settings, by their names in it; and who is open."""

    def __init__(self, **providers: Any) -> None:
        self.providers: Mapping[str, Any] = providers
        self.opened = 0
        self.closed = 0

    @asynccontextmanager
    async def open(self, settings: Settings) -> AsyncIterator[Roster]:
        self.opened += 1
        names = [name for name in settings.providers if name in self.providers]
        chosen = {name: self.providers[name] for name in names}
        try:
            yield Roster(chosen, settings.default_provider)
        finally:
            self.closed += 1

    def app(self, settings: Settings) -> QuartTrio:
        return create_app(settings, open_roster=self.open)


def shared_of(app: Any) -> Shared:
    shared = Shared.of(app)
    assert shared is not None
    return shared


async def renew(app: Any, settings: Settings) -> None:
    """What a reload does once the settings are read."""
    shared = shared_of(app)
    shared.put_in_force(await shared.open_next(settings))
    await trio.testing.wait_all_tasks_blocked()


def told_apart(body: bytes) -> bytes:
    """A stream without what differs between any two: its id and the time of day."""
    return re.sub(rb'"(comparison_id|timestamp)":"[^"]*"', b'""', body)


async def test_what_runs_is_the_same_to_the_byte_and_ends_by_its_own_clocks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    before = Settings(
        default_provider="a",
        deadlines=Deadlines(idle=20, total=60),
        stream=Stream(heartbeat=3),
        providers=named("a"),
    )
    after = Settings(
        default_provider="b",
        deadlines=Deadlines(idle=1, first_token=1, total=2),
        stream=Stream(heartbeat=0.5),
        limits=Limits(max_models=1),
        providers=named("b"),
    )
    bodies, ends = [], []
    for is_renewed in (False, True):
        scripts = Rosters(a=Script("a", (1, "x"), (4, "y"), (0, Stall())), b=Script("b"))
        async with open_app(app := scripts.app(before)):
            began = trio.current_time()
            asked = asking("a:1")
            async with open_exchange(app, "/compare-stream", json_body=asked) as exchange:
                body = await exchange.next_body() or b""
                async with trio.open_nursery() as nursery:
                    if is_renewed:
                        nursery.start_soon(renew, app, after)
                    body += await exchange.read()
            bodies.append(told_apart(body))
            ends.append(trio.current_time() - began)
            assert check_stream(body, ["a:1"])
    assert ends == [25, 25]
    assert bodies[0] == bodies[1]
    assert bodies[0].count(b": ping") == 7  # by the heartbeat that they began with


async def test_what_begins_has_the_new_provider_clocks_heartbeat_and_limits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rosters = Rosters(a=Script("a", (0, "old")), b=Script("b", (0, "new"), (0, Stall())))
    before = Settings(default_provider="a", providers=named("a"))
    after = Settings(
        default_provider="b",
        deadlines=Deadlines(idle=5),
        stream=Stream(heartbeat=2),
        limits=Limits(max_models=1, max_body_bytes=500),
        providers=named("b"),
    )
    async with open_app(app := rosters.app(before)):
        assert b'"old"' in (await ask(app, "m")).body
        await renew(app, after)
        began = trio.current_time()
        body = (await ask(app, "m")).body
        assert b'"new"' in body
        assert b'"code":"idle_timeout"' in body
        assert body.count(b": ping") == 2
        assert trio.current_time() - began == 5
        assert (await ask(app, "m", "n")).status == 400
        too_long = await ask(app, "m", text="x" * 500)
        assert (too_long.status, too_long.json()["detail"]) == (
            413,
            "The body is longer than 500 bytes.",
        )
        # The name of a provider that is no more is no name: the id is a bare one.
        assert b'"provider":"b"' in (await ask(app, "a:m")).body


async def test_longer_bodies_are_taken_where_they_may_be() -> None:
    settings = Settings(
        providers=named("p"), default_provider="p", limits=Limits(max_body_bytes=500)
    )
    async with open_app(app := Rosters(p=Script("p", (0, "x"))).app(settings)):
        assert (await ask(app, "m", other="x" * 900)).status == 413
        await renew(app, replace(settings, limits=Limits(max_body_bytes=1000)))
        assert (await ask(app, "m", other="x" * 900)).status == 200


async def test_the_beat_under_load_is_the_one_in_force(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = Settings(providers=named("p"), default_provider="p")
    async with open_app(app := Rosters(p=Script("p")).app(settings)):
        pulse, intervals = shared_of(app).pulse, []
        await trio.testing.wait_all_tasks_blocked()
        pulse.count(0)
        for flush_ms in (50, 20, 0):
            await renew(app, replace(settings, stream=Stream(flush_ms=flush_ms, heartbeat=9)))
            await trio.sleep(1)
            pulse.count(10**6)
            intervals.append(pulse.interval)
    assert intervals == [0.05, 0.02, 0]


async def test_a_provider_that_is_removed_answers_to_the_end_and_is_closed_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rosters = Rosters(a=Script("a", (1, "x"), (6, "y")), b=Script("b", (0, "z")))
    async with open_app(app := rosters.app(Settings(default_provider="a", providers=named("a")))):
        async with open_exchange(app, "/compare-stream", json_body=asking("a:1")) as exchange:
            body = await exchange.next_body() or b""
            await renew(app, Settings(default_provider="b", providers=named("b")))
            body += await exchange.next_body() or b""
            assert (rosters.opened, rosters.closed) == (2, 0)
            assert len(shared_of(app).generations) == 2
            body += await exchange.read()
        await trio.testing.wait_all_tasks_blocked()
        assert b'"content":"y"' in body
        assert b'"models_successful":1' in body
        assert (rosters.opened, rosters.closed) == (2, 1)
        assert len(shared_of(app).generations) == 1
    assert rosters.closed == 2


async def test_a_provider_that_is_removed_is_closed_when_its_client_leaves() -> None:
    rosters = Rosters(a=Script("a", (0, "x"), (0, Stall())), b=Script("b"))
    async with open_app(app := rosters.app(Settings(default_provider="a", providers=named("a")))):
        async with open_exchange(app, "/compare-stream", json_body=asking("a:1")) as exchange:
            await exchange.next_body()
            await renew(app, Settings(default_provider="b", providers=named("b")))
            assert rosters.closed == 0
            exchange.disconnect()
            await exchange.read()
        await trio.testing.wait_all_tasks_blocked()
        assert rosters.closed == 1


async def test_there_are_no_more_generations_than_those_that_something_runs_under(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rosters = Rosters(a=Script("a", (0, "x"), (0, Stall())))
    settings = Settings(default_provider="a", providers=named("a"))
    async with open_app(app := rosters.app(settings)), trio.open_nursery() as nursery:

        async def stay() -> None:
            await ask(app, "a:1")

        for number in range(30):
            if number % 10 == 0:
                nursery.start_soon(stay)
                await trio.testing.wait_all_tasks_blocked()
            await renew(app, replace(settings, limits=Limits(max_models=number + 1)))
        assert len(shared_of(app).generations) == rosters.opened - rosters.closed == 4
        nursery.cancel_scope.cancel("the test is over")


# --- what is learned stays ----------------------------------------------------------------------


async def test_one_ceiling_holds_for_what_runs_and_what_begins_and_changes_in_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    provider = Capped("p", 100, seconds=12)
    settings = Settings(default_provider="p", providers=named("p", most=2))
    async with open_app(app := Rosters(p=provider).app(settings)), trio.open_nursery() as nursery:

        async def begin(*models: str) -> None:
            nursery.start_soon(ask, app, *models)
            await trio.testing.wait_all_tasks_blocked()

        await begin("1", "2", "3")
        assert provider.running == 2  # and one stands in line
        await renew(app, replace(settings, deadlines=Deadlines(idle=61)))
        await begin("4")
        assert provider.running == 2
        await renew(app, replace(settings, providers=named("p", most=3)))
        assert provider.running == 3  # who stood in line under the old settings has the new place
        await renew(app, replace(settings, providers=named("p", most=1)))
        assert provider.running == 3  # nobody is ended
        await begin("5")
        await trio.sleep_until(13)
        assert provider.running == 1
        await trio.sleep_until(25)
        assert provider.running == 1
    assert (provider.answered, provider.peak, trio.current_time()) == (5, 3, 36)


async def test_what_the_limiter_has_learned_stays_while_the_provider_has_the_same_address(
    autojump_clock: trio.testing.MockClock,
) -> None:
    provider = Capped("p", 3)
    settings = Settings(default_provider="p", providers=named("p"))
    async with open_app(app := Rosters(p=provider).app(settings)):
        shared = shared_of(app)
        await ask(app, *"123456789")
        limiter = shared.limiters.of("p")
        assert limiter is not None
        learned = limiter.limit
        assert learned < 9
        other_key = replace(settings, keys={"p": "another"})
        await renew(app, other_key)
        assert shared.limiters.of("p") is limiter
        assert limiter.limit == learned
        await renew(app, replace(settings, providers=named("p", base_url=ELSEWHERE)))
        other = shared.limiters.of("p")
        assert other is not None
        assert other is not limiter
        assert other.limit == 9


async def test_a_provider_that_comes_back_to_its_address_meets_those_that_still_run_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    provider = Capped("p", 100, seconds=10)
    here = Settings(default_provider="p", providers=named("p", most=2))
    there = replace(here, providers=named("p", most=2, base_url=ELSEWHERE))
    async with open_app(app := Rosters(p=provider).app(here)), trio.open_nursery() as nursery:
        limiter = shared_of(app).limiters.of("p")
        nursery.start_soon(ask, app, "1")
        await trio.testing.wait_all_tasks_blocked()
        await renew(app, there)
        assert shared_of(app).limiters.of("p") is not limiter
        await renew(app, here)
        assert shared_of(app).limiters.of("p") is limiter


async def test_who_still_runs_and_waits_at_the_old_address_is_shown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    here = Settings(default_provider="p", providers=named("p", most=2))
    there = replace(here, providers=named("p", most=1, base_url=ELSEWHERE))
    app = Rosters(p=Capped("p", 100, seconds=10)).app(here)
    async with open_app(app), trio.open_nursery() as nursery:
        nursery.start_soon(ask, app, "1", "2", "3")
        await trio.testing.wait_all_tasks_blocked()
        await renew(app, there)
        nursery.start_soon(ask, app, "4", "5")
        await trio.testing.wait_all_tasks_blocked()
        figures = figures_of(app)
        await renew(app, replace(there, limits=Limits(max_models=8)))
        assert figures_of(app).of("compare_limiter_running") == 3, "one limiter is counted once"
    assert figures.of("compare_limiter_running", provider="p") == 3
    assert figures.of("compare_models_queued", provider="p") == 2
    assert figures.of("compare_limiter_ceiling", provider="p") == 1, "the one in force"


async def test_the_tally_the_days_counts_and_the_experience_stay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = Settings(
        default_provider="p", providers=named("p"), limits=Limits(daily_model_responses=5)
    )
    async with open_app(app := Rosters(p=Script("p", (0, "words"))).app(settings)):
        shared = shared_of(app)
        for _ in range(3):
            await ask(app, "m")
        usual = shared.experience.usual("p:m")
        assert usual is not None
        await renew(app, replace(settings, limits=Limits(daily_model_responses=4)))
        assert shared.experience.usual("p:m") == usual
        assert (await call(app, "GET", "/model-stats")).json()["model_stats"]["m"]["success"] == 3
        status = (await call(app, "GET", "/rate-limit-status")).json()
        assert (status["daily_usage"], status["daily_limit"]) == (3, 4)
        assert (await ask(app, "m", "n")).status == 429
        assert (await ask(app, "m")).status == 200


async def test_fewer_places_end_nobody_and_refuse_who_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    settings = Settings(default_provider="p", providers=named("p"))
    script = Script("p", (10, "x"))
    async with open_app(app := Rosters(p=script).app(settings)), trio.open_nursery() as nursery:
        ended: list[int] = []

        async def stay() -> None:
            ended.append((await ask(app, "m")).body.count(b'"error":false'))

        for _ in range(3):
            nursery.start_soon(stay)
        await trio.sleep(1)
        await renew(app, replace(settings, limits=Limits(max_comparisons=1)))
        refused = await ask(app, "m")
        assert (refused.status, refused.json()["code"]) == (503, "busy")
        await trio.sleep(10)
        assert ended == [1, 1, 1]
        assert (await ask(app, "m")).status == 200


class Keeping(Roster):
    """A roster that says whether its lists are being fetched."""

    keeping = False

    async def keep_catalogue(self) -> None:
        self.keeping = True
        try:
            await trio.sleep_forever()
        finally:
            self.keeping = False


async def test_who_only_runs_to_the_end_has_no_lists_fetched_any_more() -> None:
    rosters: list[Keeping] = []

    @asynccontextmanager
    async def open_roster(_: Settings) -> AsyncIterator[Roster]:
        rosters.append(Keeping({"p": Script("p", (0, "x"), (0, Stall()))}, "p"))
        yield rosters[-1]

    async with (
        open_app(app := create_app(Settings(), open_roster=open_roster)),
        open_exchange(app, "/compare-stream", json_body=asking("m")) as exchange,
    ):
        await exchange.next_body()
        assert [roster.keeping for roster in rosters] == [True]
        await renew(app, Settings(limits=Limits(max_models=2)))
        assert [roster.keeping for roster in rosters] == [False, True]


async def test_the_lists_that_were_fetched_stay_and_another_key_has_them_fetched_anew() -> None:
    body = json.dumps({"data": [{"id": "acme/one"}]}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    async with open_wire(head % len(body) + body) as wire:
        settings = Settings(
            default_provider="p",
            catalogue=CatalogueSettings(refresh=3600),
            providers=named("p", base_url=wire.base_url),
            keys={"p": "the-first"},
        )

        async def listed(app: Any) -> Any:
            answer = (await call(app, "GET", "/models")).json()
            return [model["id"] for model in answer["models"]], len(wire.requests)

        async with open_app(app := create_app(settings)):
            with trio.fail_after(5):
                while await listed(app) != (["acme/one"], 1):  # noqa: ASYNC110  # nobody tells
                    await trio.sleep(0.01)
                await renew(app, replace(settings, limits=Limits(max_models=2)))
                assert await listed(app) == (["acme/one"], 1)
                await renew(app, replace(settings, keys={"p": "the-second"}))
                while await listed(app) != (["acme/one"], 2):
                    assert (await listed(app))[0] == ["acme/one"]
                    await trio.sleep(0.01)
        keys = [dict(request.headers)[b"authorization"] for request, _ in wire.requests]
        assert keys == [b"Bearer the-first", b"Bearer the-second"]


# --- who is let in ------------------------------------------------------------------------------


async def test_a_key_that_is_revoked_is_refused_at_once_and_what_it_began_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    (old, old_digest), (new, new_digest) = make_key(), make_key()
    settings = Settings(
        default_provider="p", providers=named("p"), server=Server(api_keys={"old": old_digest})
    )
    with_old, with_new = {"X-API-Key": old}, {"X-API-Key": new}
    script = Script("p", (1, "x"), (5, "y"))
    async with open_app(app := Rosters(p=script).app(settings)):
        async with open_exchange(
            app, "/compare-stream", json_body=asking("m"), headers=with_old
        ) as exchange:
            body = await exchange.next_body() or b""
            assert (await call(app, "GET", "/models", headers=with_new)).status == 401
            await renew(app, replace(settings, server=Server(api_keys={"new": new_digest})))
            assert (await call(app, "GET", "/models", headers=with_old)).status == 401
            assert (await call(app, "GET", "/models", headers=with_new)).status == 200
            # Whoever has a key may stop what another began: it is the same comparison.
            stopped = f"/comparisons/{exchange.headers['x-comparison-id']}/models/none"
            assert (await call(app, "DELETE", stopped, headers=with_new)).status == 404
            body += await exchange.read()
        assert b'"content":"y"' in body


@pytest.mark.parametrize(
    ("server", "headers", "status"),
    [
        (Server(hosts=("example.org",)), {}, 421),
        (Server(cors_origins=("https://a.example",)), {"Origin": "https://a.example"}, 200),
    ],
)
async def test_names_and_origins_are_those_in_force(
    server: Server, headers: dict[str, str], status: int
) -> None:
    settings = Settings(default_provider="p", providers=named("p"))
    async with open_app(app := Rosters(p=Script("p")).app(settings)):
        before = await call(app, "GET", "/models", headers=headers)
        assert before.status == 200
        assert "access-control-allow-origin" not in before.headers
        await renew(app, replace(settings, server=server))
        after = await call(app, "GET", "/models", headers=headers)
        assert after.status == status
        allowed = after.headers.get("access-control-allow-origin")
        assert allowed == headers.get("Origin")


async def test_the_address_of_a_client_is_read_by_the_proxies_in_force() -> None:
    settings = Settings(default_provider="p", providers=named("p"))
    forwarded = {"X-Forwarded-For": "198.51.100.7"}
    async with open_app(app := Rosters(p=Script("p")).app(settings)):
        seen: list[str] = []
        for server in (Server(), Server(trusted_proxies=("192.0.2.1",))):
            await renew(
                app, replace(settings, server=server, limits=Limits(max_models=len(seen) + 1))
            )
            status = await call(app, "GET", "/rate-limit-status", headers=forwarded)
            seen.append(status.json()["ip_address"])
    assert seen == ["192.0.2.1", "198.51.100.7"]
