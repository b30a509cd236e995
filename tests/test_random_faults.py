"""Many comparisons whose providers fail at random: every ending is what the provider did.

A seed decides what each provider does with each of its requests, in which dialect; what its model's
ending must be follows from that alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import httpx
import pytest
import trio

from service.application import create_app
from service.providers import Ending
from service.settings import Deadlines, ProviderSettings, Retries, Settings
from service.testing import Close, Pause, Reset, open_server, open_wire
from service.testing.wire import Step
from tests.calling import KEY, LAST, chunked, response
from tests.grammar import check_stream
from tests.recordings import RECORDINGS, Block, Recording
from tests.recordings_of_others import ANTHROPIC, GEMINI, OLLAMA

Dialect: TypeAlias = Literal["openai", "anthropic", "gemini", "ollama"]

PATIENCE = 60
ROUNDS = 12
SILENCE = 0.4
"""Seconds of silence that end an answer here."""
STREAMS: dict[Dialect, tuple[str, tuple[Recording, ...]]] = {
    "openai": ("text/event-stream", RECORDINGS),
    "anthropic": ("text/event-stream", ANTHROPIC),
    "gemini": ("text/event-stream", GEMINI),
    "ollama": ("application/x-ndjson", OLLAMA),
}
STATUSES = {
    "400 Bad Request": "bad_request",
    "401 Unauthorized": "unauthorized",
    "402 Payment Required": "payment_required",
    "404 Not Found": "model_not_found",
    "429 Too Many Requests": "rate_limited",
    "500 Internal Server Error": "provider_error",
    "503 Service Unavailable": "overloaded",
}


@dataclass(frozen=True)
class Deed:
    """What a provider does with one request, and what its model's ending must then be."""

    what: str
    steps: tuple[Step, ...]
    text: str
    code: str | None
    keeps: bool = False
    """Whether the connection may be used again."""


def deed(chance: random.Random, dialect: Dialect) -> Deed:
    """One of the ways in which an answer goes."""
    media_type, recordings = STREAMS[dialect]
    recording = chance.choice(recordings)
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    begun = _beginning(chance, recordings)
    sent = head + chunked(*(block.raw for block in begun))
    said = "".join(block.said for block in begun)
    words = any(block.said or block.thought for block in begun)
    match chance.choice(["whole", "whole", "ends", "breaks", "resets", "stalls", "status", "page"]):
        case "whole":
            blocks = recording.blocks
            comes_to = recording.comes_to
            text = "".join(block.said for block in blocks)
            whole = head + chunked(*(block.raw for block in blocks)) + LAST
            code = None if isinstance(comes_to, Ending) else comes_to
            return Deed(f"whole: {recording.server}", (whole,), text, code, keeps=True)
        case "ends":
            return Deed("ends", (sent + LAST,), said, "truncated", keeps=True)
        case "breaks":
            return Deed("breaks", (sent, Pause(0.01), Close()), said, "upstream_disconnected")
        case "resets":
            # A reset throws away what has not been read yet.
            return Deed("resets", (sent, Pause(0.1), Reset()), said, "upstream_disconnected")
        case "stalls":
            code = "idle_timeout" if words else "first_token_timeout"
            return Deed("stalls", (sent,), said, code)
        case "status":
            status, failure = chance.choice(list(STATUSES.items()))
            return Deed(status, (response(b"{}", status=status),), "", failure, keeps=True)
        case _:
            page = response(b"<h1>Log in</h1>", media_type="text/html")
            return Deed("page", (page,), "", "not_event_stream")


def _beginning(chance: random.Random, recordings: Sequence[Recording]) -> tuple[Block, ...]:
    """Some first blocks of a stream; its answer is not whole with them, nor has it failed."""
    beginnings = []
    for recording in recordings:
        if isinstance(recording.comes_to, Ending):
            finishing = [block.finishing for block in recording.blocks].index(True)
            beginnings += [recording.blocks[: n + 1] for n in range(finishing)]
    return chance.choice(beginnings)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_ending_is_what_the_provider_did(seed: int) -> None:
    chance = random.Random(seed)
    dialects = [chance.choice(list(STREAMS)) for _ in range(9)]
    deeds = [[deed(chance, dialect) for _ in range(ROUNDS)] for dialect in dialects]
    models = [f"p{n}:m" for n in range(9)]
    wrong: list[tuple[int, str, object, str, str | None]] = []
    async with AsyncExitStack() as stack:
        wires = [
            await stack.enter_async_context(open_wire(answers=[done.steps for done in each]))
            for each in deeds
        ]
        settings = Settings(
            deadlines=Deadlines(first_token=SILENCE, idle=SILENCE),
            retries=Retries(attempts=1),
            providers={
                f"p{n}": ProviderSettings(
                    dialect=dialect, base_url=wire.base_url, api_key_env="UNREAD"
                )
                for n, (dialect, wire) in enumerate(zip(dialects, wires, strict=True))
            },
            keys={f"p{n}": KEY for n in range(9)},
            default_provider="p0",
        )
        url = await stack.enter_async_context(open_server(create_app(settings)))
        client = await stack.enter_async_context(httpx.AsyncClient())
        for turn in range(ROUNDS):
            with trio.fail_after(PATIENCE):
                answer = await client.post(
                    f"{url}/compare-stream", json={"input_data": "Why?", "models": models}
                )
            texts = check_stream(answer.content, models)
            codes = {event["model"]: event["code"] for event in events(answer.text, "done")}
            for model, each in zip(models, deeds, strict=True):
                done = each[turn]
                got = (texts[model], codes[model])
                if got != (done.text, done.code):
                    wrong.append((turn, done.what, got, done.text, done.code))
            if KEY in answer.text:
                wrong.append((turn, "the key", ("", ""), "", ""))
        for wire, each in zip(wires, deeds, strict=True):
            if not each[-1].keeps:  # else it is kept for the next question
                with trio.fail_after(PATIENCE):
                    await wire.all_closed()
    assert wrong == []


def events(body: str, kind: str) -> list[dict[str, Any]]:
    blocks = (block for block in body.split("\n\n") if block.startswith("data: "))
    return [event for event in map(json.loads, (b[6:] for b in blocks)) if event["type"] == kind]
