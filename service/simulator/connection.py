"""One HTTP/1.1 connection as a server sees it: h11 knows what is said, Trio carries it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import h11
import trio

__all__ = ["MAX_BODY_BYTES", "Connection", "Request"]

MAX_BODY_BYTES = 32 * 1024 * 1024
"""More than our own service takes from a client, 1 MiB unless configured; little for a process."""
_READ_BYTES = 64 * 1024
_MAX_EARLY_BYTES = 64 * 1024

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived; the body is None when it was larger than we keep."""

    method: str
    path: str
    body: bytes | None


class Connection:
    """Requests in, responses out, one after the other.

    Any call raises `trio.BrokenResourceError` when the client has gone without a word. The
    stream stays its owner's to close.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)
        self._method = ""
        self._chunked = False

    async def next_request(self) -> Request | None:
        """The next request with its whole body; None when there will be no other.

        Raises `h11.RemoteProtocolError` for what is no HTTP.
        """
        if self._http.our_state is h11.DONE:
            if self._http.their_state is not h11.DONE:
                return None
            self._http.start_next_cycle()
        elif self._http.our_state is not h11.IDLE:
            return None
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        self._method = head.method.decode("ascii")
        self._chunked = head.http_version >= b"1.1"
        path, _, _ = head.target.decode("ascii").partition("?")
        return Request(self._method, path, await self._read_body())

    async def _read_body(self) -> bytes | None:
        # One that is too large is read to its end all the same, and dropped: a client hears of a
        # refusal only when it has finished speaking.
        body = bytearray()
        too_large = False
        while isinstance(event := await self._next_event(), h11.Data):
            too_large = too_large or len(body) + len(event.data) > MAX_BODY_BYTES
            if too_large:
                body.clear()
            else:
                body += event.data
        return None if too_large else bytes(body)

    async def _next_event(self) -> h11.Event:
        while not isinstance(event := self._http.next_event(), h11.Event):  # it needs data
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(bytes(await self._stream.receive_some(_READ_BYTES)))
        return event

    @asynccontextmanager
    async def while_client_stays(self) -> AsyncIterator[None]:
        """Cancel the block as soon as the client closes the connection, or its half of it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                self._watch, nursery.cancel_scope, name="watch for the client's leaving"
            )
            yield
            nursery.cancel_scope.cancel("the client stayed to the end")

    async def _watch(self, answering: trio.CancelScope) -> None:
        # A request that is sent before its turn waits in h11; a flood of them is no client.
        try:
            while len(self._http.trailing_data[0]) <= _MAX_EARLY_BYTES:
                early = bytes(await self._stream.receive_some(_READ_BYTES))
                self._http.receive_data(early)
                if not early:
                    break
        except trio.BrokenResourceError:
            pass
        answering.cancel("the client has left")

    async def respond(self, status: int, body: bytes, headers: Headers = ()) -> None:
        """Send a whole response with a JSON body."""
        head = _head(status, "application/json", ("Content-Length", str(len(body))), *headers)
        data = b"" if self._method == "HEAD" else body
        await self._send(head, h11.Data(data=data), h11.EndOfMessage())

    async def refuse(self, error: h11.RemoteProtocolError, body: bytes) -> None:
        """Answer what was no HTTP, if it is still time to; the connection is of no use then."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self.respond(error.error_status_hint, body)

    async def begin(self, content_type: str, *headers: tuple[str, str]) -> None:
        """Send the head of a response whose body comes in parts."""
        await self._send(_head(200, content_type, ("Cache-Control", "no-cache"), *headers))

    async def send(self, data: bytes) -> None:
        """Send a part of the body, not an empty one; blocks while the client does not read."""
        # As h11 would frame it, at a twentieth of the cost: this is done once a token. A client of
        # HTTP/1.0 knows no chunks; its response ends with the connection.
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        await self._stream.send_all(data)

    async def end(self) -> None:
        """End the body."""
        await self._send(h11.EndOfMessage())

    async def _send(self, *events: h11.Event) -> None:
        await self._stream.send_all(b"".join(self._http.send(event) or b"" for event in events))


def _head(status: int, content_type: str, *headers: tuple[str, str]) -> h11.Response:
    return h11.Response(
        status_code=status,
        reason=HTTPStatus(status).phrase,
        headers=[("Content-Type", content_type), *headers],
    )
