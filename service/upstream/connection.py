"""One connection to a provider: bytes out, bytes in, over TCP or TLS.

The reading is what a chunk costs, so in clear text it goes past Trio's socket methods: they make a
detour through the scheduler for every read, also for one that finds its bytes waiting. Here
a read that finds bytes returns with them, and only one that finds none waits; the same holds for
sending. So that a provider that floods cannot keep the thread to itself, every so many reads take
that detour all the same.

Closing is one system call, never a farewell that a peer could hold up: whoever is cancelled, in a
handshake or anywhere else, leaves no socket open and waits for nothing.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import Protocol

import httpx
import trio

__all__ = ["Connection", "open_connection"]

READS_IN_A_ROW = 8
"""Reads that may find bytes waiting before others have a turn: some 30 KiB, 0.1 ms of work."""


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

    Raises `httpx.ConnectError`, with its cause. Cancelled, it leaves nothing open.
    """
    try:
        tcp = await trio.open_tcp_stream(host, port)
    except OSError as exc:
        raise httpx.ConnectError(_words_of(exc)) from exc
    if tls is None:
        return _Clear(tcp)
    secure = trio.SSLStream(tcp, tls, server_hostname=host, https_compatible=True)
    try:
        await secure.do_handshake()
    except trio.BrokenResourceError as exc:
        tcp.socket.close()
        raise httpx.ConnectError("The TLS handshake failed.") from exc
    except BaseException:
        tcp.socket.close()
        raise
    return _Secure(secure, tcp)


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

    async def receive(self, most: int) -> bytes:
        self._in_a_row += 1
        if self._in_a_row > READS_IN_A_ROW:
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()
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

    def __init__(self, stream: trio.SSLStream[trio.SocketStream], tcp: trio.SocketStream) -> None:
        self._stream = stream
        self._tcp = tcp

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpx.WriteError("The provider closed the connection.") from exc

    async def receive(self, most: int) -> bytes:
        try:
            return bytes(await self._stream.receive_some(most))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpx.ReadError("The connection broke.") from exc

    def receive_nowait(self, most: int) -> bytes | None:
        """There may be half a record."""
        del most
        return b""

    def is_quiet(self) -> bool:
        peeking = socket.socket(fileno=self._tcp.socket.fileno())
        try:
            return _is_quiet(peeking)
        finally:
            peeking.detach()

    def close(self) -> None:
        self._tcp.socket.close()


def _is_quiet(connected: socket.socket) -> bool:
    try:
        connected.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False  # it has ended, or says something nobody asked for


def _words_of(exc: OSError) -> str:
    return os.strerror(exc.errno) if exc.errno else str(exc)
