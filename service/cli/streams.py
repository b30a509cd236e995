"""Standard input and output without buffers, read and written by threads.

A pipe that is full (`| less`), a terminal that is stopped (Ctrl-S) or one at which somebody is
still typing blocks whoever uses it. In the event loop that would be everyone: no clock would run,
and no signal would be heard. So it happens in a thread, which a cancelled command leaves behind;
and past Python's buffers, whose locks such a thread would hold when the process wants to end.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import Any, TextIO

import trio

from service.cli.options import complain

__all__ = ["Output", "OutputError", "read_input"]

NOBODY_READS = 141
"""As a shell reports a command that SIGPIPE ended."""
READ_BYTES = 64 * 1024


async def read_input(limit: int) -> bytes:
    """Standard input to its end, or to somewhere beyond `limit` bytes."""
    given = b""
    if sys.stdin is None:
        return given
    raw = _unbuffered(sys.stdin)
    while len(given) <= limit:
        piece = await trio.to_thread.run_sync(raw.read, READ_BYTES, abandon_on_cancel=True)
        if not piece:
            break
        given += piece
    return given


class OutputError(Exception):
    """Standard output takes nothing; the cause says why."""

    def account_for(self) -> int:
        """Say why, unless its reader simply had enough; the exit code."""
        reason = self.__cause__
        if isinstance(reason, BrokenPipeError):
            return NOBODY_READS
        words = reason.strerror if isinstance(reason, OSError) else None
        return complain(f"cannot write: {words or reason}.")


class Output:
    """Where a command's answer goes. Raises `OutputError`."""

    def __init__(self) -> None:
        if sys.stdout is None:
            raise OutputError from OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._encoding = sys.stdout.encoding or "utf-8"
        self._raw = _unbuffered(sys.stdout)
        self.live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        """Whether it is a terminal that can go back and write over what it shows."""

    def encode(self, text: str) -> bytes:
        """Text as this output's reader expects it; what it can't read becomes a question mark."""
        return text.encode(self._encoding, "replace")

    def put(self, data: bytes) -> None:
        """Write all of it, and block until it is written."""
        left = memoryview(data)
        try:
            while left:
                written = self._raw.write(left)
                if written is None:  # another process has made our terminal or pipe non-blocking
                    select.select((), (self._raw,), ())
                left = left[written or 0 :]
        except OSError as exc:
            raise OutputError from exc

    async def write(self, data: bytes) -> None:
        """Write all of it; when cancelled, some of it may still be written."""
        await trio.to_thread.run_sync(self.put, data, abandon_on_cancel=True)


def _unbuffered(stream: TextIO) -> Any:
    """The file below; a test's stream is a buffer in memory and has nothing below it."""
    return getattr(stream.buffer, "raw", stream.buffer)
