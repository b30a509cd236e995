"""`/metrics`: what is counted, and under which labels."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics
from trio.testing import MockClock

from service.application import create_app
from service.errors import ProviderError
from service.events import Usage
from service.histogram import Histogram
from service.metrics import Metrics, measure_lag
from service.metrics.family import Family
from service.metrics.names import METRICS
from service.providers import Ending
from service.settings import Limits, ProviderSettings, Server, Settings, Stream
from service.shared import Shared
from service.surface import make_key
from service.testing import (
    Close,
    Connect,
    Pause,
    Script,
    Stall,
    app_for,
    open_app,
    open_exchange,
    open_server,
    open_wire,
)
from tests.clients import ask, asking, connect, http1_request, read_until
from tests.command import ROOT
from tests.markdown import tables
from tests.scraping import Figures, figures_of, read

ASKED = "/compare-stream"
SECONDS = "gen_ai_client_operation_duration_seconds"
FIRST = "gen_ai_client_operation_time_to_first_chunk_seconds"
BETWEEN = "gen_ai_client_operation_time_per_output_chunk_seconds"
TOKENS = "gen_ai_client_token_usage"


async def scraped(client: httpx.AsyncClient, url: str, **how: Any) -> Figures:
    response = await client.get(f"{url}/metrics", **how)
    assert response.status_code == 200
    return read(response.text)


# --- answers, by OpenTelemetry's conventions --------------------------------------------------


async def test_the_times_of_an_answer_are_those_of_its_done(autojump_clock: MockClock) -> None:
    app = app_for(
        Script("a", (0.5, "x"), (0.25, "y"), (0.125, "z"), (1.0, Ending(finish_reason="stop")))
    )
    async with open_app(app):
        await ask(app, "a:m")
        figures = figures_of(app)
    labels = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "a",
        "gen_ai_request_model": "m",
    }
    assert set(figures[f"{SECONDS}_sum"]) == {tuple(labels.items())}, "and no error_type"
    assert figures.of(f"{SECONDS}_sum") == 1.875
    assert figures.of(f"{FIRST}_sum") == 0.5
    assert figures.of(f"{BETWEEN}_sum") == 0.375
    assert figures.buckets(BETWEEN) == {"0.15": 1, "0.3": 1}


async def test_chunks_that_came_together_have_no_time_between_them(
    autojump_clock: MockClock,
) -> None:
    class Together(Script):
        async def stream(self, prompt: Any, sink: Any) -> Ending:
            sink.connected()
            await sink.text("1", "2", "3")
            await trio.sleep(0.4)
            await sink.text("4", "5")
            return Ending(finish_reason="stop")

    app = app_for(Together("a"))
    async with open_app(app):
        await ask(app, "a:m")
        figures = figures_of(app)
    assert figures.buckets(BETWEEN) == {"0.01": 3, "0.4": 1}


async def test_the_wait_in_our_line_is_not_the_answers_time(autojump_clock: MockClock) -> None:
    one_at_a_time = Settings(
        providers={"a": ProviderSettings(dialect="simulated", max_concurrency=1)}
    )
    app = app_for(Script("a", (2.0, "x")), settings=one_at_a_time)
    async with open_app(app):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, app, "a:m", "a:n")
            await trio.sleep(1)
            running = figures_of(app)
        figures = figures_of(app)
    assert running.of("compare_models_running", provider="a") == 2
    assert running.of("compare_models_queued", provider="a") == 1
    assert running.of("compare_limiter_running", provider="a") == 1
    assert running.of("compare_limiter_ceiling", provider="a") == 1
    assert running.of("compare_limiter_limit", provider="a") == 1
    assert running.of("compare_comparisons_limit") == 256
    assert running.of("compare_draining_limit_seconds") == 30
    assert figures.buckets(SECONDS) == {"2.56": 2}
    assert figures.buckets(FIRST) == {"2.5": 2}
    assert figures.buckets("compare_limiter_wait_seconds") == {"0.005": 1, "2.5": 1}
    assert figures.of("compare_limiter_wait_seconds_sum", provider="a") == 2
    assert figures.of("compare_models_queued") == figures.of("compare_models_running") == 0


async def test_who_was_never_asked_has_no_times(autojump_clock: MockClock) -> None:
    one_at_a_time = Settings(
        providers={"a": ProviderSettings(dialect="simulated", max_concurrency=1)}
    )
    app = app_for(Script("a", (0, "x"), (0, Stall())), settings=one_at_a_time)
    async with open_app(app):
        async with open_exchange(app, ASKED, json_body=asking("a:m", "a:n")) as exchange:
            await exchange.next_body()
            await trio.sleep(1)
            exchange.disconnect()
            await exchange.read()
        figures = figures_of(app)
    assert figures.of("compare_models_ended_total", outcome="cancelled") == 2
    assert figures.of(f"{SECONDS}_count") == 1


async def test_tokens_that_nobody_reported_are_counted_apart(autojump_clock: MockClock) -> None:
    said = Usage(input_tokens=100, output_tokens=7, reasoning_tokens=0, estimated=False)
    reporting = Script("a", (0, "x"), (0, Ending(finish_reason="stop", usage=said)))
    silent = Script("b", (0, "twelve chars"))
    app = app_for(reporting, silent)
    async with open_app(app):
        await ask(app, "a:m", "b:m")
        figures = figures_of(app)
    assert figures.of(f"{TOKENS}_sum", gen_ai_token_type="input") == 100
    assert figures.of(f"{TOKENS}_sum", gen_ai_token_type="output") == 7
    assert figures.of(f"{TOKENS}_count", gen_ai_provider_name="b") == 0
    assert figures.of("compare_tokens_total", provider="a", estimated="false") == 107
    assert figures.of("compare_tokens_total", provider="b", direction="output") == 3
    assert figures.of("compare_tokens_total", provider="b", estimated="false") == 0


# --- comparisons and models -------------------------------------------------------------------


async def test_how_models_and_comparisons_ended(autojump_clock: MockClock) -> None:
    error = ProviderError("overloaded", "Too much.")
    app = app_for(
        Script("a", (0, "x")), Script("b", (0, "y"), (1, error)), Script("c", (0, Stall()))
    )
    async with open_app(app):
        await ask(app, "a:m", "b:m")
        async with open_exchange(app, ASKED, json_body=asking("c:m")) as exchange:
            await exchange.next_body()
            await trio.testing.wait_all_tasks_blocked()
            assert figures_of(app).of("compare_comparisons_running") == 1
            exchange.disconnect()
            await exchange.read()
        figures = figures_of(app)
    ended = "compare_models_ended_total"
    assert figures.of(ended, provider="a", outcome="finished") == 1
    assert figures.of(ended, provider="b", outcome="failed", code="overloaded") == 1
    assert figures.of(ended, provider="c", outcome="cancelled", code="cancelled") == 1
    assert figures.of(ended) == 3
    assert figures["compare_comparisons_ended_total"] == {
        (("outcome", "complete"),): 1,
        (("outcome", "client_gone"),): 1,
        (("outcome", "server_shutdown"),): 0,
        (("outcome", "failed"),): 0,
    }
    assert figures.of("compare_comparisons_running") == figures.of("compare_models_running") == 0
    assert figures.of(f"{SECONDS}_count", error_type="overloaded") == 1


async def test_chunks_are_counted_while_they_are_taken_and_not_before(
    autojump_clock: MockClock,
) -> None:
    app = app_for(Script("a", (1, "1"), (1, "2"), (1, "3")))
    async with open_app(app):
        async with open_exchange(app, ASKED, json_body=asking("a:m")) as exchange:
            counted = []
            while await exchange.next_body() is not None:
                await trio.testing.wait_all_tasks_blocked()
                counted.append(figures_of(app).of("compare_chunks_total", provider="a"))
        assert figures_of(app).of("compare_chunks_total") == 3
    # The start; each chunk, of which the next piece is not written before the last was read.
    assert counted[:4] == sorted(counted[:4])
    assert set(counted) == {0, 1, 2, 3}


async def test_a_chunk_that_nobody_took_is_never_counted(autojump_clock: MockClock) -> None:
    app = app_for(Script("a", (0, "1"), (0, "2"), (0, "3"), (0, Stall())))
    async with open_app(app):
        async with open_exchange(app, ASKED, json_body=asking("a:m")) as exchange:
            await exchange.next_body()
            await trio.sleep(1)
            before = figures_of(app).of("compare_chunks_total")
            exchange.disconnect()
            with trio.move_on_after(1):
                await exchange.read()
        figures = figures_of(app)
    assert figures.of("compare_chunks_total") >= before, "a count never goes back"
    assert figures.of("compare_chunks_total") <= 3


async def test_what_a_hedge_held_back_is_not_counted_before_it_is_taken(
    autojump_clock: MockClock,
) -> None:
    app = app_for(
        Script("a", (0.2, "\n"), (0, "x"), (0, Stall())), Script("b", (0.1, "y"), (0, Stall()))
    )
    async with open_app(app):
        hedged = asking("a:m", "b:m", hedge_after=100)
        async with open_exchange(app, ASKED, json_body=hedged) as exchange:
            await exchange.next_body()
            await trio.sleep(1)  # what b says is on its way, and nothing of a's is taken
            before = figures_of(app).of("compare_chunks_total", provider="a")
        after = figures_of(app)
    assert after.of(f"{FIRST}_count", gen_ai_provider_name="a") == 1, "though something was said"
    assert before == after.of("compare_chunks_total", provider="a") == 0, "no count goes back"


async def test_what_was_gathered_and_not_streamed_is_counted_too(autojump_clock: MockClock) -> None:
    app = app_for(Script("a", (0, "1"), (0, "2")))
    async with open_app(app):
        await ask(app, "a:m", path="/compare")
        figures = figures_of(app)
    assert figures.of("compare_chunks_total") == 2
    assert figures.of("compare_stream_bytes_total") == 0
    assert figures.of("compare_comparisons_ended_total", outcome="complete") == 1


async def test_who_answers_in_a_models_place_is_who_is_counted(autojump_clock: MockClock) -> None:
    refuses = Script("a", (0.5, ProviderError("model_not_found", "No.")))
    said = Usage(input_tokens=1, output_tokens=2, reasoning_tokens=0, estimated=False)
    answers = Script("b", (0, "x"), (0, Ending(finish_reason="stop", usage=said, cost_usd=0.25)))
    app = app_for(refuses, answers)
    async with open_app(app):
        await ask(app, "a:m", fallbacks={"a:m": ["b:n"]})
        figures = figures_of(app)
    assert figures.of("compare_models_ended_total", provider="b", outcome="finished") == 1
    assert figures.of("compare_models_ended_total", provider="a") == 0
    assert figures.of("compare_provider_requests_total", provider="a") == 1
    assert figures.of("compare_provider_requests_total", provider="b") == 1
    assert figures.of("compare_tokens_total", provider="b", direction="output") == 2
    assert figures.of("compare_cost_usd_total", provider="b", estimated="false") == 0.25
    assert figures.of(f"{SECONDS}_count", gen_ai_request_model="n") == 1


async def test_a_request_is_counted_from_when_it_leaves_and_not_if_it_never_does(
    autojump_clock: MockClock,
) -> None:
    nowhere = Script("a", (1, ProviderError("connect_error", "Nobody there.")), (0, Connect()))
    slow = Script("b", (1, Connect()), (2, "x"))
    requests = "compare_provider_requests_total"
    app = app_for(nowhere, slow)
    async with open_app(app):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(ask, app, "a:m", "b:m"))
            await trio.sleep(0.5)
            assert figures_of(app).of(requests) == 0
            await trio.sleep(1)
            assert figures_of(app).of(requests, provider="b") == 1
        figures = figures_of(app)
    assert figures.of("compare_models_ended_total", provider="a", code="connect_error") == 1
    assert (figures.of(requests, provider="a"), figures.of(requests, provider="b")) == (0, 1)


# --- labels -----------------------------------------------------------------------------------


async def test_models_have_a_bounded_number_of_names_whatever_is_asked_for(
    autojump_clock: MockClock,
) -> None:
    answers = Script("a", (0, "x"))
    fails = Script("b", (0, ProviderError("model_not_found", "No.")))
    app = app_for(answers, fails)
    async with open_app(app):
        for number in range(30):
            asked = [f"{name}:m{number}-{n}" for n in range(4) for name in "ab"]
            await ask(app, *asked)
        figures = figures_of(app)
    named = {dict(labels)["gen_ai_request_model"] for labels in figures[f"{SECONDS}_count"]}
    assert len(named) == 101
    assert figures.of(f"{SECONDS}_count") == 240
    # A name that nobody has answered to takes no place of one that somebody has.
    assert (
        figures.of(f"{SECONDS}_count", gen_ai_provider_name="b", gen_ai_request_model="_other")
        == 120
    )
    assert (
        figures.of(f"{SECONDS}_count", gen_ai_provider_name="a", gen_ai_request_model="_other")
        == 20
    )


async def test_no_label_holds_what_a_caller_wrote(autojump_clock: MockClock) -> None:
    marker = "MARKER"
    app = app_for(Script("a", (0, ProviderError("bad_request", f"No {marker}."))))
    async with open_app(app):
        await ask(app, f"a:{marker}", browser_fingerprint=marker)
        async with open_exchange(app, f"/{marker}", method="GET") as exchange:
            await exchange.read()
        async with open_exchange(app, ASKED, json_body={marker: 1}) as exchange:
            await exchange.read()
        figures = figures_of(app)
    assert marker not in repr(figures)
    refused = figures["compare_requests_refused_total"]
    assert {dict(labels)["code"] for labels, count in refused.items() if count} == {
        "not_found",
        "invalid_request",
    }


# --- the stream -------------------------------------------------------------------------------


async def test_bytes_and_heartbeats_are_those_of_the_body(autojump_clock: MockClock) -> None:
    settings = Settings(stream=Stream(heartbeat=1))
    app = app_for(Script("a", (3.5, "größer")), settings=settings)
    async with open_app(app):
        body = (await ask(app, "a:m")).body
        figures = figures_of(app)
    assert body.count(b": ping\n\n") == 3
    assert figures.of("compare_heartbeats_total") == 3
    assert figures.of("compare_stream_bytes_total") == len(body)


async def test_the_time_that_we_add_is_counted_for_each_chunk() -> None:
    events = [b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'] * 20
    last = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    steps = (head, events[0], Pause(0.01), b"".join(events[1:]), last, Close())
    async with open_wire(*steps) as wire:
        settings = Settings(
            providers={"a": ProviderSettings(dialect="openai", base_url=wire.base_url)}
        )
        app = create_app(settings)
        async with open_app(app):
            await ask(app, "a:m")
            figures = figures_of(app)
    assert figures.of("compare_added_seconds_count") == 20 == figures.of("compare_chunks_total")
    assert 0 < figures.of("compare_added_seconds_sum") < 20


async def test_what_is_held_back_for_a_slow_reader_is_time_that_we_add(
    autojump_clock: MockClock,
) -> None:
    app = app_for(Script("a", (0, "1"), (0, "2")))
    async with open_app(app):
        async with open_exchange(app, ASKED, json_body=asking("a:m")) as exchange:
            await exchange.next_body()  # the start
            await trio.sleep(0.3)
            await exchange.read()
        figures = figures_of(app)
    # The first was read from its provider, and waited in the channel for its reader.
    assert figures.of("compare_added_seconds_sum") == pytest.approx(0.3)
    assert figures.of("compare_added_seconds_count") == 2


# --- the edge and the process -----------------------------------------------------------------


async def test_connections_to_providers_are_busy_or_idle_or_gone() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    text = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    last = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    async with (
        open_wire(head % 1000 + text, Pause(60)) as stalls,
        open_wire(head % len(text + last) + text + last, Pause(60)) as whole,
    ):
        app = create_app(
            Settings(
                providers={
                    name: ProviderSettings(dialect="openai", base_url=wire.base_url)
                    for name, wire in (("stalls", stalls), ("whole", whole))
                }
            )
        )

        def connections(provider: str) -> tuple[float, float]:
            figures = figures_of(app)
            busy, idle = (
                figures.of("compare_provider_connections", provider=provider, state=state)
                for state in ("busy", "idle")
            )
            return busy, idle

        async with open_app(app):
            await ask(app, "whole:m")
            assert connections("whole") == (0, 1)
            async with open_exchange(app, ASKED, json_body=asking("stalls:m")) as exchange:
                while b'"chunk"' not in (await exchange.next_body() or b'"chunk"'):
                    pass
                assert connections("stalls") == (1, 0)
                shared = Shared.of(app)
                assert shared is not None
                shared.put_in_force(await shared.open_next(replace(shared.settings, keys={})))
                assert connections("stalls") == (1, 0), "whatever settings are in force meanwhile"
                exchange.disconnect()
                with trio.move_on_after(5):
                    await exchange.read()
            assert connections("stalls") == (0, 0)


async def test_how_late_a_task_wakes_up_is_the_lag(mock_clock: MockClock) -> None:
    lag = Histogram((0.1, 1.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure_lag, lag)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.25)
        await trio.testing.wait_all_tasks_blocked()
        assert (lag.counts, lag.sum) == ([1, 0, 0], 0)
        mock_clock.jump(0.75)
        await trio.testing.wait_all_tasks_blocked()
        assert (lag.counts, lag.sum) == ([1, 1, 0], 0.5)
        nursery.cancel_scope.cancel("seen")


async def test_a_process_that_ends_says_since_when(autojump_clock: MockClock) -> None:
    app = app_for(Script("a", (0, Stall())))
    async with open_app(app):
        assert figures_of(app).of("compare_draining_seconds") == 0
        shared = Shared.of(app)
        assert shared is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, app, "a:m")
            await trio.sleep(1)
            nursery.start_soon(shared.admission.drain, 60)
            await trio.sleep(5)
            assert figures_of(app).of("compare_draining_seconds") == 5
            shared.admission.stop()


async def test_comparisons_that_find_no_place_are_counted_by_their_code(
    autojump_clock: MockClock,
) -> None:
    app = app_for(Script("a", (1, "x")), settings=Settings(limits=Limits(max_comparisons=1)))
    async with open_app(app), trio.open_nursery() as nursery:
        nursery.start_soon(ask, app, "a:m")
        await trio.sleep(0.5)
        await ask(app, "a:m")
        assert figures_of(app).of("compare_requests_refused_total", code="busy") == 1


# --- the route --------------------------------------------------------------------------------


async def test_metrics_are_served_while_a_comparison_runs_and_to_who_reads_openmetrics() -> None:
    app = app_for(Script("a", (0, "x"), (0, Stall())))
    async with open_server(app) as url, httpx.AsyncClient() as client:
        async with await connect(url) as reader:
            await reader.send_all(http1_request("a:m"))
            await read_until(reader, b'"chunk"')
            figures = await scraped(client, url)
            assert figures.of("compare_comparisons_running") == 1
            assert figures.of("compare_connections_open") == 2
            assert figures.of("compare_tasks") > 0
            assert figures.of("process_open_fds") > 0
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        response = await client.get(f"{url}/metrics", headers=accept)
        assert response.headers["content-type"].startswith("application/openmetrics-text")
        openmetrics: Any = of_openmetrics
        families = {family.name for family in openmetrics(response.text)}
        assert families == set(METRICS)
        for odd in (
            b"text/plain; version=abc",
            b"application/openmetrics-text; version=x;",
            b"\xff",
        ):
            response = await client.get(f"{url}/metrics", headers=[(b"Accept", odd)])
            assert response.status_code == 200
            assert read(response.text)


async def test_the_lines_are_made_in_a_thread_and_not_where_answers_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_in: set[int] = set()
    points = Family.points

    def noted(family: Family) -> Any:
        made_in.add(threading.get_ident())
        return points(family)

    monkeypatch.setattr(Family, "points", noted)
    app = app_for(Script("a", (0, "x")))
    metrics = Metrics.of(app)
    assert metrics is not None
    async with open_app(app):
        await ask(app, "a:m")
        body, _ = await metrics.render("")
        [seconds] = [found for found in metrics._collect() if found.name == SECONDS]
    assert f"{SECONDS}_bucket".encode() in body
    assert made_in, "and so there are points to make"
    assert threading.get_ident() not in made_in
    [(counts, _)] = seconds.histograms.values()
    assert len(counts) == len(seconds.bounds) + 1, "nor are they made to be kept"


async def test_what_can_happen_to_a_provider_is_there_with_0_before_it_does() -> None:
    """Of what appears with its first count, Prometheus sees no increase."""
    app = app_for(Script("a"), settings=Settings(providers={"a": ProviderSettings("simulated")}))
    async with open_app(app):
        figures = figures_of(app)
    for name in (
        "compare_chunks_total",
        "compare_provider_requests_total",
        "compare_models_running",
        "compare_models_queued",
    ):
        assert figures[name] == {(("provider", "a"),): 0}


async def test_every_metric_is_there_from_the_beginning() -> None:
    app = app_for(Script("a"))
    async with open_server(app) as url, httpx.AsyncClient() as client:
        response = await client.get(f"{url}/metrics")
    told = {line.split()[2] for line in response.text.splitlines() if line.startswith("# TYPE")}
    counters = {name for name, metric in METRICS.items() if metric.kind == "counter"}
    assert told == {f"{name}_total" if name in counters else name for name in METRICS}
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert response.headers["cache-control"] == "no-store"


async def test_metrics_need_a_key_where_keys_are_asked_for() -> None:
    key, digest = make_key()
    settings = Settings(server=Server(api_keys={"prometheus": digest}))
    app = app_for(Script("a"), settings=settings)
    async with open_server(app) as url, httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/metrics")).status_code == 401
        await scraped(client, url, headers={"Authorization": f"Bearer {key}"})


async def test_who_is_refused_before_the_application_sees_it_is_counted_too() -> None:
    _, digest = make_key()
    server = Server(api_keys={"laptop": digest}, hosts=("compare.example.org",))
    app = app_for(Script("a"), settings=Settings(server=server))
    async with open_server(app) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            ours = {"Host": "compare.example.org"}
            assert (await client.get("/models", headers=ours)).status_code == 401
            assert (await client.get("/models")).status_code == 421
        async with await connect(url) as odd:
            await odd.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n")
            await read_until(odd, b"bad_request")
        figures = figures_of(app)
    refused = figures["compare_requests_refused_total"]
    assert {dict(labels)["code"]: count for labels, count in refused.items() if count} == {
        "unauthorized": 1,
        "wrong_host": 1,
        "bad_request": 1,
    }


async def test_metrics_are_shown_to_who_asks_by_address_but_not_by_a_strange_name() -> None:
    app = app_for(Script("a"), settings=Settings(server=Server(hosts=("compare.example.org",))))
    async with open_server(app) as url, httpx.AsyncClient() as client:
        for host, status in (
            ("compare.example.org", 200),
            ("10.1.2.3:8000", 200),
            ("[2001:db8::7]:8000", 200),
            ("evil.example", 421),
            ("10.1.2.3.evil.example", 421),
        ):
            response = await client.get(f"{url}/metrics", headers={"Host": host})
            assert (host, response.status_code) == (host, status)
            other = await client.get(f"{url}/models", headers={"Host": "10.1.2.3"})
            assert other.status_code == 421


def test_a_bound_belongs_to_what_it_bounds() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5, math.inf):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    histogram.observe(1.5, 3)
    other = Histogram((1.0, 2.0))
    other.observe(1.0)
    other.add(histogram)
    assert other.counts == [3, 5, 2]


def test_an_application_that_is_not_ours_has_none() -> None:
    assert Metrics.of(object()) is None


# --- the page ---------------------------------------------------------------------------------


def test_the_page_has_every_metric_with_its_kind_labels_and_meaning() -> None:
    page = (ROOT / "docs/operations/metrics.md").read_text(encoding="utf-8")
    rows = [row for table in tables(page) for row in table]
    assert {row[0].strip("`"): row[1:] for row in rows} == {
        f"{name}_total" if metric.kind == "counter" else name: [
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        ]
        for name, metric in METRICS.items()
    }
