"""Many comparisons at once over a few connections of HTTP/2: read now and understood later."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.bench.http1 import READ_BYTES
from tests.bench.load import Load
from tests.bench.recording import Recording, WrongStream

__all__ = ["ask_over_http2"]

LARGEST_WINDOW = 2**31 - 1
"""For a stream and for a connection. Browsers take 6 MiB and more, which none of our answers fills;
so like theirs this client has nothing to acknowledge, and need not understand what it reads before
all of it has come."""
DATA, HEADERS, RST_STREAM, GOAWAY = 0, 1, 3, 7
END_STREAM = 1
FRAME_HEAD = 9


class Connection:
    """One connection and the comparisons on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._http.local_settings = h2.settings.Settings(
            client=True,
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: LARGEST_WINDOW},
        )
        self._http.initiate_connection()
        self._http.increment_flow_control_window(LARGEST_WINDOW - 65535)
        self._recordings: dict[int, Recording] = {}
        self._reads: list[tuple[int, bytes]] = []
        self._rest = b""
        self.open = 0
        """Comparisons that have not ended."""

    def ask(self, comparisons: int, body: bytes) -> None:
        """Send the requests in one go."""
        head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "127.0.0.1"),
            (":path", "/compare-stream"),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        ]
        for _ in range(comparisons):
            stream = self._http.get_next_available_stream_id()
            self._http.send_headers(stream, head)
            self._http.send_data(stream, body, end_stream=True)
            self._recordings[stream] = Recording(asked_at=time.monotonic_ns())
        self.socket.sendall(self._http.data_to_send())
        self.socket.setblocking(False)
        self.open = comparisons

    def read(self) -> None:
        """Note what has come, and count the comparisons that have ended in it."""
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.open = 0
            return
        self._reads.append((time.monotonic_ns(), data))
        frames, at = self._rest + data, 0
        while len(frames) >= at + FRAME_HEAD:
            end = at + FRAME_HEAD + int.from_bytes(frames[at : at + 3])
            if len(frames) < end:
                break
            kind, flags = frames[at + 3], frames[at + 4]
            if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                self.open -= 1
            elif kind == GOAWAY:
                self.open = 0
            at = end
        self._rest = frames[at:]

    def understood(self) -> list[Recording | WrongStream]:
        """What came of each comparison."""
        wrong: dict[int, WrongStream] = {}
        for moment, data in self._reads:
            for event in self._http.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(stream_id=int(stream), headers=headers):
                        status = dict(headers or [])[b":status"]
                        self._recordings[stream].status = int(status)
                    case h2.events.DataReceived(stream_id=int(stream), data=bytes(piece)):
                        self._recordings[stream].pieces.append((moment, piece))
                    case h2.events.StreamEnded(stream_id=int(stream)):
                        self._recordings[stream].whole = True
                    case h2.events.StreamReset(stream_id=int(stream), error_code=code):
                        wrong[stream] = WrongStream(f"the stream was reset: {code!r}")
        return [wrong.get(stream, recording) for stream, recording in self._recordings.items()]


def ask_over_http2(
    port: int, load: Load, *, patience: float, between: Callable[[], float]
) -> list[Recording | WrongStream]:
    """As `ask_over_http1`; all comparisons begin together."""
    body = load.question()
    began = now = call_at = time.monotonic()
    with ExitStack() as stack, select.epoll() as poll:
        connections: dict[int, Connection] = {}
        for number in range(load.http2_connections):
            connection = Connection(port)
            connections[stack.enter_context(connection.socket).fileno()] = connection
            connection.ask(len(range(number, load.comparisons, load.http2_connections)), body)
            poll.register(connection.socket, select.EPOLLIN)
        while now < began + patience and any(one.open > 0 for one in connections.values()):
            if now >= call_at:
                call_at = now + between()
            for descriptor, _ in poll.poll(max(0, call_at - now)):
                connections[descriptor].read()
            now = time.monotonic()
    return [one for connection in connections.values() for one in connection.understood()]
