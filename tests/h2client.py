"""An HTTP/2 client that speaks frame by frame: the ready-made ones send no RST_STREAM, no GOAWAY.

One task does it all: whoever waits for something on one stream receives for every stream.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import trio

__all__ = ["H2Client", "H2Stream", "open_h2"]


@dataclass(slots=True)
class H2Stream:
    """One request and what has come of it."""

    id: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    """Whether END_STREAM came."""
    reset: int | None = None
    """The code of the server's RST_STREAM."""


class H2Client:
    """A connection over a stream that is its owner's to close."""

    def __init__(self, transport: trio.abc.Stream, *, scheme: str, authority: str) -> None:
        self._transport = transport
        self._common = {":scheme": scheme, ":authority": authority}
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._streams: dict[int, H2Stream] = {}

    async def begin(self) -> None:
        """Send the preface and our settings."""
        self._http.initiate_connection()
        await self._flush()

    async def get(self, path: str) -> H2Stream:
        """Send a request without a body."""
        return await self._request({":method": "GET", ":path": path}, None)

    async def delete(self, path: str) -> H2Stream:
        """Ask for something to be stopped."""
        return await self._request({":method": "DELETE", ":path": path}, None)

    async def post(self, path: str, question: object) -> H2Stream:
        """Send a request with a JSON body, head and body in frames of their own."""
        head = {":method": "POST", ":path": path, "content-type": "application/json"}
        return await self._request(head, json.dumps(question).encode())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Receive, for every stream, until the condition holds."""
        while not condition():
            await self._receive()

    async def _receive(self) -> None:
        """Receive once."""
        data = await self._transport.receive_some()
        assert data, "the server closed the connection"
        for event in self._http.receive_data(bytes(data)):
            self._take(event)
        await self._flush()

    async def finish(self, *streams: H2Stream) -> None:
        """Receive until these have ended."""
        await self.until(lambda: all(stream.ended for stream in streams))

    async def reset(self, stream: H2Stream) -> None:
        """Give one request up (RST_STREAM, CANCEL); the others go on."""
        self._http.reset_stream(stream.id, h2.errors.ErrorCodes.CANCEL)
        await self._flush()

    async def go_away(self) -> None:
        """Say that the connection is over (GOAWAY), without closing it."""
        self._http.close_connection()
        await self._flush()

    async def _request(self, head: dict[str, str], body: bytes | None) -> H2Stream:
        stream = H2Stream(self._http.get_next_available_stream_id())
        self._streams[stream.id] = stream
        headers = list((head | self._common).items())
        headers.sort(key=lambda header: not header[0].startswith(":"))
        self._http.send_headers(stream.id, headers, end_stream=body is None)
        await self._flush()
        if body is not None:
            while body:
                room = self._http.local_flow_control_window(stream.id)
                size = min(len(body), room, self._http.max_outbound_frame_size)
                if not size:
                    await self._receive()  # until the server has taken what is on its way
                    continue
                self._http.send_data(stream.id, body[:size], end_stream=size == len(body))
                body = body[size:]
                await self._flush()
        return stream

    def _take(self, event: Any) -> None:
        stream = self._streams.get(getattr(event, "stream_id", 0) or 0)
        match event:
            case h2.events.ResponseReceived() if stream:
                headers = event.headers or []
                stream.headers.update((name.decode(), value.decode()) for name, value in headers)
            case h2.events.DataReceived() if stream:
                stream.body += event.data or b""
                self._http.acknowledge_received_data(event.flow_controlled_length or 0, stream.id)
            case h2.events.StreamEnded() if stream:
                stream.ended = True
            case h2.events.StreamReset() if stream:
                stream.reset = event.error_code

    async def _flush(self) -> None:
        await self._transport.send_all(self._http.data_to_send())


@asynccontextmanager
async def open_h2(transport: trio.abc.Stream, url: str) -> AsyncIterator[H2Client]:
    """Speak HTTP/2 over a stream, and close the stream in the end."""
    parts = urlsplit(url)
    async with transport:
        client = H2Client(transport, scheme=parts.scheme, authority=parts.netloc)
        await client.begin()
        yield client
