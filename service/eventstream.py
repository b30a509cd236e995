"""Server-Sent Events, both ways: bytes to events, events to bytes; no I/O and no clock.

Reading follows the WHATWG HTML standard, section 9.2 "Server-sent events"
(https://html.spec.whatwg.org/multipage/server-sent-events.html). A line ends with CRLF, LF or CR
and with nothing else: U+2028, U+0085 or a form feed are text, so `splitlines` would be wrong. CR
and LF never occur inside a UTF-8 sequence, so lines are cut as bytes and only a whole event is
decoded. A CR ends its line at once, since waiting to see whether an LF follows would hold back a
finished event until the next read; the LF, should it come, is swallowed. The standard knows no
limits, a provider's stream needs them: see `Decoder`.

Writing is stricter than the standard asks. Clients of this protocol split the body on LF LF, skip
every block that does not begin with `data: `, and parse the whole rest of the block as JSON. So an
event is exactly `data: `, one line of JSON, LF LF: no `event:`, no `id:`, no second `data:`, no
CR. JSON escapes line ends, so no text can break the framing. Anything that is not an event must be
a block of its own that begins otherwise, as `PING` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

__all__ = [
    "BETWEEN",
    "PING",
    "Decoder",
    "FrameTooLarge",
    "ServerSentEvent",
    "apart",
    "encode",
    "encode_alike",
]

PING: Final = b": ping\n\n"
"""A comment: it keeps the connection warm and is an event to nobody."""

DATA: Final = b"data: "
BETWEEN: Final = b"\n\n" + DATA
"""What stands between the data of two events of one line each."""
BOM: Final = b"\xef\xbb\xbf"
MEBI: Final = 1024 * 1024
RETRY_DIGITS: Final = 15
"""A longer `retry` is some 30 000 years and not meant; `int` refuses 4300 digits with an error."""

_json = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event as a browser would dispatch it."""

    data: str
    event: str = "message"


class FrameTooLarge(ValueError):
    """The stream went over one of the decoder's limits; nothing after that place can be read."""


