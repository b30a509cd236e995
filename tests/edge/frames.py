"""HTTP/2 written by hand, for what no library would send, and to see what comes back."""

from __future__ import annotations

import hpack
import hyperframe.frame as frames
import trio

__all__ = ["PREFACE", "RawH2", "frames"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Headers = list[tuple[bytes, bytes]]

GET: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"test"),
    (b":path", b"/health"),
]


def get(path: bytes = b"/health", **replaced: bytes) -> Headers:
    """The head of a GET, with other pseudo-headers where they are given."""
    replaced = {f":{name}": value for name, value in replaced.items()} | {":path": path}
    return [(name, replaced.get(name.decode(), value)) for name, value in GET]


class RawH2:
    """An HTTP/2 connection of which every frame is the test's."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.received: list[frames.Frame] = []
        self.ended = False
        self._buffer = b""
        self._encoder = hpack.Encoder()

    async def begin(self, **settings: int) -> None:
        """The preface and our settings, by their names in hyperframe."""
        frame = frames.SettingsFrame(0)
        frame.settings = {getattr(frames.SettingsFrame, name): n for name, n in settings.items()}
        await self.stream.send_all(PREFACE + frame.serialize())

    def head(self, stream_id: int, headers: Headers, *, end: bool = True) -> bytes:
        """A HEADERS frame."""
        frame = frames.HeadersFrame(stream_id, self._encoder.encode(headers))
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        return frame.serialize()

    @staticmethod
    def data(stream_id: int, data: bytes, *, end: bool = False) -> bytes:
        """A DATA frame."""
        frame = frames.DataFrame(stream_id, data)
        if end:
            frame.flags.add("END_STREAM")
        return frame.serialize()

    @staticmethod
    def reset(stream_id: int) -> bytes:
        """A RST_STREAM frame: the request is taken back."""
        return frames.RstStreamFrame(stream_id, 8).serialize()

    @staticmethod
    def window(stream_id: int, increment: int) -> bytes:
        """A WINDOW_UPDATE frame."""
        return frames.WindowUpdateFrame(stream_id, increment).serialize()

    async def send(self, *parts: bytes) -> None:
        """Send these frames at once; a connection that is closed by then is no error."""
        try:
            await self.stream.send_all(b"".join(parts))
        except trio.BrokenResourceError:
            self.ended = True

    def found(self, kind: type[frames.Frame], stream_id: int | None = None) -> list[frames.Frame]:
        """Frames of this kind that came."""
        return [
            frame
            for frame in self.received
            if isinstance(frame, kind) and stream_id in (None, frame.stream_id)
        ]

    def body(self, stream_id: int) -> bytes:
        """The bytes of a response so far."""
        found = self.found(frames.DataFrame, stream_id)
        return b"".join(frame.data for frame in found if isinstance(frame, frames.DataFrame))

    def has_ended(self, stream_id: int) -> bool:
        """Whether a response is over, in whichever way."""
        data = self.found(frames.DataFrame, stream_id)
        heads = self.found(frames.HeadersFrame, stream_id)
        whole = any("END_STREAM" in frame.flags for frame in (*data, *heads))
        return whole or bool(self.found(frames.RstStreamFrame, stream_id))

    async def receive(self) -> None:
        """Take what comes next; notes the connection's end."""
        try:
            data = bytes(await self.stream.receive_some())
        except trio.BrokenResourceError:
            data = b""
        if not data:
            self.ended = True
            return
        self._buffer += data
        while len(self._buffer) >= 9:
            frame, length = frames.Frame.parse_frame_header(memoryview(self._buffer)[:9])
            if len(self._buffer) < 9 + length:
                return
            frame.parse_body(memoryview(self._buffer)[9 : 9 + length])
            self._buffer = self._buffer[9 + length :]
            self.received.append(frame)

    async def until_closed(self) -> None:
        """Take what comes until the connection ends."""
        while not self.ended:  # noqa: ASYNC913
            await self.receive()

    async def until(self, kind: type[frames.Frame], stream_id: int | None = None) -> frames.Frame:
        """Take what comes until a frame of this kind has; the connection must not end before."""
        while not (found := self.found(kind, stream_id)):
            assert not self.ended, f"the connection ended after {self.received}"
            await self.receive()
        return found[0]

    async def until_answered(self, stream_id: int) -> None:
        """Take what comes until this response is over."""
        while not self.has_ended(stream_id):
            assert not self.ended, f"the connection ended after {self.received}"
            await self.receive()
