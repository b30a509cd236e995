"""Reading one HTTP/1.1 response: bytes in, body out; no I/O and no clock.

The parsing is llhttp's, by way of httptools. What is decided here is what it leaves open: when a
body that has no length is whole, what may follow a response, and how much that is no body a
provider may send. llhttp is strict where a lenient reading would take one response for two.
"""

from __future__ import annotations

from typing import Any

import httptools
import httpx

__all__ = ["FRAMING", "Response"]

HEAD_BYTES = 64 * 1024
"""Of all that is not body, in a row: a head, interim responses before it, chunks' extensions.
Providers' heads have 1 to 3 KiB; curl takes 300, nginx 8 to 32."""
FRAMING = (b"content-length", b"transfer-encoding")
"""Headers that say where a body ends."""


class Response:
    """One response being read.

    Feed it what comes, then say `end` if the connection ends before `is_whole`. Both raise
    `httpx.RemoteProtocolError` for what is no valid HTTP, when the head and all of the body that
    came before it have been handed out: it does not matter in which pieces it comes.
    """

    def __init__(self, *, has_body: bool = True) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        """The final head is there: `status` and `headers` are to be had."""
        self.is_whole = False
        """Nothing of the response is missing."""
        self.status = 0
        self._has_body = has_body
        self._ends_with_connection = False
        self._doubtful = False
        self._keeps = False
        self._said_more = False
        self._fault: httpx.RemoteProtocolError | None = None
        self._not_body = 0
        self._body: list[bytes] = []
        # What follows is called by the parser, which stops when one of them raises.
        self.on_body = self._body.append
        """Called with each piece of the body."""
        # The parser knows its listener: a cycle, until the response is whole or dropped.
        self._parser: Any = httptools.HttpResponseParser(self)

    @property
    def may_be_followed(self) -> bool:
        """Whether the connection may be used for another request."""
        return self.is_whole and self._keeps and not self._said_more

    def feed(self, data: bytes) -> bytes:
        """What `data` holds of the body."""
        self.raise_fault()
        if self.is_whole:
            self._said_more = True
            return b""
        had_head = self.has_head
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._take_fault(exc)
        if self.is_whole:
            self.drop()
        if not self.has_head or not self._has_body:
            self._body.clear()  # the parser finds one where none can be
        if not self._body:
            self._not_body += len(data)
            if self._not_body > HEAD_BYTES and not self.is_whole:
                self._fault = httpx.RemoteProtocolError("The head of the response is too long.")
                self.raise_fault()
            if had_head or not self.has_head:
                self.raise_fault()
            return b""
        self._not_body = 0
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return body

    def end(self) -> None:
        """The connection has ended, which some responses end with."""
        self.raise_fault()
        self.drop()
        if self.has_head and self._ends_with_connection:
            self.is_whole = True
        elif not self.is_whole:
            raise httpx.RemoteProtocolError("The server disconnected in the middle of a response.")

    def raise_fault(self) -> None:
        """Raise what is wrong with what was fed, if anything is."""
        if self._fault is not None:
            raise self._fault

    def drop(self) -> None:
        """Nobody reads on."""
        self._parser = None

    def on_message_begin(self) -> None:
        """Another response begins: an interim one lies behind, or nobody asked for it."""
        if self.is_whole:
            raise httpx.RemoteProtocolError("A response that nobody asked for.")
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; or a trailer, which nobody reads."""
        if not self.has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """One head is whole: an interim one, or the one that counts."""
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        framing = [
            (name.lower(), value.strip(b" ").lower())
            for name, value in self.headers
            if name.lower() in FRAMING
        ]
        codings = [value for name, value in framing if name == b"transfer-encoding"]
        if (
            version not in ("1.0", "1.1")
            or status < 100
            # Compressed, say, which nobody offered to take. With a tab behind it, which others take
            # for a blank, the parser would see no chunks.
            or codings not in ([], [b"chunked"])
            or (status < 200 and framing)  # some read a body there, and others none
        ):
            raise httpx.RemoteProtocolError("This is no head of a response over HTTP/1.1.")
        if status < 200:
            return  # after 101 the parser stops by itself
        self.status = status
        self.headers = [(name, value.rstrip(b" \t")) for name, value in self.headers]
        self.has_head = True
        self._doubtful = version == "1.0" and bool(codings)  # RFC 9112, 6.1
        if not self._has_body:
            self.is_whole = True  # the parser can't know, and would wait for a body
        elif not framing:
            self._ends_with_connection = True  # RFC 9112, 6.3; 204 and 304 are whole at once

    def on_message_complete(self) -> None:
        """One response is whole."""
        if self.has_head and not self.is_whole:
            self.is_whole = True
            self._keeps = self._parser.should_keep_alive() and not self._doubtful

    def _take_fault(self, cause: Exception) -> None:
        if self.is_whole:
            self._said_more = True  # what was asked for came before it
            return
        self._fault = httpx.RemoteProtocolError("The response is no valid HTTP.")
        self._fault.__cause__ = cause
