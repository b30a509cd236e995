"""What HTTP/2 holds of a connection: frames that are not whole yet, and what streams have to send.

Both are bounded by a few frames here. By itself h2 collects the 16 MiB that a frame may announce,
and only then finds it too long; Hypercorn's streams grow without bound before a shut window.
"""

from __future__ import annotations

from typing import Any

import h2.exceptions
import trio
from h2.frame_buffer import FrameBuffer
from hypercorn.protocol.h2 import BufferCompleteError, StreamBuffer

__all__ = ["HIGH_WATER", "Buffer", "Frames"]

HIGH_WATER = 16 * 1024
"""Bytes pending on one stream with which whoever adds to them waits: one frame, so that the next is
there when it leaves."""
LOW_WATER = HIGH_WATER // 2


class Buffer(StreamBuffer):
    """What one stream has to send; whoever adds to it waits until the client took of it.

    Hypercorn's wakes the sender whenever little was taken, and so also when nothing was.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.moved_at = trio.current_time()
        """When bytes were taken last, or there were none to take."""

    async def push(self, data: bytes) -> None:
        """Add `data`, and wait while much is pending."""
        if self._complete:
            raise BufferCompleteError
        if not self.buffer:
            self.moved_at = trio.current_time()
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= HIGH_WATER:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        """Take up to `max_length` bytes."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if data:
            self.moved_at = trio.current_time()
        if len(self.buffer) < LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class Frames(FrameBuffer):
    """What has come of frames; one that is too long is refused by its head (RFC 9113, 4.2)."""

    def __next__(self) -> Any:
        length = int.from_bytes(self._data[:3], "big")
        if len(self._data) >= 3 and length > self.max_frame_size:
            raise h2.exceptions.FrameTooLargeError(f"A frame of {length} bytes is announced.")
        return super().__next__()
