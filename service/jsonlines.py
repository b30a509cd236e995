"""JSON lines, read: bytes to lines; no I/O and no clock.

Each line is one value of JSON, with an LF behind it (https://jsonlines.org). JSON escapes line ends
inside a text, so an LF can stand nowhere else, and never within a UTF-8 sequence. A line is handed
on as an event of the plain type, so that whoever reads it need not know in which way it was framed.
The limits are those of `service.eventstream`, for its reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from service.eventstream import FrameTooLarge, ServerSentEvent

__all__ = ["LineDecoder"]

MEBI: Final = 1024 * 1024


class LineDecoder:
    """Reads one stream; made for one response and thrown away with it.

    What is buffered is bounded, whatever the peer sends.
    """

    def __init__(
        self,
        *,
        # As for a line of an event stream: a picture or a file in base64 passes.
        max_line_bytes: int = MEBI,
        # In a row: each costs us a turn of the loop and brings nothing.
        max_blank_lines: int = 100_000,
    ) -> None:
        self._max_line_bytes = max_line_bytes
        self._max_blank_lines = max_blank_lines
        self._line = bytearray()
        """A line that has not ended yet."""
        self._blank_lines = 0
        self._refusal: str | None = None

    @property
    def is_torn(self) -> bool:
        """Whether something has come whose end has not."""
        return bool(self._line.strip())

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Yield each line that `data` makes whole, as soon as it is reached; blank ones are none.

        Lazy: exhaust it before the next `feed` or `end`, or bytes are lost.

        Raises:
            FrameTooLarge: at the place of the fault, and again at every later call.
        """
        if self._refusal is not None:
            raise FrameTooLarge(self._refusal)
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._line += data[start:end]
            start = end + 1
            self._admit()
            line, self._line = self._line, bytearray()
            if line.strip():
                self._blank_lines = 0
                yield _event(line)
            else:
                self._blank_lines += 1
        self._line += data[start:]
        self._admit()

    def plain(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The lines that `data` makes whole, as bytes, and what is left behind them.

        None: there is no whole one, or `feed` must be asked. Nothing has been read yet; `skip`
        does that.
        """
        end = data.rfind(b"\n")
        if end < 0 or self._refusal or len(self._line) + end > self._max_line_bytes:
            return None
        return bytes(self._line) + data[:end], data[end + 1 :]

    def skip(self, rest: bytes) -> None:
        """Pass over the lines that `plain` gave, and over the `rest`, which has no line's end."""
        self._line = bytearray(rest)
        self._blank_lines = 0

    def end(self) -> ServerSentEvent | None:
        """The line that the end of the stream cut off; None when there is none.

        Nobody can know that it is whole but by what is in it.
        """
        line, self._line = self._line, bytearray()
        return _event(line) if line.strip() else None

    def _admit(self) -> None:
        if len(self._line) > self._max_line_bytes:
            self._refusal = f"a line of more than {self._max_line_bytes} bytes"
        elif self._blank_lines > self._max_blank_lines:
            self._refusal = f"more than {self._max_blank_lines} blank lines in a row"
        else:
            return
        self._line = bytearray()
        raise FrameTooLarge(self._refusal)


def _event(line: bytearray) -> ServerSentEvent:
    return ServerSentEvent(line.decode("utf-8-sig", "replace"))  # a BOM is no part of a value
