"""The reader's end of the channel: first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

import trio

from service.events import Event, as_written
from service.fanin.outbox import Batch, Outbox
from service.fanin.room import Held

__all__ = ["Inbox"]


class Inbox:
    """The reader's end: batch by batch, or event by event as the wire has them."""

    in_turns = True
    """Whether several batches may go into one write: nobody has anything to say before others."""

    def __init__(
        self, channel: trio.MemoryReceiveChannel[tuple[Outbox, Batch]], held: Held
    ) -> None:
        self._channel = channel
        self._held = held
        self.waits_since: float | None = None
        """Since when the reader waits for a batch, by Trio's clock; None: it does not."""
        self._rest: deque[Event] = deque()

    async def batch(self) -> Batch:
        """The next batch. Raises `trio.EndOfChannel` behind the last; cancelled, it loses none."""
        try:
            return self.batch_nowait()
        except trio.WouldBlock:
            outbox, batch = await self._receive()
        outbox.was_taken()
        return batch

    def batch_nowait(self) -> Batch:
        """The next batch if it is there. Raises `trio.WouldBlock`, `trio.EndOfChannel`."""
        outbox, batch = self._channel.receive_nowait()
        outbox.was_taken()
        return batch

    def note(self, *, keeps_up: bool) -> None:
        """Whether the reader takes batches about as fast as they come; it does unless it says."""
        self._held.keeps_up = keeps_up

    async def receive(self) -> Event:
        """The next event. Raises `trio.EndOfChannel` behind the last."""
        while not self._rest:
            self._keep(await self.batch())
        return self._rest.popleft()

    def receive_nowait(self) -> Event:
        """The next event if it is there. Raises `trio.WouldBlock`, `trio.EndOfChannel`."""
        while not self._rest:
            self._keep(self.batch_nowait())
        return self._rest.popleft()

    async def _receive(self) -> tuple[Outbox, Batch]:
        self.waits_since = trio.current_time()
        try:
            return await self._channel.receive()
        finally:
            self.waits_since = None

    @property
    def peak(self) -> int:
        """The most batches that waited at once."""
        return int(self._channel.statistics().peak_buffer_used)

    def _keep(self, batch: Batch) -> None:
        for part in batch:
            self._rest.extend(as_written(part))

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
