"""Ask a running service over HTTP, and note when each event arrives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import trio

from service.errors import ProviderError
from service.eventstream import Decoder
from service.providers.loose_json import loads
from service.redaction import presentable
from service.upstream import Client, Reply, open_client
from service.verdict import Arrival

__all__ = ["ObservationError", "observe"]

ERROR_BODY_BYTES = 64 * 1024
CONNECT_SECONDS = 10.0
"""To reach the service; an address that nobody answers is given up after that."""


class ObservationError(Exception):
    """The service gave no stream; the message is one sentence."""


async def observe(
    url: str, *, models: Sequence[str], prompt: str, key: str | None = None
) -> list[Arrival]:
    """Send one question to the service at `url` and listen to the end of its stream.

    `key` is for a service that lets nobody in without one.

    A stream that is cut gives the events that came. Raises `ObservationError` when the service
    refuses or does not let us connect in time, and `ProviderError` when it can't be reached.
    """
    body = msgspec.json.encode({"input_data": prompt, "models": list(models)})
    async with open_client() as client:
        with trio.CancelScope(deadline=trio.current_time() + CONNECT_SECONDS) as connecting:

            def connected() -> None:
                connecting.deadline = math.inf

            address = f"{url.rstrip('/')}/compare-stream"
            return await _listen(client, address, body, key, connected)
    raise ObservationError(f"no connection within {CONNECT_SECONDS:g} s")


async def _listen(
    client: Client, url: str, body: bytes, key: str | None, on_connected: Callable[[], None]
) -> list[Arrival]:
    arrivals: list[Arrival] = []
    decoder = Decoder()
    asked_at = trio.current_time()
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    async with client.post(url, headers=headers, body=body, on_connected=on_connected) as reply:
        if reply.status != 200 or reply.media_type != "text/event-stream":
            raise await _refused(reply, key)
        try:
            async with reply.chunks() as chunks:
                async for chunk in chunks:
                    seconds = trio.current_time() - asked_at
                    for message in decoder.feed(chunk):
                        event = loads(message.data)
                        if isinstance(event, dict):
                            arrivals.append(Arrival(seconds, event))
        except ProviderError as error:
            if error.code != "upstream_disconnected":
                raise
    return arrivals


async def _refused(reply: Reply, key: str | None) -> ObservationError:
    answer = loads(await reply.read(ERROR_BODY_BYTES))
    detail = answer.get("detail") if isinstance(answer, dict) else None
    said = f": {presentable(detail, secret=key)}" if isinstance(detail, str) else ""
    return ObservationError(f"it answered with status {reply.status} instead of a stream{said}")
