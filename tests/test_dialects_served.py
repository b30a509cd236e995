"""Anthropic, Gemini and Ollama through the served service, over real sockets at both ends.

V names the rows of docs/corner-cases.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import pytest
import trio

from service.application import create_app
from service.events import Usage
from service.providers import Ending
from service.settings import ProviderSettings, Settings
from service.testing import Close, Pause, Reset, Wire, open_server, open_wire
from service.testing.wire import Step
from tests.calling import KEY, LAST, chunked, response
from tests.grammar import check_stream
from tests.recordings import Recording
from tests.recordings_of_others import ANTHROPIC, GEMINI, OLLAMA

PATIENCE = 10
PICTURE = "data:image/png;base64,aGVsbG8="


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A dialect, and how a provider answers that speaks it."""

    dialect: Literal["anthropic", "gemini", "ollama"]
    media_type: str
    target: str
    """What is asked for below the wire's base URL, which ends with /v1."""
    key: str
    """The header that holds the key."""
    recordings: tuple[Recording, ...]

    @property
    def head(self) -> bytes:
        return (
            f"HTTP/1.1 200 OK\r\nContent-Type: {self.media_type}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        ).encode()

    def answer(self, recording: Recording) -> bytes:
        """A whole response, each block in a chunk of its own."""
        return self.head + chunked(*(block.raw for block in recording.blocks)) + LAST


SPOKEN = [
    Spoken(
        dialect="anthropic",
        media_type="text/event-stream; charset=utf-8",
        target="/v1/messages",
        key="x-api-key",
        recordings=ANTHROPIC,
    ),
    Spoken(
        dialect="gemini",
        media_type="text/event-stream",
        target="/v1/models/some%2Fmodel:streamGenerateContent?alt=sse",
        key="x-goog-api-key",
        recordings=GEMINI,
    ),
    Spoken(
        dialect="ollama",
        media_type="application/x-ndjson",
        target="/v1/api/chat",
        key="authorization",
        recordings=OLLAMA,
    ),
]
each_dialect = pytest.mark.parametrize("spoken", SPOKEN, ids=lambda spoken: spoken.dialect)


async def asked(
    spoken: Spoken, wire: Wire, *, times: int = 1, **fields: Any
) -> list[list[dict[str, Any]]]:
    """The events of each of some comparisons of one model, one after another."""
    provider = ProviderSettings(
        dialect=spoken.dialect, base_url=wire.base_url, api_key_env="UNREAD"
    )
    providers = {"acme": provider, "sim": ProviderSettings(dialect="simulated", speed=1000)}
    settings = Settings(providers=providers, default_provider="acme", keys={"acme": KEY})
    question = {"input_data": "Why?", "models": ["acme:some/model"], **fields}
    told = []
    async with open_server(create_app(settings)) as url, httpx.AsyncClient() as client:
        for _ in range(times):
            with trio.fail_after(PATIENCE):
                response = await client.post(f"{url}/compare-stream", json=question)
            check_stream(response.content, question["models"])
            blocks = response.text.split("\n\n")
            told.append([json.loads(b[6:]) for b in blocks if b.startswith("data: ")])
    return told


async def answered(spoken: Spoken, *steps: Step, **fields: Any) -> list[dict[str, Any]]:
    """The events of one comparison whose provider sends these bytes."""
    async with open_wire(*steps) as wire:
        return (await asked(spoken, wire, **fields))[0]


def said(events: Sequence[dict[str, Any]], kind: str) -> str:
    return "".join(e["content"] for e in events if e["type"] == kind and not e.get("error"))


def the_end(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    (done,) = [event for event in events if event["type"] == "done"]
    return done


RECORDED = [
    pytest.param(spoken, recording, id=recording.server)
    for spoken in SPOKEN
    for recording in spoken.recordings
]


@pytest.mark.parametrize(("spoken", "recording"), RECORDED)
async def test_an_answer_arrives_as_it_was_recorded(spoken: Spoken, recording: Recording) -> None:
    events = await answered(spoken, spoken.answer(recording))
    done = the_end(events)
    assert said(events, "chunk") == "".join(block.said for block in recording.blocks)
    assert said(events, "reasoning") == "".join(block.thought for block in recording.blocks)
    if isinstance(recording.comes_to, Ending):
        assert (done["error"], done["code"]) == (False, None)
        assert done["finish_reason"] == recording.comes_to.finish_reason
        assert Usage(**done["usage"]) == recording.comes_to.usage
    else:
        assert (done["error"], done["code"]) == (True, recording.comes_to)


@each_dialect
async def test_the_provider_is_sent_what_start_says_and_the_picture_and_the_key(
    spoken: Spoken,
) -> None:
    async with open_wire(spoken.answer(spoken.recordings[0])) as wire:
        ((start, *_),) = await asked(spoken, wire, images=[PICTURE], temperature=0.5, top_p=0.25)
    ((head, body),) = wire.requests
    sent = json.loads(body)
    headers = {name.decode().lower(): value.decode() for name, value in head.headers}
    assert (head.method, head.target) == (b"POST", spoken.target.encode())
    assert headers[spoken.key].removeprefix("Bearer ") == KEY
    assert KEY.encode() not in head.target + body
    assert start["parameters"]
    assert {name: sent[name] for name in start["parameters"]} == start["parameters"]
    assert "0.5" in str(start["parameters"])
    assert "0.25" in str(start["parameters"])
    assert b'"aGVsbG8="' in body


@each_dialect
async def test_V01_the_connection_of_a_whole_answer_serves_the_next_one(spoken: Spoken) -> None:
    async with open_wire(spoken.answer(spoken.recordings[0])) as wire:
        first, second = await asked(spoken, wire, times=2)
    assert said(first, "chunk") == said(second, "chunk") != ""
    assert wire.opened == 1


@each_dialect
async def test_V08_V25_a_connection_that_breaks_is_no_end(spoken: Spoken) -> None:
    """Gemini's reason is none without an orderly end; the others lack their marker."""
    blocks = spoken.recordings[0].blocks
    if spoken.dialect != "gemini":
        blocks = blocks[:-1]
    sent = spoken.head + chunked(*(block.raw for block in blocks))
    for ending in ((Close(),), (Pause(0.05), Reset())):
        events = await answered(spoken, sent, *ending)
        assert said(events, "chunk") == "".join(block.said for block in blocks)
        assert the_end(events)["code"] == "upstream_disconnected"


@each_dialect
async def test_V06_V23_V54_an_orderly_end_before_the_answers_is_truncated(spoken: Spoken) -> None:
    *blocks, _ = spoken.recordings[0].blocks
    events = await answered(spoken, spoken.head + chunked(*(b.raw for b in blocks)) + LAST)
    assert said(events, "chunk") == "".join(block.said for block in blocks)
    assert the_end(events)["code"] == "truncated"


@each_dialect
async def test_V04_a_marker_ends_the_answer_though_the_connection_stays_open(
    spoken: Spoken,
) -> None:
    recording = spoken.recordings[0]
    sent = spoken.head + chunked(*(block.raw for block in recording.blocks))
    if spoken.dialect == "gemini":  # which has none: it is the end of the body that ends it
        sent += LAST
    events = await answered(spoken, sent)
    assert the_end(events)["error"] is False


async def test_V55_an_error_beside_the_marker_is_no_success() -> None:
    line = b'{"message":{"content":"a"},"done":true,"done_reason":"stop","error":"it broke"}\n'
    events = await answered(SPOKEN[2], SPOKEN[2].head + chunked(line) + LAST)
    assert (said(events, "chunk"), the_end(events)["code"]) == ("a", "provider_error")


@each_dialect
async def test_V30_V32_another_kind_of_content_is_no_answer(spoken: Spoken) -> None:

    events = await answered(spoken, response(b"<html>hello</html>", media_type="text/html"))
    assert the_end(events)["code"] == "not_event_stream"


async def test_a_temperature_that_anthropic_does_not_take_fails_alone_and_asks_nobody() -> None:
    spoken = SPOKEN[0]
    models = ["acme:some/model", "sim:swift"]
    async with open_wire(spoken.answer(spoken.recordings[0])) as wire:
        (events,) = await asked(spoken, wire, temperature=1.5, models=models)
    failed, answered = sorted(
        (event for event in events if event["type"] == "done"), key=lambda done: done["model"]
    )
    assert (failed["code"], answered["code"]) == ("bad_request", None)
    (words,) = [event["content"] for event in events if event.get("error") and "content" in event]
    assert words == "Error: This provider takes a temperature of 0 to 1, not 1.5."
    assert wire.requests == []
