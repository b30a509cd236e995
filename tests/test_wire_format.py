"""The stream, byte for byte, as the oldest clients read it; all times are virtual and exact."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from service.errors import ProviderError
from service.events import Usage
from service.providers import Ending
from service.settings import Deadlines, Limits, Settings, Stream
from service.testing import (
    Alive,
    Connect,
    Exchange,
    Script,
    Stall,
    Thought,
    app_for,
    open_app,
    open_exchange,
)
from tests.clients import Reply, ask, asking
from tests.grammar import check_stream, legacy_events

PING = b": ping\n\n"


@asynccontextmanager
async def open_stream(
    *scripts: Script, heartbeat: float = 10, models: tuple[str, ...] = ()
) -> AsyncIterator[Exchange]:
    """The stream of one comparison of all these scripts."""
    app = app_for(*scripts, settings=Settings(stream=Stream(heartbeat=heartbeat)))
    names = models or tuple(f"{script.name}:m" for script in scripts)
    async with (
        open_app(app),
        open_exchange(app, "/compare-stream", json_body=asking(*names)) as exchange,
    ):
        yield exchange


async def stream_of(*scripts: Script, models: tuple[str, ...] = (), **fields: Any) -> Reply:
    """The whole stream of one comparison of all these scripts."""
    app = app_for(*scripts)
    names = models or tuple(f"{script.name}:m" for script in scripts)
    async with open_app(app):
        return await ask(app, *names, **fields)


async def timeline(exchange: Exchange) -> list[tuple[float, str]]:
    """What is written to the client, and when, to the end of the body."""
    began = trio.current_time()
    written = []
    while (piece := await exchange.next_body()) is not None:
        kinds = ["ping"] if piece == PING else [event["type"] for event in legacy_events(piece)]
        written += [(trio.current_time() - began, kind) for kind in kinds]
    return written


# --- the bytes ----------------------------------------------------------------------------------

USAGE = Usage(input_tokens=3, output_tokens=2, reasoning_tokens=1, estimated=False)
WHOLE_STREAM = """\
data: {"model":"a:m","type":"start","provider":"a","parameters":{"max_tokens":4000}}

data: {"model":"b:terse","type":"start","provider":"b","parameters":{"max_tokens":4000},\
"simulated":true}

data: {"model":"a:m","type":"reasoning","content":"hm"}