class Decoder:
    """Reads one stream; made for one response and thrown away with it.

    What is buffered is bounded by the limits, whatever the peer sends. A line's end counts as one
    byte, whether it is CRLF, LF or CR, so the limits hold at the same place however the stream was
    cut into reads.
    """

    def __init__(
        self,
        *,
        # A token is some bytes and a whole answer of 8192 tokens some 40 KiB; 1 MiB leaves room
        # for a picture or a file in base64, and a hundred open answers at their limit still fit.
        max_line_bytes: int = MEBI,
        # Everything since the last event, comments and blank lines too, for they cost us work and
        # bring nothing: a longest line, and as much again for what stands around it.
        max_event_bytes: int = 2 * MEBI,
        # Every line since the last event. A blank line is one byte, so the limit on bytes alone
        # would let two million of them turn the loop; fifty thousand comments, each with its
        # blank line, still pass, and that is more than a provider says in any answer's time.
        max_idle_lines: int = 100_000,
    ) -> None:
        self.last_event_id = ""
        """The last `id` that a blank line confirmed."""
        self.retry: int | None = None
        """Milliseconds to wait before connecting again, as the peer asked; None: it did not."""
        self._max_line_bytes = max_line_bytes
        self._max_event_bytes = max_event_bytes
        self._max_idle_lines = max_idle_lines
        self._head: bytes | None = b""
        """The stream's first bytes while they may still be part of a BOM; None from then on."""
        self._line = bytearray()
        """A line that has not ended yet."""
        self._after_cr = False
        """The last read ended with CR: an LF that begins the next one belongs to it."""
        self._data = bytearray()
        self._event = b""
        self._id = ""
        self._bytes_spent = 0
        self._lines_spent = 0
        self._refusal: str | None = None

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Yield each event that `data` makes whole, as soon as it is reached.

        Lazy, so that all events before an oversized line are handed on first: exhaust it before
        the next `feed` or `end`, or bytes are lost.

        Raises:
            FrameTooLarge: at the place of the fault, and again at every later call; the buffers
                are dropped then.
        """
        if self._refusal is not None:
            raise FrameTooLarge(self._refusal)
        if self._head is not None:
            data = self._without_bom(data)
        for line in self._lines(data):
            if line:
                self._take(line)
            else:
                self.last_event_id = self._id
                if (event := self._dispatch()) is not None:
                    self._bytes_spent = self._lines_spent = 0
                    yield event

    def plain(
        self, data: bytes, *, leaving: int = 0, before: bytes = DATA
    ) -> tuple[bytes, bytes] | None:
        """The data of the events that `data` makes whole, if each is one `data: ` line.

        That is how providers write, and it can be had without looking at every line: as bytes,
        `BETWEEN` between each two (`apart` takes them apart, and sees whether it is so); and behind
        them what is left, the last `leaving` events of it included. None: `feed` must be asked.
        Nothing has been read yet; `skip` does that. Where each event has the same type, `before`
        begins with its line.
        """
        end = data.rfind(b"\n\n")
        for _ in range(leaving):
            end = data.rfind(b"\n\n", 0, end) if end > 0 else end
        within = self._head or self._after_cr or self._data or self._event
        if end < 0 or within or self._refusal or b"\r" in data:
            return None
        if self._line:
            end += len(self._line)
            data = bytes(self._line) + data
        if end > self._max_line_bytes or not data.startswith(before):
            return None
        rest = data[end + 2 :]
        return None if b"\n" in rest and not leaving else (data[len(before) : end], rest)

    def skip(self, rest: bytes) -> None:
        """Pass over the events that `plain` gave, and over the `rest`, which has no line's end."""
        self._head = None
        self._line = bytearray(rest)
        self._bytes_spent = self._lines_spent = 0

    @property
    def is_torn(self) -> bool:
        """Whether something has come whose end has not; a comment is nothing."""
        return bool(self._data or self._event or (self._line and self._line[0] != ord(":")))

    def end(self) -> ServerSentEvent | None:
        """The event that the end of the stream cut off, an unfinished line included.

        The standard discards it, because nobody can know that it is whole. A caller who can tell
        by other means (it parses, and the provider had said that it was done) may take it. None
        when no data is pending.
        """
        line = bytes(self._line)
        self._line = bytearray()
        if not line.startswith(b"retry"):  # a number cut short is another number
            self._take(line)
        return self._dispatch()

    def _without_bom(self, data: bytes) -> bytes:
        head = (self._head or b"") + data
        if len(head) < len(BOM) and BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(BOM)

    def _lines(self, read: bytes) -> Iterator[bytes]:
        """Cut one read into lines without their ends; keep what is left over.

        Each byte is looked at once for LF and once for CR, however the reads are cut: a place
        that was found stays known until the loop has passed it, and the unfinished line is never
        searched again.
        """
        size = len(read)
        start = 0
        if self._after_cr and size:
            self._after_cr = False
            start = 1 if read.startswith(b"\n") else 0
        lf = cr = -1
        while True:
            if lf < start and (lf := read.find(b"\n", start)) < 0:
                lf = size
            if cr < start and (cr := read.find(b"\r", start)) < 0:
                cr = size
            stop = lf if lf < cr else cr
            if stop == size:
                break
            line = read[start:stop]
            start = stop + 1
            if stop == cr:
                if start == size:
                    self._after_cr = True
                elif start == lf:
                    start += 1
            line_bytes = len(self._line) + len(line)
            self._bytes_spent += line_bytes + 1
            self._lines_spent += 1
            self._admit(line_bytes, self._bytes_spent)
            if self._line:
                line = bytes(self._line + line)
                self._line = bytearray()
            yield line
        if start < size:
            line_bytes = len(self._line) + size - start
            self._admit(line_bytes, self._bytes_spent + line_bytes)
            self._line += read[start:]

    def _admit(self, line_bytes: int, event_bytes: int) -> None:
        if line_bytes > self._max_line_bytes:
            self._refusal = f"a line of more than {self._max_line_bytes} bytes"
        elif event_bytes > self._max_event_bytes:
            self._refusal = f"more than {self._max_event_bytes} bytes without a whole event"
        elif self._lines_spent > self._max_idle_lines:
            self._refusal = f"more than {self._max_idle_lines} lines without a whole event"
        else:
            return
        self._line = bytearray()
        self._data = bytearray()
        raise FrameTooLarge(self._refusal)

    def _take(self, line: bytes) -> None:
        """Process one line that is not blank."""
        if line.startswith(b"data: "):  # nearly every line there is
            self._data += line[6:]
            self._data += b"\n"
            return
        name, _, value = line.partition(b":")  # a comment is a field without a name
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data += value
                self._data += b"\n"
            case b"event":
                self._event = value
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit() and len(value) <= RETRY_DIGITS:
                self.retry = int(value)

    def _dispatch(self) -> ServerSentEvent | None:
        """Take the event out of the buffers; None, and the type is forgotten, without data."""
        event, self._event = self._event, b""
        if not self._data:
            return None
        data, self._data = self._data, bytearray()
        data.pop()  # the LF after the last line
        if not event:
            return ServerSentEvent(data.decode("utf-8", "replace"))
        return ServerSentEvent(data.decode("utf-8", "replace"), event.decode("utf-8", "replace"))


def apart(events: bytes, *, before: bytes = DATA) -> list[bytes] | None:
    """The data of each event, of those that `Decoder.plain` gave; None: not all are that plain."""
    each = events.split(b"\n\n" + before)
    # Every LF must be one of those that stand between two events.
    between = 2 + before.count(b"\n")
    return each if events.count(b"\n") == between * (len(each) - 1) else None


def encode(event: object) -> bytes:
    """One event as one block: `data: `, its JSON on one line, LF LF.

    Raises:
        UnicodeEncodeError: a text holds half of a surrogate pair, which UTF-8 cannot say.
    """
    return b"data: " + _json.encode(event) + b"\n\n"


def encode_alike(head: bytes, texts: Sequence[str]) -> bytes:
    """A block for each of `texts`; they differ in nothing but that, the last value of the object.

    `head` is what such a block begins with, up to the text: `data: {...,"content":`. All texts are
    encoded at once and then taken apart, which costs a fifth of encoding them one by one. Where one
    ends and the next begins stands `","`. If no text ends with a comma, that stands nowhere else:
    the comma is then no text's last character, and a quotation mark inside a text has a backslash
    before it.

    Raises:
        UnicodeEncodeError: as `encode`.
    """
    inside = _json.encode(texts)[1:-1]
    if len(texts) > 1:
        if b',",' in inside or inside.endswith(b',"'):
            return b"".join(b"%b%b}\n\n" % (head, _json.encode(text)) for text in texts)
        inside = inside.replace(b'","', b'"}\n\n%b"' % head)
    return b"%b%b}\n\n" % (head, inside)
