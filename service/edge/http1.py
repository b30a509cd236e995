"""HTTP/1: Hypercorn's protocol, which here refuses what is ambiguous and never stops reading.

By itself it accepts a message with two framings, does not bound a head that comes in one
read, takes upgrades that nothing here serves, and stops reading when a second request arrives while
the first is answered: it then sees neither the client's FIN nor its RST.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import h11
import msgspec
import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import H11SendableEvent

from service.edge.gate import gate_of

__all__ = ["HTTP1"]

MOST_AHEAD = 16 * 1024
"""Bytes of later requests that are read ahead; with more, reading waits for the answer."""

REFUSALS = {
    400: ("bad_request", "This is not a well-formed HTTP request."),
    431: ("head_too_large", "The request's head is too long."),
    501: ("not_implemented", "This transfer coding is not understood here."),
    505: ("http_version", "This version of HTTP is not spoken here."),
}


_TARGET = re.compile(
    rb"/.*|\*|[A-Za-z]+://(?P<host>[^/?#@\[\]]+|\[[^/?#@\[\]]*\](?::\d*)?)(?P<path>[/?].*)?"
)
"""What may stand for the address of a request (RFC 9112, 3.2); CONNECT's is refused."""


class HTTP1(H11Protocol):
    """One HTTP/1 connection."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        most_bytes = self.config.h11_max_incomplete_size
        self.connection = self._inbound = _Inbound(h11.SERVER, max_incomplete_event_size=most_bytes)
        self._handling = trio.Lock()
        self.can_read = self._ahead = _Ahead()
        self._head_begun = False
        self._closed = False

    @property
    def client_is_done(self) -> bool:
        """Whether the client's request was read to its end."""
        return self.connection.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)

    def begins_a_head(self) -> bool:
        """Whether the first bytes of a head came, the rest of which is awaited; once per head."""
        begun = bool(self.connection.trailing_data[0])
        first, self._head_begun = begun and not self._head_begun, begun
        return first

    async def handle(self, event: Event) -> None:
        """Take what came from the client."""
        said_all = self.connection.their_state is h11.MUST_CLOSE
        if said_all and isinstance(event, RawData) and event.data:
            return
        await super().handle(event)
        if isinstance(event, Closed):
            self._closed = True
            await self._ahead.set()
        elif (
            not self._closed
            and self._ahead.waits
            and len(self.connection.trailing_data[0]) > MOST_AHEAD
        ):
            await self._ahead.turn.wait()

    async def _handle_events(self) -> None:
        # The reader's task and the one that goes on behind an answer take turns.
        async with self._handling:
            if self._closed:
                return  # what the client had sent ahead is not begun when it has left
            try:
                await super()._handle_events()
            except _ComesLater:
                self._ahead.waits = True

    async def _maybe_recycle(self) -> None:
        await super()._maybe_recycle()
        if self._ahead.waits:
            self._ahead.waits = False
            self.task_group.spawn(self._handle_events)

    async def _check_protocol(self, event: h11.Request) -> None:
        # Only HTTP/2's preface is looked for, and only where a connection begins. Upgrades are
        # ignored, as a server may (RFC 9110, 7.8; for h2c RFC 9113, 3.1).
        preface = (event.method, event.target, event.http_version) == (b"PRI", b"*", b"2.0")
        if preface and not self.keep_alive_requests:
            await super()._check_protocol(event)

    async def _create_stream(self, request: h11.Request) -> None:
        status = _refusal_of(request, self.config.h11_max_incomplete_size)
        if status is not None:
            await self._send_error_response(status)
            await self.send(Closed())
            return
        self._head_begun = False
        if not self._closed:  # it may have left in the last step
            await super()._create_stream(_as_served(request))

    async def stream_send(self, event: StreamEvent) -> None:
        """Send one thing that a response consists of."""
        # Past h11, for which a piece of a body is an object, a state and three writes.
        if type(event) is Body and event.data and self._inbound.in_chunks:
            await self.send(RawData(data=b"%x\r\n%b\r\n" % (len(event.data), event.data)))
        else:
            await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        if isinstance(event, h11.Response):
            event = _dressed(event, draining=gate_of(self.config).draining.is_set())
        await super()._send_h11_event(event)

    async def _send_error_response(self, status_code: int) -> None:
        code, detail = REFUSALS.get(status_code, REFUSALS[400])
        gate_of(self.config).count_refusal(code)
        body = msgspec.json.encode({"detail": detail, "code": code})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"x-content-type-options", b"nosniff"),
            *self.config.response_headers("h11"),
        ]
        for event in (
            h11.Response(status_code=status_code, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            await self._send_h11_event(event)


class _Inbound(h11.Connection):
    """h11's connection, for which bytes behind the last request are no fault.

    Some clients end a body with a line break that does not belong to it (RFC 9112, 2.2); the
    request whose answer is running must not be the one to pay.
    """

    in_chunks = False
    """Whether a response's body is being sent, and each piece of it is a chunk (RFC 9112, 7.1)."""

    def next_event(self) -> Any:
        """What the client said next; nothing, once it has said that it will say no more."""
        return h11.NEED_DATA if self.their_state is h11.MUST_CLOSE else super().next_event()

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """The bytes that say it, for `send` and whoever else asks."""
        said = super().send_with_data_passthrough(event)
        self.in_chunks = (
            type(event) is h11.Response
            and self.our_state is h11.SEND_BODY
            and b"\r\ntransfer-encoding: chunked\r\n" in b"".join(said or ()).lower()
        )
        return said


class _ComesLater(Exception):
    """A request is there whose turn has not come."""


class _Ahead:
    """Stands where Hypercorn parks its reader until an answer is through; here it reads on."""

    def __init__(self) -> None:
        self.waits = False
        """Whether a request waits for its turn."""
        self.turn = trio.Event()

    async def clear(self) -> None:
        """Asked before `wait`."""
        self.turn = trio.Event()

    async def wait(self) -> None:
        """Leave the events, for the reader to read on."""
        raise _ComesLater

    async def set(self) -> None:
        """The answer is through, or there will be none."""
        self.turn.set()

    def is_set(self) -> bool:
        """Whether it is."""
        return self.turn.is_set()


def _refusal_of(request: h11.Request, most_bytes: int) -> int | None:
    """The status for a head that must not be served; None for one that may."""
    headers = list(request.headers)
    names = [name for name, _ in headers]
    size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in headers)
    if size > most_bytes:
        return 431  # RFC 6585, 5
    if request.http_version not in (b"1.0", b"1.1"):
        return 505
    # Two framings are how one request is smuggled behind another (RFC 9112, 6.1 and 6.3).
    two_framings = b"transfer-encoding" in names and b"content-length" in names
    return 400 if two_framings or not _TARGET.fullmatch(request.target) else None


def _dressed(response: h11.Response, *, draining: bool) -> h11.Response:
    """With words beside the status; they may be missing (RFC 9112, 4), but not all clients know.

    During the drain it says that the connection ends with it, or a proxy's next request would
    meet the close.
    """
    try:
        reason = HTTPStatus(response.status_code).phrase.encode()
    except ValueError:
        return response
    headers = list(response.headers)
    if draining and not any(name == b"connection" for name, _ in headers):
        headers.append((b"connection", b"close"))
    return h11.Response(status_code=response.status_code, headers=headers, reason=reason)


def _as_served(request: h11.Request) -> h11.Request:
    """Without an upgrade; and for the host that the target names, if it names one.

    The whole address stands in the target when a client takes us for a proxy, and then it counts,
    not what `Host` says (RFC 9112, 3.2.2).
    """
    address = _TARGET.fullmatch(request.target)
    host = address["host"] if address else None
    unwanted = {b"upgrade"} if host is None else {b"upgrade", b"host"}
    headers = [(name, value) for name, value in request.headers if name not in unwanted]
    if len(headers) == len(request.headers):
        return request
    target = request.target
    if address and host is not None:
        target = address["path"] or b"/"
        headers.insert(0, (b"host", host))
    return h11.Request(
        method=request.method,
        target=target if target.startswith(b"/") else b"/" + target,
        headers=headers,
        http_version=request.http_version,
    )
