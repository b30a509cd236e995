"""A comparison as an HTTP body: enter, iterate, heartbeat, leave.

Quart enters the body in the request's own task after the route has returned, inside a nursery
that the client's leaving cancels. So the comparison's nursery is opened in `__aenter__` and closed
in `__aexit__`, and no generator stands between: a scope held across a `yield` would be cut without
a word. The status has gone out by then; whatever may refuse belongs into the route.
"""

from __future__ import annotations

from types import TracebackType

import structlog
import trio
from quart.wrappers.response import ResponseBody

from service.comparison import Comparison
from service.events import Event
from service.eventstream import PING, encode

__all__ = ["Answer"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

FULL_WRITE = 16 * 1024
"""Bytes after which events that are ready are left for the next write: one TLS record or frame of
HTTP/2, large beside a chunk (100-200 bytes). With what HTTP/2 buffers, and one event of each model
that waits, a comparison holds less than 64 KiB for a client that does not read."""


class Answer(ResponseBody):
    """The body of `/compare-stream`: the events of one comparison as Server-Sent Events.

    `heartbeat` is how many seconds may pass without output before a comment is sent.
    """

    def __init__(self, comparison: Comparison, *, heartbeat: float) -> None:
        self._comparison = comparison
        self._heartbeat = heartbeat
        self._opened = comparison.open()
        self._inbox: trio.MemoryReceiveChannel[Event]

    async def __aenter__(self) -> Answer:
        self._inbox = await self._opened.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        # Leaving the comparison cancels what still runs, and waits for it under its own bounds.
        try:
            await self._opened.__aexit__(exc_type, exc, tb)  # noqa: ASYNC102
        except Exception:
            # A fault of ours, and no event can tell it any more: whoever runs the body cuts it
            # off where the client sees it, but keeps no log.
            log.exception("answer failed", comparison=self._comparison.id)
            raise

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        # Only the receive stands in the scope: it is atomic, so no event is lost to a heartbeat.
        with trio.move_on_after(self._heartbeat):
            try:
                event = await self._inbox.receive()
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
            return self._with_what_is_ready(event)
        return PING

    def _with_what_is_ready(self, event: Event) -> bytes:
        """This event, and those that wait already, as one write."""
        parts = [encode(event)]
        size = len(parts[0])
        while size < FULL_WRITE:
            try:
                parts.append(encode(self._inbox.receive_nowait()))
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            size += len(parts[-1])
        return b"".join(parts)
