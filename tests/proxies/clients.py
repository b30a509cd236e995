"""Clients in front of a proxy: HTTP/1.1 by h11, HTTP/2 by h2, both over TLS, both from an address.

They tell a body that is whole from one that was cut: a last chunk or END_STREAM is an end, and
nothing else is.
"""

from __future__ import annotations

import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any, Literal, TypeAlias

import h2.config
import h2.connection
import h2.errors
import h2.events
import h11
import trio
import trustme

from tests.clients import asking
from tests.proxies.examples import NAME
from tests.proxies.running import Proxy

__all__ = ["HERE", "PROTOCOLS", "Client", "Protocol", "open_client"]

Protocol: TypeAlias = Literal["http/1.1", "h2"]
PROTOCOLS: tuple[Protocol, ...] = ("http/1.1", "h2")
"""By their names in ALPN."""

GOAWAY = 7
HERE = "127.0.0.5"
"""Where clients ask from: the loopback network has more addresses than the proxy's."""


class Client(ABC):
    """A connection with one exchange at a time."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._forget()

    def _forget(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.ended = False
        """The response is whole."""
        self.cut = False
        """It will never be."""
        self.reset: int | None = None
        """The code of the RST_STREAM by which it was cut."""

    @abstractmethod
    async def begin(self) -> None:
        """Send what comes before the first request."""

    @abstractmethod
    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request, and forget what came of the last."""

    @abstractmethod
    async def leave(self) -> None:
        """Give the exchange up."""

    @abstractmethod
    async def receive(self) -> None:
        """Wait for something to come, and take it."""

    async def ask(self, path: str = "/compare-stream", model: str = "m") -> None:
        """Put a question to a model."""
        await self.request("POST", path, json.dumps(asking(model)).encode())

    async def until(self, condition: Callable[[], object]) -> None:
        """Receive until it holds."""
        while not condition():
            assert not self.cut, f"it was cut after {bytes(self.body[-300:])!r}"
            assert not self.ended, f"it ended with {self.status} and {bytes(self.body[-300:])!r}"
            await self.receive()

    async def seen(self, text: str) -> None:
        """Receive until this has come."""
        await self.until(lambda: text.encode() in self.body)

    async def over(self) -> bool:
        """Receive until the response is over; whether it is whole."""
        while not (self.ended or self.cut):
            await self.receive()
        return self.ended

    async def whole(self) -> bytes:
        """The whole body."""
        await self.until(lambda: self.ended)
        return bytes(self.body)

    async def call(self, method: str, path: str, *arguments: Any) -> bytes:
        """A request, and its whole answer."""
        await self.request(method, path, *arguments)
        return await self.whole()

    def json(self) -> Any:
        """The body as JSON."""
        assert self.headers["content-type"] == "application/json", bytes(self.body)
        return json.loads(self.body)

    async def _send(self, data: bytes) -> None:
        with suppress(trio.BrokenResourceError):  # what comes next says so: nothing
            await self._stream.send_all(data)

    async def _receive_some(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some())
        except trio.BrokenResourceError:
            return b""


class _Http1(Client):
    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        super().__init__(stream)
        self._http = h11.Connection(h11.CLIENT)

    async def begin(self) -> None:
        pass

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        if self.ended:
            self._http.start_next_cycle()
        self._forget()
        named = {"Host": NAME, **(headers or {})}
        if body:
            named |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        head = h11.Request(method=method, target=path, headers=list(named.items()))
        data = self._http.send(head) or b""
        data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        # Listening meanwhile: who refuses a body before it has read it all closes soon.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            await self._send(data)
            nursery.cancel_scope.cancel("sent")

    async def _listen(self, sending: trio.CancelScope) -> None:
        await self.over()
        sending.cancel("it is answered already")

    async def receive(self) -> None:
        data = await self._receive_some()
        try:
            self._http.receive_data(data)
            self._take()
        except h11.RemoteProtocolError:
            assert not data, "that is no HTTP/1.1"
        self.cut = not data and not self.ended

    def _take(self) -> None:
        while True:
            match self._http.next_event():
                case h11.Response() as head:
                    self.status = head.status_code
                    self.headers = {
                        name.decode().lower(): value.decode() for name, value in head.headers
                    }
                case h11.Data() as piece:
                    self.body += piece.data
                case h11.EndOfMessage():
                    self.ended = True
                    return
                case h11.InformationalResponse():
                    pass
                case _:
                    return

    async def leave(self) -> None:
        await self._stream.aclose()


