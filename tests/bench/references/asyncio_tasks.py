"""asyncio as one would write it today, with the fastest parts there are.

uvloop, uvicorn with httptools, aiohttp, msgspec; no framework. One task per model, one queue, and
each chunk written as soon as it is there.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import aiohttp
import msgspec

from tests.bench.references.serving import (
    RESPONSE_START,
    Receive,
    Scope,
    Send,
    body_of,
    complete,
    event,
    provider_address,
    question_to,
    serve,
)

WAITING_CHUNKS = 100
"""Of one comparison; with more its models wait for the client."""


class Delta(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    delta: Delta
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    """The fields of a provider's event that count; msgspec skips the others."""

    choices: list[Choice]


class Chunk(msgspec.Struct):
    model: str
    content: str
    type: Literal["chunk"] = "chunk"


_decode = msgspec.json.Decoder(Completion).decode
_encode = msgspec.json.Encoder().encode


class App:
    """The ASGI application."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession
        host, port = provider_address()
        self._url = f"http://{host}:{port}/v1/chat/completions"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        question = await body_of(receive)
        comparing = asyncio.create_task(
            self._compare(question["models"], question["input_data"], send)
        )
        leaving = asyncio.ensure_future(receive())
        await asyncio.wait((comparing, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not comparing.done():
            comparing.cancel()
        await asyncio.gather(comparing, leaving, return_exceptions=True)
        if not comparing.cancelled():
            comparing.result()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as self._session:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _compare(self, models: list[str], text: str, send: Send) -> None:
        queue = asyncio.Queue[bytes](WAITING_CHUNKS)
        await send(RESPONSE_START)
        starts = b"".join([event(model=model, type="start") for model in models])
        await send({"type": "http.response.body", "body": starts, "more_body": True})
        async with asyncio.TaskGroup() as group:
            for model in models:
                group.create_task(self._ask(model, text, queue))
            running = len(models)
            while running:
                data = await queue.get()
                if not data:
                    running -= 1
                else:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": complete(models, text)})

    async def _ask(self, model: str, text: str, queue: asyncio.Queue[bytes]) -> None:
        """Put a model's events into the queue, and nothing once all of them are in it."""
        rest = b""
        async with self._session.post(self._url, json=question_to(model, text)) as response:
            response.raise_for_status()
            async for data in response.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                for one in events:
                    if one == b"data: [DONE]":
                        continue
                    for choice in _decode(one[6:]).choices:
                        if choice.delta.content:
                            chunk = Chunk(model, choice.delta.content)
                            await queue.put(b"data: %s\n\n" % _encode(chunk))
        await queue.put(event(model=model, type="done", error=False))
        await queue.put(b"")


if __name__ == "__main__":
    serve(App(), loop="uvloop")
