"""How much a comparison holds of its models' events, and who may read how much more."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import trio

from service.events import Chunk, Chunks, ErrorChunk, Part, Reasoning

__all__ = ["EVENT_BYTES", "HELD_BYTES", "READ_BYTES", "Held", "size_of"]

HELD_BYTES = 32 * 1024
"""What one comparison holds of its models' events. With the write that is in the reader's hand and
what HTTP/2 buffers it stays below 64 KiB for a client that does not read."""
READ_BYTES = 16 * 1024
"""Most that is taken from a provider at once; a larger read costs no less per byte."""
EVENT_BYTES = 64
"""What an event has around its text: its framing, its type, a model's name of usual length."""


@dataclass(slots=True)
class Held:
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


def size_of(part: Part) -> int:
    """What it counts for, in bytes."""
    if isinstance(part, Chunks):
        return sum(map(len, part.contents)) + EVENT_BYTES * len(part.contents)
    content = part.content if isinstance(part, (Chunk, ErrorChunk, Reasoning)) else ""
    return len(content) + EVENT_BYTES
