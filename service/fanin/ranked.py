"""The reader's end where some models go before others."""

from __future__ import annotations

from operator import itemgetter
from typing import Literal, TypeAlias

import trio

from service.events import Chunks, Reasoning
from service.fanin.inbox import Inbox
from service.fanin.outbox import Batch, Outbox
from service.fanin.room import Held

__all__ = ["Priority", "RankedInbox"]

Priority: TypeAlias = Literal["fair", "fastest", "asked"]
"""Whose batch is taken first when several wait."""


class RankedInbox(Inbox):
    """An `Inbox` for a reader that wants some models before others.

    What waits is taken out of the channel and looked at, but its place is not free before the
    reader has it: so no more is held than in turns, and who goes last is last for as long as
    somebody before it has something to say. Nor does anybody wait for a turn to read, which would
    come when the last has been heard.
    """

    in_turns = False

    def __init__(
        self,
        channel: trio.MemoryReceiveChannel[tuple[Outbox, Batch]],
        held: Held,
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
        outbox.was_taken()
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
