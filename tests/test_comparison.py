"""What happens between a question and its events; all times are virtual and exact."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from service.comparison import Comparison
from service.errors import ProviderError
from service.events import Chunk, Complete, Done, ErrorChunk, Event, Reasoning, Start, Usage
from service.patience import Patience
from service.providers import Ending
from service.testing import Alive, Connect, Script, Stall, Thought
from tests.asking import comparison, question, timeline

Clock = trio.testing.MockClock


def chunks(events: list[tuple[float, Event]]) -> list[tuple[float, str, str]]:
    return [(at, e.model, e.content) for at, e in events if isinstance(e, Chunk)]


def dones(events: list[tuple[float, Event]]) -> dict[str, tuple[float, Done]]:
    return {e.model: (at, e) for at, e in events if isinstance(e, Done)}


def error_texts(events: list[tuple[float, Event]]) -> dict[str, str]:
    return {e.model: e.content for _, e in events if isinstance(e, ErrorChunk)}


def complete(events: list[tuple[float, Event]]) -> Complete:
    last = events[-1][1]
    assert isinstance(last, Complete)
    return last


async def test_models_run_side_by_side_and_a_fast_one_is_not_held_up(
    autojump_clock: Clock,
) -> None:
    events = await timeline(Script("a", (1, "x"), (1, "y")), Script("b", (4, "z")))
    assert chunks(events) == [(1, "a", "x"), (2, "a", "y"), (4, "b", "z")]
    assert {model: at for model, (at, _) in dones(events).items()} == {"a": 2, "b": 4}
    assert events[-1][0] == 4


async def test_all_starts_come_first_in_the_order_asked_for(autojump_clock: Clock) -> None:
    events = await timeline(*(Script(name, (0, "x")) for name in ("c", "a", "b")))
    starts = [event for _, event in events[:3]]
    assert [(e.model, e.type) for e in starts if isinstance(e, Start)] == [
        ("c", "start"),
        ("a", "start"),
        ("b", "start"),
    ]
    assert not any(isinstance(event, Start) for _, event in events[3:])


PATIENCE = Patience(connect=5, first_token=30, idle=60, total=300)


async def test_who_speaks_at_the_very_moment_at_which_a_clock_runs_out_is_in_time(
    autojump_clock: Clock,
) -> None:
    script = Script("a", (5, Connect()), (30, "x"), (60, "y"))
    events = await timeline(script, patience=PATIENCE)
    assert chunks(events) == [(35, "a", "x"), (95, "a", "y")]
    assert dones(events)["a"][1].code is None


@pytest.mark.parametrize(
    ("steps", "code", "text", "ends_at"),
    [
        pytest.param(
            [(0, Alive()), (6, Connect())],
            "connect_timeout",
            "Error: Timeout (5s)",
            5,
            id="no connection",
        ),
        pytest.param(
            [(4, Connect()), (0, Stall())],
            "first_token_timeout",
            "Error: Timeout (30s)",
            34,
            id="connected, then silent: the first token's clock runs from the connection",
        ),
        pytest.param(
            [(0, Connect()), *[(10, Alive())] * 9],
            "first_token_timeout",
            "Error: Timeout (30s)",
            30,
            id="S31 V43: comments are no first token",
        ),
        pytest.param(
            [(2, "x"), (0, Stall())],
            "idle_timeout",
            "Error: Timeout (60s)",
            62,
            id="V44: a token, then silence",
        ),
        pytest.param(
            [(2, "x"), (50, Alive()), (50, Alive()), (0, Stall())],
            "idle_timeout",
            "Error: Timeout (60s)",
            162,
            id="V20: comments keep a connection alive between tokens",
        ),
        pytest.param(
            [(2, Thought("hm")), (0, Stall())],
            "idle_timeout",
            "Error: Timeout (60s)",
            62,
            id="reasoning is a token: after it the idle clock runs",
        ),
        pytest.param(
            [(54, "x")] * 9,
            "first_token_timeout",
            "Error: Timeout (30s)",
            30,
            id="a first token that comes after its time",
        ),
        pytest.param(
            [(29, "x"), *[(54, "y")] * 9],
            "total_timeout",
            "Error: Timeout (300s)",
            300,
            id="V45: one token each 0.9 x idle for ever",
        ),
    ],
)
async def test_each_clock_ends_a_model_at_its_time_and_says_so(
    autojump_clock: Clock, steps: list[Any], code: str, text: str, ends_at: float
) -> None:
    events = await timeline(Script("a", *steps), Script("b", (1, "fine")), patience=PATIENCE)
    at, done = dones(events)["a"]
    assert (at, done.code, done.error) == (ends_at, code, True)
    assert error_texts(events) == {"a": text}
    assert dones(events)["b"][1].error is False


async def test_a_fraction_of_a_second_is_told_as_it_is(autojump_clock: Clock) -> None:
    events = await timeline(
        Script("a", (0, Stall())), patience=Patience(connect=5, first_token=2.5)
    )
    assert error_texts(events) == {"a": "Error: Timeout (2.5s)"}


async def test_reasoning_is_told_apart_and_is_not_the_first_token(autojump_clock: Clock) -> None:
    events = await timeline(Script("a", (1, Thought("hm")), (2, "x")))
    assert [e for _, e in events if isinstance(e, Reasoning)] == [
        Reasoning(model="a", content="hm")
    ]
    done = dones(events)["a"][1]
    assert (done.timings.first_token_ms, done.chunks) == (3000.0, 1)


async def test_a_slow_reader_is_not_the_models_fault(autojump_clock: Clock) -> None:
    patience = Patience(first_token=5, idle=5, total=300)
    script = Script("a", *[(1, f"{n}") for n in range(6)])
    got = []
    async with comparison(script, patience=patience).open() as inbox:
        async for event in inbox:
            if isinstance(event, Chunk):
                await trio.sleep(20)  # four times what the model may be silent
            got.append(event)
    assert [e.content for e in got if isinstance(e, Chunk)] == list("012345")
    assert [e.error for e in got if isinstance(e, Done)] == [False]


async def test_the_whole_answers_clock_frees_a_provider_whose_client_stalls(
    autojump_clock: Clock,
) -> None:
    script = Script("a", *[(1, "x")] * 50)
    async with comparison(script, patience=Patience(total=100)).open() as inbox:
        await inbox.receive()
        await trio.sleep(99)
        assert script.closed == 0
        await trio.sleep(2)
        assert script.closed == 1
        rest = [event async for event in inbox]
    [done] = [event for event in rest if isinstance(event, Done)]
    assert done.code == "total_timeout"
    # A piece that nobody took is not counted.
    assert done.chunks == sum(isinstance(event, Chunk) for event in rest)


async def test_no_model_is_asked_before_the_reader_has_taken_the_starts(
    autojump_clock: Clock,
) -> None:
    scripts = [Script("a", (0, "x")), Script("b", (0, "x"))]
    async with comparison(*scripts).open() as inbox:
        await trio.testing.wait_all_tasks_blocked()
        assert [script.opened for script in scripts] == [0, 0]
        assert isinstance(await inbox.receive(), Start)
        await trio.testing.wait_all_tasks_blocked()
        assert [script.opened for script in scripts] == [1, 1]


async def test_a_model_gets_no_further_ahead_of_its_reader_than_the_channel_is_long(
    autojump_clock: Clock,
) -> None:
    written = []

    class Counting(Script):
        async def stream(self, prompt: Any, sink: Any) -> Ending:
            sink.connected()
            for n in range(100):
                written.append(n)
                await sink.text(str(n))
            return Ending(finish_reason="stop")

    async with comparison(Counting("a"), Script("b", (0, Stall()))).open() as inbox:
        assert [type(await inbox.receive()) for _ in range(2)] == [Start, Start]
        await trio.testing.wait_all_tasks_blocked()
        assert written == [0]  # it is in the model's place, and not taken yet


async def test_a_bug_in_one_provider_ends_that_model_alone_and_its_traceback_is_logged(
    autojump_clock: Clock, log_lines: list[dict[str, Any]]
) -> None:
    events = await timeline(Script("a", (1, ZeroDivisionError("oops"))), Script("b", (2, "fine")))
    assert dones(events)["a"][1].code == "internal_error"
    assert chunks(events) == [(2, "b", "fine")]
    [line] = [line for line in log_lines if line["event"] == "provider code failed"]
    assert line["exc_info"]
    assert line["model"] == "a"


async def test_a_failed_model_keeps_its_text_and_says_why_before_its_done(
    autojump_clock: Clock,
) -> None:
    error = ProviderError("provider_error", "It broke.")
    events = await timeline(Script("a", (1, "half an ans"), (1, error)))
    assert [type(event) for _, event in events] == [Start, Chunk, ErrorChunk, Done, Complete]
    assert chunks(events) == [(1, "a", "half an ans")]
    assert error_texts(events) == {"a": "Error: It broke."}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("rate_limited", "Error: Rate limited"),
        ("model_not_found", "Error: Model not available"),
        ("unauthorized", "Error: Authentication failed"),
        ("provider_error", "Error: what the provider said"),
    ],
)
async def test_the_words_of_a_failure_are_those_that_clients_know(
    autojump_clock: Clock, code: Any, text: str
) -> None:
    events = await timeline(Script("a", (0, ProviderError(code, "what the provider said"))))
    assert error_texts(events) == {"a": text}


async def test_the_words_of_a_failure_have_at_most_a_hundred_characters(
    autojump_clock: Clock,
) -> None:
    events = await timeline(Script("a", (0, ProviderError("provider_error", "x" * 101))))
    assert error_texts(events) == {"a": "Error: " + "x" * 100}


async def test_when_every_model_fails_the_stream_still_ends_in_order(
    autojump_clock: Clock,
) -> None:
    error = ProviderError("overloaded", "No.")
    events = await timeline(*(Script(name, (1, error)) for name in "abc"))
    assert {done.code for _, done in dones(events).values()} == {"overloaded"}
    metadata = complete(events).metadata
    assert (metadata.models_successful, metadata.models_failed) == (0, 3)


async def test_leaving_stops_every_model_before_it_returns(
    autojump_clock: Clock, log_lines: list[dict[str, Any]]
) -> None:
    scripts = [Script(name, (1, "x"), (0, Stall())) for name in "abc"]
    async with comparison(*scripts).open() as inbox:
        async for event in inbox:
            if isinstance(event, Chunk):
                break
    assert [(script.opened, script.closed) for script in scripts] == [(1, 1)] * 3
    assert trio.current_time() == 1
    ends = [line for line in log_lines if line["event"] == "model ended"]
    assert sorted((line["model"], line["code"]) for line in ends) == [
        ("a", "cancelled"),
        ("b", "cancelled"),
        ("c", "cancelled"),
    ]
    [line] = [line for line in log_lines if line["event"] == "comparison ended"]
    assert line["outcome"] == "client_gone"


async def test_the_figures_of_complete_add_up(autojump_clock: Clock) -> None:
    usage = Usage(input_tokens=7, output_tokens=5, reasoning_tokens=2, estimated=False)
    ending = Ending(finish_reason="length", usage=usage, cost_usd=0.25)
    events = await timeline(Script("a", (1, "x"), (1, ending)), Script("b", (4, "y"), (0, ending)))
    metadata = complete(events).metadata
    assert metadata.input_length == 4
    assert metadata.models_requested == metadata.models_successful == 2
    assert metadata.processing_time_ms == 4000
    assert (metadata.slowest_model_ms, metadata.sum_of_models_ms) == (4000.0, 6000.0)
    assert metadata.speedup == 1.5
    assert metadata.usage == Usage(
        input_tokens=14, output_tokens=10, reasoning_tokens=4, estimated=False
    )
    assert metadata.cost_usd == 0.5
    assert dones(events)["a"][1].finish_reason == "length"


async def test_a_sum_with_an_unknown_price_in_it_is_unknown(autojump_clock: Clock) -> None:
    events = await timeline(
        Script("a", (1, Ending(finish_reason="stop", cost_usd=0.25))), Script("b", (1, "x"))
    )
    assert complete(events).metadata.cost_usd is None


async def test_usage_that_no_provider_reported_is_estimated_and_marked_so(
    autojump_clock: Clock,
) -> None:
    events = await timeline(
        Script("a", (1, Thought("t" * 8)), (1, "x" * 9)),
        Script("b", (1, Stall())),
        Script("c", (0, Alive()), (9, Connect())),
    )
    usage = dones(events)["a"][1].usage
    assert usage == Usage(input_tokens=1, output_tokens=5, reasoning_tokens=2, estimated=True)
    assert dones(events)["b"][1].usage == Usage(
        input_tokens=1, output_tokens=0, reasoning_tokens=0, estimated=True
    )
    assert dones(events)["c"][1].usage is None  # its request never left


async def test_progress_is_logged_every_ten_chunks_at_debug_level(
    autojump_clock: Clock, log_lines: list[dict[str, Any]]
) -> None:
    await timeline(Script("a", *[(0, "x")] * 25))
    lines = [line for line in log_lines if line["event"] == "model writes"]
    assert [(line["chunks"], line["log_level"]) for line in lines] == [(10, "debug"), (20, "debug")]


async def test_a_comparison_without_an_audience_has_an_id_nobody_can_guess() -> None:
    ids = {Comparison(question("a"), [], Patience()).id for _ in range(100)}
    assert len(ids) == 100
    assert min(map(len, ids)) >= 22  # 16 random bytes


STEP = st.tuples(
    st.floats(0, 100),
    st.one_of(
        st.text(min_size=1, max_size=3),
        st.builds(Thought, st.text(min_size=1, max_size=3)),
        st.just(Alive()),
        st.just(Stall()),
        st.just(ProviderError("provider_error", "no")),
        st.just(ValueError("bug")),
        st.just(Ending(finish_reason="stop")),
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(STEP, max_size=5), min_size=1, max_size=4), st.integers(0, 100))
def test_the_grammar_holds_for_every_way_a_comparison_can_go(
    models: list[list[tuple[float, Any]]], reader_seconds: int
) -> None:
    async def run() -> list[Event]:
        scripts = [Script(f"m{n}", *steps) for n, steps in enumerate(models)]
        events = []
        async with comparison(*scripts).open() as inbox:
            async for event in inbox:
                events.append(event)
                await trio.sleep(reader_seconds)
        assert all(script.opened == script.closed == 1 for script in scripts)
        return events

    events = trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    names = [f"m{n}" for n in range(len(models))]
    assert [e.model for e in events[: len(names)] if isinstance(e, Start)] == names
    assert [type(e) for e in events].count(Complete) == 1
    assert isinstance(events[-1], Complete)
    for name in names:
        own = [e for e in events if not isinstance(e, (Start, Complete)) and e.model == name]
        assert [type(e) for e in own].count(Done) == 1
        done = own[-1]
        assert isinstance(done, Done)
        assert done.error == (len(own) > 1 and isinstance(own[-2], ErrorChunk))
        assert not any(isinstance(e, ErrorChunk) for e in own[:-2])
