"""A connection: Hypercorn's, with bounds on how long it waits and on what its faults reach.

A fault ends its connection and nothing else. A client has `write_timeout` to take each piece of
what is sent; the lock of the senders is inside the shield, for bytes that were taken out of an
HTTP/2 connection and then lost would end the whole connection. An idle connection ends with its
keep-alive, and a half-sent head much sooner.

A socket that is closed with bytes unread, or that gets some when it is closed, answers with a
reset, and that destroys what was sent last and is still on its way. So whoever may yet send (the
rest of a refused request, HTTP/2's WINDOW_UPDATEs for the end of a response) is read, and what it
says thrown away, for as long as it is taking what it was sent, and a moment longer.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from array import array
from contextlib import suppress
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.typing import AppWrapper, LifespanState, WorkerContext

from service.edge.gate import gate_of, when
from service.edge.http1 import HTTP1
from service.edge.http2 import HTTP2

if sys.platform == "linux":
    import fcntl
    import termios

__all__ = ["Connection"]

PIECE_BYTES = 16 * 1024
"""What a client has to take within `write_timeout`: a stream's usual write, and one TLS record.
Of a long answer every piece has its own time: who reads slowly but steadily reads it all."""
SENT_IN_A_ROW = 8
"""Writes to a client that reads fast before others have a turn: some 64 KiB, 1 ms of work."""
HEAD_SECONDS = 10.0
"""From the first byte of an HTTP/1 head to its last; browsers send it in one segment."""
FIRST_REQUEST_SECONDS = 0.1
"""For the first request of a connection that was made just before the end."""
GOODBYE_SECONDS = 0.5
"""For a connection's closing, which over TLS is a message that the client must take."""
LINGER_SECONDS = 1.0
"""How long a client is read that has taken all; one that understands it stops by then."""