class _Http2(Client):
    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        super().__init__(stream)
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._id = 0
        self._frames = b""

    async def begin(self) -> None:
        self._http.initiate_connection()
        await self._flush()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self._forget()
        self._id = self._http.get_next_available_stream_id()
        named = {":method": method, ":scheme": "https", ":authority": NAME, ":path": path}
        if body:
            named |= {"content-type": "application/json", "content-length": str(len(body))}
        named |= {name.lower(): value for name, value in (headers or {}).items()}
        self._http.send_headers(self._id, list(named.items()), end_stream=not body)
        rest = memoryview(body)
        while rest and not (self.ended or self.cut):
            window = self._http.local_flow_control_window(self._id)
            size = min(window, self._http.max_outbound_frame_size, len(rest))
            if size:
                self._http.send_data(self._id, bytes(rest[:size]), end_stream=size == len(rest))
                rest = rest[size:]
                await self._flush()
            else:
                await self.receive()
        await self._flush()

    async def receive(self) -> None:
        data = await self._receive_some()
        if not data:
            self.cut = not self.ended
            return
        for event in self._http.receive_data(self._without_goaway(data)):
            if getattr(event, "stream_id", self._id) == self._id:
                self._take(event)
        await self._flush()

    def _take(self, event: Any) -> None:
        match event:
            case h2.events.ResponseReceived():
                headers = {name.decode(): value.decode() for name, value in event.headers or []}
                self.status = int(headers.pop(":status"))
                self.headers = headers
            case h2.events.DataReceived():
                self.body += event.data or b""
                size = event.flow_controlled_length or 0
                self._http.acknowledge_received_data(size, self._id)
            case h2.events.StreamEnded():
                self.ended = True
            case h2.events.StreamReset():
                self.reset = event.error_code
                self.cut = not self.ended

    def _without_goaway(self, data: bytes) -> bytes:
        """The whole frames that have come; at a GOAWAY h2 would drop what may yet be finished."""
        self._frames += data
        whole = b""
        while len(self._frames) >= 9:
            size = 9 + int.from_bytes(self._frames[:3])
            if len(self._frames) < size:
                break
            frame, self._frames = self._frames[:size], self._frames[size:]
            if frame[3] == GOAWAY:
                self.cut = not self.ended and int.from_bytes(frame[9:13]) < self._id
            else:
                whole += frame
        return whole

    async def leave(self) -> None:
        self._http.reset_stream(self._id, h2.errors.ErrorCodes.CANCEL)
        await self._flush()

    async def _flush(self) -> None:
        await self._send(self._http.data_to_send())


@cache
def _trusting(authority: trustme.CA, protocol: Protocol) -> ssl.SSLContext:
    # Without the system's authorities, which take longer to load than all the rest of a test.
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(tls)
    tls.set_alpn_protocols([protocol])
    return tls


@asynccontextmanager
async def open_client(
    proxy: Proxy, authority: trustme.CA, protocol: Protocol, *, source: str = HERE
) -> AsyncIterator[Client]:
    """A connection to a proxy from one of this machine's addresses; torn down in the end."""
    tls = _trusting(authority, protocol)
    tcp = await trio.open_tcp_stream("127.0.0.1", proxy.place.https, local_address=source)
    stream = trio.SSLStream(tcp, tls, server_hostname=NAME, https_compatible=True)
    try:
        await stream.do_handshake()
        assert stream.selected_alpn_protocol() == protocol
        client = _Http2(stream) if protocol == "h2" else _Http1(stream)
        await client.begin()
        yield client
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
