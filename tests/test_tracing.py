"""What a trace says of a comparison: its spans, their times, and what is never in them.

Times are virtual and exact. How spans leave the process: test_tracing_sent.py.
"""

from __future__ import annotations

import logging
import re
from itertools import count
from typing import Any

import pytest
import trio
import trio.testing
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import NoOpTracer, SpanKind, StatusCode
from structlog.typing import EventDict

from service.comparison import Comparison
from service.errors import ProviderError
from service.events import Done, Event, Usage
from service.limiter import Limiter
from service.persistence import Persistence
from service.providers import Ending
from service.shared import Shared
from service.testing import Script, Stall, Thought, app_for, open_app, open_exchange
from service.tracing import Tracing
from service.tracing.spans import Spans
from tests.asking import comparison
from tests.calling import KEY
from tests.clients import ask, asking
from tests.command import ROOT
from tests.every_step import at_step
from tests.providing import OneForAll, Turns, too_many
from tests.traced import SCOPE, Recorder, events_of, facts, scope, seconds

Clock = trio.testing.MockClock

USAGE = Usage(input_tokens=7, output_tokens=5, reasoning_tokens=2, estimated=False)
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


async def run(asked: Comparison) -> list[Event]:
    async with asked.open() as inbox:
        return [event async for event in inbox]


async def traced(*providers: Any, **given: Any) -> Recorder:
    """The trace of one comparison of these providers."""
    recorder = Recorder()
    await run(comparison(*providers, trace=recorder.tracing.of(SCOPE), **given))
    return recorder


def trace_with(app: Any, tracing: Tracing) -> None:
    """From here on the application, which has been started, makes its traces there."""
    shared = Shared.of(app)
    assert shared is not None
    shared.tracing = tracing


async def test_a_comparison_is_a_span_and_each_model_one_below_it(autojump_clock: Clock) -> None:
    recorder = await traced(Script("a", (1, "x"), (1, "y")), Script("b", (4, "z")))
    whole = recorder.comparison
    assert (whole.name, whole.kind, whole.parent) == (
        "POST /compare-stream",
        SpanKind.SERVER,
        None,
    )
    assert seconds(whole) == (0, 4)
    for name, end in (("a", 2), ("b", 4)):
        span = recorder.models[name]
        assert (span.name, span.kind) == (f"chat {name}", SpanKind.CLIENT)
        assert span.parent == whole.context
        assert seconds(span, since=whole) == (0, end)
    assert len(recorder.ended) == len(recorder.begun) == 3


async def test_the_first_token_is_an_event_at_its_own_time_and_no_chunk_is_anything(
    autojump_clock: Clock,
) -> None:
    recorder = await traced(Script("a", (0.5, Thought("hm")), (1, "x"), *[(0.25, "y")] * 40))
    events = events_of(recorder.models["a"])
    assert [(at, name) for at, name, _ in events] == [(0, "attempt"), (1.5, "first_token")]
    said = facts(recorder.models["a"])
    assert said["gen_ai.response.time_to_first_chunk"] == 1.5
    assert said["compare_stream.chunks"] == 41
    assert len(recorder.begun) == 2


async def test_a_model_says_what_it_was_asked_and_what_came_of_it(autojump_clock: Clock) -> None:
    ending = Ending(finish_reason="stop", usage=USAGE, cost_usd=0.25)
    script = Script("a", (1, "x"), (1, ending), simulated=True)
    recorder = await traced(script, temperature=0.5, top_p=0.75, max_tokens=300)
    assert dict(facts(recorder.models["a"])) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "a",
        "gen_ai.request.model": "a",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 300,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.75,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 1.0,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "compare_stream.model": "a",
        "compare_stream.simulated": True,
        "compare_stream.outcome": "finished",
        "compare_stream.attempts": 1,
        "compare_stream.chunks": 1,
        "compare_stream.cost_usd": 0.25,
        "compare_stream.usage_estimated": False,
        "compare_stream.queue_seconds": 0.0,
        "compare_stream.connect_seconds": 0.0,
        "compare_stream.first_byte_seconds": 0.0,
    }
    assert recorder.models["a"].status.status_code is StatusCode.UNSET
    assert not events_of(recorder.comparison)


