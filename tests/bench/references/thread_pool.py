"""The design that the service came from: a blocking client in a thread for each model.

asyncio, its default executor, an `asyncio.Queue` between the threads and the response, and a
generator that polls the queue every 10 ms (docs/leaving-the-thread-pool.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx

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

POLL_SECONDS = 0.01


class App:
    """The ASGI application."""

    def __init__(self) -> None:
        host, port = provider_address()
        self._url = f"http://{host}:{port}/v1/chat/completions"
        # No time-out: the provider of the benchmark never stalls.
        self._client = httpx.Client(timeout=None, limits=httpx.Limits(), trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._client.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        question = await body_of(receive)
        await send(RESPONSE_START)
        async for data in self._events(question["models"], question["input_data"]):
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _events(  # noqa: ASYNC900  # as that design does it
        self, models: list[str], text: str
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        queue = asyncio.Queue[bytes | None]()
        for model in models:
            yield event(model=model, type="start")

        def put(data: bytes | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, data)

        for model in models:
            loop.run_in_executor(None, self._ask, model, text, put)
        running = len(models)
        while running:
            try:
                data = await asyncio.wait_for(queue.get(), POLL_SECONDS)
            except TimeoutError:
                continue
            if data is None:
                running -= 1
            else:
                yield data
        yield complete(models, text)

    def _ask(self, model: str, text: str, put: Callable[[bytes | None], None]) -> None:
        """In a thread: hand on a model's events, and None once all of them are."""
        with self._client.stream("POST", self._url, json=question_to(model, text)) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if not line.startswith("data: {"):
                    continue
                for choice in json.loads(line[6:])["choices"]:
                    if content := choice["delta"].get("content"):
                        put(event(model=model, type="chunk", content=content))
        put(event(model=model, type="done", error=False))
        put(None)


if __name__ == "__main__":
    serve(App(), loop="asyncio")