data: {"model":"a:m","type":"chunk","content":"\\"é\\u2028\\n\\n"}

data: {"model":"a:m","type":"progress","fraction":0.001,"tokens":3}

data: {"model":"a:m","type":"done","error":false,"code":null,"finish_reason":"stop","timings":\
{"queue_ms":0.0,"connect_ms":250.0,"first_byte_ms":null,"first_token_ms":2250.0,"duration_ms":\
2250.0},"usage":{"input_tokens":3,"output_tokens":2,"reasoning_tokens":1,"estimated":false},\
"cost_usd":0.25,"chunks":1,"attempts":1,"tokens_per_second":null,"stopped_by":null}

data: {"model":"b:terse","type":"chunk","content":"Error: Rate limited","error":true}

data: {"model":"b:terse","type":"done","error":true,"code":"rate_limited","finish_reason":null,\
"timings":{"queue_ms":0.0,"connect_ms":0.0,"first_byte_ms":0.0,"first_token_ms":null,\
"duration_ms":4500.0},"usage":{"input_tokens":1,"output_tokens":0,"reasoning_tokens":0,\
"estimated":true},"cost_usd":0.0,"chunks":0,"attempts":1,"tokens_per_second":null,\
"stopped_by":null}

data: {"type":"complete","metadata":{"input_length":4,"models_requested":2,"models_successful":1,\
"models_failed":1,"timestamp":"<time>","processing_time_ms":4500,"conversation_message_count":0,\
"is_extended_interaction":false,"comparison_id":"<id>","usage":{"input_tokens":4,"output_tokens":2\
,"reasoning_tokens":1,"estimated":true},"cost_usd":0.25,"slowest_model_ms":4500.0,\
"sum_of_models_ms":6750.0,"speedup":1.5}}

""".replace("\\u2028", "\u2028")


async def test_a_whole_stream_byte_for_byte(autojump_clock: MockClock) -> None:
    ending = Ending(finish_reason="stop", usage=USAGE, cost_usd=0.25)
    reply = await stream_of(
        Script("a", (0.25, Connect()), (1, Thought("hm")), (1, '"é\u2028\n\n'), (0, ending)),
        Script("b", (4.5, ProviderError("rate_limited", "Slow down.")), simulated=True),
        models=("a:m", "b:terse"),
    )
    body = reply.body.decode().replace(reply.headers["x-comparison-id"], "<id>")
    now = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"
    assert re.sub(now, "<time>", body) == WHOLE_STREAM
    assert check_stream(reply.body, ["a:m", "b:terse"]) == {
        "a:m": '"é\u2028\n\n',
        "b:terse": "",
    }


ENDINGS: dict[str, tuple[list[Any], str, str | None]] = {
    "finishes": ([(1, "x"), (1, "y")], "xy", None),
    "thinks first": ([(1, Thought("hm")), (1, "x")], "x", None),
    "writes at once": ([(0, "x")] * 50, "x" * 50, None),
    "says nothing": ([(1, Ending(finish_reason=None))], "", None),
    "fails at once": ([(0, ProviderError("overloaded", "No."))], "", "overloaded"),
    "fails later": ([(1, "x"), (1, ProviderError("truncated", "k" * 200))], "x", "truncated"),
    "has a bug": ([(1, "x"), (1, ZeroDivisionError())], "x", "internal_error"),
    "never connects": ([(0, Alive()), (50, Connect())], "", "connect_timeout"),
    "is silent": ([(0, Stall())], "", "first_token_timeout"),
    "falls silent": ([(1, "x"), (0, Stall())], "x", "idle_timeout"),
    "never ends": ([(50, "x")] * 10, "xxxxx", "total_timeout"),
}


async def test_the_grammar_holds_however_each_model_ends(autojump_clock: MockClock) -> None:
    scripts = [Script(name, *steps) for name, (steps, _, _) in ENDINGS.items()]
    chosen = Settings(
        limits=Limits(max_models=len(scripts)),
        deadlines=Deadlines(connect=5, first_token=55, idle=60, total=290),
    )
    models = [f"{name}:m" for name in ENDINGS]
    async with open_app(app := app_for(*scripts, settings=chosen)):
        reply = await ask(app, *models)
    texts = check_stream(reply.body, models)
    dones = {e["model"]: e["code"] for e in legacy_events(reply.body) if e["type"] == "done"}
    for name, (_, text, code) in ENDINGS.items():
        assert (texts[f"{name}:m"], dones[f"{name}:m"]) == (text, code), name


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.text(min_size=1, max_size=8), max_size=6), min_size=1, max_size=4))
def test_no_text_can_break_the_framing_and_all_arrives_as_it_was_said(
    answers: list[list[str]],
) -> None:
    scripts = [
        Script(f"m{number}", *[(0, piece) for piece in pieces], (0, Ending(finish_reason="stop")))
        for number, pieces in enumerate(answers)
    ]
    reply = trio.run(stream_of, *scripts, clock=MockClock(autojump_threshold=0))
    texts = check_stream(reply.body, [f"m{number}:m" for number in range(len(answers))])
    assert list(texts.values()) == ["".join(pieces) for pieces in answers]


@pytest.mark.parametrize(
    "text", ["\n\ndata: {}\n\n", "\r\n\r\n", "\r", "\0", "\u2028", "\ufeff", "😀"]
)
async def test_text_that_looks_like_framing_is_text(text: str, autojump_clock: MockClock) -> None:
    reply = await stream_of(Script("a", (0, text), (0, text)))
    assert check_stream(reply.body, ["a:m"]) == {"a:m": text + text}


async def test_the_same_model_twice_is_told_apart(autojump_clock: MockClock) -> None:
    models = ("a:m", "b:m", "a:m", "a:m#2", "a:m")
    reply = await stream_of(Script("a", (1, "x")), Script("b", (2, "y")), models=models)
    assert check_stream(reply.body, models) == {
        "a:m": "x",
        "b:m": "y",
        "a:m#2": "x",
        "a:m#2#2": "x",
        "a:m#3": "x",
    }


async def test_metadata_counts_what_was_asked(autojump_clock: MockClock) -> None:
    turns = [{"role": "user", "content": "x"}] * 11
    reply = await stream_of(
        Script("a", (1, "x")),
        Script("b", (3, "y")),
        input_data="ünï 😀",
        conversation_history=turns,
    )
    metadata = legacy_events(reply.body)[-1]["metadata"]
    assert metadata["input_length"] == 5
    assert (metadata["conversation_message_count"], metadata["is_extended_interaction"]) == (
        11,
        True,
    )
    assert metadata["processing_time_ms"] == 3000


# --- the headers --------------------------------------------------------------------------------


async def test_the_headers_of_a_stream_keep_every_proxy_from_holding_it_back(
    autojump_clock: MockClock,
) -> None:
    reply = await stream_of(Script("a", (1, "x")))
    assert reply.status == 200
    assert reply.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "x-content-type-options": "nosniff",
        "x-comparison-id": legacy_events(reply.body)[-1]["metadata"]["comparison_id"],
    }


async def test_a_comparisons_id_cannot_be_guessed_and_comes_once(
    autojump_clock: MockClock,
) -> None:
    async with open_app(app := app_for(Script("a", (0, "x")))):
        replies = [await ask(app, "a:m") for _ in range(20)]
    ids = {reply.headers["x-comparison-id"] for reply in replies}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22,}", id_) for id_ in ids)  # 128 bits or more


# --- the times ----------------------------------------------------------------------------------


async def test_the_starts_leave_at_once_and_in_one_write(autojump_clock: MockClock) -> None:
    scripts = [Script(name, (60, Connect()), (60, "x")) for name in "cab"]
    async with open_stream(*scripts) as exchange:
        first = await exchange.next_body()
    assert trio.current_time() == 0
    assert first is not None
    assert [(e["model"], e["type"]) for e in legacy_events(first)] == [
        ("c:m", "start"),
        ("a:m", "start"),
        ("b:m", "start"),
    ]


async def test_a_piece_leaves_when_it_comes_and_waits_for_no_other_model(
    autojump_clock: MockClock,
) -> None:
    fast, slow = Script("a", (1, "x"), (1, "y")), Script("b", (4, "z"))
    async with open_stream(fast, slow) as exchange:
        written = await timeline(exchange)
    assert written == [
        (0, "start"),
        (0, "start"),
        (1, "chunk"),
        (2, "chunk"),
        (2, "progress"),
        (2, "done"),
        (4, "chunk"),
        (4, "done"),
        (4, "complete"),
    ]


async def test_a_heartbeat_comes_after_so_many_seconds_without_output(
    autojump_clock: MockClock,
) -> None:
    script = Script("a", (25, "x"), (9, "y"), (11, Thought("hm")), (10.5, "z"))
    async with open_stream(script) as exchange:
        written = await timeline(exchange)
    assert written[:-2] == [
        (0, "start"),  # from here the heart beats: before any provider has answered
        (10, "ping"),
        (20, "ping"),
        (25, "chunk"),
        (34, "chunk"),
        (34, "progress"),
        (44, "ping"),
        (45, "reasoning"),
        (45, "progress"),
        (55, "ping"),
        (55.5, "chunk"),
        (55.5, "progress"),
    ]


async def test_there_is_no_heartbeat_while_data_flows(autojump_clock: MockClock) -> None:
    scripts = [Script("a", *[(9.9, "x")] * 20), Script("b", (7, Alive()), (190, "y"))]
    async with open_stream(*scripts) as exchange:
        body = await exchange.read()
    assert PING not in body


async def test_signs_of_life_from_a_provider_are_no_output(autojump_clock: MockClock) -> None:
    async with open_stream(Script("a", *[(1, Alive())] * 12, (0, "x")), heartbeat=5) as exchange:
        written = await timeline(exchange)
    assert [at for at, kind in written if kind == "ping"] == [5, 10]


async def test_a_client_that_does_not_read_finds_one_heartbeat_and_not_many(
    autojump_clock: MockClock,
) -> None:
    async with open_stream(Script("a", (25, "x")), heartbeat=2) as exchange:
        await exchange.next_body()
        await trio.sleep(22)
        written = await timeline(exchange)
    assert written[:3] == [(0, "ping"), (2, "ping"), (3, "chunk")]


async def test_what_a_slow_client_missed_comes_in_few_writes_and_none_is_cut(
    autojump_clock: MockClock,
) -> None:
    scripts = [Script(name, *[(0.5, name)] * 10) for name in "abc"]
    async with open_stream(*scripts) as exchange:
        pieces = []
        while (piece := await exchange.next_body()) is not None:
            assert piece.endswith(b"\n\n")
            pieces.append(piece)
            await trio.sleep(2)
    assert check_stream(b"".join(pieces), ["a:m", "b:m", "c:m"]) == {
        "a:m": "a" * 10,
        "b:m": "b" * 10,
        "c:m": "c" * 10,
    }
    assert len(pieces) < 20  # for 37 events


# --- the grammar's own test ---------------------------------------------------------------------

RIGHT = WHOLE_STREAM.replace("<time>", "2026-01-01T00:00:00+00:00")
START, _, THOUGHT, CHUNK, PROGRESS, DONE, ERROR, FAILED, COMPLETE, _ = RIGHT.split("\n\n")


def test_the_grammar_takes_a_right_stream_with_pings_anywhere() -> None:
    assert check_stream(RIGHT.replace("\n\n", "\n\n: ping\n\n").encode(), ["a:m", "b:terse"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(COMPLETE + "\n\n", "", id="no complete"),
        pytest.param(COMPLETE, f"{COMPLETE}\n\n{COMPLETE}", id="two completes"),
        pytest.param(COMPLETE, f"{COMPLETE}\n\n{CHUNK}", id="a chunk after complete"),
        pytest.param(START + "\n\n", "", id="no start"),
        pytest.param(CHUNK, f"{START}\n\n{CHUNK}", id="a start in the middle"),
        pytest.param("a:m", "c:m", id="a model that nobody asked for"),
        pytest.param(DONE + "\n\n", "", id="no done"),
        pytest.param(DONE, f"{DONE}\n\n{DONE}", id="two dones"),
        pytest.param(DONE, f"{DONE}\n\n{CHUNK}", id="a chunk after done"),
        pytest.param(DONE, f"{DONE}\n\n{PROGRESS}", id="progress after done"),
        pytest.param(CHUNK, f"{PROGRESS[:-2]}4}}\n\n{CHUNK}", id="progress that falls"),
        pytest.param('"fraction":0.001', '"fraction":1.001', id="more than the whole"),
        pytest.param(',"tokens":3', "", id="progress without tokens"),
        pytest.param(ERROR + "\n\n", "", id="a failure without words"),
        pytest.param(ERROR, f"{ERROR}\n\n{ERROR}", id="a failure told twice"),
        pytest.param('"Error: R', '"R', id="a failure in other words"),
        pytest.param("Rate limited", "x" * 101, id="a failure in too many words"),
        pytest.param(',"error":true}\n\ndata', "}\n\ndata", id="words of a failure as text"),
        pytest.param('"error":false', '"error":true', id="a done that says error without one"),
        pytest.param("rate_limited", "because", id="an unknown code"),
        pytest.param('"models_failed":1', '"models_failed":0', id="wrong counts"),
        pytest.param("+00:00", "", id="a time without offset"),
        pytest.param('"type":"chunk","content"', '"content"', id="no type"),
        pytest.param('"chunk"', '"chunks"', id="an unknown type"),
        pytest.param('"hm"', '""', id="an empty piece"),
        pytest.param("data: ", "data:", id="no space after the colon"),
        pytest.param("data: ", "event: message\ndata: ", id="a second line"),
        pytest.param(THOUGHT, THOUGHT.replace(",", ",\ndata: ", 1), id="data on two lines"),
        pytest.param("\n\n", "\r\n\r\n", id="CRLF"),
        pytest.param("\n\n", "\n\n\n", id="a line too many"),
        pytest.param(THOUGHT, f": pong\n\n{THOUGHT}", id="another comment"),
        pytest.param(THOUGHT, f"id: 7\n\n{THOUGHT}", id="an id"),
        pytest.param('"model":"a:m","type":"chunk"', '"type":"chunk","model":"a:m"', id="order"),
        pytest.param('"content":"hm"', '"content":"hm","content":"hm"', id="a key twice"),
        pytest.param('"models_successful":1,', "", id="metadata without one of its keys"),
    ],
)
def test_the_grammar_refuses_a_wrong_stream(old: str, new: str) -> None:
    assert old in RIGHT
    with pytest.raises(AssertionError):
        check_stream(RIGHT.replace(old, new).encode(), ["a:m", "b:terse"])


def test_the_grammar_refuses_a_stream_that_was_cut() -> None:
    for length in range(0, len(RIGHT.encode()), 7):
        with pytest.raises((AssertionError, ValueError)):
            check_stream(RIGHT.encode()[:length], ["a:m", "b:terse"])


def test_the_grammar_refuses_starts_in_another_order() -> None:
    with pytest.raises(AssertionError, match="starts"):
        check_stream(RIGHT.encode(), ["b:terse", "a:m"])
