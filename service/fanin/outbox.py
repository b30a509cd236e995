"""One model's end of the channel."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TypeAlias

import trio

from service.events import Chunks, Part, Queued
from service.fanin.room import EVENT_BYTES, Held, size_of

__all__ = ["Batch", "Outbox"]

Batch: TypeAlias = Sequence[Part]
"""What one model says at once; it goes together."""


class Outbox:
    """One model's end of the channel, and its place in it; closed by leaving it."""

    def __init__(self, channel: trio.MemorySendChannel[tuple[Outbox, Batch]], held: Held) -> None:
        self._channel = channel
        self._held = held
        self.room = held.room
        """How many bytes of its provider's stream a model may take in its next read."""
        self.number = held.ends
        """In the order in which the ends were given away; the original is 0."""
        held.ends += 1
        self._size = 0
        self._open: list[Part] | None = None
        """What was told ahead and has not been taken: the next goes along with it."""
        self._taken: trio.Event | None = None
        self.is_free = True
        """Whether what was put last has been taken."""

    def clone(self) -> Outbox:
        """Another end with a place of its own."""
        return Outbox(self._channel.clone(), self._held)

    def put(self, *parts: Part) -> None:
        """Put a batch into the free place, or to what was told ahead; never waits.

        The reader learns of it at once.
        """
        self._put(parts, sum(map(size_of, parts)))

    def put_text(self, chunks: Chunks, characters: int) -> None:
        """The same for pieces of text, with so many characters in them."""
        self._put((chunks,), characters + EVENT_BYTES * len(chunks.contents))

    def tell_ahead(self, part: Part) -> None:
        """Put something that what comes next need not wait for, but joins while it is there.

        Of several places in line only the last is told.
        """
        if self.is_free:
            told = [part]
            self._put(told, size_of(part))
            self._open = told
        elif self._open and isinstance(part, Queued) and isinstance(self._open[-1], Queued):
            self._open[-1] = part
        else:
            self._join((part,), size_of(part))

    def _put(self, parts: Batch, size: int) -> None:
        if not self.is_free:
            self._join(parts, size)
            self._open = None
            return
        self._channel.send_nowait((self, parts))
        self.is_free = False
        self._size = size
        self._held.size += size

    def _join(self, parts: Batch, size: int) -> None:
        if self._open is None:
            raise RuntimeError("the last batch has not been taken")
        self._open += parts
        self._size += size
        self._held.size += size

    async def taken(self) -> None:
        """Wait until what was put last has been taken; returns at once if it has."""
        if not self.is_free:
            self._taken = trio.Event()
            await self._taken.wait()

    async def turn(self) -> None:
        """Wait until a large read has room, if that is soon; returns at once as a rule."""
        held = self._held
        if not held.is_tight:
            return
        enqueue = held.waiting.append
        try:
            while held.is_tight:
                turn = trio.Event()
                enqueue(turn)
                enqueue = held.waiting.appendleft  # it has waited for its turn already
                try:
                    await turn.wait()
                finally:
                    if not turn.is_set():
                        held.waiting.remove(turn)
        finally:
            held.let_one_in()

    async def send(self, *parts: Part) -> None:
        """Put a batch when the place is free, and wait until it has been taken."""
        await self.taken()
        self.put(*parts)
        await self.taken()

    def was_taken(self) -> None:
        """The reader has what was put last: the place is free."""
        self.is_free = True
        self._open = None
        self._held.take_out(self._size)
        if self._taken is not None:
            self._taken.set()
            self._taken = None

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._channel.close()
