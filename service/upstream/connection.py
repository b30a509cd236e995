"""One connection to a provider: bytes out, bytes in, over TCP or TLS.

The reading is what a chunk costs, so it goes past Trio's socket methods: they make a detour through
the scheduler for every read, also for one that finds its bytes waiting. Here a read that finds
bytes returns with them, and only one that finds none waits; the same holds for sending. So that
a provider that floods cannot keep the thread to itself, every so many reads take that detour all
the same.

TLS is OpenSSL's between two buffers of ours, not Trio's `SSLStream`, which hides what came behind
the last read: a response that nobody asked for would lie there and answer the next request. Nor
can that be read any more after a sending broke, and a server may refuse a request before it has
read it all.

Closing is one system call, never a farewell that a peer could hold up: whoever is cancelled, in a
handshake or anywhere else, leaves no socket open and waits for nothing.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import httpx
import trio

__all__ = ["Connection", "open_connection"]

READS_IN_A_ROW = 8
"""Reads that may find bytes waiting before others have a turn: some 30 KiB, 0.1 ms of work."""
TLS_READ_BYTES = 17 * 1024
"""Taken from the socket at once over TLS: a whole record of the largest kind."""

Done = TypeVar("Done")


class Connection(Protocol):
    """One connection; whoever has it closes it, or gives it back to be used again."""

    async def send(self, data: bytes) -> None:
        """Send it all. Raises `httpx.WriteError` when the peer has gone."""

    async def receive(self, most: int) -> bytes:
        """Up to `most` bytes as soon as there are some; none when the peer has ended.

        Raises `httpx.ReadError` when the connection broke.
        """

    def receive_nowait(self, most: int) -> bytes | None:
        """Up to `most` bytes if some are there; None if none are; b"" if only `receive` can tell.

        Raises `httpx.ReadError` when the connection broke.
        """

    def is_quiet(self) -> bool:
        """Whether it is open and nothing came that nobody asked for."""

    def close(self) -> None:
        """Close the socket at once; a second time it does nothing."""


async def open_connection(host: str, port: int, tls: ssl.SSLContext | None) -> Connection:
    """Connect to the first address of `host` that answers (RFC 8305); with `tls`, speak TLS.

    `host` is in ASCII. Raises `httpx.ConnectError`, with its cause. Cancelled, it leaves nothing
    open.
    """
    try:
        tcp = await trio.open_tcp_stream(host, port)
    except OSError as exc:
        raise httpx.ConnectError(_words_of(exc)) from exc
    except UnicodeError as exc:  # what the system's resolver says of a..b
        raise httpx.ConnectError("No host has such a name.") from exc
    clear = _Clear(tcp)
    if tls is None:
        return clear
    try:
        secure = _Secure(clear, tls, host)
        await secure.shake_hands()
    except BaseException:
        clear.close()
        raise
    return secure


class _Clear:
    """TCP alone."""

    def __init__(self, tcp: trio.SocketStream) -> None:
        self._tcp = tcp
        # A second descriptor would cost one more of a scarce thing; this is the same.
        self._socket = socket.socket(fileno=tcp.socket.fileno())
        self._socket.setblocking(False)
        self._in_a_row = 0

    async def send(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise httpx.WriteError(_words_of(exc)) from exc
        if sent < len(data):
            try:
                await self._tcp.send_all(data[sent:])
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise httpx.WriteError("The provider closed the connection.") from exc

    async def take_turn(self) -> None:
        """Let others have theirs, if so many reads came without one."""
        self._in_a_row += 1
        if self._in_a_row > READS_IN_A_ROW:
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()

    async def receive(self, most: int) -> bytes:
        await self.take_turn()
        while True:  # noqa: ASYNC913  # see READS_IN_A_ROW
            try:
                return self._socket.recv(most)
            except BlockingIOError:
                self._in_a_row = 0
                await trio.lowlevel.wait_readable(self._socket)
            except OSError as exc:
                raise httpx.ReadError(_words_of(exc)) from exc

    def receive_nowait(self, most: int) -> bytes | None:
        try:
            return self._socket.recv(most)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise httpx.ReadError(_words_of(exc)) from exc

    def is_quiet(self) -> bool:
        return _is_quiet(self._socket)

    def close(self) -> None:
        self._socket.detach()  # the descriptor is the other's to close
        self._tcp.socket.close()


class _Secure:
    """TLS over TCP."""

    def __init__(self, clear: _Clear, tls: ssl.SSLContext, host: str) -> None:
        self._clear = clear
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def shake_hands(self) -> None:
        """Agree on keys. Raises `httpx.ConnectError`, with its cause."""
        try:
            await self._done(self._tls.do_handshake)
        except (ssl.SSLError, httpx.NetworkError) as exc:
            raise httpx.ConnectError("The TLS handshake failed.") from exc

    async def send(self, data: bytes) -> None:
        try:
            await self._done(lambda: self._tls.write(data))
        except ssl.SSLError as exc:
            raise httpx.WriteError("The connection broke.") from exc

    async def receive(self, most: int) -> bytes:
        await self._clear.take_turn()
        try:
            first = await self._done(lambda: self._tls.read(most))
            return first + self._read_ahead(most - len(first)) if first else first
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""  # few servers announce that they close; HTTP knows whether it is too early
        except ssl.SSLError as exc:
            raise httpx.ReadError("The connection broke.") from exc

    def receive_nowait(self, most: int) -> bytes | None:
        read = self._read_ahead(most)
        if read or self._outgoing.pending:
            return read  # nothing, if there is something to send first, as new keys
        data = self._clear.receive_nowait(TLS_READ_BYTES)
        if not data:
            return data
        self._incoming.write(data)
        return self._read_ahead(most) or None

    def _read_ahead(self, most: int) -> bytes:
        """Up to `most` bytes of the records that are here; one read of OpenSSL's ends with each.

        A fault, or the end, shows again in the next read, which is not this one.
        """
        parts = []
        with suppress(ssl.SSLError):
            while most > 0 and (part := self._tls.read(most)):
                parts.append(part)
                most -= len(part)
        return b"".join(parts)

    def is_quiet(self) -> bool:
        read_ahead = self._tls.pending() or self._incoming.pending
        return not read_ahead and self._clear.is_quiet()

    def close(self) -> None:
        self._clear.close()

    async def _done(self, act: Callable[[], Done]) -> Done:
        """What `act` brings, when the peer has sent what it needs and got what it makes."""
        while True:  # noqa: ASYNC913  # see READS_IN_A_ROW
            try:
                done = act()
            except ssl.SSLWantReadError:
                await self._send_made()
                data = await self._clear.receive(TLS_READ_BYTES)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                await self._send_made()
                return done

    async def _send_made(self) -> None:
        if made := self._outgoing.read():
            await self._clear.send(made)


def _is_quiet(connected: socket.socket) -> bool:
    try:
        connected.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False  # it has ended, or says something nobody asked for


def _words_of(exc: OSError) -> str:
    return exc.strerror or str(exc)