async def test_a_comparison_says_how_it_was_asked_for_and_how_it_ended(
    autojump_clock: Clock,
) -> None:
    recorder = Recorder()
    refused = ProviderError("overloaded", "No.")
    asked = comparison(
        Script("a", (1, "x")), Script("b", (1, refused)), trace=recorder.tracing.of(SCOPE)
    )
    await run(asked)
    assert dict(facts(recorder.comparison)) == {
        "http.request.method": "POST",
        "http.route": "/compare-stream",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.path": "/compare-stream",
        "url.scheme": "http",
        "compare_stream.comparison_id": asked.id,
        "compare_stream.models": 2,
        "compare_stream.models_failed": 1,
        "compare_stream.chunks": 1,
        "compare_stream.outcome": "complete",
    }
    assert recorder.comparison.status.status_code is StatusCode.UNSET
    # By it a comparison can be stopped, and the models' spans leave while it runs.
    assert all(asked.id not in span.to_json() for span in recorder.models.values())


async def test_the_same_model_twice_has_two_spans(autojump_clock: Clock) -> None:
    recorder = Recorder()
    async with open_app(app := app_for(Script("a", (1, "x")))):
        trace_with(app, recorder.tracing)
        await ask(app, "a:m", "a:m")
    assert sorted(recorder.models) == ["a:m", "a:m#2"]
    assert {span.name for span in recorder.models.values()} == {"chat m"}


async def test_nothing_that_anybody_wrote_is_recorded(autojump_clock: Clock) -> None:
    question, answer, thought, fault = "ZQUESTION", "ZANSWER", "ZTHOUGHT", f"ZFAULT {KEY}"
    recorder = Recorder()
    given = {"authorization": f"Bearer {KEY}", "user-agent": "ZAGENT", "cookie": "ZCOOKIE=1"}
    failed = ProviderError("provider_error", fault, retryable=True)
    a = Turns("a", [(0, failed)], [(1, Thought(thought)), (1, answer), (1, failed)])
    bug = Script("bug", (0, RuntimeError(fault)))
    async with open_app(app := app_for(a, bug)):  # type: ignore[arg-type]
        trace_with(app, recorder.tracing)
        body = {
            **asking("a:m", "bug:m", input_data=question, browser_fingerprint="ZPRINT"),
            "conversation_history": [{"role": "user", "content": "ZBEFORE"}],
        }
        async with open_exchange(app, "/compare-stream", json_body=body, headers=given) as asked:
            streamed = await asked.read()
    assert answer.encode() in streamed
    failures = {name: facts(span)["error.type"] for name, span in recorder.models.items()}
    assert failures == {"a:m": "provider_error", "bug:m": "internal_error"}
    written = (question, answer, thought, "ZFAULT", "ZBEFORE", "ZPRINT", "ZAGENT", "ZCOOKIE", KEY)
    address = "192.0.2.1"
    assert [word for word in (*written, address) if word in recorder.text] == []


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (ProviderError("unauthorized", "No."), "unauthorized"),
        (Ending(finish_reason=None), None),
        (RuntimeError("a bug"), "internal_error"),
        (Stall(), "first_token_timeout"),
    ],
)
async def test_a_failure_is_an_error_named_by_its_code_without_words(
    step: Any, code: str | None, autojump_clock: Clock
) -> None:
    recorder = await traced(Script("a", (1, step)), Script("b", (2, "x")))
    span, other = recorder.models["a"], recorder.models["b"]
    assert facts(span).get("error.type") == code
    failed = code is not None
    assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert span.status.description is None
    assert facts(span)["compare_stream.outcome"] == ("failed" if failed else "finished")
    assert [name for _, name, _ in events_of(span)] == ["attempt"]
    assert facts(other)["compare_stream.outcome"] == "finished"


