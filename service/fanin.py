"""Many models' events in one channel: in order, fairly, and no more of them than is bounded.

A memory channel by itself lets whoever writes fastest fill it. Here each model has one place in it:
what it puts there must have been taken before it may put more. So the channel holds at most one
batch of each model, first come, first served, and that is taking turns: behind a model that floods
another waits for one batch of it, never for two.

    model a  ── Outbox.put ──┐
    model b  ── Outbox.put ──┼──►  memory channel, a place each  ──►  Inbox.batch  ──►  the reader
    model c  ── Outbox.put ──┘                                            │
       ▲                                                                  │
       └──────────────────── Outbox.taken  ◄──────────────────────────────┘

How much a model may take from its provider at once is bounded in bytes (`Outbox.room`): all of
them together have `HELD_BYTES`, of which half is shared out, and half goes to whoever comes first.
A reader that keeps up leaves most of it free in a moment, so models that find less wait for their
turn (`Outbox.turn`), and every read is a large one. Behind a reader that does not keep up nobody
waits for that; reads are small, and all models come forward alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from types import TracebackType
from typing import Literal, TypeAlias

import trio

from service.events import Chunk, Chunks, ErrorChunk, Event, Part, Queued, Reasoning, as_written

__all__ = ["Batch", "Inbox", "Outbox", "Priority", "open_fan_in"]

HELD_BYTES = 32 * 1024
"""What one comparison holds of its models' events. With the write that is in the reader's hand and
what HTTP/2 buffers it stays below 64 KiB for a client that does not read."""
READ_BYTES = 16 * 1024
"""Most that is taken from a provider at once; a larger read costs no less per byte."""
EVENT_BYTES = 64
"""What an event has around its text: its framing, its type, a model's name of usual length."""

Priority: TypeAlias = Literal["fair", "fastest", "asked"]
"""Whose batch is taken first when several wait."""
Batch: TypeAlias = Sequence[Part]
"""What one model says at once; it goes together."""


def open_fan_in(models: int, priority: Priority = "fair") -> tuple[Outbox, Inbox]:
    """A channel for so many models: one end to clone for each of them, and the reader's end.

    With the priority `asked` the ends that are cloned first go first; with `fastest` those that
    are written to first.
    """
    # One place for each model, and one for whoever says what is said about all of them.
    outbox, inbox = trio.open_memory_channel[tuple[Outbox, Batch]](models + 1)
    held = _Held(models)
    reader = Inbox(inbox, held) if priority == "fair" else RankedInbox(inbox, held, priority)
    return Outbox(outbox, held), reader


@dataclass(slots=True)
class _Held:
    """What is in all the places of one channel."""

    models: int
    size: int = 0
    ends: int = 0
    """That were given away."""
    keeps_up: bool = True
    """Whether the reader takes what is there about as fast as it comes."""
    waiting: deque[trio.Event] = field(default_factory=deque)
    """Models that wait for room for a large read, first come, first served."""
    share: int = field(init=False)
    most: int = field(init=False)
    """What is there for whoever comes first, the shares of the others left out."""

    def __post_init__(self) -> None:
        self.share = HELD_BYTES // 2 // self.models
        self.most = HELD_BYTES - (self.models - 1) * self.share

    def room(self) -> int:
        """What is free and nobody else is sure of; at least one share."""
        free = self.most - self.size
        if free >= READ_BYTES:
            return READ_BYTES
        return free if free > self.share else self.share

    @property
    def is_tight(self) -> bool:
        """Whether it pays to wait: there will soon be more room than there is."""
        return self.keeps_up and self.most - self.size < READ_BYTES

    def take_out(self, size: int) -> None:
        """So much has been taken: whoever waited for room may have it."""
        self.size -= size
        self.let_one_in()

    def let_one_in(self) -> None:
        """Wake the first who waits, if there is room; it wakes the next when it knows what is left.

        So that none is forgotten behind one who finds nothing to read.
        """
        if self.waiting and not self.is_tight:
            self.waiting.popleft().set()


