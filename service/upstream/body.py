"""The body of one response as it comes, and the end of its connection's use for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import trio

from service.upstream.connection import Connection
from service.upstream.response import Response

__all__ = ["Body"]

HEAD_READ_BYTES = 4 * 1024
"""For a head, which the first piece of the body may follow."""


class Body(httpx.AsyncByteStream):
    """The body of one response, and the connection that it comes over.

    Iterating gives it piece by piece. The connection is given back once: when the body is whole,
    as one that may be used again if `Response.may_be_followed`; or as one that must be closed, when
    the body is closed or cancelled before that, or broken.
    """

    def __init__(
        self,
        connection: Connection,
        response: Response,
        give_back: Callable[[bool], None],
        room: Callable[[], int],
    ) -> None:
        self._connection: Connection | None = connection
        self._response = response
        self._give_back = give_back
        self._room = room
        self._first = b""
        self.more = False
        """Whether the last read was a full one: more is there already, or as good as."""
        self.came_at: float | None = None
        """When the last piece was read, by Trio's clock; None: not known."""

    @property
    def status(self) -> int:
        """The status of the response."""
        return self._response.status

    @property
    def is_whole(self) -> bool:
        """Whether nothing more will come of it from the connection."""
        return self._response.is_whole

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Its headers."""
        return self._response.headers

    async def read_head(self) -> None:
        """Read up to the end of the head."""
        connection = self._connection
        while not self._response.has_head and connection is not None:
            most = min(HEAD_READ_BYTES, self._room())
            data = await connection.receive(most)
            self.came_at = trio.current_time()
            self.more = len(data) == most
            if not data:
                self._response.end()
            self._first = self._response.feed(data)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of the body. Raises `httpx.ReadError`, `httpx.RemoteProtocolError`."""
        if self._first:
            data, self._first = self._first, b""
            return data
        response, connection = self._response, self._connection
        try:
            response.raise_fault()
            while not response.is_whole:
                if connection is None:
                    raise httpx.StreamClosed  # noqa: TRY301
                most = self._room()
                data = await connection.receive(most)
                self.came_at = trio.current_time()
                self.more = len(data) == most
                if not data:
                    response.end()
                elif body := response.feed(data):
                    return body
        except BaseException:
            self.close()
            raise
        self._let_go()
        raise StopAsyncIteration

    def read_nowait(self) -> bytes | None:
        """The next piece if it is there; None if it is not; b"" if it takes waiting to know.

        Raises as iterating does; the connection is closed by whoever closes the body.
        """
        if self._connection is None or self._first or self._response.is_whole:
            return b""
        most = self._room()
        data = self._connection.receive_nowait(most)
        self.came_at = None
        self.more = data is not None and len(data) == most
        return self._response.feed(data) or None if data else data

    async def aclose(self) -> None:
        """Let the connection go: back, if the body was read to its end, or closed."""
        self.close()

    def close(self) -> None:
        """The same."""
        if self._response.is_whole and not self._first:
            self._let_go()
        elif self._connection is not None:
            self._response.drop()
            self._connection = None
            self._give_back(False)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection = None
            self._give_back(self._response.may_be_followed)