async def test_what_was_stopped_has_ended_by_that_and_is_no_error(autojump_clock: Clock) -> None:
    recorder = Recorder()
    asked = comparison(
        Script("a", (1, "x"), (9, "y")),
        Script("b", (2, "z")),
        trace=recorder.tracing.of(SCOPE),
    )
    async with asked.open() as inbox, trio.open_nursery() as nursery:

        async def stop() -> None:
            await trio.sleep(3)
            asked.stop_model("a")

        nursery.start_soon(stop)
        assert [event async for event in inbox]
    span = recorder.models["a"]
    said = facts(span)
    assert (said["error.type"], said["compare_stream.outcome"]) == ("cancelled", "cancelled")
    assert said["compare_stream.stopped_by"] == "request"
    assert said["compare_stream.chunks"] == 1
    assert (span.status.status_code, seconds(span)) == (StatusCode.UNSET, (0, 3))
    assert facts(recorder.comparison)["compare_stream.outcome"] == "complete"


async def test_models_of_a_stopping_service_say_so_and_are_errors(autojump_clock: Clock) -> None:
    recorder = Recorder()
    asked = comparison(Script("a", (9, "x")), trace=recorder.tracing.of(SCOPE))
    async with asked.open() as inbox:
        await inbox.batch()
        await trio.sleep(1)
        asked.stop("server_shutdown")
        assert [event async for event in inbox]
    assert facts(recorder.models["a"])["error.type"] == "server_shutdown"
    assert recorder.models["a"].status.status_code is StatusCode.ERROR


async def test_a_client_that_leaves_ends_every_span_where_it_left(autojump_clock: Clock) -> None:
    recorder = Recorder()
    scripts = Script("a", (1, "x"), (0, Stall())), Script("b", (0, Stall())), Script("c", (1, "z"))
    async with open_app(app := app_for(*scripts)):
        trace_with(app, recorder.tracing)
        body = asking("a:m", "b:m", "c:m")
        async with open_exchange(app, "/compare-stream", json_body=body) as exchange:
            with trio.move_on_after(5):
                while await exchange.next_body():
                    pass
            exchange.disconnect()
            assert await exchange.read() == b""
    assert len(recorder.ended) == len(recorder.begun) == 4
    whole = recorder.comparison
    said = facts(whole)
    assert (said["compare_stream.outcome"], said["error.type"]) == ("client_gone", "client_gone")
    assert said["http.response.status_code"] == 200
    assert (whole.status.status_code, seconds(whole)) == (StatusCode.UNSET, (0, 5))
    ends = {name: (facts(s).get("error.type"), seconds(s)) for name, s in recorder.models.items()}
    assert ends == {
        "a:m": ("cancelled", (0, 5)),
        "b:m": ("cancelled", (0, 5)),
        "c:m": (None, (0, 1)),
    }


async def test_a_fault_of_ours_is_the_comparisons_error(autojump_clock: Clock) -> None:
    recorder = Recorder()
    asked = comparison(Script("a", (9, "x")), trace=recorder.tracing.of(SCOPE))
    with pytest.RaisesGroup(RuntimeError):
        async with asked.open():
            raise RuntimeError("ZSECRET")
    whole = recorder.comparison
    said = facts(whole)
    assert (said["compare_stream.outcome"], said["error.type"]) == ("failed", "internal_error")
    assert whole.status.status_code is StatusCode.ERROR
    assert "ZSECRET" not in recorder.text


