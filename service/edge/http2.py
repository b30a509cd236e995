"""HTTP/2: Hypercorn's protocol, which here survives odd clients and waits for slow ones.

By itself it ends with an exception on data behind an early response, on a path that is no
ASCII, on a thousand PRIORITY frames; its streams grow without bound before a client that opens no
window; and a request that is taken back costs the client nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import trio
from h2.connection import ConnectionState
from h2.stream import StreamState
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.events import Body, EndBody, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol
from priority.priority import MissingStreamError

from service.edge.budget import Budget
from service.edge.buffers import HIGH_WATER, Frames
from service.edge.gate import gate_of

__all__ = ["HTTP2"]

RESETS_PER_SECOND = 10.0
"""Requests that may be taken back for ever; a person who types and retypes is far below."""
IDLE_FRAMES = 1000
"""Frames that ask for an answer and bring nothing (PING, SETTINGS, empty DATA), at once."""
IDLE_FRAMES_PER_SECOND = 100.0


class HTTP2(H2Protocol):
    """One HTTP/2 connection."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._gate = gate = gate_of(self.config)
        bounds = gate.bounds
        self._write_timeout = bounds.write_timeout
        self._resets = Budget(bounds.resets_per_connection, RESETS_PER_SECOND)
        self._idle_frames = Budget(IDLE_FRAMES, IDLE_FRAMES_PER_SECOND)
        self._draining = gate.draining
        # Whose first request comes during the drain is answered, with 503; who has asked before is
        # told by no GOAWAY: clients made with h2, httpx among them, drop their streams at one.
        self._asked_before = False
        self._ends: dict[int, trio.Event] = {}
        """For each response whose last piece is handed over: that END_STREAM has left."""
        self.client_is_done = False
        """Whether the client has said that it is leaving."""
        self._last_taken = 0
        """The last request that was looked at: those behind it may be sent again, elsewhere."""
        self.connection.incoming_buffer = Frames(server=True)
        # h2 announces this bound, but keeps it only when it changes later.
        self.connection.decoder.max_header_list_size = self.config.h2_max_header_list_size
        # What Hypercorn offers, but for extended CONNECT: nothing here speaks WebSocket.
        self.connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: (
                    self.config.h2_max_concurrent_streams
                ),
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: (
                    self.config.h2_max_header_list_size
                ),
            },
        )

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Begin the connection; until its first request it is idle."""
        await super().initiate(headers, settings)
        await self.send(Updated(idle=True))

    async def say_goodbye(self) -> None:
        """Say that the connection is over, and which requests it has never looked at."""
        # By itself h2 names the last that it has read, which may be in the middle of being handled.
        self.connection.close_connection(last_stream_id=self._last_taken)
        await self._flush()

    async def handle(self, event: Event) -> None:
        """Take what came from the client, or that nothing more will."""
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()  # or whoever waits on one would wait for ever
            for end in self._ends.values():
                end.set()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            match event:
                case h2.events.RequestReceived():
                    await self._take_request(event)
                case h2.events.DataReceived():
                    await self._take_data(event)
                case h2.events.PriorityUpdated():
                    pass  # deprecated (RFC 9113, 5.3.2), and its tree has an end
                case h2.events.ConnectionTerminated():
                    self.client_is_done = True
                    await super()._handle_events([event])
                case _:
                    await super()._handle_events([event])
            if not self._affordable(event):
                await self._calm_down()
                return
        await self._flush()

    def _affordable(self, event: h2.events.Event) -> bool:
        match event:
            case h2.events.StreamReset():  # also one that the client provoked (CVE-2025-8671)
                return self._resets.spend()
            case h2.events.PingReceived() | h2.events.RemoteSettingsChanged():
                return self._idle_frames.spend()
            case h2.events.DataReceived(flow_controlled_length=0, stream_ended=None):
                return self._idle_frames.spend()
        return True

    async def _calm_down(self) -> None:
        self._gate.tell_of_a_cut("resets_or_idle_frames", (self.client or [None])[0])
        self.connection.close_connection(
            h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, last_stream_id=self._last_taken
        )
        await self._flush()
        await self.send(Closed())

    def _said_goodbye(self) -> bool:
        return self.connection.state_machine.state is ConnectionState.CLOSED

    async def _take_request(self, request: h2.events.RequestReceived) -> None:
        if self.closed or self._said_goodbye():
            return  # it is told that nobody has looked at it
        self._last_taken = request.stream_id
        code = None
        draining = self._draining.is_set()
        if (draining and self._asked_before) or self.context.terminated.is_set():
            # "The client may send it again, elsewhere" (RFC 9113, 8.7).
            code = h2.errors.ErrorCodes.REFUSED_STREAM
        elif not _is_well_formed(request):
            code = h2.errors.ErrorCodes.PROTOCOL_ERROR
        if code is not None:
            await self._reset(request.stream_id, code)
            if not self._resets.spend():
                await self._calm_down()
            return
        self._asked_before = self._asked_before or not draining
        await self._create_stream(request)
        await self.send(Updated(idle=False))

    async def _take_data(self, event: h2.events.DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:  # else it was answered already, and nobody reads on
            await stream.handle(Body(stream_id=event.stream_id, data=event.data))
        with suppress(h2.exceptions.ProtocolError):  # reset while it was handed on
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send one piece of a response; a client that does not take it in time loses its stream."""
        match event:
            case Body() | EndBody():
                buffer = self.stream_buffers.get(event.stream_id)
                stalled = buffer is not None and self._has_stalled(buffer)
                for piece in _pieces_of(event):
                    if not stalled:
                        with trio.move_on_after(self._write_timeout) as patience:
                            await self._send_piece(piece)
                        stalled = patience.cancelled_caught
                if stalled:
                    await self._give_up(event.stream_id)
            case StreamClosed():
                buffer = self.stream_buffers.get(event.stream_id)
                if buffer is not None and not buffer._complete:
                    # The application broke off: not an end, and the client must see that.
                    await self._reset(event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
                await super().stream_send(event)
            case _:
                await super().stream_send(event)

    async def _send_piece(self, piece: Body | EndBody) -> None:
        if isinstance(piece, Body):
            await super().stream_send(piece)
            return
        # Hypercorn goes on when the last byte has left; told to end, it then closes the connection
        # before END_STREAM, and a response that was whole looks cut.
        end = self._ends[piece.stream_id] = trio.Event()
        try:
            await super().stream_send(piece)
            if piece.stream_id in self.stream_buffers and not self.closed:
                await end.wait()
        finally:
            del self._ends[piece.stream_id]

    def _has_stalled(self, buffer: Any) -> bool:
        waited = trio.current_time() - buffer.moved_at
        return bool(buffer.buffer) and waited > self._write_timeout

    async def _give_up(self, stream_id: int) -> None:
        self._gate.tell_of_a_cut("write_timeout", (self.client or [None])[0])
        await self._reset(stream_id, h2.errors.ErrorCodes.CANCEL)
        await super().stream_send(StreamClosed(stream_id=stream_id))

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        if stream_id not in self.stream_buffers and stream_id in self._ends:
            self._ends[stream_id].set()
        stream = self.connection.streams.get(stream_id)
        if (
            stream_id not in self.stream_buffers
            and stream is not None
            and stream.state_machine.state is StreamState.HALF_CLOSED_LOCAL
        ):
            # Answered before it was all said: the rest is not wanted (RFC 9113, 8.1).
            await self._reset(stream_id, h2.errors.ErrorCodes.NO_ERROR)

    async def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        with suppress(h2.exceptions.ProtocolError):
            self.connection.reset_stream(stream_id, code)
        buffer = self.stream_buffers.get(stream_id)
        if buffer is not None:
            await buffer.close()
            with suppress(MissingStreamError):
                self.priority.unblock(stream_id)  # the sending task finds it closed, and forgets it
            await self.has_data.set()
        await self._flush()


def _pieces_of(event: Body | EndBody) -> list[Body | EndBody]:
    """A body in pieces, each of which a client has its own time to take."""
    if isinstance(event, EndBody) or len(event.data) <= HIGH_WATER:
        return [event]
    starts = range(0, len(event.data), HIGH_WATER)
    pieces = (event.data[start : start + HIGH_WATER] for start in starts)
    return [Body(stream_id=event.stream_id, data=piece) for piece in pieces]


def _is_well_formed(request: h2.events.RequestReceived) -> bool:
    """Whether the parts that Hypercorn decodes are there, and are ASCII (RFC 9113, 8.3.1)."""
    pseudo = {name: value for name, value in request.headers if name.startswith(b":")}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    return (
        method.isascii()
        and path.isascii()
        and path.startswith((b"/", b"*"))
        and method != b"CONNECT"
    )
