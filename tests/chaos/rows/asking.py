"""What several files of faults ask, and how they read the answer."""

from __future__ import annotations

from contextlib import suppress

import trio

from tests.chaos.clients import RawH2
from tests.chaos.scene import Scene

SILENCE_SECONDS = 0.3
JSON_POST = b"POST /compare-stream HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def said_to(scene: Scene, data: bytes, *, within: float = 3, end: bool = False) -> bytes:
    """Everything that is answered to these bytes until the server closes, or is silent for long."""
    received = bytearray()
    async with scene.connect() as client:
        with trio.move_on_after(within) as patience:
            await _listen(client, data, received, patience, end=end)
            return bytes(received)
        return bytes(received) + b"<open>"


async def _listen(
    client: trio.SocketStream,
    data: bytes,
    received: bytearray,
    patience: trio.CancelScope,
    *,
    end: bool,
) -> None:
    """Send, and receive until the server closes; `patience` ends with the last word said."""
    last = patience.deadline
    with suppress(trio.BrokenResourceError):
        await client.send_all(data)
        if end:
            await client.send_eof()
        patience.deadline = min(last, trio.current_time() + SILENCE_SECONDS)
        while part := await client.receive_some():
            received += part
            patience.deadline = min(last, trio.current_time() + SILENCE_SECONDS)


def status_of(said: bytes) -> int:
    """The first answer's status; 0: none came."""
    return int(said[9:12]) if said.startswith(b"HTTP/1.1 ") else 0


async def outcome(client: RawH2, stream_id: int = 1, *, within: float = 3) -> str:
    """What a server does about a request: answers it, resets it, or leaves."""
    with trio.move_on_after(within):
        await client.until(
            lambda: client.resets(stream_id) or client.goaways() or client.ended(stream_id)
        )
        if client.ended(stream_id):
            return f"answered with {client.headers[stream_id][':status']}"
        if client.resets(stream_id):
            return f"reset with {client.resets(stream_id)[0]}"
        return f"GOAWAY with {client.goaways()[0].error_code}"
    raise AssertionError("neither answered, nor reset, nor closed")


async def until_draining(scene: Scene) -> None:
    """Ask `/readyz` until it says 503."""

    async def ask() -> int:
        async with scene.h1(tls=scene.tls) as client:
            await client.request("GET", "/readyz")
            # One that was accepted just before the signal is idle, and closed without an answer.
            while not (client.ended or client.closed):
                await client.receive()
            return client.status

    with trio.fail_after(1):
        while (status := await ask()) != 503:
            assert status in (0, 200), f"/readyz said {status}"