class Outbox:
    """One model's end of the channel, and its place in it; closed by leaving it."""

    def __init__(self, channel: trio.MemorySendChannel[tuple[Outbox, Batch]], held: _Held) -> None:
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
        self._put(parts, sum(map(_size_of, parts)))

    def put_text(self, chunks: Chunks, characters: int) -> None:
        """The same for pieces of text, with so many characters in them."""
        self._put((chunks,), characters + EVENT_BYTES * len(chunks.contents))

    def tell_ahead(self, part: Part) -> None:
        """Put something that what comes next need not wait for, but joins while it is there.

        Of several places in line only the last is told.
        """
        if self.is_free:
            told = [part]
            self._put(told, _size_of(part))
            self._open = told
        elif self._open and isinstance(part, Queued) and isinstance(self._open[-1], Queued):
            self._open[-1] = part
        else:
            self._join((part,), _size_of(part))

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

    def _free(self) -> None:
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


class Inbox:
    """The reader's end: batch by batch, or event by event as the wire has them."""

    in_turns = True
    """Whether several batches may go into one write: nobody has anything to say before others."""

    def __init__(
        self, channel: trio.MemoryReceiveChannel[tuple[Outbox, Batch]], held: _Held
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
        outbox._free()
        return batch

    def batch_nowait(self) -> Batch:
        """The next batch if it is there. Raises `trio.WouldBlock`, `trio.EndOfChannel`."""
        outbox, batch = self._channel.receive_nowait()
        outbox._free()
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


class RankedInbox(Inbox):
    """The same for a reader that wants some models before others.

    What waits is taken out of the channel and looked at, but its place is not free before the
    reader has it: so no more is held than in turns, and who goes last is last for as long as
    somebody before it has something to say. Nor does anybody wait for a turn to read, which would
    come when the last has been heard.
    """

    in_turns = False

    def __init__(
        self,
        channel: trio.MemoryReceiveChannel[tuple[Outbox, Batch]],
        held: _Held,
        priority: Priority,
    ) -> None:
        super().__init__(channel, held)
        held.keeps_up = False
        self._by_number = priority == "asked"
        self._ranks: dict[Outbox, int] = {}
        self._spoken = 0
        """Models that have begun to write."""
        self._waiting: list[tuple[int, Outbox, Batch]] = []

    def note(self, *, keeps_up: bool) -> None:
        """It makes no difference here."""

    async def batch(self) -> Batch:
        """The next batch; see `Inbox.batch`."""
        # Two turns of the scheduler: whoever goes first, and has just been heard, can go on.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        try:
            return self.batch_nowait()
        except trio.WouldBlock:
            self._rank(*await self._receive())
        return self.batch_nowait()

    def batch_nowait(self) -> Batch:
        """The next batch if it is there; see `Inbox.batch_nowait`."""
        while True:
            try:
                self._rank(*self._channel.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                if not self._waiting:
                    raise
                break
        first = min(self._waiting, key=itemgetter(0))
        self._waiting.remove(first)
        _, outbox, batch = first
        outbox._free()
        return batch

    def _rank(self, outbox: Outbox, batch: Batch) -> None:
        """Whoever speaks for all of them is not one of them: its words come first, or alone.

        So does what is said of a model that has not spoken itself, such as its place in a line.
        """
        rank = self._ranks.get(outbox)
        if rank is None:
            if self._by_number or not outbox.number:
                rank = self._ranks[outbox] = outbox.number
            elif any(isinstance(part, (Chunks, Reasoning)) for part in batch):
                self._spoken += 1
                rank = self._ranks[outbox] = self._spoken
            else:
                rank = 0
        self._waiting.append((rank, outbox, batch))


def _size_of(part: Part) -> int:
    if isinstance(part, Chunks):
        return sum(map(len, part.contents)) + EVENT_BYTES * len(part.contents)
    content = part.content if isinstance(part, (Chunk, ErrorChunk, Reasoning)) else ""
    return len(content) + EVENT_BYTES
