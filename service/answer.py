"""A comparison as an HTTP body: enter, iterate, heartbeat, leave.

Quart enters the body in the request's own task after the route has returned, inside a nursery
that the client's leaving cancels. So the comparison's nursery is opened in `__aenter__` and closed
in `__aexit__`, and no generator stands between: a scope held across a `yield` would be cut without
a word. The status has gone out by then; whatever may refuse belongs into the route.
"""

from __future__ import annotations

import math
from types import TracebackType

import structlog
import trio
from quart.wrappers.response import ResponseBody

from service.comparison import Comparison
from service.events import SILENCE, Chunk, Chunks, Part
from service.eventstream import PING, encode, encode_alike
from service.fanin import Batch, Inbox

__all__ = ["Answer"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

FULL_WRITE = 8 * 1024
"""Bytes after which batches that are ready are left for the next write: large beside a chunk (100
to 200 bytes). With the last batch it is the 16 KiB of a TLS record or a frame of HTTP/2 at most."""
SLOW_WRITE_SECONDS = 0.05
"""A client that takes longer than a beat for one write does not keep up with its models."""


class Answer(ResponseBody):
    """The body of `/compare-stream`: the events of one comparison as Server-Sent Events."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._meter = comparison.meter
        self._opened = comparison.open()
        self._inbox: Inbox
        self._heads: dict[str, bytes] = {}
        self._written_since = math.inf
        """When the last write was handed on; the next is asked for when the client has taken it."""

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
        inbox = self._inbox
        inbox.note(keeps_up=trio.current_time() - self._written_since < SLOW_WRITE_SECONDS)
        try:
            batch = await inbox.batch()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        self._written_since = trio.current_time()
        written = self._with_what_is_ready(batch)
        self._meter.stream_bytes += len(written)
        return written

    def _with_what_is_ready(self, batch: Batch) -> bytes:
        """This batch, and those that wait already, as one write."""
        written = self._written(batch)
        if len(written) >= FULL_WRITE or not self._inbox.in_turns:
            return written
        parts = [written]
        size = len(written)
        while size < FULL_WRITE:
            try:
                parts.append(self._written(self._inbox.batch_nowait()))
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            size += len(parts[-1])
        return b"".join(parts)

    def _written(self, batch: Batch) -> bytes:
        if len(batch) == 1:
            return self._block(batch[0])
        return b"".join(map(self._block, batch))

    def _block(self, part: Part) -> bytes:
        if isinstance(part, Chunks):
            head = self._heads.get(part.model) or self._head_of(part.model)
            self._meter.added.observe(self._written_since - part.came_at, len(part.contents))
            return encode_alike(head, part.contents)
        if part is SILENCE:
            self._meter.heartbeats += 1
            return PING
        return encode(part)

    def _head_of(self, model: str) -> bytes:
        """What a block with a piece of this model's text begins with."""
        block = encode(Chunk(model=model, content=""))
        head = self._heads[model] = block[: block.rindex(b'""')]
        return head