class Connection(TCPServer):
    """One client's connection, from accept to close."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: LifespanState,
        stream: Any,
    ) -> None:
        super().__init__(app, config, context, state, stream)  # type: ignore[arg-type]
        self._gate = gate_of(config)
        self._bounds = self._gate.bounds
        """Those in force when it was made: what runs on it keeps them, as the kernel does."""
        self._socket = getattr(stream, "transport_stream", stream).socket
        self._is_clear = isinstance(stream, trio.SocketStream)
        """Whether what is sent goes out as it is."""
        self._in_a_row = 0
        self._client: str | None = None
        self._idle = True
        self._closing = False
        self._was_cut = False
        self._is_behind = False
        """Whether the end of a response was on its way when the closing began."""
        self._read_ended = trio.Event()

    async def run(self) -> None:
        """Serve the connection to its end; a fault of ours is logged, and goes no further."""
        try:
            try:
                peer = self._socket.getpeername()
            except OSError:
                return  # it has left before it was looked at
            self._client = peer[0] if isinstance(peer, tuple) else None
            with self._gate.holding(self, self._client) as welcome:
                if welcome:
                    with suppress(trio.ClosedResourceError):  # cut in the middle of a handshake
                        await super().run()
        except* Exception as faults:
            self._gate.contain(faults, self._client)

    def cut(self) -> None:
        """Close the socket under whoever is at it; they wake up."""
        self._socket.close()

    def owes(self) -> bool:
        """Whether the client is on its way to taking the last that it was sent."""
        if self._read_ended.is_set() or not (self._closing or isinstance(self._spoken, HTTP2)):
            return False  # it has left, or will say nothing that a closed socket would answer
        return self._is_behind or self._is_taking()

    def _is_taking(self) -> bool:
        return not self._read_ended.is_set() and _unacknowledged(self._socket) > 0

    async def protocol_send(self, event: Event) -> None:
        """What the protocol wants: send, close, or note whether it is idle."""
        match event:
            case RawData(data=data):
                await self._send(data)
            case Closed():
                await self._finish()
            case Updated(idle=idle) if not self._read_ended.is_set():
                self._idle = idle
                await super().protocol_send(event)
                if idle:
                    await self._mind_the_head()  # which may have come behind the last request

    async def _send(self, data: bytes) -> None:
        if not self.send_lock.locked():
            data = data[self._sent_at_once(data) :]
            if not data:
                await self._give_way()
                return
        # Waiting for one's turn is bounded by the times of those before, each of whom closes the
        # socket when its own is over.
        with trio.CancelScope(shield=True) as patience:
            async with self.send_lock:
                sent = await self._send_in_pieces(data, patience)
        if patience.cancelled_caught:
            self._say_that_it_was_cut()
        if patience.cancelled_caught or not sent:
            self.cut()
            await self.protocol.handle(Closed())
        # All of the above is shielded: whoever sends in a loop could not be cancelled otherwise.
        await trio.lowlevel.checkpoint_if_cancelled()

    def _sent_at_once(self, data: bytes) -> int:
        """How much of it the kernel takes without waiting, which is all of it as a rule."""
        if not self._is_clear:
            return 0
        try:
            # Past Trio, whose way through the scheduler costs more than the write; by the number
            # that the socket has now, which is none when it is closed.
            return os.write(self._socket.fileno(), data)
        except OSError as exc:
            if exc.errno == errno.ETIMEDOUT:  # it is told once, to whoever comes first
                self._say_that_it_was_cut()
            return 0  # there is no room, or the client has left: who waits for room will see

    async def _give_way(self) -> None:
        """Let others have a turn now and then; a client that reads fast never makes us wait."""
        self._in_a_row = (self._in_a_row + 1) % SENT_IN_A_ROW
        if self._in_a_row:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()

    async def _send_in_pieces(self, data: bytes, patience: trio.CancelScope) -> bool:
        """Send with a new deadline for each piece; False if the client has left."""
        try:
            for start in range(0, len(data), PIECE_BYTES):
                patience.deadline = trio.current_time() + self._bounds.write_timeout
                await self.stream.send_all(data[start : start + PIECE_BYTES])
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._notice_the_kernels_patience(exc)
            return False
        except trio.BusyResourceError:
            return False  # senders take turns: whoever is at it besides us is closing
        return True

    async def _finish(self) -> None:
        """Say that nothing more comes; close at once, or when the client's rest was thrown away."""
        if self._spoken.client_is_done:
            await self._close()
        elif not self._closing:
            self._closing = True
            self._task_group.spawn(self._linger)
        await self.protocol.handle(Closed())

    async def _linger(self) -> None:
        with trio.move_on_after(self._bounds.write_timeout) as patience:
            try:
                await self.stream.send_eof()
            except (AttributeError, trio.BusyResourceError, trio.ClosedResourceError):
                pass  # TLS can't; or it is closed
            except trio.BrokenResourceError:
                return
            await when(lambda: not self._is_taking())
        if not patience.cancelled_caught:
            with trio.move_on_after(LINGER_SECONDS):
                await self._read_ended.wait()
        await self._close()

    async def _read_data(self) -> None:
        try:
            while data := await self._receive():
                if not self._closing:
                    await self.protocol.handle(RawData(data))
                    await self._mind_the_head()
            if not self._closing:
                await self.protocol.handle(RawData(b""))
        finally:
            self._read_ended.set()
        await self.protocol.handle(Closed())
        await self.idle_task.stop()

    async def _receive(self) -> bytes:
        """What the client sends; nothing when it has ended."""
        try:
            return bytes(await self.stream.receive_some(MAX_RECV))
        except (trio.ClosedResourceError, trio.BrokenResourceError) as exc:
            self._notice_the_kernels_patience(exc)
            return b""

    def _notice_the_kernels_patience(self, exc: BaseException) -> None:
        """Say so if it was TCP_USER_TIMEOUT, which is `write_timeout` as well, that ended it."""
        if getattr(exc.__cause__, "errno", None) == errno.ETIMEDOUT:
            self._say_that_it_was_cut()

    def _say_that_it_was_cut(self) -> None:
        if not self._was_cut:
            self._was_cut = True
            self._gate.tell_of_a_cut("write_timeout", self._client)

    async def _mind_the_head(self) -> None:
        """Give an HTTP/1 head that has begun less time than a connection that is idle."""
        protocol = self._spoken
        if self._idle and isinstance(protocol, HTTP1) and protocol.begins_a_head():
            await self.idle_task.restart(self._task_group, self._head_timeout)

    async def _head_timeout(self) -> None:
        await trio.sleep(HEAD_SECONDS)
        await self._initiate_server_close()

    async def _idle_timeout(self) -> None:
        with trio.move_on_after(self.config.keep_alive_timeout):
            if self._spoken.keep_alive_requests:
                await self._gate.draining.wait()
            else:  # its first request may be on its way, and gets an answer: that it drains
                await self.context.terminated.wait()
                await trio.sleep(FIRST_REQUEST_SECONDS)
        if self._idle:
            await self._initiate_server_close()

    async def _initiate_server_close(self) -> None:
        # Shielded: the closing cancels its own timer, which is this.
        with trio.move_on_after(GOODBYE_SECONDS, shield=True):
            if isinstance(self._spoken, HTTP2):
                self._is_behind = _unacknowledged(self._socket) > 0
                await self._spoken.say_goodbye()
                await self._finish()
            else:
                await super()._initiate_server_close()

    async def _close(self) -> None:
        with trio.move_on_after(GOODBYE_SECONDS):
            await super()._close()

    @property
    def _spoken(self) -> Any:
        """The protocol that is spoken; None before the first byte."""
        wrapper = getattr(self, "protocol", None)
        return getattr(wrapper, "protocol", None)


def _unacknowledged(connected: socket.socket) -> int:
    """Bytes sent that the peer has not confirmed; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    held = array("i", [0])
    try:
        fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, held)
    except (OSError, ValueError):
        return 0  # it is closed
    return held[0]
