"""Clients that can be told to misbehave: HTTP/1.1 by h11, HTTP/2 frame by frame."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import h11
import trio
from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.clients import asking

__all__ = [
    "H1",
    "PREFACE",
    "Address",
    "RawH2",
    "Transport",
    "connect",
    "connect_tls",
    "open_h1",
    "open_raw_h2",
    "question",
    "reset",
]

Address: TypeAlias = tuple[str, int]
Transport: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def connect(address: Address, *, receive_buffer: int | None = None) -> trio.SocketStream:
    """A connection to the service; with a small receive buffer it is soon full."""
    # A literal address: a thousand look-ups would be a thousand threads.
    sock = trio.socket.socket()
    try:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def connect_tls(
    address: Address, context: ssl.SSLContext, *, receive_buffer: int | None = None
) -> trio.SSLStream[trio.SocketStream]:
    """The same with TLS on it, the handshake done."""
    tcp = await connect(address, receive_buffer=receive_buffer)
    tls = trio.SSLStream(tcp, context, server_hostname=address[0], https_compatible=True)
    try:
        await tls.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(tcp)
        raise
    return tls


async def reset(stream: Transport) -> None:
    """RST."""
    tcp = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await tcp.aclose()


def question(*models: str, path: str = "/compare-stream", **fields: Any) -> bytes:
    """A question as HTTP/1.1 in one piece."""
    body = json.dumps(asking(*models, **fields)).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


class H1:
    """One HTTP/1.1 connection; h11 reads, what is sent is the caller's."""

    def __init__(self, stream: Transport, accepted: dict[str, list[str]]) -> None:
        self.stream = stream
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.ended = False
        """The response is whole."""
        self.closed = False
        """The server has closed the connection."""
        self._accepted = accepted
        self._models: list[str] = []
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, *models: str, **fields: Any) -> None:
        """Send a question, and wait for nothing."""
        self._models = list(models)
        await self.request(
            "POST", "/compare-stream", json.dumps(asking(*models, **fields)).encode()
        )

    async def send_as_is(self, data: bytes, *models: str) -> None:
        """Send these bytes; all that h11 learns is that an answer to a POST may come."""
        self._models = list(models)
        self._http.send(h11.Request(method="POST", target="/", headers=[("Host", "test")]))
        await self.stream.send_all(data)

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a whole request; the next one on this connection, if there was one before."""
        if self.ended:
            self._http.start_next_cycle()
            self.status, self.headers, self.ended = 0, {}, False
            self.body.clear()
        named = [("Host", "test"), *headers]
        if body:
            named += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        head = h11.Request(method=method, target=path, headers=named)
        data = self._http.send(head) or b""
        if body:
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(data)

    async def until(self, condition: Callable[[], object]) -> None:
        """Receive until the condition holds; fails when the connection ends before it does."""
        while not condition():
            assert not self.closed, f"the connection ended after {bytes(self.body[-200:])!r}"
            await self.receive()

    async def seen(self, mark: bytes, *, times: int = 1) -> None:
        """Receive until `mark` has come so often."""
        await self.until(lambda: self.body.count(mark) >= times)

    async def whole(self) -> bytes:
        """Receive the rest of the response."""
        await self.until(lambda: self.ended)
        return bytes(self.body)

    async def receive(self, most: int = 65536) -> None:
        """Receive once, and take what it brought."""
        try:
            data = await self.stream.receive_some(most)
        except trio.BrokenResourceError:
            data = b""
        self.closed = not data
        try:
            self._http.receive_data(bytes(data))
            self._take()
        except h11.RemoteProtocolError:
            if not self.closed:
                raise

    def _take(self) -> None:
        while True:
            event = self._http.next_event()
            match event:
                case h11.Response():
                    self.status = event.status_code
                    self.headers = {
                        name.decode().lower(): value.decode() for name, value in event.headers
                    }
                    if comparison := self.headers.get("x-comparison-id"):
                        self._accepted[comparison] = self._models
                case h11.Data():
                    self.body += event.data
                case h11.EndOfMessage():
                    self.ended = True
                    return
                case h11.InformationalResponse():
                    pass
                case _:
                    return


@asynccontextmanager
async def open_h1(
    address: Address,
    accepted: dict[str, list[str]],
    *,
    tls: ssl.SSLContext | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[H1]:
    """A connection that speaks HTTP/1.1, torn down in the end."""
    stream: Transport
    if tls is not None:
        stream = await connect_tls(address, tls, receive_buffer=receive_buffer)
    else:
        stream = await connect(address, receive_buffer=receive_buffer)
    try:
        yield H1(stream, accepted)
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


class RawH2:
    """One HTTP/2 connection without any rules: every frame is the caller's."""

    def __init__(self, stream: Transport) -> None:
        self.stream = stream
        self.frames: list[Frame] = []
        """What the server has sent, without the payload of its DATA frames."""
        self.data: dict[int, bytearray] = {}
        """The bodies, by stream."""
        self.headers: dict[int, dict[str, str]] = {}
        self.closed = False
        self.window = 65535
        """What may be sent on the first stream; counted by those who send much."""
        self._received = bytearray()
        self._decoder = Decoder()

    async def begin(self, **settings: int) -> None:
        """The preface, our settings, and the acknowledgement of the server's."""
        chosen = {getattr(SettingsFrame, name.upper()): value for name, value in settings.items()}
        await self.stream.send_all(PREFACE)
        await self.send(SettingsFrame(settings=chosen))
        await self.send(SettingsFrame(flags=["ACK"]))

    async def send(self, *frames: Frame) -> None:
        """These frames, in one piece."""
        await self.stream.send_all(b"".join(frame.serialize() for frame in frames))

    @staticmethod
    def plain_block(*headers: tuple[bytes, bytes]) -> bytes:
        """A header block, whatever is in it; nothing is put into the tables."""
        return bytes(Encoder().encode([(*header, True) for header in headers]))

    @classmethod
    def opening(
        cls, stream_id: int, *headers: tuple[bytes, bytes], end: bool = True
    ) -> HeadersFrame:
        """A HEADERS frame with these headers."""
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        return HeadersFrame(stream_id, cls.plain_block(*headers), flags=flags)

    @classmethod
    def post(cls, stream_id: int, *models: str, path: str = "/compare-stream") -> list[Frame]:
        """A whole question."""
        return [
            cls.opening(
                stream_id,
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":authority", b"test"),
                (b":path", path.encode()),
                (b"content-type", b"application/json"),
                end=False,
            ),
            DataFrame(stream_id, json.dumps(asking(*models)).encode(), flags=["END_STREAM"]),
        ]

    @classmethod
    def get(cls, stream_id: int, path: str = "/health") -> HeadersFrame:
        """A whole request without a body."""
        return cls.opening(
            stream_id,
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"test"),
            (b":path", path.encode()),
        )

    async def until(self, condition: Callable[[], object]) -> None:
        """Receive until the condition holds; fails when the connection ends before it does."""
        while not condition():
            assert not self.closed, f"the connection ended after {self.frames[-3:]}"
            await self.receive()

    async def receive(self) -> None:
        """Receive once, answer pings, and take the frames that it brought."""
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        self.closed = not data
        self._received += data
        while len(self._received) >= 9:
            frame, size = Frame.parse_frame_header(memoryview(bytes(self._received[:9])))
            if len(self._received) < 9 + size:
                return
            frame.parse_body(memoryview(bytes(self._received[9 : 9 + size])))
            del self._received[: 9 + size]
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, DataFrame):
            self.data.setdefault(frame.stream_id, bytearray()).extend(frame.data)
            frame.data = b""
        elif isinstance(frame, WindowUpdateFrame) and frame.stream_id == 1:
            self.window += frame.window_increment
        elif isinstance(frame, HeadersFrame):
            pairs = self._decoder.decode(frame.data, raw=True)
            self.headers[frame.stream_id] = {
                bytes(pair[0]).decode(): bytes(pair[1]).decode() for pair in pairs
            }
        self.frames.append(frame)

    def resets(self, stream_id: int | None = None) -> list[int]:
        """The codes of the server's RST_STREAM frames."""
        return [
            frame.error_code
            for frame in self.frames
            if isinstance(frame, RstStreamFrame) and stream_id in (None, frame.stream_id)
        ]

    def goaways(self) -> list[GoAwayFrame]:
        """The server's GOAWAY frames."""
        return [frame for frame in self.frames if isinstance(frame, GoAwayFrame)]

    def pongs(self) -> int:
        """Answers to our pings."""
        return sum(isinstance(f, PingFrame) and "ACK" in f.flags for f in self.frames)

    def ended(self, stream_id: int) -> bool:
        """Whether END_STREAM came."""
        return any(
            frame.stream_id == stream_id and "END_STREAM" in frame.flags for frame in self.frames
        )


@asynccontextmanager
async def open_raw_h2(
    address: Address, *, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None
) -> AsyncIterator[RawH2]:
    """A connection for frames, torn down in the end; nothing is sent on it yet."""
    stream: Transport
    if tls is not None:
        stream = await connect_tls(address, tls, receive_buffer=receive_buffer)
    else:
        stream = await connect(address, receive_buffer=receive_buffer)
    try:
        yield RawH2(stream)
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