class Refused(logging.Handler):
    """What the library objects to, such as a span that is ended twice."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())


async def test_left_before_any_step_every_span_that_began_has_ended_once(
    autojump_clock: Clock,
) -> None:
    refused = Refused()
    library = logging.getLogger("opentelemetry")
    library.addHandler(refused)
    try:
        for step in count(1):
            recorder = Recorder()
            providers = Turns("a", [(1, too_many())], [(1, "x")]), Script("b", (0, "y"), (2, "z"))
            with trio.CancelScope() as scope, at_step(step, scope.cancel) as moment:
                await run(
                    comparison(
                        *providers,
                        persistence=Persistence(attempts=2, draw=lambda: 1),
                        hedge_after=0.5,
                        trace=recorder.tracing.of(SCOPE),
                    )
                )
            assert sorted(span.name for span in recorder.ended) == sorted(recorder.begun), step
            if not moment.came:
                break
    finally:
        library.removeHandler(refused)
    assert step > 30
    assert refused.words == []
    assert facts(recorder.comparison)["compare_stream.outcome"] == "complete"


async def test_requests_that_are_made_again_are_events_of_the_one_span(
    autojump_clock: Clock,
) -> None:
    recorder = await traced(
        Turns("a", [(1, too_many())], [(2, too_many())], [(1, "x")]),
        persistence=Persistence(attempts=3, backoff=1, draw=lambda: 1),
    )
    span = recorder.models["a"]
    attempt = {"gen_ai.provider.name": "a", "gen_ai.request.model": "a"}
    lost = {"error.type": "rate_limited"}
    assert events_of(span) == [
        (0, "attempt", attempt),
        (1, "attempt_failed", lost),
        (2, "attempt", attempt),
        (4, "attempt_failed", lost),
        (6, "attempt", attempt),
        (7, "first_token", {}),
    ]
    assert facts(span)["compare_stream.attempts"] == 3
    assert "error.type" not in facts(span)
    assert span.status.status_code is StatusCode.UNSET


async def test_a_fallback_is_told_in_the_span_of_the_model_whose_place_it_takes(
    autojump_clock: Clock,
) -> None:
    failing = Script("a", (1, ProviderError("overloaded", "Full.")))
    other = Script("b", (1, "x"))
    recorder = await traced(failing, fallbacks={"a": [other]})
    [span] = recorder.models.values()
    said = facts(span)
    assert (span.name, said["gen_ai.request.model"]) == ("chat a", "a")
    assert (said["compare_stream.answered_by"], said["compare_stream.attempts"]) == ("b", 2)
    assert events_of(span) == [
        (0, "attempt", {"gen_ai.provider.name": "a", "gen_ai.request.model": "a"}),
        (1, "attempt_failed", {"error.type": "overloaded"}),
        (1, "attempt", {"gen_ai.provider.name": "b", "gen_ai.request.model": "b"}),
        (2, "first_token", {}),
    ]


async def test_a_hedge_is_a_second_attempt_in_the_one_span(autojump_clock: Clock) -> None:
    slow, quick = Script("a", (10, "slow")), Script("b", (1, "quick"))
    recorder = await traced(slow, fallbacks={"a": [quick]}, hedge_after=3)
    [span] = recorder.models.values()
    assert [(at, name) for at, name, _ in events_of(span)] == [
        (0, "attempt"),
        (3, "attempt"),
        (4, "first_token"),
    ]
    assert facts(span)["compare_stream.answered_by"] == "b"


async def test_the_wait_for_a_turn_is_inside_the_span(autojump_clock: Clock) -> None:
    limiters = OneForAll(Limiter(1))
    recorder = await traced(Script("a", (2, "x")), Script("b", (2, "y")), limiters=limiters)
    first, second = sorted(recorder.models.values(), key=lambda span: seconds(span)[1])
    assert (seconds(first), seconds(second)) == ((0, 2), (0, 4))
    assert facts(first)["compare_stream.queue_seconds"] == 0
    assert facts(second)["compare_stream.queue_seconds"] == 2
    assert [(at, name) for at, name, _ in events_of(second)] == [(2, "attempt"), (4, "first_token")]


async def test_a_callers_span_is_the_parent_and_its_state_goes_on(autojump_clock: Clock) -> None:
    recorder = Recorder()
    async with open_app(app := app_for(Script("a", (1, "x")))):
        trace_with(app, recorder.tracing)
        headers = {"traceparent": PARENT, "tracestate": "vendor=1,other=2"}
        body = asking("a:m")
        async with open_exchange(app, "/compare", json_body=body, headers=headers) as exchange:
            await exchange.read()
    whole = recorder.comparison
    assert whole.name == "POST /compare"
    assert whole.parent is not None
    assert (whole.parent.trace_id, whole.parent.span_id) == (TRACE, SPAN)
    assert whole.parent.is_remote
    [model] = recorder.models.values()
    assert whole.context is not None
    assert model.context is not None
    assert model.context.trace_id == TRACE
    assert model.parent is not None
    assert model.parent.span_id == whole.context.span_id
    assert model.context.trace_state.to_header() == "vendor=1,other=2"


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": ""},
        {"traceparent": "hello"},
        {"traceparent": PARENT[:-1]},
        {"traceparent": PARENT.upper()},
        {"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"},
        {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01"},
        {"traceparent": "ff" + PARENT[2:]},
        {"traceparent": PARENT + "-more"},
        {"traceparent": "é" * 600},
        {"tracestate": "vendor=1"},
    ],
    ids=str,
)
async def test_headers_without_sense_begin_a_trace_and_refuse_nobody(
    headers: dict[str, str], autojump_clock: Clock
) -> None:
    recorder = Recorder()
    asked = comparison(Script("a", (1, "x")), trace=recorder.tracing.of(scope(**headers)))
    assert await run(asked)
    assert recorder.comparison.parent is None


@pytest.mark.parametrize("state", ["=", "a=b,,,", "é=1", "x" * 9000, "a=1,a=2", "a=\x00"])
async def test_a_state_without_sense_leaves_the_parent(state: str, autojump_clock: Clock) -> None:
    recorder = Recorder()
    given = scope(traceparent=PARENT, tracestate=state)
    assert await run(comparison(Script("a", (1, "x")), trace=recorder.tracing.of(given)))
    parent = recorder.comparison.parent
    assert parent is not None
    assert parent.span_id == SPAN


async def test_two_parents_are_none(autojump_clock: Clock) -> None:
    recorder = Recorder()
    given = scope(traceparent=PARENT)
    given["headers"] *= 2
    assert await run(comparison(Script("a", (1, "x")), trace=recorder.tracing.of(given)))
    assert recorder.comparison.parent is None


@pytest.mark.parametrize("flag", ["00", "01"])
async def test_what_the_sampler_leaves_out_is_not_recorded(
    flag: str, autojump_clock: Clock
) -> None:
    recorder = Recorder(sampler=ParentBased(ALWAYS_OFF))
    given = scope(traceparent=PARENT[:-2] + flag)
    await run(comparison(Script("a", (1, "x")), trace=recorder.tracing.of(given)))
    assert len(recorder.ended) == len(recorder.begun) == (2 if flag == "01" else 0)


def test_the_page_about_traces_names_all_that_is_recorded_and_nothing_else() -> None:
    code = (ROOT / "service/tracing/spans.py").read_text(encoding="utf-8")
    page = (ROOT / "docs/operations/traces.md").read_text(encoding="utf-8")
    dotted = r"(?:gen_ai|compare_stream|http|url|network|server|error)\.[a-z_.]+[a-z]"
    recorded = set(re.findall(rf'"({dotted})"', code))
    assert len(recorded) > 30
    assert set(re.findall(rf"`({dotted})`", page)) == recorded


class Broken(NoOpTracer):
    """A library with a fault."""

    def start_span(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a fault of the library")


async def test_a_fault_of_the_library_is_logged_once_and_harms_no_answer(
    autojump_clock: Clock, log_lines: list[EventDict]
) -> None:
    for _ in range(3):
        trace = Spans(Broken()).of(SCOPE)
        events = await run(comparison(Script("a", (1, "x")), Script("b", (2, "y")), trace=trace))
        assert [e.code for e in events if isinstance(e, Done)] == [None, None]
    faults = [line for line in log_lines if line["event"] == "tracing failed"]
    assert 1 <= len(faults) <= 4  # one for each thing that is told of a comparison
    assert all(line["log_level"] == "error" for line in faults)
